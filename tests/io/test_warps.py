"""Displacement fields on disk, read by another library."""

from importlib.resources import files

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nitransforms.linear import Affine
from nitransforms.nonlinear import DenseFieldTransform

from composite_transforms import Known, as_float, write_composite
from pipeline.core.errors import DataError
from pipeline.core.transforms import rigid_matrix
from pipeline.core.volume import Volume
from pipeline.imaging.itk import Field
from pipeline.imaging.warp import displacement_at, grid_points_mm
from pipeline.io.warps import read_field, read_transform_as_field, write_field


def tilted_grid(centre_mm=(0, 0, 0), n=60):
    """About 2 mm, tilted, stored back to front and right to left."""
    order = np.array([[0, 1.0, 0], [0, 0, -1.0], [-1.0, 0, 0]])
    affine = rigid_matrix(np.zeros(3), np.radians([9.0, -6, 12]))
    affine[:3, :3] = affine[:3, :3] @ order * [1.9, 2.0, 2.2]
    affine[:3, 3] = centre_mm - affine[:3, :3] @ np.full(3, (n - 1) / 2)
    return Volume(np.zeros((n, n, n), np.uint8), affine)


GRID = tilted_grid()


@pytest.fixture
def field(rng):
    affine = np.array([[0, -2.0, 0, 20], [2.0, 0, 0, -15], [0, 0, 3.0, -9], [0, 0, 0, 1]])
    return Field(rng.normal(scale=3, size=(6, 7, 8, 3)).astype(np.float32), affine)


def test_field_survives_the_file(field, tmp_path):
    again = read_field(write_field(tmp_path / "xfm.nii.gz", field))
    np.testing.assert_array_equal(again.displacement_mm, field.displacement_mm)
    np.testing.assert_allclose(again.affine, field.affine, atol=1e-6)


def test_nitransforms_reads_it_as_an_itk_field(field, tmp_path):
    path = write_field(tmp_path / "xfm.nii.gz", field)
    image = nib.load(path)
    assert image.shape == (6, 7, 8, 1, 3)
    assert int(image.header["intent_code"]) == 1007
    theirs = DenseFieldTransform.from_filename(path, fmt="itk")
    index = np.array([[2, 3, 4], [0, 6, 1]])
    points = index @ field.affine[:3, :3].T + field.affine[:3, 3]
    expected = points + field.displacement_mm[tuple(index.T)]
    np.testing.assert_allclose(theirs.map(points), expected, atol=1e-3)


@pytest.mark.parametrize("shape", [(4, 4, 4), (4, 4, 4, 3), (4, 4, 4, 1, 2)])
def test_other_images_are_refused(shape, tmp_path):
    nib.save(nib.Nifti1Image(np.zeros(shape, np.float32), np.eye(4)), tmp_path / "x.nii.gz")
    with pytest.raises(DataError, match=r"x\.nii\.gz: a displacement field"):
        read_field(tmp_path / "x.nii.gz")


def test_values_that_are_not_finite_are_refused(field, tmp_path):
    field.displacement_mm[1, 2, 3, 0] = np.nan
    path = write_field(tmp_path / "xfm.nii.gz", field)
    with pytest.raises(DataError, match="not finite"):
        read_field(path)


def test_a_cut_file_is_refused(field, tmp_path):
    path = write_field(tmp_path / "xfm.nii", field)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(DataError, match=r"xfm\.nii"):
        read_field(path)


@pytest.fixture(scope="module")
def known():
    return Known()


@pytest.fixture(scope="module")
def composites(known, tmp_path_factory):
    return write_composite(known, tmp_path_factory.mktemp("xfm"))


def brain_points(known, space):
    """Points about the middle of a brain, (3, N), in MNI space or in that of the T1w."""
    points = np.random.default_rng(3).uniform(-32, 32, (3, 4000)).astype(np.float32)
    return points if space == "mni" else known.to_t1w(points).astype(np.float32)


@pytest.mark.parametrize("precision", ["double", "float"])
@pytest.mark.parametrize("space", ["mni", "t1w"])
def test_composites_lead_where_ants_means_them_to(known, composites, space, precision, tmp_path):
    """To the template: first the warp, then the affine; back: the inverses in reverse."""
    there, back = composites
    path = there if space == "mni" else back
    if precision == "float":
        path = as_float(path, tmp_path / "float.h5")
    grid = GRID if space == "mni" else tilted_grid(known.to_t1w(np.zeros((3, 1)))[:, 0])
    field = read_transform_as_field(path, grid)
    points = brain_points(known, space)
    found = points + displacement_at(field, points)
    truth = known.to_t1w(points) if space == "mni" else known.to_mni(points)
    error_mm = np.linalg.norm(found - truth, axis=0)
    print(f"{space} {precision}: largest error {error_mm.max():.4f} mm")
    assert error_mm.max() < 0.05
    # the other order would not do
    wrong = known.wrong_to_t1w(points) if space == "mni" else known.wrong_to_mni(points)
    assert np.median(np.linalg.norm(found - wrong, axis=0)) > 0.5


@pytest.mark.parametrize("space", ["mni", "t1w"])
def test_linear_parts_come_back_exactly(space, tmp_path):
    known = Known(amplitude_mm=0)
    path = write_composite(known, tmp_path, spacing_mm=20)[space == "t1w"]
    field = read_transform_as_field(path, GRID)
    points = grid_points_mm(GRID.shape, GRID.affine)
    matrix = known.affine if space == "mni" else np.linalg.inv(known.affine)
    truth = np.einsum("ab,b...->a...", matrix[:3, :3], points) + matrix[:3, 3, None, None, None]
    found = points + np.moveaxis(field.displacement_mm, 3, 0)
    error_mm = np.linalg.norm(found - truth, axis=0)
    print(f"linear, {space}: largest error {error_mm.max():.5f} mm")
    assert error_mm.max() < 0.01


def test_a_composite_of_ants_itself_is_read_as_nitransforms_reads_it():
    path = str(files("nitransforms") / "tests" / "data" / "affine-antsComposite.h5")
    field = read_transform_as_field(path, GRID)
    points = grid_points_mm(GRID.shape, GRID.affine)
    matrix = Affine.from_filename(path, fmt="itk").matrix
    truth = np.einsum("ab,b...->a...", matrix[:3, :3], points) + matrix[:3, 3, None, None, None]
    np.testing.assert_allclose(np.moveaxis(field.displacement_mm, 3, 0), truth - points, atol=2e-3)


def test_beyond_its_warp_a_composite_is_its_affine(known, composites):
    far = np.diag([2.0, 2, 2, 1])
    far[:3, 3] = 200
    field = read_transform_as_field(composites[0], Volume(np.zeros((3, 3, 3), np.uint8), far))
    points = grid_points_mm((3, 3, 3), far).reshape(3, -1)
    truth = known.affine[:3, :3] @ points + known.affine[:3, 3:]
    found = points + np.moveaxis(field.displacement_mm, 3, 0).reshape(3, -1)
    np.testing.assert_allclose(found, truth, atol=1e-3)


def test_what_is_no_transform_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_transform_as_field(tmp_path / "none.h5", GRID)
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(DataError, match=r"text\.h5: not a transform of ITK"):
        read_transform_as_field(tmp_path / "text.h5", GRID)
    sitk.WriteTransform(sitk.AffineTransform(2), str(tmp_path / "flat.h5"))
    with pytest.raises(DataError, match="2-D space"):
        read_transform_as_field(tmp_path / "flat.h5", GRID)
    lost = sitk.AffineTransform(3)
    lost.SetTranslation((np.nan, 0, 0))
    sitk.WriteTransform(sitk.CompositeTransform([lost]), str(tmp_path / "lost.h5"))
    with pytest.raises(DataError, match="not finite"):
        read_transform_as_field(tmp_path / "lost.h5", GRID)


def test_a_sheared_grid_is_refused(composites):
    sheared = GRID.affine.copy()
    sheared[0, 1] += 1
    with pytest.raises(DataError, match="right angles"):
        read_transform_as_field(composites[0], Volume(GRID.data, sheared))
