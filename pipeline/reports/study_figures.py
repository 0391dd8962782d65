"""Figures of one variable: every subject over the sessions, or all values of one session."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.core.volume import FloatArray
from pipeline.reports.study_shown import (
    PRINT_WIDTH_IN,
    SMALL_PT,
    TOGETHER,
    Mark,
    StudyShown,
    in_region,
    legend_below,
    p_texts,
    plain,
    printed,
    small_ticks,
    text_width_in,
    wrapped,
)
from pipeline.reports.style import MUTED
from pipeline.statistics.intervals import mean_interval

_AXIS_IN = 0.42
"""Left of a panel, for ticks and label."""
_TICKS_IN = 0.3
"""The same without the label."""
_GAP = 0.45
"""Between groups, in steps from session to session."""
_ASIDE = 0.15
"""Of crosses from their session, so that means do not hide them."""
_PAGE_IN = 10.0
_LINE_PT = 1.3 * SMALL_PT


@dataclass(frozen=True, eq=False)
class _Panel:
    """One region: sessions of every subject, by group, and what was found."""

    title: str
    blocks: Mapping[str, FloatArray]
    """Group to (N, K) values of its subjects; one without a name for all together."""
    found: tuple[str, ...]
    """p of every group, below its name."""
    below: tuple[str, ...]
    """What was tested over all groups and its p, in turn."""


@dataclass(frozen=True)
class _Layout:
    """How many panels stand beside each other, and how wide they are."""

    columns: int
    panel_in: float
    groups: int
    sessions: int

    @property
    def steps(self) -> float:
        """Width of the axis, in steps from session to session."""
        return self.groups * self.sessions + (self.groups - 1) * _GAP

    @property
    def step_in(self) -> float:
        """From session to session."""
        return (self.panel_in - _AXIS_IN) / self.steps

    @property
    def block_in(self) -> float:
        """From the middle of a group to that of the next, or all of the axis."""
        return self.step_in * (self.sessions + _GAP if self.groups > 1 else self.sessions)

    def places(self, group: int) -> FloatArray:
        """Where the sessions of a group stand."""
        return np.arange(self.sessions) + group * (self.sessions + _GAP)


def paired_figure(shown: StudyShown, variable: str) -> Figure | None:
    """One panel per region: a line per subject, every group's mean on top, p below its name.

    A line joins the sessions of a subject: full with all of them, dotted with some. Crosses are
    subjects with one session only. The mean, with its 95 % confidence interval, is of subjects
    with all sessions.

    Parameters
    ----------
    shown : StudyShown
        Values and results; all subjects are drawn together where the groups are not known.
    variable : str
        Which one, of those with a value in two or more sessions.

    Returns
    -------
    Figure or None
        None where no two sessions have a value.
    """
    values = shown.of(variable)
    values = values[values["session_id"].isin(shown.sessions)]
    if values["session_id"].nunique() < 2:
        return None
    marks = shown.marks or {"": TOGETHER}
    panels = []
    for region in shown.regions_of(values):
        blocks = _blocks(in_region(values, region), tuple(marks), shown.sessions)
        tests = in_region(shown.results[shown.results["variable"] == variable], region)
        found = tuple(_found_in(shown, tests, group) for group in marks)
        if any(len(block) for block in blocks.values()):
            panels.append(_Panel(region or "", blocks, found, _below(shown, tests)))
    return _paired(panels, marks, shown, variable) if panels else None


@printed
def _paired(
    panels: list[_Panel], marks: Mapping[str, Mark], shown: StudyShown, variable: str
) -> Figure:
    sessions = tuple(map(plain, shown.sessions))
    layout = _layout(panels, len(marks), len(sessions))
    rows = -(-len(panels) // layout.columns)
    upright = layout.step_in > text_width_in("\n".join(sessions)) + 0.05
    height = max(min(2.5, _PAGE_IN / rows), 1.9) + (0 if upright else 0.15)
    size = (layout.panel_in * layout.columns, height * rows)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, layout.columns, squeeze=False)
    for ax, panel in zip(grid.flat, panels, strict=False):
        _draw_blocks(ax, panel, tuple(marks.values()), layout)
        _write_heads(ax, panel, layout)
        ax.set_xticks(
            np.concatenate([layout.places(g) for g in range(len(marks))]),
            list(sessions) * len(marks),
            rotation=0 if upright else 40,
            ha="center" if upright else "right",
            rotation_mode="anchor",
        )
        below = _joined(panel.below, layout.panel_in - _AXIS_IN)
        ax.set_xlabel(below, fontsize=SMALL_PT, labelpad=2.5)
    for ax in grid.flat[len(panels) :]:
        ax.set_axis_off()
    for ax in grid[:, 0]:
        ax.set_ylabel(shown.axis_label(variable, height - 0.9))
    return figure


def _blocks(
    values: pd.DataFrame, groups: tuple[str, ...], sessions: tuple[str, ...]
) -> dict[str, FloatArray]:
    blocks = {}
    for group in groups:
        inside = values[values["group"] == group] if group else values
        table = inside.pivot(index="participant_id", columns="session_id", values="value")
        blocks[group] = table.reindex(columns=list(sessions)).to_numpy(float)
    return blocks


def _found_in(shown: StudyShown, tests: pd.DataFrame, group: str) -> str:
    """p of the paired tests within a group, or of all subjects where groups are not known."""
    paired = tests[tests["kind"] == "paired_t"]
    within = paired["groups"] == group if group else paired["groups"].isna()
    lines = []
    for row in paired[within].to_dict("records"):
        lines += [*filter(None, [_some_sessions(shown, row)]), *p_texts(shown, row)]
    return "\n".join(lines)


def _below(shown: StudyShown, tests: pd.DataFrame) -> tuple[str, ...]:
    """What was tested over all groups, and p."""
    interaction = (tests["kind"] == "interaction") & (tests["test_name"] == "group x time")
    everyone = (tests["kind"] == "paired_t") & tests["groups"].isna() & bool(shown.marks)
    texts = []
    for what, which in (("group × time", interaction), ("all subjects", everyone)):
        for row in tests[which].to_dict("records"):
            some = _some_sessions(shown, row)
            texts += [f"{what}, {some}" if some else what, ", ".join(p_texts(shown, row))]
    return tuple(texts)


def _some_sessions(shown: StudyShown, row: Mapping[Hashable, Any]) -> str:
    """Sessions of a test, where these are not all that are shown."""
    if row["sessions"] == " ".join(shown.sessions):
        return ""
    return plain(str(row["sessions"]).replace(" ", "–"))


def _joined(below: tuple[str, ...], width_in: float) -> str:
    """Tests and their p on one line each, or on two where one is too narrow."""
    lines = [f"{what} {p}" for what, p in zip(below[::2], below[1::2], strict=True)]
    fits = text_width_in("\n".join(lines)) < width_in
    return "\n".join(lines if fits else below)


def _layout(panels: list[_Panel], groups: int, sessions: int) -> _Layout:
    """As near to a square as the p below the names of groups allow."""
    ideal = len(panels) if len(panels) <= 3 else min(math.ceil(math.sqrt(len(panels))), 4)
    need = text_width_in("\n".join(text for panel in panels for text in panel.found)) + 0.04
    for columns in (*range(max(ideal, 2), 1, -1), 1):
        layout = _Layout(columns, PRINT_WIDTH_IN / columns, groups, sessions)
        if layout.block_in >= need:
            break
    return replace(layout, columns=min(layout.columns, len(panels)))


def _draw_blocks(ax: Axes, panel: _Panel, marks: tuple[Mark, ...], layout: _Layout) -> None:
    for group, (values, mark) in enumerate(zip(panel.blocks.values(), marks, strict=True)):
        x = layout.places(group)
        present = np.isfinite(values)
        for subject, known in zip(values, present, strict=True):
            if known.sum() > 1:
                whole = known.all()
                ax.plot(
                    x[known],
                    subject[known],
                    color=mark.colour,
                    alpha=0.4 if whole else 0.7,
                    linewidth=0.7,
                    linestyle="-" if whole else ":",
                    zorder=2,
                )
        alone = present & (present.sum(axis=1) == 1)[:, None]
        if alone.any():
            beside = x + np.where(np.arange(x.size) == x.size - 1, _ASIDE, -_ASIDE)
            at = np.broadcast_to(beside, values.shape)[alone]
            ax.plot(
                at, values[alone], color=MUTED, linestyle="none", marker="x", markersize=3.5,
                zorder=5,
            )  # fmt: skip
        _draw_mean(ax, x, values[present.all(axis=1)], mark)
    ax.set_xlim(-0.5, layout.steps - 0.5)
    every = np.concatenate([values.ravel() for values in panel.blocks.values()])
    low, high = np.nanmin(every), np.nanmax(every)
    # intervals of very few subjects would leave nothing to see of their values
    margin = 0.1 * (high - low) or 0.1 * abs(high) or 0.1
    ax.set_ylim(low - margin, high + margin)
    ax.grid(visible=False, axis="x")
    small_ticks(ax)


def _draw_mean(ax: Axes, x: FloatArray, values: FloatArray, mark: Mark) -> None:
    if not len(values):
        return
    mean = values.mean(axis=0)
    low, high = np.array([mean_interval(session) for session in values.T]).T
    ax.plot(
        x, mean, color=mark.colour, linewidth=2.0, linestyle=mark.dashes, marker=mark.marker,
        markersize=5, markeredgecolor="white", markeredgewidth=0.6, zorder=4,
    )  # fmt: skip
    if len(values) > 1:
        ax.errorbar(
            x, mean, yerr=(mean - low, high - mean), fmt="none", ecolor=mark.colour,
            elinewidth=1.3, capsize=2.5, capthick=1.3, zorder=3,
        )  # fmt: skip


def _write_heads(ax: Axes, panel: _Panel, layout: _Layout) -> None:
    """Names and p values between title and axes, where they hide nothing."""
    texts = [
        "\n".join(filter(None, [wrapped(name, layout.block_in - 0.04), found]))
        for name, found in zip(panel.blocks, panel.found, strict=True)
    ]
    for group, text in enumerate(texts):
        ax.annotate(
            text,
            (float(layout.places(group).mean()), 1.0),
            xycoords=ax.get_xaxis_transform(),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=SMALL_PT,
            linespacing=1.3,
        )
    lines = max(text.count("\n") + 1 if text else 0 for text in texts)
    title = wrapped(panel.title, layout.panel_in - _TICKS_IN, title=True)
    ax.set_title(title, pad=5 + lines * _LINE_PT)


def value_figure(shown: StudyShown, variable: str) -> Figure | None:
    """Every value by region and group, for a study whose sessions are not compared.

    Parameters
    ----------
    shown : StudyShown
        Values; all subjects are drawn alike where the groups are not known.
    variable : str
        Which one.

    Returns
    -------
    Figure or None
        None where there is no value.
    """
    values = shown.of(variable)
    return _values(values, shown, variable) if len(values) else None


@printed
def _values(values: pd.DataFrame, shown: StudyShown, variable: str) -> Figure:
    regions = shown.regions_of(values)
    marks = shown.marks
    each = 0.2 + 0.1 * max(len(marks), 1)
    size = (PRINT_WIDTH_IN * 0.7, each * len(regions) + 0.9)
    figure = Figure(figsize=size, layout="constrained")
    ax = figure.subplots()
    for number, (group, mark) in enumerate((marks or {"": TOGETHER}).items()):
        inside = values[values["group"] == group] if group else values
        shift = (number - (len(marks) - 1) / 2) * 0.6 / len(marks) if marks else 0.0
        for place, region in enumerate(regions):
            of_region = in_region(inside, region)["value"].to_numpy(float)
            if of_region.size:
                ax.plot(
                    of_region, np.full(of_region.shape, place + shift), linestyle="none",
                    marker=mark.marker, markersize=4, markerfacecolor="none",
                    markeredgecolor=mark.colour, markeredgewidth=0.9,
                )  # fmt: skip
    ax.set_yticks(range(len(regions)), [wrapped(name or "", 1.3) for name in regions])
    ax.set_ylim(len(regions) - 0.5, -0.5)
    ax.set_xlabel(shown.axis_label(variable, size[0] - 1.0))
    small_ticks(ax)
    if marks:
        legend_below(figure, [mark.handle(group) for group, mark in marks.items()])
    return figure
