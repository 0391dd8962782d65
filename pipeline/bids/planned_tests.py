"""Planned tests of a study as rows of one table, with the JSON that explains it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.bids.study_table import Study
from pipeline.core.volume import FloatArray
from pipeline.statistics.correlation import pearson, spearman
from pipeline.statistics.fisher import fisher_exact
from pipeline.statistics.interaction import group_by_time
from pipeline.statistics.mixed_anova import AnovaEffect, Sphericity, mixed_anova
from pipeline.statistics.mixed_model import LongData, mixed_model
from pipeline.statistics.multiplicity import Adjustment, adjusted_p
from pipeline.statistics.paired import paired_t
from pipeline.statistics.permutation import permuted_interaction, sign_flipped_change
from pipeline.statistics.plan import (
    PlannedCorrelation,
    PlannedFisher,
    PlannedInteraction,
    PlannedMixedModel,
    PlannedPairedT,
    PlannedPermutation,
    PlannedTest,
    PlannedTwoSampleT,
    variables_of,
)
from pipeline.statistics.result import TestResult
from pipeline.statistics.two_sample import two_sample_t

_CHECKS = {"Shapiro-Wilk": ("shapiro_w", "shapiro_p"),
           "Brown-Forsythe": ("brown_forsythe_f", "brown_forsythe_p")}  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Region:
    """One region of a study, as tests see it."""

    study: Study
    number: int

    def variable(self, name: str) -> FloatArray:
        """(S, T), or (S, 1) where it does not vary between sessions."""
        values = self.study.variables[name]
        return values[:, :, min(self.number, values.shape[2] - 1)]

    def sessions(self, name: str, chosen: tuple[str, ...]) -> FloatArray:
        """(S, K) of the sessions chosen."""
        return self.variable(name)[:, [self.study.sessions.index(label) for label in chosen]]

    def one(self, name: str, session: str) -> FloatArray:
        """(S,) of a session, or of all where the variable does not vary."""
        values = self.variable(name)
        return values[:, self.study.sessions.index(session) if values.shape[1] > 1 else 0]

    def members(self, group: str) -> NDArray[np.bool_]:
        """(S,) who is in a group."""
        return np.asarray(self.study.group == self.study.groups.index(group))


@dataclass(frozen=True, eq=False)
class _Found:
    """A result with what it was made of."""

    result: TestResult
    sessions: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    sphericity: Sphericity | None = None


def result_table(
    study: Study,
    tests: tuple[PlannedTest, ...],
    outcome: str,
    covariates: tuple[str, ...],
    multiplicity: Adjustment,
    alpha: float,
) -> pd.DataFrame:
    """Every planned test, one row per region, and per group where it is made within groups.

    Parameters
    ----------
    study : Study
        With derived scores.
    tests : tuple of planned tests
        In the order of the rows.
    outcome : str
        Variable of tests that name none.
    covariates : tuple of str
        Of mixed models.
    multiplicity : {"none", "holm", "fdr"}
        Over all confirmatory rows, and apart from them over all exploratory ones.
    alpha : float
        Level that adjusted p is held against.

    Raises
    ------
    ValueError
        If a proportion is asked for of something other than 0 and 1.
    """
    rows = []
    for number, test in enumerate(tests, start=1):
        names = variables_of(test, outcome)
        adjusting = covariates if isinstance(test, PlannedMixedModel) else ()
        depth = max(study.variables[name].shape[2] for name in (*names, *adjusting))
        for r in range(depth):
            about = {
                "test": number,
                "title": test.title,
                "kind": test.kind,
                "family": "confirmatory" if test.confirmatory else "exploratory",
                "variable": " and ".join(names),
                "region": (study.regions[r] or None) if depth == len(study.regions) else None,
            }
            for found in _found(_Region(study, r), test, names, covariates):
                rows.append(about | _cells(found))
    return _with_adjusted(pd.DataFrame(rows), multiplicity, alpha)


def _found(
    region: _Region, test: PlannedTest, names: tuple[str, ...], covariates: tuple[str, ...]
) -> Iterator[_Found]:
    name = names[0]
    if isinstance(test, PlannedPairedT):
        yield from _paired(
            region, test, name, lambda pair: paired_t(pair[:, 0], pair[:, 1]).as_result()
        )
    elif isinstance(test, PlannedPermutation) and test.design == "paired":
        yield from _paired(
            region, test, name,
            lambda pair: sign_flipped_change(
                pair[:, 1] - pair[:, 0], seed=test.seed, draws=test.draws
            ),
        )  # fmt: skip
    elif isinstance(test, PlannedPermutation):
        yield _permuted(region, test, name)
    elif isinstance(test, PlannedCorrelation):
        yield from _correlated(region, test)
    elif isinstance(test, PlannedTwoSampleT):
        yield _compared(region, test, name)
    elif isinstance(test, PlannedFisher):
        yield _proportions(region, test)
    elif isinstance(test, PlannedInteraction):
        yield _interaction(region, test, name)
    else:
        yield _modelled(region, test, name, covariates)


def _sessions(test: Any, study: Study) -> tuple[str, ...]:
    return tuple(label.removeprefix("ses-") for label in test.sessions) or study.sessions


def _paired(
    region: _Region,
    test: PlannedPairedT | PlannedPermutation,
    name: str,
    tested: Callable[[FloatArray], TestResult],
) -> Iterator[_Found]:
    sessions = _sessions(test, region.study)
    pair = region.sessions(name, sessions)
    if not test.by_group:
        yield _Found(tested(pair), sessions)
        return
    for group in region.study.groups:
        yield _Found(tested(pair[region.members(group)]), sessions, (group,))


def _permuted(region: _Region, test: PlannedPermutation, name: str) -> _Found:
    sessions, groups = _sessions(test, region.study), test.groups or region.study.groups
    pair = region.sessions(name, sessions)
    changes = [np.diff(pair[region.members(group)])[:, 0] for group in groups]
    result = permuted_interaction(*changes, seed=test.seed, draws=test.draws)
    return _Found(result, sessions, groups)


def _correlated(region: _Region, test: PlannedCorrelation) -> Iterator[_Found]:
    session = test.session.removeprefix("ses-")
    x, y = region.one(test.x, session), region.one(test.y, session)
    method = {"pearson": pearson, "spearman": spearman}[test.method]
    sessions = (session,) if session else ()
    if not test.by_group:
        yield _Found(method(x, y), sessions)
        return
    for group in region.study.groups:
        inside = region.members(group)
        yield _Found(method(x[inside], y[inside]), sessions, (group,))


def _compared(region: _Region, test: PlannedTwoSampleT, name: str) -> _Found:
    session, groups = test.session.removeprefix("ses-"), test.groups or region.study.groups
    values = region.one(name, session)
    first, second = (values[region.members(group)] for group in groups)
    result = two_sample_t(first, second, equal_variances=test.equal_var)
    return _Found(result, (session,) if session else (), groups)


def _proportions(region: _Region, test: PlannedFisher) -> _Found:
    session, groups = test.session.removeprefix("ses-"), test.groups or region.study.groups
    values = region.one(test.of, session)
    known = np.isfinite(values)
    strange = known & (values != 0) & (values != 1)
    if strange.any():
        s = int(np.flatnonzero(strange)[0])
        raise ValueError(
            f"test '{test.title}': column {test.of}: {values[s]:g} of subject "
            f"{region.study.subjects[s]} is neither 0 nor 1; derive a responder"
        )
    counts = []
    for group in groups:
        inside = region.members(group) & known
        yes = int(values[inside].sum())
        counts.append([yes, int(inside.sum()) - yes])
    missing = sum(int((region.members(group) & ~known).sum()) for group in groups)
    result = fisher_exact(np.array(counts))
    return _Found(
        TestResult(**{**vars(result), "n_missing": missing}),
        (session,) if session else (),
        groups,
    )


def _interaction(region: _Region, test: PlannedInteraction, name: str) -> _Found:
    sessions, groups = _sessions(test, region.study), test.groups or region.study.groups
    values = region.sessions(name, sessions)
    if len(sessions) == len(groups) == 2:
        first, second = (np.diff(values[region.members(group)])[:, 0] for group in groups)
        return _Found(group_by_time(first, second).as_result(), sessions, groups)
    labels = _ordered_labels(region, groups)
    inside = labels != ""
    found = mixed_anova(values[inside], labels[inside])
    return _Found(found.interaction, sessions, groups, found.sphericity)


def _modelled(
    region: _Region, test: PlannedMixedModel, name: str, covariates: tuple[str, ...]
) -> _Found:
    sessions, groups = _sessions(test, region.study), test.groups or region.study.groups
    values = region.sessions(name, sessions)
    labels = _ordered_labels(region, groups)
    shape = values.shape

    def long(column: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(np.broadcast_to(column, shape)[labels != ""].ravel())

    adjusted = {}
    for covariate in covariates:
        whole = region.variable(covariate)
        adjusted[covariate] = long(
            region.sessions(covariate, sessions) if whole.shape[1] > 1 else whole
        )
    data = LongData(
        outcome=long(values),
        subject=long(np.array(region.study.subjects)[:, None]),
        group=long(labels[:, None]),
        session=long(np.array(sessions)[None, :]),
        covariates=adjusted,
    )
    return _Found(mixed_model(data, sessions).interaction, sessions, groups)


def _ordered_labels(region: _Region, groups: tuple[str, ...]) -> NDArray[Any]:
    """(S,) labels whose alphabet is the order of the plan; empty outside the groups."""
    labels = np.full(len(region.study.subjects), "", dtype="<U4")
    for i, group in enumerate(groups):
        labels[region.members(group)] = f"{i:04d}"
    return labels


def _cells(found: _Found) -> dict[str, Any]:
    result = found.result
    cells: dict[str, Any] = {
        "sessions": " ".join(found.sessions) or None,
        "groups": " ".join(found.groups) or None,
        "n": sum(result.n),
        "n_by_group": " ".join(str(n) for n in result.n) if len(result.n) > 1 else None,
        "n_missing": result.n_missing,
        "test_name": result.name,
        "statistic_name": result.statistic_name or None,
    }
    for key in ("statistic", "df1", "df2", "p"):
        cells[key] = getattr(result, key)
    anova = result if isinstance(result, AnovaEffect) else None
    cells["p_greenhouse_geisser"] = anova.p_greenhouse_geisser if anova else math.nan
    cells["p_adjusted"], cells["below_alpha"] = math.nan, None
    cells["estimate_name"] = result.estimate_name or None
    for key in ("estimate", "ci_low", "ci_high"):
        cells[key] = getattr(result, key)
    cells["effect_name"] = result.effect_name or None
    for key in ("effect", "effect_low", "effect_high"):
        cells[key] = getattr(result, key)
    return cells | _checks(found) | {"reason": result.reason or None}


def _checks(found: _Found) -> dict[str, float]:
    cells = {key: math.nan for keys in _CHECKS.values() for key in keys}
    for check in found.result.assumptions:
        statistic, p = _CHECKS[check.name.split()[0]]
        cells |= {statistic: check.statistic, p: check.p}
    sphericity = found.sphericity or Sphericity()
    return cells | {
        "mauchly_w": sphericity.mauchly_w,
        "mauchly_p": sphericity.mauchly_p,
        "epsilon_greenhouse_geisser": sphericity.greenhouse_geisser,
    }


def _with_adjusted(table: pd.DataFrame, multiplicity: Adjustment, alpha: float) -> pd.DataFrame:
    """Adjusted p within each family; of the corrected p where sphericity is at stake."""
    p = table["p_greenhouse_geisser"].fillna(table["p"])
    for family in ("confirmatory", "exploratory"):
        rows = table["family"] == family
        table.loc[rows, "p_adjusted"] = adjusted_p(p[rows].to_numpy(float), multiplicity)
    known = table["p_adjusted"].notna()
    below = (table["p_adjusted"] < alpha).map({True: "yes", False: "no"})
    table["below_alpha"] = below.where(known)
    return table


def descriptive_table(study: Study, names: tuple[str, ...]) -> pd.DataFrame:
    """Number, mean and standard deviation of every variable, session and region.

    Over all subjects together; then, where the study is not blinded, in each group.
    """
    everyone = np.ones(len(study.subjects), bool)
    who = {"all": everyone}
    for i, group in enumerate(study.groups):
        who[group] = study.group == i
    rows = []
    for name in names:
        values = study.variables[name]
        for r, t in np.ndindex(values.shape[2], values.shape[1]):
            _, of_sessions, of_regions = values.shape
            about = {
                "variable": name,
                "region": (study.regions[r] or None) if of_regions == len(study.regions) else None,
                "session_id": study.sessions[t] if of_sessions == len(study.sessions) else None,
            }
            for group, inside in who.items():
                rows.append(about | {"group": group} | _described(values[inside, t, r]))
    return pd.DataFrame(rows)


def _described(values: FloatArray) -> dict[str, Any]:
    present = values[np.isfinite(values)]
    return {
        "n": present.size,
        "n_missing": values.size - present.size,
        "mean": float(present.mean()) if present.size else math.nan,
        "sd": float(present.std(ddof=1)) if present.size > 1 else math.nan,
    }


def _described_columns(texts: dict[str, str]) -> dict[str, dict[str, str]]:
    return {name: {"Description": text} for name, text in texts.items()}


RESULT_COLUMNS = _described_columns(
    {
        "test": "Number of the test in the plan",
        "title": "Its title in the plan",
        "kind": "Kind of test",
        "family": "confirmatory or exploratory, as declared",
        "variable": "Column or derived score that is tested",
        "region": "Region; n/a where the variable has none",
        "sessions": "Sessions that are looked at, in order",
        "groups": "Groups, in order",
        "n": "Subjects that were tested",
        "n_by_group": "The same by group, in the order of groups",
        "n_missing": "Subjects left out because a value is missing",
        "test_name": "What was computed",
        "statistic_name": "Name of the statistic",
        "statistic": "Value of the statistic",
        "df1": "Degrees of freedom; of an F those of its numerator",
        "df2": "Degrees of freedom of the denominator of an F",
        "p": "Two-sided p, not adjusted",
        "p_greenhouse_geisser": "p with degrees of freedom times epsilon; more than two sessions",
        "p_adjusted": "p adjusted within the family; of p_greenhouse_geisser where there is one",
        "below_alpha": "Whether p_adjusted is below the alpha of the plan",
        "estimate_name": "What is estimated, with its direction",
        "estimate": "Estimate, unit of the variable or none",
        "ci_low": "Lower end of the 95 % confidence interval of the estimate",
        "ci_high": "Upper end of that interval",
        "effect_name": "Name of the standardised effect",
        "effect": "Standardised effect",
        "effect_low": "Lower end of its 95 % confidence interval",
        "effect_high": "Upper end of that interval",
        "shapiro_w": "Shapiro-Wilk W of differences or residuals",
        "shapiro_p": "p of W; small where they are not normal",
        "brown_forsythe_f": "Brown-Forsythe F of the variances",
        "brown_forsythe_p": "p of that F; small where the variances differ",
        "mauchly_w": "Mauchly's W; sphericity of more than two sessions",
        "mauchly_p": "p of W; small where sphericity does not hold",
        "epsilon_greenhouse_geisser": "Greenhouse and Geisser's epsilon; 1 where sphericity holds",
        "reason": "Why there is no test",
    }
)
DESCRIPTIVE_COLUMNS = _described_columns(
    {
        "variable": "Column or derived score",
        "region": "Region; n/a where the variable has none",
        "session_id": "Session; n/a where there is one value per subject",
        "group": "Group of the plan; all for all subjects together",
        "n": "Subjects with a value",
        "n_missing": "Subjects without one",
        "mean": "Mean",
        "sd": "Standard deviation (n - 1)",
    }
)
STUDY_EXCLUSION_COLUMNS = _described_columns(
    {
        "participant_id": "Subject; n/a for all",
        "session_id": "Session; n/a for all",
        "region": "Region; n/a for all",
        "column": "Column or derived score; n/a for the whole row",
        "value": "Its value, if any",
        "reason": "What is missing or odd",
        "action": "What was done about it",
    }
)
