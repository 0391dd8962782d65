"""A simulated scan cut in two, with a break, is the scan without the frames of the break."""

import json
import shutil
from dataclasses import dataclass

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from pipeline.bids.preflight import survey
from pipeline.bids.runs import FrameChoice
from pipeline.core.errors import DataError
from pipeline.imaging.frame_groups import Grouping
from pipeline.imaging.head_motion import CorrectionRule
from pipeline.imaging.motion import MotionSearch
from pipeline.imaging.regions import RegionWeights
from pipeline.interfaces.motion import CorrectMotion, KeepFrames
from pipeline.interfaces.regions import ExtractTacs
from pipeline.io.images import read_series, write_array
from pipeline.io.region_weights import write_region_weights
from pipeline.io.tables import read_json, read_table
from pipeline.io.transforms import read_itk_transforms
from pipeline.simulation.options import short_timing
from pipeline.simulation.tracer import TissueKinetics, tissue_curves

TIMING = short_timing()
FIRST, LATER = range(8), range(10, 14)
BREAK = (8, 9)  # ten and a half minutes
KEPT = (*FIRST, *LATER)
SHIFT_MM = 3.0


def head(shift_mm=0.0, affine_shift_mm=0.0):
    """Share of three tissues in voxels of 4 mm, as an array (T, X, Y, Z); the affine."""
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = -78, -78, -78 + affine_shift_mm
    index = np.moveaxis(np.indices((40, 40, 40)), 0, -1)
    x, y, z = np.moveaxis(index @ affine[:3, :3].T + affine[:3, 3], -1, 0)
    x = x - shift_mm
    inside = 1 / (1 + np.exp((np.sqrt(x**2 + y**2 + z**2) - 58) / 3))
    texture = np.sin(x / 9) * np.cos(y / 11 + 1) + 0.6 * np.sin(z / 8 + x / 30)
    high = 1 / (1 + np.exp(-3 * texture))
    return np.stack([inside * (1 - high), inside * high]), affine


def frames_of(shifts_mm, affine_shift_mm=0.0):
    kinetics = TissueKinetics(np.array([1.0, 0.9]), np.array([0.0, 1.2]), 0.14)
    curves = tissue_curves(kinetics, TIMING)
    shares = {s: head(s, affine_shift_mm)[0] for s in set(shifts_mm)}
    return np.stack(
        [np.tensordot(c, shares[s], 1) for c, s in zip(curves.T, shifts_mm, strict=True)], axis=3
    ).astype(np.float32)


@pytest.fixture(scope="module")
def frames():
    """A head that moves once, between the runs."""
    return frames_of([SHIFT_MM if i > 8 else 0.0 for i in range(len(TIMING))])


SIDECAR = {
    "Units": "Bq/mL", "TracerName": "X", "TracerRadionuclide": "C11",
    "InjectedRadioactivity": 400, "InjectedRadioactivityUnits": "MBq",
    "TimeZero": "23:30:00", "InjectionStart": 0,
    "ImageDecayCorrected": True, "ImageDecayCorrectionTime": 0,
}  # fmt: skip


def write_run(folder, run, frames, numbers, **keys):
    """A run of a simulated scan; its own clock starts where it does."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = "sub-01_pet" if run is None else f"sub-01_run-{run}_pet"
    zero_s = 0.0 if run != 2 else float(TIMING.start_s[numbers[0]])
    clock_s = (23 * 3600 + 1800 + round(zero_s)) % 86400
    content = SIDECAR | {
        "TimeZero": f"{clock_s // 3600:02d}:{clock_s // 60 % 60:02d}:{clock_s % 60:02d}",
        "InjectionStart": -zero_s,
        "ImageDecayCorrectionTime": -zero_s,
        "FrameTimesStart": (TIMING.start_s[list(numbers)] - zero_s).tolist(),
        "FrameDuration": TIMING.duration_s[list(numbers)].tolist(),
    }
    (folder / f"{stem}.json").write_text(json.dumps(content | keys))
    affine = head(0.0, keys.pop("shift", 0.0))[1]
    write_array(folder / f"{stem}.nii.gz", frames, affine)


@pytest.fixture
def surveyed(tmp_path, monkeypatch):
    """Survey of a data set with a T1w and the runs that a test writes."""
    monkeypatch.chdir(tmp_path)
    bids = tmp_path / "bids"
    (bids / "sub-01" / "anat").mkdir(parents=True)
    write_array(bids / "sub-01/anat/sub-01_T1w.nii.gz", np.zeros((4, 4, 4)), np.eye(4))

    def survey_of(choice, **runs):
        shutil.rmtree(bids / "sub-01" / "pet", ignore_errors=True)
        for run, (data, numbers) in runs.items():
            number = None if run == "whole" else int(run[-1])
            write_run(bids / "sub-01" / "pet", number, data, numbers)
        (scan,) = survey(bids, frames=choice).scans
        return scan

    return survey_of


def two_runs(surveyed, frames, choice=None):
    parts = {"run1": (frames[..., FIRST], FIRST), "run2": (frames[..., LATER], LATER)}
    return surveyed(choice or FrameChoice(join_runs=True), **parts)


@dataclass(frozen=True)
class Corrected:
    """What the node wrote, read before the next one writes into the same folder."""

    series: np.ndarray
    xfms: np.ndarray
    table: pd.DataFrame
    quality: dict


def corrected(scan):
    node = CorrectMotion(
        pet=[str(path) for path in scan.files], scan=scan, within_frame_mm=1.5,
        search=MotionSearch(grouping=Grouping(first_frame_s=200.0)), rule=CorrectionRule(),
    )  # fmt: skip
    done = node.run().outputs
    return Corrected(
        read_series(done.pet_preproc)[0],
        read_itk_transforms(done.motion_xfms),
        read_table(done.confounds),
        read_json(done.quality),
    )


def test_joined_runs_are_the_scan_without_the_frames_of_the_break(surveyed, frames):
    joined = two_runs(surveyed, frames)
    parts = corrected(joined)
    cut = surveyed(FrameChoice(drop=BREAK), whole=(frames, range(14)))
    whole = corrected(cut)
    assert joined.frame_start_s == cut.frame_start_s == tuple(TIMING.start_s[list(KEPT)])
    assert joined.frame_duration_s == cut.frame_duration_s
    assert joined.frame_scale == cut.frame_scale
    np.testing.assert_array_equal(parts.series, whole.series)
    np.testing.assert_array_equal(parts.xfms, whole.xfms)
    assert parts.table.equals(whole.table)
    assert parts.quality["FramesDropped"] == []
    assert whole.quality["FramesDropped"] == list(BREAK)
    assert parts.quality["FrameTimesStart"] == list(joined.frame_start_s)
    # the head moved while nobody scanned, and is found where it went
    assert moved_mm(parts) == pytest.approx(SHIFT_MM, abs=0.1)


def moved_mm(done):
    """Mean way of the head over the break."""
    return done.table["framewise_displacement"][len(FIRST)]


def test_a_moved_bed_is_undone_by_the_one_resampling(surveyed, frames):
    """The same head, eight voxels wide of the border, on a grid 10 mm further along z."""
    shifts = [SHIFT_MM if i > 8 else 0.0 for i in range(len(TIMING))]
    scan = two_runs(surveyed, frames)
    here = corrected(scan)
    moved = frames_of(shifts, affine_shift_mm=10.0)[..., LATER]
    write_array(scan.later_runs[0], moved, head(0.0, 10.0)[1])
    there = corrected(scan)
    inner = (slice(8, 32), slice(8, 32), slice(8, 32))
    late = here.series[inner][..., 8:]
    # splines of a texture of eight voxels a period, at other places between the voxels
    assert np.abs(there.series[inner][..., 8:] - late).max() < 0.03 * late.max()
    assert moved_mm(there) == pytest.approx(SHIFT_MM, abs=0.1)


def test_curves_of_joined_runs_are_those_of_the_whole(surveyed, frames, tmp_path):
    share = (head()[0] > 0.6).astype(float)
    weights = RegionWeights.of({"REF": share[0].ravel(), "HIGH": share[1].ravel()}, 64.0)
    path = str(write_region_weights(tmp_path / "regions.npz", weights))

    def curves(scan):
        kept = KeepFrames(pet=[str(f) for f in scan.files], scan=scan).run().outputs
        node = ExtractTacs(
            pet_preproc=kept.pet_preproc, scan=kept.scan, region_weights=path,
            minimum_volume_mm3=1.0, reference="REF", late_min=(5.0, 90.0),
        )  # fmt: skip
        return read_table(node.run().outputs.tacs)

    joined = curves(two_runs(surveyed, frames))
    whole = curves(surveyed(FrameChoice(), whole=(frames, range(14))))
    assert joined.equals(whole.iloc[list(KEPT)].reset_index(drop=True))


def test_runs_with_scale_factors_of_their_own(surveyed, frames):
    """Each part is stored as integers; values come back to within half a step of each."""
    scan = two_runs(surveyed, frames)
    steps = []
    for path, numbers in zip(scan.files, (FIRST, LATER), strict=True):
        part = frames[..., numbers]
        steps.append(float(part.max()) / 32767)
        image = nib.Nifti1Image(np.rint(part / steps[-1]).astype(np.int16), head()[1])
        image.header.set_slope_inter(steps[-1], 0)
        nib.save(image, path)
    assert steps[0] != steps[1]
    kept = KeepFrames(pet=[str(f) for f in scan.files], scan=scan).run().outputs.pet_preproc
    off = np.abs(read_series(kept)[0] - frames[..., KEPT])
    assert off[..., :8].max() <= 0.51 * steps[0]
    assert off[..., 8:].max() <= 0.51 * steps[1]


def test_frames_without_counts_are_left_out_and_told(surveyed, frames):
    damaged = frames.copy()
    damaged[..., 2] = 0
    damaged[..., 12] = np.nan
    scan = two_runs(surveyed, damaged, FrameChoice(join_runs=True, drop=(1,)))
    inputs = {"pet": [str(f) for f in scan.files], "scan": scan}
    with pytest.raises(DataError, match="holds no finite value"):
        KeepFrames(**inputs).run()
    done = KeepFrames(**inputs, drop_empty=True).run().outputs
    # 12 of the whole is 10 of what was joined
    assert done.scan.dropped == (1, 2, 10)
    assert read_json(done.quality)["FramesEmpty"] == [2, 10]
    assert read_json(done.quality)["FramesDropped"] == [1, 2, 10]
    left = [i for i in KEPT if i not in (1, 2, 12)]
    assert done.scan.frame_start_s == tuple(TIMING.start_s[left])
    assert read_json(done.quality)["FrameTimesStart"] == list(TIMING.start_s[left])
    np.testing.assert_array_equal(read_series(done.pet_preproc)[0], frames[..., left])
    assert len(read_table(done.confounds)) == len(left)


def test_a_scan_of_empty_frames_is_no_scan(surveyed, frames):
    scan = two_runs(surveyed, np.zeros_like(frames))
    with pytest.raises(DataError, match="12 of 12 frames hold no counts"):
        KeepFrames(pet=[str(f) for f in scan.files], scan=scan, drop_empty=True).run()


def test_an_image_that_is_no_series_is_refused_among_runs(surveyed, frames):
    scan = two_runs(surveyed, frames)
    write_array(scan.later_runs[0], frames[..., 0], head()[1])
    with pytest.raises(DataError, match=r"run-2_pet.nii.gz: a 4-D image expected"):
        KeepFrames(pet=[str(f) for f in scan.files], scan=scan).run()


def test_a_run_that_breaks_off_is_named(surveyed, frames):
    scan = two_runs(surveyed, frames)
    path = scan.later_runs[0]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=r"run-2_pet.nii.gz: the image data end early"):
        corrected(scan)
