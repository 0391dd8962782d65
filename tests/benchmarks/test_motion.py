"""How well head motion is found, and what that is worth: ``pytest -m slow -s tests/benchmarks``.

Scans are simulated at 2 mm with the noise of an HRRT, a head that drifts and jumps by up to 5 mm
and 4 degrees, and three contrasts in turn. ``PETBIND_MOTION_SESSIONS`` says how many, 1 by
default; a scan takes about two minutes, the plain recipe longer: it is compared from 3 on. Errors
are distances of points all over the brain from where they should be, in frames after the first two
minutes. BPND is by true labels, and its error by motion the difference from frames put right with
the true motion: the noise is the same in both.
"""

import os
import time

import numpy as np
import pytest
import SimpleITK as sitk

from moving_heads import CONTRASTS, MovingHead, head_that_jumps_within, moving_head, template
from pipeline.core.decay import decay_constant_per_s
from pipeline.imaging.itk import to_itk
from pipeline.imaging.motion import MotionSearch, estimate_motion

pytestmark = pytest.mark.slow

SESSIONS = int(os.environ.get("PETBIND_MOTION_SESSIONS", "1"))
JUMPS = tuple(zip(CONTRASTS, (28, 25, 32), strict=True))
RATE_PER_S = decay_constant_per_s("C11")
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def made_of():
    return template()


def found(head: MovingHead):
    """What is found in a scan, and the processor time it takes."""
    start = time.process_time()
    motion = estimate_motion(head.frame, head.timing, RATE_PER_S, MotionSearch())
    return motion, time.process_time() - start


def test_frames_of_moving_heads_are_placed_and_bpnd_is_saved(made_of):
    print(
        "\ncontrast  error mean, worst frame, worst point (mm)  error/SE  CPU (s)  "
        "|BPND error|, mean of regions: uncorrected  corrected"
    )
    rows, lost, left = [], [], []
    for seed in range(SESSIONS):
        head = moving_head(made_of, CONTRASTS[seed % 3], seed)
        motion, seconds = found(head)
        distances = head.distances_mm(motion.frame2petref_xfms)[head.late]
        errors = distances.mean(axis=1)
        square = np.nanmean(motion.error_mm[head.late] ** 2)
        ratio = float(np.sqrt(np.mean(distances**2) / square))
        truth, plain, mended = (
            np.array(list(head.bpnd(xfms).values()))
            for xfms in (np.linalg.inv(head.poses), None, motion.frame2petref_xfms)
        )
        lost.append(np.abs(plain - truth))
        left.append(np.abs(mended - truth))
        rows.append((errors.mean(), errors.max(), distances.max(), ratio))
        print(
            f"{head.contrast:9s} {errors.mean():.3f} {errors.max():.3f} {distances.max():.3f}   "
            f"{ratio:.2f}   {seconds:.0f}   {lost[-1].mean():.4f} {left[-1].mean():.4f}",
            flush=True,
        )
    table = np.array(rows)
    saved = 1 - np.mean(left) / np.mean(lost)
    print(
        f"all: mean {table[:, 0].mean():.3f}, worst frame {table[:, 1].max():.3f}, worst point "
        f"{table[:, 2].max():.3f} mm; BPND error by motion falls by {100 * saved:.1f} %"
    )
    assert table[:, 0].max() < 0.3
    assert table[:, 1].max() < 0.8
    # a standard error that says nothing of the error of the mean itself: near one, not below
    assert 0.7 < np.median(table[:, 3]) < 2
    # the aim is for many sessions; one alone, with few regions, was measured at 0.69
    assert saved > (0.8 if SESSIONS >= 3 else 0.6)


@pytest.mark.parametrize("contrast", CONTRASTS[:SESSIONS])
def test_a_still_head_keeps_its_bpnd(made_of, contrast):
    head = moving_head(made_of, contrast, CONTRASTS.index(contrast), still=True)
    motion, _ = found(head)
    before, after = (
        np.array(list(head.bpnd(xfms).values())) for xfms in (None, motion.frame2petref_xfms)
    )
    # a change of BPND is one of DVR: where little binds, per cent of BPND say nothing
    change = 100 * np.abs(after - before) / np.maximum(np.abs(before), 1.0)
    ratio = 100 * np.abs(after - before) / np.abs(before)
    print(
        f"\n{contrast}: error {head.errors_mm(motion.frame2petref_xfms)[head.late].mean():.3f} mm;"
        f" BPND changes by {ratio.mean():.2f} % on average, {ratio.max():.2f} % at most; "
        f"of at least 1: {change.max():.2f} %"
    )
    assert change.mean() < 0.5


@pytest.mark.parametrize(("contrast", "frame"), JUMPS[:SESSIONS])
def test_a_jump_within_a_frame_is_told_of_and_no_other(made_of, contrast, frame):
    head = head_that_jumps_within(made_of, contrast, frame, CONTRASTS.index(contrast))
    motion, _ = found(head)
    within = motion.within_frames_mm()
    print(
        f"\n{contrast}: {within[frame]:.2f} mm within frame {frame}, at most "
        f"{np.nanmax(np.delete(within, frame)):.2f} mm within others"
    )
    assert np.flatnonzero(motion.moved_within(1.5)).tolist() == [frame]


def plain_recipe(head: MovingHead) -> np.ndarray:
    """Frame to mean by SimpleITK as a user would script it: transforms frame2petref, (F, 4, 4)."""
    late = head.late
    mean = sum(head.frame(i).data * np.float32(head.timing.duration_s[i]) for i in late)
    fixed = to_itk(head.frame(0).with_data(mean / np.float32(head.timing.duration_s[late].sum())))
    xfms = np.tile(np.eye(4), (len(head.timing), 1, 1))
    for i in late:
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(50)
        method.SetInterpolator(sitk.sitkLinear)
        method.SetShrinkFactorsPerLevel([4, 2, 1])
        method.SetSmoothingSigmasPerLevel([2, 1, 0])
        method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
        method.SetOptimizerAsGradientDescent(1.0, 100, 1e-6, 10)
        method.SetOptimizerScalesFromPhysicalShift()
        moving = to_itk(head.frame(int(i)))
        start = sitk.CenteredTransformInitializer(
            fixed,
            fixed,
            sitk.Euler3DTransform(),
            sitk.CenteredTransformInitializerFilter.GEOMETRY,
        )
        method.SetInitialTransform(start, inPlace=True)
        method.Execute(fixed, moving)
        origin = np.array(start.TransformPoint((0.0, 0.0, 0.0)))
        lps = np.eye(4)
        lps[:3, :3] = np.array([start.TransformPoint(a) for a in np.eye(3).tolist()]).T
        lps[:3, :3] -= origin[:, None]
        lps[:3, 3] = origin
        xfms[i] = np.linalg.inv(_LPS @ lps @ _LPS)
    return xfms


@pytest.mark.skipif(SESSIONS < 3, reason="PETBIND_MOTION_SESSIONS asks for fewer than 3")
@pytest.mark.parametrize("contrast", CONTRASTS)
def test_a_plain_recipe_is_worse_and_slower(made_of, contrast):
    head = moving_head(made_of, contrast, CONTRASTS.index(contrast))
    motion, seconds = found(head)
    start = time.process_time()
    theirs = head.errors_mm(plain_recipe(head))[head.late]
    their_seconds = time.process_time() - start
    ours = head.errors_mm(motion.frame2petref_xfms)[head.late]
    print(
        f"\n{contrast}: ours {ours.mean():.2f} (worst {ours.max():.2f}) mm, {seconds:.0f} s CPU; "
        f"SimpleITK {theirs.mean():.2f} ({theirs.max():.2f}) mm, {their_seconds:.0f} s"
    )
    assert ours.mean() < theirs.mean()
    assert seconds < their_seconds
