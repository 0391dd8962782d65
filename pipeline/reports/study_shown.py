"""What figures of a study share: its values, how groups look, and how names and p are written."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, ParamSpec

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import TextPath

from pipeline.reports.style import BLUE, CYCLE, MUTED, SYMBOLS, UNITS, styled

P = ParamSpec("P")

PRINT_WIDTH_IN = 17 / 2.54
"""Two columns of a journal."""
SMALL_PT = 7.0
TITLE_PT = 8.5
_LABEL_PT = 7.5
"""Sizes of text in print."""
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
_PRINT_RC: dict[str, Any] = {
    "font.size": 7.5,
    "axes.titlesize": TITLE_PT,
    "axes.labelsize": _LABEL_PT,
    "legend.fontsize": 7.5,
    "axes.linewidth": 0.6,
    "grid.linewidth": 0.5,
}


@dataclass(frozen=True, kw_only=True)
class Mark:
    """How a group is drawn: told apart by shape and dashes, not by colour alone."""

    colour: str
    marker: str
    dashes: Any = "-"

    def handle(self, name: str) -> Line2D:
        """Its entry in a legend of points."""
        return Line2D(
            [], [], linestyle="none", marker=self.marker, markersize=5, label=plain(name),
            markerfacecolor="none", markeredgecolor=self.colour, markeredgewidth=1.1,
        )  # fmt: skip


TOGETHER = Mark(colour=BLUE, marker="o")
"""All subjects, where groups are not known or not told apart."""
NO_GROUP = Mark(colour=MUTED, marker="*")
"""Subjects of none of the groups."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StudyShown:
    """What figures of a study are drawn from; every order is that of the plan."""

    values: pd.DataFrame
    """Tidy: variable, participant_id, group, session_id, region, value."""
    results: pd.DataFrame
    """One row per planned test and region."""
    sessions: tuple[str, ...]
    groups: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    """Empty: in the order of the values."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Variable to its text on axes, with unit."""

    @property
    def marks(self) -> Mapping[str, Mark]:
        """Group to how it is drawn; empty while the study is blinded."""
        if self.values["group"].isna().all():
            return {}
        return {
            group: Mark(
                colour=CYCLE[i % len(CYCLE)],
                marker=_MARKERS[i % len(_MARKERS)],
                dashes=_DASHES[i % len(_DASHES)],
            )
            for i, group in enumerate(self.groups)
        }

    @property
    def adjusted(self) -> frozenset[str]:
        """Families of results whose p the plan adjusts."""
        return adjusted_families(self.results)

    def of(self, variable: str) -> pd.DataFrame:
        """Values of a variable that are there."""
        values = self.values[self.values["variable"] == variable]
        return values[np.isfinite(values["value"].to_numpy(float))]

    def regions_of(self, values: pd.DataFrame) -> list[str | None]:
        """Regions with a value; None for values without a region."""
        found = [None if pd.isna(name) else str(name) for name in values["region"].unique()]
        if not self.regions:
            return found
        ordered: list[str | None] = [name for name in self.regions if name in found]
        return [*ordered, None] if None in found else ordered

    def axis_label(self, variable: str, width_in: float, session: str = "") -> str:
        """A variable as axes show it, with symbol and unit, on as many lines as it takes."""
        text = self.labels.get(variable, "")
        if not text:
            unit = f" ({UNITS[variable]})" if variable in UNITS else ""
            text = f"{variable}{unit}"
        text += f", {session}" if session else ""
        if variable in SYMBOLS and text.startswith(variable):
            return SYMBOLS[variable] + plain(text.removeprefix(variable))
        return wrapped(text, width_in * SMALL_PT / _LABEL_PT)


def in_region(table: pd.DataFrame, region: str | None) -> pd.DataFrame:
    """Rows of a region, or those without one."""
    return table[table["region"].isna() if region is None else table["region"] == region]


def p_text(p: float) -> str:
    """A p value as papers print it.

    Examples
    --------
    >>> p_text(0.0362), p_text(0.0004), p_text(float("nan"))
    ('p = 0.036', 'p < 0.001', 'p n/a')
    """
    if not np.isfinite(p):
        return "p n/a"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def tested_p(row: Mapping[Hashable, Any]) -> float:
    """p that the plan goes by: Greenhouse and Geisser's where sphericity is at stake."""
    corrected = float(row["p_greenhouse_geisser"])
    return float(row["p"]) if np.isnan(corrected) else corrected


def adjusted_families(results: pd.DataFrame) -> frozenset[str]:
    """Families of results, confirmatory or exploratory, whose p the plan adjusts."""
    families = set()
    for row in results.to_dict("records"):
        p, adjusted = tested_p(row), float(row["p_adjusted"])
        if np.isfinite(adjusted) and not np.isclose(adjusted, p, rtol=1e-9, atol=0):
            families.add(str(row["family"]))
    return frozenset(families)


def p_texts(shown: StudyShown, row: Mapping[Hashable, Any]) -> tuple[str, ...]:
    """p of a result, and adjusted p where the plan adjusts that of its family."""
    p = p_text(tested_p(row))
    if row["family"] not in shown.adjusted:
        return (p,)
    return p, p_text(float(row["p_adjusted"])).replace("p", "adj.", 1).replace("= ", "")


def plain(text: str) -> str:
    r"""A name of a study, which is never taken for a formula.

    Examples
    --------
    >>> print(plain("5 $ of $x_1$"))
    5 \$ of \$x_1\$
    """
    return text.replace("$", r"\$")


def wrapped(text: str, width_in: float, *, title: bool = False) -> str:
    """A name on as many lines as it takes, `SMALL_PT` large or as a title."""
    whole_in = text_width_in(plain(text), title=title)
    if whole_in <= width_in:
        return plain(text)
    letters = int(0.95 * len(text) * width_in / whole_in)
    return plain("\n".join(textwrap.wrap(text, max(letters, 4))))


def text_width_in(text: str, *, title: bool = False) -> float:
    """Width of the widest line of a text, inches, `SMALL_PT` large or as a title."""
    font = FontProperties(family="DejaVu Sans", weight="bold" if title else "normal")
    size = TITLE_PT if title else SMALL_PT
    lines = [line for line in text.split("\n") if line.strip()]
    paths = [TextPath((0, 0), line, size=size, prop=font) for line in lines]
    return max((float(path.get_extents().x1) / 72 for path in paths), default=0.0)


def printed(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw in the house style, with sizes for a figure as wide as a page of print."""

    @styled
    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.style.context(_PRINT_RC):
            return draw(*args, **kwargs)

    return drawn


def small_ticks(ax: Axes) -> None:
    """Ticks for print; they are made late, when the sizes of `printed` no longer hold."""
    ax.tick_params(labelsize=SMALL_PT, length=2.5, width=0.6, pad=2)


def legend_below(figure: Figure, handles: list[Line2D]) -> None:
    """A legend outside of all panels."""
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(len(handles), 4),
        handletextpad=0.3,
        columnspacing=1.4,
    )
