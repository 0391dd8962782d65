"""PET on T1w: known poses are found again, wherever the headers put the images."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from pipeline.core.timing import FrameTiming
from pipeline.core.transforms import rigid_matrix
from pipeline.core.volume import Volume
from pipeline.imaging.coregistration import WHOLE, coregister, judge_place, reference_windows
from pipeline.imaging.tissue_contrast import LEAST_SCORE, TYPICAL_SCORES
from simulated_session import Session, Wanted, simulate_session

ALL = slice(None)


@pytest.fixture(scope="module")
def session():
    """A cortical tracer at 4 mm, the head 20 mm and 12 degrees from the T1w's."""
    return simulate_session(Wanted(1, "cortical", 20, 12, pet_voxel_mm=4, t1w_voxel_mm=2))


def placed(session):
    return coregister(session.references, session.head, 4.0)


def moved(shift_mm, turn_deg):
    return rigid_matrix(np.array(shift_mm, float), np.deg2rad(turn_deg))


def noise(session, mean):
    rng = np.random.default_rng(5)
    shape = session.references[WHOLE].shape
    return {
        name: v.with_data(
            (mean + ndimage.gaussian_filter(rng.standard_normal(shape), 1)).astype(np.float32)
        )
        for name, v in session.references.items()
    }


WORLDS = {
    "as it is": lambda s: s,
    "origins 170 mm apart, oblique": lambda s: s.with_world(
        moved((100, -100, 100), (20, -25, 15))
    ),
    "stored the other way": lambda s: s.cropped(slice(None, None, -1), ALL, slice(None, None, -1)),
    "cropped from below": lambda s: s.cropped(ALL, ALL, slice(16, None)),
}


@pytest.mark.parametrize("change", WORLDS.values(), ids=list(WORLDS))
def test_a_known_pose_is_found(session, change):
    changed = change(session)
    found = placed(changed)
    # at half the acceptance test's resolution, half a PET voxel
    assert changed.error_mm(found.petref2t1w_xfm).max() < 2.0
    assert found.score > LEAST_SCORE
    assert found.starts_tried == 8
    assert 1 <= found.starts_that_agree <= 8
    assert found.reference_scores.keys() == {"whole", "early", "late"}
    assert found.reference_scores[found.reference] == max(found.reference_scores.values())
    assert found.margin >= 0


def test_a_head_without_scalp_uptake_is_found():
    wanted = Wanted(2, "flat", 15, 10, pet_voxel_mm=4, t1w_voxel_mm=2, scalp=False)
    bare = simulate_session(wanted)
    found = placed(bare)
    assert bare.error_mm(found.petref2t1w_xfm).max() < 2.0
    assert found.score > LEAST_SCORE


def test_noise_alone_is_flagged(session):
    for mean in (0.0, 5.0):
        found = coregister(noise(session, mean), session.head, 4.0)
        # what is left of chance: smooth noise has few independent values
        assert found.score < LEAST_SCORE / 2


def test_half_a_head_that_lies_across_is_flagged(session):
    half = session.cropped(ALL, ALL, slice(28, None)).with_world(moved((0, 0, 0), (0, 0, 120)))
    assert placed(half).score < LEAST_SCORE / 2


def test_the_score_falls_with_the_error(session):
    truth = np.linalg.inv(session.t1w2pet_xfm)
    scores = [
        judge_place(session.references, session.head, truth @ moved((d, 0, 0), (0, 0, 0))).score
        for d in (0.0, 2.0, 4.0, 8.0, 16.0)
    ]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > LEAST_SCORE > scores[-1]


def test_the_score_knows_no_units_and_no_sign_of_contrast(session):
    truth = np.linalg.inv(session.t1w2pet_xfm)
    changed = {n: v.with_data(7 - 3e3 * v.data) for n, v in session.references.items()}
    first, second = (
        judge_place(images, session.head, truth).score for images in (session.references, changed)
    )
    assert second == pytest.approx(first, rel=1e-3)  # float32


def test_brain_that_is_not_seen_is_not_explained(session):
    truth = np.linalg.inv(session.t1w2pet_xfm)
    half = session.cropped(ALL, ALL, slice(28, None))
    found = judge_place(half.references, session.head, truth)
    assert 0.2 < found.brain_in_field < 0.8
    assert found.score < found.brain_in_field
    unknown = {
        n: v.with_data(np.where(np.indices(v.shape)[2] < 28, np.nan, v.data).astype(np.float32))
        for n, v in session.references.items()
    }
    same = judge_place(unknown, session.head, truth)
    # smoothing takes the edge of a grid as level and leaves the unknown out: hardly a difference
    assert same.score == pytest.approx(found.score, rel=1e-3)


def test_a_given_start_is_the_only_one(session):
    truth = np.linalg.inv(session.t1w2pet_xfm)
    near = truth @ moved((3, -2, 2), (2, 0, 3))
    found = coregister(session.references, session.head, 4.0, near)
    assert (found.start, found.starts_tried) == ("given", 1)
    assert session.error_mm(found.petref2t1w_xfm).max() < 2.0


def test_the_same_bits_again(session):
    one = {WHOLE: session.references[WHOLE]}
    first, again = (coregister(one, session.head, 4.0) for _ in "ab")
    np.testing.assert_array_equal(first.petref2t1w_xfm, again.petref2t1w_xfm)
    # one reference has nothing to be better than
    assert np.isnan(first.margin)
    assert np.isnan(first.spread_mm)


def test_an_empty_pet_is_an_error(session):
    empty = {WHOLE: Volume(np.zeros((20, 20, 20), np.float32), np.eye(4))}
    with pytest.raises(ValueError, match="no head"):
        coregister(empty, session.head, 4.0)


def test_references_on_two_grids_are_an_error(session):
    other = Volume(np.ones((20, 20, 20), np.float32), np.eye(4))
    with pytest.raises(ValueError, match="different grids"):
        judge_place({**session.references, "late": other}, session.head, np.eye(4))


def test_an_empty_brain_is_an_error(session):
    head = replace(session.head, brain_mask=np.zeros_like(session.head.brain_mask))
    with pytest.raises(ValueError, match="mask is empty"):
        judge_place(session.references, head, np.eye(4))


@pytest.mark.parametrize(
    ("start_s", "duration_s", "expected"),
    [
        (
            [0, 300, 600, 3000],
            [300, 300, 2400, 2400],
            {"early": [1, 1, 0, 0], "late": [0, 0, 1, 1]},
        ),
        ([1800, 2400], [600, 600], {"late": [0, 1]}),  # begins late: no flow is seen
        ([0], [3600], {}),  # static
    ],
)
def test_windows_of_the_references(start_s, duration_s, expected):
    windows = reference_windows(FrameTiming(np.array(start_s, float), np.array(duration_s, float)))
    assert {name: frames.astype(int).tolist() for name, frames in windows.items()} == expected


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "tracer"), enumerate(("cortical", "striatal", "flat")))
def test_full_resolution(seed, tracer):
    session = simulate_session(Wanted(seed, tracer, 30, 20))
    found = placed(session)
    error_mm = session.error_mm(found.petref2t1w_xfm)
    assert error_mm.mean() < 1.0
    assert error_mm.max() < 2.0
    # these are three of the sessions that the typical scores come from
    assert min(TYPICAL_SCORES) - 0.005 < found.score < max(TYPICAL_SCORES) + 0.005


@pytest.mark.slow
def test_impossible_at_full_resolution():
    session = simulate_session(Wanted(0, "cortical", 30, 20))
    middle = session.references[WHOLE].shape[2] // 2
    half = session.cropped(ALL, ALL, slice(middle, None)).with_world(moved((0, 0, 0), (90, 0, 0)))
    nothing = Session(noise(session, 5.0), session.head, session.t1w2pet_xfm)
    for impossible in (half, nothing):
        assert placed(impossible).score < LEAST_SCORE


@pytest.mark.parametrize("break_s", [0.0, 1200.0, 7200.0])
def test_windows_of_a_scan_with_a_break_both_hold_frames(break_s):
    start_s = np.arange(20) * 120.0 + np.where(np.arange(20) >= 12, break_s, 0)
    timing = FrameTiming(start_s, np.full(20, 120.0))
    windows = reference_windows(timing)
    assert windows["early"].tolist() == [True] * 5 + [False] * 15
    assert windows["late"][12:].all()
    # where the break is longer than what lies before it, the late ones are those after it
    assert windows["late"][:12].any() == (break_s == 0.0)
