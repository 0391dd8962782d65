"""Tables of a paper in numbers: a tiny study by hand, and what they take from the results."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import paper_trial as trial
from pipeline.bids.paper_tables import PaperContents, paper_tables
from pipeline.core.errors import DataError

# four subjects of group b and one of group a: BPND before and after
BPND = {"1": (1.0, 1.5), "2": (2.0, 2.2), "3": (4.0, 4.4), "4": (3.0, np.nan), "5": (2.0, 1.0)}
GROUP = {"1": "b", "2": "b", "3": "b", "4": "b", "5": "a"}
TINY = PaperContents(
    outcome="BPND",
    sessions=("pre", "post"),
    groups=("b", "a"),
    demography=("age", "female"),
    binary=("female",),
    labels={"age": "Age (years)"},
)


def tidy(rows):
    columns = ["variable", "participant_id", "group", "session_id", "region", "value"]
    return pd.DataFrame(rows, columns=columns)


@pytest.fixture
def tiny():
    """The tiny study as values."""
    rows = []
    for subject, pair in BPND.items():
        for session, value in zip(("pre", "post"), pair, strict=True):
            rows.append(("BPND", subject, GROUP[subject], session, "ACC", value))
        rows.append(("age", subject, GROUP[subject], np.nan, np.nan, 20.0 + 10 * int(subject)))
        rows.append(("female", subject, GROUP[subject], np.nan, np.nan, float(subject in "145")))
    return tidy(rows)


@pytest.fixture(scope="module")
def study():
    return trial.make_trial()


@pytest.fixture(scope="module")
def tables(study):
    return paper_tables(trial.values_of(study), trial.results_of(study), trial.CONTENTS)


def one(table, **where):
    """The one row with these cells, as a mapping."""
    frame = table.frame
    for column, cell in where.items():
        frame = frame[frame[column] == cell]
    assert len(frame) == 1, frame
    return frame.iloc[0]


def test_tiny_study_by_hand(tiny):
    made = paper_tables(tiny, pd.DataFrame(), TINY)
    assert list(made) == ["demography", "binding"]
    before = one(made["binding"], group="b", session_id="pre")
    assert (before["n"], before["n_missing"], before["n_all_sessions"]) == (4, 0, 3)
    assert before["mean"] == pytest.approx(2.5)
    assert before["sd"] == pytest.approx(math.sqrt(5 / 3))
    after = one(made["binding"], group="b", session_id="post")
    assert (after["n"], after["n_missing"], after["n_pairs"]) == (3, 1, 3)
    assert after["mean"] == pytest.approx(8.1 / 3)
    # over subjects 1 to 3: .5, .2 and .4 of 1, 2 and 4, so 50, 10 and 10 %
    assert after["mean_difference"] == pytest.approx(1.1 / 3)
    assert after["percent_change_of_mean"] == pytest.approx(100 * 1.1 / 7)
    assert after["mean_percent_change"] == pytest.approx(70 / 3)
    assert after["sd_percent_change"] == pytest.approx(math.sqrt(1600 / 3))
    assert np.isnan(after["p"])
    alone = one(made["binding"], group="a", session_id="post")
    assert (alone["n"], alone["n_pairs"], alone["mean_difference"]) == (1, 1, -1.0)
    assert np.isnan(alone["sd"])
    assert list(made["binding"].frame["group"].unique()) == ["b", "a", "all"]


def test_demography_by_hand(tiny):
    frame = paper_tables(tiny, pd.DataFrame(), TINY)["demography"]
    age = one(frame, variable="age", group="b")
    assert (age["n"], age["mean"], age["median"]) == (4, 45.0, 45.0)
    assert (age["min"], age["max"]) == (30.0, 60.0)
    assert age["sd"] == pytest.approx(math.sqrt(500 / 3))
    women = one(frame, variable="female", group="b")
    assert (women["count"], women["percent"]) == (2, 50.0)
    assert np.isnan(women["mean"])
    assert one(frame, variable="female", group="all")["percent"] == pytest.approx(60.0)
    assert frame.columns["variable"]["Levels"] == {"age": "Age (years)"}


def test_test_figures_come_from_results_alone(tiny):
    row = {"variable": "BPND", "region": "ACC", "sessions": "pre post", "reason": None}
    paired = row | {"kind": "paired_t", "groups": "b", "statistic": 7.0, "df1": 8.0, "p": 0.9}
    paired |= {"p_adjusted": 0.95, "effect": 6.0, "effect_low": 5.0, "effect_high": 6.5}
    crossed = row | {"kind": "interaction", "groups": "b a", "statistic": 3.0, "p": 0.1}
    made = paper_tables(
        tiny,
        pd.DataFrame(
            [
                paired,
                crossed | {"test_name": "group", "p": 0.2},
                crossed | {"test_name": "group x time"},
                {"kind": "two_sample_t", "variable": "age", "groups": "b a", "p": 0.3,
                 "test_name": "Welch's t of two groups"},
            ]
        ),
        TINY,
    )  # fmt: skip
    after = one(made["binding"], group="b", session_id="post")
    assert list(after[["t", "df", "p", "p_adjusted", "dz", "dz_low", "dz_high"]]) == [
        7.0, 8.0, 0.9, 0.95, 6.0, 5.0, 6.5,
    ]  # fmt: skip
    assert list(made["interaction"].frame["p"]) == [0.1]
    age = one(made["demography"], variable="age", group="all")
    assert (age["p"], age["groups_compared"]) == (0.3, "b v a")
    assert made["demography"].frame["p"].notna().sum() == 1


def test_responders_of_the_paper(tables):
    ketamine = one(tables["responders"], group="ketamine")
    placebo = one(tables["responders"], group="placebo")
    assert (ketamine["responders"], ketamine["n"], ketamine["percent"]) == (15, 20, 75.0)
    assert (placebo["responders"], placebo["n"], placebo["percent"]) == (3, 10, 30.0)
    together = one(tables["responders"], group="all")
    assert round(together["p"], 3) == 0.045
    # the odds ratio at which 15 responders to ketamine are expected, given both margins
    expected = stats.nchypergeom_fisher.mean(30, 18, 20, together["odds_ratio"])
    assert expected == pytest.approx(15, rel=1e-6)


@pytest.mark.parametrize(("group", "count", "n"), [("ketamine", 15, 20), ("placebo", 3, 10)])
def test_interval_of_a_proportion_is_wilsons(tables, group, count, n):
    z, p = 1.959963984540054, count / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    row = one(tables["responders"], group=group)
    assert row["ci_low"] == pytest.approx(100 * (centre - half), rel=1e-12)
    assert row["ci_high"] == pytest.approx(100 * (centre + half), rel=1e-12)


def test_changes_agree_with_the_tests_beside_them(study, tables):
    results = trial.results_of(study)
    paired = results[(results["kind"] == "paired_t") & (results["variable"] == "BPND")]
    for row in paired.to_dict("records"):
        shown = one(
            tables["binding"], region=row["region"], group=row["groups"], session_id="post"
        )
        assert shown["mean_difference"] == pytest.approx(row["estimate"], rel=1e-12)
        assert shown["n_pairs"] == row["n"]
        assert shown["mean_difference"] / shown["sd_difference"] == pytest.approx(shown["dz"])


def test_every_column_is_explained(tables):
    assert list(tables) == [
        "demography", "binding", "interaction", "correlations", "responders", "clinical",
        "radiochemistry", "motion",
    ]  # fmt: skip
    for table in tables.values():
        assert list(table.columns) == list(table.frame.columns)
        assert all(text["Description"] for text in table.columns.values())


def test_rows_keep_the_order_of_the_plan(tables):
    assert list(tables["binding"].frame["region"].unique()) == list(trial.REGIONS)
    assert list(tables["binding"].frame["session_id"].unique()) == ["pre", "post"]
    shown = list(tables["radiochemistry"].frame["variable"].unique())
    assert shown == list(trial.CONTENTS.radiochemistry)


def test_blinded_study_shows_all_together_and_compares_nothing(study):
    results = trial.results_of(study)  # whatever is there: groups are not to be told apart
    made = paper_tables(trial.values_of(trial.blinded(study)), results, trial.CONTENTS)
    assert "interaction" not in made
    for name, table in made.items():
        assert set(table.frame["group"]) == {"all"}, name
    for name in ("demography", "responders"):
        assert made[name].frame["p"].isna().all()


def test_subjects_of_no_group_are_in_all_alone(tiny):
    tiny.loc[tiny["participant_id"] == "5", "group"] = np.nan
    frame = paper_tables(tiny, pd.DataFrame(), TINY)["demography"].frame
    age = frame[frame["variable"] == "age"].set_index("group")
    assert list(age.loc[["b", "a", "all"], "n"]) == [4, 0, 5]


def test_three_groups_and_three_sessions():
    study = trial.make_trial(groups=("x", "y", "z"), sessions=("s1", "s2", "s3"), regions=("",))
    contents = PaperContents(
        outcome="BPND", sessions=study.sessions, groups=study.groups, demography=("age",)
    )
    tests = (
        *(
            trial.PlannedPairedT(kind="paired_t", title=s, confirmatory=True, by_group=True,
                                 sessions=("s1", s))
            for s in ("s2", "s3")
        ),
        *(
            trial.PlannedTwoSampleT(kind="two_sample_t", title=a + b, confirmatory=False, of="age",
                                    groups=(a, b))
            for a, b in ("xy", "zx")
        ),
        trial.PlannedInteraction(kind="interaction", title="i", confirmatory=True),
    )  # fmt: skip
    results = trial.results_of(study, tests)
    made = paper_tables(trial.values_of(study), results, contents)
    later = made["binding"].frame.dropna(subset="compared_with")
    assert len(later) == 2 * 4  # of three groups and all
    assert set(later["compared_with"]) == {"s1"}
    assert later.loc[later["group"] != "all", "p"].notna().all()
    ages = made["demography"].frame.dropna(subset="p").set_index("group")
    assert list(ages["groups_compared"]) == list(ages.index) == ["x v y", "z v x"]
    assert ages.loc["z v x", "n"] == 12 + 12 - 1  # the age of one is missing
    assert made["interaction"].frame["p_greenhouse_geisser"].notna().all()


def test_variables_that_nobody_has_are_left_out(tiny):
    contents = PaperContents(outcome="BPND", sessions=("pre", "post"), motion=("mean_fd_mm",))
    rows = tidy([("mean_fd_mm", "1", "b", "pre", np.nan, np.nan)])
    assert list(paper_tables(pd.concat([tiny, rows]), pd.DataFrame(), contents)) == ["binding"]


def test_only_ones_and_noughts_are_counted(tiny):
    contents = PaperContents(outcome="BPND", sessions=("pre", "post"), responders=("age",))
    with pytest.raises(DataError, match="age: 30 of subject 1 is neither 0 nor 1"):
        paper_tables(tiny, pd.DataFrame(), contents)


def test_only_the_outcome_has_regions(tiny):
    contents = PaperContents(outcome="R1", sessions=("pre", "post"), demography=("BPND",))
    with pytest.raises(DataError, match="BPND has a value for every region, such as ACC"):
        paper_tables(tiny, pd.DataFrame(), contents)


def test_nothing_at_first_has_no_percentage(tiny):
    first = (tiny["variable"] == "BPND") & (tiny["session_id"] == "pre")
    tiny.loc[first, "value"] = 0.0
    after = one(paper_tables(tiny, pd.DataFrame(), TINY)["binding"], group="b", session_id="post")
    assert np.isnan(after["percent_change_of_mean"])
    assert np.isnan(after["mean_percent_change"])
    assert after["mean_difference"] == pytest.approx(2.7)
