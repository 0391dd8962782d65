"""The page of a cohort: who was compared, what changed, and what was left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from pipeline.reports.cohort import cohort_figure, value_figure
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
from pipeline.reports.style import data_uri

_ALPHA = 0.05
_HEAD_NAMES = {
    "participant_id": "Subject",
    "session_id": "Session",
    "group": "Group",
    "task": "Task",
    "tracer": "Tracer",
    "reconstruction": "Reconstruction",
    "run": "Run",
    "model": "Model",
    "pvc": "Partial-volume correction",
}
_ALWAYS_SHOWN = ("participant_id", "session_id", "group")


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupReport:
    """What the page of a cohort is made of."""

    sessions: tuple[str, ...]
    """The two sessions compared, earlier first; empty where none are."""
    regions: pd.DataFrame
    """One row per PET run and region."""
    pairs: pd.DataFrame
    """One row per subject and region."""
    exclusions: pd.DataFrame
    paired: pd.DataFrame
    interaction: pd.DataFrame
    uptake_paired: pd.DataFrame
    """The same tests of the uptake of the reference region, by measure."""
    uptake_interaction: pd.DataFrame
    methods: Sequence[str]
    version: str


def group_figure(report: GroupReport) -> Figure:
    """The cohort's figure: before and after, or all values where sessions are not compared."""
    if report.pairs.empty:
        return value_figure(report.regions)
    return cohort_figure(report.pairs, report.paired, report.interaction, report.sessions)


def render_group(report: GroupReport) -> str:
    """The page as HTML, the same for the same report."""
    sections = [
        _figure(report),
        _interaction(report),
        _paired(report),
        _uptake(report),
        _left_out(report),
        _values(report),
        Section("methods", "Methods", text=[public(text) for text in report.methods]),
    ]
    compared = " → ".join(report.sessions) or "sessions not compared"
    runs = report.regions[_run_columns(report.regions)].drop_duplicates()
    facts = {
        "Sessions compared": compared,
        "Subjects": str(report.regions["participant_id"].nunique()),
        "PET runs": str(len(runs)),
        "Regions": str(report.regions["region"].nunique()),
    }
    for name in ("tracer", "model", "pvc"):
        if name not in report.regions:
            continue
        labels = sorted(str(label) for label in report.regions[name].dropna().unique())
        if labels:
            facts[_HEAD_NAMES[name]] = ", ".join(labels)
    return render_page(
        Page(
            title="Group results",
            kicker="petbind group report",
            facts=facts,
            cards=_cards(report),
            cards_title="Subjects with both sessions",
            sections=[section for section in sections if section is not None],
            version=report.version,
        )
    )


def _cards(report: GroupReport) -> list[Card]:
    if report.pairs.empty:
        return []
    subjects = report.pairs.dropna(subset=["change"]).groupby("group")["participant_id"].nunique()
    everyone = report.pairs.groupby("group")["participant_id"].nunique()
    return [
        Card(str(group), str(int(subjects.get(group, 0))), f"of {int(total)}")
        for group, total in everyone.items()
    ]


def _figure(report: GroupReport) -> Section:
    caption = (
        "Binding potential of every PET run, by region."
        if report.pairs.empty
        else "Every subject's binding potential (thin lines) and the mean of those with both "
        "sessions (thick). Crosses: subjects with one session only, not in mean or test. p by "
        "group from paired t tests, not corrected for the number of regions."
    )
    shown = Shown(data_uri(group_figure(report), "svg"), caption)
    return Section("figure", "Binding potentials", "Figure", figures=[shown])


def _paired(report: GroupReport) -> Section | None:
    if report.paired.empty:
        return None
    return Section(
        "paired",
        "Change within groups",
        text=_reasons(report.paired),
        tables=[_paired_table(report.paired, report.sessions)],
    )


def _uptake(report: GroupReport) -> Section | None:
    """Whether treatment changes the region that everything is measured against."""
    if report.uptake_paired.empty:
        return None
    tables = [_paired_table(report.uptake_paired, report.sessions)]
    if not report.uptake_interaction.empty:
        tables.append(_interaction_table(report.uptake_interaction))
    return Section(
        "uptake",
        "Uptake of the reference region by the dose",
        "Reference",
        text=(
            "Models with a reference region take treatment to leave it alone; a change of its "
            "uptake by the dose speaks against that.",
            *_reasons(report.uptake_paired),
        ),
        tables=tables,
    )


def _paired_table(paired: pd.DataFrame, sessions: tuple[str, ...]) -> Table:
    first, second = (label.removeprefix("ses-") for label in sessions)
    heads = [
        *_division_heads(paired),
        "n",
        "Left out",
        f"Mean {first}",
        f"Mean {second}",
        "Difference",
        "95 % CI",
        "Change (%)",
        "t (df)",
        "p",
        "dz",
    ]
    rows = []
    for row in paired.to_dict("records"):
        rows.append(
            [
                *_division_cells(row, paired),
                number(row["n"], ".0f"),
                number(row["n_missing"], ".0f"),
                number(row["mean_first"]),
                number(row["mean_second"]),
                number(row["mean_difference"], "+.3f"),
                _interval(row["ci_low"], row["ci_high"]),
                number(row["percent_change"], "+.1f"),
                _statistic(row["t"], f"({row['df']:.0f})"),
                _p_cell(row["p"]),
                number(row["dz"]),
            ]
        )
    return Table(heads, rows)


def _interaction(report: GroupReport) -> Section | None:
    if report.pairs.empty:
        return None
    if report.interaction.empty:
        found = report.pairs["group"].nunique()
        text = f"Not tested: it needs exactly two groups, and participants.tsv names {found}."
        return Section("interaction", "Group × time", text=[text])
    return Section(
        "interaction",
        "Group × time",
        text=_reasons(report.interaction),
        tables=[_interaction_table(report.interaction)],
    )


def _interaction_table(interaction: pd.DataFrame) -> Table:
    names = interaction.iloc[0]
    heads = [
        *_division_heads(interaction),
        f"n {names['group_a']}",
        f"n {names['group_b']}",
        f"Change {names['group_a']}",
        f"Change {names['group_b']}",
        "Difference",
        "95 % CI",
        "F (df)",
        "p",
        "Partial η²",
        "Hedges g",
    ]
    rows = []
    for row in interaction.to_dict("records"):
        rows.append(
            [
                *_division_cells(row, interaction),
                number(row["n_a"], ".0f"),
                number(row["n_b"], ".0f"),
                number(row["mean_change_a"], "+.3f"),
                number(row["mean_change_b"], "+.3f"),
                number(row["difference"], "+.3f"),
                _interval(row["ci_low"], row["ci_high"]),
                _statistic(row["F"], f"({row['df_effect']:.0f}, {row['df_error']:.0f})"),
                _p_cell(row["p"]),
                number(row["partial_eta2"], ".3f"),
                number(row["hedges_g"]),
            ]
        )
    return Table(heads, rows)


def _left_out(report: GroupReport) -> Section:
    rows = [
        [
            Cell(str(row["participant_id"])),
            Cell("n/a" if pd.isna(row["session_id"]) else str(row["session_id"])),
            Cell(str(row["region"])),
            Cell(public(str(row["reason"]))),
        ]
        for row in report.exclusions.to_dict("records")
    ]
    heads = ["Subject", "Session", "Region", "Why"]
    return Section(
        "left-out",
        "What was left out",
        "Left out",
        text=() if rows else ("Nothing: every session has a value in every region.",),
        tables=[Table(heads, rows)] if rows else (),
    )


def _values(report: GroupReport) -> Section:
    keys = _run_columns(report.regions)
    shown_keys = [
        key
        for key in keys
        if key in _ALWAYS_SHOWN or report.regions[key].nunique(dropna=False) > 1
    ]
    names = list(report.regions["region"].unique())
    rows = []
    for _, run in report.regions.groupby(keys, dropna=False, sort=False):
        values = {row["region"]: row for row in run.to_dict("records")}
        first = run.iloc[0]
        labels = ["n/a" if pd.isna(first[key]) else str(first[key]) for key in shown_keys]
        cells = [_value_cell(values[name]) if name in values else _absent() for name in names]
        rows.append([*map(Cell, labels), *cells])
    heads = [*(_HEAD_NAMES.get(key, key) for key in shown_keys), *names]
    return Section(
        "values",
        SYMBOL_HTML["BPND"] + " of every PET run",
        "Values",
        text=("† The fit was flagged; see the page of the session.",),
        tables=[Table(heads, rows)],
    )


def _run_columns(regions: pd.DataFrame) -> list[str]:
    return list(regions.columns[: list(regions.columns).index("index")])


def _value_cell(row: dict[str, object]) -> Cell:
    cell = number(float(str(row["BPND"])))
    return Cell(f"{cell.text} †", cell.kind) if isinstance(row["flag"], str) else cell


def _absent() -> Cell:
    return Cell("n/a", "missing")


def _division_columns(table: pd.DataFrame) -> list[str]:
    """Region, group, and whatever else sets rows apart."""
    end = min(list(table.columns).index(name) for name in ("n", "n_a") if name in table.columns)
    others = [name for name in table.columns[:end] if not str(name).startswith("group_")]
    return [
        name
        for name in others
        if name in ("region", "group") or table[name].nunique(dropna=False) > 1
    ]


def _division_heads(table: pd.DataFrame) -> list[str]:
    return [_HEAD_NAMES.get(name, name.capitalize()) for name in _division_columns(table)]


def _division_cells(row: dict[str, object], table: pd.DataFrame) -> list[Cell]:
    return [Cell("n/a" if pd.isna(row[c]) else str(row[c])) for c in _division_columns(table)]


def _interval(low: float, high: float) -> Cell:
    low_text, high_text = number(low, "+.3f"), number(high, "+.3f")
    if "missing" in (low_text.kind, high_text.kind):
        return _absent()
    return Cell(f"{low_text.text} to {high_text.text}", "number")


def _statistic(value: float, degrees: str) -> Cell:
    cell = number(value)
    return cell if cell.kind == "missing" else Cell(f"{cell.text} {degrees}", "number")


def _p_cell(p: float) -> Cell:
    if pd.isna(p):
        return _absent()
    text = "< 0.001" if p < 0.001 else f"{p:.3f}"
    return Cell(text, "strong" if p < _ALPHA else "number")


def _reasons(table: pd.DataFrame) -> list[str]:
    missing = table[table["reason"].notna()]
    return [
        "No test for "
        + ", ".join(
            str(row["region"]) + (f" in {row['group']}" if "group" in row else "")
            for row in block.to_dict("records")
        )
        + f": {reason}."
        for reason, block in missing.groupby("reason", sort=False)
    ]
