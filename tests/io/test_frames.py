"""Frames of one file or several, read one at a time: same bits, one resampling."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pipeline.core.errors import DataError
from pipeline.core.transforms import rigid_matrix
from pipeline.io.frames import RawFrames
from pipeline.io.images import write_array

SHAPE = (6, 5, 4)
AFFINE = np.array([[2.0, 0, 0, -5], [0, 2, 0, 3], [0, 0, 3, 1], [0, 0, 0, 1]])


def write_scaled(path, stored, slope, affine=AFFINE):
    """Integers with a scale factor, as scanners store them."""
    image = nib.Nifti1Image(stored.astype(np.int16), affine)
    image.header.set_slope_inter(slope, 0)
    nib.save(image, path)
    return Path(path)


def data_of(volumes):
    return np.stack([volume.data for volume in volumes], axis=3)


def ramp(affine, shape=SHAPE):
    """World x + 10 z at every voxel: what linear and cubic splines both keep."""
    index = np.moveaxis(np.indices(shape), 0, -1)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    return (world[..., 0] + 10 * world[..., 2]).astype(np.float32)


def test_parts_have_the_bits_of_the_whole(tmp_path, rng):
    series = rng.normal(size=(*SHAPE, 7)).astype(np.float32)
    scale = tuple(rng.uniform(1, 3, 7).tolist())
    whole = write_array(tmp_path / "whole.nii.gz", series, AFFINE)
    first = write_array(tmp_path / "a.nii.gz", series[..., :4], AFFINE)
    later = write_array(tmp_path / "b.nii", series[..., 4:], AFFINE)
    kept = (0, 2, 3, 5)
    joined = RawFrames((first, later), ((0, 2, 3), (1,)), tuple(scale[i] for i in kept))
    expected = RawFrames((whole,), (kept,), joined.scale)
    np.testing.assert_array_equal(data_of(joined.placed()), data_of(expected.placed()))
    everything = RawFrames((whole,), (), scale)
    np.testing.assert_array_equal(
        data_of(everything.placed())[..., kept], data_of(joined.placed())
    )
    assert data_of(joined.placed()).dtype == np.float32


def test_every_part_has_its_own_scale_factor(tmp_path, rng):
    stored = rng.integers(0, 3000, (*SHAPE, 4))
    first = write_scaled(tmp_path / "a.nii.gz", stored[..., :2], 0.5)
    later = write_scaled(tmp_path / "b.nii.gz", stored[..., 2:], 7.25)
    frames = RawFrames((first, later), ((0, 1), (0, 1)), (1.0, 2.0, 1.0, 2.0))
    expected = stored * [0.5, 1.0, 7.25, 14.5]
    np.testing.assert_array_equal(data_of(frames.placed()), expected)


def test_frames_on_another_grid_come_to_the_first_by_their_headers(tmp_path):
    moved = AFFINE @ rigid_matrix(np.array([0.25, -1.0, 1.5]), np.zeros(3))
    size, other_size, inside = (12, 12, 14), (13, 12, 15), (slice(4, -4),) * 3
    first = write_array(tmp_path / "a.nii.gz", ramp(AFFINE, size)[..., None], AFFINE)
    later = write_array(tmp_path / "b.nii.gz", ramp(moved, other_size)[..., None], moved)
    frames = RawFrames((first, later), ((0,), (0,)), (1.0, 1.0))
    own, other = np.moveaxis(data_of(frames.placed()), 3, 0)
    np.testing.assert_array_equal(own, ramp(AFFINE, size))
    assert 0.7 < np.isfinite(other).mean() < 1
    # cubic splines keep a ramp; the border's bend falls to a hundredth within four voxels
    np.testing.assert_allclose(other[inside], ramp(AFFINE, size)[inside], atol=0.3)


def test_a_transform_and_another_grid_are_one_resampling(tmp_path, rng):
    """As if the frame had been on a grid that lies where transform and header put it."""
    moved = AFFINE @ rigid_matrix(np.array([0.5, 0, 0]), np.zeros(3))
    data = rng.normal(size=(*SHAPE, 1)).astype(np.float32)
    first = write_array(tmp_path / "a.nii.gz", data, AFFINE)
    later = write_array(tmp_path / "b.nii.gz", data, moved)
    back = AFFINE @ np.linalg.inv(moved)
    frames = RawFrames((first, later), ((0,), (0,)), (1.0, 1.0))
    _, placed = frames.placed(np.array([np.eye(4), back]))
    # a second resampling would smooth noise; one that leads home keeps it
    np.testing.assert_allclose(placed.data, data[..., 0], atol=1e-4)


def test_empty_frames_are_those_without_counts(tmp_path):
    series = np.ones((*SHAPE, 5), np.float32)
    series[..., 1] = 0
    series[..., 3] = np.nan
    series[..., 4] = 0
    series[2, 2, 2, 4] = 1e-3
    path = write_array(tmp_path / "pet.nii.gz", series, AFFINE)
    frames = RawFrames((path,), (), (1.0,) * 5)
    assert frames.empty() == [1, 3]
    with pytest.raises(DataError, match=r"pet.nii.gz: a frame holds no finite value, frame 3"):
        list(frames.placed())


@pytest.mark.parametrize(
    ("shape", "numbers", "words"),
    [
        (SHAPE, (), "a 4-D image expected"),
        ((*SHAPE, 3), (), "3 frames, but the sidecar times 2"),
        ((*SHAPE, 3), ((0, 3),), "no frame 3, the image has 3"),
    ],
)
def test_files_that_lack_frames_are_refused(tmp_path, shape, numbers, words):
    path = write_array(tmp_path / "pet.nii.gz", np.ones(shape, np.float32), AFFINE)
    with pytest.raises(DataError, match=words):
        list(RawFrames((path,), numbers, (1.0, 1.0)).placed())
