"""The page of a cohort: what was planned, what was found, and what was left out."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.reports.page import (
    SYMBOL_HTML,
    Card,
    Cell,
    Page,
    Section,
    Shown,
    Table,
    number,
    public,
    render_page,
)
from pipeline.statistics.study_plan import StudyPlan

_HEAD_NAMES = {
    "participant_id": "Subject",
    "session_id": "Session",
    "task": "Task",
    "tracer": "Tracer",
    "reconstruction": "Reconstruction",
    "run": "Run",
    "model": "Model",
    "pvc": "Partial-volume correction",
}
_ALWAYS_SHOWN = ("participant_id", "session_id")
_BLINDED = (
    "The study is blinded: nobody's group was read, all subjects are described together, and "
    "nothing was tested. petbind ... group --unblind reads the groups, and makes the tests."
)
_FAMILIES = {
    "confirmatory": "Confirmatory tests",
    "exploratory": "Exploratory tests",
    "descriptive": "Other terms of the same models, and sample sizes, for description",
}
_CHECKS = {
    "shapiro_p": "normal",
    "brown_forsythe_p": "equal variances",
    "mauchly_p": "sphericity",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupReport:
    """What the page of a cohort is made of."""

    plan: StudyPlan
    blinded: bool
    runs: pd.DataFrame
    """One row per PET run and region."""
    values: pd.DataFrame
    """Tidy values of the plan's variables."""
    results: pd.DataFrame
    """One row per planned test and region; empty while blinded."""
    exclusions: pd.DataFrame
    figures: Sequence[Shown]
    map_figures: Sequence[str]
    """Data URIs: mean maps, then maps of t where there are any."""
    map_facts: Sequence[Mapping[str, Any]]
    """Of every voxelwise comparison; see `CompareMaps`."""
    methods: Sequence[str]
    version: str


def render_group(report: GroupReport) -> str:
    """The page as HTML, the same for the same report."""
    sections = [
        _figures(report),
        *_tests(report),
        _maps(report),
        _left_out(report),
        _values(report),
        Section("methods", "Methods", text=[public(text) for text in report.methods]),
    ]
    return render_page(
        Page(
            title="Group results",
            kicker="petbind group report" + (", blinded" if report.blinded else ""),
            facts=_facts(report),
            cards=_cards(report),
            cards_title=f"Subjects with {report.plan.outcome} in every session",
            sections=[section for section in sections if section is not None],
            version=report.version,
        )
    )


def _facts(report: GroupReport) -> dict[str, str]:
    plan = report.plan
    runs = report.runs[_run_columns(report.runs)].drop_duplicates()
    facts = {
        "Sessions": " → ".join(plan.layout.sessions),
        "Subjects": str(report.values["participant_id"].nunique()),
        "PET runs": str(len(runs)),
        "Regions": ", ".join(plan.layout.regions),
        "Multiplicity": plan.multiplicity,
        "Alpha": f"{plan.alpha:g}",
    }
    if not report.blinded and plan.layout.groups:
        facts["Groups"] = " − ".join(plan.layout.groups)
    for name in ("tracer", "model", "pvc"):
        if name not in report.runs:
            continue
        labels = sorted(str(label) for label in report.runs[name].dropna().unique())
        if labels:
            facts[_HEAD_NAMES[name]] = ", ".join(labels)
    return facts


def _cards(report: GroupReport) -> list[Card]:
    """Subjects of every group that have the outcome in all sessions, somewhere."""
    outcome = report.values[report.values["variable"] == report.plan.outcome]
    outcome = outcome.assign(
        group=outcome["group"].fillna("all" if report.blinded else "no group")
    )
    if not report.plan.layout.groups:
        outcome = outcome.assign(group="all")
    cards = []
    for group, block in outcome.groupby("group", sort=False):
        there = block.dropna(subset=["value"]).groupby("participant_id")["session_id"].nunique()
        complete = int((there == len(report.plan.layout.sessions)).sum())
        cards.append(Card(str(group), str(complete), f"of {block['participant_id'].nunique()}"))
    return cards


def _figures(report: GroupReport) -> Section | None:
    if not report.figures:
        return None
    text = (_BLINDED,) if report.blinded else ()
    return Section("figures", "Figures", text=text, figures=report.figures)


def _tests(report: GroupReport) -> list[Section]:
    """One section per family: confirmatory, exploratory, and what is only described."""
    sections = []
    for family, title in _FAMILIES.items():
        block = report.results[report.results["family"] == family]
        if block.empty:
            continue
        tables = [_test_table(rows, report.plan) for _, rows in block.groupby("title", sort=False)]
        sections.append(
            Section(family, title, family.capitalize(), text=_reasons(block), tables=tables)
        )
    return sections


def _test_table(rows: pd.DataFrame, plan: StudyPlan) -> Table:
    """One planned test in every region and group."""
    columns = _test_columns(rows, plan)
    cells = [[cell(row) for cell in columns.values()] for row in rows.to_dict("records")]
    heads = [head.rstrip() for head in columns]
    return Table(heads, cells, _test_caption(rows, plan))


def _test_columns(
    rows: pd.DataFrame, plan: StudyPlan
) -> dict[str, Callable[[Mapping[Hashable, Any]], Cell]]:
    """Heads, and the cells below them; what is the same in all rows stands in the caption."""
    columns: dict[str, Callable[[Mapping[Hashable, Any]], Cell]] = {}
    if rows["region"].notna().any():
        columns["Region"] = lambda row: _text(row["region"])
    if rows["test_name"].nunique() > 1:
        columns["Term"] = lambda row: _text(row["test_name"])
    if rows["groups"].nunique() > 1:
        columns["Group"] = lambda row: _text(row["groups"])
    columns |= {
        "n": _numbers,
        "Left out": lambda row: number(row["n_missing"], ".0f"),
        "Statistic": _statistic,
        "p": lambda row: _p_cell(
            row["p"], plan.alpha if plan.multiplicity == "none" else math.nan
        ),
    }
    if plan.multiplicity != "none":
        columns["adjusted p"] = lambda row: _p_cell(row["p_adjusted"], plan.alpha)
    return columns | {
        "Estimate": _estimate,
        "95 % CI": _estimate_interval,
        "Effect": lambda row: number(row["effect"]),
        # heads of a table may be the same, keys may not
        "95 % CI ": lambda row: _interval(row["effect_low"], row["effect_high"], ".3f"),
        "Power": lambda row: number(row["power"]),
        "Against it": _against,
    }


def _test_caption(rows: pd.DataFrame, plan: StudyPlan) -> str:
    title, variable = _one_of(rows["title"]), _shown_variable(rows, plan)
    about = [] if rows["test_name"].nunique() > 1 else [_one_of(rows["test_name"])]
    about += [] if variable in title else [variable]
    if rows["groups"].nunique() == 1:
        about.append(_one_of(rows["groups"]))
    named = [
        f"{what}: {name}"
        for what, name in (
            ("Estimate", _one_of(rows["estimate_name"])),
            ("Effect", _one_of(rows["effect_name"])),
        )
        if name
    ]
    head = f"{title} ({'; '.join(about)})" if about else title
    return ". ".join([head, *named])


def _numbers(row: Mapping[Hashable, Any]) -> Cell:
    by_group = row["n_by_group"]
    text = by_group.replace(" ", " + ") if isinstance(by_group, str) else f"{row['n']:.0f}"
    return Cell(text, "number")


def _one_of(names: pd.Series[str]) -> str:
    """What all rows have in common; nothing where they differ."""
    told = names.dropna().unique()
    return str(told[0]) if len(told) == 1 else ""


def _shown_variable(rows: pd.DataFrame, plan: StudyPlan) -> str:
    first = rows.iloc[0]
    names = [first["variable"], first["with_variable"]]
    return " and ".join(plan.shown.get(name, name) for name in names if isinstance(name, str))


def _against(row: Mapping[Hashable, Any]) -> Cell:
    """Checks that speak against what the test takes for granted."""
    told = [name for key, name in _CHECKS.items() if row[key] < 0.05]
    return Cell(f"not {', not '.join(told)}" if told else "", "flag" if told else "text")


_MAP_CAPTIONS = (
    "Mean of the maps in MNI152 space, by group and session, with the regions outlined in "
    "colour. Grey: fewer than half of the subjects have a value.",
    "t of the change, voxel by voxel, with the regions outlined in colour, and in black what "
    "passes the threshold of the family-wise error, where that was asked for.",
)


def _maps(report: GroupReport) -> Section | None:
    if not report.map_figures:
        return None
    figures = [
        Shown(uri, caption)
        for uri, caption in zip(report.map_figures, _MAP_CAPTIONS, strict=False)
    ]
    heads = ["Comparison", "n", "Mask (mL)", "Smallest t", "Largest t", "Smallest family-wise p",
             "Significant (mL)", "Why there is none"]  # fmt: skip
    rows = [_map_cells(facts) for facts in report.map_facts]
    tables = [Table(heads, rows, "Change, voxel by voxel")] if rows else []
    return Section("maps", "Maps", figures=figures, tables=tables)


def _map_cells(facts: Mapping[str, Any]) -> list[Cell]:
    groups = facts["Groups"] or ["all subjects"]
    name = f"{groups[0]} − {groups[1]}" if len(groups) > 1 else groups[0]
    numbers = ("MaskVolume_mL", "SmallestT", "LargestT")
    return [
        Cell(str(name)),
        Cell(" + ".join(map(str, facts["N"])), "number"),
        *(number(facts.get(key, math.nan)) for key in numbers),
        _p_cell(facts.get("SmallestP", math.nan), math.nan),
        number(facts.get("SignificantVolume_mL", math.nan)),
        Cell(str(facts["Reason"])),
    ]


def _left_out(report: GroupReport) -> Section:
    columns = ("participant_id", "session_id", "region", "column", "value", "reason", "action")
    rows = [
        [
            number(row[key], ".4g")
            if key == "value"
            else Cell("" if pd.isna(row[key]) else public(str(row[key])))
            for key in columns
        ]
        for row in report.exclusions.to_dict("records")
    ]
    heads = ["Subject", "Session", "Region", "Variable", "Value", "What", "What was done"]
    return Section(
        "left-out",
        "What is missing or odd, and what was done about it",
        "Left out",
        text=() if rows else ("Nothing: every value is there, and none is odd.",),
        tables=[Table(heads, rows)] if rows else (),
    )


def _values(report: GroupReport) -> Section:
    keys = _run_columns(report.runs)
    shown_keys = [
        key for key in keys if key in _ALWAYS_SHOWN or report.runs[key].nunique(dropna=False) > 1
    ]
    names = list(report.runs["region"].unique())
    rows = []
    for _, run in report.runs.groupby(keys, dropna=False, sort=False):
        values = {row["region"]: row for row in run.to_dict("records")}
        first = run.iloc[0]
        labels = [_text(first[key]) for key in shown_keys]
        cells = [
            _value_cell(values[name], report.plan.outcome) if name in values else _absent()
            for name in names
        ]
        rows.append([*labels, *cells])
    heads = [*(_HEAD_NAMES.get(key, key) for key in shown_keys), *names]
    outcome = report.plan.outcome
    return Section(
        "values",
        SYMBOL_HTML.get(outcome, outcome) + " of every PET run",
        "Values",
        text=("† The fit was flagged; see the page of the session.",),
        tables=[Table(heads, rows)],
    )


def _run_columns(runs: pd.DataFrame) -> list[str]:
    return list(runs.columns[: list(runs.columns).index("index")])


def _value_cell(row: Mapping[Hashable, Any], outcome: str) -> Cell:
    cell = number(float(row[outcome]))
    return Cell(f"{cell.text} †", cell.kind) if isinstance(row["flag"], str) else cell


def _absent() -> Cell:
    return Cell("n/a", "missing")


def _text(label: Any) -> Cell:
    return Cell("n/a" if pd.isna(label) else str(label))


def _estimate(row: Mapping[Hashable, Any]) -> Cell:
    """Differences have a sign; subjects are whole."""
    if row["kind"] == "sample_size" and math.isfinite(row["estimate"]):
        return number(math.ceil(row["estimate"]), ".0f")
    return number(row["estimate"], ".3f" if row["kind"] == "fisher" else "+.3f")


def _estimate_interval(row: Mapping[Hashable, Any]) -> Cell:
    pattern = {"sample_size": ".0f", "fisher": ".3f"}.get(row["kind"], "+.3f")
    return _interval(row["ci_low"], row["ci_high"], pattern)


def _interval(low: float, high: float, pattern: str) -> Cell:
    if math.isnan(low) or math.isnan(high):
        return _absent()
    ends = ("∞" if end == math.inf else number(end, pattern).text for end in (low, high))
    return Cell(" to ".join(ends), "number")


def _statistic(row: Mapping[Hashable, Any]) -> Cell:
    cell = number(row["statistic"])
    if cell.kind == "missing":
        return cell
    degrees = [f"{row[key]:.4g}" for key in ("df1", "df2") if math.isfinite(row[key])]
    told = f" ({', '.join(degrees)})" if degrees else ""
    return Cell(f"{row['statistic_name']} = {cell.text}{told}", "number")


def _p_cell(p: float, alpha: float) -> Cell:
    if pd.isna(p):
        return _absent()
    text = "< 0.001" if p < 0.001 else f"{p:.3f}"
    return Cell(text, "strong" if p < alpha else "number")


def _reasons(table: pd.DataFrame) -> list[str]:
    missing = table[table["reason"].notna()]
    return [
        f"No result of “{title}” for "
        + ", ".join(
            " in ".join(str(row[key]) for key in ("region", "groups") if isinstance(row[key], str))
            or "anybody"
            for row in block.to_dict("records")
        )
        + f": {reason}."
        for (title, reason), block in missing.groupby(["title", "reason"], sort=False)
    ]
