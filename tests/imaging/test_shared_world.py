"""Two T1w images of a head: how far apart, against moves that were made."""

import numpy as np
import pytest

from pipeline.core.errors import DataError
from pipeline.core.transforms import apply_affine, displacement_mm, rigid_matrix
from pipeline.core.volume import Volume
from pipeline.imaging.shared_world import ALIKE, compare_worlds
from smriprep_derivatives import make_known_head

MOVES = {
    "none": np.eye(4),
    "3 mm": rigid_matrix(np.array([0.0, 3, 0]), np.zeros(3)),
    "turned": rigid_matrix(np.array([-4.0, 2, 9]), np.radians([5.0, -3, 4])),
    "far": rigid_matrix(np.array([10.0, -40, 60]), np.zeros(3)),
}


@pytest.fixture(scope="module")
def head():
    return make_known_head(3.0)


@pytest.mark.parametrize(
    "name", ["none", "turned", *(pytest.param(n, marks=pytest.mark.slow) for n in ("3 mm", "far"))]
)
def test_the_distance_is_that_of_the_move(head, name):
    move = MOVES[name]
    points = apply_affine(head.even.affine, np.argwhere(head.brain.data).astype(float))
    truth_mm = displacement_mm(move, np.eye(4), points).mean()
    raw = Volume(head.raw.data, move @ head.raw.affine)
    found = compare_worlds(head.even, head.brain, raw)
    print(f"{name}: {truth_mm:.2f} mm, found {found.apart_mm:.2f} mm, {found}")
    # uneven sensitivity of a factor of two across the head pulls by no more than that
    assert found.apart_mm == pytest.approx(truth_mm, abs=0.3)
    assert found.aligned_correlation > 0.95
    if name == "none":
        assert found.correlation > 0.95
    else:
        assert found.correlation < found.aligned_correlation


@pytest.mark.slow
def test_other_heads_are_not_alike(head):
    other = head.raw.with_data(np.ascontiguousarray(head.raw.data[::-1, :, ::-1]))
    found = compare_worlds(head.even, head.brain, other)
    assert found.aligned_correlation < ALIKE


@pytest.mark.slow
def test_the_share_of_the_brain_in_the_picture_is_told(head):
    places = np.argwhere(head.brain.data)
    middle = int(np.median(places[:, 0]))
    half = Volume(head.raw.data[: middle + 1], head.raw.affine)
    found = compare_worlds(head.even, head.brain, half)
    assert found.brain_in_picture == pytest.approx((places[:, 0] <= middle).mean(), abs=0.02)


def test_a_picture_without_the_brain_is_refused(head):
    away = rigid_matrix(np.array([0.0, 0, 400]), np.zeros(3))
    with pytest.raises(DataError, match="no part of the brain lies in the picture"):
        compare_worlds(head.even, head.brain, Volume(head.raw.data, away @ head.raw.affine))


def test_an_empty_picture_is_like_nothing(head):
    found = compare_worlds(head.even, head.brain, head.raw.with_data(head.raw.data * 0))
    assert np.isnan(found.correlation)
    assert not found.aligned_correlation >= ALIKE
