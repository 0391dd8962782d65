"""Rigid registration of two volumes: known moves, other contrast, bad starts."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.core.transforms import displacement_mm, rigid_matrix
from pipeline.core.volume import Volume
from pipeline.imaging.rigid import RigidSearch, best_start, centre_of_mass_mm, register_rigid

SHAPE = (40, 44, 36)
AFFINE = np.diag([4.0, 4, 4, 1])
AFFINE[:3, 3] = [-78, -86, -70]
TRUE = rigid_matrix(np.array([3.0, -2, 4]), np.array([0.05, -0.04, 0.06]))


def _head(back: np.ndarray, inverted: bool = False) -> Volume:
    index = np.moveaxis(np.indices(SHAPE), 0, -1).astype(float)
    points = index @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    points = points @ back[:3, :3].T + back[:3, 3]

    def part(centre: list[float], radii: list[float]) -> np.ndarray:
        distance = np.linalg.norm((points - centre) / np.array(radii), axis=-1)
        return np.asarray(1 / (1 + np.exp((distance - 1) * min(radii) / 2)))

    shell, core = part([0, 0, 0], [58, 66, 52]), part([4, 6, 6], [38, 44, 30])
    spot = part([20, 10, 4], [12, 16, 10])
    # without folds an ellipsoid hardly tells how it is turned
    x, y, z = np.moveaxis(points, -1, 0)
    folds = (shell - core) * np.sin(x / 5) * np.sin(y / 6) * np.sin(z / 5.5)
    values = 4 * shell - 2 * core + 2 * spot + 1.5 * folds
    if inverted:
        values = 3 * core - spot + shell - folds
    return Volume(values.astype(np.float32), AFFINE)


FIXED = _head(np.eye(4))
MOVING = _head(np.linalg.inv(TRUE))
MASK = FIXED.data > 0.2
POINTS = np.argwhere(MASK) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
CORRELATION = RigidSearch(metric="correlation")


@pytest.mark.parametrize("metric", ["correlation", "mutual_information"])
def test_a_known_move_is_found(metric: str) -> None:
    search = RigidSearch(metric=metric)  # type: ignore[arg-type]
    found = register_rigid(FIXED, MOVING, MASK, np.eye(4), search)
    # a tenth of a voxel
    assert displacement_mm(found.fixed2moving_xfm, TRUE, POINTS).mean() < 0.4


def test_mutual_information_bridges_another_contrast() -> None:
    other = _head(np.linalg.inv(TRUE), inverted=True)
    found = register_rigid(FIXED, other, MASK, np.eye(4), RigidSearch())
    assert displacement_mm(found.fixed2moving_xfm, TRUE, POINTS).mean() < 1.0


def test_same_bits_again() -> None:
    first, again = (register_rigid(FIXED, MOVING, MASK, np.eye(4), RigidSearch()) for _ in "ab")
    np.testing.assert_array_equal(first.fixed2moving_xfm, again.fixed2moving_xfm)


def test_best_start_takes_the_highest_score_and_survives_a_lost_one() -> None:
    away = rigid_matrix(np.array([900.0, 0, 0]), np.zeros(3))
    found, scores = best_start(FIXED, MOVING, MASK, [away, np.eye(4)], CORRELATION)
    assert np.isnan(scores[0])
    assert found.score == scores[1]
    assert displacement_mm(found.fixed2moving_xfm, TRUE, POINTS).mean() < 0.4


def test_no_overlap_from_any_start_is_an_error() -> None:
    away = rigid_matrix(np.array([900.0, 0, 0]), np.zeros(3))
    with pytest.raises(ValueError, match="rigid registration failed"):
        best_start(FIXED, MOVING, MASK, [away], CORRELATION)


def test_empty_mask_is_an_error() -> None:
    with pytest.raises(ValueError, match="mask is empty"):
        register_rigid(FIXED, MOVING, np.zeros(SHAPE, bool), np.eye(4), CORRELATION)


def test_centre_of_mass_is_in_world_millimetres() -> None:
    data = np.zeros((10, 10, 10), np.float32)
    data[2, 3, 4], data[4, 3, 4], data[0, 0, 0] = 1, 3, -5
    volume = Volume(data, np.array([[2.0, 0, 0, 1], [0, 3, 0, 2], [0, 0, 4, 3], [0, 0, 0, 1]]))
    np.testing.assert_allclose(centre_of_mass_mm(volume), [8, 11, 19])
    with pytest.raises(ValueError, match="no centre"):
        centre_of_mass_mm(volume.with_data(-np.abs(data)))
