"""`petbind stats`: a declared plan on a long table, held to R's figures; bad plans say why."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import golden_tables as golden
from pipeline.cli.main import main
from pipeline.config.plan import Plan, load_plan
from pipeline.io.tables import read_json, read_table, write_table
from pipeline.statistics.permutation import permuted_interaction, sign_flipped_change
from pipeline.statistics.power import two_sample_power, two_sample_size

DONE, WRONG_USE = 0, 2

README = Path(__file__).resolve().parents[2] / "README.md"

HEAD = """
outcome = "value"
sessions = ["a-pre", "b-post"]
groups = ["ketamine", "placebo"]
{more}
[columns]
subject = "subject"
session = "session"
"""
TEST = """
[[tests]]
title = "{title}"
kind = "{kind}"
confirmatory = {confirmatory}
{more}
"""


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    # the command sets these for its process; here the process is everyone's
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")


def a_test(kind, more="", title="", confirmatory="true"):
    return TEST.format(kind=kind, more=more, title=title or kind, confirmatory=confirmatory)


@pytest.fixture
def study(tmp_path):
    """A function that runs a plan on a table, and gives exit code and folder."""

    def run(table, plan, *options):
        path, plan_path = tmp_path / "table.tsv", tmp_path / "plan.toml"
        write_table(path, table)
        plan_path.write_text(plan, encoding="utf-8")
        out = tmp_path / "out"
        words = ["stats", str(path), "--plan", str(plan_path), "--output-dir", str(out)]
        return main([*words, *options]), out

    return run


def design(name):
    table = pd.DataFrame(golden.long(name))
    return table.drop(columns="design")


def one_result(study, name, plan, *options):
    code, out = study(design(name), plan, "--unblind", *options)
    assert code == DONE
    rows = read_table(out / "results.tsv").to_dict("records")
    planned = [row for row in rows if row["family"] != "descriptive"]
    assert len(planned) == 1
    return planned[0]


def hold(row, name, prefix, names, **tolerance):
    theirs = golden.expected(name)
    for column, quantity in names.items():
        want = theirs[f"{prefix}{quantity}"]
        assert row[column] == pytest.approx(want, **(tolerance or {"rel": 1e-6})), column


# ---- figures of R ------------------------------------------------------------------------------

CHANGE = """
[[derived]]
name = "rise"
kind = "change"
of = "value"
sessions = ["a-pre", "b-post"]
"""
T = {"statistic": "t", "df1": "df", "p": "p", "ci_low": "low", "ci_high": "high"}


@pytest.mark.parametrize("name", ["balanced", "trial"])
def test_paired_t_within_a_group_is_that_of_r(study, name):
    plan = HEAD.format(more="") + a_test("paired_t", "by_group = true")
    code, out = study(design(name), plan, "--unblind")
    assert code == DONE
    table = read_table(out / "results.tsv").set_index("groups")
    row = table.loc["ketamine"].to_dict()
    more = {"effect": "dz", "effect_low": "dz_low", "effect_high": "dz_high"}
    checks = {"shapiro_w": "shapiro_w", "shapiro_p": "shapiro_p"}
    hold(row, name, "paired.", T | more | checks)


@pytest.mark.parametrize(("equal", "key"), [("true", "student"), ("false", "welch")])
def test_two_sample_t_of_a_derived_change_is_that_of_r(study, equal, key):
    more = f'of = "rise"\nequal_var = {equal}'
    plan = HEAD.format(more="") + CHANGE + a_test("two_sample_t", more)
    row = one_result(study, "trial", plan)
    hold(row, "trial", f"{key}.", T | {"effect": "g", "effect_low": "g_low"})
    assert row["n_by_group"] == "20 10"


def test_interaction_of_two_sessions_is_that_of_r(study):
    row = one_result(study, "trial", HEAD.format(more="") + a_test("interaction"))
    hold(row, "trial", "group_by_time.", {"statistic": "f", "df1": "df1", "df2": "df2", "p": "p"})
    hold(row, "trial", "interaction.", {"effect": "eta2", "effect_high": "eta2_high"})
    hold(row, "trial", "change.", {"brown_forsythe_f": "levene_f", "brown_forsythe_p": "levene_p"})


def three_sessions(groups):
    head = HEAD.format(more="").replace('"b-post"', '"b-post", "c-late"')
    return head.replace('["ketamine", "placebo"]', groups)


@pytest.mark.parametrize(
    ("name", "groups"),
    [("groups", '["high", "low", "none"]'), ("missing", '["ketamine", "placebo"]')],
)
def test_interaction_of_three_sessions_is_that_of_afex(study, name, groups):
    row = one_result(study, name, three_sessions(groups) + a_test("interaction"))
    names = {"statistic": "f", "df1": "df1", "df2": "df2", "p": "p", "effect": "pes",
             "p_greenhouse_geisser": "p_gg", "epsilon_greenhouse_geisser": "gg",
             "mauchly_w": "mauchly_w"}  # fmt: skip
    hold(row, name, "group_by_time.", names)
    assert row["p_adjusted"] == row["p_greenhouse_geisser"]
    assert row["n_missing"] == (1 if name == "missing" else 0)


@pytest.mark.parametrize(("method", "symbol"), [("pearson", "r"), ("spearman", "rho")])
def test_correlation_is_that_of_r(study, method, symbol):
    more = f'x = "value"\ny = "rise"\nsession = "a-pre"\nmethod = "{method}"'
    head = HEAD.format(more="").replace('groups = ["ketamine", "placebo"]', "")
    row = one_result(study, "trial", head + CHANGE + a_test("correlation", more))
    hold(row, "trial", f"{method}.", {"estimate": symbol, "p": "p"})


def test_correlation_with_the_reduction_has_the_other_sign(study):
    more = 'x = "value"\ny = "rise"\nsession = "a-pre"'
    head = HEAD.format(more="").replace('groups = ["ketamine", "placebo"]', "")
    plan = head + CHANGE.replace('"change"', '"reduction"') + a_test("correlation", more)
    row = one_result(study, "trial", plan)
    assert row["estimate"] == pytest.approx(-golden.expected("trial")["pearson.r"], rel=1e-9)


def test_mixed_model_is_that_of_lmer(study):
    row = one_result(study, "missing", three_sessions('["ketamine", "placebo"]')
                     + a_test("mixed_model"))  # fmt: skip
    names = {"statistic": "f", "df1": "df1", "df2": "df2", "p": "p"}
    hold(row, "missing", "lmer|interaction|", names, rel=1e-3)


def test_mixed_model_with_a_covariate_and_holes_is_that_of_lmer(study):
    table = design("trial")
    holes = table["subject"].isin(["02", "07", "25"]) & (table["session"] == "b-post")
    more = 'subject_columns = ["age"]\ncovariates = ["age"]'
    plan = HEAD.format(more=more) + a_test("mixed_model")
    code, out = study(table[~holes], plan, "--unblind")
    assert code == DONE
    row = read_table(out / "results.tsv").to_dict("records")[0]
    names = {"estimate": "estimate", "df1": "df", "p": "p"}
    key = "lmer_age_holes|groupketamine:sessionb-post|"
    hold(row, "trial", key, names, rel=1e-3)
    listed = read_table(out / "exclusions.tsv").query("reason == 'no row of this session'")
    assert list(listed["participant_id"]) == [2, 7, 25]


def terms(out):
    """Results by what was computed."""
    return read_table(out / "results.tsv").set_index("test_name").to_dict("index")


def test_main_effects_stand_beside_an_interaction_and_are_those_of_afex(study):
    plan = HEAD.format(more='multiplicity = "holm"') + a_test("interaction")
    _, out = study(design("trial"), plan, "--unblind")
    rows = terms(out)
    assert list(rows) == ["group x time", "group", "time"]
    names = {"statistic": "f", "df1": "df1", "df2": "df2", "p": "p", "effect": "pes"}
    for name in ("group", "time"):
        hold(rows[name], "trial", f"{name}.", names)
        assert rows[name]["family"] == "descriptive"
        assert np.isnan(rows[name]["p_adjusted"])
        assert np.isfinite(rows[name]["ci_low"])
    # they do not count as tests
    assert rows["group x time"]["p_adjusted"] == pytest.approx(rows["group x time"]["p"])
    values, group = golden.wide("trial")
    change = np.diff(values)[:, 0]
    means = [change[group == name].mean() for name in ("ketamine", "placebo")]
    assert rows["time"]["estimate"] == pytest.approx(np.mean(means), rel=1e-9)


def test_terms_of_a_mixed_model_are_those_of_lmer(study):
    table = design("trial")
    holes = table["subject"].isin(["02", "07", "25"]) & (table["session"] == "b-post")
    more = 'subject_columns = ["age"]\ncovariates = ["age"]'
    plan = HEAD.format(more=more) + a_test("mixed_model")
    _, out = study(table[~holes], plan, "--unblind")
    rows = terms(out)
    assert [name.removesuffix(" in a mixed model") for name in rows] == [
        "group x time", "group", "time", "age"
    ]  # fmt: skip
    key = "lmer_age_holes|"
    for name in ("group", "time"):
        row = rows[f"{name} in a mixed model"]
        squared = row | {"statistic": row["statistic"] ** 2}
        hold(
            squared, "trial", f"{key}{name}|", {"statistic": "f", "df1": "df2", "p": "p"}, rel=1e-3
        )
    names = {"estimate": "estimate", "df1": "df", "p": "p"}
    hold(rows["age in a mixed model"], "trial", f"{key}age|", names, rel=1e-3)
    checks = {"shapiro_w": "shapiro_w", "shapiro_p": "shapiro_p"}
    for row in rows.values():
        hold(row, "trial", key, checks, rel=1e-3)
        assert row["effect_low"] < row["effect"] < row["effect_high"]


def test_correlation_names_both_variables_and_checks_them(study):
    more = 'x = "value"\ny = "rise"\nsession = "a-pre"'
    head = HEAD.format(more="").replace('groups = ["ketamine", "placebo"]', "")
    row = one_result(study, "trial", head + CHANGE + a_test("correlation", more))
    assert (row["variable"], row["with_variable"]) == ("value", "rise")
    values, _ = golden.wide("trial")
    x, y = stats.shapiro(values[:, 0]), stats.shapiro(np.diff(values)[:, 0])
    found = [row[key] for key in ("shapiro_w", "shapiro_p", "shapiro_w_with", "shapiro_p_with")]
    assert found == pytest.approx([x.statistic, x.pvalue, y.statistic, y.pvalue])
    shift = np.sqrt(27) * abs(np.arctanh(row["estimate"]))
    tails = stats.norm.sf(1.959964 - shift) + stats.norm.cdf(-1.959964 - shift)
    assert row["power"] == pytest.approx(tails, abs=1e-5)


def test_power_of_every_kind_that_has_one(study):
    plan = HEAD.format(more="power = 0.9") + CHANGE
    plan += '[[derived]]\nname = "up"\nkind = "responder"\nof = "rise"\nat_least = 0\n'
    kinds = {
        "paired_t": "", "two_sample_t": 'of = "rise"', "interaction": "",
        "fisher": 'of = "up"', "correlation": 'x = "value"\ny = "rise"\nsession = "a-pre"',
        "mixed_model": "", "permutation": 'design = "paired"\nseed = 1\ndraws = 99',
    }  # fmt: skip
    plan += "".join(a_test(kind, more) for kind, more in kinds.items())
    code, out = study(design("trial"), plan, "--unblind")
    assert code == DONE
    table = read_table(out / "results.tsv")
    first = table.drop_duplicates("kind").set_index("kind")
    with_power = ["paired_t", "two_sample_t", "interaction", "fisher", "correlation"]
    assert list(first.index[first["power"].notna()]) == with_power
    assert list(first.index[first["n_for_power"].notna()]) == with_power
    assert table.loc[table["family"] == "descriptive", "power"].isna().all()
    values, group = golden.wide("trial")
    change = np.diff(values)[:, 0]
    a, b = change[group == "ketamine"], change[group == "placebo"]
    d = (a.mean() - b.mean()) / np.sqrt((19 * a.var(ddof=1) + 9 * b.var(ddof=1)) / 28)
    assert first.loc["interaction", "power"] == pytest.approx(two_sample_power(d, 20, 10))
    size = two_sample_size(d, 0.9, ratio=2).total
    assert first.loc["interaction", "n_for_power"] == pytest.approx(size)
    expected = stats.contingency.expected_freq(
        [[(a >= 0).sum(), (a < 0).sum()], [(b >= 0).sum(), (b < 0).sum()]]
    )
    assert first.loc["fisher", "smallest_expected"] == pytest.approx(expected.min())
    for kind in kinds:
        assert np.isfinite(
            first.loc[kind, ["effect", "effect_low", "effect_high"]].to_numpy(float)
        ).all()


def test_groups_in_another_order_turn_the_sign(study):
    plan = HEAD.format(more="") + a_test("mixed_model")
    first = one_result(study, "trial", plan)
    turned = plan.replace('["ketamine", "placebo"]', '["placebo", "ketamine"]')
    second = one_result(study, "trial", turned, "--overwrite")
    assert first["estimate"] == pytest.approx(-second["estimate"], rel=1e-5)


def test_fisher_of_responders_is_that_of_r(study):
    theirs = golden.expected("fisher-response")
    scores = []
    for group, key in (("ketamine", "first"), ("placebo", "second")):
        scores += [(group, 40.0)] * int(theirs[f"{key}_yes"])
        scores += [(group, 10.0)] * int(theirs[f"{key}_no"])
    rows = []
    for i, (group, reduction) in enumerate(scores):
        for session, value in (("a-pre", 100.0), ("b-post", 100.0 - reduction)):
            rows.append({"subject": f"s{i}", "session": session, "group": group, "value": value})
    derived = CHANGE.replace('"change"', '"percent_reduction"')
    derived += '[[derived]]\nname = "better"\nkind = "responder"\nof = "rise"\nat_least = 25\n'
    plan = HEAD.format(more="") + derived + a_test("fisher", 'of = "better"')
    code, out = study(pd.DataFrame(rows), plan, "--unblind")
    assert code == DONE
    row = read_table(out / "results.tsv").to_dict("records")[0]
    names = {"p": "p", "estimate": "odds_ratio", "ci_low": "low", "ci_high": "high"}
    hold(row, "fisher-response", "", names, rel=1e-3)


def test_fisher_of_a_column_of_words_is_that_of_r(study):
    theirs = golden.expected("fisher-sex")
    who = []
    for group, key in (("ketamine", "first"), ("placebo", "second")):
        who += [(group, "F")] * int(theirs[f"{key}_yes"])
        who += [(group, "M")] * int(theirs[f"{key}_no"])
    rows = [
        {"subject": f"s{i}", "session": session, "group": group, "value": 1.0, "sex": sex}
        for i, (group, sex) in enumerate(who)
        for session in ("a-pre", "b-post")
    ]
    plan = HEAD.format(more='subject_columns = ["sex"]')
    plan += '[[derived]]\nname = "female"\nkind = "equals"\nof = "sex"\nvalue = "F"\n'
    plan += a_test("fisher", 'of = "female"')
    code, out = study(pd.DataFrame(rows), plan, "--unblind")
    assert code == DONE
    row = read_table(out / "results.tsv").to_dict("records")[0]
    names = {"p": "p", "estimate": "odds_ratio", "ci_low": "low", "ci_high": "high"}
    hold(row, "fisher-sex", "", names, rel=1e-3)


def test_permutations_are_those_of_the_arrays(study):
    values, group = golden.wide("balanced")
    change = values[:, 1] - values[:, 0]
    plan = HEAD.format(more="")
    plan += a_test("permutation", 'design = "interaction"\nseed = 3', "groups exchanged")
    plan += a_test("permutation", 'design = "paired"\nseed = 3\ndraws = 999', "signs turned")
    code, out = study(design("balanced"), plan, "--unblind")
    assert code == DONE
    p = read_table(out / "results.tsv")["p"]
    halves = change[group == "ketamine"], change[group == "placebo"]
    assert p[0] == pytest.approx(permuted_interaction(*halves, seed=3).p, rel=1e-9)
    assert p[1] == pytest.approx(sign_flipped_change(change, seed=3, draws=999).p, rel=1e-9)


def test_tests_within_groups_are_those_of_each_group_alone(study):
    head = HEAD.format(more="").replace('groups = ["ketamine", "placebo"]', "")
    tests = [
        ("correlation", 'x = "value"\ny = "rise"\nsession = "ses-a-pre"'),
        ("permutation", 'design = "paired"\nseed = 5'),
        ("paired_t", ""),
    ]
    scores = CHANGE.replace('"change"', '"percent_change"').replace('"b-post"', '"ses-b-post"')
    alone = head + scores + "".join(a_test(kind, more) for kind, more in tests)
    within = HEAD.format(more="") + scores
    within += "".join(a_test(kind, f"{more}\nby_group = true") for kind, more in tests)
    table = design("balanced")
    _, out = study(table, within, "--unblind")
    both = read_table(out / "results.tsv").drop(columns="p_adjusted")
    assert len(both) == 6
    for group, rows in both.groupby("groups"):
        _, out = study(table[table["group"] == group], alone, "--overwrite")
        single = read_table(out / "results.tsv").drop(columns="p_adjusted")
        same = rows.reset_index(drop=True).drop(columns=["groups", "below_alpha"])
        pd.testing.assert_frame_equal(same, single.drop(columns=["groups", "below_alpha"]))


# ---- a table of regions ------------------------------------------------------------------------

TRIAL = """
outcome = "BPND"
sessions = ["pre", "post"]
regions = ["HIP", "VST"]
groups = ["ketamine", "placebo"]
session_columns = ["total", "item"]
{more}
[[derived]]
name = "short"
kind = "difference"
of = "total"
minus = ["item"]
[[derived]]
name = "reduction"
kind = "reduction"
of = "short"
sessions = ["pre", "post"]
"""


@pytest.fixture
def trial():
    """Eight subjects, two sessions, three regions of which the plan names two."""
    rng = np.random.default_rng(7)
    rows = []
    for i in range(8):
        for session in ("pre", "post"):
            total, item = int(rng.integers(20, 40)), int(rng.integers(0, 5))
            for region in ("HIP", "VST", "OC"):
                rows.append(
                    {"participant_id": f"sub-{i:02d}", "session_id": f"ses-{session}",
                     "group": "ketamine" if i < 5 else "placebo", "name": region,
                     "BPND": round(rng.normal(1, 0.1), 4), "total": total, "item": item,
                     "flag": None}
                )  # fmt: skip
    return pd.DataFrame(rows)


INTERACTION = TRIAL.format(more="") + a_test("interaction")


def test_clinical_scores_are_tested_once_and_regions_each(study, trial):
    plan = TRIAL.format(more='multiplicity = "holm"') + a_test("interaction")
    plan += a_test("two_sample_t", 'of = "reduction"', confirmatory="false")
    assert study(trial, plan, "--unblind")[0] == DONE
    _, out = study(trial, plan, "--unblind")
    table = read_table(out / "results.tsv").query("family != 'descriptive'").reset_index(drop=True)
    assert list(table["region"].fillna("")) == ["HIP", "VST", ""]
    assert list(table["family"]) == ["confirmatory", "confirmatory", "exploratory"]
    # Holm over the two confirmatory ones; the exploratory one stands alone
    low, high = sorted(table["p"][:2])
    want = [min(2 * low, 1), max(min(2 * low, 1), high)]
    assert sorted(table["p_adjusted"][:2]) == pytest.approx(want, rel=1e-9)
    assert table["p_adjusted"][2] == table["p"][2]
    wide = trial.drop_duplicates(["participant_id", "session_id"])
    short = (wide["total"] - wide["item"]).to_numpy(float).reshape(-1, 2)
    reduction = short[:, 0] - short[:, 1]
    want = reduction[:5].mean() - reduction[5:].mean()
    assert table["estimate"][2] == pytest.approx(want, rel=1e-9)


def test_every_column_is_explained(study, trial):
    _, out = study(trial, INTERACTION, "--unblind")
    for name in ("results", "exclusions", "descriptives"):
        told = read_json(out / f"{name}.json")
        assert name != "results" or "2 x 2 mixed analysis" in " ".join(told["Methods"])
        assert set(read_table(out / f"{name}.tsv").columns) <= set(told)


def test_nothing_is_dropped_silently(study, trial):
    trial.loc[0, "BPND"] = np.nan
    trial.loc[1, "flag"] = "k2 at its bound"
    trial.loc[6, "BPND"] = 9.0
    trial.loc[trial["participant_id"] == "sub-03", "total"] = np.nan
    gone = (trial["participant_id"] == "sub-04") & (trial["session_id"] == "ses-post")
    trial.loc[trial["participant_id"] == "sub-05", "group"] = "other"
    late = trial[:1].assign(session_id="ses-late")
    plan = TRIAL.format(more='flagged = "leave_out"') + a_test("interaction")
    code, out = study(pd.concat([trial[~gone], late]), plan, "--unblind")
    assert code == DONE
    table = read_table(out / "exclusions.tsv", as_text=True)
    keys = ["participant_id", "session_id", "region", "column", "reason"]
    told = set(table[keys].fillna("").itertuples(index=False, name=None))
    want = {
        ("00", "pre", "HIP", "BPND", "no value"),
        ("00", "pre", "VST", "BPND", "flagged: k2 at its bound"),
        ("04", "post", "", "", "no row of this session"),
        ("03", "pre", "", "total", "no value"),
        ("05", "", "", "group", "group 'other' is not in the plan"),
        ("00", "late", "", "", "session is not in the plan"),
        ("", "", "OC", "", "region is not in the plan"),
    }
    assert want <= told
    outlier = table[table["reason"].str.startswith("outlier") & (table["value"] == "9")]
    assert list(outlier["action"]) == ["kept"]
    # sub-04, sub-00 and sub-05 are not in VST
    rows = read_table(out / "results.tsv").query("region == 'VST'")
    assert list(rows["n_by_group"]) == ["3 2"] * 3


def test_flagged_fits_stay_in_unless_told(study, trial):
    trial["flag"] = "odd"
    _, out = study(trial, INTERACTION, "--unblind")
    assert (read_table(out / "results.tsv")["n"] == 8).all()
    listed = read_table(out / "exclusions.tsv").query("reason == 'flagged: odd'")
    assert len(listed) == 32
    assert (listed["action"] == "kept").all()


def test_per_cent_of_nothing_is_told(study, trial):
    gone = (trial["participant_id"] == "sub-02") & (trial["session_id"] == "ses-pre")
    trial.loc[gone, ["total", "item"]] = 3
    plan = TRIAL.format(more="").replace('kind = "reduction"', 'kind = "percent_reduction"')
    code, out = study(trial, plan + a_test("two_sample_t", 'of = "reduction"'), "--unblind")
    assert code == DONE
    listed = read_table(out / "exclusions.tsv").query("column == 'reduction'")
    assert list(listed["reason"]) == ["no per cent of 0 in the first session"]
    row = read_table(out / "results.tsv").to_dict("records")[0]
    assert (row["n"], row["n_missing"]) == (7, 1)


JOINED = """
[[joined]]
name = "both"
of = ["HIP", "OC"]
volume = "volume"
"""


def test_joined_regions_are_means_weighted_by_volume(study, trial):
    trial["volume"] = np.tile([100, 500, 300], 16)
    head = TRIAL.format(more="").replace('["HIP", "VST"]', '["both", "VST"]')
    head = head.replace('groups = ["ketamine", "placebo"]', "") + JOINED
    trial.loc[(trial["participant_id"] == "sub-03") & (trial["name"] == "OC"), "BPND"] = np.nan
    code, out = study(trial, head + a_test("paired_t"))
    assert code == DONE
    table = read_table(out / "results.tsv").set_index("region")
    wide = trial.pivot(index="participant_id", columns=["session_id", "name"], values="BPND")
    pre, post = (
        0.25 * wide[f"ses-{label}", "HIP"] + 0.75 * wide[f"ses-{label}", "OC"]
        for label in ("pre", "post")
    )
    assert table.loc["both", "estimate"] == pytest.approx((post - pre).mean(), rel=1e-9)
    assert (table.loc["both", "n"], table.loc["VST", "n"]) == (7, 8)
    listed = read_table(out / "exclusions.tsv").query("reason == 'no value'")
    assert list(listed["region"]) == ["OC", "OC"]


def test_sample_size_is_blinded_and_takes_the_power_of_the_plan(study, trial):
    code, out = study(trial, TRIAL.format(more="power = 0.9") + SIZE)
    assert code == DONE
    assert not (out / "results.tsv").exists()
    _, out = study(trial, TRIAL.format(more="power = 0.9") + SIZE, "--unblind")
    table = read_table(out / "results.tsv").set_index("region")
    wide = trial.pivot(index="participant_id", columns=["session_id", "name"], values="BPND")[:5]
    for region in ("HIP", "VST"):
        change = wide["ses-post", region] - wide["ses-pre", region]
        row = table.loc[region]
        assert row["effect"] == pytest.approx(change.mean() / change.std(), rel=1e-9)
        size = two_sample_size(row["effect"], 0.9).total
        assert row["estimate"] == pytest.approx(size, rel=1e-6)
        assert row["estimate_name"] == "subjects in all, 1:1, for a power of 0.9"
        # five changes leave room for none, and then no number of subjects is enough
        assert row["effect_low"] < 0 < row["effect_high"]
        assert row["ci_low"] < row["estimate"]
        assert row["ci_high"] == np.inf


# ---- blinding and freezing ---------------------------------------------------------------------


def test_without_unblind_nobody_is_in_a_group(study, trial, capsys):
    code, out = study(trial, INTERACTION)
    assert code == DONE
    assert "nothing is tested" in capsys.readouterr().err
    assert not (out / "results.tsv").exists()
    assert not (out / "unblinding.log").exists()
    table = read_table(out / "descriptives.tsv")
    assert set(table["group"]) == {"all"}
    row = table.query("variable == 'BPND' and region == 'HIP' and session_id == 'pre'").iloc[0]
    inside = trial.query("name == 'HIP' and session_id == 'ses-pre'")["BPND"]
    assert (row["n"], row["n_missing"]) == (8, 0)
    assert row["mean"] == pytest.approx(inside.mean(), rel=1e-9)
    assert row["sd"] == pytest.approx(inside.std(), rel=1e-9)


def test_a_blinded_run_is_the_same_whoever_is_in_which_group(study, trial, tmp_path):
    def tables(folder):
        return [(folder / f"{name}.tsv").read_bytes() for name in ("descriptives", "exclusions")]

    _, out = study(trial, INTERACTION)
    first = tables(out)
    _, out = study(trial.assign(group=trial["group"].iloc[::-1].to_numpy()), INTERACTION,
                   "--overwrite")  # fmt: skip
    assert tables(out) == first


def test_a_plan_without_groups_needs_no_unblinding(study, trial):
    plan = TRIAL.format(more="").replace('groups = ["ketamine", "placebo"]', "")
    code, out = study(trial.drop(columns="group"), plan + a_test("paired_t"))
    assert code == DONE
    assert list(read_table(out / "results.tsv")["n"]) == [8, 8]


def test_unblinding_for_nothing_is_told_and_not_logged(study, trial, capsys):
    plan = TRIAL.format(more="").replace('groups = ["ketamine", "placebo"]', "")
    _, out = study(trial, plan + a_test("paired_t"), "--unblind")
    assert "looks at no groups" in capsys.readouterr().err
    assert not (out / "unblinding.log").exists()


def test_unblinding_is_logged_with_what_was_frozen(study, trial, tmp_path):
    study(trial, INTERACTION)
    _, out = study(trial, INTERACTION, "--unblind")
    log = (out / "unblinding.log").read_text()
    for path in (out / "plan.json", tmp_path / "table.tsv"):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert digest in log
        assert f"{digest}  {path.name}" in (out / "sha256sums.txt").read_text()
    assert json.loads((out / "plan.json").read_text())["tests"][0]["kind"] == "interaction"
    assert len(log.splitlines()) == 1
    frozen = Plan.model_validate_json((out / "plan.json").read_bytes())
    assert frozen == load_plan(tmp_path / "plan.toml")


def test_a_plan_changed_after_it_was_frozen_is_refused(study, trial, capsys):
    study(trial, INTERACTION)
    changed = INTERACTION.replace("regions", "alpha = 0.1\nregions")
    assert study(trial, changed, "--unblind")[0] == WRONG_USE
    assert "another plan.json" in capsys.readouterr().err
    assert study(trial, changed, "--unblind", "--overwrite")[0] == DONE
    # and a blinded run of yet another plan leaves no results of this one
    _, out = study(trial, INTERACTION, "--overwrite")
    assert not (out / "results.tsv").exists()


def test_the_same_input_gives_the_same_bytes(study, trial):
    plan = INTERACTION + a_test("permutation", 'design = "interaction"\nseed = 1')

    def content():
        _, out = study(trial, plan, "--unblind")
        return {p.name: p.read_bytes() for p in out.iterdir() if p.suffix != ".log"}

    first = content()
    assert len(first) == 8
    assert content() == first


def test_rows_in_another_order_give_the_same_tables(study, trial):
    trial.loc[[3, 9, 30], "flag"] = "odd"
    trial.loc[[4, 12], "BPND"] = [7.0, np.nan]
    names = ("results", "exclusions", "descriptives")

    def content(table, *options):
        _, out = study(table, INTERACTION, "--unblind", *options)
        return [(out / f"{name}.tsv").read_bytes() for name in names]

    assert content(trial) == content(trial[::-1], "--overwrite")


def test_flagged_fits_cannot_be_left_out_without_a_column_of_flags(study, trial, capsys):
    plan = TRIAL.format(more='flagged = "leave_out"') + a_test("interaction")
    assert study(trial.drop(columns="flag"), plan, "--unblind")[0] == WRONG_USE
    assert "no column 'flag'" in capsys.readouterr().err


# ---- what is wrong, where ----------------------------------------------------------------------


def duplicated(table):
    return pd.concat([table, table[3:4]])


BAD_TABLES = {
    "unknown column": (
        lambda t: t.rename(columns={"BPND": "BPnd"}),
        ("line 1", "'BPND'", "did you mean 'BPnd'?"),
    ),
    "one group": (
        lambda t: t.assign(group="ketamine"),
        ("column group", "'placebo'", "only ketamine (line 2)"),
    ),
    "no group": (lambda t: t.assign(group=None), ("column group", "'ketamine'", "is empty")),
    "two groups": (
        lambda t: t.assign(group=["placebo", *t["group"][1:]]),
        ("line 3", "column group", "'placebo' in line 2"),
    ),
    "no session": (
        lambda t: t[t["session_id"] == "ses-pre"],
        ("column session_id", "'post'", "there are pre"),
    ),
    "duplicate": (
        duplicated,
        ("line 50: participant_id 00, session_id post, name HIP is in line 5 already",),
    ),
    "text": (
        lambda t: t.assign(BPND=["1,2", *t["BPND"][1:]]),
        ("line 2", "column BPND", "'1,2' is no number"),
    ),
    "infinite": (
        lambda t: t.assign(BPND=[np.inf, *t["BPND"][1:]]),
        ("line 2", "column BPND", "'inf' is no number"),
    ),
    "no region": (
        lambda t: t.replace({"name": {"VST": "VS"}}),
        ("column name", "'VST'", "did you mean 'VS'?"),
    ),
    "two totals": (
        lambda t: t.assign(total=[99, *t["total"][1:]]),
        ("line 3", "column total", "99 in line 2 of the same subject and session"),
    ),
    "empty": (lambda t: t[:0], ("no line but the first",)),
    "two columns": (
        lambda t: pd.concat([t, t[["BPND"]]], axis=1),
        ("line 1", "two columns 'BPND'"),
    ),
    "nobody": (
        lambda t: t.assign(participant_id=[None, *t["participant_id"][1:]]),
        ("line 2", "column participant_id is empty"),
    ),
}


def test_a_volume_of_nothing_is_told(study, trial, capsys):
    trial["volume"] = [0, *[100] * 47]
    plan = TRIAL.format(more="").replace('["HIP", "VST"]', '["both", "VST"]') + JOINED
    assert study(trial, plan + a_test("interaction"), "--unblind")[0] == WRONG_USE
    assert "line 2: column volume: a volume of 0" in capsys.readouterr().err


@pytest.mark.parametrize("what", BAD_TABLES)
def test_a_bad_table_is_told_by_file_column_and_line(study, trial, capsys, what):
    spoil, words = BAD_TABLES[what]
    code, out = study(spoil(trial), INTERACTION, "--unblind")
    message = capsys.readouterr().err
    assert code == WRONG_USE
    assert not out.exists()
    assert message.startswith("petbind: ")
    assert message.count("\n") == 1
    for word in ("table.tsv", *words):
        assert word in message


def test_lines_are_counted_as_an_editor_does(study, trial, capsys, tmp_path):
    study(trial, INTERACTION)
    path = tmp_path / "table.tsv"
    lines = path.read_text().splitlines()
    lines[10] = lines[10].replace("ses-", "").replace("\t0.", "\tx0.").replace("\t1.", "\tx1.")
    path.write_text("\n".join([*lines[:4], "", *lines[4:]]) + "\n\n")
    words = ["stats", str(path), "--plan", str(tmp_path / "plan.toml"), "--unblind"]
    assert main(words) == WRONG_USE
    assert "line 12: column BPND: 'x" in capsys.readouterr().err


def test_a_line_that_is_too_long_is_told(study, trial, capsys, tmp_path):
    study(trial, INTERACTION)
    capsys.readouterr()
    path = tmp_path / "table.tsv"
    first, *rest = path.read_text().splitlines()
    for number in (2, 3):
        longer = [row + "\tx" if i == number else row for i, row in enumerate(rest, start=2)]
        path.write_text("\n".join([first, *longer]))
        words = ["stats", str(path), "--plan", str(tmp_path / "plan.toml"), "--unblind"]
        assert main(words) == WRONG_USE
        message = capsys.readouterr().err
        assert f"line {number}" in message
        assert message.count("\n") == 1


PAIRED = a_test("paired_t")
SIZE = """
[[tests]]
title = "size"
kind = "sample_size"
group = "ketamine"
"""
BAD_PLANS = {
    "power": (a_test("interaction"), ("power: more than alpha, 0.05",), "power = 0.05"),
    "size of nobody": (SIZE.replace('"ketamine"', '"drug"'), ("group 'drug' is not among",)),
    "size power": (SIZE + "power = 0.01", ("'size': power: more than alpha, 0.05",)),
    "size allocation": (SIZE + "allocation = [2, 0]", ("two numbers above 0", "[2, 1]")),
    "size sessions": (SIZE + 'sessions = ["pre"]', ("sessions: two different",)),
    "size of change": (SIZE + 'of = "reduction"', ("has one value per subject",)),
    "size option": (SIZE + "ratio = 2", ("tests 1, ratio: no such option", "allocation")),
    "size confirmatory": (SIZE + "confirmatory = true", ("a sample size tests nothing",)),
    "joined": (JOINED + a_test("interaction"), ("joined both: name it in regions too",)),
    "joined option": (
        JOINED.replace("volume", "volumes", 1) + a_test("interaction"),
        ("joined 1, volumes", "did you mean 'volume'?", "joined 1, volume: is missing"),
    ),
    "no list": (
        a_test("interaction", 'groups = "ketamine"'),
        ("tests 1, groups: a list is expected, as in ['pre', 'post'], not 'ketamine'",),
    ),
    "kind": (a_test("anova"), ("tests 1", "'anova' is not one of", "paired_t")),
    "option": (a_test("paired_t", "by_grup = true"), ("tests 1, by_grup", "mean 'by_group'?")),
    "top option": (PAIRED, ("alfa: no such option", "'alpha'"), "alfa = 0.1"),
    "title": (PAIRED.replace('title = "paired_t"', ""), ("tests 1, title: is missing",)),
    "same title": (PAIRED + PAIRED, ("'paired_t' is given twice",)),
    "three sessions": (
        a_test("paired_t", 'by_group = true\nsessions = ["pre"]'),
        ("sessions: two different",),
    ),
    "session": (a_test("two_sample_t"), ("say in which session BPND is taken",)),
    "strange session": (a_test("interaction", 'sessions = ["pre", "x"]'), ("'x' is not among",)),
    "strange group": (a_test("two_sample_t", 'of = "reduction"\ngroups = ["a", "b"]'), ("'a'",)),
    "reduction": (
        a_test("paired_t", 'by_group = true\nof = "reduction"'),
        ("has one value per subject",),
    ),
    "groups for nothing": (PAIRED, ("groups are given, and no test looks at them",)),
    "covariates": (a_test("interaction"), ("no test is one",), 'covariates = ["total"]'),
    "group": (a_test("fisher", 'of = "group"\nsession = "pre"'), ("holds the groups",)),
    "permutation": (
        a_test("permutation", 'design = "interaction"\nseed = 1\nby_group = true'),
        ("by_group is for design = 'paired'",),
    ),
}


def test_the_plan_of_the_readme_is_one(tmp_path):
    text = README.read_text("utf-8").split("## Only tables")[1]
    path = tmp_path / "plan.toml"
    path.write_text(text.split("```toml")[1].split("```")[0], encoding="utf-8")
    assert [test.kind for test in load_plan(path).tests] == [
        "interaction", "mixed_model", "correlation"
    ]  # fmt: skip


@pytest.mark.parametrize("what", BAD_PLANS)
def test_a_bad_plan_says_what_is_wrong(study, trial, capsys, what):
    tests, words, *more = BAD_PLANS[what]
    code, _ = study(trial, TRIAL.format(more="".join(more)) + tests, "--unblind")
    message = capsys.readouterr().err
    assert code == WRONG_USE
    for word in ("plan.toml", *words):
        assert word in message


def test_a_proportion_of_something_else_names_the_subject(study, trial, capsys):
    plan = TRIAL.format(more="") + a_test("fisher", 'of = "total"\nsession = "pre"')
    assert study(trial, plan, "--unblind")[0] == WRONG_USE
    message = capsys.readouterr().err
    assert "table.tsv" in message
    assert "column total" in message
    assert "subject 00" in message


def test_a_score_does_not_take_the_name_of_a_column(study, trial, capsys):
    assert study(trial.assign(short=1), INTERACTION, "--unblind")[0] == WRONG_USE
    assert "derived short" in capsys.readouterr().err
