"""The cohort table from files: groups, sessions, exclusions, errors that name what was found."""

import numpy as np
import pandas as pd
import pytest

from pipeline.bids.group_statistics import interaction_table, paired_table
from pipeline.bids.group_table import (
    dividing_columns,
    find_group_sources,
    gather,
    read_pairs,
    wide_table,
)
from pipeline.core.errors import ConfigError, DataError
from pipeline.io.tables import write_table
from pipeline.statistics.design import GroupDesign

REGIONS = ("Hippocampus", "ACC")
GROUPS = {"01": "ketamine", "02": "ketamine", "03": "placebo", "04": "placebo"}


def bpnd(subject, session, region):
    """A value that tells its subject, session and region; planted rise .1 in ketamine."""
    rise = 0.1 * int(subject) if session == "post" and GROUPS[subject] == "ketamine" else 0.0
    return 0.4 + REGIONS.index(region) + 0.03 * int(subject) ** 2 + rise


class Cohort:
    """A derivatives folder and its raw data set, written small."""

    def __init__(self, root):
        self.raw, self.out = root / "raw", root / "out"
        self.raw.mkdir()
        table = pd.DataFrame({"participant_id": [f"sub-{s}" for s in GROUPS]})
        table["group"] = list(GROUPS.values())
        write_table(self.raw / "participants.tsv", table)
        for subject in GROUPS:
            for session in ("pre", "post"):
                self.add(subject, session)

    def add(self, subject, session, entities="", values=None, flag=np.nan):
        ses = f"ses-{session}" if session else ""
        folder = self.out / f"sub-{subject}" / ses / "pet"
        folder.mkdir(parents=True, exist_ok=True)
        values = [bpnd(subject, session, r) for r in REGIONS] if values is None else values
        table = pd.DataFrame({"index": [1, 2], "name": REGIONS, "R1": 0.9, "k2": 0.1})
        table["BPND"], table["BPND-se"], table["flag"] = values, 3.0, flag
        stem = "_".join(filter(None, (f"sub-{subject}", ses, entities, "model-SRTM_kinpar")))
        return write_table(folder / f"{stem}.tsv", table)

    def add_suvr(self, subject, session):
        folder = self.out / f"sub-{subject}" / f"ses-{session}" / "pet"
        folder.mkdir(parents=True, exist_ok=True)
        table = pd.DataFrame({"index": [1, 2], "name": REGIONS, "SUVR": 1.5})
        name = f"sub-{subject}_ses-{session}_model-SUVR_kinpar.tsv"
        return write_table(folder / name, table)

    def gather(self, **design):
        design = GroupDesign(**design)
        return gather(find_group_sources(self.out, self.raw, design.pvc), design)


@pytest.fixture
def cohort(tmp_path):
    return Cohort(tmp_path)


def test_tables_without_bpnd_stay_out(cohort, tmp_path):
    before = cohort.gather()
    cohort.add_suvr("01", "pre")
    pd.testing.assert_frame_equal(cohort.gather().regions, before.regions)
    other = tmp_path / "other"
    (other / "sub-01" / "pet").mkdir(parents=True)
    path = other / "sub-01" / "pet" / "sub-01_model-SUV_kinpar.tsv"
    write_table(path, pd.DataFrame({"index": [1], "name": ["ACC"], "SUV": [2.0]}))
    with pytest.raises(DataError, match=r"only tables of SUV, SUVR.*kinetics\.models"):
        find_group_sources(other, cohort.raw)


def test_one_row_per_session_and_region_with_its_group(cohort):
    table = cohort.gather().regions
    assert len(table) == 4 * 2 * 2
    row = table.query("participant_id == 'sub-03' and session_id == 'ses-post'")
    assert list(row["group"]) == ["placebo"] * 2
    assert list(row["region"]) == list(REGIONS)
    assert list(row["BPND"]) == pytest.approx([bpnd("03", "post", r) for r in REGIONS])
    assert set(row["model"]) == {"SRTM"}


def test_corrected_tables_are_taken_where_asked_for_and_never_mixed(cohort):
    plain = cohort.gather()
    for subject in GROUPS:
        for session in ("pre", "post"):
            cohort.add(subject, session, "pvc-GTM", values=[7.0, 8.0])
    pd.testing.assert_frame_equal(cohort.gather().regions, plain.regions)
    pd.testing.assert_frame_equal(cohort.gather().pairs, plain.pairs)
    corrected = cohort.gather(pvc="GTM")
    assert set(corrected.regions["BPND"]) == {7.0, 8.0}
    assert set(corrected.regions["pvc"]) == {"GTM"}
    assert len(corrected.regions) == len(plain.regions)
    with pytest.raises(DataError, match=r"pvc-RBV \(group.pvc\); corrections found: GTM, none"):
        cohort.gather(pvc="RBV")


def test_pairs_put_the_sessions_in_the_order_of_the_design(cohort):
    forward = cohort.gather(sessions=("pre", "post")).pairs
    backward = cohort.gather(sessions=("ses-post", "ses-pre")).pairs
    assert list(forward["first"]) == list(backward["second"])
    sub02 = forward.query("participant_id == 'sub-02' and region == 'ACC'")
    assert sub02["change"].item() == pytest.approx(0.2)


def test_tests_of_a_cohort_with_known_answer(cohort):
    """Ketamine changes .1 and .2, placebo 0 and 0.

    By hand: paired t = .15 / (.0707 / sqrt 2) = 3. Pooled variance (.005 + 0) / 2 = .0025, so the
    two-sample t = .15 / sqrt(.0025) = 3 and F = 9 with 1 and 2 degrees of freedom.
    """
    pairs = cohort.gather().pairs
    paired = paired_table(pairs).set_index(["region", "group"])
    assert paired.loc[("ACC", "ketamine"), "t"] == pytest.approx(3.0)
    assert paired.loc[("ACC", "ketamine"), "df"] == 1
    assert paired.loc[("ACC", "placebo"), "reason"] == "the differences do not vary"
    assert np.isnan(paired.loc[("ACC", "placebo"), "df"])
    interaction = interaction_table(pairs).set_index("region")
    assert interaction.loc["Hippocampus", "F"] == pytest.approx(9.0)
    assert interaction.loc["Hippocampus", "df_error"] == 2
    assert interaction.loc["Hippocampus", "group_a"] == "ketamine"


def test_a_missing_session_is_named_and_its_pair_left_out(cohort):
    next(cohort.out.glob("sub-02/ses-post/pet/*.tsv")).unlink()
    tables = cohort.gather()
    row = tables.exclusions.query("participant_id == 'sub-02'").iloc[0]
    assert row["session_id"] == "ses-post"
    assert "no kinetic parameters" in row["reason"]
    paired = paired_table(tables.pairs).set_index(["region", "group"])
    assert paired.loc[("ACC", "ketamine"), ["n", "n_missing"]].tolist() == [1, 1]


def test_a_subject_without_any_session_is_named(cohort):
    for path in cohort.out.glob("sub-04/*/pet/*.tsv"):
        path.unlink()
    excluded = cohort.gather().exclusions
    assert list(excluded["session_id"]) == ["ses-post", "ses-pre"]
    assert set(excluded["participant_id"]) == {"sub-04"}


def test_a_failed_region_is_missing_not_zero(cohort):
    cohort.add("01", "pre", values=[np.nan, 1.4], flag=["k2a at bound", "n/a"])
    tables = cohort.gather()
    assert tables.exclusions.iloc[0].tolist() == [
        "sub-01",
        "ses-pre",
        "Hippocampus",
        "no BPND: k2a at bound",
    ]
    paired = paired_table(tables.pairs).set_index(["region", "group"])
    assert paired.loc[("Hippocampus", "ketamine"), "n"] == 1
    assert paired.loc[("ACC", "ketamine"), "n"] == 2


def test_runs_of_a_session_are_averaged_and_tracers_kept_apart(cohort):
    cohort.add("01", "pre", "run-2", values=[1.0, 2.0])
    cohort.add("01", "pre", "trc-DASB", values=[9.0, 9.0])
    tables = cohort.gather()
    assert "tracer" in dividing_columns(tables.regions)
    pairs = tables.pairs.query("participant_id == 'sub-01' and region == 'ACC'")
    assert len(pairs) == 2
    first = pairs.set_index(pairs["tracer"].fillna("none"))["first"]
    assert first["none"] == pytest.approx((bpnd("01", "pre", "ACC") + 2.0) / 2)
    assert first["DASB"] == 9.0


def test_without_a_group_column_all_subjects_are_one_group(cohort):
    (cohort.raw / "participants.tsv").unlink()
    pairs = cohort.gather(group_column=None).pairs
    assert set(paired_table(pairs)["group"]) == {"all"}
    assert interaction_table(pairs).empty


def test_a_subject_without_group_stays_in_the_table_and_out_of_the_tests(cohort):
    table = pd.DataFrame(
        {"participant_id": ["sub-01", "sub-02", "sub-03"], "group": ["a", "a", "b"]}
    )
    write_table(cohort.raw / "participants.tsv", table)
    tables = cohort.gather()
    assert "sub-04" in set(tables.regions["participant_id"])
    assert "sub-04" not in set(tables.pairs["participant_id"])
    assert "no value in column 'group'" in tables.exclusions.iloc[0]["reason"]


def test_tables_without_tests_when_no_sessions_are_compared(cohort):
    tables = cohort.gather(sessions=())
    assert len(tables.regions) == 16
    assert paired_table(tables.pairs).empty
    assert tables.exclusions.empty


def test_numbered_groups_are_names(cohort):
    table = pd.DataFrame(
        {"participant_id": [f"sub-{s}" for s in GROUPS], "group": [1, 1, 2, np.nan]}
    )
    write_table(cohort.raw / "participants.tsv", table)
    pairs = cohort.gather().pairs
    assert set(pairs["group"]) == {"1", "2"}
    again = read_pairs(write_table(cohort.raw / "pairs.tsv", pairs))
    assert set(again["group"]) == {"1", "2"}
    assert list(again["change"]) == pytest.approx(list(pairs["change"]))


def test_a_file_that_is_no_bids_name_is_named(cohort):
    path = next(cohort.out.glob("sub-01/ses-pre/pet/*.tsv"))
    path.rename(path.with_name("copy of_kinpar.tsv"))
    with pytest.raises(DataError, match=r"copy of_kinpar.tsv: not a BIDS name"):
        cohort.gather()


@pytest.mark.parametrize(
    ("design", "words"),
    [
        (
            {"group_column": "arm"},
            r"participants.tsv: no column 'arm'; found participant_id, group",
        ),
        ({"sessions": ("1", "2")}, r"ses-1 or ses-2; sessions found: ses-post, ses-pre"),
        ({"sessions": ("pre", "later")}, r"of session ses-later"),
    ],
)
def test_what_the_design_asks_for_and_is_not_there_is_an_error(cohort, design, words):
    with pytest.raises(DataError, match=words):
        cohort.gather(**design)


def test_a_subject_listed_twice_is_an_error(cohort):
    table = pd.DataFrame({"participant_id": ["sub-01", "sub-01"], "group": ["a", "b"]})
    write_table(cohort.raw / "participants.tsv", table)
    with pytest.raises(DataError, match="more than one row for sub-01"):
        cohort.gather()


def test_the_same_run_twice_is_an_error(cohort):
    path = next(cohort.out.glob("sub-01/ses-pre/pet/*.tsv"))
    (cohort.out / "sub-01" / "old").mkdir()
    (cohort.out / "sub-01" / "old" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(DataError, match="two rows for sub-01, ses-pre"):
        cohort.gather()


def test_an_empty_derivatives_folder_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match="run the participant level first"):
        find_group_sources(tmp_path, tmp_path)


@pytest.mark.parametrize("sessions", [("pre",), ("pre", "ses-pre"), ("a", "b", "c")])
def test_a_design_has_two_different_sessions(sessions):
    with pytest.raises(ConfigError, match="two different sessions"):
        GroupDesign(sessions=sessions)


def test_sessions_planned_in_sessions_tsv_are_expected(cohort):
    folder = cohort.raw / "sub-01"
    folder.mkdir()
    write_table(
        folder / "sub-01_sessions.tsv", pd.DataFrame({"session_id": ["ses-pre", "ses-extra"]})
    )
    excluded = cohort.gather().exclusions
    assert excluded[["participant_id", "session_id"]].values.tolist() == [["sub-01", "ses-extra"]]


def test_wide_table_has_one_row_per_run(cohort):
    wide = wide_table(cohort.gather().regions)
    assert len(wide) == 8
    assert list(wide["session_id"][:2]) == ["ses-pre", "ses-post"]
    assert wide["ACC"][3] == pytest.approx(bpnd("02", "post", "ACC"))
    assert list(wide.columns[-2:]) == list(REGIONS)
