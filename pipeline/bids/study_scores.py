"""Scores of a study, what is odd about its values, and all of them as one tidy table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.bids.study_table import LEFT_OUT, Study, listed, read_study
from pipeline.core.volume import FloatArray
from pipeline.statistics.outliers import is_outlier, modified_z
from pipeline.statistics.plan import (
    BetweenSessions,
    Derived,
    Difference,
    Equals,
    Responder,
)
from pipeline.statistics.study_plan import StudyPlan

VALUE_COLUMNS = ("variable", "participant_id", "group", "session_id", "region", "value")


def planned_study(path: Path, plan: StudyPlan, *, unblind: bool) -> Study:
    """Numbers of a plan, with its scores, and all that is odd listed; see `read_study`."""
    study = read_study(path, plan.layout, plan.columns, plan.words, unblind=unblind)
    return with_outliers_listed(with_derived(study, plan.derived), plan.described)


def study_values(study: Study, names: tuple[str, ...]) -> pd.DataFrame:
    """Variables as one tidy table, a row per value.

    Returns
    -------
    data frame
        `variable`, `participant_id`, `group`, `session_id`, `region`, `value`; a label is missing
        where the variable does not vary by it, and the group while it is not known.
    """
    labels = [study.groups[i] if i >= 0 else None for i in study.group]
    rows = []
    for name in names:
        values = study.variables[name]
        _, of_sessions, of_regions = values.shape
        for s, t, r in np.ndindex(values.shape):
            rows.append(
                (
                    name,
                    study.subjects[s],
                    labels[s],
                    study.sessions[t] if of_sessions == len(study.sessions) else None,
                    (study.regions[r] or None) if of_regions == len(study.regions) else None,
                    values[s, t, r],
                )
            )
    return pd.DataFrame(rows, columns=list(VALUE_COLUMNS))


def with_derived(study: Study, derived: tuple[Derived, ...]) -> Study:
    """The study with the scores of the plan as further variables."""
    variables, told = dict(study.variables), []
    for score in derived:
        if isinstance(score, Equals):
            continue  # it was read
        made = variables[score.name] = _derived(score, variables, study.sessions)
        if not isinstance(score, BetweenSessions) or not score.kind.startswith("percent"):
            continue
        first = _of_session(variables[score.of], score.sessions[0], study.sessions)
        for at in zip(*np.nonzero(first == 0), strict=True):
            line = listed(
                study, at, score.name, values=made,
                reason="no per cent of 0 in the first session", action=LEFT_OUT,
            )  # fmt: skip
            told.append(line)
    return replace(study, variables=variables, exclusions=(*study.exclusions, *told))


def with_outliers_listed(study: Study, names: tuple[str, ...]) -> Study:
    """List values far from those of all subjects together; none is left out."""
    told = []
    for name in names:
        values = study.variables[name]
        for t, r in np.ndindex(values.shape[1:]):
            z = modified_z(values[:, t, r])
            for s in np.flatnonzero(is_outlier(values[:, t, r])):
                reason = f"outlier: modified z {z[s]:.1f} among all subjects"
                told.append(
                    listed(study, (s, t, r), name, values=values, reason=reason, action="kept")
                )
    return replace(study, exclusions=(*study.exclusions, *told))


def _derived(
    score: BetweenSessions | Responder | Difference,
    variables: Mapping[str, FloatArray],
    sessions: tuple[str, ...],
) -> FloatArray:
    values = variables[score.of]
    if isinstance(score, Responder):
        # -0 and a rounding below the threshold do not make a non-responder
        reached = values >= score.at_least - 1e-9 * abs(score.at_least)
        return np.where(np.isfinite(values), reached.astype(float), np.nan)
    if isinstance(score, BetweenSessions):
        first, second = (_of_session(values, label, sessions) for label in score.sessions)
        change = first - second if "reduction" in score.kind else second - first
        if not score.kind.startswith("percent"):
            return np.asarray(change)
        percent = np.full(first.shape, np.nan)
        np.divide(100 * change, first, out=percent, where=first != 0)
        return percent
    for name in score.minus:
        values = values - variables[name]
    return np.asarray(values)


def _of_session(values: FloatArray, label: str, sessions: tuple[str, ...]) -> FloatArray:
    """(S, 1, R) of a session."""
    return values[:, [sessions.index(label.removeprefix("ses-"))]]
