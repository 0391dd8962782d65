"""The figure of all effects: one row per result, with interval and p."""

from __future__ import annotations

import textwrap
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from pipeline.core.volume import FloatArray
from pipeline.reports.study_shown import (
    PRINT_WIDTH_IN,
    SMALL_PT,
    adjusted_families,
    legend_below,
    plain,
    printed,
    small_ticks,
    tested_p,
    text_width_in,
)
from pipeline.reports.style import BLUE, MUTED

_NAMES = {
    "dz": "Cohen's dz",
    "r": "Pearson's r",
    "rho": "Spearman's ρ",
    "partial eta squared": "Partial η²",
    "odds ratio": "Odds ratio",
}
_RATIOS = ("odds ratio",)
"""Effects whose absence is 1, on a logarithmic axis."""
_LOOKS: Mapping[str, Mapping[str, Any]] = {
    "confirmatory": {
        "marker": "o", "markersize": 4.5, "markeredgecolor": BLUE, "markerfacecolor": BLUE,
    },
    "exploratory": {
        "marker": "o", "markersize": 4.5, "markeredgecolor": BLUE, "markerfacecolor": "white",
    },
    "descriptive": {
        "marker": "D", "markersize": 3.5, "markeredgecolor": MUTED, "markerfacecolor": "white",
    },
}  # fmt: skip
_BEYOND = 5.0
"""Room for an arrow on a logarithmic axis, as a ratio."""
_DECADES = 2
"""Up to how many have ticks in between."""
_LETTERS = 40
_ROW_IN = 0.19
_FACET_IN = 0.5


@dataclass(frozen=True, eq=False)
class _Facet:
    """Results with the same standardised effect."""

    name: str
    labels: tuple[str, ...]
    found: tuple[tuple[str, str], ...]
    """Effect with interval, and p."""
    effects: FloatArray
    """(N, 3) effect, lower and upper end."""
    families: tuple[str, ...]

    @property
    def places(self) -> FloatArray:
        """(N,) heights from the top, in rows; labels of more lines take more of them."""
        lines = np.array([label.count("\n") + 1 for label in self.labels], float)
        steps = 1 + 0.7 * (lines - 1)
        return np.asarray(np.cumsum(steps) - steps / 2)

    @property
    def rows(self) -> float:
        """Height of all, in rows."""
        lines = sum(label.count("\n") for label in self.labels)
        return len(self.labels) + 0.7 * lines


def forest_figure(results: pd.DataFrame) -> Figure | None:
    """One facet per kind of standardised effect, and in it one row per result that has it.

    Full markers are confirmatory results, hollow ones exploratory, grey diamonds what the plan
    only describes. A vertical line stands where there is no effect. Ends of intervals that lie
    outside of the axis are arrows.

    Parameters
    ----------
    results : data frame
        One row per planned test and region, in the order they are drawn.

    Returns
    -------
    Figure or None
        None where no result has an effect.
    """
    known = results[results["effect"].notna() & results["effect_name"].notna()]
    adjusted = adjusted_families(results)
    facets = []
    for name, rows in known.groupby("effect_name", sort=False):
        cells = rows.to_dict("records")
        facets.append(
            _Facet(
                name=str(name),
                labels=tuple(map(_label, cells)),
                found=tuple(_found(row, row["family"] in adjusted) for row in cells),
                effects=rows[["effect", "effect_low", "effect_high"]].to_numpy(float),
                families=tuple(rows["family"]),
            )
        )
    return _drawn(facets) if facets else None


def _label(row: Mapping[Hashable, Any]) -> str:
    """Title, region, and group where the result is of one; the term of an analysis of variance."""
    within = pd.isna(row["n_by_group"]) and not pd.isna(row["groups"])
    parts = [row["title"], row["region"], row["groups"] if within else None]
    if row["test_name"] in ("group", "time"):
        parts.append(row["test_name"])
    text = ", ".join(str(part) for part in parts if not pd.isna(part))
    return plain("\n".join(textwrap.wrap(text, _LETTERS)))


def _found(row: Mapping[Hashable, Any], adjusted: bool) -> tuple[str, str]:
    """Effect with interval and p, such as 0.51 [0.03, 0.97] and p .036."""
    text = _number(row["effect"])
    if not np.isnan([row["effect_low"], row["effect_high"]]).any():
        text += f" [{_number(row['effect_low'])}, {_number(row['effect_high'])}]"
    more = f", adj. {_short_p(float(row['p_adjusted']))}" if adjusted else ""
    return text, f"p {_short_p(tested_p(row))}{more}"


def _number(value: float) -> str:
    if np.isinf(value):
        return "∞" if value > 0 else "−∞"
    return (f"{value:.2f}" if abs(value) < 100 else f"{value:.3g}").replace("-", "−")


def _short_p(p: float) -> str:
    """p without what is the same in all of them.

    Examples
    --------
    >>> _short_p(0.0362), _short_p(0.0004), _short_p(1.0)
    ('.036', '< .001', '1.000')
    """
    if not np.isfinite(p):
        return "n/a"
    return "< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


@printed
def _drawn(facets: list[_Facet]) -> Figure:
    rows = [facet.rows for facet in facets]
    height = sum(rows) * _ROW_IN + len(rows) * _FACET_IN + 0.3
    figure = Figure(figsize=(PRINT_WIDTH_IN, height), layout="constrained")
    grid = figure.subplots(len(facets), 1, squeeze=False, height_ratios=rows)
    for ax, facet in zip(grid[:, 0], facets, strict=True):
        _draw(ax, facet)
    found = {family for facet in facets for family in facet.families}
    handles = [
        Line2D([], [], linestyle="none", label=family, **looks)
        for family, looks in _LOOKS.items()
        if family in found
    ]
    legend_below(figure, handles)
    return figure


def _draw(ax: Axes, facet: _Facet) -> None:
    ratio = facet.name in _RATIOS
    left, right = _limits(facet.effects, ratio)
    if ratio:
        few = right / left < 10**_DECADES
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
    ax.axvline(1.0 if ratio else 0.0, color=MUTED, linewidth=0.8, zorder=1)
    rows = zip(facet.places, facet.effects, facet.families, strict=True)
    for place, (effect, low, high), family in rows:
        looks = _LOOKS[family]
        _draw_interval(ax, place, (low, high), (left, right), looks["markeredgecolor"])
        if left <= effect <= right:
            ax.plot(effect, place, zorder=3, **looks)
    ax.set_xlim(left, right)
    ax.set_ylim(facet.rows, 0)
    ax.set_yticks(facet.places, facet.labels)
    at_pt = 6.0
    for column in zip(*facet.found, strict=True):
        for place, text in zip(facet.places, column, strict=True):
            ax.annotate(
                text, (1.0, place), xycoords=ax.get_yaxis_transform(), xytext=(at_pt, 0),
                textcoords="offset points", va="center", fontsize=SMALL_PT,
            )  # fmt: skip
        at_pt += 72 * text_width_in("\n".join(column)) + 6
    ax.grid(visible=False, axis="y")
    ax.set_xlabel(_NAMES.get(facet.name, plain(facet.name)))
    ax.spines["left"].set_visible(False)
    small_ticks(ax)
    ax.tick_params(axis="y", length=0)


def _draw_interval(
    ax: Axes,
    place: float,
    interval: tuple[float, float],
    limits: tuple[float, float],
    colour: str,
) -> None:
    if np.isnan(interval).any():
        return
    low, high = np.clip(interval, *limits)
    ax.plot([low, high], [place, place], color=colour, linewidth=1.2, zorder=2)
    for end, shown, arrow in zip(interval, (low, high), "<>", strict=True):
        if end != shown:
            ax.plot(
                shown, place, marker=arrow, markersize=4, color=colour, clip_on=False, zorder=2
            )


def _limits(effects: FloatArray, ratio: bool) -> tuple[float, float]:
    """Ends of the axis: all that is finite, no effect, and room for arrows of ratios."""
    if not ratio:
        finite = np.append(effects[np.isfinite(effects)], 0.0)
        low, high = float(finite.min()), float(finite.max())
        margin = 0.04 * (high - low) or 0.5
        return low - margin, high + margin
    finite = np.append(effects[np.isfinite(effects) & (effects > 0)], 1.0)
    span = np.log([finite.min(), finite.max()])
    endless = np.array([(effects == 0).any(), np.isposinf(effects).any()])
    span += np.log(_BEYOND) * endless * (-1, 1)
    margin = 0.04 * (span[1] - span[0]) or 0.5
    low, high = np.exp([span[0] - margin, span[1] + margin])
    return float(low), float(high)
