"""`petbind stats`: a long table and a declared plan become the tables of a paper."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from pipeline import __version__
from pipeline.bids.paper_tables import PaperContents, paper_tables
from pipeline.bids.planned_tests import result_table
from pipeline.bids.result_rows import RESULT_COLUMNS
from pipeline.bids.study_descriptives import (
    DESCRIPTIVE_COLUMNS,
    STUDY_EXCLUSION_COLUMNS,
    descriptive_table,
)
from pipeline.bids.study_scores import planned_study, study_values
from pipeline.bids.study_table import Study
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
from pipeline.config.plan import Plan, load_plan
from pipeline.core.errors import ConfigError, DataError
from pipeline.io.tables import write_json, write_table
from pipeline.reports.group_figures import group_figures
from pipeline.reports.paper_tables import render_tables
from pipeline.reports.printed_table import PaperWords
from pipeline.reports.style import figure_bytes
from pipeline.statistics.methods import methods_of
from pipeline.statistics.multiplicity import METHODS as ADJUSTMENTS
from pipeline.statistics.study_plan import StudyPlan

DONE = 0


def run(args: argparse.Namespace) -> int:
    """Test what the plan declares, or describe it where the study is blinded."""
    from pipeline.execution.run import make_folder

    plan = load_plan(args.plan)
    blinded = plan.needs_groups and not args.unblind
    study = _study(args.table, args.plan, plan, unblind=not blinded)
    results = None if blinded else _results(args.table, study, plan)
    folder = args.output_dir or args.table.parent / f"{args.table.stem}_stats"
    declared = frozen(plan.model_dump(mode="json"))
    hashes = {
        PLAN: sha256(declared.encode()),
        args.table.name: sha256(args.table.read_bytes()),
    }
    _require_unchanged(folder, hashes, args.overwrite)
    make_folder(folder)
    (folder / PLAN).write_text(declared, encoding="utf-8")
    (folder / HASHES).write_text(hash_lines(hashes), encoding="utf-8")
    if plan.needs_groups and args.unblind:
        log_unblinding(folder / LOG, hashes)
    elif args.unblind:
        print("petbind: the plan looks at no groups; none was read", file=sys.stderr)
    about = _about(args.table, hashes, blinded)
    described = descriptive_table(study, plan.described)
    _write(folder / "descriptives.tsv", described, DESCRIPTIVE_COLUMNS, about)
    _write(folder / "exclusions.tsv", study.exclusion_table(), STUDY_EXCLUSION_COLUMNS, about)
    _write_for_paper(folder, study, plan.value, results, about)
    if results is None:
        _tell_blinded(folder)
    else:
        _write(folder / "results.tsv", results, RESULT_COLUMNS, about | _rules(plan))
        _show(results)
    print(folder)
    return DONE


def _write_for_paper(
    folder: Path,
    study: Study,
    plan: StudyPlan,
    results: pd.DataFrame | None,
    about: dict[str, Any],
) -> None:
    """Tables as a paper prints them, and figures."""
    values = study_values(study, plan.described)
    tested = pd.DataFrame(columns=list(RESULT_COLUMNS)) if results is None else results
    contents = PaperContents.of(plan)
    tables = paper_tables(values, tested, contents)
    for name, table in tables.items():
        _write(folder / f"table_{name}.tsv", table.frame, table.columns, about)
    words = PaperWords(labels=contents.labels, adjustment=ADJUSTMENTS[plan.multiplicity])
    page = render_tables({name: table.frame for name, table in tables.items()}, words)
    (folder / "tables.html").write_text(page, encoding="utf-8")
    for drawn in group_figures(plan, values, tested):
        for kind in ("svg", "png"):
            content = figure_bytes(drawn.figure, kind, dpi=300)
            (folder / f"figure_{drawn.name}.{kind}").write_bytes(content)


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
    return planned_study(table, plan.value, unblind=unblind)


def _header(table: Path) -> list[str]:
    try:
        with table.open(encoding="utf-8-sig") as file:
            return file.readline().rstrip("\r\n").split("\t")
    except (OSError, UnicodeDecodeError):
        return []  # whoever reads the table says what is wrong with it


def _results(table: Path, study: Study, plan: Plan) -> pd.DataFrame:
    try:
        return result_table(study, plan.value)
    except ValueError as error:
        raise DataError(f"{table}: {error}") from error


def _require_unchanged(folder: Path, hashes: dict[str, str], overwrite: bool) -> None:
    """A plan that was frozen, and its table, are what they were."""
    before = read_hashes(folder / HASHES)
    changed = [name for name, digest in hashes.items() if before.get(name) != digest]
    if not before or not changed:
        return
    if not overwrite:
        raise ConfigError(
            f"{folder}: was made of another {changed[0]} (SHA-256 in {HASHES}); give "
            "--overwrite to replace it, or another --output-dir"
        )
    for pattern in ("results.*", "table_*", "figure_*", "tables.html"):
        for path in folder.glob(pattern):
            path.unlink()  # of the earlier plan or table


def _about(table: Path, hashes: dict[str, str], blinded: bool) -> dict[str, Any]:
    return {
        "Blinded": blinded,
        "PlanSHA256": hashes[PLAN],
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
        "Methods": methods_of(plan.value),
    }


def _write(
    place: Path, table: pd.DataFrame, columns: Mapping[str, Any], about: Mapping[str, Any]
) -> None:
    write_table(place, table)
    write_json(place.with_suffix(".json"), {**columns, **about})


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
