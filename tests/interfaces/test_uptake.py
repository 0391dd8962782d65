"""Uptake of the reference region by the dose: by hand, and missing where it must be."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.bids.scan import ScanInputs
from pipeline.bids.uptake import reference_uptake

START_S = (-30.0, 0.0, 60.0, 300.0, 2400.0)
DURATION_S = (30.0, 60.0, 240.0, 2100.0, 3000.0)
TAC_BQML = np.array([1e6, 0.0, 8000.0, 5000.0, 3000.0])


@pytest.fixture
def scan():
    return ScanInputs(
        subject="01", session=None, task=None, tracer=None, reconstruction=None, run=None,
        pet=Path("pet.nii.gz"), t1w=None, t1w_reason="", frame_start_s=START_S,
        frame_duration_s=DURATION_S, frame_scale=(1.0,) * 5, radionuclide="C11",
        tracer_name="X", injected_mbq=400.0, body_weight_kg=80.0,
    )  # fmt: skip


def test_uptake_by_hand(scan):
    """(60 * 0 + 240 * 8000 + 2100 * 5000 + 3000 * 3000) / 5400 s; the frame before is no part."""
    table = reference_uptake("CBL", TAC_BQML, scan, (40.0, 90.0)).set_index("window")
    mean = (240 * 8000 + 2100 * 5000 + 3000 * 3000) / 5400
    assert table["mean"].tolist() == pytest.approx([mean, 3000.0])
    # 3 kBq/mL of 400 MBq in 80 kg: 0.6 g/mL; 3 MBq/L of 400 MBq: 0.75 %/L
    assert table.loc["late", ["suv", "percent-per-litre"]].tolist() == pytest.approx([0.6, 0.75])
    assert table["suv"].tolist() == pytest.approx([mean / 5000, 0.6])
    assert table["frame_start"].tolist() == [0, 2400]
    assert table["frame_end"].tolist() == [5400, 5400]


def test_twice_the_dose_and_activity_is_the_same_uptake(scan):
    once = reference_uptake("CBL", TAC_BQML, scan, (40.0, 90.0))
    twice = reference_uptake("CBL", 2 * TAC_BQML, replace(scan, injected_mbq=800.0), (40.0, 90.0))
    columns = ["suv", "percent-per-litre"]
    pd.testing.assert_frame_equal(once[columns], twice[columns])


@pytest.mark.parametrize(
    ("unknown", "missing", "known"),
    [
        ({"body_weight_kg": None}, ["suv"], ["mean", "percent-per-litre"]),
        ({"injected_mbq": None}, ["suv", "percent-per-litre"], ["mean"]),
    ],
)
def test_what_is_not_known_is_missing(scan, unknown, missing, known):
    table = reference_uptake("CBL", TAC_BQML, replace(scan, **unknown), (40.0, 90.0))
    assert table[missing].isna().all(axis=None)
    assert table[known].notna().all(axis=None)


def test_a_window_after_the_scan_and_a_lost_frame_have_no_mean(scan):
    late = reference_uptake("CBL", TAC_BQML, scan, (60.0, 90.0)).set_index("window")
    assert late.loc["late"].drop("name").isna().all()
    assert late.loc["scan", "mean"] > 0
    lost = TAC_BQML.copy()
    lost[3] = np.nan
    table = reference_uptake("CBL", lost, scan, (40.0, 90.0)).set_index("window")
    assert np.isnan(table.loc["scan", "mean"])
    assert table.loc["late", "mean"] == 3000
