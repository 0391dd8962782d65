"""One table of a cohort: kinetic parameters of every PET run, whoever is in which group."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd

from pipeline.bids.clinical import ClinicalFiles, find_clinical_files
from pipeline.bids.entities import parse_name
from pipeline.core.errors import DataError
from pipeline.io.tables import read_table
from pipeline.statistics.design import GroupDesign, ScansChosen

_ENTITY_COLUMNS = {
    "sub": "participant_id",
    "ses": "session_id",
    "task": "task",
    "trc": "tracer",
    "rec": "reconstruction",
    "run": "run",
    "model": "model",
}
_LABELS = {
    "tracer": "trc",
    "task": "task",
    "reconstruction": "rec",
    "model": "model",
    "pvc": "pvc",
}

GROUP_NAMES = {
    "runs": "group_desc-runs_table",
    "wide": "group_desc-wide_table",
    "study": "group_desc-study_table",
    "exclusions": "group_desc-exclusions_table",
    "descriptives": "group_desc-descriptives_stats",
    "results": "group_desc-tests_stats",
}
"""Tables of the group level, without extension, in the folder that `group_place` names."""


@dataclass(frozen=True)
class GroupSources:
    """Files that the group level reads, each list sorted."""

    kinpar_files: tuple[Path, ...]
    """Kinetic parameters, one file per PET run."""
    morph_files: tuple[Path, ...]
    """Volumes of regions, one file per PET run."""
    uptake_files: tuple[Path, ...]
    """Uptake of the reference region, one file per PET run."""
    confounds_files: tuple[Path, ...]
    """Motion, one file per PET run."""
    clinical: ClinicalFiles

    @property
    def uptake_sidecars(self) -> tuple[Path, ...]:
        """Sidecars of `uptake_files`, with the dose."""
        return tuple(path.with_suffix(".json") for path in self.uptake_files)

    @property
    def derived(self) -> tuple[Path, ...]:
        """Those among the derivatives."""
        return (
            *self.kinpar_files,
            *self.morph_files,
            *self.uptake_files,
            *self.uptake_sidecars,
            *self.confounds_files,
        )


def group_place(scans: ScansChosen, outcome: str = "BPND") -> str:
    """Folder of the group's results, and name of its page; one for each choice.

    Examples
    --------
    >>> group_place(ScansChosen()), group_place(ScansChosen(model="SRTM2", pvc="GTM"), "R1")
    ('group', 'group_model-SRTM2_pvc-GTM_meas-R1')
    """
    chosen = [f"{_LABELS[key]}-{label}" for key, label in asdict(scans).items() if label]
    measure = [] if outcome == "BPND" else [f"meas-{outcome}"]
    return "_".join(["group", *chosen, *measure])


def find_group_sources(
    out_dir: str | Path, bids_dir: str | Path, design: GroupDesign
) -> GroupSources:
    """Files of a cohort: kinetic parameters in `out_dir`, subjects in `bids_dir`.

    Tables of models that do not give the outcome stay out, those with and without
    partial-volume correction are never mixed, and what can be chosen must be.

    Raises
    ------
    DataError
        If no session has kinetic parameters of the choice, or they are of several kinds.
    """
    out_dir = Path(out_dir)
    every = sorted(out_dir.glob("sub-*/**/*_kinpar.tsv"))
    if not every:
        raise DataError(
            f"{out_dir}: no sub-*/**/*_kinpar.tsv; run the participant level first, or look in "
            "its messages for sessions that failed"
        )
    having = [path for path in every if _has(path, design.outcome)]
    if not having:
        found = ", ".join(sorted({_entities(path).get("model", path.name) for path in every}))
        raise DataError(
            f"{out_dir}: only tables of {found}, which give no {design.outcome}; add another "
            "model to kinetics.models and run the participant level again"
        )
    kinpar = _chosen(having, design.scans)
    _require_one_kind(kinpar)

    def beside(pattern: str) -> tuple[Path, ...]:
        runs = {_run_of(path) for path in kinpar}
        return tuple(p for p in sorted(out_dir.glob(pattern)) if _run_of(p) in runs)

    return GroupSources(
        kinpar_files=kinpar,
        morph_files=tuple(
            path
            for path in beside("sub-*/**/*_desc-regions_morph.tsv")
            if _entities(path).get("pvc", "") == design.scans.pvc
        ),
        uptake_files=beside("sub-*/**/*_desc-uptake_stats.tsv"),
        confounds_files=beside("sub-*/**/*_desc-confounds_timeseries.tsv"),
        clinical=find_clinical_files(Path(bids_dir)),
    )


def read_runs(sources: GroupSources, outcome: str, sessions: tuple[str, ...] = ()) -> pd.DataFrame:
    """One row per PET run and region, with the entities of its file in front.

    By subject, then session: those named in their order, others after them.

    Raises
    ------
    DataError
        If a file cannot be read or lacks a column, or a run is there twice.
    """
    runs = pd.concat([_read_kinpar(path, outcome) for path in sources.kinpar_files])
    late = runs["session_id"].map({f"ses-{label}": i for i, label in enumerate(sessions)})
    runs["place"] = late.fillna(len(sessions))
    keys = ["participant_id", "place", "session_id", "run"]
    runs = runs.sort_values(keys, kind="stable").drop(columns="place")
    again = runs[runs.duplicated([*run_columns(runs), "region"])]
    if not again.empty:
        what = ", ".join(str(again.iloc[0][key]) for key in ("participant_id", "session_id"))
        raise DataError(
            f"the derivatives hold a *_kinpar.tsv of {what} twice; delete the one that is out of "
            "date"
        )
    return runs.reset_index(drop=True)


def run_columns(runs: pd.DataFrame) -> list[str]:
    """Columns that tell one PET run from another."""
    return list(runs.columns[: list(runs.columns).index("index")])


def wide_table(runs: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """The outcome with one row per PET run and one column per region."""
    keys = run_columns(runs)
    wide = runs.pivot(index=keys, columns="region", values=outcome)
    wide = wide[list(runs["region"].unique())].reset_index().rename_axis(columns=None)
    return runs[keys].drop_duplicates().merge(wide, on=keys)


def source_uris(sources: GroupSources) -> list[str]:
    """BIDS URIs of what was read, with the output folder as the data set at hand."""
    raw = [f"bids:raw:{_below_data_set(path)}" for path in sources.clinical.every]
    return raw + [f"bids::{_below_data_set(path)}" for path in sources.derived]


def _below_data_set(path: Path) -> str:
    """Path from the data set's folder on: what lies above is this machine's business."""
    parts, subject = path.parts, path.name.split("_")[0]
    start = -2 if parts[-2] == "phenotype" else -1
    if subject in parts[:-1]:
        start = parts.index(subject)
    return quote("/".join(parts[start:]), safe="/+")


def _has(path: Path, column: str) -> bool:
    try:
        with path.open(encoding="utf-8-sig") as file:
            return column in file.readline().rstrip("\r\n").split("\t")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable table ({error})") from error


def _entities(path: Path) -> dict[str, str]:
    name = parse_name(path.name)
    if name is None or name.get("sub") is None:
        raise DataError(f"{path}: not a BIDS name with a sub- entity; rename it or remove it")
    return dict(name.entities)


def _run_of(path: Path) -> tuple[str | None, ...]:
    entities = _entities(path)
    return tuple(entities.get(key) for key in _ENTITY_COLUMNS if key != "model")


def _chosen(paths: list[Path], scans: ScansChosen) -> tuple[Path, ...]:
    """Tables with the labels that were chosen; without a correction unless one was."""
    for key, label in asdict(scans).items():
        entity = _LABELS[key]
        if not label and key != "pvc":
            continue
        kept = [path for path in paths if _entities(path).get(entity, "") == label]
        if not kept:
            found = sorted({_entities(path).get(entity) or "none" for path in paths})
            raise DataError(
                f"no kinetic parameters with {entity}-{label or 'none'} (group.{key}); found: "
                f"{', '.join(found)}. Set group.{key} to one of them, or run the participant "
                "level with settings that make such tables"
            )
        paths = kept
    return tuple(paths)


def _require_one_kind(paths: tuple[Path, ...]) -> None:
    """Refuse a choice that leaves tables which no test may mix."""
    for key, entity in _LABELS.items():
        found = sorted({_entities(path).get(entity) or "none" for path in paths})
        if len(found) > 1:
            raise DataError(
                f"kinetic parameters of {key} {', '.join(found)}, which no test may mix; set "
                f"group.{key} to one of them"
            )
    named = {entity for path in paths for entity in _entities(path)}
    for entity in sorted(named - {*_ENTITY_COLUMNS, "pvc"}):
        found = sorted({_entities(path).get(entity) or "none" for path in paths})
        if len(found) > 1:
            raise DataError(
                f"kinetic parameters of {entity} {', '.join(found)}, such as {paths[0]}; keep one "
                "kind in this folder"
            )


def _read_kinpar(path: Path, outcome: str) -> pd.DataFrame:
    table = read_table(path)
    missing = [name for name in ("index", "name", outcome) if name not in table.columns]
    if missing:
        raise DataError(
            f"{path}: no column {', '.join(missing)}; found {', '.join(table.columns)}"
        )
    table = table.rename(columns={"name": "region"})
    numbers = pd.to_numeric(table[outcome], errors="coerce")
    wrong = table[outcome].notna() & numbers.isna()
    if wrong.any():
        i = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"{path}: line {i + 2}: column {outcome}: '{table[outcome].iloc[i]}' is no number; "
            "run this session again"
        )
    table[outcome] = numbers
    if (twice := table["region"][table["region"].duplicated()]).size:
        raise DataError(f"{path}: two lines of region {twice.iloc[0]}; run this session again")
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
