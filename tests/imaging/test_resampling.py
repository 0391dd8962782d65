"""Resampling, smoothing and coarsening against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.core.transforms import rigid_matrix
from pipeline.core.volume import Volume
from pipeline.imaging.resampling import coarsen, resample_rigid, smooth


def _points(shape: tuple[int, int, int], affine: np.ndarray) -> np.ndarray:
    index = np.moveaxis(np.indices(shape), 0, -1).astype(float)
    return np.asarray(index @ affine[:3, :3].T + affine[:3, 3])


def _blob(points: np.ndarray) -> np.ndarray:
    distance = np.sum((points - [3.0, -4, 5]) ** 2, axis=-1)
    return np.asarray(np.exp(-distance / (2 * 9.0**2)), np.float32)


def test_rigid_resampling_samples_the_function_at_the_moved_points() -> None:
    affine = np.diag([-2.0, 2, 3, 1])
    affine[:3, 3] = [40, -40, -45]
    grid_affine = np.diag([2.5, 2.5, 2.5, 1])
    grid_affine[:3, 3] = -30
    moving = Volume(_blob(_points((40, 40, 30), affine)), affine)
    grid = Volume(np.zeros((24, 24, 24), np.float32), grid_affine)
    xfm = rigid_matrix(np.array([2.0, 1, -3]), np.array([0.1, -0.05, 0.2]))
    target = _points(grid.shape, grid_affine)
    expected = _blob(target @ xfm[:3, :3].T + xfm[:3, 3])
    # a Gaussian of sigma 9 mm on 3 mm voxels: the cubic spline's error is far below a percent
    np.testing.assert_allclose(resample_rigid(moving, grid, xfm), expected, atol=2e-3)


def test_identity_returns_the_voxels() -> None:
    data = np.random.default_rng(0).random((6, 7, 8)).astype(np.float32)
    volume = Volume(data, np.diag([2.0, 2, 2, 1]))
    np.testing.assert_allclose(resample_rigid(volume, volume, np.eye(4)), data, atol=1e-5)


def test_labels_stay_labels() -> None:
    labels = np.random.default_rng(0).integers(0, 5, (12, 12, 12)).astype(np.float32)
    volume = Volume(labels, np.eye(4))
    moved = resample_rigid(
        volume, volume, rigid_matrix(np.array([0.3, 0, 0.4]), np.array([0.1, 0, 0])), order=0
    )
    assert set(np.unique(moved)) <= {0.0, 1.0, 2.0, 3.0, 4.0}


def test_smoothing_has_the_width_asked_for_on_every_axis() -> None:
    data = np.zeros((41, 41, 31), np.float32)
    data[20, 20, 15] = 1
    affine = np.diag([1.0, 1.5, 2.0, 1])
    smoothed = smooth(Volume(data, affine), np.array([6.0, 9.0, 0.0])).data.astype(float)
    for axis, (voxel, fwhm) in enumerate(zip((1.0, 1.5, 2.0), (6.0, 9.0, 0.0), strict=True)):
        profile = smoothed.sum(axis=tuple(a for a in range(3) if a != axis))
        place = (np.arange(len(profile)) - profile.argmax()) * voxel
        measured = np.sqrt(8 * np.log(2) * (profile @ place**2) / profile.sum())
        assert measured == pytest.approx(fwhm, rel=0.02, abs=1e-6)


def test_no_smoothing_returns_the_volume() -> None:
    volume = Volume(np.ones((3, 3, 3), np.float32), np.eye(4))
    assert smooth(volume, 0) is volume


def test_coarsening_averages_blocks_and_keeps_places() -> None:
    affine = np.diag([1.2, 1.2, 3.0, 1])
    affine[:3, 3] = [5, 6, 7]
    points = _points((11, 9, 8), affine)
    linear = (points @ [1.0, 2, 3]).astype(np.float32)
    coarse = coarsen(Volume(linear, affine), 4)
    assert coarse.shape == (3, 3, 8)
    np.testing.assert_allclose(coarse.voxel_size_mm, [3.6, 3.6, 3.0])
    # the mean of a linear function over a block is its value at the centre of the block
    centres = _points(coarse.shape, coarse.affine)
    np.testing.assert_allclose(coarse.data, centres @ [1.0, 2, 3], rtol=1e-5)


def test_coarsening_leaves_large_voxels_alone() -> None:
    volume = Volume(np.ones((4, 4, 4), np.float32), np.diag([3.0, 3, 3, 1]))
    assert coarsen(volume, 4) is volume


def flat(value=10.0, shape=(12, 11, 10)):
    return Volume(np.full(shape, value, np.float32), np.diag([3.0, 3, 3, 1]))


def shift_z(by_mm):
    xfm = np.eye(4)
    xfm[2, 3] = by_mm
    return xfm


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("by_mm", [0.3, 1.4, -0.3, -1.4])
def test_border_voxels_reach_half_their_width(by_mm, order):
    # an object that fills the field of view stays flat while it moves by less than half a voxel
    moved = resample_rigid(flat(), flat(), shift_z(by_mm), order)
    np.testing.assert_allclose(moved, 10, rtol=1e-6)


def test_what_the_image_does_not_cover_is_told_apart():
    moved = resample_rigid(flat(), flat(), shift_z(4.6), outside=np.nan)
    np.testing.assert_allclose(moved[:, :, :-2], 10, rtol=1e-6)
    assert np.isnan(moved[:, :, -2:]).all()
    assert (resample_rigid(flat(), flat(), shift_z(4.6))[:, :, -2:] == 0).all()


def test_a_value_that_is_missing_stays_where_it_is():
    volume = flat()
    volume.data[5, 5, 5] = np.nan
    moved = resample_rigid(volume, volume, shift_z(0.3))
    assert np.isnan(moved).sum() == 2
    assert np.isnan(moved[5, 5, 4:6]).all()
    blurred = smooth(volume, 6.0).data
    assert np.isnan(blurred).sum() == 1
    np.testing.assert_allclose(blurred[np.isfinite(blurred)], 10, rtol=1e-5)
