"""Nodes that fit: voxels agree with regions, models share what belongs to the scan."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.bids.scan import ScanInputs
from pipeline.core.errors import DataError
from pipeline.imaging.regions import RegionWeights
from pipeline.interfaces.kinetics import AverageMaps, FitRegions, FitVoxels
from pipeline.io.images import read_labels, read_series, read_volume, write_array
from pipeline.io.region_weights import write_region_weights
from pipeline.io.tables import read_table, write_table
from pipeline.kinetics import Logan, Mrtm2, Srtm, Srtm2, Suv, Suvr, Wapi
from pipeline.kinetics.contract import Flag, map_symbols
from pipeline.kinetics.convolution import ReferenceCurve
from pipeline.kinetics.k2prime import K2Prime

DURATION_S = np.repeat([10, 30, 60, 180, 360], [6, 4, 4, 4, 12]).astype(float)
START_S = np.cumsum(DURATION_S) - DURATION_S
TRUTH = {"OC": (1.05, 1.24), "HIP": (0.78, 0.42), "VST": (0.85, 1.78)}
SIDE = 12
MODELS = [Srtm(), Srtm2(), Mrtm2(), Logan(), Suvr(), Suv(), Wapi()]


@pytest.fixture
def scan():
    return ScanInputs(
        subject="01", session="pre", task=None, tracer=None, reconstruction=None, run=None,
        pet=Path("pet.nii.gz"), t1w=None, t1w_reason="", frame_start_s=tuple(START_S),
        frame_duration_s=tuple(DURATION_S), frame_scale=(1.0,) * DURATION_S.size,
        radionuclide="C11", tracer_name="X", injected_mbq=400.0, body_weight_kg=80.0,
    )  # fmt: skip


@pytest.fixture
def files(tmp_path, scan, monkeypatch):
    """Three slabs of constant curves, their table, masks and region weights."""
    monkeypatch.chdir(tmp_path)
    t = scan.timing.mid_min
    ref = 1e4 * ((1 - np.exp(-2 * t)) * np.exp(-0.03 * t) + 0.1)
    curve = ReferenceCurve(ref, scan.timing)
    tacs = []
    for r1, bpnd in TRUTH.values():
        k2a = r1 * 0.14 / (1 + bpnd)
        tacs.append(r1 * ref + r1 * (0.14 - k2a) * curve.convolved(np.array([k2a]))[0])
    slab = np.minimum(np.arange(SIDE) // 4, 2)
    frames = np.broadcast_to(np.array(tacs)[slab][:, None, None], (SIDE, SIDE, SIDE, t.size))
    mask = np.zeros((SIDE, SIDE, SIDE), np.uint8)
    mask[:, 1:-1, 1:-1] = 1
    table = pd.DataFrame({"frame_start": START_S, "frame_end": START_S + DURATION_S})
    table[list(TRUTH)] = np.array(tacs).T
    table["CBL"], table["Brain"] = ref, np.mean(tacs, axis=0)
    shares = {
        name: np.broadcast_to((slab == i)[:, None, None], mask.shape).astype(float).ravel()
        for i, name in enumerate(TRUTH)
    }
    regions = RegionWeights.of({**shares, "CBL": shares["OC"], "Brain": mask.ravel() * 1.0}, 8.0)
    return {
        "tacs": str(write_table(tmp_path / "tacs.tsv", table)),
        "pet": str(write_array(tmp_path / "pet.nii.gz", frames.astype(np.float32), np.eye(4))),
        "mask": str(write_array(tmp_path / "mask.nii.gz", mask, np.eye(4))),
        "regions": str(write_region_weights(tmp_path / "regions.npz", regions)),
    }


def fit_regions(files, scan, models):
    node = FitRegions(
        tacs=files["tacs"], models=models, weights="counts", reference="CBL", scan=scan
    )
    paths = node.run().outputs.kinpar
    paths = [paths] if isinstance(paths, str) else paths
    return [read_table(path).set_index("name") for path in paths]


def fit_voxels(files, scan, models):
    node = FitVoxels(
        tacs=files["tacs"], models=models, weights="counts", reference="CBL", scan=scan,
        pet_preproc=files["pet"], brain_mask=files["mask"], smoothing_fwhm_mm=0.0,
    )  # fmt: skip
    return node.run().outputs.maps


def test_voxels_of_constant_regions_give_the_regional_estimates(files, scan):
    tables = fit_regions(files, scan, MODELS)
    maps = iter(fit_voxels(files, scan, MODELS))
    inside = read_volume(files["mask"]).data > 0
    for model in MODELS:
        values = {symbol: read_volume(next(maps)).data for symbol in map_symbols(model)}
        for symbol, volume in values.items():
            assert volume.dtype == np.float32
            assert np.isnan(volume[~inside]).all()
            assert np.isfinite(volume[inside]).all(), (model.model, symbol)
        # t* of the voxels is one for all; WAPI mixes what lies beside a border
        if model.model in ("logan", "wapi"):
            continue
        table = tables[MODELS.index(model)]
        for i, name in enumerate(TRUTH):
            for symbol in model.map_parameters:
                np.testing.assert_allclose(
                    values[symbol][4 * i + 1, 6, 6], table.loc[name, symbol], rtol=1e-5
                )


def test_models_of_curves_share_one_k2prime(files, scan):
    _, two, multilinear, logan = fit_regions(files, scan, MODELS[:4])
    for table in (two, multilinear, logan):
        # 0.14 but for the lines that join the frames of the reference
        assert table["k2prime"].nunique() == 1
        assert table["k2prime"].iloc[0] == pytest.approx(0.14, rel=1e-3)


def test_regional_values_of_an_image_model_are_means_of_its_maps(files, scan):
    models = [Srtm(), Wapi()]
    node = AverageMaps(
        maps=fit_voxels(files, scan, models), models=models, region_weights=files["regions"],
        reference="CBL", minimum_volume_mm3=1e3,
    )  # fmt: skip
    table = read_table(node.run().outputs.kinpar).set_index("name")
    assert list(table.index) == list(TRUTH)
    maps = fit_voxels(files, scan, models)
    bpnd = read_volume(maps[len(map_symbols(models[0]))]).data
    for i, name in enumerate(TRUTH):
        slab = bpnd[4 * i : 4 * i + 4]
        assert table.loc[name, "BPND"] == pytest.approx(float(np.nanmean(slab)), rel=1e-5)
        assert table.loc[name, "DVR"] == pytest.approx(1 + table.loc[name, "BPND"], rel=1e-5)


def test_scan_that_lacks_what_a_model_needs_is_told_which(files, scan):
    with pytest.raises(DataError, match=r"model suv: .*injected"):
        fit_regions(files, replace(scan, injected_mbq=None), [Srtm(), Suv()])
    nowhere = Srtm2(k2prime=K2Prime(region="Pons"))
    with pytest.raises(DataError, match=r"model srtm2: .*Pons.* OC, HIP, VST"):
        fit_regions(files, scan, [nowhere])


def test_flags_of_voxels_are_written_beside_the_maps(files, scan, tmp_path):
    frames, _ = read_series(files["pet"])
    frames[0, 2, 2] = 0  # failed
    frames[1, 2, 2] = 200 * scan.timing.mid_min  # never leaves: k2a at its lower bound
    files["pet"] = str(write_array(tmp_path / "odd.nii.gz", frames, np.eye(4)))
    node = FitVoxels(
        tacs=files["tacs"], models=[Srtm()], weights="counts", reference="CBL", scan=scan,
        pet_preproc=files["pet"], brain_mask=files["mask"], smoothing_fwhm_mm=0.0,
    )  # fmt: skip
    (path,) = node.run().outputs.flags
    flags = read_labels(path).data
    assert flags[0, 2, 2] == Flag.FAILED
    assert flags[1, 2, 2] & Flag.AT_BOUND
    assert not flags[2:].any()
