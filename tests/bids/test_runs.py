"""Runs of one injection become one scan on its clock, or an error; frames go by list and rule."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.bids.dataset import Selection
from pipeline.bids.preflight import render_plan, survey
from pipeline.bids.runs import FrameChoice

# three frames from 0 to 90 s, and three more from 30 min on, told by a clock of their own
LATER = {
    "TimeZero": "10:30:00",
    "InjectionStart": -1800,
    "ImageDecayCorrectionTime": -1800,
    "FrameTimesStart": [0, 60, 120],
    "FrameDuration": [60, 60, 300],
}
JOINED = FrameChoice(join_runs=True)


def joined(tree, choice=JOINED, **selection):
    return survey(tree.root, Selection(**selection), frames=choice)


def the_error(plan):
    ((_, errors),) = plan.blocked
    (error,) = errors
    return error


@pytest.fixture
def runs(tree):
    """A session of two runs of one injection; the second is given by its keys."""
    tree.t1w("sub-01")
    tree.pet("sub-01_ses-pre_run-1")

    def second(**keys):
        tree.pet("sub-01_ses-pre_run-2", **(LATER | keys))
        return tree

    return second


def test_runs_are_scans_of_their_own_unless_asked_for(runs):
    plan = survey(runs().root)
    assert [scan.run for scan in plan.scans] == ["1", "2"]
    assert plan.scans[1].later_runs == plan.scans[1].frames == ()


def test_runs_are_joined_on_the_clock_of_the_injection(runs):
    plan = joined(runs())
    (scan,) = plan.scans
    assert scan.label == "sub-01_ses-pre"
    assert [path.name[-12:] for path in scan.files] == ["1_pet.nii.gz", "2_pet.nii.gz"]
    assert scan.frame_start_s == (0, 10, 30, 1800, 1860, 1920)
    assert scan.frame_duration_s == (10, 20, 60, 60, 60, 300)
    assert scan.frame_scale == (1.0,) * 6
    assert scan.frames == ((0, 1, 2), (0, 1, 2))
    (note,) = plan.findings
    assert note.severity == "note"
    assert "joined with sub-01_ses-pre_run-2_pet.nii.gz to 6 frames, 28.5 min between" in str(note)
    assert plan.noted[0] == (scan.label, plan.findings)
    assert "run-1_pet.nii.gz + sub-01_ses-pre_run-2_pet.nii.gz" in render_plan(plan)


def test_each_run_is_brought_to_the_injection_by_its_own_sidecar(runs):
    """Corrected to its own start, kBq/mL: what half an hour of carbon-11 makes of it."""
    (scan,) = joined(runs(ImageDecayCorrectionTime=0, Units="kBq/mL")).scans
    assert scan.frame_scale[:3] == (1.0,) * 3
    np.testing.assert_allclose(scan.frame_scale[3:], 1000 * 2 ** (1800 / 1221.84), rtol=1e-12)


def test_midnight_between_the_runs_changes_nothing(tree):
    tree.t1w("sub-01")
    tree.pet("sub-01_run-1", TimeZero="23:50:00", InjectionStart=30, ImageDecayCorrectionTime=30)
    later = LATER | {"TimeZero": "00:20:30", "InjectionStart": -1800}
    tree.pet("sub-01_run-2", **later)
    (scan,) = joined(tree).scans
    assert scan.frame_start_s == (-30, -20, 0, 1800, 1860, 1920)


def test_runs_in_another_order_than_their_names_follow_the_clock(tree):
    tree.t1w("sub-01")
    tree.pet("sub-01_run-1", **LATER)
    tree.pet("sub-01_run-2")
    (scan,) = joined(tree).scans
    assert [path.name[7:12] for path in scan.files] == ["run-2", "run-1"]
    assert scan.timing.start_s[0] == 0


def test_a_clock_that_starts_with_the_second_run_is_an_error_that_says_what_to_write(runs):
    tree = runs(InjectionStart=0, ImageDecayCorrectionTime=0)
    error = the_error(joined(tree))
    assert error.where == "sub-01/ses-pre/pet/sub-01_ses-pre_run-2_pet.json"
    assert error.key == "InjectionStart"
    assert "sub-01/ses-pre/pet/sub-01_ses-pre_run-1_pet.json" in error.message
    assert "TimeZero" in error.message
    assert "10:30:00" in error.message
    assert "10:00:00" in error.message
    assert "write InjectionStart -1800 here" in error.next_step
    # who does as told has it joined
    (scan,) = joined(runs(InjectionStart=-1800, ImageDecayCorrectionTime=0)).scans
    assert scan.frame_start_s[3] == 1800


@pytest.mark.parametrize(
    ("keys", "key", "words"),
    [
        ({"InjectedRadioactivity": 300}, "InjectedRadioactivity", ("300 MBq", "400 MBq")),
        ({"TracerRadionuclide": "F18"}, "TracerRadionuclide", ("F18", "C11")),
        ({"TimeZero": None}, "TimeZero", ("cannot be joined",)),
        ({"TimeZero": "half past ten"}, "TimeZero", ("cannot be joined",)),
        ({"TimeZero": "10:30:02"}, "InjectionStart", ("10:00:02",)),
        (
            {"TimeZero": "10:01:00", "InjectionStart": -60, "ImageDecayCorrectionTime": -60},
            "TimeZero",
            ("30 s before those of sub-01_ses-pre_run-1_pet.nii.gz end",),
        ),
    ],
)
def test_runs_that_contradict_each_other_are_never_joined(runs, keys, key, words):
    plan = joined(runs(**keys))
    error = the_error(plan)
    assert plan.scans == ()
    assert error.key == key
    assert error.where.endswith(("run-1_pet.json", "run-2_pet.json"))
    assert "scan.join_runs = false" in error.next_step
    for word in words:
        assert word in error.message


def test_a_second_of_the_clock_and_a_hundredth_of_frame_ends_are_rounding(runs):
    tree = runs(TimeZero="10:01:30", InjectionStart=-89.995, ImageDecayCorrectionTime=-89.995)
    (scan,) = joined(tree).scans
    assert len(scan.timing) == 6
    assert scan.frame_start_s[3] == pytest.approx(89.995)


def test_one_bad_run_blocks_the_scan(runs):
    tree = runs(FrameDuration=None)
    plan = joined(tree)
    assert plan.scans == ()
    assert [label for label, _ in plan.blocked] == ["sub-01_ses-pre"]


def test_a_later_run_may_have_one_frame_but_must_be_a_series(runs, tree):
    runs(FrameTimesStart=[0], FrameDuration=[60])
    image = tree.root / "sub-01/ses-pre/pet/sub-01_ses-pre_run-2_pet.nii.gz"
    where = image.relative_to(tree.root).as_posix()
    tree.image(where, (2, 2, 2, 1))
    assert len(joined(tree).scans[0].timing) == 4
    tree.image(where, (2, 2, 2))
    assert "a dynamic (4-D) PET is expected" in the_error(joined(tree)).message


def test_only_runs_that_were_selected_are_joined(runs):
    tree = runs()
    tree.pet("sub-01_ses-pre_run-3", **(LATER | {"InjectionStart": 0}))
    (scan,) = joined(tree, runs=("1", "2")).scans
    assert len(scan.files) == 2
    (alone,) = joined(tree, runs=("1",)).scans
    assert alone.label == "sub-01_ses-pre_run-1"


def test_other_entities_keep_scans_apart(runs, tree):
    runs()
    tree.pet("sub-01_ses-pre_rec-acdyn_run-2")
    assert [scan.label for scan in joined(tree).scans] == [
        "sub-01_ses-pre_rec-acdyn_run-2",
        "sub-01_ses-pre",
    ]


def test_a_moved_bed_is_told_and_voxels_within_rounding_are_not(runs, tree):
    runs()
    where = "sub-01/ses-pre/pet/sub-01_ses-pre_run-2_pet.nii.gz"
    for shift_mm, told in ((0.001, False), (12.0, True)):
        affine = np.eye(4)
        affine[2, 3] = shift_mm
        tree.image(where, (2, 2, 2, 3), affine)
        plan = joined(tree)
        assert len(plan.scans) == 1
        assert any("its voxels lie elsewhere" in f.message for f in plan.findings) is told


@pytest.mark.parametrize(
    ("choice", "kept"),
    [
        (FrameChoice(drop=(0, 4)), (1, 2, 3, 5)),
        (FrameChoice(drop_of=(("sub-01_ses-pre", (2,)),)), (0, 1, 3, 4, 5)),
        (FrameChoice(drop_of=(("sub-01", (2,)), ("sub-01_ses-pre", (3,)))), (0, 1, 4, 5)),
        (FrameChoice(start_s=10), (1, 2, 3, 4, 5)),
        (FrameChoice(start_s=10.001, end_s=1919.995), (1, 2, 3, 4)),
        (FrameChoice(end_s=1919), (0, 1, 2, 3)),
        (FrameChoice(end_s=1000), (0, 1, 2)),
        (FrameChoice(drop=(1,), start_s=5, end_s=1919), (2, 3)),
    ],
)
def test_frames_are_left_out_by_number_and_by_time(runs, choice, kept):
    tree = runs()
    whole = joined(tree).scans[0]
    plan = joined(tree, replace(choice, join_runs=True))
    (scan,) = plan.scans
    assert scan.numbers == kept
    assert scan.frame_start_s == tuple(whole.frame_start_s[i] for i in kept)
    assert scan.frame_duration_s == tuple(whole.frame_duration_s[i] for i in kept)
    assert len(scan.frame_scale) == len(kept)
    assert scan.frames == (
        tuple(i for i in kept if i < 3),
        tuple(i - 3 for i in kept if i >= 3),
    )
    told = [f.message for f in plan.noted[0][1] if "frames left out" in f.message]
    assert len(told) == 1
    assert told[0].endswith(f"; {len(kept)} of 6 remain")


def test_what_is_left_out_is_told_with_its_rule(runs):
    plan = joined(runs(), FrameChoice(join_runs=True, drop=(0, 1, 4), end_s=2000))
    message = next(f.message for f in plan.findings if "left out" in f.message)
    assert message == (
        "frames left out: 0 to 1, 4 by scan.drop_frames, 5 by scan.end_s; 2 of 6 remain"
    )


def test_a_start_without_the_first_frames_is_a_warning(runs):
    plan = joined(runs(), FrameChoice(join_runs=True, start_s=100))
    assert any(f.severity == "warning" and "30.0 min after" in f.message for f in plan.findings)


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (FrameChoice(drop=(6, 7)), "no frame 6 to 7: frames are 0 to 5"),
        (FrameChoice(drop=(0, 1, 2, 3, 4)), "1 of 6 remain"),
        (FrameChoice(start_s=1e5), "0 of 6 remain"),
    ],
)
def test_frames_that_are_not_there_or_all_there_are_block_the_scan(runs, choice, words):
    assert words in the_error(joined(runs(), replace(choice, join_runs=True))).message


def test_a_misspelt_session_is_a_warning(runs):
    plan = joined(runs(), FrameChoice(join_runs=True, drop_of=(("sub-01_ses-per", (1,)),)))
    assert len(plan.scans[0].timing) == 6
    assert any(f.severity == "warning" and "sub-01_ses-per" in f.message for f in plan.findings)


def test_leaving_out_in_two_steps_is_leaving_out_at_once(runs):
    (scan,) = joined(runs()).scans
    twice = scan.without({1, 3}).without({0, 2})
    assert twice == scan.without({0, 1, 3, 4})
    assert twice.numbers == (2, 5)
    assert twice.frames == ((2,), (2,))
    assert scan.without(()) == scan
