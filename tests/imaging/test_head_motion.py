"""Which sessions are corrected, and how far points of the head go, by hand."""

import numpy as np
import pytest

from pipeline.core.transforms import rigid_matrix
from pipeline.imaging.head_motion import CorrectionRule, HeadMotion, Source

POINTS = np.array([[50.0, 0, 0], [-50, 0, 0], [0, 50, 0], [0, -50, 0]])


def along_x(*shifts_mm, sources=None, groups=None):
    """Head shifted along x, frame by frame, with small errors."""
    xfms = np.array([rigid_matrix(np.array([s, 0.0, 0.0]), np.zeros(3)) for s in shifts_mm])
    n = len(shifts_mm)
    return HeadMotion(
        xfms, POINTS, np.arange(n) if groups is None else np.array(groups),
        sources or (Source.ESTIMATED,) * n, np.ones(n), np.full((n, 6), 0.01), np.full(n, 0.01),
        np.ones(n),
    )  # fmt: skip


def test_displacement_is_in_millimetres_of_points_of_the_head():
    """A turn by 0.1 about z moves points 50 mm off by 2 * 50 * sin(0.05)."""
    turned = np.array([np.eye(4), rigid_matrix(np.zeros(3), np.array([0.0, 0.0, 0.1]))])
    still = along_x(0, 0)
    motion = HeadMotion(
        turned, POINTS, still.group, still.source, still.counts, still.standard_error,
        still.error_mm, still.misfit,
    )  # fmt: skip
    assert motion.framewise_displacement_mm() == pytest.approx([0, 100 * np.sin(0.05)])
    assert motion.displacement_mm()[1] == pytest.approx(100 * np.sin(0.05))


def test_frames_that_share_a_transform_make_one_step():
    copied, own = Source.COPIED, Source.ESTIMATED
    motion = along_x(
        0, 0, 0, 0, 2, 4, sources=(copied, own, own, own, own, own), groups=(0, 0, 0, 0, 1, 2)
    )
    assert motion.steps_mm() == pytest.approx([2, 2])
    assert CorrectionRule(mode="auto").decide({}, motion).corrected  # the median of frames is 0


@pytest.mark.parametrize(
    ("shifts_mm", "corrected"),
    [
        ((0, 0.9, 1.8, 2.7), False),
        ((0, 1.1, 2.2, 3.3), True),  # median above 1 mm
        ((0, 0, 2.9, 2.9), False),
        ((0, 0, 3.1, 3.1), True),  # a jump above 3 mm
    ],
)
def test_auto_corrects_excessive_movement_alone(shifts_mm, corrected):
    decision = CorrectionRule(mode="auto").decide({"sub": "01"}, along_x(*shifts_mm))
    assert decision.corrected is corrected
    assert ("not excessive" in decision.reason) is not corrected
    assert CorrectionRule(mode="always").decide({}, along_x(*shifts_mm)).corrected
    assert not CorrectionRule(mode="never").decide({}, along_x(*shifts_mm)).corrected


def test_limits_of_auto_are_settings():
    motion = along_x(0, 0.5, 1, 1.5)
    assert CorrectionRule(mode="auto", median_mm=0.4).decide({}, motion).corrected
    assert CorrectionRule(mode="auto", jump_mm=0.4).decide({}, motion).corrected


@pytest.mark.parametrize(
    ("name", "corrected"),
    [
        ("sub-01", True), ("sub-01_ses-pre", True), ("sub-01_run-1", True),
        ("sub-1", False), ("sub-01_ses-post", False), ("sub-010", False),
    ],
)  # fmt: skip
def test_a_list_names_sessions_in_full_or_in_part(name, corrected):
    run = {"sub": "01", "ses": "pre", "run": "1"}
    rule = CorrectionRule(mode="listed", sessions=("sub-07", name))
    assert rule.decide(run, along_x(0, 9)).corrected is corrected


def test_a_jump_between_frames_is_not_one_within():
    assert not along_x(0, 0, 5, 5, 5).moved_within(1.5).any()
    within = along_x(0, 0, 2, 5, 5)
    assert np.flatnonzero(within.moved_within(1.5)).tolist() == [2]
    assert within.within_frames_mm()[2] == pytest.approx(2)
    assert not within.moved_within(2.5).any()


def test_what_may_be_noise_is_not_told_of():
    motion = along_x(0, 0, 2, 5, 5)
    motion.error_mm[:] = 0.8
    assert not motion.moved_within(1.5).any()


def test_a_residual_rises_against_its_neighbours():
    motion = along_x(0, 0, 0, 0, 0, 0)
    motion.misfit[:] = [1.5, 1.3, 1.2, 2.7, 1.1, 1.0]  # it also falls slowly
    assert np.flatnonzero(motion.residual_rises()).tolist() == [3]


def test_nobody_looked_is_not_a_still_head():
    motion = HeadMotion.still(3, POINTS)
    assert not motion.estimated.any()
    assert motion.steps_mm().size == 0
    assert np.isnan(motion.within_frames_mm()).all()


def test_what_could_not_be_judged_is_not_called_still():
    decision = CorrectionRule(mode="auto").decide({"sub": "01"}, HeadMotion.still(3, POINTS))
    assert not decision.corrected
    assert decision.reason.startswith("movement could not be judged")
    assert "0.00" not in decision.reason
