"""Mixed analysis of variance and mixed model: definitions, laws, what is left out."""

import dataclasses
import math
import warnings

import numpy as np
import pytest
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.regression.mixed_linear_model import MixedLM

from pipeline.statistics.interaction import group_by_time
from pipeline.statistics.mixed_anova import mixed_anova
from pipeline.statistics.mixed_model import LongData, mixed_model

SESSIONS = ("pre", "post", "late")


def drawn(rng, sizes, sessions, own=0.3):
    """Values (N, M) and labels of groups a, b, c ..."""
    n = sum(sizes)
    values = rng.normal(1.2, own, (n, 1)) + rng.normal(0, 0.15, (n, sessions))
    return values, np.repeat(list("abcd")[: len(sizes)], sizes)


def as_rows(values, groups):
    n, sessions = values.shape
    return LongData(
        outcome=values.ravel(),
        subject=np.repeat([f"{i:02d}" for i in range(n)], sessions),
        group=np.repeat(groups, sessions),
        session=np.tile(SESSIONS[:sessions], n),
    )


@pytest.mark.parametrize("sizes", [(20, 10), (3, 2), (5, 5)])
def test_with_two_sessions_both_interactions_are_those_of_the_changes(rng, sizes):
    values, groups = drawn(rng, sizes, 2)
    change = values[:, 1] - values[:, 0]
    expected = group_by_time(change[groups == "a"], change[groups == "b"])
    anova = mixed_anova(values, groups).interaction
    assert (anova.statistic, anova.p) == pytest.approx((expected.f, expected.p))
    assert (anova.effect, anova.effect_high) == pytest.approx(
        (expected.partial_eta2, expected.partial_eta2_high)
    )
    assert anova.assumptions[0].p == pytest.approx(expected.shapiro_p)
    model = mixed_model(as_rows(values, groups), SESSIONS[:2]).interaction
    assert model.estimate == pytest.approx(expected.difference)
    assert model.statistic**2 == pytest.approx(expected.f, rel=1e-4)
    assert model.df1 == pytest.approx(expected.df_error, rel=1e-3)
    assert model.ci_low == pytest.approx(expected.ci_low, rel=1e-3)


def test_group_effect_is_that_of_the_means_of_subjects(rng):
    values, groups = drawn(rng, (7, 5, 4), 3)
    means = values.mean(axis=1)
    theirs = stats.f_oneway(*(means[groups == name] for name in "abc"))
    ours = mixed_anova(values, groups).group
    assert (ours.statistic, ours.p) == pytest.approx((theirs.statistic, theirs.pvalue))


def test_differences_of_the_mixed_analysis_are_those_of_t_tests_and_of_least_squares(rng):
    values, groups = drawn(rng, (7, 4), 2)
    found, treated = mixed_anova(values, groups), groups == "a"

    def three(test):
        return test.estimate, test.ci_low, test.ci_high

    for test, data in (
        (found.group, values.mean(axis=1)),
        (found.interaction, np.diff(values)[:, 0]),
    ):
        theirs = stats.ttest_ind(data[treated], data[~treated])
        ends = theirs.confidence_interval()
        difference = data[treated].mean() - data[~treated].mean()
        assert three(test) == pytest.approx((difference, ends.low, ends.high))
    # groups as +1 and -1: the intercept is the mean of both groups' changes, each counted once
    design = np.column_stack([np.ones(11), np.where(treated, 1, -1)])
    fit = OLS(np.diff(values)[:, 0], design).fit()
    assert three(found.time) == pytest.approx((fit.params[0], *fit.conf_int()[0]))
    levene = stats.levene(*(np.diff(values)[groups == g, 0] for g in "ab"), center="median")
    assert found.interaction.assumptions[1].p == pytest.approx(levene.pvalue)
    several = mixed_anova(*drawn(rng, (4, 3, 3), 3))
    for test in (several.group, several.time, several.interaction):
        assert math.isnan(test.estimate)
        assert test.estimate_name == ""


@pytest.mark.parametrize(("sizes", "sessions"), [((6, 6), 2), ((5, 5, 5), 3)])
def test_without_holes_the_mixed_model_is_the_mixed_analysis(rng, sizes, sessions):
    """All three F, p and shares of variance agree where groups are of one size."""
    values, groups = drawn(rng, sizes, sessions)
    model, anova = (
        mixed_model(as_rows(values, groups), SESSIONS[:sessions]),
        mixed_anova(values, groups),
    )
    for name in ("group", "time", "interaction"):
        ours, theirs = getattr(model, name), getattr(anova, name)
        f = ours.statistic if ours.statistic_name == "F" else ours.statistic**2
        assert (f, ours.p) == pytest.approx((theirs.statistic, theirs.p), rel=1e-3)
        shares = ours.effect, ours.effect_low, ours.effect_high
        expected = theirs.effect, theirs.effect_low, theirs.effect_high
        assert shares == pytest.approx(expected, rel=2e-3, abs=1e-6)
        if sessions == 2:
            assert ours.estimate == pytest.approx(theirs.estimate, rel=1e-6)
            assert ours.ci_low == pytest.approx(theirs.ci_low, rel=1e-3)


def test_every_covariate_has_its_coefficient(rng):
    """A slope of 2 in 60 subjects, found within three of its standard errors; and a slope of 0."""
    values, groups = drawn(rng, (30, 30), 2)
    x, y = rng.normal(size=(2, 60, 1))
    data = as_rows(values + 2 * x, groups)
    covariates = {name: np.repeat(column, 2) for name, column in (("x", x), ("y", y))}
    found = mixed_model(dataclasses.replace(data, covariates=covariates), SESSIONS[:2]).covariates
    assert [test.name for test in found] == ["x in a mixed model", "y in a mixed model"]
    assert found[0].estimate == pytest.approx(2.0, abs=3 * found[0].estimate / found[0].statistic)
    assert found[0].p < 1e-9
    assert abs(found[1].statistic) < 3


def test_time_of_one_group_and_two_sessions_is_the_paired_t(rng):
    values, groups = drawn(rng, (9,), 2)
    theirs = stats.ttest_rel(*values.T)
    found = mixed_anova(values, groups)
    assert found.time.statistic == pytest.approx(theirs.statistic**2)
    assert found.time.p == pytest.approx(theirs.pvalue)
    assert found.interaction.reason == found.group.reason == "there is one group"


def test_scale_sign_order_of_sessions_and_names_of_groups_change_nothing(rng):
    values, groups = drawn(rng, (6, 5), 3)
    one = mixed_anova(values, groups)
    renamed = np.where(groups == "a", "z", groups)
    other = mixed_anova(-7 * values[::-1, ::-1] + 3, renamed[::-1])
    for name in ("group", "time", "interaction"):
        a, b = getattr(one, name), getattr(other, name)
        assert a.p == pytest.approx(b.p)
        assert a.generalised_eta2 == pytest.approx(b.generalised_eta2)
        assert b.sum_of_squares == pytest.approx(49 * a.sum_of_squares)
    assert dataclasses.asdict(one.sphericity) == pytest.approx(
        dataclasses.asdict(other.sphericity)
    )


def test_two_sessions_are_always_spherical_and_epsilon_has_its_bounds(rng):
    values, groups = drawn(rng, (6, 5), 2)
    found = mixed_anova(values, groups)
    assert math.isnan(found.sphericity.mauchly_p)
    assert math.isnan(found.time.p_greenhouse_geisser)
    for _ in range(20):
        values, groups = drawn(rng, (6, 5), 4)
        found = mixed_anova(values, groups)
        assert 1 / 3 <= found.sphericity.greenhouse_geisser <= 1
        assert found.sphericity.greenhouse_geisser < found.sphericity.huynh_feldt
        assert 0 <= found.sphericity.mauchly_p <= 1


@pytest.mark.parametrize(
    ("values", "groups", "words"),
    [
        ([[1, 2], [2, 4], [3, 1]], "aab", "two in each group"),
        ([[1, 2], [2, np.nan], [3, 1], [2, 2]], "aabb", "1, 2 subjects"),
        ([[1, 2], [2, 3], [3, 4], [5, 6]], "aabb", "do not vary"),
        ([[1, np.nan]], "a", "0 subjects"),
    ],
)
def test_what_cannot_be_analysed_says_why(values, groups, words):
    found = mixed_anova(np.array(values, float), np.array(list(groups)))
    for test in (found.group, found.time, found.interaction):
        assert words in test.reason
        assert math.isnan(test.p)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="subjects by sessions"):
        mixed_anova(np.zeros((3, 1)), np.array(list("aab")))
    with pytest.raises(ValueError, match="subjects by sessions"):
        mixed_anova(np.zeros((3, 2)), np.array(list("ab")))


def test_subjects_with_one_session_stay_in_the_mixed_model(rng):
    values, groups = drawn(rng, (8, 7), 2)
    holed = values.copy()
    holed[[0, 9], [1, 0]] = np.nan
    found = mixed_model(as_rows(holed, groups), SESSIONS[:2]).interaction
    assert (found.n, found.n_missing) == ((8, 7), 0)
    complete = np.isfinite(holed).all(axis=1)
    without = mixed_model(as_rows(holed[complete], groups[complete]), SESSIONS[:2]).interaction
    assert found.estimate != pytest.approx(without.estimate, rel=1e-3)
    gone = holed.copy()
    gone[3] = np.nan
    assert mixed_model(as_rows(gone, groups), SESSIONS[:2]).interaction.n == (7, 7)
    assert mixed_model(as_rows(gone, groups), SESSIONS[:2]).interaction.n_missing == 1


def test_statsmodels_finds_the_same_model(rng):
    """MixedLM, where its search gets through; lmer, everywhere, in test_golden.py."""
    values, groups = drawn(rng, (9, 6), 3)
    values[[1, 4, 12], [0, 2, 1]] = np.nan
    data = as_rows(values, groups)
    found = mixed_model(data, SESSIONS)
    keep = data.complete()
    a, post, late = (
        x[keep].astype(float)
        for x in (data.group == "a", data.session == "post", data.session == "late")
    )
    X = np.column_stack([np.ones(keep.sum()), a, post, late, a * post, a * late])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = MixedLM(data.outcome[keep], X, groups=data.subject[keep]).fit(method="powell")
    ours = [(test.estimate, test.estimate / test.statistic) for test in found.coefficients]
    expected = np.column_stack([theirs.fe_params[1:], theirs.bse_fe[1:]])
    assert np.array(ours) == pytest.approx(expected, rel=1e-3)


def test_scale_of_the_outcome_changes_no_p_of_the_mixed_model(rng):
    values, groups = drawn(rng, (8, 7), 3)
    one = mixed_model(as_rows(values, groups), SESSIONS)
    other = mixed_model(as_rows(1e5 * values, groups), SESSIONS)
    assert one.interaction.p == pytest.approx(other.interaction.p, rel=1e-4)
    assert other.sd_subject == pytest.approx(1e5 * one.sd_subject, rel=1e-4)


def test_subjects_that_differ_no_more_than_sessions_give_ordinary_least_squares(rng):
    """Where the variance between subjects is zero, the degrees of freedom are all that is left."""
    values, groups = drawn(rng, (8, 7), 2)
    values = values - values.mean(axis=1, keepdims=True)
    found = mixed_model(as_rows(values, groups), SESSIONS[:2])
    assert found.sd_subject == 0
    assert found.interaction.df1 == 30 - 4
    means = [values[groups == g].mean(axis=0) for g in "ab"]
    difference = np.subtract(*means)
    assert found.interaction.estimate == pytest.approx(difference[1] - difference[0])


@pytest.mark.parametrize(
    ("values", "groups", "words"),
    [
        ([[1, 2], [2, 4]], "aa", "two groups"),
        ([[1, 2], [2, 3]], "ab", "too few values"),
        ([[1, np.nan], [2, np.nan], [1, 2], [2, 5]], "aabb", "too few values"),
        (
            [[1, 2], [2, 4], [3, 3], [1, 2], [2, 5], [np.nan] * 2],
            "aaabbc",
            "a group has no values",
        ),
        ([[1, 2], [1, 2], [1, 2], [1, 2]], "aabb", "do not vary"),
    ],
)
def test_what_cannot_be_modelled_says_why(values, groups, words):
    found = mixed_model(as_rows(np.array(values, float), np.array(list(groups))), SESSIONS[:2])
    for test in (found.interaction, found.group, found.time):
        assert words in test.reason
        assert math.isnan(test.p)
    assert math.isnan(found.sd_subject)
