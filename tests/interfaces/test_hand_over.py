"""Frames and heads handed to another program, and what is made of its answer.

The program's part is played by the test: it moves headers as SPM does, by known transforms.
"""

from pathlib import Path

import numpy as np
import pytest

from pipeline.bids.scan import ScanInputs
from pipeline.core.errors import DataError
from pipeline.core.transforms import apply_affine, rigid_matrix
from pipeline.core.volume import Volume
from pipeline.imaging.head_motion import CorrectionRule
from pipeline.imaging.resampling import resample_rigid
from pipeline.interfaces.tool_motion import HandFrames, TakeMotion
from pipeline.io.images import read_grid, read_series, read_volume, write_array, write_volume
from pipeline.io.tables import read_json, read_table
from pipeline.io.transforms import read_itk_transforms

START_S = (0.0, 60.0, 120.0, 180.0, 240.0)
POSES = [
    rigid_matrix(np.array(shift), np.radians(turn), np.array([2.0, 5, -4]))
    for shift, turn in (
        ([0.0, 0, 0], [0.0, 0, 0]), ([0, 0, 0], [0, 0, 0]), ([1.0, -2, 0.5], [1.0, 0, -2]),
        ([4.0, -2, 3], [3.0, -2, 2]), ([4.5, -2, 3], [3.5, -2, 2]),
    )
]  # fmt: skip
"""Where the head of frame 0 lies in every frame."""


def head():
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = -78
    x, y, z = np.indices((40, 40, 40)) * 4.0 - 78
    inside = 1 / (1 + np.exp((np.sqrt(x**2 + (y * 0.9) ** 2 + (z * 1.1) ** 2) - 56) / 4))
    data = 1e4 * inside * (1.5 + np.sin(x / 19) * np.cos(y / 21 + 1) + 0.6 * np.sin(z / 18))
    return Volume(data.astype(np.float32), affine)


@pytest.fixture
def moved(tmp_path, monkeypatch):
    """Inputs of the nodes: one scan of a head that moves."""
    monkeypatch.chdir(tmp_path)
    still = head()
    series = np.stack([resample_rigid(still, still, np.linalg.inv(p)).data for p in POSES], -1)
    series[0, 0, 0, 3] = np.nan
    pet = write_array(tmp_path / "sub 01 ü_pet.nii.gz", series, still.affine)
    scan = ScanInputs(
        subject="01", session=None, task=None, tracer=None, reconstruction=None, run=None,
        pet=Path(pet), t1w=None, t1w_reason="", frame_start_s=START_S,
        frame_duration_s=(60.0,) * 5, frame_scale=(1.0, 2.0, 1.0, 1.0, 1.0), radionuclide="C11",
        tracer_name="X", injected_mbq=None, body_weight_kg=None,
    )  # fmt: skip
    return {"pet": [str(pet)], "scan": scan, "first_frame_s": 100.0}


CORRECTED = {"form": "spm", "rule": CorrectionRule(), "within_frame_mm": 1.5}


def answered(handed):
    """The handed frames with headers moved to where frame 2 has the head."""
    files = []
    for number, path in enumerate(handed):
        back = POSES[2] @ np.linalg.inv(POSES[2 + number])
        grid = read_grid(path)
        made = Path(path).with_name(f"moved{number}.nii")
        files.append(str(write_volume(made, Volume(grid.data, back @ grid.affine))))
    return files


def test_frames_are_handed_over_finite_scaled_and_late(moved):
    handed = HandFrames(**moved).run().outputs.frames
    assert [Path(path).name for path in handed] == [f"frame00{i}.nii" for i in range(3)]
    raw = read_series(moved["pet"][0])[0]
    np.testing.assert_array_equal(read_volume(handed[1]).data, np.nan_to_num(raw[..., 3]))
    joined = HandFrames(joined=True, **moved).run().outputs.frames
    series, affine = read_series(joined)
    np.testing.assert_array_equal(series, np.nan_to_num(raw[..., 2:]))
    np.testing.assert_array_equal(affine, read_grid(moved["pet"][0]).affine)


def test_what_the_program_found_is_undone_once(moved):
    handed = HandFrames(**moved).run().outputs.frames
    inputs = {**moved, **CORRECTED, "handed": handed, "moved": answered(handed)}
    done = TakeMotion(**inputs).run().outputs
    xfms = read_itk_transforms(done.motion_xfms)
    points = np.array([[0.0, 0, 0], [40, 10, -20], [-30, 25, 33]])
    for number in (2, 3, 4):
        # all frames agree on where a point of the head is, whatever the common place
        here = apply_affine(xfms[number] @ POSES[number], points)
        np.testing.assert_allclose(here, apply_affine(xfms[2] @ POSES[2], points), atol=0.01)
    np.testing.assert_array_equal(xfms[0], xfms[2])  # early frames take the first that is placed
    frames, _ = read_series(done.pet_preproc)
    inner = (slice(8, -8),) * 3
    late = frames[..., 2:][inner]
    spread = np.ptp(late, axis=-1)
    # cubic splines on voxels of 4 mm, twice: a few percent of the contrast
    assert np.nanpercentile(spread, 99) < 0.05 * np.nanmax(late)
    quality = read_json(done.quality)
    assert quality["MotionCorrected"] is True
    assert quality["FramesEstimated"] == 3
    table = read_table(done.confounds)
    assert table["source"].tolist() == ["copied", "copied", *["estimated"] * 3]
    assert table["pose_error"].isna().all()
    np.testing.assert_allclose(
        table["framewise_displacement"][3], np.linalg.norm(
            apply_affine(POSES[3], points) - apply_affine(POSES[2], points), axis=1).mean(),
        rtol=0.2,
    )  # fmt: skip


def test_a_rule_may_leave_the_frames_alone(moved):
    handed = HandFrames(**moved).run().outputs.frames
    inputs = {**moved, **CORRECTED, "handed": handed, "moved": answered(handed)}
    inputs["rule"] = CorrectionRule(mode="never")
    done = TakeMotion(**inputs).run().outputs
    assert read_json(done.quality)["MotionCorrected"] is False
    raw = read_series(moved["pet"][0])[0]
    kept = read_series(done.pet_preproc)[0]
    np.testing.assert_array_equal(kept[5:, ..., 3], raw[5:, ..., 3])
    assert read_table(done.confounds)["displacement"].max() > 2


def test_what_is_left_undone_is_told(moved):
    handed = HandFrames(**moved).run().outputs.frames
    short = {**moved, **CORRECTED, "handed": handed, "moved": answered(handed)[:-1]}
    with pytest.raises(DataError, match=r"3 frames were to be aligned, the program left 2"):
        TakeMotion(**short).run()
    with pytest.raises(DataError, match=r"1 frames have their middle .* motion\.first_frame_s"):
        HandFrames(**{**moved, "first_frame_s": 260.0}).run()
