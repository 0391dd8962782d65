"""Draw `monte_carlo.svg`: bias and scatter of BPND by region and model.

Run from the top of the repository: `PYTHONPATH=tests python docs/draw_monte_carlo.py`
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from monte_carlo import MonteCarlo, run
from pipeline.reports.style import distinct_colours, figure_bytes

SCANS = 400


def draw(table: MonteCarlo) -> Figure:
    """Two panels: bias with twice its standard error, and coefficient of variation."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, 2)
    place = np.arange(len(table.regions))
    width = 0.8 / len(table.models)
    colours = distinct_colours(len(table.models))
    for number, (model, colour) in enumerate(zip(table.models, colours, strict=True)):
        at = place + (number - (len(table.models) - 1) / 2) * width
        error = 2 * table.cv_percent[number] / np.sqrt(SCANS)
        panels[0].bar(at, table.bias_percent[number], width, yerr=error, color=colour, label=model,
                      error_kw={"linewidth": 0.8})  # fmt: skip
        panels[1].bar(at, table.cv_percent[number], width, color=colour)
    for panel, label in zip(panels, ("Bias of BPND (%)", "Scatter of BPND (CV, %)"), strict=True):
        panel.set_xticks(place, table.regions)
        panel.set_ylabel(label)
        panel.axhline(0, color="black", linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].legend(fontsize=8, frameon=False, loc="lower left")
    return figure


if __name__ == "__main__":
    target = Path(__file__).with_name("monte_carlo.svg")
    target.write_bytes(figure_bytes(draw(run(SCANS)), "svg"))
