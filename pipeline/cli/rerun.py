"""`petbind rerun`: some nodes again, with what their new results change, and nothing else."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.bids.preflight import Plan
from pipeline.cli.participant import DONE, Task, graphs_of, report_outcome, witness_of
from pipeline.cli.recorded import requests_of, tasks_of, work_dir_of
from pipeline.cli.status import looks_of
from pipeline.config.load import changed_settings
from pipeline.core.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.config.schema import Settings
    from pipeline.execution.requests import Request
    from pipeline.execution.rerun import Again

_OF_ANATOMY = ("anatomy", "normalisation", "parcellation")


def run(args: argparse.Namespace) -> int:
    """Run nodes again, or print which would run; returns the exit code."""
    from pipeline.execution.rerun import Again, require_known
    from workflows.cohort import parts_of

    work_dir = work_dir_of(args)
    requests = [_changed(request, args.overrides) for request in requests_of(args)]
    _require_whole_anatomies(args, requests)
    tasks = list(tasks_of(requests, work_dir))
    scans = [scan for task in tasks for scan in task.plan.scans]
    if not scans:
        raise ConfigError("none of these sessions can run; see petbind status OUT")
    again = Again(args.nodes, {part for scan in scans for part in parts_of(scan)}, args.only)
    require_known(args.nodes, _steps(tasks[0]))
    if args.dry_run:
        _print_plan(tasks, again)
        return DONE
    for request in requests:
        request.write(work_dir)
    return _run(args, tasks, again)


def _changed(request: Request, overrides: Sequence[str]) -> Request:
    """What was asked for, with changed settings; a setting changed again counts once."""
    settings = changed_settings(request.settings, overrides)
    told = {text.partition("=")[0].strip(): text for text in (*request.changed, *overrides)}
    dumped = settings.model_dump(mode="json", exclude_unset=True)
    return replace(request, settings=dumped, changed=tuple(told.values()))


def _require_whole_anatomies(args: argparse.Namespace, requests: Sequence[Request]) -> None:
    """Refuse a change of an anatomy for some of the sessions that share it."""
    sections = [text.partition(".")[0].strip() for text in args.overrides]
    touched = [section for section in sections if section in _OF_ANATOMY]
    if not touched:
        return
    everyone = argparse.Namespace(**{**vars(args), "session_label": ()})
    chosen = {request.label for request in requests}
    left = [request.label for request in requests_of(everyone) if request.label not in chosen]
    if left:
        raise ConfigError(
            f"--set {touched[0]}...: sessions share their anatomy; change it for all of the "
            f"subject's: {', '.join(left)} too"
        )


def _steps(task: Task) -> set[str]:
    from pipeline.execution.graph import executable_graph, step_of

    first = next(graphs_of(task))
    return {step_of(node) for node in executable_graph(first).nodes()}


def _run(args: argparse.Namespace, tasks: Sequence[Task], again: Again) -> int:
    from pipeline.execution.run import Limits, run_graphs

    resources = _resources(args, tasks[0].settings)
    limits = Limits(*resources, wait=not args.no_wait)
    outcome = run_graphs(_graphs(tasks), limits, again, witness_of(tasks))
    for name in outcome.ran:
        part, _, step = name.split(".", 1)[1].partition(".")
        print(f"computed  {part.removesuffix('_wf')}  {step}")
    begun = _begun(tasks, {failure.part for failure in outcome.failures})
    for label, count in begun.items():
        print(f"{label}: {count} nodes are not done; petbind status OUT tells which")
    scans = [scan for task in tasks for scan in task.plan.scans if scan.label not in begun]
    return report_outcome(Plan(tuple(scans), (), (), ()), outcome, tasks[0].folders)


def _begun(tasks: Sequence[Task], failed: Collection[str]) -> dict[str, int]:
    """Sessions in which nothing failed, but not everything is done, and how many nodes are not."""
    from pipeline.execution.states import State
    from workflows.cohort import parts_of

    told = {}
    for task in tasks:
        parts = {scan.label: parts_of(scan) for scan in task.plan.scans}
        for label, looks in looks_of(task):
            left = sum(look.state is not State.DONE for look in looks)
            if left and not set(parts[label]) & set(failed):
                told[label] = left
    return told


def _resources(args: argparse.Namespace, settings: Settings) -> tuple[int, float]:
    of_run = settings.resources
    return args.n_procs or of_run.n_procs, args.mem_gb or of_run.mem_gb


def _graphs(tasks: Sequence[Task]) -> Iterator[Any]:
    for task in tasks:
        yield from graphs_of(task)


def _print_plan(tasks: Sequence[Task], again: Again) -> None:
    """Print what would run for certain, and what may, where new results differ from the old."""
    from pipeline.execution.graph import executable_graph, in_order, part_of, step_of
    from pipeline.execution.states import State, examine

    for workflow in _graphs(tasks):
        graph = executable_graph(workflow)
        looks = examine(graph)
        orders = again(graph, looks)
        for node in in_order(graph):
            if node in orders.run:
                sure = node in orders.forced or looks[node].state is not State.DONE
                print(f"{'runs' if sure else 'may run'}  {part_of(node)}  {step_of(node)}")
