"""A drawing of the steps of a session and of what waits for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import networkx as nx
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from pipeline.reports.style import BLUE, CYCLE, INK, MUTED, styled

_COLUMN_IN, _ROW_IN = 1.55, 0.75
_BOX_IN = (1.25, 0.42)
_SWEEPS = 8


@styled
def steps_figure(title: str, edges: Sequence[tuple[str, str]]) -> Figure:
    """Steps from left to right, each behind everything that it waits for.

    Parameters
    ----------
    title : str
        Above the drawing.
    edges : sequence of (str, str)
        Pairs of steps, earlier first, named ``group.step``; the groups are told apart by colour.
        A step that waits for another only by way of a third gets no arrow from it.

    Returns
    -------
    Figure
        As large as the graph needs.
    """
    graph = nx.transitive_reduction(nx.DiGraph(sorted(edges)))
    places = _places(graph)
    columns, rows = np.array(list(places.values())).max(axis=0) + 1
    size = (columns * _COLUMN_IN, rows * _ROW_IN + 0.5)
    figure = Figure(figsize=size)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, size[0]), ylim=(0, size[1]))
    axes.axis("off")
    axes.text(0.15, size[1] - 0.3, title, weight="bold", color=INK)
    centres = {
        step: ((column + 0.5) * _COLUMN_IN, (row + 0.5) * _ROW_IN)
        for step, (column, row) in places.items()
    }
    for earlier, later in graph.edges:
        (x0, y0), (x1, y1) = centres[earlier], centres[later]
        ends = (x0 + _BOX_IN[0] / 2, y0), (x1 - _BOX_IN[0] / 2, y1)
        axes.add_patch(
            FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=8, color=MUTED, linewidth=0.8)
        )
    groups = sorted({step.rpartition(".")[0] for step in graph})
    colours = dict(zip(groups, CYCLE * len(groups), strict=False))
    for step, (x, y) in centres.items():
        group, _, name = step.rpartition(".")
        corner = x - _BOX_IN[0] / 2, y - _BOX_IN[1] / 2
        axes.add_patch(
            FancyBboxPatch(
                corner, *_BOX_IN, boxstyle="round,pad=0,rounding_size=0.07",
                facecolor="white", edgecolor=colours.get(group, BLUE), linewidth=1.4,
            )
        )  # fmt: skip
        axes.text(x, y + 0.07 * bool(group), name, ha="center", va="center", fontsize=7.5)
        axes.text(x, y - 0.1, group, ha="center", va="center", fontsize=6, color=MUTED)
    return figure


def _places(graph: nx.DiGraph) -> Mapping[str, tuple[float, float]]:
    """Column and row of every step; rows in the order of what comes before and after."""
    column = _columns(graph)
    layers = [
        sorted(step for step in graph if column[step] == c)
        for c in range(max(column.values()) + 1)
    ]
    row = {step: float(place) for layer in layers for place, step in enumerate(layer)}
    for sweep in range(_SWEEPS):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            beside = {
                step: [row[other] for other in (*graph.pred[step], *graph.succ[step])]
                for step in layer
            }
            wanted = {step: np.mean(rows) if rows else row[step] for step, rows in beside.items()}
            layer.sort(key=lambda step: (wanted[step], step))
            row |= {step: float(place) for place, step in enumerate(layer)}
    tallest = max(len(layer) for layer in layers)
    return {
        step: (column[step], row[step] + (tallest - len(layers[column[step]])) / 2)
        for step in graph
    }


def _columns(graph: nx.DiGraph) -> dict[str, int]:
    """As far left as what comes before allows, then drawn right to what comes after."""
    order = list(nx.topological_sort(graph))
    column: dict[str, int] = {}
    for step in order:
        column[step] = 1 + max((column[other] for other in graph.pred[step]), default=-1)
    for step in reversed(order):
        after = [column[other] for other in graph.succ[step]]
        column[step] = min(after) - 1 if after else column[step]
    return column
