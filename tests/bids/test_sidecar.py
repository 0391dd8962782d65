"""Metadata as people really write them: read right, or named with file and key."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.bids.dataset import index_dataset
from pipeline.bids.sidecar import read_body_weight, read_metadata, read_pet_sidecar
from pipeline.bids.units import (
    activity_factor,
    activity_per_mass_factor,
    concentration_factor,
    mass_factor,
)

C11_PER_S = math.log(2) / 1221.84
ORACLES = Path(__file__).parents[3] / "shared" / "oracles" / "bids_pet_sidecars"


def read(tree, n_frames=3):
    dataset = index_dataset(tree.root)
    (pet,) = dataset.images("pet", "pet")
    return read_pet_sidecar(dataset, pet, n_frames)


def severity(findings, key):
    """Severities of what was found about a key."""
    return {finding.severity for finding in findings if finding.key == key}


def test_a_clean_sidecar_has_no_oddity(tree):
    tree.pet()
    sidecar, findings = read(tree)
    assert findings == ()
    assert sidecar.frame_start_s == (0, 10, 30)
    assert sidecar.frame_duration_s == (10, 20, 60)
    assert sidecar.frame_scale == (1, 1, 1)
    assert (sidecar.radionuclide, sidecar.tracer_name) == ("C11", "AZ10419369")
    assert sidecar.injected_mbq == 400


# --- units ---


@pytest.mark.parametrize(
    ("units", "factor"),
    [
        ("Bq/mL", 1),
        ("Bq/ml", 1),
        ("BQML", 1),
        ("Bq/cc", 1),
        ("Bq / cm3", 1),
        ("bq/cm^3", 1),
        ("Bq/cm³", 1),
        ("Bq.mL-1", 1),
        ("Bq·ml^-1", 1),
        ("[Bq/ml]", 1),
        ("Becquerels per milliliter", 1),
        ("kBq/mL", 1e3),
        ("KBQ/CC", 1e3),
        ("kBq/cc", 1e3),
        ("MBq/mL", 1e6),
        ("mbq/ml", 1e6),
        ("nCi/cc", 37),
        ("nCi/mL", 37),
        ("NCI/ML", 37),
        ("uCi/mL", 3.7e4),
        ("µCi/mL", 3.7e4),
        ("μCi/mL", 3.7e4),
        ("microCi/ml", 3.7e4),
        ("mCi/ml", 3.7e7),
    ],
)
def test_units_of_concentration(units, factor):
    assert concentration_factor(units) == factor


@pytest.mark.parametrize(
    "units",
    ["SUV", "g/ml", "counts", "CNTS", "cps", "Bq", "MBq", "Bq/L", "%ID/g", "1/cm", "", "xBq/ml"],
)
def test_what_is_no_concentration(tree, units):
    assert concentration_factor(units) is None
    tree.pet(Units=units)
    sidecar, findings = read(tree)
    assert sidecar is None
    assert severity(findings, "Units") == {"error"}


@pytest.mark.parametrize(
    ("units", "factor"), [("MBq", 1e6), ("kBq", 1e3), ("GBq", 1e9), ("mCi", 3.7e7), ("Ci", 3.7e10)]
)
def test_units_of_activity(units, factor):
    assert activity_factor(units) == factor
    assert activity_factor(f"{units}/mL") is None


def test_odd_units_scale_the_frames(tree):
    tree.pet(Units="kBq/mL")
    sidecar, findings = read(tree)
    assert sidecar.frame_scale == (1e3, 1e3, 1e3)
    assert severity(findings, "Units") == {"note"}


def test_millibecquerel_is_doubted(tree):
    tree.pet(Units="mBq/mL")
    sidecar, findings = read(tree)
    assert sidecar.frame_scale[0] == 1e6
    assert severity(findings, "Units") == {"warning"}


# --- frames ---


@pytest.mark.parametrize(
    ("keys", "key", "message"),
    [
        ({"FrameTimesStart": None}, "FrameTimesStart", "missing; it cannot be guessed"),
        ({"FrameTimesStart": "n/a"}, "FrameTimesStart", "missing"),
        ({"FrameTimesStart": []}, "FrameTimesStart", "empty"),
        ({"FrameTimesStart": [0, "n/a", 30]}, "FrameTimesStart", "frame 1 is 'n/a'"),
        ({"FrameTimesStart": [0, True, 30]}, "FrameTimesStart", "frame 1 is True"),
        ({"FrameTimesStart": [0, 5, 30]}, "FrameTimesStart", "frame 0 ends 5 s after"),
        ({"FrameTimesStart": [30, 10, 0]}, "FrameTimesStart", "after frame 1 starts"),
        ({"FrameTimesStart": [0, 10]}, "FrameTimesStart", "has 2 values but the image has 3"),
        ({"FrameDuration": [10, 20]}, "FrameDuration", "has 2 values but the image has 3"),
        ({"FrameDuration": None}, "FrameDuration", "missing"),
        ({"FrameDuration": [10, 0, 60]}, "FrameDuration", "frame 1 lasts 0 s"),
        ({"InjectionStart": "noon"}, "InjectionStart", "'noon' is not a number"),
    ],
)
def test_frames_that_cannot_be_used(tree, keys, key, message):
    tree.pet(**keys)
    sidecar, findings = read(tree)
    assert sidecar is None
    errors = [finding for finding in findings if finding.is_error]
    assert [finding.key for finding in errors] == [key]
    assert message in errors[0].message
    assert errors[0].where == "sub-01/pet/sub-01_pet.json"
    assert errors[0].next_step


def test_37_frames_in_the_sidecar_and_38_in_the_image(tree):
    start = [60 * frame for frame in range(37)]
    tree.pet(FrameTimesStart=start, FrameDuration=[60] * 37)
    sidecar, findings = read(tree, n_frames=38)
    assert sidecar is None
    assert "has 37 values but the image has 38 frames" in findings[0].message


def test_frame_ends_written_as_durations(tree):
    tree.pet(FrameDuration=[10, 30, 90])
    _, findings = read(tree)
    assert "ends of the frames" in findings[0].next_step


def test_a_gap_is_noted_and_kept(tree):
    tree.pet(FrameTimesStart=[0, 10, 40])
    sidecar, findings = read(tree)
    assert severity(findings, "FrameTimesStart") == {"note"}
    assert sidecar.frame_start_s == (0, 10, 40)


def test_starts_in_milliseconds_are_doubted(tree):
    tree.pet(FrameTimesStart=[0, 10_000, 30_000])
    _, findings = read(tree)
    assert severity(findings, "FrameTimesStart") == {"warning"}


def test_rounding_of_frame_ends_is_accepted(tree):
    tree.pet(FrameTimesStart=[0, 9.995, 30])
    sidecar, findings = read(tree)
    assert sidecar is not None
    assert findings == ()


def test_numbers_as_text(tree):
    tree.pet(FrameTimesStart=["0", "10.0", "30"], InjectedRadioactivity="400.0")
    sidecar, findings = read(tree)
    assert sidecar.frame_start_s == (0, 10, 30)
    assert sidecar.injected_mbq == 400
    assert severity(findings, "FrameTimesStart") == {"note"}


# --- injection ---


@pytest.mark.parametrize(
    ("injection_s", "first_s", "key", "expected"),
    [
        (0, 0, "InjectionStart", set()),
        (30, 0, "InjectionStart", {"note"}),
        (601, 0, "InjectionStart", {"warning"}),
        (-30, 0, "FrameTimesStart", set()),
        (-61, 0, "FrameTimesStart", {"warning"}),
        (None, 0, "InjectionStart", {"warning"}),
    ],
)
def test_time_zero_is_the_injection(tree, injection_s, first_s, key, expected):
    tree.pet(InjectionStart=injection_s, ImageDecayCorrectionTime=injection_s or 0)
    sidecar, findings = read(tree)
    assert sidecar.frame_start_s[0] == first_s - (injection_s or 0)
    assert severity(findings, key) == expected


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(shift_s=st.integers(-3600, 3600))
def test_choice_of_time_zero_does_not_matter(tree, shift_s):
    """Moving every time together changes nothing."""
    tree.pet(
        FrameTimesStart=[shift_s, shift_s + 10, shift_s + 30],
        InjectionStart=shift_s + 5,
        ScanStart=shift_s,
        ImageDecayCorrectionTime=shift_s + 100,
    )
    sidecar, _ = read(tree)
    assert sidecar.frame_start_s == (-5, 5, 25)
    np.testing.assert_allclose(sidecar.frame_scale, math.exp(C11_PER_S * 95), rtol=1e-9)


def test_scan_start_that_contradicts_the_frames(tree):
    tree.pet(ScanStart=60)
    _, findings = read(tree)
    assert severity(findings, "ScanStart") == {"warning"}


# --- decay ---


def test_uncorrected_frames_are_corrected(tree):
    """Constant activity at injection: measured means times the factors give it back."""
    tree.pet(ImageDecayCorrected=False, ImageDecayCorrectionTime=None, InjectionStart=5)
    sidecar, findings = read(tree)
    start = np.array([0, 10, 30]) - 5.0
    edges = np.stack([start, start + np.array([10, 20, 60])])
    decayed = np.exp(-C11_PER_S * edges)
    measured = (decayed[0] - decayed[1]) / (C11_PER_S * (edges[1] - edges[0]))
    np.testing.assert_allclose(np.array(sidecar.frame_scale) * measured, 1.0, rtol=1e-12)
    assert severity(findings, "ImageDecayCorrected") == {"note"}


def test_correction_to_another_time_is_moved_to_the_injection(tree):
    """Corrected to one half-life after the injection: half of what it was then."""
    tree.pet(ImageDecayCorrectionTime=1221.84, Units="kBq/mL")
    sidecar, findings = read(tree)
    np.testing.assert_allclose(sidecar.frame_scale, 2000.0, rtol=1e-12)
    assert severity(findings, "ImageDecayCorrectionTime") == {"note"}


def test_missing_correction_time_is_said(tree):
    tree.pet(ImageDecayCorrectionTime=None, InjectionStart=20)
    sidecar, findings = read(tree)
    assert sidecar.frame_scale == (1, 1, 1)
    assert severity(findings, "ImageDecayCorrectionTime") == {"warning"}


@pytest.mark.parametrize("value", [None, "n/a", "perhaps", 2, [True]])
def test_unknown_state_of_correction_is_an_error(tree, value):
    tree.pet(ImageDecayCorrected=value)
    sidecar, findings = read(tree)
    assert sidecar is None
    assert severity(findings, "ImageDecayCorrected") == {"error"}


@pytest.mark.parametrize("value", ["true", "True", "yes", 1, "1"])
def test_truth_in_other_words(tree, value):
    tree.pet(ImageDecayCorrected=value)
    sidecar, findings = read(tree)
    assert sidecar.frame_scale == (1, 1, 1)
    assert severity(findings, "ImageDecayCorrected") == {"note"}


def test_factors_beside_an_uncorrected_image_are_doubted(tree):
    tree.pet(ImageDecayCorrected=False, DecayCorrectionFactor=[1.0, 1.01, 1.02])
    _, findings = read(tree)
    assert severity(findings, "DecayCorrectionFactor") == {"warning"}


@pytest.mark.parametrize("written", ["C11", "11C", "[11C]", "C-11", "c11", "11-C ", "Carbon-11"])
def test_spellings_of_the_radionuclide(tree, written):
    tree.pet(TracerRadionuclide=written, ImageDecayCorrected=False)
    sidecar, _ = read(tree)
    assert sidecar.radionuclide == "C11"
    assert sidecar.frame_scale[2] > 1


@pytest.mark.parametrize("nuclide", [None, "Xx99", "carbon", 11])
@pytest.mark.parametrize(("corrected", "expected"), [(False, "error"), (True, "warning")])
def test_unknown_radionuclide(tree, nuclide, corrected, expected):
    tree.pet(TracerRadionuclide=nuclide, ImageDecayCorrected=corrected)
    sidecar, findings = read(tree)
    assert severity(findings, "TracerRadionuclide") == {expected}
    assert (sidecar is None) == (expected == "error")


def test_times_beyond_reason_are_an_error(tree):
    tree.pet(ImageDecayCorrectionTime=1e9)
    sidecar, findings = read(tree)
    assert sidecar is None
    assert severity(findings, "ImageDecayCorrectionTime") == {"error"}


# --- other keys ---


@pytest.mark.parametrize(
    ("amount", "units", "mbq", "expected"),
    [
        (400, "MBq", 400, set()),
        (10, "mCi", 370, set()),
        (4e8, "Bq", 400, set()),
        (4e8, "MBq", 4e8, {"warning"}),
        ("n/a", "MBq", None, {"note"}),
        (None, None, None, {"note"}),
    ],
)
def test_injected_activity(tree, amount, units, mbq, expected):
    tree.pet(InjectedRadioactivity=amount, InjectedRadioactivityUnits=units)
    sidecar, findings = read(tree)
    assert sidecar.injected_mbq == mbq
    assert severity(findings, "InjectedRadioactivity") == expected


@pytest.mark.parametrize("units", [None, "mg", 5])
def test_a_dose_without_units_is_left_out(tree, units):
    tree.pet(InjectedRadioactivityUnits=units)
    sidecar, findings = read(tree)
    assert sidecar.injected_mbq is None
    assert severity(findings, "InjectedRadioactivityUnits") == {"warning"}


def test_the_misprint_of_the_specification_is_understood(tree):
    tree.pet(InjectedRadioactivityUnits=None, InjectedRadioActivityUnits="MBq")
    sidecar, findings = read(tree)
    assert sidecar.injected_mbq == 400
    assert [finding.message for finding in findings] == ["spelt InjectedRadioActivityUnits"]


@pytest.mark.parametrize(
    ("units", "factor"),
    [
        ("g", (1, "g")),
        ("mg", (1e-3, "g")),
        ("ug", (1e-6, "g")),
        ("µg", (1e-6, "g")),
        ("mcg", (1e-6, "g")),
        ("nanograms", (1e-9, "g")),
        ("nmol", (1e-9, "mol")),
        ("μmol", (1e-6, "mol")),
        ("mL", None),
        ("GBq", None),
        ("", None),
    ],
)
def test_units_of_mass(units, factor):
    assert mass_factor(units) == factor


@pytest.mark.parametrize(
    ("units", "factor"),
    [
        ("GBq/umol", (1e15, "mol")),
        ("GBq/µmol", (1e15, "mol")),
        ("MBq/nmol", (1e15, "mol")),
        ("GBq umol-1", (1e15, "mol")),
        ("Ci/mmol", (3.7e13, "mol")),
        ("Bq/g", (1, "g")),
        ("MBq/ug", (1e12, "g")),
        ("nmol", None),
        ("MBq", None),
        ("Bq/mL", None),
    ],
)
def test_units_of_activity_per_mass(units, factor):
    found = activity_per_mass_factor(units)
    assert (found is None) == (factor is None)
    if factor is not None:
        assert found[0] == pytest.approx(factor[0], rel=1e-12)
        assert found[1] == factor[1]


@pytest.mark.parametrize(
    ("keys", "gbq_per_umol", "ug"),
    [
        ({}, None, None),
        ({"MolarActivity": 364, "MolarActivityUnits": "GBq/umol"}, 364, None),
        ({"MolarActivity": 55, "MolarActivityUnits": "MBq/nmol"}, 55, None),
        ({"MolarActivity": 10, "MolarActivityUnits": "Ci/umol"}, 370, None),
        # a specific activity per mass needs the molar mass: 800 MBq/ug x 462.54 g/mol
        ({"SpecificRadioactivity": 800, "SpecificRadioactivityUnits": "MBq/ug"}, 370.032, None),
        ({"SpecificRadioactivity": 8e14, "SpecificRadioactivityUnits": "Bq/g"}, 370.032, None),
        ({"SpecificRadioactivity": 3e17, "SpecificRadioactivityUnits": "Bq/mol"}, 300, None),
        ({"InjectedMass": 0.5, "InjectedMassUnits": "ug"}, None, 0.5),
        ({"InjectedMass": "0.5", "InjectedMassUnits": "µg"}, None, 0.5),
        ({"InjectedMass": 500, "InjectedMassUnits": "ng"}, None, 0.5),
        ({"InjectedMass": 1, "InjectedMassUnits": "nmol"}, None, 0.46254),
        ({"InjectedMass": "n/a", "InjectedMassUnits": "n/a"}, None, None),
    ],
)
def test_mass_and_molar_activity(tree, keys, gbq_per_umol, ug):
    tree.pet(TracerMolecularWeight=462.54, TracerMolecularWeightUnits="g/mol", **keys)
    sidecar, findings = read(tree)
    assert sidecar.molar_activity_gbq_per_umol == (gbq_per_umol and pytest.approx(gbq_per_umol))
    assert sidecar.injected_mass_ug == (ug and pytest.approx(ug))
    assert findings == ()


@pytest.mark.parametrize(
    ("keys", "key", "expected"),
    [
        ({"InjectedMass": 1, "InjectedMassUnits": "nmol"}, "InjectedMassUnits", "note"),
        ({"InjectedMass": 1, "InjectedMassUnits": "mL"}, "InjectedMassUnits", "warning"),
        ({"InjectedMass": 1}, "InjectedMassUnits", "warning"),
        ({"InjectedMass": [1], "InjectedMassUnits": "ug"}, "InjectedMass", "warning"),
        ({"MolarActivity": 2, "MolarActivityUnits": "nmol"}, "MolarActivityUnits", "warning"),
        (
            {"SpecificRadioactivity": 800, "SpecificRadioactivityUnits": "MBq/ug"},
            "SpecificRadioactivityUnits",
            "note",
        ),
    ],
)
def test_what_cannot_be_converted_is_left_out_and_told(tree, keys, key, expected):
    tree.pet(**keys)
    sidecar, findings = read(tree)
    assert sidecar.molar_activity_gbq_per_umol is None
    assert sidecar.injected_mass_ug is None
    assert severity(findings, key) == {expected}


def test_a_mass_of_milligrams_is_doubted_and_kept(tree):
    tree.pet(InjectedMass=2, InjectedMassUnits="mg")
    sidecar, findings = read(tree)
    assert sidecar.injected_mass_ug == 2000
    assert severity(findings, "InjectedMass") == {"warning"}


def test_scale_factors_are_not_applied(tree):
    tree.pet(ScaleFactor=[1e-7, 2e-7, 3e-7])
    sidecar, findings = read(tree)
    assert sidecar.frame_scale == (1, 1, 1)
    assert severity(findings, "ScaleFactor") == {"note"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(keys=st.data())
def test_nothing_in_a_sidecar_raises(tree, keys):
    """Any JSON under any key is either read or found odd."""
    names = [
        *("Units", "FrameTimesStart", "FrameDuration", "InjectionStart", "ScanStart"),
        *("ImageDecayCorrected", "ImageDecayCorrectionTime", "TracerRadionuclide", "TracerName"),
        *("InjectedRadioactivity", "InjectedRadioactivityUnits", "ScaleFactor"),
        *("MolarActivity", "MolarActivityUnits", "InjectedMass", "InjectedMassUnits"),
        *("SpecificRadioactivity", "SpecificRadioactivityUnits", "TracerMolecularWeight"),
    ]
    chosen = keys.draw(st.dictionaries(st.sampled_from(names), json_values, min_size=1))
    tree.pet(**chosen)
    sidecar, findings = read(tree)
    assert (sidecar is None) == any(finding.is_error for finding in findings)
    if sidecar is not None:
        assert np.isfinite(sidecar.frame_scale).all()
        assert (np.array(sidecar.frame_scale) > 0).all()


# --- inheritance ---


def test_nearer_and_more_special_files_win(tree):
    tree.pet("sub-01_ses-pre_trc-AZ", Units=None, TracerName=None)
    tree.write("pet.json", {"Units": "kBq/mL", "TracerName": "top"})
    tree.write("trc-AZ_pet.json", {"TracerName": "tracer"})
    tree.write("trc-DASB_pet.json", {"TracerName": "wrong"})
    tree.write("sub-01/sub-01_pet.json", {"Units": "Bq/mL"})
    tree.write("sub-01/ses-post/sub-01_ses-post_pet.json", {"TracerName": "other session"})
    dataset = index_dataset(tree.root)
    (pet,) = dataset.images("pet", "pet")
    metadata = read_metadata(dataset, pet)
    assert (metadata.values["Units"], metadata.values["TracerName"]) == ("Bq/mL", "tracer")
    assert metadata.sources["Units"] == "sub-01/sub-01_pet.json"
    assert metadata.sources["FrameDuration"] == pet.path.as_posix().replace(".nii.gz", ".json")


def test_an_inherited_fault_names_the_file_it_is_in(tree):
    tree.pet(Units=None)
    tree.write("pet.json", {"Units": "SUV"})
    _, findings = read(tree)
    assert [finding.where for finding in findings] == ["pet.json"]


@pytest.mark.parametrize("text", ["{broken", "[1, 2]", "", "\ufffd", '"text"'])
def test_unreadable_sidecar(tree, text):
    tree.pet()
    tree.write("sub-01/pet/sub-01_pet.json", text)
    sidecar, findings = read(tree)
    assert sidecar is None
    (finding,) = findings
    assert finding.is_error
    assert finding.where == "sub-01/pet/sub-01_pet.json"
    assert str(tree.root) not in str(finding)


def test_no_sidecar_at_all(tree):
    tree.pet()
    (tree.root / "sub-01/pet/sub-01_pet.json").unlink()
    sidecar, findings = read(tree)
    assert sidecar is None
    assert [finding.message for finding in findings] == ["no sidecar"]


def test_byte_order_mark(tree):
    path = tree.root / "sub-01/pet/sub-01_pet.json"
    tree.pet()
    path.write_text("\ufeff" + path.read_text())
    assert read(tree)[1] == ()


# --- body weight ---


@pytest.mark.parametrize(
    ("participants", "sessions", "expected"),
    [
        ("participant_id\tweight\nsub-01\t70\n", None, 70.0),
        ("participant_id\tweight\n01\t70\n", None, 70.0),
        ("participant_id\tweight\nsub-01\tn/a\n", None, None),
        ("participant_id\tage\nsub-01\t30\n", None, None),
        ("participant_id\tweight\nsub-02\t70\n", None, None),
        ("participant_id\tweight\nsub-01\t70\n", "session_id\tweight\nses-pre\t71\n", 71.0),
        ("participant_id\tweight\nsub-01\t70\n", "session_id\tweight\nses-post\t71\n", 70.0),
        ("participant_id\tweight\nsub-01\t70\n", "session_id\tweight\nses-pre\tn/a\n", 70.0),
        (None, None, None),
    ],
)
def test_body_weight(tree, participants, sessions, expected):
    tree.pet("sub-01_ses-pre")
    if participants is not None:
        tree.write("participants.tsv", participants)
    if sessions is not None:
        tree.write("sub-01/sub-01_sessions.tsv", sessions)
    weight, findings = read_body_weight(index_dataset(tree.root), "01", "pre")
    assert weight == expected
    assert findings == ()


def test_body_weight_in_grams_is_left_out(tree):
    tree.pet()
    tree.write("participants.tsv", "participant_id\tweight\nsub-01\t70000\n")
    weight, findings = read_body_weight(index_dataset(tree.root), "01", None)
    assert weight is None
    assert findings[0].key == "weight"


# --- sidecars people really wrote ---


@pytest.fixture
def real(tree):
    if not ORACLES.is_dir():
        pytest.skip("the published PET-BIDS sidecars are not beside the repository")

    def place(name: str):
        """Sidecar of a published data set beside an image of zeros."""
        (path,) = ORACLES.glob(f"*/{name}")
        tree.pet("sub-01")
        tree.write("sub-01/pet/sub-01_pet.json", path.read_text(encoding="utf-8"))
        return read(tree, n_frames=None)

    return place


@pytest.mark.parametrize(
    ("path", "frames", "end_s", "mbq"),
    [
        ("sub-01/ses-baseline/pet/sub-01_ses-baseline_pet.json", 32, 3216, 601.648),
        ("sub-02/ses-rescan/pet/sub-02_ses-rescan_pet.json", 36, 5400, 596.283),
    ],
)
def test_dasb_sessions_are_read(real, path, frames, end_s, mbq):
    sidecar, findings = real(path)
    assert not any(finding.is_error for finding in findings)
    assert len(sidecar.frame_start_s) == frames
    assert sidecar.frame_start_s[-1] + sidecar.frame_duration_s[-1] == end_s
    assert sidecar.injected_mbq == mbq
    # the file states activity, mass and molar activity, which agree at DASB's 282.36 g/mol
    ug = 1e-3 * mbq / sidecar.molar_activity_gbq_per_umol * 282.36
    assert sidecar.injected_mass_ug == pytest.approx(ug, rel=5e-3)
    assert (sidecar.radionuclide, sidecar.tracer_name) == ("C11", "DASB")
    assert set(sidecar.frame_scale) == {1.0}


@pytest.mark.parametrize(
    "path",
    [
        "sub-01/ses-01/pet/sub-01_ses-01_trc-CIMBI36_pet.json",
        "sub-01/ses-01/pet/sub-01_ses-01_pet.json",
    ],
)
def test_published_frame_ends_in_place_of_durations_are_found(real, path):
    """Two of the three published data sets hold frame ends in FrameDuration."""
    sidecar, findings = real(path)
    assert sidecar is None
    (error,) = [finding for finding in findings if finding.is_error]
    assert error.key == "FrameTimesStart"
    assert "FrameDuration holds the ends" in error.next_step
