"""Figures over time: head motion, and measured and fitted time-activity curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.core.timing import FrameTiming
from pipeline.core.volume import BoolArray, FloatArray, IntArray
from pipeline.reports.overlays import WIDTH_IN
from pipeline.reports.style import BLUE, CYCLE, INK, MUTED, SYMBOLS, VERMILLION, styled

_COLUMNS = 4
_BQ_PER_KBQ = 1000.0


@dataclass(frozen=True, eq=False)
class Motion:
    """Head motion of every frame against the reference."""

    timing: FrameTiming
    translation_mm: FloatArray
    """(F, 3), along x, y and z."""
    rotation_rad: FloatArray
    """(F, 3), about x, y and z."""
    displacement_mm: FloatArray
    """Framewise displacement, (F,); NaN for the first frame."""
    standard_error: FloatArray
    """(F, 6), mm and rad; NaN where a frame has no estimate of its own."""
    group: IntArray
    """(F,); frames of one number share a transform."""
    source: Sequence[str]
    """Of every frame's transform: estimated, interpolated, copied or none."""
    counts: FloatArray
    """Decays in the head, (F,)."""
    quality: Mapping[str, Any] = field(default_factory=dict)
    """What was decided and found: keys as in the sidecar of the table of motion."""

    @property
    def estimated(self) -> BoolArray:
        """Frames with an estimate of their own or of their group, (F,)."""
        return np.array([source == "estimated" for source in self.source])

    @property
    def moved_within(self) -> Mapping[int, float]:
        """Frame to how far the head moved within it at least, mm."""
        frames = self.quality.get("FramesMovedWithin", ())
        return dict(zip(frames, self.quality.get("FramesMovedWithin_mm", ()), strict=True))


@dataclass(frozen=True, eq=False)
class Curves:
    """Time-activity curves of regions."""

    timing: FrameTiming
    measured_bqml: Mapping[str, FloatArray]
    """Region to (F,) activity, decay-corrected, the reference region among them."""
    fitted_bqml: Mapping[str, FloatArray]
    """Region to (F,) model curve; regions without a fit are absent."""
    reference: str = ""
    """Name of the reference region; empty if there is none."""


@styled
def motion_figure(motion: Motion) -> Figure:
    """Translations and rotations with their standard errors, and displacement, over time."""
    figure = Figure(figsize=(WIDTH_IN, 5.6), layout="constrained")
    axes = figure.subplots(3, 1, sharex=True)
    none = np.full((len(motion.timing), 1), np.nan)
    panels = (
        (motion.translation_mm, motion.standard_error[:, :3], "Translation (mm)", 1.0),
        (
            np.rad2deg(motion.rotation_rad),
            np.rad2deg(motion.standard_error[:, 3:]),
            "Rotation (degrees)",
            1.0,
        ),
        (motion.displacement_mm[:, None], none, "Framewise displacement (mm)", 1.0),
    )
    for ax, (values, errors, title, least) in zip(axes, panels, strict=True):
        _shade_frames(ax, motion)
        for column in range(values.shape[1]):
            name, colour = ("xyz"[column], CYCLE[column]) if values.shape[1] == 3 else ("", INK)
            ax.plot(
                *_broken(motion.timing, values[:, column]),
                color=colour,
                marker="o",
                markersize=3,
                linewidth=1.2,
                label=name,
            )
            low, high = (
                values[:, column] - errors[:, column],
                values[:, column] + errors[:, column],
            )
            ax.vlines(motion.timing.mid_min, low, high, color=colour, linewidth=0.9)
        ax.set_title(title)
        _at_least(ax, -least if values.shape[1] == 3 else 0.0, least)
        if values.shape[1] == 3:
            ax.legend(loc="upper left", ncols=3, handlelength=1.2, bbox_to_anchor=(0.2, 1.18))
    axes[-1].set_xlabel("Time after injection (min)")
    axes[-1].set_xlim(0, float(motion.timing.end_min[-1]))
    return figure


@styled
def curve_figure(
    curves: Curves, estimates: Mapping[str, float], parameter: str = "BPND"
) -> Figure:
    """One panel per region: measured points, fitted line, and the reference in grey.

    Parameters
    ----------
    curves : Curves
        What to draw.
    estimates : mapping
        Region to its main parameter, for the titles; NaN where there is none.
    parameter : str
        Which one that is.
    """
    names = [name for name in curves.measured_bqml if name != curves.reference]
    rows = max(-(-len(names) // _COLUMNS), 1)
    figure = Figure(figsize=(WIDTH_IN, 2.05 * rows + 0.35), layout="constrained")
    grid = figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False)
    for ax, name in zip(grid.flat, names, strict=False):
        _one_region(ax, curves, name)
        _write_estimate(ax, parameter, estimates.get(name, np.nan))
    for ax in grid.flat[len(names) :]:
        ax.set_axis_off()
    grid[0, 0].set_xlim(0, float(curves.timing.end_min[-1]))
    grid[0, 0].set_ylim(bottom=min(0.0, grid[0, 0].get_ylim()[0]))
    figure.supxlabel("Time after injection (min)", fontsize=9)
    figure.supylabel("Activity (kBq/mL)", fontsize=9)
    return figure


def _one_region(ax: Axes, curves: Curves, name: str) -> None:
    timing = curves.timing
    if curves.reference in curves.measured_bqml:
        reference = curves.measured_bqml[curves.reference] / _BQ_PER_KBQ
        dashes = (0, (3, 1.5))
        ax.plot(*_broken(timing, reference), color=MUTED, linewidth=1.0, linestyle=dashes)
    if name in curves.fitted_bqml:
        fitted = curves.fitted_bqml[name] / _BQ_PER_KBQ
        ax.plot(*_broken(timing, fitted), color=VERMILLION, linewidth=1.4)
    ax.plot(
        timing.mid_min,
        curves.measured_bqml[name] / _BQ_PER_KBQ,
        linestyle="none",
        marker="o",
        markersize=3.2,
        markerfacecolor="white",
        markeredgecolor=BLUE,
        markeredgewidth=0.9,
    )
    ax.set_title(name)


def _broken(timing: FrameTiming, values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Middles of frames, minutes, and values for a line that stops where the scan does."""
    breaks = np.flatnonzero(timing.after_gap(_BREAK_S))
    return np.insert(timing.mid_min, breaks, np.nan), np.insert(values, breaks, np.nan)


_BREAK_S = 60.0
"""A line does not cross a longer time without frames."""


def _write_estimate(ax: Axes, parameter: str, estimate: float) -> None:
    shown = f"{estimate:.2f}" if np.isfinite(estimate) else "n/a"
    text = f"{SYMBOLS.get(parameter, parameter)} {shown}"
    ax.text(0.97, 0.95, text, transform=ax.transAxes, ha="right", va="top")


def _shade_frames(ax: Axes, motion: Motion) -> None:
    """Grey where a frame has no estimate, red where the head moved within it."""
    spans = zip(motion.timing.start_min, motion.timing.end_min, motion.estimated, strict=True)
    for frame, (start, end, estimated) in enumerate(spans):
        if not estimated:
            ax.axvspan(start, end, color="#e4e7eb", linewidth=0)
        elif frame in motion.moved_within:
            ax.axvspan(start, end, color="#f7d9c9", linewidth=0)


def _at_least(ax: Axes, low: float, high: float) -> None:
    """Widen the limits, so that a still head does not look like a moving one."""
    bottom, top = ax.get_ylim()
    ax.set_ylim(min(bottom, low), max(top, high))


CURVE_KEY = ((BLUE, "measured"), (VERMILLION, "fitted"), (MUTED, "reference region"))
"""Colours of `curve_figure` and what they mean."""
