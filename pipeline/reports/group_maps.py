"""Figures of the maps of a cohort: means by group and session, and tests of the change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from contourpy import contour_generator
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from pipeline.core.transforms import apply_affine
from pipeline.core.volume import FloatArray, Volume
from pipeline.reports.overlays import WIDTH_IN, Panel
from pipeline.reports.slices import AXIAL, CORONAL, SAGITTAL, Box, Plane, bounding_box
from pipeline.reports.style import SYMBOLS, UNITS, Colour, distinct_colours, styled

_PALE = "#cbd2d9"
_TITLE_IN, _SCALE_IN, _GAP_IN, _LINE_IN = 0.95, 0.85, 0.05, 0.19
_MAP_COLOURS = {"BPND": "inferno", "R1": "viridis", "k2": "cividis"}
_T_COLOURS = "RdBu_r"
_COLUMNS = 8
_CANDIDATE_MM = 2.0
_NAMED_IN_PLACE = 8
"""Regions that are named beside their outline; more would cover each other."""


@dataclass(frozen=True, eq=False)
class MapRow:
    """A row of the figure."""

    title: tuple[str, ...]
    """Lines at its left."""
    volume: Volume
    passed: Volume | None = None
    """One where the map passes a threshold, else 0."""


@dataclass(frozen=True, eq=False)
class _Marks:
    """Regions to outline."""

    labels: Volume
    names: Mapping[int, str]
    tint: float = 0.35
    """How far colours go towards white: outlines lie on dark maps, or on light ones."""

    @property
    def present(self) -> list[int]:
        """Their numbers, in order."""
        return [n for n in self.names if np.any(self.labels.data == n)]

    @property
    def colours(self) -> dict[int, Colour]:
        """One for each region."""
        palette = distinct_colours(len(self.names))
        light = [
            tuple(self.tint + (1 - self.tint) * channel for channel in colour)
            for colour in palette
        ]
        return {n: (r, g, b) for n, (r, g, b) in zip(self.names, light, strict=True)}


@styled
def mean_map_figure(
    symbol: str,
    rows: Sequence[MapRow],
    template: Volume,
    regions: Volume,
    names: Mapping[int, str],
) -> Figure:
    """Mean maps in slices through the regions, a row each, on one scale from zero.

    Parameters
    ----------
    symbol : str
        Parameter, such as ``BPND``.
    rows : sequence of MapRow
        Maps in MNI152 space.
    template : Volume
        Skull-stripped template, zero outside the brain; bounds what is shown.
    regions : Volume
        Numbers of the regions, 0 for none.
    names : mapping of int to str
        Number to name of each region.
    """
    brain = template.with_data((template.data > 0).astype(np.float32))
    top = _round_up(max((_percentile(row.volume, brain, 99.5) for row in rows), default=1.0))
    unit = UNITS.get(symbol, "")
    look = _Look(
        _MAP_COLOURS.get(symbol, "viridis"),
        (0.0, top),
        f"Mean {SYMBOLS.get(symbol, symbol)}" + (f"  ({unit})" if unit else ""),
        "max",
    )
    return _drawn(rows, template, _Marks(regions, names), look)


@styled
def statistic_map_figure(
    rows: Sequence[MapRow], template: Volume, regions: Volume, names: Mapping[int, str]
) -> Figure:
    """Maps of t on one scale that is even about zero; what passes its threshold is outlined."""
    brain = template.with_data((template.data > 0).astype(np.float32))
    ends = (
        _percentile(row.volume.with_data(np.abs(row.volume.data)), brain, 99.9) for row in rows
    )
    top = max(3.0, _round_up(max(ends, default=3.0)))
    look = _Look(_T_COLOURS, (-top, top), "$t$", "both")
    return _drawn(rows, template, _Marks(regions, names, tint=0.0), look)


@dataclass(frozen=True)
class _Look:
    """Colours of a figure."""

    cmap: str
    window: tuple[float, float]
    label: str
    """Of the scale."""
    extend: str


def _drawn(rows: Sequence[MapRow], template: Volume, marks: _Marks, look: _Look) -> Figure:
    box = bounding_box(template.with_data(template.data > 0), margin_mm=2)
    planes = cover_planes(marks.labels, marks.present, box, _COLUMNS)
    layout = _Layout.of(planes, max(1, len(rows)), marks)
    figure = Figure(figsize=(WIDTH_IN, layout.height_in), facecolor="black")
    # one pair of axes for all slices: a pair for each would cost more than the slices
    axes = figure.add_axes(
        (0, 0, 1, 1), frameon=False, xlim=(0, WIDTH_IN), ylim=(0, layout.height_in)
    )
    axes.set_axis_off()
    axes.autoscale(enable=False)
    brain = template.with_data((template.data > 0).astype(np.float32))
    outlines = [_outlines(plane, marks) for plane in planes]
    best = _best_planes(marks, planes)
    for place, row in enumerate(rows):
        bottom = layout.bottom_in(place)
        _title(axes, row.title, bottom + layout.row_in / 2)
        for column, plane in enumerate(planes):
            panel = Panel(axes, plane, layout.left_in[column], bottom, layout.scale)
            _map(panel, row, brain, look)
            _draw_outlines(panel, outlines[column], marks.colours)
            if place == 0:
                _name(panel, marks, [n for n in best if best[n] == column])
            if place == len(rows) - 1:
                _position(panel)
    _key(axes, marks, layout)
    _scale(figure, look)
    return figure


@dataclass(frozen=True, eq=False)
class _Layout:
    """Places of rows and columns, inches from the left and the bottom."""

    scale: float
    """Inches per millimetre."""
    left_in: tuple[float, ...]
    row_in: float
    n_rows: int
    key_lines: int

    @classmethod
    def of(cls, planes: Sequence[Plane], n_rows: int, marks: _Marks) -> _Layout:
        room = WIDTH_IN - _TITLE_IN - _SCALE_IN - _GAP_IN * (len(planes) - 1)
        scale = room / sum(plane.size_mm[0] for plane in planes)
        steps = [scale * plane.size_mm[0] + _GAP_IN for plane in planes]
        left = _TITLE_IN + np.concatenate([[0.0], np.cumsum(steps)[:-1]])
        row = scale * max(plane.size_mm[1] for plane in planes)
        lines = -(-len(marks.present) // _KEY_COLUMNS)
        return cls(scale, tuple(left.tolist()), row, n_rows, lines)

    @property
    def foot_in(self) -> float:
        """Height of the key and of the positions of the slices."""
        return _LINE_IN * (self.key_lines + 1) + 0.12

    @property
    def height_in(self) -> float:
        """Of the figure."""
        return self.foot_in + self.n_rows * (self.row_in + _GAP_IN) + 0.08

    def bottom_in(self, row: int) -> float:
        """Of a row, counted from the top."""
        return self.foot_in + (self.n_rows - 1 - row) * (self.row_in + _GAP_IN)


_KEY_COLUMNS = 10


def cover_planes(labels: Volume, numbers: Sequence[int], box: Box, count: int) -> list[Plane]:
    """Slices that show every region as large as they can together, by axis and position.

    Parameters
    ----------
    labels : Volume
        Numbers of the regions.
    numbers : sequence of int
        Those to show.
    box : Box
        Limits of the slices.
    count : int
        Slices wanted; each of the three axes has one at least.

    Returns
    -------
    list of Plane
        Sagittal, coronal, axial, each from low to high. One slice after the other is chosen, the
        one that adds most to the sum over regions of the largest share of its greatest section.
    """
    axes = (SAGITTAL, CORONAL, AXIAL)
    candidates = [
        (axis, float(x))
        for axis in axes
        for x in np.arange(box.low_mm[axis], box.high_mm[axis], _CANDIDATE_MM)
    ]
    shown = _sections(labels, numbers, candidates)
    covered = np.zeros(len(numbers))
    chosen: list[int] = []
    for step in range(count):
        missing = [a for a in axes if all(candidates[c][0] != a for c in chosen)]
        only = missing if count - step <= len(missing) else axes
        gain = np.maximum(shown - covered, 0).sum(axis=1) + 1e-3 * shown.sum(axis=1)
        for place, (axis, x) in enumerate(candidates):
            near = any(candidates[c][0] == axis and abs(candidates[c][1] - x) < 8 for c in chosen)
            if near or axis not in only:
                gain[place] = -1
        chosen.append(int(np.argmax(gain)))
        covered = np.maximum(covered, shown[chosen[-1]])
    return [Plane(*candidates[c], box) for c in sorted(chosen)]


def _sections(
    labels: Volume, numbers: Sequence[int], candidates: Sequence[tuple[int, float]]
) -> FloatArray:
    """Area of each region in each candidate, by its greatest along that axis, (C, R)."""
    places = {
        n: apply_affine(labels.affine, np.argwhere(labels.data == n).astype(float))
        for n in numbers
    }
    axis_of, at_mm = (np.array(column) for column in zip(*candidates, strict=True))
    areas = np.zeros((len(candidates), len(numbers)))
    for region, points in enumerate(places.values()):
        for axis in (SAGITTAL, CORONAL, AXIAL):
            of_axis = np.flatnonzero(axis_of == axis)
            edges = np.append(at_mm[of_axis], at_mm[of_axis][-1] + _CANDIDATE_MM)
            area, _ = np.histogram(points[:, axis], edges - _CANDIDATE_MM / 2)
            areas[of_axis, region] = area / max(area.max(), 1)
    return areas


def _best_planes(marks: _Marks, planes: Sequence[Plane]) -> dict[int, int]:
    """Region to the column where it is largest."""
    areas = {
        n: [np.sum(plane.sample(marks.labels, order=0) == n) for plane in planes]
        for n in marks.present
    }
    return {n: int(np.argmax(area)) for n, area in areas.items() if max(area) > 0}


def _map(panel: Panel, row: MapRow, brain: Volume, look: _Look) -> None:
    pixels = panel.plane.sample(row.volume)
    inside = np.nan_to_num(panel.plane.sample(brain)) >= 0.5
    pixels[~inside] = np.nan
    shown = np.ma.masked_invalid(pixels)
    panel.axes.imshow(
        np.where(inside, 0.25, np.nan), cmap="gray", vmin=0, vmax=1, **_place(panel)
    )  # brain without a value
    panel.axes.imshow(
        shown, cmap=look.cmap, vmin=look.window[0], vmax=look.window[1], **_place(panel)
    )
    if row.passed is not None:
        passed = np.nan_to_num(panel.plane.sample(row.passed, order=0))
        _draw_lines(panel, _lines(panel.plane, passed), "black", 1.1)


def _place(panel: Panel) -> dict[str, Any]:
    return {
        "extent": panel.extent_in,
        "origin": "lower",
        "aspect": "auto",
        "interpolation": "nearest",
    }


def _outlines(plane: Plane, marks: _Marks) -> list[tuple[int, FloatArray]]:
    """Number and outline (N, 2) of every part of a region in a slice, mm."""
    pixels = np.nan_to_num(plane.sample(marks.labels, order=0))
    return [
        (number, line)
        for number in marks.names
        for line in _lines(plane, (pixels == number).astype(float))
    ]


def _lines(plane: Plane, pixels: FloatArray) -> list[FloatArray]:
    """Lines (N, 2) about what is one in a slice, mm."""
    if not pixels.min() < 0.5 < pixels.max():
        return []
    return [np.asarray(line) for line in contour_generator(*plane.grid_mm, pixels).lines(0.5)]


def _draw_outlines(
    panel: Panel, outlines: Sequence[tuple[int, FloatArray]], colours: Mapping[int, Any]
) -> None:
    colour = [colours[number] for number, _ in outlines]
    _draw_lines(panel, [line for _, line in outlines], colour, 0.7)


def _draw_lines(panel: Panel, lines: Sequence[FloatArray], colours: Any, width: float) -> None:
    left, _, bottom, _ = panel.plane.extent_mm
    corner = np.array([panel.left_in, panel.bottom_in])
    placed = [corner + panel.scale * (line - [left, bottom]) for line in lines]
    panel.axes.add_collection(
        LineCollection(placed, colors=colours, linewidths=width), autolim=False
    )


def _name(panel: Panel, marks: _Marks, numbers: Sequence[int]) -> None:
    """Names beside the regions, where there are few."""
    if len(marks.present) > _NAMED_IN_PLACE:
        return
    across, up = panel.grid_in
    left, right, *_ = panel.extent_in
    for number in numbers:
        rows, columns = np.nonzero(panel.plane.sample(marks.labels, order=0) == number)
        x, y = float(across[columns].mean()), float(up[rows].max())
        x = float(np.clip(x, left + 0.2, right - 0.2))
        panel.axes.text(
            x,
            y + 0.03,
            _plain(marks.names[number]),
            color=marks.colours[number],
            fontsize=7,
            ha="center",
            va="bottom",
            weight="bold",
            path_effects=[patheffects.withStroke(linewidth=1.6, foreground="black")],
        )


def _plain(text: str) -> str:
    """Text that matplotlib does not take for mathematics."""
    return text.replace("$", r"\$")


def _title(axes: Axes, lines: Sequence[str], middle: float) -> None:
    text = "\n".join(_plain(_shortened(line)) for line in lines)
    axes.text(0.08, middle, text, color="white", fontsize=8.5, ha="left", va="center")


def _shortened(line: str, most: int = 15) -> str:
    return line if len(line) <= most else line[: most - 1] + "…"


def _position(panel: Panel) -> None:
    left, right, bottom, _ = panel.extent_in
    position = f"{panel.plane.position_mm:.0f}".replace("-", "\N{MINUS SIGN}")
    text = f"{'xyz'[panel.plane.axis]} = {position} mm"
    panel.axes.text(
        (left + right) / 2, bottom - 0.05, text, color=_PALE, fontsize=7, ha="center", va="top"
    )


def _key(axes: Axes, marks: _Marks, layout: _Layout) -> None:
    """Names of all regions in their colours, at the foot."""
    step = (WIDTH_IN - _TITLE_IN - _SCALE_IN) / _KEY_COLUMNS
    for place, number in enumerate(marks.present):
        line, column = divmod(place, _KEY_COLUMNS)
        x = _TITLE_IN + step * column
        y = _LINE_IN * (layout.key_lines - line - 0.5) + 0.04
        colour = marks.colours[number]
        axes.plot([x, x + 0.16], [y, y], color=colour, linewidth=1.5)
        name = _plain(_shortened(marks.names[number], 11))
        axes.text(x + 0.21, y, name, color=_PALE, fontsize=7.5, ha="left", va="center")


def _scale(figure: Figure, look: _Look) -> None:
    height = figure.get_figheight()
    tall = min(2.6, 0.75 * height)
    axes = figure.add_axes(
        (1 - 0.72 / WIDTH_IN, (height - tall) / 2 / height, 0.14 / WIDTH_IN, tall / height)
    )
    bar = figure.colorbar(
        ScalarMappable(Normalize(*look.window), look.cmap), cax=axes, extend=look.extend
    )
    bar.set_label(look.label, color="white")
    bar.outline.set_edgecolor("#7b8794")
    axes.tick_params(colors="white", labelcolor="white", labelsize=8)


def _percentile(volume: Volume, brain: Volume, percent: float) -> float:
    """Of the values of a map in the brain, sampled on every third voxel; NaN-free."""
    some = Volume(volume.data[::3, ::3, ::3], volume.affine @ np.diag([3.0, 3.0, 3.0, 1.0]))
    finite = np.argwhere(np.isfinite(some.data))
    points = apply_affine(some.affine, finite.astype(float))
    voxels = np.rint(apply_affine(np.linalg.inv(brain.affine), points)).astype(int)
    inside = np.all((voxels >= 0) & (voxels < brain.shape), axis=1)
    inside[inside] = brain.data[tuple(voxels[inside].T)] > 0
    values = some.data[tuple(finite[inside].T)]
    return float(np.percentile(values, percent)) if values.size else 0.0


def _round_up(value: float) -> float:
    """Next value of two significant digits, so that a scale ends on a number people read."""
    if not value > 0:
        return 1.0
    digit = 10.0 ** (np.floor(np.log10(value)) - 1)
    return float(np.ceil(value / digit - 1e-9) * digit)
