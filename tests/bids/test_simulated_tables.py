"""A trial as tables: what is written is what was drawn, in the files of the participant level."""

import hashlib
import json
import shutil
import subprocess

import numpy as np
import pytest

from pipeline.bids.cohort_table import gather
from pipeline.bids.derivatives import parse_derivative
from pipeline.bids.group_table import find_group_sources
from pipeline.bids.simulated_tables import (
    DERIVATIVES_FOLDER,
    MADRS_COLUMNS,
    TableAnalysis,
    simulate_tables,
)
from pipeline.config.load import load_settings
from pipeline.core.errors import DataError
from pipeline.imaging.head_motion import CorrectionRule
from pipeline.io.tables import read_json, read_table
from pipeline.kinetics.srtm import Srtm
from pipeline.simulation.trial import TIGER2020_REGIONS, tiger2020_groups
from pipeline.simulation.trial_patients import draw_study, tiger2020_moods, with_sizes
from pipeline.statistics.design import GroupDesign
from workflows.outputs import session_results

SETTINGS = load_settings("tiger2020-embedded")
ANALYSIS = TableAnalysis(
    regions=("ACC", "HIP", "VST", "DBS"), reference="CBL", model=Srtm(), weights="counts",
    late_min=(40, 90), rule=CorrectionRule(mode="auto"), first_frame_s=120, within_frame_mm=1.5,
)  # fmt: skip
SIZES = {"ketamine": 4, "placebo": 3}


def study_of(seed, sizes=SIZES):
    return draw_study(seed, with_sizes(tiger2020_groups(), sizes), tiger2020_moods())


def write(root, study):
    simulate_tables(root, study, ANALYSIS, lambda scan: session_results(scan, root, SETTINGS))
    return root


@pytest.fixture(scope="module")
def study():
    return study_of(11)


@pytest.fixture(scope="module")
def dataset(study, tmp_path_factory):
    return write(tmp_path_factory.mktemp("simulated") / "bids", study)


def result(root, patient, session, ending):
    folder = root / DERIVATIVES_FOLDER / f"sub-{patient.label}" / f"ses-{session.session}" / "pet"
    return folder / f"sub-{patient.label}_ses-{session.session}_{ending}"


def sessions(study):
    return [(patient, session) for patient in study.patients for session in patient.sessions]


def test_binding_read_back_is_what_was_drawn(dataset, study):
    for number, patient in enumerate(study.patients):
        for visit, session in enumerate(patient.sessions):
            table = read_table(result(dataset, patient, session, "model-SRTM_kinpar.tsv"))
            assert table["name"].tolist() == ["ACC", "HIP", "VST", "DBS"]
            order = [TIGER2020_REGIONS.index(name) for name in table["name"]]
            drawn = study.trial.bpnd[number, order, visit]
            np.testing.assert_allclose(table["BPND"], drawn, atol=2e-6)
            np.testing.assert_allclose(table["k2"], table["R1"] * table["k2prime"], rtol=1e-6)
            np.testing.assert_allclose(table["k2a"], table["k2"] / (1 + table["BPND"]), rtol=1e-6)
            assert (table["BPND-se"] > 0).all()


def test_the_group_level_gathers_every_patient_in_the_group_drawn(dataset, study):
    design = GroupDesign(unblind=True)
    sources = find_group_sources(dataset / DERIVATIVES_FOLDER, dataset, design)
    table = gather(sources, design).table
    hip = table[table["name"] == "HIP"].set_index(["participant_id", "session_id"])
    place = TIGER2020_REGIONS.index("HIP")
    for number, patient in enumerate(study.patients):
        rows = hip.loc[patient.label]
        assert set(rows["group"]) == {patient.group}
        np.testing.assert_allclose(
            rows.loc[["pre", "post"], "BPND"], study.trial.bpnd[number, place], atol=2e-6
        )
        for session in patient.sessions:
            dose = rows.loc[session.session, "injected_mbq"]
            assert dose == pytest.approx(session.injection.radioactivity_mbq)
    assert table[["reference_suv_late", "injected_mass_ug", "mean_fd_mm"]].notna().all(axis=None)


def test_scores_read_back_are_what_was_drawn(dataset, study):
    madrs = read_table(dataset / "phenotype" / "madrs.tsv")
    assert list(madrs) == ["participant_id", "session_id", *MADRS_COLUMNS, "MADRS"]
    assert madrs["MADRS"].tolist() == madrs[list(MADRS_COLUMNS)].sum(axis=1).tolist()
    for row, (patient, session) in zip(madrs.itertuples(), sessions(study), strict=True):
        named = (row.participant_id, row.session_id)
        assert named == (f"sub-{patient.label}", f"ses-{session.session}")
        assert session.madrs.sum() == row.MADRS
    told = read_json(dataset / "phenotype" / "madrs.json")
    assert set(told) == {"MeasurementToolMetadata", *madrs.columns} - {"participant_id"}


def test_no_score_is_in_two_tables(dataset):
    of_session = read_table(dataset / "sub-01" / "sub-01_sessions.tsv")
    assert list(of_session) == ["session_id", "CGI_S"]
    people = read_table(dataset / "participants.tsv")
    assert list(people) == ["participant_id", "group", "age", "sex", "BMI", "weight"]
    columns = [*of_session, *people, *read_table(dataset / "phenotype" / "madrs.tsv")]
    assert {c for c in columns if columns.count(c) > 1} == {"participant_id", "session_id"}


def test_uptake_says_what_was_injected(dataset, study):
    for patient, session in sessions(study):
        said = read_json(result(dataset, patient, session, "desc-uptake_stats.json"))
        injection = session.injection
        assert said["InjectedRadioactivity"] == injection.radioactivity_mbq
        assert said["MolarActivity"] == injection.molar_activity_gbq_per_umol
        assert said["BodyWeight"] == patient.weight_kg
        # of AZ10419369, 462.54 g/mol
        ug = 462.54 * said["InjectedRadioactivity"] / 1000 / said["MolarActivity"]
        assert said["InjectedMass"] == pytest.approx(ug, abs=1e-4)
        table = read_table(result(dataset, patient, session, "desc-uptake_stats.tsv"))
        suv = table["mean"] / 1000 * patient.weight_kg / injection.radioactivity_mbq
        np.testing.assert_allclose(table["suv"], suv, rtol=1e-6)
        assert table["window"].tolist() == ["scan", "late"]


def test_motion_and_volumes_are_of_people(dataset, study):
    for patient, session in sessions(study):
        motion = read_table(result(dataset, patient, session, "desc-confounds_timeseries.tsv"))
        assert len(motion) == 38
        assert motion["framewise_displacement"].iloc[0] == 0
        assert 0 < motion["framewise_displacement"].max() < 30
        morph = read_table(result(dataset, patient, session, "desc-regions_morph.tsv"))
        assert morph["name"].tolist() == ["ACC", "HIP", "VST", "DBS", "CBL"]
        assert (morph["volume-mm3"] > 100).all()
        assert (morph["usable"] == 1).all()


def test_every_file_is_one_of_ours_with_its_columns_told(dataset):
    tables = sorted((dataset / DERIVATIVES_FOLDER).rglob("*.tsv"))
    assert len(tables) == 7 * 2 * 4
    kinds = set()
    for path in tables:
        key, _ = parse_derivative(path)
        kinds.add(key)
        said, table = read_json(path.with_suffix(".json")), read_table(path)
        known = {"index", "name", "frame_start", "frame_end", "flag"}
        assert set(table) <= known | set(said), path.name
        assert said["SoftwareName"] == "petbind"
        assert "Sources" not in said
    assert kinds == {"kinpar", "morph", "uptake", "confounds"}


def test_no_image_is_written(dataset):
    assert not list(dataset.rglob("*.nii*"))
    assert not list(dataset.glob("sub-*/ses-*"))


def digests(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_same_seed_same_bytes(dataset, tmp_path):
    assert digests(write(tmp_path / "again", study_of(11))) == digests(dataset)
    other = digests(write(tmp_path / "other", study_of(12)))
    assert other.keys() == digests(dataset).keys()
    kinpar = [name for name in other if name.endswith("kinpar.tsv")]
    assert all(other[name] != digests(dataset)[name] for name in kinpar)


def test_a_folder_in_use_is_left_alone(dataset, study):
    before = digests(dataset)
    with pytest.raises(DataError, match="not empty"):
        write(dataset, study)
    assert digests(dataset) == before


@pytest.mark.skipif(
    shutil.which("bids-validator-deno") is None, reason="bids-validator-deno is not installed"
)
def test_the_official_validator_finds_no_error(dataset):
    done = subprocess.run(
        ["bids-validator-deno", "--format", "json", str(dataset)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
