"""`petbind status`: how far every session is, node by node, and what was altered by hand."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from pipeline.cli.participant import DONE, SOME_FAILED, Task, graphs_of
from pipeline.cli.recorded import requests_of, tasks_of, work_dir_of

if TYPE_CHECKING:
    from pipeline.execution.provenance import Altered
    from pipeline.execution.requests import Request
    from pipeline.execution.states import Look

_COLOURS = {"done": "green", "failed": "red", "stale": "yellow", "running": "cyan"}
_WORST = ("failed", "running", "stale", "waiting", "done")


@dataclass(frozen=True)
class SessionState:
    """What was seen of a session: its own nodes and those of its anatomy."""

    label: str
    looks: tuple[Look, ...]
    problem: str = ""
    """Why it has no nodes; empty if it has."""
    changed: tuple[str, ...] = ()
    """Settings that `rerun` changed for it."""
    altered: tuple[Altered, ...] = field(default=())

    @property
    def state(self) -> str:
        """The state of a node that says most."""
        if self.problem:
            return "not run"
        states = {str(look.state) for look in self.looks}
        return next((state for state in _WORST if state in states), "done")

    @property
    def is_done(self) -> bool:
        """Whether there is nothing to do, and nothing was altered."""
        return self.state == "done" and not any(a.what != "not looked at" for a in self.altered)

    def counted(self, state: str) -> int:
        """How many nodes are in a state."""
        return sum(str(look.state) == state for look in self.looks)


def run(args: argparse.Namespace) -> int:
    """Print how far every session is; 0 only if all is done."""
    requests = requests_of(args)
    sessions = list(look_at(requests, work_dir_of(args), verify=args.verify))
    if args.json:
        print(json.dumps([_plain(session) for session in sessions], indent=2))
    else:
        _print(sessions, every_node=args.nodes)
    return DONE if all(session.is_done for session in sessions) else SOME_FAILED


def look_at(
    requests: Sequence[Request], work_dir: Path, *, verify: bool = False
) -> Iterator[SessionState]:
    """The state of sessions, in the order of their labels within the same settings."""
    blocked = {request.label: request.blocked for request in requests}
    for task in tasks_of(requests, work_dir):
        seen = {label: (looks, "") for label, looks in looks_of(task)}
        for label, findings in task.plan.blocked:
            seen[label] = ((), " ".join(map(str, findings)))
        for label, (looks, problem) in seen.items():
            blocked.pop(label, None)
            altered = _verified(label, task) if verify else ()
            yield SessionState(label, looks, problem, task.changed.get(label, ()), altered)
    for label, problem in blocked.items():
        yield SessionState(label, (), problem or "it is no longer in the data set")


def looks_of(task: Task) -> Iterator[tuple[str, tuple[Look, ...]]]:
    """Labels of sessions, each with what was seen of its nodes and of its anatomy."""
    from pipeline.execution.graph import executable_graph
    from pipeline.execution.states import examine
    from workflows.cohort import parts_of

    scans = {scan.label: scan for scan in task.plan.scans}
    for workflow in graphs_of(task):
        looks = examine(executable_graph(workflow)).values()
        parts = {look.part for look in looks}
        for label in [label for label in scans if label in parts]:
            own = parts_of(scans[label])
            yield label, tuple(look for look in looks if look.part in own)


def _verified(label: str, task: Task) -> tuple[Altered, ...]:
    from pipeline.execution.provenance import verify

    bids_dir = task.folders.bids_dir
    found = verify(task.folders.out_dir, label, bids_dir if bids_dir.is_dir() else None)
    return tuple(found)


def _print(sessions: Sequence[SessionState], *, every_node: bool) -> None:
    console = Console()
    console.print(_session_table(sessions))
    shown = {
        # sessions share their anatomy
        (look.part, look.step): look
        for session in sessions
        for look in session.looks
        if every_node or str(look.state) in ("failed", "running") or _is_cause(look)
    }.values()
    if shown:
        console.print()
        console.print(_node_table(shown))
        print()
        for look in shown:
            if look.reason:
                print(f"{look.part} {look.step}: {' '.join(look.reason.split())}")
            if look.crash_file:
                print(f"  {look.crash_file}")
    for session in sessions:
        if session.changed:
            print(f"{session.label}: rerun with {', '.join(session.changed)}")
        for altered in session.altered:
            print(f"{session.label}: {altered.name}: {altered.what}")
        if session.problem:
            print(f"{session.label}: {session.problem}")


def _is_cause(look: Look) -> bool:
    from pipeline.execution.states import FOLLOWS

    return str(look.state) == "stale" and look.reason != FOLLOWS


def _session_table(sessions: Sequence[SessionState]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("session")
    table.add_column("state")
    for heading in (*_WORST[::-1], "s", "GB"):
        table.add_column(heading, justify="right")
    for session in sessions:
        seconds = math.fsum(v for look in session.looks if not math.isnan(v := look.seconds))
        peaks = [look.peak_gb for look in session.looks if not math.isnan(look.peak_gb)]
        counts = [session.counted(state) for state in _WORST[::-1]]
        table.add_row(
            session.label,
            _coloured(session.state),
            *(str(count) if count else "" for count in counts),
            f"{seconds:.0f}" if session.looks else "",
            f"{max(peaks):.2f}" if peaks else "",
        )
    return table


def _node_table(looks: Iterable[Look]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("part", "node", "state"):
        table.add_column(heading, no_wrap=True)
    for heading in ("s", "GB"):
        table.add_column(heading, justify="right")
    for look in looks:
        table.add_row(
            look.part,
            look.step,
            _coloured(str(look.state)),
            _number(look.seconds, 1),
            _number(look.peak_gb, 2),
        )
    return table


def _coloured(state: str) -> str:
    colour = _COLOURS.get(state)
    return f"[{colour}]{state}[/]" if colour else state


def _number(value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}"


def _plain(session: SessionState) -> dict[str, Any]:
    return {
        "session": session.label,
        "state": session.state,
        "problem": session.problem,
        "changed": list(session.changed),
        "altered": [{"name": a.name, "what": a.what} for a in session.altered],
        "nodes": [
            {
                "part": look.part,
                "node": look.step,
                "state": str(look.state),
                "reason": look.reason,
                "crash_file": look.crash_file,
                **{
                    name: None if math.isnan(value) else round(value, 3)
                    for name, value in (
                        ("seconds", look.seconds),
                        ("peak_gb", look.peak_gb),
                        ("declared_gb", look.declared_gb),
                    )
                },
            }
            for look in session.looks
        ],
    }
