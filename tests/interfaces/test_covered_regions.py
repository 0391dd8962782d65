"""What the frames lack of a region counts: too little of it is no region."""

import numpy as np
import pytest

from pipeline.bids.scan import ScanInputs
from pipeline.imaging.regions import RegionWeights
from pipeline.interfaces.kinetics import AverageMaps
from pipeline.interfaces.regions import ExtractTacs
from pipeline.io.images import write_array
from pipeline.io.region_weights import write_region_weights
from pipeline.io.tables import read_table
from pipeline.kinetics.contract import map_symbols
from pipeline.kinetics.wapi import Wapi

SIDE, VOXEL_MM3 = 20, 8.0
T1W_MM3 = {"HIP": 5120.0, "AMG": 160.0, "CBL": 6400.0, "NONE": 0.0}


@pytest.fixture
def regions():
    """Ten planes, a row of twenty voxels, a reference region, one that is not there."""
    shares = {name: np.zeros((SIDE,) * 3) for name in T1W_MM3}
    shares["HIP"][:10, :8, :8] = 1
    shares["AMG"][:, 15, 0] = 1
    shares["CBL"][12:, 10:, 10:] = 1
    shares["Brain"] = np.maximum(shares["HIP"], shares["CBL"])
    return {name: share.ravel() for name, share in shares.items()}


@pytest.fixture
def curves(regions, tmp_path, monkeypatch):
    """Run the node on three frames of 1000, 2000 and 3000, unknown where told."""
    monkeypatch.chdir(tmp_path)

    def run(unknown, in_field=None, frame=slice(None)):
        frames = np.ones((SIDE, SIDE, SIDE, 3), np.float32) * np.array([1e3, 2e3, 3e3], np.float32)
        frames[..., frame][unknown] = np.nan
        weights = RegionWeights.of(regions, VOXEL_MM3, T1W_MM3, in_field)
        scan = ScanInputs(
            subject="01", session=None, task=None, tracer=None, reconstruction=None, run=None,
            pet=None, t1w=None, t1w_reason="", frame_start_s=(0.0, 60.0, 120.0),
            frame_duration_s=(60.0,) * 3, frame_scale=(1.0,) * 3, radionuclide="C11",
            tracer_name="", injected_mbq=None, body_weight_kg=None,
        )  # fmt: skip
        out = ExtractTacs(
            pet_preproc=str(write_array(tmp_path / "pet.nii.gz", frames, np.eye(4))),
            region_weights=str(write_region_weights(tmp_path / "regions.npz", weights)),
            scan=scan, minimum_volume_mm3=100.0, reference="CBL", late_min=(1.0, 3.0),
        ).run().outputs  # fmt: skip
        return read_table(out.tacs), read_table(out.morph).set_index("name")

    return run


def planes(lost):
    unknown = np.zeros((SIDE,) * 3, bool)
    unknown[:lost, :8, :8] = True
    return unknown


@pytest.mark.parametrize("frame", [slice(None), slice(2, 3)])
def test_one_voxel_of_a_region_is_no_curve(curves, frame):
    unknown = planes(10)
    unknown[9, 0, 0] = False
    tacs, morph = curves(unknown, frame=frame)
    assert tacs["HIP"].isna().all()
    assert tacs["CBL"].tolist() == tacs["Brain"].tolist() == [1e3, 2e3, 3e3]
    assert morph.loc["HIP", "covered"] == pytest.approx(1 / 640, rel=1e-6)
    assert morph.loc["HIP", ["usable", "reason"]].tolist() == [0, "cover"]
    assert morph.loc["CBL", ["covered", "usable"]].tolist() == [1, 1]
    assert morph["reason"].isna().tolist() == [False, True, True, False]
    assert morph.loc["NONE", "reason"] == "volume"
    assert morph["index"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(("lost", "has_curve"), [(0, True), (5, True), (6, False)])
def test_half_of_a_region_must_be_covered(curves, lost, has_curve):
    tacs, morph = curves(planes(lost))
    assert tacs["HIP"].notna().all() == tacs["HIP"].notna().any() == has_curve
    assert morph.loc["HIP", "covered"] == pytest.approx(1 - lost / 10, rel=1e-9)
    assert morph.loc["HIP", "volume-mm3"] == 5120


def test_what_the_field_of_view_lacks_counts_like_what_frames_lack(curves):
    tacs, morph = curves(planes(2), in_field={"HIP": 0.6, "CBL": 1.02})
    assert tacs["HIP"].isna().all()
    assert morph.loc["HIP", "covered"] == pytest.approx(0.6 * 0.8, rel=1e-9)
    assert morph.loc["CBL", "covered"] == 1


def test_the_least_volume_is_that_of_known_voxels(curves):
    unknown = np.zeros((SIDE,) * 3, bool)
    unknown[:8, 15, 0] = True  # 12 voxels of 8 mm3 are left
    tacs, morph = curves(unknown)
    assert tacs["AMG"].isna().all()
    assert morph.loc["AMG", ["usable", "reason"]].tolist() == [0, "volume"]
    unknown[7, 15, 0] = False  # 13
    assert curves(unknown)[0]["AMG"].notna().all()


def test_a_map_without_most_of_a_region_has_no_mean_of_it(regions, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = np.full((SIDE,) * 3, 2.0, np.float32)
    values[planes(9)] = np.nan
    path = str(write_array(tmp_path / "map.nii.gz", values, np.eye(4)))
    weights = RegionWeights.of(regions, VOXEL_MM3)
    table = read_table(
        AverageMaps(
            maps=[path] * len(map_symbols(Wapi())), models=[Wapi()], reference="CBL",
            region_weights=str(write_region_weights(tmp_path / "regions.npz", weights)),
            minimum_volume_mm3=100.0,
        ).run().outputs.kinpar
    ).set_index("name")  # fmt: skip
    assert np.isnan(table.loc["HIP", "BPND"])
    assert table.loc["AMG", "BPND"] == 2
