"""`petbind BIDS OUT group`: the tables of all sessions become those of a paper."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pipeline.bids.group_table import (
    GROUP_NAMES,
    GroupSources,
    find_group_sources,
    group_place,
    source_uris,
)
from pipeline.cli.freezing import (
    HASHES,
    LOG,
    PLAN,
    frozen,
    hash_lines,
    log_unblinding,
    read_hashes,
    sha256,
)
from pipeline.config.schema import Settings

DONE, WRONG_USE = 0, 2


def run(args: argparse.Namespace, settings: Settings, work_dir: Path) -> int:
    """Test what the plan declares, or describe it where the study is blinded.

    Raises
    ------
    DataError
        If there are no tables of the choice.
    """
    from pipeline.execution.run import Limits, make_folder, run_graph
    from workflows.group import group_design, init_group_wf

    design = group_design(settings.group, unblind=args.unblind)
    sources = find_group_sources(args.out_dir, args.bids_dir, design)
    place = group_place(design.scans, design.outcome)
    folder = args.out_dir / place
    workflow = init_group_wf(args.out_dir, sources, design, settings)
    workflow.base_dir = str(work_dir)
    if args.unblind and not _has_groups(settings):
        print("petbind: the plan looks at no groups; none was read", file=sys.stderr)
    make_folder(folder)
    log = args.out_dir / "logs" / f"{place}_{LOG}"
    make_folder(log.parent)
    hashes = _freeze(folder, log, settings, sources)
    if args.unblind and _has_groups(settings):
        log_unblinding(log, hashes)
    failures = run_graph(workflow, Limits(settings.resources.n_procs, settings.resources.mem_gb))
    for failure in failures:
        print(f"petbind: group: {failure.reason}", file=sys.stderr)
    if failures:
        return WRONG_USE
    if design.blinded:
        _tell_blinded(folder)
    print(f"group page: {args.out_dir / place}.html")
    return DONE


def _has_groups(settings: Settings) -> bool:
    """Whether something would look at who is in which group."""
    group = settings.group
    return bool(group.group_column) if group.plan is None else group.plan.needs_groups


def _freeze(folder: Path, log: Path, settings: Settings, sources: GroupSources) -> dict[str, str]:
    """Write the plan and the hashes of all that goes in; returns the hashes."""
    plan = frozen(settings.group.model_dump(mode="json"))
    files = (*sources.clinical.every, *sources.derived)
    hashes = {PLAN: sha256(plan.encode())}
    hashes |= {
        uri: sha256(path.read_bytes())
        for uri, path in zip(source_uris(sources), files, strict=True)
    }
    if log.is_file() and read_hashes(folder / HASHES).get(PLAN) != hashes[PLAN]:
        print(
            f"petbind: the plan is not the one of the last run, and groups were read before: see "
            f"{log}; results of this plan are not of one that was declared before",
            file=sys.stderr,
        )
    (folder / PLAN).write_text(plan, encoding="utf-8")
    (folder / HASHES).write_text(hash_lines(hashes), encoding="utf-8")
    return hashes


def _tell_blinded(folder: Path) -> None:
    there = folder / f"{GROUP_NAMES['results']}.tsv"
    earlier = f"; {there}, and what else tells of groups, is of an earlier run with --unblind"
    print(
        "petbind: the study is blinded: nobody's group was read, all subjects are described "
        "together, nothing is tested; --unblind reads the groups"
        f"{earlier if there.is_file() else ''}",
        file=sys.stderr,
    )
