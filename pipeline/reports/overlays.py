"""Figures of images: tissues, labels, alignment, regions and parametric maps on slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from pipeline.core.labels import LABEL_NAMES
from pipeline.core.volume import FloatArray, Volume
from pipeline.reports.slices import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    Box,
    Plane,
    bounding_box,
    region_planes,
    spread_planes,
    values_inside,
)
from pipeline.reports.style import (
    ORANGE,
    PINK,
    SKY,
    SYMBOLS,
    UNITS,
    Colour,
    distinct_colours,
    styled,
)

WIDTH_IN = 11.0
_GAP_IN = 0.04
_SLICES = {AXIAL: 7, CORONAL: 7, SAGITTAL: 6}
_MAP_COLOURS = {"BPND": "inferno", "R1": "viridis", "k2": "cividis"}


@dataclass(frozen=True, eq=False)
class Tissues:
    """T1w image and what was segmented in it; any part may be missing."""

    t1w: Volume
    brain: Volume | None = None
    """Brain mask."""
    gm: Volume | None = None
    """Probability of grey matter."""
    wm: Volume | None = None
    """Probability of white matter."""
    csf: Volume | None = None
    """Probability of cerebrospinal fluid."""

    @property
    def box(self) -> Box:
        """What slices show: the brain, or everything if it is not known."""
        return bounding_box(self.t1w if self.brain is None else self.brain)

    @property
    def window(self) -> tuple[float, float]:
        """Black and white of the T1w."""
        values = values_inside(self.t1w, self.t1w if self.brain is None else self.brain)
        low, high = _window(values, 1.0, 99.8)
        return low, low + 1.15 * (high - low)  # white matter stays short of white

    @property
    def volumes_ml(self) -> dict[str, float]:
        """Volume of the brain mask and, by summed probability, of each tissue."""
        parts = {"Brain": self.brain, "GM": self.gm, "WM": self.wm, "CSF": self.csf}
        return {
            f"{name} (mL)": float(part.data.sum(dtype=float)) * part.voxel_volume_mm3 / 1000
            for name, part in parts.items()
            if part is not None
        }

    @property
    def outlines(self) -> list[tuple[Volume, str]]:
        """Boundaries to draw: grey matter's outer one, white matter's, the brain mask's."""
        drawn: list[tuple[Volume, str]] = []
        if self.brain is not None:
            drawn.append((self.brain, PINK))
        if self.gm is not None and self.wm is not None:
            drawn.append((self.gm.with_data(self.gm.data + self.wm.data), SKY))
        if self.wm is not None:
            drawn.append((self.wm, ORANGE))
        return drawn


OUTLINE_KEY = (
    (ORANGE, "white matter boundary"),
    (SKY, "outer boundary of grey matter"),
    (PINK, "brain mask"),
)


@styled
def tissue_figure(tissues: Tissues) -> Figure:
    """T1w with the boundaries of its tissues, in three planes."""
    window, outlines = tissues.window, tissues.outlines
    figure, panels = _mosaic(_three_planes(tissues.box))
    for panel in panels:
        _show(panel, panel.plane.sample(tissues.t1w), cmap="gray", window=window)
        for volume, colour in outlines:
            _outline(panel, volume, colour)
    return figure


@styled
def label_figure(tissues: Tissues, labels: Volume) -> Figure:
    """T1w under the labels of the parcellation; left and right share a colour."""
    colours = anatomical_colours(np.unique(labels.data[labels.data > 0]))
    window = tissues.window
    figure, panels = _mosaic(_three_planes(tissues.box))
    for panel in panels:
        _show(panel, panel.plane.sample(tissues.t1w), cmap="gray", window=window)
        _fill(panel, labels, colours, alpha=0.5)
    return figure


@styled
def pet_under_outlines_figure(tissues: Tissues, pet: Volume) -> Figure:
    """PET reference, already placed in T1w space, under the boundaries of the T1w's tissues."""
    window, outlines = _pet_window(tissues, pet), tissues.outlines
    figure, panels = _mosaic(_three_planes(tissues.box))
    for panel in panels:
        _show(panel, panel.plane.sample(pet), cmap="gray", window=window)
        for volume, colour in outlines:
            _outline(panel, volume, colour)
    return figure


@styled
def pet_over_t1w_figure(tissues: Tissues, pet: Volume) -> Figure:
    """T1w under the PET reference in colour, faint where uptake is low."""
    t1w_window, pet_window = tissues.window, _pet_window(tissues, pet)
    figure, panels = _mosaic(_three_planes(tissues.box))
    for panel in panels:
        _show(panel, panel.plane.sample(tissues.t1w), cmap="gray", window=t1w_window)
        uptake = panel.plane.sample(pet)
        share = np.clip((uptake - pet_window[0]) / (pet_window[1] - pet_window[0]), 0, 1)
        alpha = 0.75 * np.nan_to_num(np.clip(2 * share, 0, 1))
        _show(panel, uptake, cmap="inferno", window=pet_window, alpha=alpha)
    return figure


@styled
def region_figure(pet: Volume, labels: Volume, colours: Mapping[int, Colour]) -> Figure:
    """PET reference under the regions whose curves are taken."""
    box = bounding_box(labels, margin_mm=18)
    rows = [
        region_planes(labels, box, axis, count)
        for axis, count in ((AXIAL, 7), (CORONAL, 7), (SAGITTAL, 6))
    ]
    values = values_inside(pet, labels.with_data(np.ones(labels.shape, np.uint8)))
    window = _window(values, 1.0, 99.7)
    figure, panels = _mosaic(rows)
    for panel in panels:
        _show(panel, panel.plane.sample(pet), cmap="gray", window=window)
        _fill(panel, labels, colours, alpha=0.65)
    return figure


@styled
def map_figure(symbol: str, volume: Volume, brain: Volume | None) -> Figure:
    """Parametric map in axial and coronal slices, with its scale; other tissue left out."""
    shown = volume if brain is None else brain
    inside = volume.with_data(np.isfinite(volume.data) & (volume.data != 0))
    box = bounding_box(inside if brain is None else brain)
    values = values_inside(volume, inside if brain is None else shown)
    top = _round_up(float(np.percentile(values, 99.5))) if values.size else 1.0
    colours = _MAP_COLOURS.get(symbol, "viridis")
    figure, panels = _mosaic([spread_planes(box, AXIAL, 8), spread_planes(box, CORONAL, 8)], 0.9)
    for panel in panels:
        pixels = panel.plane.sample(volume)
        if brain is not None:
            pixels[np.nan_to_num(panel.plane.sample(brain)) < 0.5] = np.nan
        _show(panel, pixels, cmap=colours, window=(0.0, top))
    _scale(figure, colours, top, f"{SYMBOLS.get(symbol, symbol)}  ({UNITS.get(symbol, '')})")
    return figure


def anatomical_colours(labels: Sequence[int] | FloatArray) -> dict[int, Colour]:
    """Colour of every FreeSurfer label; the two sides of a structure have the same."""
    plain = {int(n): _without_side(LABEL_NAMES.get(int(n), str(n))) for n in labels}
    names = sorted(set(plain.values()))
    colours = dict(zip(names, distinct_colours(len(names)), strict=True))
    return {number: colours[name] for number, name in plain.items()}


def _without_side(name: str) -> str:
    for prefix in ("Left-", "Right-", "ctx-lh-", "ctx-rh-"):
        name = name.removeprefix(prefix)
    return name


def _three_planes(box: Box) -> list[list[Plane]]:
    return [spread_planes(box, axis, count) for axis, count in _SLICES.items()]


def _pet_window(tissues: Tissues, pet: Volume) -> tuple[float, float]:
    mask = tissues.t1w if tissues.brain is None else tissues.brain
    return 0.0, _window(values_inside(pet, mask), 1.0, 99.5)[1]


def _window(values: FloatArray, low: float, high: float) -> tuple[float, float]:
    if values.size == 0:
        return 0.0, 1.0
    bottom, top = (float(x) for x in np.percentile(values, [low, high]))
    return (bottom, top) if top > bottom else (bottom, bottom + 1.0)


def _round_up(value: float) -> float:
    """Next value of two significant digits, so that a scale ends on a number people read."""
    if not value > 0:
        return 1.0
    digit = 10.0 ** (np.floor(np.log10(value)) - 1)
    return float(np.ceil(value / digit) * digit)


@dataclass(frozen=True, eq=False)
class Panel:
    """A slice and its place in a figure whose one pair of axes is in inches."""

    axes: Axes
    plane: Plane
    left_in: float
    bottom_in: float
    scale: float
    """Inches per millimetre."""

    @property
    def extent_in(self) -> tuple[float, float, float, float]:
        """Left, right, bottom, top."""
        width, height = self.plane.size_mm
        right_in, top_in = self.left_in + self.scale * width, self.bottom_in + self.scale * height
        return self.left_in, right_in, self.bottom_in, top_in

    @property
    def grid_in(self) -> tuple[FloatArray, FloatArray]:
        """Columns and rows of its pixels."""
        left, _, bottom, _ = self.plane.extent_mm
        columns, rows = self.plane.grid_mm
        across = self.left_in + self.scale * (columns - left)
        return across, self.bottom_in + self.scale * (rows - bottom)


def _mosaic(rows: Sequence[Sequence[Plane]], room_in: float = 0.0) -> tuple[Figure, list[Panel]]:
    """Rows of slices on black, each row as wide as the figure; `room_in` stays free at right."""
    scales = [
        (WIDTH_IN - room_in - _GAP_IN * (len(row) - 1)) / sum(plane.size_mm[0] for plane in row)
        for row in rows
    ]
    heights = [
        scale * max(plane.size_mm[1] for plane in row)
        for row, scale in zip(rows, scales, strict=True)
    ]
    total = sum(heights) + _GAP_IN * (len(rows) - 1)
    figure = Figure(figsize=(WIDTH_IN, total), facecolor="black")
    # one pair of axes for all slices: a pair for each would cost more than the slices
    axes = figure.add_axes((0, 0, 1, 1), frameon=False, xlim=(0, WIDTH_IN), ylim=(0, total))
    axes.set_axis_off()
    axes.autoscale(enable=False)
    panels: list[Panel] = []
    top = total
    for row, scale, height in zip(rows, scales, heights, strict=True):
        left = 0.0
        for place, plane in enumerate(row):
            width_in, height_in = (scale * side for side in plane.size_mm)
            panel = Panel(axes, plane, left, top - (height + height_in) / 2, scale)
            _annotate(panel, sides=place == 0)
            panels.append(panel)
            left += width_in + _GAP_IN
        top -= height + _GAP_IN
    return figure, panels


def _annotate(panel: Panel, sides: bool) -> None:
    left, right, bottom, top = panel.extent_in
    text: dict[str, Any] = {"color": "#cbd2d9", "fontsize": 7}
    name = "xyz"[panel.plane.axis]
    position = f"{name} {panel.plane.position_mm:.0f}"
    panel.axes.text(right - 0.04, bottom + 0.03, position, ha="right", va="bottom", **text)
    if sides:
        first, last = ("P", "A") if panel.plane.axis == SAGITTAL else ("L", "R")
        middle = (bottom + top) / 2
        panel.axes.text(left + 0.04, middle, first, ha="left", va="center", weight="bold", **text)
        panel.axes.text(right - 0.04, middle, last, ha="right", va="center", weight="bold", **text)


def _show(
    panel: Panel,
    pixels: FloatArray,
    *,
    cmap: str,
    window: tuple[float, float],
    alpha: FloatArray | None = None,
) -> None:
    panel.axes.imshow(
        np.ma.masked_invalid(pixels),
        cmap=cmap,
        vmin=window[0],
        vmax=window[1],
        alpha=alpha,
        extent=panel.extent_in,
        origin="lower",
        aspect="auto",
        interpolation="bilinear",
    )


def _outline(panel: Panel, volume: Volume, colour: str) -> None:
    pixels = np.nan_to_num(panel.plane.sample(volume))
    if pixels.min() < 0.5 < pixels.max():
        panel.axes.contour(*panel.grid_in, pixels, levels=[0.5], colors=[colour], linewidths=0.6)


def _fill(panel: Panel, labels: Volume, colours: Mapping[int, Colour], alpha: float) -> None:
    pixels = np.nan_to_num(panel.plane.sample(labels, order=0)).astype(int)
    rgba = np.zeros((*pixels.shape, 4))
    for label in np.unique(pixels):
        if label in colours:
            rgba[pixels == label] = (*colours[label], alpha)
    panel.axes.imshow(
        rgba, extent=panel.extent_in, origin="lower", aspect="auto", interpolation="nearest"
    )


def _scale(figure: Figure, cmap: str, top: float, label: str) -> None:
    axes = figure.add_axes((1 - 0.66 / WIDTH_IN, 0.12, 0.14 / WIDTH_IN, 0.76))
    bar = figure.colorbar(ScalarMappable(Normalize(0.0, top), cmap), cax=axes, extend="max")
    bar.set_label(label, color="white")
    bar.outline.set_edgecolor("#7b8794")
    axes.tick_params(colors="white", labelcolor="white", labelsize=8)
