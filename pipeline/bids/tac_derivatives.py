"""Curves that another program wrote for a whole data set, PETPrep first of all.

PETPrep names a table of curves ``sub-*_seg-<seg>_desc-preproc_tacs.tsv``, the curve of a reference
region ``sub-*_label-<name>_desc-preproc_tacs.tsv``, and puts the volumes of a segmentation, as
``sub-*_seg-<seg>_morph.tsv``, into the folder of the T1w. petprep_extract_tacs has no ``pet``
folder and writes ``desc-gtmseg`` in place of the segmentation, as petbind itself writes
``desc-regions``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from pipeline.bids.dataset import BidsFile, Dataset
from pipeline.bids.entities import PET_ENTITIES, FileName, build_name, natural_key, parse_name
from pipeline.bids.sidecar import after_injection, is_uncorrected_for_decay, read_metadata
from pipeline.core.errors import ConfigError, DataError
from pipeline.core.labels import LABEL_NAMES, label_number
from pipeline.core.volume import FloatArray
from pipeline.io.tables import read_table
from pipeline.io.tacs import TacTable, read_tacs

_PREPROCESSED = "preproc"
"""Description entity of PETPrep that names no segmentation."""
_SAME_TIME_S = 0.01

RegionLabels = Sequence[tuple[str, tuple[int, ...]]]
"""Region names with the FreeSurfer labels they are made of."""


@dataclass(frozen=True)
class DerivativeTable:
    """A table in a derivative data set."""

    path: Path
    name: FileName

    @property
    def segmentation(self) -> str:
        """Label of what its regions are from: ``seg``, else a telling ``desc``, else nothing."""
        described = self.name.get("desc")
        return self.name.get("seg") or (described if described != _PREPROCESSED else "") or ""

    @property
    def run(self) -> tuple[str | None, ...]:
        """Labels of the PET run."""
        return tuple(self.name.get(key) for key in PET_ENTITIES)


@dataclass(frozen=True)
class TacDerivatives:
    """What a derivative data set holds for kinetic models; nothing is read."""

    root: Path
    curves: tuple[DerivativeTable, ...]
    """Tables of curves of one segmentation, a run each."""
    references: tuple[DerivativeTable, ...]
    """Curves of reference regions in files of their own."""
    volumes: tuple[DerivativeTable, ...]
    misnamed: tuple[Path, ...]
    """Tables of curves whose names are not BIDS names."""


def find_tac_derivatives(root: Path, seg: str | None, pvc: str | None) -> TacDerivatives:
    """Tables of curves below a folder.

    Parameters
    ----------
    root : Path
        Top of a derivative data set.
    seg : str, optional
        Label of the segmentation; needed where there are several.
    pvc : str, optional
        Label of the partial-volume correction; without one, tables that have none.

    Raises
    ------
    DataError
        If there is no table of curves.
    ConfigError
        If these labels fit none, or several segmentations are there.
    """
    found, misnamed = _tables(root, "tacs")
    if not found and not misnamed:
        raise DataError(f"{root}: no sub-*/**/*_tacs.tsv; give a folder of BIDS derivatives")
    references = tuple(table for table in found if table.name.get("label") is not None)
    curves = [table for table in found if table not in references]
    chosen = _of_segmentation([t for t in curves if t.name.get("pvc") == pvc], seg)
    if not chosen:
        there = ", ".join(sorted({_described(table) for table in curves})) or "none"
        asked = f"segmentation {seg or 'any'}, pvc {pvc or 'none'}"
        raise ConfigError(f"{root}: no curves of {asked}; found {there}; see --seg and --pvc")
    volumes, _ = _tables(root, "morph")
    return TacDerivatives(root, chosen, references, tuple(volumes), tuple(misnamed))


def _tables(root: Path, suffix: str) -> tuple[list[DerivativeTable], list[Path]]:
    """Tables of a kind in natural order, and those without a BIDS name."""
    paths = sorted(root.glob(f"sub-*/**/*_{suffix}.tsv"), key=lambda p: natural_key(p.name))
    named = {path: parse_name(path.name) for path in paths}
    good = [DerivativeTable(p, n) for p, n in named.items() if n is not None and n.get("sub")]
    known = {table.path for table in good}
    return good, [path for path in paths if path not in known]


def _of_segmentation(
    curves: Sequence[DerivativeTable], seg: str | None
) -> tuple[DerivativeTable, ...]:
    if seg is not None:
        return tuple(table for table in curves if table.segmentation == seg)
    labels = sorted({table.segmentation for table in curves})
    if len(labels) > 1:
        there = ", ".join(label or "(without label)" for label in labels)
        raise ConfigError(f"curves of several segmentations: {there}; name one with --seg")
    return tuple(curves)


def _described(table: DerivativeTable) -> str:
    pvc = table.name.get("pvc")
    return (table.segmentation or "(without label)") + (f" with pvc {pvc}" if pvc else "")


@dataclass(frozen=True, eq=False)
class RunCurves:
    """Curves of a run as the models take them."""

    table: TacTable
    """With the reference curve among them."""
    sources: tuple[Path, ...]
    """Every table that was read."""
    left_out: Mapping[str, str]
    """Region that could not be made, and why."""


@dataclass(frozen=True, kw_only=True)
class CurveRequest:
    """What is wanted of every run."""

    reference: str
    """A column, a region, or the label of a table of its own."""
    regions: RegionLabels | None = None
    """Regions to make of columns with FreeSurfer names; None for the columns as they are."""
    raw: Dataset | None = None
    """Data set whose sidecars say what the one beside a table does not."""


def read_run_curves(
    derivatives: TacDerivatives, table: DerivativeTable, request: CurveRequest
) -> RunCurves:
    """Curves of a run: regions made, reference found, metadata inherited.

    Raises
    ------
    DataError
        If a table cannot be read, or the reference curve or the volumes are not to be found.
    """
    written = read_tacs(table.path)
    read = _inherited(written, table, request.raw)
    sources = [table.path]
    curves: Mapping[str, FloatArray] = read.curves
    left_out: dict[str, str] = {}
    if request.regions is not None:
        volume_mm3 = _volumes(derivatives, table, request.regions, sources)
        curves, left_out = combine_regions(read.curves, volume_mm3, request.regions)
    wanted = request.reference
    other = None if wanted in read.curves else _reference_table(derivatives, table, wanted)
    if wanted in read.curves:
        curves = {**curves, wanted: read.curves[wanted]}
    elif other is not None:
        curves = {**curves, wanted: _its_curve(other, wanted, written)}
        sources.append(other.path)
    elif wanted not in curves:
        raise DataError(_no_reference(derivatives, table, read, request, left_out))
    left_out = {name: why for name, why in left_out.items() if name != wanted}
    return RunCurves(replace(read, curves=dict(curves)), tuple(sources), left_out)


def combine_regions(
    curves: Mapping[str, FloatArray], volume_mm3: Mapping[int, float], regions: RegionLabels
) -> tuple[dict[str, FloatArray], dict[str, str]]:
    """Regions as means of columns, weighted by volume.

    Parameters
    ----------
    curves : mapping
        Column, named as FreeSurfer does, to its curve (F,).
    volume_mm3 : mapping
        FreeSurfer label to its volume; not asked for where a region is one label alone.
    regions : sequence of (name, labels)
        Regions to make.

    Returns
    -------
    dict
        Region to its curve (F,); NaN in a frame where one of its columns is.
    dict
        Region that was not made, because a column or volume is missing, and which.
    """
    by_label = {number: curves[n] for n in curves if (number := label_number(n)) is not None}
    made: dict[str, FloatArray] = {}
    left_out: dict[str, str] = {}
    for name, labels in regions:
        absent = [LABEL_NAMES[label] for label in labels if label not in by_label]
        if absent:
            left_out[name] = f"no column {', '.join(absent)}"
            continue
        weights = [volume_mm3.get(label, np.nan) if len(labels) > 1 else 1.0 for label in labels]
        unknown = [LABEL_NAMES[n] for n, w in zip(labels, weights, strict=True) if not w > 0]
        if unknown:
            left_out[name] = f"no volume of {', '.join(unknown)}"
            continue
        made[name] = np.average([by_label[n] for n in labels], axis=0, weights=weights)
    return made, left_out


def _volumes(
    derivatives: TacDerivatives,
    table: DerivativeTable,
    regions: RegionLabels,
    sources: list[Path],
) -> dict[int, float]:
    """Label to its volume, from the table that belongs to the run; notes where it is from."""
    if all(len(labels) == 1 for _, labels in regions):
        return {}
    morph = _volumes_table(derivatives.volumes, table)
    read = read_table(morph.path)
    missing = [name for name in ("name", "volume-mm3") if name not in read.columns]
    if missing:
        raise DataError(f"{morph.path}: no column {', '.join(missing)}")
    sources.append(morph.path)
    volume = pd.to_numeric(read["volume-mm3"], errors="coerce").to_numpy(float)
    numbers = [label_number(str(name).strip()) for name in read["name"]]
    known = zip(numbers, volume.tolist(), strict=True)
    return {number: mm3 for number, mm3 in known if number is not None}


def _volumes_table(volumes: Iterable[DerivativeTable], table: DerivativeTable) -> DerivativeTable:
    """Volumes of the segmentation: of the session's T1w, else of the subject's only one."""
    ranked: dict[int, list[DerivativeTable]] = {}
    for morph in volumes:
        if (
            morph.name.get("sub") == table.name.get("sub")
            and morph.segmentation == table.segmentation
            and morph.name.get("label") is None
        ):
            ranked.setdefault(_distance(morph, table), []).append(morph)
    if not ranked:
        raise DataError(
            f"{table.path}: no *_morph.tsv of segmentation {table.segmentation or '(no label)'} "
            "for this subject; regions of several columns need their volumes"
        )
    nearest = ranked[min(ranked)]
    if len(nearest) > 1:
        names = ", ".join(morph.path.name for morph in nearest)
        raise DataError(f"{table.path}: several tables of volumes may be its own: {names}")
    return nearest[0]


def _distance(morph: DerivativeTable, table: DerivativeTable) -> int:
    """0 for volumes of the same run or session, 1 for those without session, 2 for others."""
    if morph.run == table.run:
        return 0
    session = morph.name.get("ses")
    return 1 if session == table.name.get("ses") else 2 if session is None else 3


def _reference_table(
    derivatives: TacDerivatives, table: DerivativeTable, reference: str
) -> DerivativeTable | None:
    """Table of the reference region of the same run: by its label, else by its column."""
    same = _references_of(derivatives, table)
    labelled = [other for other in same if other.name.get("label") == reference]
    found = labelled or [o for o in same if reference in read_tacs(o.path).curves]
    own = [o for o in found if o.name.get("seg") == table.name.get("seg")] or found
    if len(own) > 1:
        names = ", ".join(other.path.name for other in own)
        raise DataError(f"{table.path}: several curves of the reference {reference}: {names}")
    return own[0] if own else None


def _references_of(derivatives: TacDerivatives, table: DerivativeTable) -> list[DerivativeTable]:
    pvc = table.name.get("pvc")
    return [r for r in derivatives.references if r.run == table.run and r.name.get("pvc") == pvc]


def _its_curve(other: DerivativeTable, reference: str, table: TacTable) -> FloatArray:
    """The reference curve of a table of its own, on the frames of the run as both wrote them."""
    read = read_tacs(other.path)
    curves = read.curves
    if reference not in curves and len(curves) != 1:
        raise DataError(f"{other.path}: no column {reference}; found {', '.join(curves)}")
    units, said = read.sidecar.get("Units"), table.sidecar.get("Units")
    if units is not None and said is not None and units != said:
        raise DataError(f"{other.path}: Units are {units}, those of {table.path.name} {said}")
    start_s = table.timing.start_s
    if len(start_s) != len(read.timing) or not np.allclose(
        start_s, read.timing.start_s, atol=_SAME_TIME_S
    ):
        raise DataError(f"{other.path}: not the frames of {table.path.name}")
    return curves.get(reference, next(iter(curves.values())))


def _no_reference(
    derivatives: TacDerivatives,
    table: DerivativeTable,
    read: TacTable,
    request: CurveRequest,
    left_out: Mapping[str, str],
) -> str:
    wanted = request.reference
    if wanted in left_out:
        return f"{table.path}: reference {wanted}: {left_out[wanted]}"
    labels = [str(other.name.get("label")) for other in _references_of(derivatives, table)]
    regions = [name for name, _ in request.regions or ()]
    return (
        f"{table.path}: no reference {wanted}; columns {', '.join(read.curves)}; "
        f"regions {', '.join(regions) or 'not made'}; label- tables of this run "
        f"{', '.join(labels) or 'none'}"
    )


def _inherited(table: TacTable, source: DerivativeTable, raw: Dataset | None) -> TacTable:
    """The table with what its sidecars say: the raw data's first, the one beside it above."""
    beside = {key: value for key, value in table.sidecar.items() if value not in (None, "n/a")}
    above = {} if raw is None else _raw_metadata(raw, source)
    known = {**above, **beside}
    if is_uncorrected_for_decay(known):
        raise DataError(
            f"{table.path}: its sidecars say that it is not decay-corrected (ImageDecayCorrected: "
            "false); models need curves that are, to the injection"
        )
    timing = after_injection(after_injection(table.timing, beside), above)
    return replace(table, timing=timing, sidecar=known)


def _raw_metadata(raw: Dataset, source: DerivativeTable) -> dict[str, Any]:
    """What the raw sidecars say of the run that a table was made from."""
    entities = {
        key: label
        for key, label in zip(PET_ENTITIES, source.run, strict=True)
        if label is not None
    }
    name = build_name(entities, "pet", ".nii.gz")
    folders = [f"{key}-{entities[key]}" for key in ("sub", "ses") if key in entities]
    image = BidsFile(PurePosixPath(*folders, "pet", str(name)), name)
    metadata = read_metadata(raw, image)
    if not metadata.values:
        raise DataError(f"{source.path}: no sidecar of {image.path} in {raw.root}")
    return dict(metadata.values)
