"""Frames joined by counts: theory of decay, and limits that every grouping keeps."""

import numpy as np
import pytest

from pipeline.core.timing import FrameTiming
from pipeline.imaging.frame_groups import (
    Grouping,
    decays,
    group_frames,
    reference_groups,
    split_at_jumps,
)
from pipeline.simulation.options import paper_timing

TIMING = paper_timing()
RATE_PER_S = np.log(2) / 1221.84


def counts_of(timing=TIMING):
    return decays(np.full(len(timing), 1e7), timing, RATE_PER_S)


def test_decays_of_adjoining_frames_add_up_to_the_integral():
    total = 1e7 * -np.expm1(-RATE_PER_S * TIMING.end_s[-1]) / RATE_PER_S
    assert counts_of().sum() == pytest.approx(total, rel=1e-12)


def test_without_a_decay_constant_counts_are_activity_times_time():
    np.testing.assert_allclose(decays(np.full(38, 2.0), TIMING, 0.0), 2 * TIMING.duration_s)
    assert decays(np.full(38, -2.0), TIMING, 0.0).max() == 0


@pytest.mark.parametrize("first_frame_s", [0.0, 120.0])
@pytest.mark.parametrize("longest_group_s", [60.0, 120.0, 900.0])
@pytest.mark.parametrize("group_counts", [0.0, 5e8, 1e12])
def test_groups_cover_the_late_frames_and_keep_their_limits(
    first_frame_s, longest_group_s, group_counts
):
    grouping = Grouping(
        first_frame_s=first_frame_s, longest_group_s=longest_group_s, group_counts=group_counts
    )
    counts = counts_of()
    groups = group_frames(counts, TIMING, grouping)
    late = np.flatnonzero(TIMING.mid_s >= first_frame_s)
    assert [f for g in groups for f in range(g.start, g.stop)] == late.tolist()
    for g in groups:
        length_s = TIMING.end_s[g.stop - 1] - TIMING.start_s[g.start]
        assert g.stop - g.start == 1 or length_s <= longest_group_s
        if counts[g].sum() < group_counts and g.stop < len(TIMING):
            assert TIMING.end_s[g.stop] - TIMING.start_s[g.start] > longest_group_s
    if group_counts == 0:
        assert len(groups) == len(late)


def test_early_frames_are_joined_and_long_ones_stay_alone():
    groups = group_frames(counts_of(), TIMING, Grouping(first_frame_s=0.0))
    assert groups[0].stop - groups[0].start > 3
    assert all(g.stop - g.start == 1 for g in groups if g.start >= 22)


def test_frame_ends_that_overlap_by_rounding_change_nothing():
    start_s = TIMING.start_s + np.random.default_rng(1).uniform(-1e-6, 1e-6, len(TIMING))
    rounded = FrameTiming(start_s, TIMING.duration_s)
    assert (rounded.end_s[:-1] > rounded.start_s[1:]).any()
    for grouping in (Grouping(), Grouping(longest_group_s=60.0)):
        assert group_frames(counts_of(), rounded, grouping) == group_frames(
            counts_of(), TIMING, grouping
        )


def test_reference_is_all_the_second_half_or_the_most_counts():
    counts, groups = counts_of(), [slice(i, i + 1) for i in range(len(TIMING))]
    assert reference_groups("all", groups, counts, TIMING).all()
    late = reference_groups("late", groups, counts, TIMING)
    np.testing.assert_array_equal(late, TIMING.mid_s >= TIMING.end_s[-1] / 2)
    most = reference_groups("counts", groups, counts, TIMING)
    assert counts[most].min() >= counts[~most].max()
    assert counts[most].sum() >= counts.sum() / 2 > counts[most].sum() - counts[most].min()


def test_groups_beside_a_jump_are_taken_apart():
    groups = [slice(4, 6), slice(6, 9), slice(9, 11), slice(11, 12)]
    every = np.ones(4, bool)
    assert split_at_jumps(groups, np.array([0.3, 0.2, np.nan]), every) == groups
    jump = np.array([0.3, 2.2, 0.1])
    apart = [slice(f, f + 1) for f in range(6, 11)]
    assert split_at_jumps(groups, jump, every) == [groups[0], *apart, groups[3]]
    some = np.array([True, False, True, True])
    assert split_at_jumps(groups, jump, some) == [*groups[:2], *apart[3:], groups[3]]
    assert split_at_jumps(groups[:1], np.empty(0), every[:1]) == groups[:1]


@pytest.mark.parametrize("gap_s", [0.0, 2.0, 10.0, 1200.0])
@pytest.mark.parametrize("after", [8, 12, 20])
def test_no_group_crosses_a_break_of_the_scan(gap_s, after):
    start_s = TIMING.start_s + np.where(np.arange(len(TIMING)) > after, gap_s, 0)
    timing = FrameTiming(start_s, TIMING.duration_s)
    # so few counts that nothing but time and the break ends a group
    grouping = Grouping(first_frame_s=0.0, group_counts=1e12, longest_group_s=400.0)
    groups = group_frames(counts_of(timing), timing, grouping)
    assert [f for g in groups for f in range(g.start, g.stop)] == list(range(len(timing)))
    crossing = [g for g in groups if g.start <= after < g.stop - 1]
    assert bool(crossing) is (gap_s < 5)


def test_what_is_left_at_the_end_does_not_join_the_group_before_a_break():
    timing = FrameTiming(np.array([0.0, 30.0, 90.0]), np.array([30.0, 30.0, 10.0]))
    grouping = Grouping(first_frame_s=0.0, group_counts=50.0, longest_group_s=120.0)
    groups = group_frames(np.array([30.0, 30.0, 1.0]), timing, grouping)
    assert groups == [slice(0, 2), slice(2, 3)]
