"""The figure of planned correlations: points, fitted line and band, and what was found."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.core.volume import FloatArray
from pipeline.reports.study_shown import (
    NO_GROUP,
    PRINT_WIDTH_IN,
    SMALL_PT,
    TOGETHER,
    Mark,
    StudyShown,
    in_region,
    legend_below,
    p_texts,
    printed,
    small_ticks,
    wrapped,
)
from pipeline.reports.style import INK
from pipeline.statistics.intervals import FittedLine, fitted_line

_SYMBOLS = {"r": "r", "rho": "ρ"}
_COLUMNS = 3
_LABEL_IN = 1.6
_LINE_PT = 1.3 * SMALL_PT


@dataclass(frozen=True, eq=False)
class _Panel:
    """One correlation: its points by group, the line, and what was found."""

    title: str
    found: str
    x_label: str
    y_label: str
    points: tuple[tuple[str, FloatArray], ...]
    """Group, empty for none, and (N, 2) x and y."""
    line: FittedLine | None
    line_mark: Mark | None
    """Of the group the line is of; None for all."""


def scatter_figure(shown: StudyShown, correlations: pd.DataFrame) -> Figure | None:
    """One panel per correlation: every subject, a line for Pearson's, and r, n and p.

    The line is the least-squares line over the range of the data, the band its pointwise 95 %
    confidence interval. Spearman's correlation is of no line, so none is drawn.

    Parameters
    ----------
    shown : StudyShown
        Values; points are alike where the groups are not known.
    correlations : data frame
        Rows of `shown.results` to draw, of kind `correlation`; others are passed over.

    Returns
    -------
    Figure or None
        None where no correlation has a point.
    """
    rows = correlations[correlations["kind"] == "correlation"]
    panels = [_panel(shown, row) for row in rows.to_dict("records")]
    panels = [panel for panel in panels if panel.points]
    return _drawn(panels, shown) if panels else None


def _panel(shown: StudyShown, row: Mapping[Hashable, Any]) -> _Panel:
    variables = (str(row["variable"]), str(row["with_variable"]))
    session = None if pd.isna(row["sessions"]) else str(row["sessions"])
    region = None if pd.isna(row["region"]) else str(row["region"])
    group = None if pd.isna(row["groups"]) else str(row["groups"])
    x, y = (_one(shown.of(name), session, region) for name in variables)
    pairs = pd.concat([x.rename("x"), y.rename("y")], axis=1, join="inner")
    of_subject = shown.values.drop_duplicates("participant_id").set_index("participant_id")
    groups = of_subject["group"].reindex(pairs.index)
    if group is not None:
        pairs, groups = pairs[groups == group], groups[groups == group]
    points = []
    for name in shown.marks:
        points.append((name, pairs[groups == name].to_numpy(float)))
    points.append(("", pairs[~groups.isin(list(shown.marks))].to_numpy(float)))
    labels = [_label(shown, name, session) for name in variables]
    return _Panel(
        title=", ".join(part for part in (region, group) if part) or str(row["title"]),
        found=_found(shown, row),
        x_label=labels[0],
        y_label=labels[1],
        points=tuple((name, block) for name, block in points if len(block)),
        line=_line(row, pairs),
        line_mark=shown.marks.get(group) if group else None,
    )


def _one(values: pd.DataFrame, session: str | None, region: str | None) -> pd.Series:
    """Value of every subject, whether or not it varies between sessions and regions."""
    if session is not None and values["session_id"].notna().any():
        values = values[values["session_id"] == session]
    if region is not None and values["region"].notna().any():
        values = in_region(values, region)
    return values.set_index("participant_id")["value"]


def _label(shown: StudyShown, variable: str, session: str | None) -> str:
    """The variable, with its session where it varies between them."""
    varies = shown.of(variable)["session_id"].notna().any()
    return shown.axis_label(variable, _LABEL_IN, session if varies and session else "")


def _line(row: Mapping[Hashable, Any], pairs: pd.DataFrame) -> FittedLine | None:
    if row["estimate_name"] != "r" or not np.isfinite(row["estimate"]):
        return None
    return fitted_line(pairs["x"].to_numpy(float), pairs["y"].to_numpy(float))


def _found(shown: StudyShown, row: Mapping[Hashable, Any]) -> str:
    """Correlation, interval, n and p, on two lines.

    A correlation that could not be had says so.
    """
    symbol = _SYMBOLS.get(str(row["estimate_name"]), "correlation")
    n = f"n = {int(row['n'])}"
    if not np.isfinite(row["estimate"]):
        return f"{symbol} n/a\n{n}"
    interval = ""
    if np.isfinite(row["ci_low"]) and np.isfinite(row["ci_high"]):
        interval = f" [{_signed(row['ci_low'])}, {_signed(row['ci_high'])}]"
    found = f"{symbol} = {_signed(row['estimate'])}{interval}"
    return f"{found}\n{', '.join([n, *p_texts(shown, row)])}"


def _signed(number: float) -> str:
    return f"{number:.2f}".replace("-", "−")


@printed
def _drawn(panels: list[_Panel], shown: StudyShown) -> Figure:
    columns = 2 if len(panels) in (2, 4) else min(len(panels), _COLUMNS)
    rows = -(-len(panels) // columns)
    width = PRINT_WIDTH_IN * min(columns, 2) / 2
    figure = Figure(figsize=(width, 2.6 * rows + 0.25), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for ax, panel in zip(grid.flat, panels, strict=False):
        _draw(ax, panel, shown, width / columns - 0.6)
    for ax in grid.flat[len(panels) :]:
        ax.set_axis_off()
    if shown.marks:
        drawn = {group for panel in panels for group, _ in panel.points}
        handles = [mark.handle(name) for name, mark in shown.marks.items() if name in drawn]
        handles += [NO_GROUP.handle("in no group")] if "" in drawn else []
        legend_below(figure, handles)
    return figure


def _draw(ax: Axes, panel: _Panel, shown: StudyShown, width_in: float) -> None:
    if panel.line is not None:
        mark = panel.line_mark
        colour = mark.colour if mark else INK
        line = panel.line
        ax.fill_between(line.x, line.low, line.high, color=colour, alpha=0.13, linewidth=0)
        ax.plot(
            line.x, line.y, color=colour, linewidth=1.3, linestyle=mark.dashes if mark else "-",
            zorder=2,
        )  # fmt: skip
    for group, block in panel.points:
        mark = shown.marks.get(group, NO_GROUP if shown.marks else TOGETHER)
        ax.plot(
            *block.T, linestyle="none", marker=mark.marker, markersize=4.2,
            markerfacecolor="none", markeredgecolor=mark.colour, markeredgewidth=1.0, zorder=3,
        )  # fmt: skip
    lines = panel.found.count("\n") + 1
    ax.annotate(
        panel.found,
        (0.0, 1.0),
        xycoords="axes fraction",
        xytext=(0, 3 + lines * _LINE_PT),
        textcoords="offset points",
        va="top",
        fontsize=SMALL_PT,
        linespacing=1.3,
    )
    ax.set_title(wrapped(panel.title, width_in, title=True), pad=6 + lines * _LINE_PT)
    ax.set_xlabel(panel.x_label)
    ax.set_ylabel(panel.y_label)
    ax.margins(0.06)
    small_ticks(ax)
