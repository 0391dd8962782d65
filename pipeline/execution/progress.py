"""How far every session has come: one line each on a terminal, log lines elsewhere."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

_LOG = logging.getLogger("petbind")


@dataclass
class _Row:
    total: int
    done: int = 0
    running: list[str] = field(default_factory=list)
    failed: bool = False
    started_s: float | None = None
    ended_s: float | None = None

    @property
    def state(self) -> str:
        if self.failed:
            return "failed"
        if self.done == self.total:
            return "done"
        return ", ".join(self.running) or ("waiting" if self.started_s is None else "queued")

    @property
    def seconds(self) -> float:
        if self.started_s is None:
            return 0.0
        return (self.ended_s or time.monotonic()) - self.started_s


class Progress:
    """Counts the nodes of every sub-workflow of a cohort as Nipype reports them.

    Parameters
    ----------
    nodes : list of str
        Full names ``<cohort>.<session>.<...>`` of all nodes that will run.
    console : rich.console.Console, optional
        Where to draw; standard error by default. Where it is no terminal, lines are logged.
    """

    def __init__(self, nodes: list[str], console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._rows: dict[str, _Row] = {}
        for name in nodes:
            self._rows.setdefault(row_name(name), _Row(0)).total += 1
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(
                get_renderable=self._table, console=self._console, refresh_per_second=4
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, node: Any, status: str) -> None:
        """What Nipype calls with ``start``, ``end`` or ``exception``."""
        name = node.fullname
        row, step = self._rows[row_name(name)], step_name(name)
        if status == "start":
            row.started_s = row.started_s or time.monotonic()
            row.running.append(step)
            return
        computed = step in row.running
        if computed:
            row.running.remove(step)
        row.done += status == "end"
        row.failed |= status == "exception"
        finished = row.done == row.total
        if finished or row.failed:
            row.ended_s = time.monotonic()
        if self._live is None:
            ended = "done" if computed else "holds"
            what = "failed at" if status == "exception" else ended
            _LOG.info("%s  %d/%d  %s %s", row_name(name), row.done, row.total, what, step)

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False)
        for heading, justify in (("", "left"), ("nodes", "right"), ("", "left"), ("s", "right")):
            table.add_column(heading, justify=justify)  # type: ignore[arg-type]
        for name, row in self._rows.items():
            colour = "red" if row.failed else "green" if row.done == row.total else ""
            table.add_row(
                name,
                f"{row.done}/{row.total}",
                f"[{colour}]{row.state}[/]" if colour else row.state,
                f"{row.seconds:.0f}" if row.started_s is not None else "",
            )
        return table


def row_name(fullname: str) -> str:
    """The sub-workflow a node lies in, or the workflow itself, without its ``_wf``."""
    parts = fullname.split(".")
    return parts[1 if len(parts) > 2 else 0].removesuffix("_wf")


def step_name(fullname: str) -> str:
    """The node within its row."""
    return fullname.split(".", 2 if fullname.count(".") > 1 else 1)[-1]
