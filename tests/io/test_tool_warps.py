"""Warps of FSL: places come back to within 0.01 mm, whichever way the images are stored."""

from itertools import combinations_with_replacement

import nibabel as nib
import numpy as np
import pytest

from fsl_conventions import world_of_voxels, write_fsl_warp
from pipeline.core.errors import DataError
from pipeline.core.transforms import apply_affine, rigid_matrix
from pipeline.core.volume import Volume
from pipeline.imaging.warp import resample_through_field
from pipeline.io.images import write_array, write_volume
from pipeline.io.tool_warps import read_fsl_warp

WITHIN_MM = 0.01
A2B = rigid_matrix(np.array([23.0, -41.5, 12.25]), np.radians([14.0, -9, 31]))


def grid(shape, sizes, order=(0, 1, 2), flips=(1, 1, 1), tilt=0.0):
    """A grid about (5, -20, 9) by the order and direction of its axes, tilted by some degrees."""
    axes = np.zeros((3, 3))
    for voxel_axis, (axis, flip) in enumerate(zip(order, flips, strict=True)):
        axes[axis, voxel_axis] = flip * sizes[voxel_axis]
    affine = np.eye(4)
    affine[:3, :3] = (
        rigid_matrix(np.zeros(3), np.radians([tilt, -tilt / 2, tilt / 3]))[:3, :3] @ axes
    )
    affine[:3, 3] = np.array([5, -20, 9]) - affine[:3, :3] @ (np.array(shape) - 1) / 2
    return Volume(np.zeros(shape, np.uint8), affine)


GRIDS = {
    "right-handed": grid((45, 54, 40), (4, 4, 4)),
    "left-handed": grid((64, 50, 41), (3.3, 4.1, 4.4), flips=(-1, 1, 1)),
    "conformed": grid((64, 64, 64), (3, 3, 3), (0, 2, 1), (-1, -1, 1)),
    "oblique": grid((50, 60, 40), (3.5, 2.9, 4.3), (1, 2, 0), (1, -1, 1), tilt=18),
}
PAIRS = list(combinations_with_replacement(GRIDS, 2))


def bent(points):
    """A smooth way that has an inverse in closed form: y and z shift by what x is."""
    shift = np.stack(
        [0 * points[..., 0], 6 * np.sin(points[..., 0] / 15), 4 * np.cos(points[..., 0] / 22)], -1
    )
    return points + shift


def unbent(points):
    return 2 * points - bent(points)


WAYS = {
    "still": (lambda p: p, lambda p: p),
    "rigid": (
        lambda p: apply_affine(A2B, p),
        lambda p: apply_affine(np.linalg.inv(A2B), p),
    ),
    "smooth": (
        lambda p: apply_affine(A2B, bent(p)),
        lambda p: unbent(apply_affine(np.linalg.inv(A2B), p)),
    ),
}


@pytest.mark.parametrize(("a", "b"), PAIRS)
@pytest.mark.parametrize("way", WAYS)
def test_every_voxel_goes_where_it_went(tmp_path, a, b, way):
    """There and back: the warp on A that leads to B, and the one on B that leads to A."""
    there, back = WAYS[way]
    for here, other, map_points in ((GRIDS[a], GRIDS[b], there), (GRIDS[b], GRIDS[a], back)):
        path = write_fsl_warp(tmp_path / "weg zu müller.nii", here, other, map_points)
        field = read_fsl_warp(path, here, other)
        points = world_of_voxels(here)
        np.testing.assert_allclose(
            points + field.displacement_mm, map_points(points), rtol=0, atol=WITHIN_MM
        )
        np.testing.assert_allclose(field.affine, here.affine, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("a", "b"), [("right-handed", "left-handed"), ("oblique", "conformed")])
def test_a_phantom_of_no_symmetry_is_pulled_back(tmp_path, a, b):
    """Balls in B at the images of three points of A: pulled onto A, they lie at the points."""
    centres = np.array([[10.0, -10, 15], [-35, 20, 0], [15, -40, -8]])
    reference, moving = GRIDS[a], GRIDS[b]
    there, _ = WAYS["rigid"]
    field = read_fsl_warp(
        write_fsl_warp(tmp_path / "warp.nii.gz", reference, moving, there), reference, moving
    )
    for centre in centres:
        away = world_of_voxels(moving) - there(centre)
        ball = moving.with_data(np.exp(-(away**2).sum(-1) / (2 * 9.0**2)).astype(np.float32))
        pulled = resample_through_field(ball, field).data
        found = np.average(
            world_of_voxels(reference).reshape(-1, 3), axis=0, weights=pulled.ravel()
        )
        np.testing.assert_allclose(found, centre, rtol=0, atol=WITHIN_MM)


def test_the_header_of_the_warp_does_not_count(tmp_path):
    """``convertwarp`` of FSL before 6.0.5 often left it empty."""
    here, other = GRIDS["oblique"], GRIDS["left-handed"]
    path = write_fsl_warp(tmp_path / "warp.nii", here, other, WAYS["rigid"][0])
    ways = np.asarray(nib.load(path).dataobj)
    nib.save(nib.Nifti1Image(ways, None), tmp_path / "bare.nii")
    fields = [read_fsl_warp(tmp_path / name, here, other) for name in ("warp.nii", "bare.nii")]
    np.testing.assert_array_equal(fields[0].displacement_mm, fields[1].displacement_mm)


def test_what_is_no_warp_of_the_reference_is_refused(tmp_path):
    here = GRIDS["oblique"]
    write_volume(tmp_path / "volume.nii", here)
    with pytest.raises(DataError, match=r"volume\.nii: a 4-D image"):
        read_fsl_warp(tmp_path / "volume.nii", here, here)
    write_array(tmp_path / "coefficients.nii", np.zeros((8, 9, 7, 3), np.float32), np.eye(4))
    with pytest.raises(DataError, match=r"coefficients\.nii: a warp of FSL \(50, 60, 40, 3\)"):
        read_fsl_warp(tmp_path / "coefficients.nii", here, here)
    ways = np.zeros((*here.shape, 3), np.float32)
    ways[1, 2, 3, 0] = np.inf
    write_array(tmp_path / "infinite.nii", ways, here.affine)
    with pytest.raises(DataError, match=r"infinite\.nii: .* not finite"):
        read_fsl_warp(tmp_path / "infinite.nii", here, here)
    with pytest.raises(DataError, match=r"none\.nii: no such file"):
        read_fsl_warp(tmp_path / "none.nii", here, here)
