"""Displacement fields: direction, resampling, inverse, folding; checked against ITK."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from pipeline.core.volume import Volume
from pipeline.imaging.brain import distance_mm
from pipeline.imaging.itk import Field, from_itk, to_itk
from pipeline.imaging.warp import (
    coarse_grid,
    grid_points_mm,
    inverse_error_mm,
    invert_field,
    jacobian_determinant,
    resample_through_field,
)


def oblique_affine(size_mm=(1.5, 2.0, 2.5), flip=True, shape=(30, 28, 26)):
    """Affine of a tilted grid whose centre lies at (7, -30, 12) mm."""
    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", (12, -8, 20), degrees=True).as_matrix()
    # stored right to left and front to back, as many scanners do
    order = np.array([[0, 1, 0], [0, 0, -1], [-1, 0, 0]]) if flip else np.eye(3)
    affine[:3, :3] = turn @ order * np.array(size_mm)
    affine[:3, 3] = np.array([7, -30, 12]) - affine[:3, :3] @ (np.array(shape) - 1) / 2
    return affine


def wavy_field(shape=(30, 28, 26), affine=None, amplitude_mm=3.0):
    """A field that bends everywhere by much less than it shifts, so that it has an inverse."""
    affine = oblique_affine() if affine is None else affine
    points = grid_points_mm(shape, affine)
    waves = [np.sin(points[(axis + 1) % 3] / 15 + axis) for axis in range(3)]
    return Field((amplitude_mm * np.stack(waves, axis=-1)).astype(np.float32), affine)


@pytest.fixture
def blobs(rng):
    data = rng.normal(size=(32, 30, 28)).astype(np.float32)
    return Volume(data, oblique_affine(flip=False))


def test_itk_sees_the_same_points(blobs):
    image = to_itk(Volume(blobs.data, oblique_affine()))
    lps = image.TransformIndexToPhysicalPoint((3, 5, 7))
    ras = oblique_affine() @ [3, 5, 7, 1]
    np.testing.assert_allclose(lps, ras[:3] * [-1, -1, 1], atol=1e-5)
    back = from_itk(image)
    np.testing.assert_array_equal(back.data, blobs.data)
    np.testing.assert_allclose(back.affine, oblique_affine(), atol=1e-6)


def test_sheared_axes_are_refused():
    affine = np.eye(4)
    affine[0, 1] = 0.3
    with pytest.raises(ValueError, match="right angles"):
        to_itk(Volume(np.zeros((3, 3, 3)), affine))


def test_constant_displacement_looks_up_where_it_points_to():
    data = np.zeros((9, 9, 9), np.float32)
    data[6, 4, 4] = 1
    field = Field(np.tile(np.float32([2, 0, 0]), (9, 9, 9, 1)), np.eye(4))
    pulled = resample_through_field(Volume(data, np.eye(4)), field).data
    assert pulled[4, 4, 4] == 1
    assert pulled.sum() == 1


@pytest.mark.parametrize("order", [0, 1])
def test_resampling_agrees_with_itk(blobs, order):
    field = wavy_field()
    ours = resample_through_field(blobs, field, order).data
    vectors = (field.displacement_mm * [-1, -1, 1]).transpose(2, 1, 0, 3).astype(float)
    displacement = sitk.GetImageFromArray(vectors, isVector=True)
    reference = to_itk(Volume(np.zeros(field.shape, np.float32), field.affine))
    displacement.CopyInformation(reference)
    theirs = from_itk(
        sitk.Resample(
            to_itk(blobs),
            reference,
            sitk.DisplacementFieldTransform(displacement),
            sitk.sitkNearestNeighbor if order == 0 else sitk.sitkLinear,
        )
    ).data
    # within half a voxel of the border the two differ in what they call outside
    both = (ours != 0) & (theirs != 0)
    assert both.mean() > 0.2
    off = np.abs(ours - theirs)[both]
    # float32 coordinates: a nearest neighbour may tip over where two are equally near
    assert np.quantile(off, 0.999) < 1e-3


def test_affine_behind_the_field_and_other_grid(blobs):
    field = wavy_field()
    after = np.eye(4)
    after[:3, 3] = (1, -2, 0.5)
    moved = Volume(blobs.data, after @ blobs.affine)
    np.testing.assert_allclose(
        resample_through_field(moved, field, after=after).data,
        resample_through_field(blobs, field).data,
        atol=2e-4,
    )
    fine = coarse_grid(Volume(np.zeros(field.shape), field.affine), 0.1)
    assert fine.shape == field.shape
    onto = resample_through_field(blobs, field, onto=fine).data
    np.testing.assert_allclose(onto, resample_through_field(blobs, field).data, atol=1e-3)


def test_labels_keep_their_type_and_values(rng):
    labels = Volume(rng.integers(0, 2036, (20, 20, 20)).astype(np.int16), oblique_affine())
    pulled = resample_through_field(labels, wavy_field(), order=0).data
    assert pulled.dtype == np.int16
    assert set(np.unique(pulled)) <= {0, *np.unique(labels.data)}


def test_inverse_undoes_a_field_in_another_storage_order():
    field = wavy_field((40, 38, 36), oblique_affine((2, 2, 2), False, (40, 38, 36)))
    onto = Volume(np.zeros((44, 42, 40)), oblique_affine((2, 2, 2), True, (44, 42, 40)))
    inverse = invert_field(field, onto, np.eye(4))
    centre = grid_points_mm(field.shape, field.affine)
    voxels = np.tensordot(np.linalg.inv(onto.affine)[:3, :3], centre, axes=1)
    voxels += np.linalg.inv(onto.affine)[:3, 3].reshape(3, 1, 1, 1)
    last = np.array(onto.shape).reshape(3, 1, 1, 1) - 4
    inside = np.all((voxels > 3) & (voxels < last), axis=0)
    # where the field ends it is held constant, which no inverse on a grid can undo
    inside[:4] = inside[-4:] = inside[:, :4] = inside[:, -4:] = False
    inside[..., :4] = inside[..., -4:] = False
    assert inside.sum() > 1000
    errors = inverse_error_mm(field, inverse, Volume(inside, field.affine))
    # two linear interpolations of a wave of 94 mm on a 2 mm grid
    assert errors.max() < 0.05


def test_jacobian_is_a_volume_ratio():
    affine = oblique_affine()
    scale = np.diag([1.2, 0.8, 1.5])
    points = np.moveaxis(grid_points_mm((8, 9, 10), affine), 0, 3)
    stretched = Field((points @ scale.T - points).astype(np.float32), affine)
    np.testing.assert_allclose(jacobian_determinant(stretched), 1.44, rtol=1e-4)
    mirrored = Field((points * [-2, 0, 0]).astype(np.float32), affine)
    assert jacobian_determinant(mirrored).max() < 0


def test_coarse_grid_covers_the_box():
    volume = Volume(np.zeros((37, 50, 41)), oblique_affine((0.9, 1.1, 3.0)))
    grid = coarse_grid(volume, 2.0)
    corner = grid.affine @ [*(np.array(grid.shape) - 1), 1]
    beyond = np.linalg.inv(volume.affine) @ corner
    assert np.all(beyond[:3] >= np.array(volume.shape) - 1 - 1e-9)
    np.testing.assert_allclose(grid.voxel_size_mm, (2, 2, 3))


def test_distance_agrees_with_scipy(rng):
    from scipy import ndimage

    mask = ndimage.gaussian_filter(rng.normal(size=(20, 22, 24)), 2) > 0
    size = np.array([0.8, 1.0, 2.5])
    expected = ndimage.distance_transform_edt(mask, sampling=size)
    np.testing.assert_allclose(distance_mm(mask, size), expected, atol=1e-4)
    assert np.all(distance_mm(np.ones((3, 3, 3), bool), size) > 4)
