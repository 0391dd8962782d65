"""Sessions that were run before, planned again as they were asked for."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.bids.entities import bare_label
from pipeline.bids.preflight import Plan
from pipeline.cli.participant import Task
from pipeline.cli.planning import plan_for, with_anatomy_found
from pipeline.config.load import changed_settings
from pipeline.core.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.execution.requests import Request


def work_dir_of(args: argparse.Namespace) -> Path:
    """Where intermediate results of an output lie."""
    named: Path | None = args.work_dir
    return (named or Path(f"{args.out_dir}-work")).absolute()


def requests_of(args: argparse.Namespace) -> list[Request]:
    """What was asked for of the sessions that the command line selects.

    Raises
    ------
    ConfigError
        If there is none.
    """
    from pipeline.execution.requests import read_requests

    if not args.out_dir.is_dir():
        raise ConfigError(f"{args.out_dir}: no such folder")
    found = read_requests(work_dir_of(args))
    # a study may have been copied since: what was asked for counts for the folder that is named
    chosen = [
        replace(request, out_dir=str(args.out_dir.absolute()))
        for request in found
        if _named(request.label, "sub", args.participant_label)
        and _named(request.label, "ses", args.session_label)
    ]
    if not chosen:
        known = ", ".join(request.label for request in found)
        raise ConfigError(f"no such session was run; there are: {known}")
    return chosen


def _named(label: str, key: str, wanted: Iterable[str]) -> bool:
    """Whether the label of a session holds one of some labels of an entity, or none is wanted."""
    entities = dict(part.split("-", 1) for part in label.split("_") if "-" in part)
    labels = [bare_label(text, key) for text in wanted]
    return not labels or entities.get(key) in labels


def tasks_of(requests: Sequence[Request], work_dir: Path) -> Iterator[Task]:
    """The sessions as they were asked for, those under the same settings together."""
    groups: dict[str, list[Request]] = {}
    for request in requests:
        same = (request.bids_dir, request.here, request.settings, request.versions)
        groups.setdefault(json.dumps(same, sort_keys=True, default=dict), []).append(request)
    for group in groups.values():
        with _relative_to(Path(group[0].here)):
            yield _task(group, work_dir)


def _task(group: Sequence[Request], work_dir: Path) -> Task:
    from workflows.anatomical import Folders

    first = group[0]
    folders = Folders(Path(first.bids_dir), Path(first.out_dir), work_dir)
    settings = with_anatomy_found(changed_settings(first.settings, ()), folders.bids_dir)
    everything = dict.fromkeys(
        f"{entity}_label" for entity in ("participant", "session", "tracer", "task", "rec", "run")
    )
    args = argparse.Namespace(
        bids_dir=folders.bids_dir,
        out_dir=folders.out_dir,
        work_dir=work_dir,
        **dict.fromkeys(everything, ()),
    )
    labels = {request.label for request in group}
    plan = _only(plan_for(args, settings), labels)
    changed = {request.label: request.changed for request in group if request.changed}
    return Task(plan, folders, settings, first.versions, changed)


def _only(plan: Plan, labels: set[str]) -> Plan:
    return replace(
        plan,
        scans=tuple(scan for scan in plan.scans if scan.label in labels),
        blocked=tuple((label, found) for label, found in plan.blocked if label in labels),
    )


@contextmanager
def _relative_to(folder: Path) -> Iterator[None]:
    """Relative paths among settings mean what they meant when the session was run."""
    before = Path.cwd()
    if folder.is_dir():
        os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
