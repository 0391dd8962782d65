"""The drawing of a session's steps."""

import re

from pipeline.reports.steps import steps_figure
from pipeline.reports.style import figure_bytes

EDGES = [("a.one", "b.two"), ("b.two", "three"), ("a.one", "three"), ("a.zero", "three")]


def test_steps_stand_behind_what_they_wait_for():
    figure = steps_figure("steps", EDGES)
    x = {text.get_text(): text.get_position()[0] for text in figure.axes[0].texts}
    assert x["one"] < x["two"] < x["three"]
    # a step that nothing waits behind stands beside what it belongs to
    assert x["zero"] == x["two"]


def test_a_detour_replaces_the_short_cut():
    arrows = [p for p in steps_figure("", EDGES).axes[0].patches if hasattr(p, "get_arrowstyle")]
    assert len(arrows) == 3


def test_same_graph_same_bytes():
    first, second = (
        figure_bytes(steps_figure("steps", edges), "svg") for edges in (EDGES, EDGES[::-1])
    )
    assert first == second
    assert re.search(rb"<svg", first)
