"""Sentences for the methods section of a paper: what a plan did, and nothing else."""

from __future__ import annotations

import platform
from collections.abc import Iterator

import numpy as np
import scipy
import statsmodels

from pipeline import __version__
from pipeline.statistics import (
    correlation,
    fisher,
    interaction,
    mixed_anova,
    mixed_model,
    multiplicity,
    observed_power,
    outliers,
    paired,
    permutation,
    trial_size,
    two_sample,
)
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
)
from pipeline.statistics.study_plan import StudyPlan

_MAIN_EFFECTS = (
    "Main effects of group and time are those of the same analysis (type III), given for "
    "description and outside any correction for multiplicity."
)
_TERMS = "Its other terms are given for description, outside any correction for multiplicity."


def methods_of(plan: StudyPlan) -> list[str]:
    """Sentences on the tests of a plan, each once, then its rules and the software.

    Parameters
    ----------
    plan : StudyPlan
        What was declared.
    """
    told = [sentence for test in plan.tests for sentence in _of_test(test, plan)]
    told += _within_groups(plan.tests)
    told += _powers(plan)
    told += _rules(plan)
    told.append(
        f"The software was petbind {__version__} with NumPy {np.__version__}, SciPy "
        f"{scipy.__version__}, statsmodels {statsmodels.__version__} and Python "
        f"{platform.python_version()}."
    )
    return list(dict.fromkeys(told))


def _of_test(test: PlannedTest, plan: StudyPlan) -> Iterator[str]:
    if isinstance(test, PlannedPairedT):
        yield paired.METHODS
    elif isinstance(test, PlannedTwoSampleT):
        yield two_sample.METHODS["student" if test.equal_var else "welch"]
    elif isinstance(test, PlannedInteraction):
        yield from _of_interaction(test, plan)
    elif isinstance(test, PlannedCorrelation):
        yield correlation.METHODS[test.method]
    elif isinstance(test, PlannedFisher):
        yield fisher.METHODS
    elif isinstance(test, PlannedMixedModel):
        covariates = " and ".join(plan.covariates)
        yield mixed_model.METHODS
        yield f"It was adjusted for {covariates}." if covariates else "It has no covariates."
        yield _TERMS
    elif isinstance(test, PlannedPermutation):
        yield permutation.METHODS[test.design]
        yield permutation.DRAWING_METHODS
    else:
        yield trial_size.METHODS


def _of_interaction(test: PlannedInteraction, plan: StudyPlan) -> Iterator[str]:
    sessions = len(test.sessions or plan.layout.sessions)
    if _is_two_by_two(test, plan):
        yield interaction.METHODS
    else:
        yield mixed_anova.METHODS
    if sessions > 2:
        yield mixed_anova.SPHERICITY_METHODS
    yield _MAIN_EFFECTS


def _is_two_by_two(test: PlannedInteraction, plan: StudyPlan) -> bool:
    sessions, groups = test.sessions or plan.layout.sessions, test.groups or plan.layout.groups
    return len(sessions) == len(groups) == 2


def _within_groups(tests: tuple[PlannedTest, ...]) -> Iterator[str]:
    titles = [f"'{test.title}'" for test in tests if getattr(test, "by_group", False)]
    if titles:
        yield f"Within each group, not over all subjects together: {', '.join(titles)}."


def _powers(plan: StudyPlan) -> list[str]:
    """How power was found, where a test has one."""
    found = [key for test in plan.tests if (key := _key_of_power(test, plan))]
    if not found:
        return []
    return [
        *(observed_power.METHODS[key] for key in found),
        "Such a power follows from p and the number of subjects and is no evidence of its own; it "
        "leaves multiplicity out. Subjects that the observed effect would need are given for a "
        f"power of {plan.power:g} at the present ratio of groups.",
    ]


def _key_of_power(test: PlannedTest, plan: StudyPlan) -> str:
    """Key of `observed_power.METHODS`; empty where a test has no power."""
    if isinstance(test, PlannedTwoSampleT):
        return "t" if test.equal_var else "welch"
    if isinstance(test, PlannedInteraction):
        return "t" if _is_two_by_two(test, plan) else ""
    if isinstance(test, PlannedCorrelation):
        return "pearson" if test.method == "pearson" else ""
    return {"paired_t": "t", "fisher": "fisher"}.get(test.kind, "")


def _rules(plan: StudyPlan) -> Iterator[str]:
    families = {test.confirmatory for test in plan.tests if not _is_size(test)}
    if families:
        yield multiplicity.METHODS[plan.multiplicity]
    if len(families) > 1 and plan.multiplicity != "none":
        yield "Confirmatory and exploratory results were corrected apart."
    adjusted = "p values" if plan.multiplicity == "none" else "Adjusted p values"
    yield (
        f"{adjusted} were held against {plan.alpha:g}."
        if families
        else (f"The two-sided level was {plan.alpha:g}.")
    )
    what = "left out" if plan.layout.leave_out_flagged else "kept"
    yield f"Outcomes whose fit is flagged were {what}; they are listed."
    yield outliers.METHODS


def _is_size(test: PlannedTest) -> bool:
    return isinstance(test, PlannedSampleSize)
