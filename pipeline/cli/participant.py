"""The participant level: what runs, what is said of it, and what others need to look at it."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from rich.console import Console
from rich.table import Table

from pipeline import __version__
from pipeline.bids.derivatives import dataset_description, raw_link
from pipeline.bids.preflight import Plan
from pipeline.cli.planning import (
    folders_of,
    make_work_dir,
    needs_of,
    plan_for,
    require_scans,
    with_anatomy_found,
)
from pipeline.cli.tools import found_versions, require_tools
from pipeline.config.cluster import load_slurm_options
from pipeline.config.schema import Settings
from pipeline.core.errors import DataError
from pipeline.io.tables import read_json, read_table, write_json, write_table

if TYPE_CHECKING:
    from pipeline.bids.scan import ScanInputs
    from pipeline.execution.run import Failure, Limits, Outcome, Witness
    from workflows.anatomical import Folders

DONE, SOME_FAILED, WRONG_USE = 0, 1, 2
"""Exit codes."""
_LOG = logging.getLogger("petbind")

_NOT_IN_BIDS_YET = """\
*.html
group
group_*
logs/
**/*_xfm.*
**/*_mimap.*
**/*_kinpar.*
**/*_tacs.*
**/*_stats.*
**/*_morph.*
**/*_petref.*
**/*_timeseries.*
**/*_space-petref_desc-regions_dseg.*
**/*_space-T1w_desc-reference_mask.*
"""
"""Outputs whose names the released BIDS schema does not know."""


@dataclass(frozen=True)
class Task:
    """Sessions that are analysed under the same settings."""

    plan: Plan
    folders: Folders
    settings: Settings
    versions: Mapping[str, str]
    """Programs by others that nodes start, to their versions."""
    changed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Label of a session to the settings that `rerun` changed for it."""
    only_anatomies: bool = False
    """Whether the sessions themselves are left for later."""


def run_participants(args: argparse.Namespace, settings: Settings) -> int:
    """Analyse the sessions that were asked for; returns the exit code."""
    from pipeline.execution.run import make_folder, run_graphs

    folders, given = folders_of(args), settings
    limits = _limits(args, settings)
    settings = with_anatomy_found(settings, args.bids_dir)
    plan = _chosen(plan_for(args, settings), args.part)
    for label, findings in plan.blocked:
        for finding in findings:
            print(f"petbind: {label} will not run: {finding}", file=sys.stderr)
    require_scans(plan)
    needs = needs_of(args, plan, settings)
    require_tools(needs)
    make_folder(args.out_dir / "logs")
    make_work_dir(args)
    versions = found_versions(needs)
    describe_output(args.bids_dir, args.out_dir, settings, versions)
    _note_requests(plan, folders, given, versions)
    of_anatomy = bool(args.part) and args.part not in {scan.label for scan in plan.scans}
    task = Task(plan, folders, settings, versions, only_anatomies=of_anatomy)
    outcome = run_graphs(graphs_of(task), limits, witness=witness_of([task]))
    if of_anatomy and not outcome.failures:
        # its sessions are still to come
        print(f"{args.part}: done")
        return DONE
    return report_outcome(plan, outcome, folders)


def _limits(args: argparse.Namespace, settings: Settings) -> Limits:
    from pipeline.execution.run import Limits

    return Limits(
        settings.resources.n_procs,
        settings.resources.mem_gb,
        stop_on_first_crash=args.stop_on_first_crash,
        wait=not args.no_wait,
        slurm=load_slurm_options(args.plugin_args) if args.plugin == "slurm" else None,
    )


def _chosen(plan: Plan, part: str | None) -> Plan:
    from workflows.cohort import of_part

    return of_part(plan, part) if part else plan


def graphs_of(task: Task) -> Iterator[Any]:
    """A workflow for each T1w with its sessions: apart, they grow with the cohort, not faster."""
    from workflows.cohort import init_anatomies_wf, init_cohort_wf

    build = init_anatomies_wf if task.only_anatomies else init_cohort_wf
    noted = dict(task.plan.noted)
    of_t1w: dict[Path | None, list[ScanInputs]] = {}
    for scan in task.plan.scans:
        of_t1w.setdefault(scan.t1w, []).append(scan)
    subjects, known = dict(task.plan.subjects), dict(task.plan.voxels)
    for t1w, scans in of_t1w.items():
        kept = tuple((scan.label, noted.get(scan.label, ())) for scan in scans)
        subject = ((t1w, subjects[t1w]),) if t1w in subjects else ()
        part = Plan(tuple(scans), (), (), kept, subject, _voxels_of(scans, known))
        yield build(part, task.folders, task.settings, task.versions)


def _voxels_of(
    scans: Iterable[ScanInputs], known: Mapping[Path, int]
) -> tuple[tuple[Path, int], ...]:
    images = {path for scan in scans for path in (*scan.files, scan.t1w) if path is not None}
    return tuple((path, known[path]) for path in images if path in known)


def witness_of(tasks: Iterable[Task]) -> Witness:
    """Writes the provenance of every session that a graph holds."""
    from pipeline.execution.graph import part_of
    from pipeline.execution.provenance import write_provenance

    abouts = {about.label: about for task in tasks for about in _abouts(task)}

    def write(graph: Any, ran: frozenset[str]) -> None:
        for part in {part_of(node) for node in graph.nodes()} & set(abouts):
            write_provenance(graph, abouts[part], ran)

    return write


def _abouts(task: Task) -> Iterator[Any]:
    from pipeline.execution.provenance import About
    from workflows.cohort import parts_of

    settings = task.settings.model_dump(mode="json", exclude={"resources"})
    for scan in task.plan.scans:
        yield About(
            label=scan.label,
            parts=parts_of(scan),
            bids_dir=task.folders.bids_dir,
            out_dir=task.folders.out_dir,
            files=tuple(path for path in (*scan.files, scan.t1w) if path is not None),
            settings=settings,
            changed=task.changed.get(scan.label, ()),
            tools=task.versions,
        )


def _note_requests(
    plan: Plan, folders: Folders, settings: Settings, versions: Mapping[str, str]
) -> None:
    """Write what was asked for, for `status` and `rerun`, and tell what it replaces."""
    from pipeline.execution.requests import Request, read_request

    blocked = {label: " ".join(map(str, findings)) for label, findings in plan.blocked}
    labels = [*(scan.label for scan in plan.scans), *blocked]
    for label in labels:
        request = Request(
            label=label,
            bids_dir=str(folders.bids_dir),
            out_dir=str(folders.out_dir),
            here=str(Path.cwd()),
            settings=settings.model_dump(mode="json", exclude_unset=True),
            versions=dict(versions),
            blocked=blocked.get(label, ""),
        )
        before = read_request(folders.work_dir, label)
        if before is not None and before.changed:
            _LOG.info("%s: no longer %s, as rerun had it", label, ", ".join(before.changed))
        request.write(folders.work_dir)


def report_outcome(plan: Plan, outcome: Outcome, folders: Folders) -> int:
    """Print and write which sessions are done, and where the others stopped."""
    rows = [_row(scan, outcome.failures, folders) for scan in plan.scans]
    for label, findings in plan.blocked:
        reason = " ".join(str(finding) for finding in findings)
        rows.append({**_DONE_ROW, "session": label, "state": "not run", "reason": reason})
    _write_sessions(rows, folders)
    _print_outcome(rows)
    print(f"{len(outcome.ran)} nodes computed, {outcome.cached} as they were")
    print(f"results and pages: {folders.out_dir}")
    return DONE if all(row["state"] == "done" for row in rows) else SOME_FAILED


_DONE_ROW = {"session": "", "state": "done", "node": "n/a", "reason": "n/a", "crash_file": "n/a"}


def _row(scan: ScanInputs, failures: Iterable[Failure], folders: Folders) -> dict[str, str]:
    from workflows.cohort import parts_of

    row = {**_DONE_ROW, "session": scan.label}
    first = next((f for f in failures if f.part in parts_of(scan)), None)
    if first is None:
        return row
    said = {"node": first.step, "reason": _without_folders(first.reason, folders)}
    return {**row, "state": "failed", **said, "crash_file": Path(first.crash_file).name}


def _write_sessions(rows: list[dict[str, str]], folders: Folders) -> None:
    """Write the table of sessions; other runs, which may be at it now, keep their rows."""
    import pandas as pd

    path = folders.out_dir / "logs" / "sessions.tsv"
    with FileLock(folders.work_dir / "sessions.lock"):
        table = pd.DataFrame(with_rows(path, rows), columns=list(_DONE_ROW))
        partial = path.with_name(f".{path.name}.partial")
        write_table(partial, table).replace(path)


def with_rows(path: Path, rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """The rows of a table of sessions, with these in place of its own; by label."""
    try:
        before = read_table(path, as_text=True).to_dict("records")
    except DataError:
        before = []
    labels = {row["session"] for row in rows}
    kept = [row for row in before if row.get("session") not in labels]
    return sorted([*rows, *kept], key=lambda row: str(row.get("session")))


def _without_folders(reason: str, folders: Folders) -> str:
    """A reason on one line, with files named from the data set's or the output's top."""
    for folder in (folders.bids_dir, folders.out_dir, folders.work_dir):
        reason = reason.replace(f"{folder.resolve()}/", "").replace(f"{folder}/", "")
    return " ".join(reason.split())


def _print_outcome(rows: Iterable[Mapping[str, str]]) -> None:
    shown = Table(box=None, pad_edge=False)
    for heading in ("session", "state", "node", "reason"):
        shown.add_column(heading, overflow="fold")
    for row in rows:
        colour = {"done": "green", "failed": "red"}.get(row["state"], "yellow")
        cells = ["" if row[key] == "n/a" else row[key] for key in ("node", "reason")]
        shown.add_row(row["session"], f"[{colour}]{row['state']}[/]", *cells)
    Console().print(shown)


def describe_output(
    bids_dir: Path, out_dir: Path, settings: Settings, tools: Mapping[str, str]
) -> None:
    """Write `dataset_description.json` and the settings in force."""
    raw = bids_dir / "dataset_description.json"
    try:
        content = read_json(raw)
    except DataError:
        # `check` has told of it; nothing but names and links come from it
        content = {}
    link = raw_link(bids_dir, out_dir)
    description = dataset_description(__version__, content, link, tools=tools)
    write_json(out_dir / "dataset_description.json", description)
    (out_dir / ".bidsignore").write_text(_NOT_IN_BIDS_YET, encoding="utf-8")
    write_json(out_dir / "logs" / "settings.json", settings.model_dump(mode="json"))
