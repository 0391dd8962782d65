"""PET on T1w: known poses are found again, wherever the headers put the images."""

import numpy as np
import pytest
from scipy import ndimage

from pipeline.core.transforms import apply_affine, displacement_mm, rigid_matrix
from pipeline.core.volume import Volume
from pipeline.imaging.coregistration import coregister
from pipeline.imaging.resampling import resample_rigid, smooth


@pytest.fixture(scope="module")
def head():
    """A brain-sized body on a 3-mm grid with folds, a bright kernel and no symmetry."""
    axes = [np.arange(n) * 3.0 - (n - 1) * 1.5 for n in (56, 64, 52)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    brain = (x / 66) ** 2 + (y / 82) ** 2 + (z / 60) ** 2 < 1
    folds = np.sin(x / 7) * np.sin(y / 9 + 1) * np.sin(z / 8 + 2) > 0.1
    kernel = ((x - 15) / 14) ** 2 + ((y - 20) / 25) ** 2 + ((z + 8) / 12) ** 2 < 1
    classes = np.where(brain, 1 + folds + 2 * kernel, 0)
    affine = np.eye(4) * 3
    affine[:3, 3] = [axis[0] for axis in axes]
    affine[3, 3] = 1
    return Volume(classes.astype(np.int32), affine), brain


def _image(head, levels, fwhm_mm):
    classes, _ = head
    values = np.array(levels, np.float32)[classes.data]
    return smooth(classes.with_data(values), fwhm_mm)


@pytest.mark.parametrize(
    ("translation_mm", "rotation_deg", "origin_shift_mm"),
    [
        ((3, -4, 5), (3, -2, 4), (0, 0, 0)),
        ((-6, 8, 3), (-6, 5, 3), (110, -60, 80)),
    ],
)
def test_a_known_pose_is_found(head, translation_mm, rotation_deg, origin_shift_mm):
    t1w = _image(head, (0, 60, 100, 80, 110), 1)
    t1w2pet = rigid_matrix(np.array(translation_mm, float), np.deg2rad(rotation_deg))
    t1w2pet[:3, 3] += origin_shift_mm
    grid_affine = np.diag([-4.0, 4.0, 4.0, 1.0])  # stored flipped
    grid_affine[:3, 3] = np.array([110.0, -120, -95]) + origin_shift_mm
    grid = Volume(np.zeros((55, 60, 48), np.float32), grid_affine)
    activity = _image(head, (0, 3, 1.2, 5, 4), 6)
    pet = resample_rigid(activity, grid, np.linalg.inv(t1w2pet), order=1)
    noise = np.random.default_rng(3).normal(0, 0.3, pet.shape)
    pet = grid.with_data((pet + ndimage.gaussian_filter(noise, 1)).astype(np.float32))
    found = coregister(pet, t1w, head[1], 4.0)
    points = apply_affine(t1w.affine, np.argwhere(head[1])[::50].astype(float))
    error = displacement_mm(np.linalg.inv(found.petref2t1w_xfm), t1w2pet, points)
    # a quarter of a PET voxel
    assert error.mean() < 1.0
    assert found.start_scores.keys() >= {"header", "centres"}
    assert 1 <= found.starts_that_agree <= len(found.start_scores)


def test_images_that_never_overlap_are_an_error(head):
    t1w = _image(head, (0, 60, 100, 80, 110), 1)
    empty = Volume(np.zeros((20, 20, 20), np.float32), np.eye(4))
    with pytest.raises(ValueError, match="no head"):
        coregister(empty, t1w, head[1], 4.0)
