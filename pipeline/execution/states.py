"""How far every node of a graph is: found by looking, without running or changing anything."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from pipeline.execution.failures import explain
from pipeline.execution.graph import in_order, part_of, step_of
from pipeline.execution.locks import is_held
from pipeline.execution.node import _Keyed
from pipeline.execution.record import Record

FOLLOWS = "what it depends on is not done"
"""Why a node is stale that may yet hold."""


class State(StrEnum):
    """Of a node."""

    DONE = "done"
    STALE = "stale"
    FAILED = "failed"
    RUNNING = "running"
    WAITING = "waiting"


@dataclass(frozen=True)
class Look:
    """What was seen of a node."""

    part: str
    """The session or anatomy it belongs to."""
    step: str
    """Its name within the part."""
    state: State
    reason: str = ""
    """Why it is not done, a phrase."""
    crash_file: str = ""
    seconds: float = math.nan
    peak_gb: float = math.nan
    declared_gb: float = math.nan

    @property
    def over_gb(self) -> float:
        """Memory above what was declared, GiB; NaN where it was not measured."""
        return self.peak_gb - self.declared_gb


def examine(graph: Any) -> dict[Any, Look]:
    """The state of every node of an executable graph, by node, in an order they can run in.

    A node whose predecessors are not all done cannot be known to hold: it is stale if there is a
    result of it, and waiting if there is none.
    """
    looks: dict[Any, Look] = {}
    folders: dict[str, Look] = {}
    for node in in_order(graph):
        ready = all(looks[before].state is State.DONE for before in graph.predecessors(node))
        place = node.output_dir()
        if place in folders:
            # steps of one graph may share a node
            looks[node] = replace(folders[place], part=part_of(node), step=step_of(node))
        else:
            looks[node] = folders[place] = _see(node, ready)
    return looks


def _see(node: Any, ready: bool) -> Look:
    if not isinstance(node, _Keyed):
        # Nipype decides when it comes to it
        return _look(node, State.WAITING)
    record = node.record()
    if record is not None:
        if not ready:
            return _look(node, State.STALE, FOLLOWS, record=record)
        reason = node.why_not_done()
        state = State.STALE if reason else State.DONE
        return _look(node, state, reason, record=record)
    if is_held(lock_of(node)) and any(node.folder().glob("_0x*_unfinished.json")):
        return _look(node, State.RUNNING)
    crash = crash_file(node)
    if crash.is_file():
        return _look(node, State.FAILED, why_it_failed(crash), str(crash))
    return _look(node, State.WAITING)


def _look(
    node: Any, state: State, reason: str = "", crash: str = "", record: Record | None = None
) -> Look:
    costs = {} if record is None else {k: getattr(record, k) for k in _COSTS}
    return Look(part_of(node), step_of(node), state, reason, crash, **costs)


_COSTS = ("seconds", "peak_gb", "declared_gb")


def crash_file(node: Any) -> Path:
    """Where a failure of a node is told."""
    return Path(node.base_dir) / "crash" / f"crash-{node.fullname}.txt"


def lock_of(node: Any) -> Path:
    """The lock of the part that a node belongs to."""
    return Path(node.base_dir) / "locks" / f"{part_of(node)}.lock"


def why_it_failed(crash: Path) -> str:
    """The line of a crash file that a person should read."""
    try:
        return explain(crash.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return "see the crash file"


def counts(looks: Mapping[Any, Look]) -> dict[State, int]:
    """How many nodes are in each state."""
    told = dict.fromkeys(State, 0)
    for look in looks.values():
        told[look.state] += 1
    return told
