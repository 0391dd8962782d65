"""Planned tests of a study, region by region, as one table."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.bids.result_rows import RESULT_COLUMNS, Found, cells_of, with_adjusted
from pipeline.bids.study_table import Study
from pipeline.core.volume import FloatArray
from pipeline.statistics.correlation import pearson, spearman
from pipeline.statistics.fisher import fisher_exact
from pipeline.statistics.interaction import group_by_time
from pipeline.statistics.mixed_anova import mixed_anova
from pipeline.statistics.mixed_model import LongData, mixed_model
from pipeline.statistics.observed_power import (
    of_fisher,
    of_paired,
    of_pearson,
    of_students_t,
    of_welchs_t,
)
from pipeline.statistics.paired import paired_t
from pipeline.statistics.permutation import permuted_interaction, sign_flipped_change
from pipeline.statistics.plan import (
    PlannedCorrelation,
    PlannedFisher,
    PlannedInteraction,
    PlannedMixedModel,
    PlannedPairedT,
    PlannedPermutation,
    PlannedSampleSize,
    PlannedTest,
    PlannedTwoSampleT,
    variables_of,
)
from pipeline.statistics.power import Target
from pipeline.statistics.study_plan import StudyPlan
from pipeline.statistics.trial_size import trial_size
from pipeline.statistics.two_sample import two_sample_t


@dataclass(frozen=True, eq=False)
class _Region:
    """One region of a study, as tests see it."""

    study: Study
    number: int
    wanted: Target

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


def result_table(study: Study, plan: StudyPlan) -> pd.DataFrame:
    """Every planned test, one row per region, and per group where it is made within groups.

    Main effects follow an interaction, and the other terms that of a mixed model, for description.

    Parameters
    ----------
    study : Study
        With derived scores.
    plan : StudyPlan
        Its tests, in the order of the rows.

    Raises
    ------
    ValueError
        If a proportion is asked for of something other than 0 and 1.
    """
    rows = []
    target = Target(alpha=plan.alpha, power=plan.power)
    for number, test in enumerate(plan.tests, start=1):
        names = variables_of(test, plan.outcome)
        adjusting = plan.covariates if isinstance(test, PlannedMixedModel) else ()
        depth = max(study.variables[name].shape[2] for name in (*names, *adjusting))
        for r in range(depth):
            if depth > 1 and test.regions and study.regions[r] not in test.regions:
                continue
            about = {
                "test": number,
                "title": test.title,
                "kind": test.kind,
                "family": None,
                "variable": names[0],
                "with_variable": names[1] if len(names) > 1 else None,
                "region": (study.regions[r] or None) if depth == len(study.regions) else None,
            }
            region = _Region(study, r, target)
            for found in _found(region, test, names[0], plan.covariates):
                rows.append(about | {"family": _family(test, found)} | cells_of(found))
    table = pd.DataFrame(rows, columns=list(RESULT_COLUMNS))
    return with_adjusted(table, plan.multiplicity, plan.alpha)


def _family(test: PlannedTest, found: Found) -> str:
    if not found.planned:
        return "descriptive"
    return "confirmatory" if test.confirmatory else "exploratory"


def _found(
    region: _Region, test: PlannedTest, name: str, covariates: tuple[str, ...]
) -> Iterator[Found]:
    if isinstance(test, PlannedPairedT):
        yield from _paired(region, test, name)
    elif isinstance(test, PlannedPermutation) and test.design == "paired":
        yield from _turned(region, test, name)
    elif isinstance(test, PlannedPermutation):
        yield _permuted(region, test, name)
    elif isinstance(test, PlannedCorrelation):
        yield from _correlated(region, test)
    elif isinstance(test, PlannedTwoSampleT):
        yield _compared(region, test, name)
    elif isinstance(test, PlannedFisher):
        yield _proportions(region, test)
    elif isinstance(test, PlannedInteraction):
        yield from _interaction(region, test, name)
    elif isinstance(test, PlannedSampleSize):
        yield _sized(region, test, name)
    else:
        yield from _modelled(region, test, name, covariates)


def _sessions(test: Any, study: Study) -> tuple[str, ...]:
    return tuple(label.removeprefix("ses-") for label in test.sessions) or study.sessions


def _pairs(
    region: _Region, test: PlannedPairedT | PlannedPermutation, name: str
) -> Iterator[tuple[FloatArray, tuple[str, ...], tuple[str, ...]]]:
    """(S, 2) of all subjects, or of every group, with the sessions and the group."""
    sessions = _sessions(test, region.study)
    pair = region.sessions(name, sessions)
    if not test.by_group:
        yield pair, sessions, ()
        return
    for group in region.study.groups:
        yield pair[region.members(group)], sessions, (group,)


def _paired(region: _Region, test: PlannedPairedT, name: str) -> Iterator[Found]:
    for pair, sessions, groups in _pairs(region, test, name):
        result = paired_t(pair[:, 0], pair[:, 1]).as_result()
        yield Found(result, sessions, groups, power=of_paired(result, region.wanted))


def _turned(region: _Region, test: PlannedPermutation, name: str) -> Iterator[Found]:
    for pair, sessions, groups in _pairs(region, test, name):
        change = pair[:, 1] - pair[:, 0]
        result = sign_flipped_change(change, seed=test.seed, draws=test.draws)
        yield Found(result, sessions, groups)


def _permuted(region: _Region, test: PlannedPermutation, name: str) -> Found:
    sessions, groups = _sessions(test, region.study), test.groups or region.study.groups
    pair = region.sessions(name, sessions)
    changes = [np.diff(pair[region.members(group)])[:, 0] for group in groups]
    result = permuted_interaction(*changes, seed=test.seed, draws=test.draws)
    return Found(result, sessions, groups)


def _correlated(region: _Region, test: PlannedCorrelation) -> Iterator[Found]:
    session = test.session.removeprefix("ses-")
    x, y = region.one(test.x, session), region.one(test.y, session)
    method = {"pearson": pearson, "spearman": spearman}[test.method]
    sessions = (session,) if session else ()
    everyone = np.ones(x.shape, bool)
    who = {(group,): region.members(group) for group in region.study.groups}
    for groups, inside in who.items() if test.by_group else [((), everyone)]:
        result = method(x[inside], y[inside])
        power = of_pearson(result, region.wanted) if method is pearson else None
        yield Found(result, sessions, groups, power=power)


def _compared(region: _Region, test: PlannedTwoSampleT, name: str) -> Found:
    session, groups = test.session.removeprefix("ses-"), test.groups or region.study.groups
    values = region.one(name, session)
    first, second = (values[region.members(group)] for group in groups)
    result = two_sample_t(first, second, equal_variances=test.equal_var)
    power = (
        of_students_t(result.statistic, result.n, region.wanted)
        if test.equal_var
        else of_welchs_t(first, second, region.wanted)
    )
    return Found(result, (session,) if session else (), groups, power=power)


def _proportions(region: _Region, test: PlannedFisher) -> Found:
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
    return Found(
        replace(result, n_missing=missing),
        (session,) if session else (),
        groups,
        power=of_fisher(np.array(counts), region.wanted),
    )


def _interaction(region: _Region, test: PlannedInteraction, name: str) -> Iterator[Found]:
    sessions, groups = _sessions(test, region.study), test.groups or region.study.groups
    values = region.sessions(name, sessions)
    labels = _ordered_labels(region, groups)
    inside = labels != ""
    anova = mixed_anova(values[inside], labels[inside])
    if len(sessions) == len(groups) == 2:
        changes = [np.diff(values[region.members(group)])[:, 0] for group in groups]
        result = group_by_time(*changes).as_result()
        t = math.copysign(math.sqrt(result.statistic), result.estimate)
        power = of_students_t(t, result.n, region.wanted)
        yield Found(result, sessions, groups, power=power)
    else:
        yield Found(anova.interaction, sessions, groups, anova.sphericity)
    yield Found(anova.group, sessions, groups, planned=False)
    yield Found(anova.time, sessions, groups, anova.sphericity, planned=False)


def _sized(region: _Region, test: PlannedSampleSize, name: str) -> Found:
    sessions = _sessions(test, region.study)
    pair = region.sessions(name, sessions)[region.members(test.group)]
    wanted = replace(region.wanted, power=test.power or region.wanted.power)
    result = trial_size(pair[:, 0], pair[:, 1], wanted, test.allocation)
    return Found(result, sessions, (test.group,), planned=False)


def _modelled(
    region: _Region, test: PlannedMixedModel, name: str, covariates: tuple[str, ...]
) -> Iterator[Found]:
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
    model = mixed_model(data, sessions)
    yield Found(model.interaction, sessions, groups)
    for term in (model.group, model.time, *model.covariates):
        yield Found(term, sessions, groups, planned=False)


def _ordered_labels(region: _Region, groups: tuple[str, ...]) -> NDArray[Any]:
    """(S,) labels whose alphabet is the order of the plan; empty outside the groups."""
    labels = np.full(len(region.study.subjects), "", dtype="<U4")
    for i, group in enumerate(groups):
        labels[region.members(group)] = f"{i:04d}"
    return labels
