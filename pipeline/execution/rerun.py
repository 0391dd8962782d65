"""Which nodes a name means, and what runs when they run again."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from pipeline.core.errors import ConfigError
from pipeline.execution.graph import above, below, in_order, part_of, step_of
from pipeline.execution.run import Orders
from pipeline.execution.states import Look, State


@dataclass(frozen=True)
class Again:
    """Runs some nodes again, with what their new results change.

    Parameters
    ----------
    names : sequence of str
        Steps, nodes, or patterns of them; see `matches`.
    parts : collection of str
        Sessions and anatomies that they may lie in.
    only : bool
        Leave what depends on them as it is.
    """

    names: Sequence[str]
    parts: Collection[str]
    only: bool = False

    def chosen(self, graph: Any) -> set[Any]:
        """The nodes that are meant."""
        return {
            node
            for node in graph.nodes()
            if part_of(node) in self.parts
            and any(matches(name, step_of(node)) for name in self.names)
        }

    def __call__(self, graph: Any, looks: dict[Any, Look]) -> Orders:
        """The orders for a graph: see `pipeline.execution.run.Choice`."""
        chosen = self.chosen(graph)
        run = chosen | {n for n in above(graph, chosen) if looks[n].state is not State.DONE}
        if self.only:
            return Orders(frozenset(run), frozenset(chosen))
        later = below(graph, run)
        for node in in_order(graph):
            # what also waits for something else that is not done cannot run yet
            ready = (n in run or looks[n].state is State.DONE for n in graph.predecessors(node))
            if node in later and all(ready):
                run.add(node)
        return Orders(frozenset(run), frozenset(chosen))


def matches(name: str, step: str) -> bool:
    """Whether a name means a node: by its step, by its own name, by both, or by a pattern.

    Examples
    --------
    >>> node = "coregistration_wf.coregister"
    >>> [matches(n, node) for n in ("coregistration", "coregister", "coregistration.coregister")]
    [True, True, True]
    >>> matches("coreg*", node), matches("*.coregister", node), matches("page", node)
    (True, True, False)
    """
    plain, wanted = plain_name(step), plain_name(name)
    own = plain.rpartition(".")[2]
    return (
        fnmatchcase(plain, wanted) or fnmatchcase(own, wanted) or fnmatchcase(plain, f"{wanted}.*")
    )


def plain_name(name: str) -> str:
    """A name without the endings of workflows.

    Examples
    --------
    >>> plain_name("coregistration_wf.coregister"), plain_name("motion_wf")
    ('coregistration.coregister', 'motion')
    """
    return ".".join(part.removesuffix("_wf") for part in name.split("."))


def require_known(names: Iterable[str], steps: Collection[str]) -> None:
    """Refuse names that mean no node, with the nearest that does.

    Raises
    ------
    ConfigError
        Naming each of them.
    """
    plain = {plain_name(step) for step in steps}
    known = sorted(
        plain | {n.rpartition(".")[2] for n in plain} | {n.split(".")[0] for n in plain}
    )
    told = []
    for name in names:
        if not any(matches(name, step) for step in steps):
            near = difflib.get_close_matches(plain_name(name), known, n=1, cutoff=0.3)
            told.append(
                f"no node is called {name}" + (f"; did you mean {near[0]}?" if near else "")
            )
    if told:
        raise ConfigError("\n".join([*told, f"nodes: {', '.join(sorted(plain))}"]))
