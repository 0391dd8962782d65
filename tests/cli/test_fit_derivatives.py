"""`petbind fit` on a folder: data sets of curves in the spelling of PETPrep and its kin."""

import json

import numpy as np
import pandas as pd
import pytest

from pipeline.cli.main import main
from pipeline.core.labels import LABEL_NAMES
from pipeline.core.timing import FrameTiming
from pipeline.io.tables import read_json, read_table, write_json, write_table
from pipeline.kinetics.convolution import ReferenceCurve

DONE, SOME_FAILED, WRONG_USE = 0, 1, 2

DURATION_S = np.repeat([10, 30, 60, 180, 360], [6, 4, 4, 4, 12]).astype(float)
TIMING = FrameTiming(np.cumsum(DURATION_S) - DURATION_S, DURATION_S)
K2PRIME = 0.14
BPND = {
    "Left-Hippocampus": 0.4,
    "Right-Hippocampus": 0.5,
    "ctx-lh-caudalanteriorcingulate": 1.0,
    "ctx-lh-rostralanteriorcingulate": 1.1,
    "ctx-rh-caudalanteriorcingulate": 1.2,
    "ctx-rh-rostralanteriorcingulate": 1.3,
    "Left-Thalamus-Proper": 0.6,
    "Right-Thalamus-Proper": 0.6,
    "Left-Accumbens-area": 1.8,
}
VOLUME_MM3 = dict(zip(BPND, (4396.0, 4153, 2113, 2344, 1390, 1887, 7277, 7129, 542), strict=True))
ACC = [name for name in BPND if "anteriorcingulate" in name]
BESIDE = {"Units": "Bq/mL", "InjectedRadioactivity": 400, "InjectedRadioactivityUnits": "MBq"}


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    # the command sets these for its process; here the process is everyone's
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")


def reference_curve():
    t = TIMING.mid_min
    return 9000 * (1 - np.exp(-2 * t)) * np.exp(-0.03 * t) + 1000


def columns(shift=0.0):
    """Column to curve, Bq/mL, by the equation of SRTM with R1 = 0.9."""
    ref = reference_curve()
    found = {"CSF": 0.3 * ref}
    for name, bpnd in BPND.items():
        k2a = 0.9 * K2PRIME / (1 + bpnd + shift)
        tail = ReferenceCurve(ref, TIMING).convolved(np.array([k2a]))[0]
        found[name] = 0.9 * ref + 0.9 * (K2PRIME - k2a) * tail
    return found


def write_tacs(path, curves, beside=BESIDE, start_s=TIMING.start_s):
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = {"frame_start": start_s, "frame_end": start_s + TIMING.duration_s}
    write_table(path, pd.DataFrame({**frames, **curves}))
    times = {"FrameTimesStart": list(start_s), "FrameDuration": list(TIMING.duration_s)}
    write_json(path.with_suffix(".json"), {**times, **beside})
    return path


def write_morph(path, volume_mm3=VOLUME_MM3):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame({"index": np.arange(len(volume_mm3)), "name": list(volume_mm3)})
    return write_table(path, table.assign(**{"volume-mm3": list(volume_mm3.values())}))


@pytest.fixture
def petprep(tmp_path):
    """Two subjects, two sessions: curves and a reference region of its own, volumes in anat."""
    root = tmp_path / "petprep"
    for subject in ("01", "02"):
        write_morph(root / f"sub-{subject}" / "anat" / f"sub-{subject}_seg-gtm_morph.tsv")
        for session, shift in (("pre", 0.0), ("post", 0.1 * int(subject))):
            folder = root / f"sub-{subject}" / f"ses-{session}" / "pet"
            stem = f"sub-{subject}_ses-{session}"
            write_tacs(folder / f"{stem}_seg-gtm_desc-preproc_tacs.tsv", columns(shift))
            write_tacs(
                folder / f"{stem}_label-cerebellum_desc-preproc_tacs.tsv",
                {"cerebellum": reference_curve()},
            )
    write_json(root / "dataset_description.json", {"Name": "PETPrep", "DatasetType": "derivative"})
    return root


@pytest.fixture
def raw(tmp_path):
    """Raw data whose sidecars name the radionuclide, as PETPrep's do not."""
    root = tmp_path / "raw"
    root.mkdir()
    write_json(root / "pet.json", {"TracerRadionuclide": "C11", "Units": "kBq/mL"})
    groups = {"participant_id": ["sub-01", "sub-02"], "group": ["drug", "drug"]}
    write_table(root / "participants.tsv", pd.DataFrame(groups))
    return root


def fit(petprep, raw, *words, reference="cerebellum"):
    out = petprep.parent / "out"
    sources = ["--bids-dir", str(raw)] if raw else ["--weights", "duration"]
    return main(["fit", str(petprep), "--reference", reference, "--output-dir", str(out),
                 *sources, *words])  # fmt: skip


def kinpar(petprep, subject="01", session="pre", rest="seg-gtm_model-SRTM_desc-preproc"):
    folder = petprep.parent / "out" / f"sub-{subject}" / f"ses-{session}" / "pet"
    return read_table(folder / f"sub-{subject}_ses-{session}_{rest}_kinpar.tsv").set_index("name")


def outcomes(petprep):
    return read_table(petprep.parent / "out" / "logs" / "fits.tsv")


def test_every_table_is_fitted_as_if_it_were_alone(petprep, raw):
    assert fit(petprep, raw, "--model", "srtm", "--model", "logan") == DONE
    assert len(list((petprep.parent / "out").glob("sub-*/ses-*/pet/*_kinpar.tsv"))) == 8
    alone = petprep.parent / "alone"
    for table in petprep.glob("sub-*/ses-*/pet/*_seg-gtm_*_tacs.tsv"):
        reference = str(table).replace("seg-gtm", "label-cerebellum")
        words = ["--reference", reference, "--output-dir", str(alone), "--radionuclide", "C11"]
        assert main(["fit", str(table), *words, "--model", "srtm", "--model", "logan"]) == DONE
    for label in ("SRTM", "LoganRef"):
        for subject in ("01", "02"):
            for session in ("pre", "post"):
                stem = f"sub-{subject}_ses-{session}_seg-gtm_desc-preproc_model-{label}"
                single = read_table(alone / f"{stem}_kinpar.tsv").set_index("name")
                rest = f"seg-gtm_model-{label}_desc-preproc"
                pd.testing.assert_frame_equal(kinpar(petprep, subject, session, rest), single)
    assert kinpar(petprep, "02", "post").loc["Left-Hippocampus", "BPND"] == pytest.approx(
        0.6, abs=1e-3
    )


def test_sidecar_says_what_was_read(petprep, raw):
    assert fit(petprep, raw, "--regions") == DONE
    about = read_json(next((petprep.parent / "out").glob("sub-01/ses-pre/pet/*_kinpar.json")))
    assert about["Sources"] == [
        "bids:curves:sub-01/ses-pre/pet/sub-01_ses-pre_seg-gtm_desc-preproc_tacs.tsv",
        "bids:curves:sub-01/anat/sub-01_seg-gtm_morph.tsv",
        "bids:curves:sub-01/ses-pre/pet/sub-01_ses-pre_label-cerebellum_desc-preproc_tacs.tsv",
    ]
    assert about["TracerRadionuclide"] == "C11"
    assert about["ReferenceRegion"] == "cerebellum"
    assert about["Labels"]["ACC"] == [1002, 1026, 2002, 2026]
    assert about["RegionsLeftOut"]["VST"] == "no column Right-Accumbens-area"
    assert str(petprep.parent) not in json.dumps(about)
    described = read_json(petprep.parent / "out" / "dataset_description.json")
    assert described["DatasetLinks"] == {"curves": "../petprep"}


def test_regions_are_means_of_columns_by_volume(petprep, raw, capsys):
    """Against the fit of a table with the means, computed here by hand."""
    assert fit(petprep, raw, "--regions") == DONE
    told = capsys.readouterr().err
    assert "VST left out: no column Right-Accumbens-area" in told
    assert "DBS" in told
    found = kinpar(petprep)
    assert list(found.index) == ["ACC", "HIP", "THA"]  # nothing else has all of its columns
    by_column = columns()
    acc = sum(VOLUME_MM3[n] * by_column[n] for n in ACC) / sum(VOLUME_MM3[n] for n in ACC)
    hip = (4396 * by_column["Left-Hippocampus"] + 4153 * by_column["Right-Hippocampus"]) / 8549
    tha = by_column["Left-Thalamus-Proper"]  # both sides are the same curve
    by_hand = write_tacs(
        petprep.parent / "sub-01_tacs.tsv",
        {"ACC": acc, "HIP": hip, "THA": tha, "R": reference_curve()},
        {**BESIDE, "TracerRadionuclide": "C11"},
    )
    assert main(["fit", str(by_hand), "--reference", "R"]) == DONE
    single = read_table(by_hand.with_name("sub-01_model-SRTM_kinpar.tsv")).set_index("name")
    # tables hold ten digits; what is left of curves without noise is not compared
    columns_of_fit = ["BPND", "R1", "k2", "k2a", "k2prime"]
    pd.testing.assert_frame_equal(found[columns_of_fit], single[columns_of_fit], rtol=1e-6)


def test_regions_of_settings_and_a_reference_made_of_columns(petprep, raw, tmp_path, capsys):
    settings = tmp_path / "mine.toml"
    settings.write_text("[regions]\nmni = {}\n[regions.labels]\nHIP = [17, 53]\nCUR = [17]\n")
    assert fit(petprep, raw, "--regions", str(settings)) == DONE
    assert list(kinpar(petprep).index) == ["HIP", "CUR"]
    for table in petprep.glob("sub-*/ses-*/pet/*_seg-gtm_*_tacs.tsv"):
        half = {f"{side}-Cerebellum-Cortex": reference_curve() for side in ("Left", "Right")}
        write_tacs(table, {**columns(), **half})
    volume_mm3 = VOLUME_MM3 | {"Left-Cerebellum-Cortex": 48973, "Right-Cerebellum-Cortex": 49601}
    for morph in petprep.glob("sub-*/anat/*_morph.tsv"):
        write_morph(morph, volume_mm3)
    before = kinpar(petprep)
    words = ("--regions", str(settings), "--overwrite")
    capsys.readouterr()
    assert fit(petprep, raw, *words, reference="CBL") == DONE
    assert "nothing trimmed" in capsys.readouterr().err
    pd.testing.assert_frame_equal(kinpar(petprep), before, rtol=1e-6)


def test_a_frame_that_a_column_lacks_is_not_made_up(petprep, raw):
    table = next(petprep.glob("sub-01/ses-pre/pet/*_seg-gtm_*_tacs.tsv"))
    curves = columns()
    curves["Left-Hippocampus"][3] = np.nan
    write_tacs(table, curves)
    assert fit(petprep, raw, "--regions") == SOME_FAILED
    found = kinpar(petprep)
    assert np.isnan(found.loc["HIP", "BPND"])
    assert found["BPND"].drop("HIP").notna().all()
    row = outcomes(petprep).set_index("state").loc["regions failed"]
    assert row["reason"] == "no estimate of HIP"


def test_tables_that_fail_are_told_and_leave_the_others_alone(petprep, raw, capsys):
    lost = next(petprep.glob("sub-01/ses-pre/pet/*_label-cerebellum_*_tacs.tsv"))
    lost.unlink()
    bad = next(petprep.glob("sub-02/ses-post/pet/*_seg-gtm_*_tacs.tsv"))
    bad.write_text(bad.read_text().replace("frame_end", "frame_stop"))
    odd = petprep / "sub-02" / "ses-pre" / "pet" / "copy of_tacs.tsv"
    odd.write_text("no table")
    assert fit(petprep, raw) == SOME_FAILED
    table = outcomes(petprep).set_index("table")
    assert table["state"].value_counts().to_dict() == {"failed": 3, "done": 2}
    lacking = table.loc["sub-01/ses-pre/pet/sub-01_ses-pre_seg-gtm_desc-preproc_tacs.tsv"]
    assert lacking["reason"].startswith("no reference cerebellum; columns CSF, Left-Hippocampus")
    assert "no column frame_end" in table.loc[bad.relative_to(petprep).as_posix(), "reason"]
    assert str(petprep) not in "".join(table["reason"].dropna())
    assert "no reference cerebellum" in " ".join(capsys.readouterr().out.split())
    assert len(list((petprep.parent / "out").glob("**/*_kinpar.tsv"))) == 2


def test_nothing_done_is_wrong_use(petprep, raw):
    assert fit(petprep, raw, reference="pons") == WRONG_USE


def test_results_of_before_are_kept_or_all_replaced(petprep, raw, capsys):
    assert fit(petprep, raw) == DONE
    assert fit(petprep, raw) == WRONG_USE
    assert "--overwrite" in capsys.readouterr().err
    next(petprep.glob("sub-01/ses-pre/pet/*_label-cerebellum_*_tacs.tsv")).unlink()
    assert fit(petprep, raw, "--overwrite") == SOME_FAILED
    # what an earlier run found is not taken for this one's
    assert not list((petprep.parent / "out").glob("sub-01/ses-pre/**/*_kinpar.*"))


def test_segmentations_and_corrections_are_chosen_by_name(petprep, raw, capsys):
    folder = petprep / "sub-01" / "ses-pre" / "pet"
    stem = folder / "sub-01_ses-pre"
    write_tacs(folder / f"{stem.name}_pvc-AGTM_seg-gtm_desc-preproc_tacs.tsv", columns(0.5))
    write_tacs(
        folder / f"{stem.name}_pvc-AGTM_label-cerebellum_desc-preproc_tacs.tsv",
        {"cerebellum": reference_curve()},
    )
    write_tacs(
        folder / f"{stem.name}_seg-brainstem_desc-preproc_tacs.tsv", {"Pons": columns()["CSF"]}
    )
    assert fit(petprep, raw) == WRONG_USE
    assert "several segmentations: brainstem, gtm; name one with --seg" in capsys.readouterr().err
    assert fit(petprep, raw, "--seg", "wm") == WRONG_USE
    assert "found brainstem, gtm, gtm with pvc AGTM" in capsys.readouterr().err
    assert fit(petprep, raw, "--seg", "gtm") == DONE
    assert len(outcomes(petprep)) == 4
    assert kinpar(petprep).loc["Left-Hippocampus", "BPND"] == pytest.approx(0.4, abs=1e-3)
    assert fit(petprep, raw, "--seg", "gtm", "--pvc", "AGTM", "--regions") == DONE
    corrected = kinpar(petprep, rest="seg-gtm_pvc-AGTM_model-SRTM_desc-preproc")
    assert corrected.loc["THA", "BPND"] == pytest.approx(1.1, abs=1e-3)


def test_tables_as_petprep_extract_tacs_writes_them(tmp_path, raw):
    root = tmp_path / "extracted"
    for run in ("1", "2"):
        stem = root / "sub-01" / "ses-pre" / f"sub-01_ses-pre_run-{run}_desc-gtmseg"
        write_tacs(stem.with_name(f"{stem.name}_tacs.tsv"), {**columns(), "R": reference_curve()})
        write_morph(stem.with_name(f"{stem.name}_morph.tsv"))
    assert fit(root, raw, "--regions", reference="R") == DONE
    found = kinpar(root, rest="run-2_model-SRTM_desc-gtmseg")
    assert list(found.index) == ["ACC", "HIP", "THA"]


def test_frames_that_count_from_the_scanner_are_put_after_injection(petprep, raw):
    assert fit(petprep, raw) == DONE
    before = kinpar(petprep)
    for table in petprep.glob("sub-*/ses-*/pet/*_tacs.tsv"):
        read = read_table(table).drop(columns=["frame_start", "frame_end"])
        write_tacs(table, read.to_dict("series"), start_s=TIMING.start_s + 45)
    late = {"InjectionStart": 45, "FrameTimesStart": list(TIMING.start_s + 45)}
    write_json(raw / "pet.json", {"TracerRadionuclide": "C11", **late})
    assert fit(petprep, raw, "--overwrite") == DONE
    pd.testing.assert_frame_equal(kinpar(petprep), before, rtol=1e-8)


def test_units_and_dose_beside_the_curves_come_before_those_of_the_raw_data(petprep, raw):
    """SUV by hand: kBq/mL of the sidecar, not those of the raw data; 400 MBq and 80 kg."""
    curves = {name: curve / 1000 for name, curve in columns().items()}
    for table in petprep.glob("sub-*/ses-*/pet/*_seg-gtm_*_tacs.tsv"):
        write_tacs(table, curves, {**BESIDE, "Units": "kBq/mL", "BodyWeight": 80})
    for table in petprep.glob("sub-*/ses-*/pet/*_label-*_tacs.tsv"):
        write_tacs(table, {"cerebellum": reference_curve() / 1000}, {"Units": "kBq/mL"})
    assert fit(petprep, raw, "--model", "suv") == DONE
    suv = kinpar(petprep, rest="seg-gtm_model-SUV_desc-preproc")["SUV"]
    window = (TIMING.start_min >= 40) & (TIMING.end_min <= 90)
    for name in ("CSF", "Left-Hippocampus"):
        mean_kbqml = np.average(curves[name][window], weights=TIMING.duration_s[window])
        assert suv[name] == pytest.approx(mean_kbqml * 80 / 400, rel=1e-6)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"Units": "kBq/mL"}, "Units are kBq/mL, those of"),
        ({"ImageDecayCorrected": False}, ""),
    ],
)
def test_reference_in_other_units_is_refused(petprep, raw, change, reason):
    other = next(petprep.glob("sub-01/ses-pre/pet/*_label-*_tacs.tsv"))
    write_tacs(other, {"cerebellum": reference_curve()}, BESIDE | change)
    assert fit(petprep, raw) == (SOME_FAILED if reason else DONE)
    assert reason in " ".join(outcomes(petprep)["reason"].dropna())


def test_curves_that_are_not_decay_corrected_are_refused(petprep, raw):
    write_json(raw / "pet.json", {"TracerRadionuclide": "C11", "ImageDecayCorrected": False})
    assert fit(petprep, raw) == WRONG_USE
    assert outcomes(petprep)["reason"].str.contains("ImageDecayCorrected: false").all()


def test_volumes_that_are_missing(petprep, raw):
    next(petprep.glob("sub-01/anat/*_morph.tsv")).unlink()
    write_morph(next(petprep.glob("sub-02/anat/*_morph.tsv")),
                VOLUME_MM3 | {"Left-Hippocampus": np.nan})  # fmt: skip
    assert fit(petprep, raw, "--regions") == SOME_FAILED
    table = outcomes(petprep)
    assert table["reason"].str.contains("no \\*_morph.tsv of segmentation gtm").sum() == 2
    assert list(kinpar(petprep, "02").index) == ["ACC", "THA"]


def test_the_group_level_reads_what_was_fitted(petprep, raw, capsys):
    """BPND rises by 0.1 and 0.2: t = 0.15 / (0.0707 / sqrt 2) = 3 with one degree of freedom."""
    assert fit(petprep, raw, "--regions") == DONE
    out = petprep.parent / "out"
    words = [str(raw), str(out), "group", "--unblind", "--work-dir", str(petprep.parent / "work")]
    assert main(words) == DONE, capsys.readouterr().err
    assert (out / "group.html").exists()
    table = read_table(out / "group" / "group_desc-tests_stats.tsv").set_index("region")
    assert table.loc["THA", "estimate"] == pytest.approx(0.15, abs=1e-3)
    assert table.loc["THA", "statistic"] == pytest.approx(3, rel=0.02)
    assert table["n"].eq(2).all()


def test_options_of_a_folder_are_refused_for_a_table(petprep, capsys):
    table = next(petprep.glob("sub-01/ses-pre/pet/*_seg-gtm_*_tacs.tsv"))
    words = ["fit", str(table), "--reference", "CSF", "--weights", "duration"]
    assert main([*words, "--seg", "gtm"]) == WRONG_USE
    assert "--seg is for a folder" in capsys.readouterr().err
    assert main(["fit", str(petprep), "--reference", "CSF"]) == WRONG_USE
    assert "--output-dir" in capsys.readouterr().err


def test_names_of_the_default_regions_are_those_of_petprep():
    """Names seen in tables of PETPrep; LABEL_NAMES has to have them."""
    seen = {17: "Left-Hippocampus", 58: "Right-Accumbens-area", 1002:
            "ctx-lh-caudalanteriorcingulate", 2035: "ctx-rh-insula", 47:
            "Right-Cerebellum-Cortex", 172: "Vermis"}  # fmt: skip
    assert {number: LABEL_NAMES[number] for number in seen} == seen
