"""One table of a cohort: kinetic parameters of every session, with the group of every subject.

Groups are read here and nowhere else, so nothing before the group level can know them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from pipeline.bids.derivatives import MODEL_LABELS
from pipeline.bids.entities import parse_name
from pipeline.core.errors import DataError
from pipeline.io.tables import read_table
from pipeline.kinetics import MODELS
from pipeline.statistics.design import GroupDesign

OUTCOME = "BPND"
ALL_SUBJECTS = "all"
"""Name of the one group where no column names groups."""

GROUP_NAMES = {
    "regions": "group_desc-BPND_table",
    "wide": "group_desc-BPNDwide_table",
    "pairs": "group_desc-BPNDpairs_table",
    "exclusions": "group_desc-exclusions_table",
    "paired": "group_desc-pairedttest_stats",
    "interaction": "group_desc-interaction_stats",
    "uptake": "group_desc-uptakepairs_table",
    "uptake_paired": "group_desc-uptakettest_stats",
    "uptake_interaction": "group_desc-uptakeinteraction_stats",
    "figure": "group_desc-BPND_figure",
}
"""What the group level writes, without extension, in the folder of the output that `group_place`
names."""


def group_place(pvc: str) -> str:
    """Folder of the group's results, and name of its page; one for each correction.

    Examples
    --------
    >>> group_place(""), group_place("GTM")
    ('group', 'group_pvc-GTM')
    """
    return f"group_pvc-{pvc}" if pvc else "group"


_ENTITY_COLUMNS = {
    "sub": "participant_id",
    "ses": "session_id",
    "task": "task",
    "trc": "tracer",
    "rec": "reconstruction",
    "run": "run",
    "model": "model",
}
_KEYS = ["participant_id", "session_id", "group"]
_NOT_DIVIDING = {*_KEYS, "run"}
_WITHOUT_BPND = {
    MODEL_LABELS[name]
    for name, model in MODELS.items()
    if OUTCOME not in {parameter.symbol for parameter in model.parameters}
}
"""Labels of models that the group level cannot compare."""
_UPTAKE = {"suv": "SUV (g/mL)", "percent-per-litre": "Injected activity (%/L)"}
"""Columns of the uptake of the reference region that sessions are compared by."""
_VALUE = "value"


@dataclass(frozen=True)
class GroupSources:
    """Files that the group level reads."""

    kinpar_files: tuple[Path, ...]
    """Kinetic parameters, one file per PET run and model, sorted."""
    participants_file: Path | None
    sessions_files: tuple[Path, ...]
    uptake_files: tuple[Path, ...] = ()
    """Uptake of the reference region, one file per PET run, sorted."""


@dataclass(frozen=True, eq=False)
class GroupTables:
    """The cohort as tables; see the sidecars for their columns."""

    regions: pd.DataFrame
    """One row per PET run and region."""
    pairs: pd.DataFrame
    """One row per subject and region: both sessions of the design and their difference."""
    exclusions: pd.DataFrame
    """What the tests do not use, and why."""
    uptake: pd.DataFrame
    """Like `pairs`, of the dose-adjusted uptake of the reference region, by `measure`."""


def find_group_sources(out_dir: str | Path, bids_dir: str | Path, pvc: str = "") -> GroupSources:
    """Files of a cohort: kinetic parameters in `out_dir`, subjects in `bids_dir`.

    Tables with and without partial-volume correction are never mixed: those whose names hold the
    label `pvc` are taken, or those without one. Tables of models that give no BPND stay out.

    Raises
    ------
    DataError
        If no session has kinetic parameters yet, none of a model with BPND, or none of that
        correction.
    """
    every = sorted(Path(out_dir).glob("sub-*/**/*_kinpar.tsv"))
    found = [path for path in every if _entity(path, "model") not in _WITHOUT_BPND]
    if every and not found:
        raise DataError(
            f"{out_dir}: only tables of {', '.join(sorted(_WITHOUT_BPND))}, which give no BPND;"
            " add another model to kinetics.models and run the participant level again"
        )
    kinpar = tuple(path for path in found if _entity(path, "pvc") in (pvc, None))
    if found and not kinpar:
        labels = sorted({_entity(path, "pvc") or "none" for path in found})
        raise DataError(
            f"{out_dir}: no kinetic parameters with pvc-{pvc} (group.pvc); corrections found: "
            f'{", ".join(labels)}. Set group.pvc to one of them, to "" for none, or run the '
            "participant level with partial_volume.backend"
        )
    if not kinpar:
        raise DataError(
            f"{out_dir}: no sub-*/**/*_kinpar.tsv; run the participant level first, or look in "
            "its messages for sessions that failed"
        )
    participants = Path(bids_dir) / "participants.tsv"
    return GroupSources(
        kinpar_files=kinpar,
        participants_file=participants if participants.exists() else None,
        sessions_files=tuple(sorted(Path(bids_dir).glob("sub-*/sub-*_sessions.tsv"))),
        uptake_files=tuple(sorted(Path(out_dir).glob("sub-*/**/*_desc-uptake_stats.tsv"))),
    )


def _entity(path: Path, key: str) -> str | None:
    """Label of an entity, empty for none; None where the name is no BIDS."""
    name = parse_name(path.name)
    return None if name is None else name.get(key) or ""


def gather(sources: GroupSources, design: GroupDesign) -> GroupTables:
    """Tables of a cohort from its files.

    Raises
    ------
    DataError
        If a file cannot be read, a column or session of the design is nowhere to be found, or
        two files hold the same run.
    """
    regions = pd.concat([_read_kinpar(path) for path in sources.kinpar_files], ignore_index=True)
    groups = _read_groups(sources.participants_file, design.group_column)
    regions["group"] = _groups_of(regions, groups)
    regions = _sorted(regions[_column_order(regions)], design)
    _check_unique(regions)
    _check_sessions(regions, design)
    expected = _expected_sessions(sources, design)
    return GroupTables(
        regions=regions,
        pairs=_pairs(regions, design, OUTCOME),
        exclusions=_exclusions(regions, design, expected),
        uptake=_uptake_pairs(sources.uptake_files, groups, design),
    )


def _groups_of(table: pd.DataFrame, groups: dict[str, str] | None) -> Any:
    """Group of the subject of every row; one for all where no column names groups."""
    return ALL_SUBJECTS if groups is None else table["participant_id"].map(groups)


def dividing_columns(regions: pd.DataFrame) -> list[str]:
    """Columns whose values are never mixed in one test: tracer, model and the like.

    Runs are not among them: several runs of a session are averaged.
    """
    end = list(regions.columns).index("index")
    return [name for name in regions.columns[:end] if name not in _NOT_DIVIDING]


def wide_table(regions: pd.DataFrame) -> pd.DataFrame:
    """BPND with one row per PET run and one column per region."""
    keys = list(regions.columns[: list(regions.columns).index("index")])
    wide = regions.pivot(index=keys, columns="region", values=OUTCOME)
    wide = wide[list(regions["region"].unique())].reset_index().rename_axis(columns=None)
    return regions[keys].drop_duplicates().merge(wide, on=keys)


def source_uris(sources: GroupSources) -> list[str]:
    """BIDS URIs of what was read, with the output folder as the data set at hand."""
    raw = [] if sources.participants_file is None else ["bids:raw:participants.tsv"]
    raw += [f"bids:raw:{_below_subject(path)}" for path in sources.sessions_files]
    made = (*sources.kinpar_files, *sources.uptake_files)
    return raw + [f"bids::{_below_subject(path)}" for path in made]


def _below_subject(path: Path) -> str:
    """Path from the subject's folder on: what lies above is this machine's business."""
    start = path.parts.index(path.name.split("_")[0])
    return quote("/".join(path.parts[start:]), safe="/+")


def read_pairs(path: str | Path) -> pd.DataFrame:
    """`GroupTables.pairs` from its file; groups called 1 and 2 stay names."""
    pairs = read_table(path)
    names = [name for name in pairs.columns if name not in ("first", "second", "change")]
    for name in names:
        pairs[name] = pairs[name].where(pairs[name].isna(), pairs[name].astype(str))
    return pairs


def _entities(path: Path) -> dict[str, str]:
    name = parse_name(path.name)
    if name is None or name.get("sub") is None:
        raise DataError(f"{path}: not a BIDS name with a sub- entity; rename it or remove it")
    return dict(name.entities)


def _read_kinpar(path: Path) -> pd.DataFrame:
    table = read_table(path)
    missing = [name for name in ("index", "name", OUTCOME) if name not in table.columns]
    if missing:
        raise DataError(
            f"{path}: no column {', '.join(missing)}; found {', '.join(table.columns)}"
        )
    table = table.rename(columns={"name": "region"})
    table[OUTCOME] = pd.to_numeric(table[OUTCOME], errors="coerce")
    if "flag" not in table.columns:
        table["flag"] = np.nan
    return _with_entities(table, _entities(path))


def _with_entities(table: pd.DataFrame, entities: dict[str, str]) -> pd.DataFrame:
    """The table with the entities of its file's name in front."""
    known = {column: entities.get(key) for key, column in _ENTITY_COLUMNS.items()}
    others = {key: label for key, label in entities.items() if key not in _ENTITY_COLUMNS}
    for position, (column, label) in enumerate((known | others).items()):
        prefix = {"participant_id": "sub-", "session_id": "ses-"}.get(column, "")
        table.insert(position, column, np.nan if label is None else prefix + label)
        table[column] = table[column].astype(object)
    return table


def _column_order(regions: pd.DataFrame) -> list[str]:
    """Subject, session, group, entities, then parameters as the files have them."""
    first = [*_KEYS, *(c for c in _ENTITY_COLUMNS.values() if c not in _KEYS)]
    parameters = list(regions.columns[list(regions.columns).index("index") :])
    others = [c for c in regions.columns if c not in first and c not in parameters]
    return [*first, *others, *(c for c in parameters if c not in (*first, *others))]


def _sorted(regions: pd.DataFrame, design: GroupDesign) -> pd.DataFrame:
    """By subject, then session in the order of the design; regions as their files have them."""
    place = {label: i for i, label in enumerate(design.sessions)}
    late = regions["session_id"].map(place).fillna(len(place)).rename("place")
    order = regions.assign(place=late).sort_values(["participant_id", "place"], kind="stable")
    return order.drop(columns="place").reset_index(drop=True)


def _read_groups(path: Path | None, column: str | None) -> dict[str, str] | None:
    if column is None:
        return None
    if path is None:
        raise DataError(
            f"participants.tsv is missing, so there is no column '{column}'; add the file, or "
            'set group.group_column to "" to treat all subjects as one group'
        )
    table = read_table(path)
    found = ", ".join(table.columns)
    for needed in ("participant_id", column):
        if needed not in table.columns:
            raise DataError(
                f"{path}: no column '{needed}'; found {found}. Set group.group_column to one of "
                'them, or to "" to treat all subjects as one group'
            )
    subjects = _subject_ids(table)
    twice = sorted(subjects[subjects.duplicated()].unique())
    if twice:
        raise DataError(f"{path}: more than one row for {', '.join(twice)}; keep one")
    named = {
        subject: label if isinstance(label, str) else f"{label:g}"
        for subject, label in zip(subjects, table[column], strict=True)
        if not pd.isna(label)
    }
    if not named:
        raise DataError(f"{path}: every value of column '{column}' is n/a; name the groups there")
    return named


def _subject_ids(table: pd.DataFrame) -> pd.Series[str]:
    return "sub-" + table["participant_id"].astype(str).str.removeprefix("sub-")


def _check_unique(regions: pd.DataFrame) -> None:
    keys = [*regions.columns[: list(regions.columns).index("index")], "region"]
    twice = regions[regions.duplicated(keys)]
    if not twice.empty:
        row = twice.iloc[0]
        what = ", ".join(str(row[key]) for key in keys if not pd.isna(row[key]))
        raise DataError(
            f"two rows for {what}: the derivatives hold a *_kinpar.tsv of this run twice; delete "
            "the one that is out of date"
        )


def _check_sessions(regions: pd.DataFrame, design: GroupDesign) -> None:
    found = sorted(regions["session_id"].dropna().unique())
    absent = [label for label in design.sessions if label not in found]
    if absent:
        raise DataError(
            f"no *_kinpar.tsv of session {' or '.join(absent)}; sessions found: "
            f"{', '.join(found) or 'none'}. Set group.sessions to two of them, earlier first, or "
            "to an empty list for tables without tests"
        )


def _expected_sessions(sources: GroupSources, design: GroupDesign) -> list[tuple[str, str]]:
    """Subject and session of everything the raw data set says was planned."""
    subjects: set[str] = set()
    if sources.participants_file is not None:
        table = read_table(sources.participants_file)
        if "participant_id" in table.columns:
            subjects |= set(_subject_ids(table))
    planned = {(subject, session) for subject in subjects for session in design.sessions}
    for path in sources.sessions_files:
        table = read_table(path)
        if "session_id" not in table.columns:
            raise DataError(f"{path}: no column 'session_id'; found {', '.join(table.columns)}")
        subject = f"sub-{_entities(path)['sub']}"
        labels = "ses-" + table["session_id"].astype(str).str.removeprefix("ses-")
        planned |= {(subject, label) for label in labels}
    return sorted(planned)


def _uptake_pairs(
    files: Sequence[Path], groups: dict[str, str] | None, design: GroupDesign
) -> pd.DataFrame:
    """Uptake of the reference region in both sessions; measures that nobody has are left out."""
    if not files:
        columns = ["measure", "group", "participant_id", "region", "first", "second", "change"]
        return pd.DataFrame(columns=columns)
    rows = pd.concat([_read_uptake(path) for path in files], ignore_index=True)
    rows["group"] = _groups_of(rows, groups)
    rows = rows[_column_order(rows)]
    known = rows.groupby("measure", sort=False)[_VALUE].transform("count") > 0
    return _pairs(rows[known], design, _VALUE)


def _read_uptake(path: Path) -> pd.DataFrame:
    """Uptake of a run: a row per window and way to take the dose into account."""
    table = read_table(path)
    missing = [name for name in ("name", "window", *_UPTAKE) if name not in table.columns]
    if missing:
        raise DataError(
            f"{path}: no column {', '.join(missing)}; found {', '.join(table.columns)}"
        )
    rows = pd.DataFrame(
        {
            "measure": f"{label}, {row['window']}",
            "index": 1,
            "region": row["name"],
            _VALUE: float(row[column]),
        }
        for column, label in _UPTAKE.items()
        for row in table.to_dict("records")
    )
    entities = {key: label for key, label in _entities(path).items() if key != "desc"}
    return _with_entities(rows, entities)


def _pairs(regions: pd.DataFrame, design: GroupDesign, outcome: str) -> pd.DataFrame:
    divide = dividing_columns(regions)
    columns = [*divide, "group", "participant_id", "region"]
    if not design.sessions:
        return pd.DataFrame(columns=[*columns, "first", "second", "change"])
    used = regions[regions["session_id"].isin(design.sessions) & regions["group"].notna()]
    averaged = used.groupby([*columns, "session_id"], dropna=False, sort=False)[outcome].mean()
    wide = averaged.unstack("session_id").reindex(columns=list(design.sessions))
    wide.columns = pd.Index(["first", "second"])
    wide["change"] = wide["second"] - wide["first"]
    order = {region: place for place, region in enumerate(regions["region"].unique())}
    return wide.reset_index().sort_values(
        [*divide, "region", "group", "participant_id"],
        key=lambda column: column.map(order) if column.name == "region" else column,
        ignore_index=True,
    )


def _exclusions(
    regions: pd.DataFrame, design: GroupDesign, expected: Sequence[tuple[str, str]]
) -> pd.DataFrame:
    rows: list[tuple[str, str, str, str]] = []
    sessions = regions[["participant_id", "session_id", "group"]].drop_duplicates()
    present = set(sessions[["participant_id", "session_id"]].itertuples(index=False, name=None))
    subjects = set(sessions["participant_id"])
    wanted = {*expected, *((subject, s) for subject in subjects for s in design.sessions)}
    for subject, session in sorted(wanted - present):
        rows.append((subject, session, "all", "no kinetic parameters in the derivatives"))
    for subject, session, group in sessions.itertuples(index=False, name=None):
        if design.sessions and session not in design.sessions:
            order = ", ".join(design.sessions)
            rows.append((subject, session, "all", f"not a session of the design ({order})"))
        elif pd.isna(group):
            column = f"no value in column '{design.group_column}' of participants.tsv"
            rows.append((subject, session, "all", column))
    rows.extend(_failed_regions(regions))
    table = pd.DataFrame(rows, columns=["participant_id", "session_id", "region", "reason"])
    return table.sort_values(["participant_id", "session_id"], kind="stable", ignore_index=True)


def _failed_regions(regions: pd.DataFrame) -> Iterable[tuple[str, str, str, str]]:
    failed = regions[regions[OUTCOME].isna()]
    for row in failed.to_dict("records"):
        flag = "" if pd.isna(row["flag"]) else f": {row['flag']}"
        yield (row["participant_id"], row["session_id"], row["region"], f"no {OUTCOME}{flag}")
