"""The table of a cohort from files: runs, clinical columns, groups, errors that name the file."""

import numpy as np
import pandas as pd
import pytest

from pipeline.bids.cohort_table import gather
from pipeline.bids.group_table import find_group_sources, group_place, source_uris, wide_table
from pipeline.bids.study_scores import planned_study
from pipeline.config.plan import Plan
from pipeline.core.errors import DataError
from pipeline.io.tables import write_json, write_table
from pipeline.statistics.design import GroupDesign, ScansChosen

REGIONS = ("HIP", "ACC")
GROUPS = {"01": "ketamine", "02": "ketamine", "03": "placebo", "04": "placebo"}
MADRS = {"pre": 30, "post": 18}


def bpnd(subject, session, region):
    """A value that tells its subject, session and region; planted rise .1 in ketamine."""
    rise = 0.1 * int(subject) if session == "post" and GROUPS[subject] == "ketamine" else 0.0
    return 0.4 + REGIONS.index(region) + 0.03 * int(subject) ** 2 + rise


class Cohort:
    """A derivatives folder and its raw data set, written small."""

    def __init__(self, root):
        self.root, self.raw, self.out = root, root / "raw", root / "out"
        self.raw.mkdir()
        self.participants()
        for subject in GROUPS:
            for session in ("pre", "post"):
                self.add(subject, session)

    def participants(self, **columns):
        table = pd.DataFrame({"participant_id": [f"sub-{s}" for s in GROUPS]})
        table["group"], table["age"] = list(GROUPS.values()), [30, 40, 50, 60]
        write_table(self.raw / "participants.tsv", table.assign(**columns))

    def phenotype(self, name="madrs", column="MADRS", **changes):
        """A scale of all sessions; `changes` replaces values by row."""
        rows = [(f"sub-{s}", f"ses-{t}", MADRS[t] + int(s)) for s in GROUPS for t in MADRS]
        table = pd.DataFrame(rows, columns=["participant_id", "session_id", column]).astype(object)
        for row, value in changes.items():
            table.loc[int(row.removeprefix("row")), column] = value
        (self.raw / "phenotype").mkdir(exist_ok=True)
        return write_table(self.raw / "phenotype" / f"{name}.tsv", table)

    def folder(self, subject, session):
        ses = f"ses-{session}" if session else ""
        folder = self.out / f"sub-{subject}" / ses / "pet"
        folder.mkdir(parents=True, exist_ok=True)
        return folder, "_".join(filter(None, (f"sub-{subject}", ses)))

    def add(self, subject, session, entities="", *, values=None, flag=np.nan, model="SRTM"):
        folder, stem = self.folder(subject, session)
        values = [bpnd(subject, session, r) for r in REGIONS] if values is None else values
        table = pd.DataFrame({"index": [1, 2], "name": REGIONS, "R1": 0.9, "k2": 0.1})
        table["BPND"], table["BPND-se"], table["flag"] = values, 3.0, flag
        name = "_".join(filter(None, (stem, entities, f"model-{model}_kinpar")))
        return write_table(folder / f"{name}.tsv", table)

    def add_scan(self, subject, session, *, dose, suv, steps):
        """Uptake of the reference, dose, and steps of the head."""
        folder, stem = self.folder(subject, session)
        table = pd.DataFrame({"name": "CBL", "window": ["scan", "late"], "suv": [suv, suv / 2]})
        table["percent-per-litre"] = np.nan
        path = write_table(folder / f"{stem}_desc-uptake_stats.tsv", table)
        write_json(
            path.with_suffix(".json"), {"InjectedRadioactivity": dose, "MolarActivity": "n/a"}
        )
        moved = pd.DataFrame({"framewise_displacement": steps})
        write_table(folder / f"{stem}_desc-confounds_timeseries.tsv", moved)
        morph = pd.DataFrame({"index": [1, 2], "name": REGIONS, "volume-mm3": [8000, 12000]})
        write_table(folder / f"{stem}_desc-regions_morph.tsv", morph)

    def gather(self, plan=None, **design):
        if plan is not None:
            design |= {"plan": plan.value, "sessions": plan.sessions}
            design["group_column"] = plan.columns.group if plan.needs_groups else None
        design = GroupDesign(**({"unblind": True} | design))
        return gather(find_group_sources(self.out, self.raw, design), design)

    def study(self, cohort, *, unblind=True):
        path = write_table(self.root / "study.tsv", cohort.table)
        return planned_study(path, cohort.plan, unblind=unblind)


@pytest.fixture
def cohort(tmp_path):
    return Cohort(tmp_path)


def plan(**content):
    """HIP and ACC in two sessions and groups, and whatever a test needs."""
    test = {"title": "change", "kind": "interaction", "confirmatory": True}
    base = {"outcome": "BPND", "regions": REGIONS, "sessions": ("pre", "post")}
    base |= {"groups": ("ketamine", "placebo"), "tests": [test]}
    return Plan.model_validate(base | content)


def test_one_row_per_session_and_region_with_its_group(cohort):
    table = cohort.gather().table
    assert len(table) == 4 * 2 * 2
    row = table.query("participant_id == '03' and session_id == 'post'")
    assert list(row["group"]) == ["placebo"] * 2
    assert list(row["name"]) == list(REGIONS)
    assert list(row["BPND"]) == pytest.approx([bpnd("03", "post", r) for r in REGIONS])


@pytest.mark.parametrize("declared", [True, False])
def test_while_blinded_nothing_tells_the_groups(cohort, declared):
    found = cohort.gather(plan() if declared else None, unblind=False)
    assert "group" not in found.table
    assert not found.table.isin(["ketamine", "placebo"]).to_numpy().any()
    assert "group" not in found.runs
    if not declared:
        assert found.plan.tests == ()


def test_without_a_plan_every_region_and_scan_is_tested(cohort):
    for subject in GROUPS:
        for session in MADRS:
            cohort.add_scan(subject, session, dose=400, suv=0.7, steps=[0, 1, 2])
    found = cohort.gather().plan
    assert found.layout.groups == ("ketamine", "placebo")
    assert found.layout.regions == REGIONS
    tested = [(test.kind, test.of) for test in found.tests]
    assert ("paired_t", "") in tested
    assert ("interaction", "reference_suv_late") in tested
    assert ("paired_t", "injected_mbq") in tested
    assert not [
        of for _, of in tested if of in ("molar_activity_gbq_per_umol", "injected_mass_ug")
    ]
    assert not any(test.confirmatory for test in found.tests)


def test_runs_of_a_session_are_averaged_and_their_flags_joined(cohort):
    cohort.add("01", "pre", "run-2", values=[1.0, 2.0], flag=["at bound", np.nan])
    rows = cohort.gather().table.query("participant_id == '01' and session_id == 'pre'")
    expected = [(bpnd("01", "pre", "HIP") + 1.0) / 2, (bpnd("01", "pre", "ACC") + 2.0) / 2]
    assert list(rows["BPND"]) == pytest.approx(expected)
    assert rows["flag"].tolist()[0] == "at bound"
    assert pd.isna(rows["flag"].tolist()[1])


def test_what_is_known_of_a_scan_is_in_its_rows(cohort):
    cohort.add_scan("02", "post", dose=381.5, suv=0.8, steps=[0.0, 0.5, 1.0])
    table = cohort.gather().table
    row = table.query("participant_id == '02' and session_id == 'post' and name == 'ACC'").iloc[0]
    assert row["injected_mbq"] == 381.5
    assert row["reference_suv"] == 0.8
    assert row["reference_suv_late"] == 0.4
    assert row["mean_fd_mm"] == 0.5
    assert row["max_fd_mm"] == 1.0
    assert row["volume-mm3"] == 12000
    assert np.isnan(row["molar_activity_gbq_per_umol"])
    other = table.query("participant_id == '02' and session_id == 'pre'")
    assert other["injected_mbq"].isna().all()


def test_columns_of_the_plan_come_from_wherever_they_are(cohort):
    cohort.phenotype()
    for subject in GROUPS:
        (cohort.raw / f"sub-{subject}").mkdir()
        rows = pd.DataFrame({"session_id": ["ses-pre", "ses-post"], "cgi": [4, 3]})
        write_table(cohort.raw / f"sub-{subject}" / f"sub-{subject}_sessions.tsv", rows)
    derived = [{"name": "relief", "kind": "percent_reduction", "of": "MADRS"}]
    derived[0]["sessions"] = ("pre", "post")
    tests = [{"title": "t", "kind": "two_sample_t", "of": "relief", "confirmatory": True},
             {"title": "c", "kind": "interaction", "of": "cgi", "confirmatory": False},
             {"title": "a", "kind": "two_sample_t", "of": "age",
              "confirmatory": True}]  # fmt: skip
    declared = plan(session_columns=("MADRS", "cgi"), subject_columns=("age",),
                    derived=derived, tests=tests)  # fmt: skip
    study = cohort.study(cohort.gather(declared))
    relief = study.variables["relief"][:, 0, 0]
    assert relief == pytest.approx([100 * 12 / (30 + i) for i in (1, 2, 3, 4)])
    assert study.variables["age"][:, 0, 0].tolist() == [30, 40, 50, 60]
    assert study.variables["cgi"][0, :, 0].tolist() == [4, 3]


def test_a_session_without_pet_keeps_its_scale_and_is_listed_once(cohort):
    cohort.phenotype()
    next(cohort.out.glob("sub-02/ses-post/pet/*.tsv")).unlink()
    tests = [{"title": "m", "kind": "interaction", "of": "MADRS", "confirmatory": True}]
    study = cohort.study(cohort.gather(plan(session_columns=("MADRS",), tests=tests)))
    assert study.variables["MADRS"][1, :, 0].tolist() == [32, 20]
    assert np.isnan(study.variables["BPND"][1, 1]).all()
    rows = study.exclusion_table().query("participant_id == '02'")
    assert rows[["session_id", "reason"]].values.tolist() == [["post", "no value in any region"]]


def test_a_subject_without_any_session_is_listed(cohort):
    for path in cohort.out.glob("sub-04/*/pet/*.tsv"):
        path.unlink()
    study = cohort.study(cohort.gather())
    rows = study.exclusion_table()
    assert rows[["participant_id", "session_id"]].values.tolist() == [
        ["04", "pre"],
        ["04", "post"],
    ]


def test_a_failed_region_is_missing_not_zero(cohort):
    cohort.add("01", "pre", values=[np.nan, 1.4], flag=["k2a at bound", "n/a"])
    study = cohort.study(cohort.gather())
    assert np.isnan(study.variables["BPND"][0, 0, 0])
    row = study.exclusion_table().iloc[0]
    assert row[["participant_id", "session_id", "region", "reason"]].tolist() == [
        "01", "pre", "HIP", "no value",
    ]  # fmt: skip


def test_a_subject_without_group_is_listed_and_in_no_group(cohort):
    cohort.participants(group=["ketamine", "ketamine", "placebo", np.nan])
    study = cohort.study(cohort.gather())
    assert study.group.tolist() == [0, 0, 1, -1]
    assert "no group" in study.exclusion_table()["reason"].tolist()


def test_numbered_groups_are_names(cohort):
    cohort.participants(group=[1, 1, 2, np.nan])
    assert cohort.gather().plan.layout.groups == ("1", "2")


def test_one_group_needs_no_column_and_is_not_blinded(cohort):
    (cohort.raw / "participants.tsv").unlink()
    found = cohort.gather(group_column=None, unblind=False)
    assert [test.kind for test in found.plan.tests] == ["paired_t"]
    assert not found.plan.tests[0].by_group


def test_joined_regions_are_weighted_by_the_volume_in_the_pet(cohort):
    for subject in GROUPS:
        for session in MADRS:
            cohort.add_scan(subject, session, dose=400, suv=0.7, steps=[0])
    both = {"name": "BOTH", "of": REGIONS, "volume": "volume-mm3"}
    study = cohort.study(cohort.gather(plan(regions=("BOTH",), joined=[both])))
    expected = 0.4 * bpnd("03", "pre", "HIP") + 0.6 * bpnd("03", "pre", "ACC")
    assert study.variables["BPND"][2, 0, 0] == pytest.approx(expected)


def test_tables_of_other_models_tracers_and_corrections_are_never_mixed(cohort):
    for subject in GROUPS:
        for session in MADRS:
            cohort.add(subject, session, "pvc-GTM", values=[7.0, 8.0])
    assert 7.0 not in set(cohort.gather().table["BPND"])
    corrected = cohort.gather(scans=ScansChosen(pvc="GTM"))
    assert set(corrected.table["BPND"]) == {7.0, 8.0}
    with pytest.raises(DataError, match=r"pvc-RBV \(group.pvc\); found: GTM, none"):
        cohort.gather(scans=ScansChosen(pvc="RBV"))
    cohort.add("01", "pre", values=[9.0, 9.0], model="MRTM2")
    with pytest.raises(DataError, match=r"of model MRTM2, SRTM, which no test may mix; set group"):
        cohort.gather()
    assert 9.0 not in set(cohort.gather(scans=ScansChosen(model="SRTM")).table["BPND"])
    cohort.add("01", "pre", "trc-DASB", values=[9.0, 9.0])
    with pytest.raises(DataError, match="of tracer DASB, none"):
        cohort.gather(scans=ScansChosen(model="SRTM"))


def test_tables_without_the_outcome_stay_out(cohort, tmp_path):
    folder, stem = cohort.folder("01", "pre")
    suv = pd.DataFrame({"index": [1], "name": ["ACC"], "SUV": [2.0]})
    write_table(folder / f"{stem}_model-SUV_kinpar.tsv", suv)
    assert len(cohort.gather().table) == 16
    other = tmp_path / "other" / "sub-01" / "pet"
    other.mkdir(parents=True)
    write_table(other / "sub-01_model-SUV_kinpar.tsv", suv)
    with pytest.raises(DataError, match=r"only tables of SUV, which give no BPND; add.*models"):
        find_group_sources(tmp_path / "other", cohort.raw, GroupDesign())


def test_another_outcome_has_another_folder(cohort):
    declared = plan(outcome="R1")
    found = cohort.gather(declared)
    assert found.plan.outcome == "R1"
    assert group_place(ScansChosen(pvc="GTM"), "R1") == "group_pvc-GTM_meas-R1"


def test_sources_are_named_from_their_data_set(cohort, tmp_path):
    cohort.phenotype()
    design = GroupDesign()
    uris = source_uris(find_group_sources(cohort.out, cohort.raw, design))
    assert "bids:raw:participants.tsv" in uris
    assert "bids:raw:phenotype/madrs.tsv" in uris
    assert "bids::sub-01/ses-pre/pet/sub-01_ses-pre_model-SRTM_kinpar.tsv" in uris
    assert not [uri for uri in uris if str(tmp_path) in uri]


def test_wide_table_has_one_row_per_run(cohort):
    wide = wide_table(cohort.gather().runs, "BPND")
    assert len(wide) == 8
    assert wide.query("participant_id == 'sub-02' and session_id == 'ses-post'")["ACC"].item() == (
        pytest.approx(bpnd("02", "post", "ACC"))
    )
    assert list(wide.columns[-2:]) == list(REGIONS)


def madrs_plan(**content):
    tests = [{"title": "m", "kind": "interaction", "of": "MADRS", "confirmatory": True}]
    return plan(**({"session_columns": ("MADRS",), "tests": tests} | content))


@pytest.mark.parametrize(
    ("spoil", "declared", "words"),
    [
        (lambda c: None, madrs_plan(),
         r"no column 'MADRS', which the plan names, in .*participants.tsv"),
        (lambda c: c.phenotype(column="madrs"), madrs_plan(), "did you mean 'madrs'"),
        (lambda c: c.phenotype(row3="severe"), madrs_plan(),
         r"madrs.tsv: line 5: column MADRS: 'severe' is no number"),
        (lambda c: (c.phenotype(), c.phenotype("again")), madrs_plan(),
         r"'MADRS' is in phenotype/again.tsv and in phenotype/madrs.tsv; rename it"),
        (lambda c: c.participants(participant_id=["sub-01", "sub-01", "sub-03", "sub-04"]), plan(),
         r"participants.tsv: line 3: participant_id 01 is in line 2 already; keep one"),
        (lambda c: c.participants(group="ketamine"), plan(),
         "participants.tsv: column group: no line has 'placebo'.*there is only ketamine"),
        (lambda c: c.participants(group=np.nan), plan(), "every value of column 'group' is n/a"),
        (lambda c: (c.raw / "participants.tsv").unlink(), plan(), "participants.tsv is missing"),
        (lambda c: None, plan(columns={"group": "arm"}),
         r"participants.tsv: no column 'arm'; found participant_id, group, age"),
        (lambda c: None, plan(sessions=("pre", "later")), "session later, which the plan names"),
        (lambda c: None, plan(regions=("HIPP", "ACC")),
         r"no \*_kinpar.tsv has a line of region 'HIPP'; did you mean 'HIP'"),
        (lambda c: c.add("01", "pre", values=["x", 1.0]), plan(),
         r"sub-01_ses-pre_model-SRTM_kinpar.tsv: line 2: column BPND: 'x' is no number"),
    ],
)  # fmt: skip
def test_a_bad_plan_or_table_is_named(cohort, spoil, declared, words):
    spoil(cohort)
    with pytest.raises(DataError, match=words):
        cohort.gather(declared)


def test_a_line_twice_in_a_scale_is_named(cohort):
    path = cohort.phenotype()
    with path.open("a") as file:
        file.write("sub-01\tses-pre\t44\n")
    with pytest.raises(
        DataError, match=r"line 10: participant_id 01, session_id pre is in line 2"
    ):
        cohort.gather(madrs_plan())


def test_a_file_that_is_no_bids_name_is_named(cohort):
    path = next(cohort.out.glob("sub-01/ses-pre/pet/*.tsv"))
    path.rename(path.with_name("copy of_kinpar.tsv"))
    with pytest.raises(DataError, match=r"copy of_kinpar.tsv: not a BIDS name"):
        cohort.gather()


def test_the_same_run_twice_is_an_error(cohort):
    path = next(cohort.out.glob("sub-01/ses-pre/pet/*.tsv"))
    (cohort.out / "sub-01" / "old").mkdir()
    (cohort.out / "sub-01" / "old" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(DataError, match="sub-01, ses-pre twice; delete"):
        cohort.gather()


def test_an_empty_derivatives_folder_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match="run the participant level first"):
        find_group_sources(tmp_path, tmp_path, GroupDesign())


def test_sessions_planned_in_sessions_tsv_are_listed(cohort):
    (cohort.raw / "sub-01").mkdir()
    sessions = pd.DataFrame({"session_id": ["ses-pre", "ses-extra"]})
    write_table(cohort.raw / "sub-01" / "sub-01_sessions.tsv", sessions)
    rows = cohort.study(cohort.gather()).exclusion_table()
    assert rows[["participant_id", "session_id", "reason"]].values.tolist() == [
        ["01", "extra", "session is not in the plan"]
    ]
