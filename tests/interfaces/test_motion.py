"""Frames after motion correction, corrected or not, and what is said of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.bids.scan import ScanInputs
from pipeline.core.errors import DataError
from pipeline.core.transforms import rigid_matrix
from pipeline.core.volume import Volume
from pipeline.imaging.frame_groups import Grouping
from pipeline.imaging.head_motion import CorrectionRule
from pipeline.imaging.motion import MotionSearch
from pipeline.imaging.regions import RegionWeights
from pipeline.imaging.resampling import resample_rigid
from pipeline.interfaces.motion import CorrectMotion, KeepFrames
from pipeline.interfaces.regions import ExtractTacs
from pipeline.io.images import read_series, read_volume, write_array
from pipeline.io.region_weights import write_region_weights
from pipeline.io.tables import read_json, read_table
from pipeline.io.transforms import read_itk_transforms


@pytest.fixture
def scan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return ScanInputs(
        subject="01", session=None, task=None, tracer=None, reconstruction=None, run=None,
        pet=Path("pet.nii.gz"), t1w=None, t1w_reason="", frame_start_s=(0.0, 60.0),
        frame_duration_s=(60.0, 60.0), frame_scale=(1.0, 2.0), radionuclide="C11",
        tracer_name="X", injected_mbq=None, body_weight_kg=None,
    )  # fmt: skip


def test_a_voxel_that_one_frame_lacks_is_missing_in_all(scan, tmp_path):
    series = np.ones((4, 4, 4, 2), np.float32)
    series[0, 1, 2, 1] = np.nan
    pet = str(write_array(tmp_path / "pet.nii.gz", series, np.eye(4)))
    done = KeepFrames(pet=pet, scan=scan).run().outputs
    kept = read_series(done.pet_preproc)[0]
    assert np.isnan(kept[0, 1, 2]).all()
    assert np.isnan(kept).sum() == 2
    assert read_volume(done.petref).data[0, 1, 2] == 0


def test_regional_means_are_over_the_voxels_of_all_frames(scan, tmp_path):
    frames = np.ones((4, 4, 4, 2), np.float32)
    frames[0] = 9  # a region of two levels, the upper one lost in the second frame
    frames[0, ..., 1] = np.nan
    pet = write_array(tmp_path / "pet.nii.gz", frames, np.eye(4))
    kept = KeepFrames(pet=str(pet), scan=scan).run().outputs.pet_preproc
    share = np.zeros((4, 4, 4))
    share[:2] = 1
    weights = RegionWeights.of(
        {"R": share.ravel(), "Lost": (frames[..., 0] == 9).ravel() * 1.0}, 1.0
    )
    node = ExtractTacs(
        pet_preproc=kept, scan=scan, minimum_volume_mm3=1.0, reference="R", late_min=(1.0, 2.0),
        region_weights=str(write_region_weights(tmp_path / "regions.npz", weights)),
    )  # fmt: skip
    found = node.run().outputs
    tacs = read_table(found.tacs)
    np.testing.assert_array_equal(tacs["R"], [1, 2])
    assert pd.isna(tacs["Lost"]).all()
    statistics = read_table(found.tac_statistics)
    assert statistics["name"].tolist() == ["R", "Lost"] * 2
    assert statistics["voxels"].tolist() == [16, 0] * 2
    assert statistics["frame_start"].is_monotonic_increasing
    assert np.isnan(read_series(kept)[0][0]).all()


def textured_head(shift_mm):
    """A ball of 4 mm voxels that is not alike on any two sides, shifted along x."""
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = -78
    x, y, z = np.moveaxis(np.moveaxis(np.indices((40, 40, 40)), 0, -1) * 4.0 - 78, -1, 0)
    inside = 1 / (1 + np.exp((np.sqrt(x**2 + y**2 + z**2) - 62) / 3))
    data = 1e4 * inside * (1.5 + np.sin(x / 9) * np.cos(y / 11 + 1) + 0.6 * np.sin(z / 8 + x / 30))
    volume = Volume(data.astype(np.float32), affine)
    back = rigid_matrix(np.array([-shift_mm, 0.0, 0.0]), np.zeros(3))
    return resample_rigid(volume, volume, back), affine


SHIFTS_MM = (0.0, 0.0, 4.0, 4.0)
TIMES = {"frame_start_s": (0.0, 60.0, 120.0, 180.0), "frame_duration_s": (60.0,) * 4}


@pytest.fixture
def moved(scan, tmp_path):
    """A run of four frames with a jump of 4 mm, all of them late enough."""
    frames = np.stack([textured_head(s)[0] for s in SHIFTS_MM], axis=3)
    path = write_array(tmp_path / "moved.nii.gz", frames, textured_head(0)[1])
    return str(path), replace(scan, **TIMES, frame_scale=(1.0,) * 4)


def corrected(pet, scan, **rule):
    node = CorrectMotion(
        pet=pet, scan=scan, search=MotionSearch(grouping=Grouping(first_frame_s=0.0)),
        rule=CorrectionRule(**rule), within_frame_mm=1.5,
    )  # fmt: skip
    return node.run().outputs


def test_every_frame_is_resampled_once_to_where_the_mean_is(moved):
    done = corrected(*moved)
    frames, _ = read_series(done.pet_preproc)
    inner = frames[8:32, 8:32, 8:32]
    # cubic splines of a texture of eight voxels a period
    assert np.abs(inner - inner[..., :1]).max() < 0.03 * inner.max()
    table = read_table(done.confounds)
    assert table["framewise_displacement"].tolist() == pytest.approx([0, 0, 4, 0], abs=0.1)
    assert (table["trans_x"][0] - table["trans_x"][2]) == pytest.approx(4, abs=0.1)
    assert table["source"].tolist() == ["estimated"] * 4
    assert (table["counts"] > 5e8).all()
    assert table.filter(like="_se").notna().all(axis=None)
    found = read_json(done.quality)
    assert found["MotionCorrected"] is True
    assert found["LargestStep_mm"] == pytest.approx(4, abs=0.1)
    assert found["FramesMovedWithin"] == []


@pytest.mark.parametrize(
    "rule",
    [
        {"mode": "never"},
        {"mode": "auto", "median_mm": 5.0, "jump_mm": 5.0},
        {"mode": "listed", "sessions": ("sub-02",)},
    ],
)
def test_a_session_that_is_not_corrected_keeps_its_bits_and_tells_of_its_motion(moved, rule):
    pet, scan = moved
    done = corrected(pet, scan, **rule)
    np.testing.assert_array_equal(read_series(done.pet_preproc)[0], read_series(pet)[0])
    np.testing.assert_array_equal(read_itk_transforms(done.motion_xfms), [np.eye(4)] * 4)
    assert read_table(done.confounds)["framewise_displacement"][2] == pytest.approx(4, abs=0.1)
    found = read_json(done.quality)
    assert found["MotionCorrected"] is False
    assert "not" in found["MotionCorrectionReason"] or "no " in found["MotionCorrectionReason"]


def test_rules_that_take_the_session_correct_it_alike(moved):
    always = read_series(corrected(*moved).pet_preproc)[0]
    for rule in ({"mode": "auto"}, {"mode": "listed", "sessions": ("sub-01",)}):
        np.testing.assert_array_equal(
            read_series(corrected(*moved, **rule).pet_preproc)[0], always
        )


def test_frames_nobody_looked_at_have_no_parameters(moved):
    pet, scan = moved
    done = KeepFrames(pet=pet, scan=scan).run().outputs
    table = read_table(done.confounds)
    assert table[["trans_x", "rot_z", "framewise_displacement"]].isna().all(axis=None)
    assert table["source"].tolist() == ["none"] * 4
    assert read_json(done.quality)["MotionCorrected"] is False


def test_frame_ends_that_overlap_by_rounding_are_no_error(moved):
    pet, scan = moved
    rounded = replace(scan, frame_start_s=(0.0, 59.9999999, 120.0, 179.9999998))
    table, usual = (read_table(corrected(pet, s).confounds) for s in (rounded, scan))
    np.testing.assert_allclose(table["trans_x"], usual["trans_x"], atol=1e-6)


def test_a_volume_is_no_series_and_a_series_no_volume(moved, tmp_path):
    pet, scan = moved
    flat = str(write_array(tmp_path / "static.nii.gz", *textured_head(0)))
    with pytest.raises(DataError, match="a 4-D image expected"):
        corrected(flat, scan)
    with pytest.raises(DataError, match="one 3-D volume expected"):
        read_volume(pet)


def test_one_frame_alone_stays_where_it_is(moved, tmp_path, scan):
    pet = str(
        write_array(tmp_path / "one.nii.gz", read_series(moved[0])[0][..., :1], np.eye(4) * 4)
    )
    single = replace(scan, frame_start_s=(0.0,), frame_duration_s=(60.0,), frame_scale=(1.0,))
    done = corrected(pet, single)
    np.testing.assert_allclose(read_itk_transforms(done.motion_xfms), [np.eye(4)], atol=1e-3)


@pytest.mark.parametrize(("apart_mm", "common"), [(100.0, "3[78]"), (300.0, "0")])
@pytest.mark.parametrize("save_frames", [True, False])
def test_joined_runs_that_lie_apart_are_refused(moved, tmp_path, save_frames, apart_mm, common):
    first, scan = moved
    affine = textured_head(0)[1]
    affine[2, 3] += apart_mm
    later = write_array(tmp_path / "later.nii.gz", read_series(Path(first))[0], affine)
    times = np.arange(8) * 60.0 + np.repeat([0, 600], 4)
    joined = replace(
        scan, frame_start_s=tuple(times), frame_duration_s=(60.0,) * 8, frame_scale=(1.0,) * 8,
        later_runs=(later,), frames=((0, 1, 2, 3),) * 2,
    )  # fmt: skip
    node = KeepFrames(pet=[first, str(later)], scan=joined, save_frames=save_frames)
    with pytest.raises(DataError, match=rf"see {common} % of the field of view in common"):
        node.run()
