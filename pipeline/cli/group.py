"""`petbind BIDS OUT group`: the tables of all sessions become those of a paper."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pipeline.bids.cohort_table import gather
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
    first_plan,
    frozen,
    hash_lines,
    log_results,
    log_unblinding,
    sha256,
)
from pipeline.cli.planning import make_work_dir
from pipeline.config.schema import Settings
from pipeline.io.tables import read_table

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
    # what is wrong with the tables, before anybody's group is read
    gather(sources, replace(design, unblind=False))
    place = group_place(design.scans, design.outcome)
    folder, log = args.out_dir / place, args.out_dir / "logs" / f"{place}_{LOG}"
    plan = frozen(settings.group.model_dump(mode="json"))
    hashes = {PLAN: sha256(plan.encode())} | _table_hashes(sources)
    make_folder(folder)
    make_folder(log.parent)
    make_work_dir(args)
    reading = args.unblind and _has_groups(settings)
    if reading:
        _tell_of_other_plan(log, hashes)
        log_unblinding(log, hashes)
    elif args.unblind:
        print("petbind: the plan looks at no groups; none was read", file=sys.stderr)
    design = replace(design, plan_sha256=hashes[PLAN])
    workflow = init_group_wf(args.out_dir, sources, design, settings)
    workflow.base_dir = str(work_dir)
    resources = settings.resources
    limits = Limits(resources.n_procs, resources.mem_gb, wait=not args.no_wait)
    failures = run_graph(workflow, limits)
    for failure in failures:
        print(f"petbind: group: {failure.reason}", file=sys.stderr)
    if failures:
        return WRONG_USE
    if design.blinded:
        _tell_blinded(folder)
    if not design.blinded or not _has_results(folder):
        (folder / PLAN).write_text(plan, encoding="utf-8")
        (folder / HASHES).write_text(hash_lines(hashes), encoding="utf-8")
    if reading:
        log_results(log, hashes)
    _tell_of_exclusions(folder)
    print(f"group page: {args.out_dir / place}.html")
    return DONE


def _has_groups(settings: Settings) -> bool:
    """Whether something would look at who is in which group."""
    group = settings.group
    return bool(group.group_column) if group.plan is None else group.plan.needs_groups


def _table_hashes(sources: GroupSources) -> dict[str, str]:
    """Hash of every table that goes in, by its URI."""
    files = (*sources.clinical.every, *sources.derived)
    return {
        uri: sha256(path.read_bytes())
        for uri, path in zip(source_uris(sources), files, strict=True)
    }


def _tell_of_other_plan(log: Path, hashes: Mapping[str, str]) -> None:
    if first_plan(log) in ("", hashes[PLAN]):
        return
    print(
        f"petbind: this is not the plan that results were first made of, see {log}: it was not "
        "declared before groups were read",
        file=sys.stderr,
    )


def _tell_of_exclusions(folder: Path) -> None:
    table = folder / f"{GROUP_NAMES['exclusions']}.tsv"
    if lines := len(read_table(table)):
        print(f"petbind: {lines} things missing or odd, see {table}", file=sys.stderr)


def _tell_blinded(folder: Path) -> None:
    print(
        "petbind: the study is blinded: nobody's group was read, all subjects are described "
        "together, nothing is tested; --unblind reads the groups",
        file=sys.stderr,
    )
    if _has_results(folder):
        print(
            f"petbind: what tells of groups in {folder}, such as its tests, is of an earlier run "
            "with --unblind",
            file=sys.stderr,
        )


def _has_results(folder: Path) -> bool:
    """Whether tests were made, by this run or another."""
    return (folder / f"{GROUP_NAMES['results']}.tsv").is_file()
