"""The long table of a cohort: what its plan looks at, a row per subject, session and region."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.bids.clinical import ClinicalTables
from pipeline.bids.entities import parse_name
from pipeline.bids.group_table import GroupSources, read_runs
from pipeline.core.errors import DataError
from pipeline.io.tables import read_json, read_table
from pipeline.statistics.design import GroupDesign
from pipeline.statistics.study_plan import MOTION, OF_SCAN, RADIOCHEMISTRY, StudyPlan, usual_plan

_KEYS = ["participant_id", "session_id"]
_NO_SESSION = "none"
"""Label of scans that belong to no session."""
_VOLUME = "volume-mm3"
_OF_SIDECAR = {
    "injected_mbq": "InjectedRadioactivity",
    "molar_activity_gbq_per_umol": "MolarActivity",
    "injected_mass_ug": "InjectedMass",
}
_OF_WINDOW = {"scan": "", "late": "_late"}


@dataclass(frozen=True, eq=False)
class Cohort:
    """Tables of a cohort and the plan that they are for."""

    runs: pd.DataFrame
    """One row per PET run and region; see `read_runs`."""
    table: pd.DataFrame
    """One row per subject, session and region, runs averaged; clinical columns as text."""
    plan: StudyPlan


def gather(sources: GroupSources, design: GroupDesign) -> Cohort:
    """Tables of a cohort from its files.

    The column of the groups is looked at only where the design says that the study is unblinded.

    Raises
    ------
    DataError
        If a file cannot be read, or the files do not hold what the plan names; with the file, and
        column and line where there is one.
    """
    runs = read_runs(sources, design.outcome, design.sessions)
    clinical = ClinicalTables.read(sources.clinical)
    regions = tuple(dict.fromkeys(runs["region"]))
    table = _averaged(runs, design.outcome)
    sessions = design.sessions or tuple(dict.fromkeys(sorted(table["session_id"])))
    _require_sessions(sessions, table)
    scans = _of_scans(sources)
    measured = tuple(name for name in OF_SCAN if scans[name].notna().any())
    groups = _groups(clinical, design)
    if design.plan is None:
        found = _group_labels(groups, table)
        plan = usual_plan(
            regions, sessions, design.group_column, found, measured, tested=bool(design.sessions)
        )
    else:
        plan = design.plan.with_columns_of_scan(measured)
        _require_regions(plan.layout.regions_read, regions)
        _require_groups(plan, groups)
    table = _with_every_session(table, clinical.planned_sessions(sessions), regions)
    table = table.merge(_volumes(sources.morph_files), on=[*_KEYS, "name"], how="left")
    table = table.merge(scans, on=_KEYS, how="left")
    table = _with_clinical(table, clinical, plan)
    if groups is not None:
        column = plan.layout.columns.group
        table.insert(2, column, table["participant_id"].map(groups))
    return Cohort(runs=runs, table=_sorted(table, sessions), plan=plan)


def _averaged(runs: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """One row per subject, session and region: numbers are means over runs, flags are joined."""
    first = list(runs.columns).index("index")
    numbers = [
        name
        for name in runs.columns[first:]
        if name not in ("index", "region", "flag")
        and (name == outcome or pd.api.types.is_numeric_dtype(runs[name]))
    ]
    labelled = runs.assign(
        participant_id=runs["participant_id"].str.removeprefix("sub-"),
        session_id=runs["session_id"].str.removeprefix("ses-").fillna(_NO_SESSION),
    ).rename(columns={"region": "name"})
    by = labelled.groupby([*_KEYS, "name"], sort=False)
    mean = by[numbers].mean()
    mean["flag"] = by["flag"].agg(_joined)
    return mean.reset_index()


def _joined(flags: pd.Series[str]) -> str | float:
    told = list(dict.fromkeys(str(flag) for flag in flags.dropna()))
    return "; ".join(told) if told else np.nan


def _require_sessions(sessions: Iterable[str], table: pd.DataFrame) -> None:
    found = sorted(table["session_id"].unique())
    absent = [label for label in sessions if label not in found]
    if absent:
        raise DataError(
            f"no *_kinpar.tsv of session {' or '.join(absent)}, which the plan names; sessions "
            f"found: {', '.join(found)}. Name others in group.plan.sessions or group.sessions, "
            "earlier first, or an empty list in group.sessions for tables without tests"
        )


def _require_regions(wanted: Iterable[str], found: tuple[str, ...]) -> None:
    for region in wanted:
        if region in found:
            continue
        near = difflib.get_close_matches(region, found, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(found)}"
        raise DataError(
            f"group.plan.regions: no *_kinpar.tsv has a line of region '{region}'; {hint}"
        )


def _groups(clinical: ClinicalTables, design: GroupDesign) -> dict[str, str] | None:
    """Group of every subject that has one; None while nobody may know, or there is one group."""
    column = design.group_column
    if column is None:
        return None
    if design.blinded:
        clinical.require_group_column(column)
        return None
    return clinical.group_of_subjects(column)


def _group_labels(groups: dict[str, str] | None, table: pd.DataFrame) -> tuple[str, ...]:
    found = set(table["participant_id"].map(groups).dropna()) if groups else set()
    return tuple(sorted(found))


def _require_groups(plan: StudyPlan, groups: dict[str, str] | None) -> None:
    if groups is None:
        return
    found = sorted(set(groups.values()))
    for label in plan.layout.groups:
        if label not in found:
            raise DataError(
                f"participants.tsv: column {plan.layout.columns.group}: no line has '{label}', "
                f"which the plan names; there is only {', '.join(found)}"
            )


def _with_every_session(
    table: pd.DataFrame, planned: tuple[tuple[str, str], ...], regions: tuple[str, ...]
) -> pd.DataFrame:
    """Rows without values for sessions that were planned and gave none."""
    there = set(table[_KEYS].itertuples(index=False, name=None))
    absent = [(*key, region) for key in planned if key not in there for region in regions]
    if not absent:
        return table
    return pd.concat([table, pd.DataFrame(absent, columns=[*_KEYS, "name"])], ignore_index=True)


def _volumes(files: tuple[Path, ...]) -> pd.DataFrame:
    """Volume of every region, mm3, by subject and session."""
    rows = []
    for path in files:
        table = read_table(path)
        if {"name", _VOLUME} <= set(table.columns):
            rows.append(table[["name", _VOLUME]].assign(**_whose(path)))
    if not rows:
        return pd.DataFrame(columns=[*_KEYS, "name", _VOLUME]).astype({_VOLUME: float})
    return pd.concat(rows).groupby([*_KEYS, "name"], sort=False)[_VOLUME].mean().reset_index()


def _of_scans(sources: GroupSources) -> pd.DataFrame:
    """What is known of the scans of every subject and session, means over runs."""
    rows = [_uptake_of(path) for path in sources.uptake_files]
    rows += [_motion_of(path) for path in sources.confounds_files]
    table = pd.DataFrame(rows, columns=[*_KEYS, *OF_SCAN])
    table = table.astype(dict.fromkeys(_KEYS, object) | dict.fromkeys(OF_SCAN, float))
    return table.groupby(_KEYS, sort=False)[list(OF_SCAN)].mean().reset_index()


def _uptake_of(path: Path) -> dict[str, object]:
    table, about = read_table(path), read_json(path.with_suffix(".json"))
    missing = [n for n in ("window", "suv", "percent-per-litre") if n not in table.columns]
    if missing:
        raise DataError(
            f"{path}: no column {', '.join(missing)}; found {', '.join(table.columns)}"
        )
    found: dict[str, object] = {}
    for name, key in _OF_SIDECAR.items():
        value = about.get(key)
        found[name] = float(value) if isinstance(value, int | float) else np.nan
    for row in table.to_dict("records"):
        end = _OF_WINDOW.get(str(row["window"]))
        if end is not None:
            found[f"reference_suv{end}"] = row["suv"]
            found[f"reference_percent_per_litre{end}"] = row["percent-per-litre"]
    return _whose(path) | {name: found.get(name, np.nan) for name in RADIOCHEMISTRY}


def _motion_of(path: Path) -> dict[str, object]:
    table = read_table(path)
    if "framewise_displacement" not in table:
        return _whose(path)
    step_mm = pd.to_numeric(table["framewise_displacement"], errors="coerce")
    return _whose(path) | dict(zip(MOTION, (step_mm.mean(), step_mm.max()), strict=True))


def _whose(path: Path) -> dict[str, object]:
    name = parse_name(path.name)
    if name is None:
        raise DataError(f"{path}: not a BIDS name; rename it or remove it")
    return {"participant_id": name.get("sub"), "session_id": name.get("ses") or _NO_SESSION}


def _with_clinical(table: pd.DataFrame, clinical: ClinicalTables, plan: StudyPlan) -> pd.DataFrame:
    """The table with the columns of the plan that it lacks, from the raw data set."""
    words = {score.of for score in plan.words}
    for name in dict.fromkeys([*plan.columns, *sorted(words)]):
        if name in table:
            continue
        column = clinical.column(name, numeric=name not in words)
        keys = _KEYS if column.by_session else _KEYS[:1]
        rows = column.rows[[*keys, "text"]].rename(columns={"text": name})
        table = table.merge(rows, on=keys, how="left")
    return table


def _sorted(table: pd.DataFrame, sessions: tuple[str, ...]) -> pd.DataFrame:
    """By subject, then session in the order of the plan; regions as their files have them."""
    place = {label: i for i, label in enumerate(sessions)}
    order = table.assign(place=table["session_id"].map(place).fillna(len(place)))
    order = order.sort_values(["participant_id", "place", "session_id"], kind="stable")
    return order.drop(columns="place").reset_index(drop=True)
