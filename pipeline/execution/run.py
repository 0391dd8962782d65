"""Running graphs to their end, whatever fails on the way, and nothing that is done already."""

from __future__ import annotations

import gc
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import networkx as nx
from nipype import config as nipype_config
from nipype import logging as nipype_logging

from pipeline.config.cluster import SlurmOptions
from pipeline.core.errors import ConfigError
from pipeline.execution.failures import Failure, explain
from pipeline.execution.graph import executable_graph, part_of
from pipeline.execution.locks import Locks
from pipeline.execution.multiproc import CollectingMultiProc
from pipeline.execution.node import _Keyed
from pipeline.execution.progress import Progress
from pipeline.execution.slurm import CollectingSlurmPlugin
from pipeline.execution.states import FOLLOWS, Look, State, crash_file, examine, lock_of

_LOG = logging.getLogger("petbind")

__all__ = ["Failure", "Limits", "Outcome", "explain", "make_folder", "run_graph", "run_graphs"]


@dataclass(frozen=True)
class Limits:
    """What a run may take."""

    n_procs: int
    mem_gb: float
    stop_on_first_crash: bool = False
    wait: bool = True
    """Whether to wait where another run is at the same session."""
    slurm: SlurmOptions | None = None
    """Where every node is a job of SLURM; processes and memory are then not limited here."""


@dataclass(frozen=True)
class Orders:
    """Which nodes of a graph run."""

    run: frozenset[Any] = frozenset()
    """Those that do, or are looked at when their turn comes."""
    forced: frozenset[Any] = frozenset()
    """Those among them whose result counts for nothing."""


Choice = Callable[[Any, dict[Any, Look]], Orders]
"""Gives the orders for an executable graph and what was seen of it."""


def what_is_not_done(graph: Any, looks: dict[Any, Look]) -> Orders:
    """Every node that is not done; what comes after one is not done either."""
    return Orders(frozenset(node for node, look in looks.items() if look.state is not State.DONE))


@dataclass
class Outcome:
    """What became of a run; nodes by their full names."""

    failures: list[Failure] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)
    """Computed in this run, in the order in which they ended."""
    cached: int = 0
    """How many were done before, or found to hold when their turn came."""


def make_folder(path: Path, advice: str = "") -> None:
    """Make a folder and those above it.

    Raises
    ------
    ConfigError
        If that cannot be done; the text names the folder, and ends with the advice.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        told = f"{path}: cannot make this folder ({error.strerror}){advice}"
        raise ConfigError(told) from error


def run_graph(workflow: Any, limits: Limits) -> list[Failure]:
    """Run every node of a workflow that can run; a failure stops only what depends on it.

    Parameters
    ----------
    workflow : nipype Workflow
        With its `base_dir` set; crash files go to ``crash`` in it. It is used up.
    limits : Limits
        Processes and memory.

    Returns
    -------
    list of Failure
        Empty if everything is done.
    """
    return run_graphs([workflow], limits).failures


Witness = Callable[[Any, frozenset[str]], None]
"""Is shown every executable graph when all is over, with the full names of what was computed."""


def run_graphs(
    workflows: Iterable[Any],
    limits: Limits,
    choose: Choice = what_is_not_done,
    witness: Witness | None = None,
) -> Outcome:
    """Run what is not done of several workflows with one base directory, together.

    Parameters
    ----------
    workflows : iterable of nipype Workflow
        Each is looked at when its turn comes and let go if nothing of it has to run.
    limits : Limits
        Processes, memory, patience.
    choose : callable
        Which nodes run; by default those that are not done.
    witness : callable, optional
        What to do with each graph at its end.
    """
    outcome, graphs, config = Outcome(), [], {}
    for workflow in workflows:
        crash_dir = Path(workflow.base_dir) / "crash"
        make_folder(crash_dir)
        _configure(workflow, crash_dir, limits.stop_on_first_crash)
        graph = executable_graph(workflow)
        looks = examine(graph)
        orders = choose(graph, looks)
        _tell_what_is_stale(looks)
        outcome.cached += len(graph) - len(orders.run)
        if orders.run:
            graphs.append(graph)
            config = next(iter(graph.nodes())).config
        elif witness is not None:
            witness(graph, frozenset())
    locks = Locks()
    try:
        chosen = _take_locks(graphs, limits, choose, locks)
        together = nx.DiGraph()
        for graph, orders in chosen:
            _prepare(orders)
            together.update(graph.subgraph(orders.run))
        if len(together):
            _carry_out(together, config, limits, locks, outcome)
    finally:
        locks.free()
        if witness is not None:
            for graph in graphs:
                witness(graph, frozenset(outcome.ran))
    return outcome


def _take_locks(
    graphs: list[Any], limits: Limits, choose: Choice, locks: Locks
) -> list[tuple[Any, Orders]]:
    """Take the locks of what has to run; what another run did meanwhile need not run again."""
    while True:
        chosen = [(graph, choose(graph, examine(graph))) for graph in graphs]
        needed = {lock_of(node) for _, orders in chosen for node in orders.run if _keyed(node)}
        if not locks.take(needed, wait=limits.wait):
            return chosen
        locks.free()


def _keyed(node: Any) -> bool:
    return isinstance(node, _Keyed)


def _prepare(orders: Orders) -> None:
    """Under the locks: forget what is to be forgotten."""
    for node in orders.run:
        crash_file(node).unlink(missing_ok=True)
        if node in orders.forced:
            node.forget()


def _carry_out(
    graph: Any, config: dict[str, Any], limits: Limits, locks: Locks, outcome: Outcome
) -> None:
    nodes = list(graph.nodes())
    watch = _Watch(nodes, locks, outcome)
    with Progress([node.fullname for node in nodes]) as progress:
        watch.progress = progress
        plugin = _plugin(limits, watch)
        # nipype collects garbage at every poll: what is there by now never becomes any
        with _frozen():
            try:
                plugin.run(graph, config=config)
            except KeyboardInterrupt:
                plugin.abort()
                raise
            except RuntimeError:
                # Nipype raises at the end of a run with crashes; anything else is not ours to hide
                if not plugin.crashes:
                    raise
    outcome.failures += [
        Failure(node.fullname, explain(trace), str(path)) for node, trace, path in plugin.crashes
    ]


def _plugin(limits: Limits, watch: _Watch) -> CollectingMultiProc | CollectingSlurmPlugin:
    """What runs the nodes."""
    if limits.slurm is not None:
        return CollectingSlurmPlugin(limits.slurm, {"status_callback": watch})
    return CollectingMultiProc(
        {
            "n_procs": limits.n_procs,
            "memory_gb": limits.mem_gb,
            "raise_insufficient": False,
            "status_callback": watch,
        }
    )


class _Watch:
    """Hears from Nipype what becomes of every node."""

    def __init__(self, nodes: list[Any], locks: Locks, outcome: Outcome) -> None:
        self.progress: Progress | None = None
        self._left = Counter(part_of(node) for node in nodes)
        self._locks, self._outcome = locks, outcome
        self._started: set[str] = set()

    def __call__(self, node: Any, status: str) -> None:
        """What Nipype calls with ``start``, ``end`` or ``exception``."""
        if node.fullname.split(".")[0] == node.fullname:
            # one of the nodes that a node over many inputs consists of
            return
        if self.progress is not None:
            self.progress(node, status)
        if status == "start":
            self._started.add(node.fullname)
        elif status == "end":
            self._ended(node)

    def _ended(self, node: Any) -> None:
        if node.fullname in self._started:
            self._outcome.ran.append(node.fullname)
            _tell_of_memory(node)
        else:
            self._outcome.cached += 1
        part = part_of(node)
        self._left[part] -= 1
        if not self._left[part] and _keyed(node):
            # others may go on with a session's anatomy while the session is under way
            self._locks.free([lock_of(node)])


def _tell_what_is_stale(looks: dict[Any, Look]) -> None:
    """Say why what was done has to be done again, where it begins."""
    for look in looks.values():
        if look.state is State.STALE and look.reason != FOLLOWS:
            _LOG.info("%s %s: %s", look.part, look.step, look.reason)


def _tell_of_memory(node: Any) -> None:
    record = node.record() if _keyed(node) else None
    if record is not None and record.peak_gb > record.declared_gb:
        _LOG.info(
            "%s took %.2f GB of memory, more than the %.2f GB it was given",
            node.fullname.split(".", 1)[-1],
            record.peak_gb,
            record.declared_gb,
        )


@contextmanager
def _frozen() -> Iterator[None]:
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _configure(workflow: Any, crash_dir: Path, stop_on_first_crash: bool) -> None:
    options = {
        "crashdump_dir": str(crash_dir),
        "crashfile_format": "txt",
        "stop_on_first_crash": str(stop_on_first_crash).lower(),
        "remove_unnecessary_outputs": "false",
        "create_report": "false",
        "use_relative_paths": "true",
        "poll_sleep_duration": "0.1",
        "check_version": "false",
    }
    for key, value in options.items():
        nipype_config.set("execution", key, value)
        workflow.config.setdefault("execution", {})[key] = value
    nipype_logging.update_logging(nipype_config)
    # Nipype's own lines repeat what the progress and the table of failures say
    for name in ("nipype.workflow", "nipype.interface", "nipype.utils"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
