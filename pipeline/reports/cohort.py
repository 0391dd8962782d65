"""The figure of a cohort: every subject before and after, by region and group."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.reports.overlays import WIDTH_IN
from pipeline.reports.study_shown import p_text
from pipeline.reports.style import BLUE, CYCLE, MUTED, SYMBOLS, styled

_COLUMNS = 4
_GROUP_STEP = 1.9
_NOT_DIVIDING = ("group", "participant_id", "region", "first", "second", "change")


@styled
def cohort_figure(
    pairs: pd.DataFrame,
    paired: pd.DataFrame,
    interaction: pd.DataFrame,
    sessions: tuple[str, ...],
) -> Figure:
    """One panel per region: a line per subject, the group's mean on top, p below its name.

    Parameters
    ----------
    pairs : data frame
        `first` and `second` session by region, group and subject.
    paired, interaction : data frames
        Tests of the same, for the p values.
    sessions : tuple of str
        Names of the two sessions.
    """
    panels = list(region_blocks(pairs))
    rows = max(-(-len(panels) // _COLUMNS), 1)
    figure = Figure(figsize=(WIDTH_IN, 2.9 * rows + 0.2), layout="constrained")
    grid = figure.subplots(rows, _COLUMNS, squeeze=False)
    groups = sorted(pairs["group"].unique())
    colours = dict(zip(groups, _cycled(len(groups)), strict=True))
    for ax, (where, block) in zip(grid.flat, panels, strict=False):
        _panel(ax, block, colours, sessions)
        tests = _matching(paired, where)
        for place, group in enumerate(groups):
            of_group = tests[tests["group"].astype(str) == group]
            text = p_text(float(of_group["p"].iloc[0])) if len(of_group) else "p n/a"
            _name_group(ax, place, f"{group}\n{text}", colours[group])
        between = _matching(interaction, where)
        name = " ".join(str(label) for label in where.values() if not pd.isna(label))
        ax.set_title(name)
        if len(between):
            ax.set_xlabel(f"group × time {p_text(float(between['p'].iloc[0]))}")
    for ax in grid.flat[len(panels) :]:
        ax.set_axis_off()
    for ax in grid[:, 0]:
        ax.set_ylabel(f"{SYMBOLS['BPND']} (unitless)")
    return figure


@styled
def value_figure(regions: pd.DataFrame) -> Figure:
    """BPND of every PET run by region, for a cohort whose sessions are not compared."""
    names = list(regions["region"].unique())
    figure = Figure(figsize=(WIDTH_IN * 0.7, 0.42 * len(names) + 0.9), layout="constrained")
    ax = figure.subplots()
    place = regions["region"].map({name: i for i, name in enumerate(names)})
    ax.plot(
        regions["BPND"],
        place,
        linestyle="none",
        marker="o",
        markersize=5,
        markerfacecolor="none",
        markeredgecolor=BLUE,
    )
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlabel(f"{SYMBOLS['BPND']} (unitless)")
    return figure


def region_blocks(
    pairs: pd.DataFrame,
) -> Iterator[tuple[Mapping[Hashable, Any], pd.DataFrame]]:
    """Rows of every region, apart by tracer, model and the like where these differ."""
    differing = [
        name
        for name in pairs.columns
        if name not in _NOT_DIVIDING and pairs[name].nunique(dropna=False) > 1
    ]
    keys = [*differing, "region"]
    for labels, block in pairs.groupby(keys, dropna=False, sort=False):
        yield dict(zip(keys, labels, strict=True)), block


def _cycled(count: int) -> list[str]:
    return [CYCLE[i % len(CYCLE)] for i in range(count)]


def _matching(table: pd.DataFrame, where: Mapping[Hashable, Any]) -> pd.DataFrame:
    for key, label in where.items():
        if key not in table.columns:
            return table.iloc[:0]
        table = table[table[key].isna() if pd.isna(label) else table[key] == label]
    return table


def _panel(
    ax: Axes, block: pd.DataFrame, colours: Mapping[str, str], sessions: tuple[str, ...]
) -> None:
    ticks: list[float] = []
    for place, (group, colour) in enumerate(colours.items()):
        x = np.array([0.0, 1.0]) + _GROUP_STEP * place
        ticks.extend(x)
        values = block.loc[block["group"] == group, ["first", "second"]].to_numpy(float)
        complete = values[np.isfinite(values).all(axis=1)]
        single = values[~np.isfinite(values).all(axis=1)]
        ax.plot(x, complete.T, color=colour, alpha=0.35, linewidth=0.9, zorder=2)
        ax.plot(x, single.T, color=MUTED, linestyle="none", marker="x", markersize=4, zorder=2)
        if len(complete):
            ax.plot(
                x,
                complete.mean(axis=0),
                color=colour,
                linewidth=2.4,
                marker="o",
                markersize=6,
                markeredgecolor="white",
                zorder=3,
            )
    labels = [label.removeprefix("ses-") for label in sessions] * len(colours)
    ax.set_xticks(ticks, labels)
    ax.set_xlim(-0.4, ticks[-1] + 0.4)
    ax.margins(y=0.08)
    ax.grid(visible=False, axis="x")
    bottom, top = ax.get_ylim()
    ax.set_ylim(bottom, top + 0.2 * (top - bottom))


def _name_group(ax: Axes, place: int, text: str, colour: str) -> None:
    ax.text(
        0.5 + _GROUP_STEP * place,
        0.99,
        text,
        transform=ax.get_xaxis_transform(),
        ha="center",
        va="top",
        fontsize=7.5,
        color=colour,
        linespacing=1.35,
    )
