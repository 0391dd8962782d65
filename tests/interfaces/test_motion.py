"""Frames after motion correction: what one of them does not cover is missing in all."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.bids.scan import ScanInputs
from pipeline.imaging.regions import RegionWeights
from pipeline.interfaces.motion import KeepFrames, _keep_common
from pipeline.interfaces.regions import ExtractTacs
from pipeline.io.images import read_series, write_array
from pipeline.io.region_weights import write_region_weights
from pipeline.io.tables import read_table


@pytest.fixture
def scan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return ScanInputs(
        subject="01", session=None, task=None, tracer=None, reconstruction=None, run=None,
        pet=Path("pet.nii.gz"), t1w=None, t1w_reason="", frame_start_s=(0.0, 60.0),
        frame_duration_s=(60.0, 60.0), frame_scale=(1.0, 2.0), radionuclide="C11",
        tracer_name="X", injected_mbq=None, body_weight_kg=None,
    )  # fmt: skip


def test_a_voxel_that_one_frame_lacks_is_missing_in_all():
    series = np.ones((4, 4, 4, 3), np.float32)
    series[0, 1, 2, 1] = np.nan
    _keep_common(series)
    assert np.isnan(series[0, 1, 2]).all()
    assert np.isnan(series).sum() == 3


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
        pet_preproc=kept, scan=scan, minimum_volume_mm3=1.0,
        region_weights=str(write_region_weights(tmp_path / "regions.npz", weights)),
    )  # fmt: skip
    tacs = read_table(node.run().outputs.tacs)
    np.testing.assert_array_equal(tacs["R"], [1, 2])
    assert pd.isna(tacs["Lost"]).all()
    assert np.isnan(read_series(kept)[0][0]).all()
