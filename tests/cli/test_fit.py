"""`petbind fit`: a table of curves becomes a table of parameters, or a sentence says why not."""

import json

import numpy as np
import pandas as pd
import pytest

from pipeline.cli.main import main
from pipeline.core.timing import FrameTiming
from pipeline.io.tables import read_json, read_table, write_table
from pipeline.kinetics.convolution import ReferenceCurve

DONE, SOME_FAILED, WRONG_USE = 0, 1, 2

DURATION_S = np.repeat([10, 30, 60, 180, 360], [6, 4, 4, 4, 12]).astype(float)
TIMING = FrameTiming(np.cumsum(DURATION_S) - DURATION_S, DURATION_S)
TRUTH = {"OC": (1.05, 1.24), "HIP": (0.78, 0.42), "VST": (0.85, 1.78)}
K2PRIME = 0.14


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    # the command sets these for its process; here the process is everyone's
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")


@pytest.fixture
def curves():
    """Region to curve, kBq/mL, by the equation of SRTM; CBL is the reference."""
    t = TIMING.mid_min
    ref = 9 * (1 - np.exp(-2 * t)) * np.exp(-0.03 * t) + 1
    curve = ReferenceCurve(ref, TIMING)
    found = {"CBL": ref}
    for name, (r1, bpnd) in TRUTH.items():
        k2a = r1 * K2PRIME / (1 + bpnd)
        found[name] = r1 * ref + r1 * (K2PRIME - k2a) * curve.convolved(np.array([k2a]))[0]
    return found


@pytest.fixture
def tacs(tmp_path, curves):
    """Path of a table as PETPrep writes it, with its sidecar."""
    path = tmp_path / "sub-01_ses-pre_seg-gtm_desc-preproc_tacs.tsv"
    frames = {"frame_start": TIMING.start_s, "frame_end": TIMING.end_s}
    write_table(path, pd.DataFrame({**frames, **{n: 1000 * c for n, c in curves.items()}}))
    sidecar = {
        "Units": "Bq/mL",
        "TracerRadionuclide": "C11",
        "InjectedRadioactivity": 400,
        "InjectedRadioactivityUnits": "MBq",
        "BodyWeight": 80,
    }
    path.with_suffix(".json").write_text(json.dumps(sidecar))
    return path


def fit(tacs, *words):
    return main(["fit", str(tacs), "--reference", "CBL", *words])


def kinpar(tacs, label):
    name = f"sub-01_ses-pre_seg-gtm_desc-preproc_model-{label}_kinpar.tsv"
    return read_table(tacs.parent / name).set_index("name")


def test_parameters_come_back_in_a_table_that_says_what_it_holds(tacs, capsys):
    assert fit(tacs) == DONE
    table = kinpar(tacs, "SRTM")
    assert list(table.index) == list(TRUTH)
    for name, (r1, bpnd) in TRUTH.items():
        assert table.loc[name, "BPND"] == pytest.approx(bpnd, abs=1e-4)
        assert table.loc[name, "R1"] == pytest.approx(r1, abs=1e-4)
        assert table.loc[name, "k2prime"] == pytest.approx(K2PRIME, abs=1e-4)
    sidecar = read_json(next(tacs.parent.glob("*kinpar.json")))
    described = {key for key, value in sidecar.items() if isinstance(value, dict)}
    assert set(table.columns) - {"index"} <= described
    assert sidecar["ModelName"] == "SRTM"
    assert sidecar["ReferenceRegion"] == "CBL"
    assert sidecar["Sources"] == [tacs.name]
    assert str(tacs.parent) not in json.dumps(sidecar)
    shown = capsys.readouterr().out
    assert "1.240" in shown
    assert "VST" in shown


def test_every_model_of_curves_can_be_asked_for_at_once(tacs):
    names = ("srtm", "srtm2", "mrtm1", "mrtm2", "logan", "suvr", "suv")
    words = [word for name in names for word in ("--model", name)]
    assert fit(tacs, *words, "--weights", "duration") == DONE
    for label in ("SRTM", "SRTM2", "MRTM1", "MRTM2", "LoganRef"):
        bpnd = kinpar(tacs, label)["BPND"]
        for name, (_, truth) in TRUTH.items():
            # integrals of frame sums leave a per cent on these frames
            assert 1 + bpnd[name] == pytest.approx(1 + truth, rel=0.015), label
    assert "BPND" not in kinpar(tacs, "SUVR").columns
    # g/mL: activity by dose and weight
    assert 0.5 < kinpar(tacs, "SUV").loc["OC", "SUV"] < 3


def test_options_of_a_model(tacs):
    option = "srtm2.k2prime.per_min=0.14"
    assert fit(tacs, "--model", "srtm2", "--set", option) == DONE
    assert kinpar(tacs, "SRTM2").loc["HIP", "BPND"] == pytest.approx(0.42, abs=1e-4)


def test_earlier_results_are_kept_unless_told_otherwise(tacs, capsys):
    assert fit(tacs) == DONE
    before = kinpar(tacs, "SRTM")
    assert fit(tacs, "--weights", "uniform") == WRONG_USE
    assert "--overwrite" in capsys.readouterr().err
    pd.testing.assert_frame_equal(before, kinpar(tacs, "SRTM"))
    assert fit(tacs, "--weights", "uniform", "--overwrite") == DONE


def test_results_and_figure_in_a_folder_of_their_own(tacs, tmp_path):
    out = tmp_path / "new" / "fits"
    assert fit(tacs, "--output-dir", str(out), "--plot") == DONE
    assert sorted(path.suffix for path in out.iterdir()) == [".json", ".svg", ".tsv"]
    assert b"VST" in next(out.glob("*.svg")).read_bytes()


def test_reference_in_a_table_of_its_own(tacs, tmp_path, curves):
    frames = {"frame_start": TIMING.start_s, "frame_end": TIMING.end_s}
    other = tmp_path / "sub-01_ses-pre_label-cerebellum_desc-preproc_tacs.tsv"
    write_table(other, pd.DataFrame({**frames, "cerebellum": 1000 * curves["CBL"]}))
    assert main(["fit", str(tacs), "--reference", str(other)]) == DONE
    assert kinpar(tacs, "SRTM").loc["OC", "BPND"] == pytest.approx(1.24, abs=1e-4)


def test_a_curve_that_cannot_be_fitted_is_told_apart(tacs):
    table = read_table(tacs)
    table["HIP"] = np.nan
    write_table(tacs, table)
    assert fit(tacs) == SOME_FAILED
    found = kinpar(tacs, "SRTM")
    assert np.isnan(found.loc["HIP", "BPND"])
    assert "failed" in found.loc["HIP", "flag"]
    assert found.loc["VST", "BPND"] == pytest.approx(1.78, abs=1e-3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--model", "srtn"), "srtn"),
        (("--model", "wapi"), "wapi fits images"),
        (("--model", "srtm", "--model", "wapi"), "wapi fits images"),
        (("--weights", "count"), "weights"),
        (("--model", "srtm", "--set", "logan.tstar_min=20"), "logan"),
        (("--model", "srtm", "--set", "srtm.k2a_mim=0.1"), "k2a_mim"),
        (("--radionuclide", "C12"), "C12"),
    ],
)
def test_wrong_words_are_named(tacs, capsys, words, message):
    assert fit(tacs, *words) == WRONG_USE
    assert message in capsys.readouterr().err
    assert not list(tacs.parent.glob("*kinpar*"))


def test_reference_that_is_not_there(tacs, capsys):
    assert main(["fit", str(tacs), "--reference", "Pons"]) == WRONG_USE
    assert "no curve named 'Pons'; found CBL, OC, HIP, VST" in capsys.readouterr().err


def test_weights_that_need_what_nobody_says(tacs, capsys):
    tacs.with_suffix(".json").unlink()
    assert fit(tacs) == WRONG_USE
    assert "--radionuclide" in capsys.readouterr().err
    assert fit(tacs, "--weights", "duration") == DONE


def test_dose_that_is_missing(tacs, capsys):
    tacs.with_suffix(".json").write_text('{"Units": "Bq/mL", "TracerRadionuclide": "C11"}')
    assert fit(tacs, "--model", "suv") == WRONG_USE
    assert "injected" in capsys.readouterr().err.lower()


def test_unit_that_an_suv_needs(tacs, capsys):
    tacs.with_suffix(".json").write_text('{"TracerRadionuclide": "C11"}')
    assert fit(tacs, "--model", "suv") == WRONG_USE
    assert "needs Units" in capsys.readouterr().err
    assert fit(tacs, "--model", "suvr") == DONE


def test_minutes_are_not_taken_for_seconds(tacs, capsys):
    table = read_table(tacs)
    write_table(tacs, table.assign(frame_start=TIMING.start_s / 60, frame_end=TIMING.end_s / 60))
    assert fit(tacs) == WRONG_USE
    assert "multiply minutes by 60" in capsys.readouterr().err


def test_two_opinions_on_the_radionuclide(tacs, capsys):
    assert fit(tacs, "--radionuclide", "F18") == WRONG_USE
    assert "TracerRadionuclide is C11, --radionuclide F18" in capsys.readouterr().err
    assert fit(tacs, "--radionuclide", "11C") == DONE


def test_nothing_is_left_where_nothing_was_fitted(tacs, tmp_path, capsys):
    place = tmp_path / "new"
    assert fit(tacs, "--output-dir", str(place), "--model", "Logan", "--set",
               "logan.tstar_min=900") == WRONG_USE  # fmt: skip
    assert not place.exists()


def test_section_given_a_number(tacs, capsys):
    assert fit(tacs, "--model", "srtm2", "--set", "srtm2.k2prime=0.12") == WRONG_USE
    assert "k2prime.per_min" in capsys.readouterr().err


def test_dose_given_by_hand(tacs, capsys):
    sidecar = read_json(tacs.with_suffix(".json"))
    for key in ("InjectedRadioactivity", "BodyWeight"):
        del sidecar[key]
    tacs.with_suffix(".json").write_text(json.dumps(sidecar))
    words = ["--model", "suv", "--set", "suv.injected_mbq=400"]
    assert fit(tacs, *words) == WRONG_USE
    assert fit(tacs, *words, "--set", "suv.body_weight_kg=80") == DONE
    assert kinpar(tacs, "SUV")["SUV"].notna().all()


def test_a_scan_that_begins_late_is_told(tacs, capsys):
    table = read_table(tacs)
    write_table(tacs, table[table["frame_start"] >= 240])
    assert fit(tacs) == DONE
    assert "no frame from 0 to 240 s after injection" in capsys.readouterr().err


def test_no_figure_of_an_earlier_fit_is_left(tacs):
    assert fit(tacs, "--plot") == DONE
    assert len(list(tacs.parent.glob("*.svg"))) == 1
    assert fit(tacs, "--overwrite", "--weights", "uniform") == DONE
    assert not list(tacs.parent.glob("*.svg"))


def test_output_folder_that_cannot_be_made(tacs, capsys):
    assert fit(tacs, "--output-dir", str(tacs)) == WRONG_USE
    assert "cannot make this folder" in capsys.readouterr().err


def test_sidecar_tells_what_was_asked_for(tacs):
    assert fit(tacs, "--model", "srtm2") == DONE
    about = read_json(next(tacs.parent.glob("*SRTM2_kinpar.json")))
    assert about["TracerRadionuclide"] == "C11"
    assert "k2prime.per_min" not in about["InputLabels"]  # it was found, and stands in the table
    assert "at_bound" in about["flag"]["Levels"]
