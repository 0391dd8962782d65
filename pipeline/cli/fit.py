"""`petbind fit`: reference-tissue models for people who only have curves."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from pipeline import __version__
from pipeline.bids.derivatives import MODEL_LABELS
from pipeline.bids.model_sidecars import model_metadata, parameter_columns
from pipeline.bids.units import activity_factor, concentration_factor
from pipeline.config.kinetics import Kinetics
from pipeline.config.load import load_kinetics
from pipeline.core.decay import HALF_LIFE_S, decay_constant_per_s
from pipeline.core.errors import ConfigError, DataError
from pipeline.core.volume import FloatArray
from pipeline.io.kinetics import parameter_table
from pipeline.io.tables import write_json, write_table
from pipeline.io.tacs import TacTable, read_tacs
from pipeline.kinetics.contract import ModelFit, ReferenceModel, curve_models
from pipeline.kinetics.curves import ScanCurves
from pipeline.kinetics.suv import Suv
from pipeline.kinetics.weights import frame_weights
from pipeline.reports.curves import Curves, curve_figure
from pipeline.reports.style import figure_bytes

DONE, SOME_FAILED = 0, 1
FOLDER_OPTIONS = ("seg", "pvc", "regions", "bids_dir")
"""Options that make sense for a folder of derivatives only."""

_BRAIN = "Brain"
"""Column that the participant level writes for the weights."""
_NO_TARGETS = (_BRAIN, "seg_meanTAC")
"""Columns that are no regions."""
_SHORTEST_SCAN_S = 300.0
_LONG_GAP_S = 60.0
_SHOWN = ("BPND", "DVR", "SUVR", "SUV", "R1", "k2", "k2a", "k2prime", "tstar")


def run(args: argparse.Namespace) -> int:
    """Fit the curves of a table, or of every table of a data set of derivatives."""
    if args.tacs.is_dir():
        from pipeline.cli.fit_derivatives import run_derivatives

        return run_derivatives(args)
    if of_folder := [word for word in FOLDER_OPTIONS if getattr(args, word) is not None]:
        option = "--" + of_folder[0].replace("_", "-")
        raise ConfigError(f"{option} is for a folder of derivatives, and {args.tacs} is none")
    options = fit_options(args)
    table = read_tacs(args.tacs)
    folder = args.output_dir or args.tacs.parent
    stem = args.tacs.stem.removesuffix("_tacs")
    places: dict[str, Path] = {
        m.model: folder / f"{stem}_model-{MODEL_LABELS[m.model]}_kinpar.tsv"
        for m in options.models
    }
    fits = fit_table(table, {"Sources": [table.path.name]}, places, options, args)
    console = Console()
    for fit in fits:
        _show(console, fit.model, fit.kinpar)
        console.print(str(fit.place), soft_wrap=True)
    return SOME_FAILED if any(fit.failed for fit in fits) else DONE


@dataclass(frozen=True, eq=False)
class WrittenFit:
    """A fit of a table that has been written."""

    model: ReferenceModel
    place: Path
    kinpar: pd.DataFrame

    @property
    def failed(self) -> tuple[str, ...]:
        """Regions without an estimate."""
        missing = self.kinpar[self.model.parameters[0].symbol].isna()
        return tuple(self.kinpar.loc[missing, "name"])


def fit_options(args: argparse.Namespace) -> Kinetics:
    """The models asked for, with their options."""
    models = [name.lower() for name in args.models or ["srtm"]]
    return load_kinetics(models, args.weights, args.overrides)


def fit_table(
    table: TacTable,
    about: Mapping[str, Any],
    places: Mapping[str, Path],
    options: Kinetics,
    args: argparse.Namespace,
) -> list[WrittenFit]:
    """Fit every model to the curves of a table; writes a table and its sidecar per model.

    Raises
    ------
    DataError
        If the table or its sidecar does not have what a model needs.
    ConfigError
        If a place is taken, or the radionuclide is not known.
    """
    from pipeline.execution.run import make_folder

    curves = _scan_curves(table, args)
    if "Units" not in table.sidecar and any(isinstance(model, Suv) for model in options.models):
        raise DataError(f"{table.path}: an SUV needs Units in the JSON beside the table")
    require_free(places.values(), args)
    written = []
    for model in curve_models(options.models):
        try:
            resolved = curves.resolved(model)
            fit = resolved.fit(curves.tacs, curves.ref, curves.timing, curves.weights)
        except ValueError as error:
            raise DataError(f"{table.path}: model {model.model}: {error}") from error
        place = places[model.model]
        make_folder(place.parent)
        kinpar = parameter_table(curves.names, fit)
        write_table(place, kinpar)
        write_json(place.with_suffix(".json"), {**_about(model, table, args), **about})
        picture = place.with_suffix(".svg")
        picture.unlink(missing_ok=True)  # one of an earlier fit
        if args.plot:
            picture.write_bytes(_figure(table, curves, fit, model.parameters[0].symbol))
        written.append(WrittenFit(resolved, place, kinpar))
    return written


def require_free(places: Iterable[Path], args: argparse.Namespace) -> None:
    """Nothing that is there is replaced unasked.

    Raises
    ------
    ConfigError
        If something is there.
    """
    there = [path for path in places if path.exists()]
    if there and not args.overwrite:
        raise ConfigError(
            f"{there[0]}: is there already; give --overwrite to replace it, or another "
            "--output-dir"
        )


def _scan_curves(table: TacTable, args: argparse.Namespace) -> ScanCurves:
    """Curves of the table in Bq/mL, with what models need to know of them."""
    if table.timing.end_s[-1] < _SHORTEST_SCAN_S:
        raise DataError(
            f"{table.path}: the last frame ends after {table.timing.end_s[-1]:g} s, too early for "
            "a model; frame_start and frame_end are in seconds: multiply minutes by 60"
        )
    _warn_of_gaps(table)
    factor = _factor(table)
    ref = _reference(table, args.reference)
    names = tuple(n for n in table.curves if n not in (*_NO_TARGETS, args.reference))
    if not names:
        raise DataError(f"{table.path}: no curve beside the reference {args.reference}")
    tacs = factor * np.array([table.curves[name] for name in names])
    whole = table.curves.get(_BRAIN)
    scale = factor * whole if whole is not None else _mean_curve(tacs)
    try:
        weights = frame_weights(args.weights, scale, table.timing, _decay_rate_per_s(table, args))
    except ValueError as error:
        raise DataError(f"{table.path}: {error}") from error
    return ScanCurves(
        names=names,
        tacs=tacs,
        ref=factor * ref,
        timing=table.timing,
        weights=weights,
        injected_mbq=_injected_mbq(table),
        body_weight_kg=_number(table, "BodyWeight"),
    )


def _warn_of_gaps(table: TacTable) -> None:
    """Say where between injection and end no frame was measured: integrals run through it."""
    start = table.timing.start_s
    ends = np.concatenate([[0.0], table.timing.end_s[:-1]])
    for begin, end in zip(ends, start, strict=True):
        if end - begin > _LONG_GAP_S:
            print(
                f"petbind: {table.path}: no frame from {begin:g} to {end:g} s after injection; "
                "models take the curves there as straight lines, from zero at injection",
                file=sys.stderr,
            )


def _mean_curve(tacs: FloatArray) -> FloatArray:
    """Mean of the regions that have a value, frame by frame."""
    known = np.isfinite(tacs)
    total = np.where(known, tacs, 0.0).sum(axis=0)
    return np.divide(total, known.sum(axis=0), out=np.full(len(total), np.nan), where=known.any(0))


def _reference(table: TacTable, reference: str) -> FloatArray:
    """Curve of the reference region, a column or a table of its own."""
    if reference in table.curves:
        ref = table.curves[reference]
    elif reference.endswith(".tsv"):
        other = read_tacs(reference)
        if (
            len(other.curves) != 1
            or len(other.timing) != len(table.timing)
            or not np.allclose(other.timing.start_s, table.timing.start_s)
        ):
            raise DataError(f"{reference}: one curve on the frames of {table.path} expected")
        ref = next(iter(other.curves.values()))
    else:
        ref = table.curve(reference)
    if not np.isfinite(ref).all():
        frame = int(np.flatnonzero(~np.isfinite(ref))[0])
        raise DataError(f"{table.path}: the reference {reference} has no value in frame {frame}")
    return ref


def _factor(table: TacTable) -> float:
    """From the unit of the curves to Bq/mL; 1 where the sidecar names none."""
    units = table.sidecar.get("Units")
    if units is None:
        return 1.0
    factor = concentration_factor(str(units))
    if factor is None:
        raise DataError(f"{table.path.with_suffix('.json')}: Units '{units}' not understood")
    return factor


def _decay_rate_per_s(table: TacTable, args: argparse.Namespace) -> float:
    """Decay constant; 0 where the weights do not ask for it."""
    said = table.sidecar.get("TracerRadionuclide")
    nuclide = args.radionuclide or said
    if nuclide is None:
        if args.weights in ("uniform", "duration"):
            return 0.0
        raise ConfigError(
            f"{table.path}: weights '{args.weights}' need the radionuclide, and no JSON beside "
            "the table names it (TracerRadionuclide); give --radionuclide C11, or "
            "--weights duration"
        )
    rate = _known_rate_per_s(str(nuclide))
    if args.radionuclide and said and rate != _known_rate_per_s(str(said)):
        raise ConfigError(
            f"{table.path.with_suffix('.json')}: TracerRadionuclide is {said}, --radionuclide "
            f"{args.radionuclide}; one of them is wrong"
        )
    return rate


def _known_rate_per_s(nuclide: str) -> float:
    try:
        return decay_constant_per_s(nuclide)
    except KeyError as error:
        known = ", ".join(HALF_LIFE_S)
        raise ConfigError(f"radionuclide '{nuclide}' is not known; known: {known}") from error


def _injected_mbq(table: TacTable) -> float | None:
    injected = _number(table, "InjectedRadioactivity")
    factor = activity_factor(str(table.sidecar.get("InjectedRadioactivityUnits", "MBq")))
    return None if injected is None or factor is None else injected * factor / 1e6


def _number(table: TacTable, key: str) -> float | None:
    value = table.sidecar.get(key)
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None


def _about(model: ReferenceModel, table: TacTable, args: argparse.Namespace) -> dict[str, Any]:
    reference = Path(args.reference).name
    return {
        **parameter_columns(model),
        **model_metadata(model, reference, args.weights),
        "TracerRadionuclide": args.radionuclide or table.sidecar.get("TracerRadionuclide", "n/a"),
        "SoftwareName": "petbind",
        "SoftwareVersion": __version__,
    }


def _figure(table: TacTable, curves: ScanCurves, fit: ModelFit, main: str) -> bytes:
    """Curves and fits, as SVG."""
    shown = Curves(
        timing=table.timing,
        measured_bqml={**dict(zip(curves.names, curves.tacs, strict=True)), "": curves.ref},
        fitted_bqml=dict(zip(curves.names, fit.fitted, strict=True)),
        reference="",
    )
    estimates = dict(zip(curves.names, fit.estimates[main].tolist(), strict=True))
    return figure_bytes(curve_figure(shown, estimates, main), "svg")


def _show(console: Console, model: ReferenceModel, kinpar: pd.DataFrame) -> None:
    columns = [name for name in _SHOWN if name in kinpar.columns]
    main = model.parameters[0].symbol
    shown = Table(title=MODEL_LABELS[model.model], box=None, pad_edge=False)
    shown.add_column("region", no_wrap=True)
    for name in columns:
        shown.add_column(name, justify="right")
        if name == main and f"{name}-se" in kinpar.columns:
            shown.add_column("SE %", justify="right")
    shown.add_column("flag", overflow="fold")
    for row in kinpar.to_dict("records"):
        cells = []
        for name in columns:
            cells.append(_text(row[name], ".3f"))
            if name == main and f"{name}-se" in kinpar.columns:
                cells.append(_text(row[f"{name}-se"], ".1f"))
        flag = "" if row["flag"] == "n/a" else str(row["flag"])
        shown.add_row(str(row["name"]), *cells, flag)
    console.print(shown)


def _text(value: float, form: str) -> str:
    return format(value, form) if np.isfinite(value) else "n/a"
