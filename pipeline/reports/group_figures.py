"""Which figures a cohort has, under which names, with which words below them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from pipeline.reports.study_figures import paired_figure, value_figure
from pipeline.reports.study_forest import forest_figure
from pipeline.reports.study_scatter import scatter_figure
from pipeline.reports.study_shown import PRINT_WIDTH_IN, StudyShown
from pipeline.statistics.study_plan import StudyPlan

_PAIRED = (
    "Thin lines: subjects; dotted: some sessions missing; crosses: one session only. Thick: mean "
    "of subjects with all sessions, with its 95 % confidence interval. adj.: p adjusted as the "
    "plan says."
)
_VALUES = "Every subject's value, by region."
_SCATTER = (
    "One point per subject; the line is that of least squares with its pointwise 95 % band "
    "(Pearson only)."
)
_FOREST = (
    "Standardised effects of the planned tests with 95 % intervals; filled: confirmatory, hollow: "
    "exploratory."
)


@dataclass(frozen=True, eq=False)
class GroupFigure:
    """A figure with its name in files and its caption."""

    name: str
    figure: Figure
    caption: str

    @property
    def width_percent(self) -> float:
        """Width on a page as wide as the widest figure in print."""
        return min(100 * float(self.figure.get_figwidth()) / PRINT_WIDTH_IN, 100)


def shown_study(plan: StudyPlan, values: pd.DataFrame, results: pd.DataFrame) -> StudyShown:
    """What the figures of a plan are drawn from."""
    return StudyShown(
        values=values,
        results=results,
        sessions=plan.layout.sessions,
        groups=plan.layout.groups,
        regions=plan.layout.regions,
        labels=plan.shown,
    )


def group_figures(
    plan: StudyPlan, values: pd.DataFrame, results: pd.DataFrame
) -> Iterator[GroupFigure]:
    """Figures of a plan, in the order of the page; what has nothing to show is left out.

    Parameters
    ----------
    plan : StudyPlan
        What was declared.
    values : data frame
        Tidy values of its variables.
    results : data frame
        Its tests; no rows while the study is blinded.
    """
    shown = shown_study(plan, values, results)
    for variable in (plan.outcome, *plan.clinical):
        drawn = paired_figure(shown, variable)
        caption = _PAIRED
        if drawn is None:
            drawn, caption = value_figure(shown, variable), _VALUES
        if drawn is not None:
            yield GroupFigure(_file_name(variable), drawn, caption)
    if results.empty:
        return
    correlations = results[results["kind"] == "correlation"]
    for (number, title), rows in correlations.groupby(["test", "title"], sort=False):
        if (drawn := scatter_figure(shown, rows)) is not None:
            yield GroupFigure(f"correlation{number}", drawn, f"{title}. {_SCATTER}")
    if (drawn := forest_figure(results[results["family"] != "descriptive"])) is not None:
        yield GroupFigure("effects", drawn, _FOREST)


def _file_name(variable: str) -> str:
    """A variable as the label of an entity.

    Examples
    --------
    >>> _file_name("MADRS-short (items)")
    'MADRSshortitems'
    """
    return re.sub(r"[^A-Za-z0-9]", "", variable) or "variable"
