"""`petbind stats`: a long table and a declared plan become the tables of a paper."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from pipeline import __version__
from pipeline.bids.planned_tests import result_table
from pipeline.bids.result_rows import RESULT_COLUMNS
from pipeline.bids.study_descriptives import (
    DESCRIPTIVE_COLUMNS,
    STUDY_EXCLUSION_COLUMNS,
    descriptive_table,
)
from pipeline.bids.study_table import Study, read_study, with_derived, with_outliers_listed
from pipeline.config.plan import Plan, load_plan
from pipeline.core.errors import ConfigError, DataError
from pipeline.io.tables import write_json, write_table
from pipeline.statistics.methods import methods_of

DONE = 0

_HASHES, _PLAN, _LOG = "sha256sums.txt", "plan.json", "unblinding.log"


def run(args: argparse.Namespace) -> int:
    """Test what the plan declares, or describe it where the study is blinded."""
    from pipeline.execution.run import make_folder

    plan = load_plan(args.plan)
    blinded = plan.needs_groups and not args.unblind
    study = _study(args.table, args.plan, plan, unblind=not blinded)
    results = None if blinded else _results(args.table, study, plan)
    folder = args.output_dir or args.table.parent / f"{args.table.stem}_stats"
    frozen = json.dumps(plan.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
    hashes = {
        _PLAN: hashlib.sha256(frozen.encode()).hexdigest(),
        args.table.name: hashlib.sha256(args.table.read_bytes()).hexdigest(),
    }
    _require_unchanged(folder, hashes, args.overwrite)
    make_folder(folder)
    (folder / _PLAN).write_text(frozen, encoding="utf-8")
    (folder / _HASHES).write_text(_sums(hashes), encoding="utf-8")
    if plan.needs_groups and args.unblind:
        _log_unblinding(folder / _LOG, hashes)
    elif args.unblind:
        print("petbind: the plan looks at no groups; none was read", file=sys.stderr)
    about = _about(args.table, hashes, blinded)
    described = descriptive_table(study, plan.described)
    _write(folder / "descriptives.tsv", described, DESCRIPTIVE_COLUMNS, about)
    _write(folder / "exclusions.tsv", study.exclusion_table(), STUDY_EXCLUSION_COLUMNS, about)
    if results is None:
        _tell_blinded(folder)
    else:
        _write(folder / "results.tsv", results, RESULT_COLUMNS, about | _rules(plan))
        _show(results)
    print(folder)
    return DONE


def _study(table: Path, plan_file: Path, plan: Plan, *, unblind: bool) -> Study:
    """Numbers of the plan, with its scores, and all that is odd listed."""
    header = _header(table)
    if twice := [column for column in header if header.count(column) > 1]:
        raise DataError(f"{table}: line 1: there are two columns '{twice[0]}'")
    clash = {score.name for score in plan.derived} & set(header)
    if clash:
        raise ConfigError(
            f"{plan_file}: derived {min(clash)}: {table} has a column of that name; choose another"
        )
    study = read_study(table, plan.layout, plan.numeric_columns, plan.words, unblind=unblind)
    return with_outliers_listed(with_derived(study, plan.derived), plan.described)


def _header(table: Path) -> list[str]:
    try:
        with table.open(encoding="utf-8-sig") as file:
            return file.readline().rstrip("\r\n").split("\t")
    except (OSError, UnicodeDecodeError):
        return []  # whoever reads the table says what is wrong with it


def _results(table: Path, study: Study, plan: Plan) -> pd.DataFrame:
    try:
        return result_table(
            study, plan.tests, plan.outcome, plan.covariates, plan.multiplicity, plan.alpha,
            plan.power,
        )  # fmt: skip
    except ValueError as error:
        raise DataError(f"{table}: {error}") from error


def _require_unchanged(folder: Path, hashes: dict[str, str], overwrite: bool) -> None:
    """A plan that was frozen, and its table, are what they were."""
    sums = folder / _HASHES
    if not sums.is_file():
        return
    lines = sums.read_text("utf-8").splitlines()
    before = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    changed = [name for name, digest in hashes.items() if before.get(name) != digest]
    if not changed:
        return
    if not overwrite:
        raise ConfigError(
            f"{folder}: was made of another {changed[0]} (SHA-256 in {_HASHES}); give "
            "--overwrite to replace it, or another --output-dir"
        )
    for name in ("results.tsv", "results.json"):
        (folder / name).unlink(missing_ok=True)  # of the earlier plan or table


def _sums(hashes: dict[str, str]) -> str:
    return "".join(f"{digest}  {name}\n" for name, digest in hashes.items())


def _log_unblinding(log: Path, hashes: dict[str, str]) -> None:
    """Add when groups were read, and by which plan, to the log."""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    told = " ".join(f"{name} sha256:{digest}" for name, digest in hashes.items())
    with log.open("a", encoding="utf-8") as file:
        file.write(f"{when} unblinded by petbind {__version__}: {told}\n")


def _about(table: Path, hashes: dict[str, str], blinded: bool) -> dict[str, Any]:
    return {
        "Blinded": blinded,
        "PlanSHA256": hashes[_PLAN],
        "Sources": [table.name],
        "SourceSHA256": hashes[table.name],
        "SoftwareName": "petbind",
        "SoftwareVersion": __version__,
    }


def _rules(plan: Plan) -> dict[str, Any]:
    return {
        "Alpha": plan.alpha,
        "Multiplicity": plan.multiplicity,
        "Power": plan.power,
        "Methods": methods_of(plan),
    }


def _write(
    place: Path, table: pd.DataFrame, columns: dict[str, dict[str, str]], about: dict[str, Any]
) -> None:
    write_table(place, table)
    write_json(place.with_suffix(".json"), columns | about)


def _tell_blinded(folder: Path) -> None:
    there = folder / "results.tsv"
    earlier = f"; {there} is of an earlier run with --unblind" if there.is_file() else ""
    print(
        "petbind: the plan compares groups, and without --unblind nobody's group is read: all "
        f"subjects are described together, nothing is tested{earlier}",
        file=sys.stderr,
    )


def _show(results: pd.DataFrame) -> None:
    shown = Table(box=None, pad_edge=False)
    for heading in ("test", "region", "groups", "n"):
        shown.add_column(heading, overflow="fold")
    for heading in ("statistic", "p", "adjusted"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for row in results.to_dict("records"):
        described = f"{row['title']}: {row['test_name']}"
        title = described if row["family"] == "descriptive" else row["title"]
        cells = [title, row["region"], row["groups"], row["n"]]
        name = row["statistic_name"]
        statistic = f"{name} {row['statistic']:.3g}" if isinstance(name, str) else ""
        p = [f"{row[key]:.3g}" if row[key] == row[key] else "n/a" for key in ("p", "p_adjusted")]
        told = ["" if cell is None or cell != cell else str(cell) for cell in cells]
        shown.add_row(*told, statistic, *p)
    Console().print(shown)
