"""`petbind fit` for a whole data set of curves: every table on its own, told in one table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from pipeline import __version__
from pipeline.bids.dataset import index_dataset
from pipeline.bids.derivatives import (
    MODEL_LABELS,
    bids_uri,
    dataset_description,
    derivative_path,
    raw_link,
)
from pipeline.bids.tac_derivatives import (
    CurveRequest,
    DerivativeTable,
    RegionLabels,
    RunCurves,
    TacDerivatives,
    find_tac_derivatives,
    read_run_curves,
)
from pipeline.cli.fit import DONE, SOME_FAILED, fit_options, fit_table, require_free
from pipeline.config.kinetics import Kinetics
from pipeline.config.load import load_settings
from pipeline.core.errors import ConfigError, DataError, PetbindError
from pipeline.io.tables import read_json, write_json, write_table

WRONG_USE = 2
_REPORT = "fits.tsv"


def run_derivatives(args: argparse.Namespace) -> int:
    """Fit every table of curves below a folder; one that fails leaves the others alone."""
    from pipeline.execution.run import make_folder

    if args.output_dir is None:
        raise ConfigError(f"{args.tacs} is a folder; say with --output-dir where results go")
    options = fit_options(args)
    request = CurveRequest(
        reference=args.reference,
        regions=_regions(args),
        raw=None if args.bids_dir is None else index_dataset(args.bids_dir),
    )
    derivatives = find_tac_derivatives(args.tacs, args.seg, args.pvc)
    places = _places(derivatives, options, args)
    make_folder(args.output_dir / "logs")
    _describe_output(args)
    rows = [
        _Outcome(path.relative_to(args.tacs), "failed", "the name is not a BIDS name")
        for path in derivatives.misnamed
    ]
    for table in derivatives.curves:
        rows.append(_fit_one(derivatives, table, request, _Fitting(options, places, args)))
    return _report(rows, args.output_dir)


@dataclass(frozen=True)
class _Outcome:
    """What became of a table."""

    table: Path
    state: str
    reason: str = "n/a"


@dataclass(frozen=True, eq=False)
class _Fitting:
    """What all tables have in common."""

    options: Kinetics
    places: Mapping[Path, Mapping[str, Path]]
    args: argparse.Namespace


def _regions(args: argparse.Namespace) -> RegionLabels | None:
    """Regions to make of columns: those of the settings, and the reference where it is theirs."""
    if args.regions is None:
        return None
    from workflows.regions import region_spec

    settings = load_settings(args.regions or None).regions
    labels = region_spec(settings).labels
    if settings.mni or settings.grey_masked:
        kinds = [*settings.mni, *(["those of grey matter alone"] if settings.grey_masked else [])]
        _tell(f"regions left out, as no columns make them up: {', '.join(kinds)}")
    name = settings.reference_name
    if args.reference == name:
        _tell(f"{name}, where no curve has this name, is all of its labels, with nothing trimmed")
        labels = (*labels, (name, settings.reference.labels))
    return labels


def _places(
    derivatives: TacDerivatives, options: Kinetics, args: argparse.Namespace
) -> dict[Path, dict[str, Path]]:
    """Where the results of every table go that can have a place of its own.

    Earlier ones are gone, so that a table that fails now leaves none behind.
    """
    places: dict[Path, dict[str, Path]] = {}
    taken: set[Path] = set()
    for table in derivatives.curves:
        entities = dict(table.name.entities)
        own: dict[str, Path] = {}
        for model in options.models:
            try:
                below = derivative_path(entities, "kinpar", model=MODEL_LABELS[model.model])
            except ValueError:
                break  # an entity that BIDS does not know
            own[model.model] = Path(args.output_dir) / below
        if own and taken.isdisjoint(own.values()):
            places[table.path] = own
            taken.update(own.values())
    require_free(sorted(taken), args)
    for place in taken:
        for path in (place, place.with_suffix(".json"), place.with_suffix(".svg")):
            path.unlink(missing_ok=True)
    return places


def _fit_one(
    derivatives: TacDerivatives,
    table: DerivativeTable,
    request: CurveRequest,
    fitting: _Fitting,
) -> _Outcome:
    short, args = table.path.relative_to(derivatives.root), fitting.args
    places = fitting.places.get(table.path)
    if places is None:
        return _Outcome(short, "failed", "no BIDS name of its own for results: rename the table")
    try:
        curves = read_run_curves(derivatives, table, request)
        about = _about(curves, derivatives.root, request)
        fits = fit_table(curves.table, about, places, fitting.options, args)
    except PetbindError as error:
        reason = str(error).replace(f"{derivatives.root}/", "").removeprefix(f"{short}: ")
        return _Outcome(short, "failed", " ".join(reason.split()))
    for region, why in curves.left_out.items():
        _tell(f"{short}: {region} left out: {why}")
    failed = sorted({name for fit in fits for name in fit.failed})
    if failed:
        return _Outcome(short, "regions failed", f"no estimate of {', '.join(failed)}")
    return _Outcome(short, "done")


def _about(curves: RunCurves, root: Path, request: CurveRequest) -> dict[str, object]:
    """What the sidecar says of where the curves are from."""
    sources = [bids_uri(path.relative_to(root), root, "curves") for path in curves.sources]
    about: dict[str, object] = {"Sources": sources}
    if request.regions is not None:
        made = {name: list(n) for name, n in request.regions if name in curves.table.curves}
        about |= {"Labels": made, "RegionsLeftOut": dict(curves.left_out)}
    return about


def _describe_output(args: argparse.Namespace) -> None:
    """Write `dataset_description.json` where there is none."""
    path = args.output_dir / "dataset_description.json"
    if path.exists():
        return
    try:
        content = read_json(args.tacs / path.name)
    except DataError:
        content = {}  # nothing but a name and links would come from it
    link = raw_link(args.tacs, args.output_dir)
    write_json(path, dataset_description(__version__, content, link, "curves"))


def _report(outcomes: list[_Outcome], out_dir: Path) -> int:
    """Print and write what became of every table."""
    rows = [(o.table.as_posix(), o.state, o.reason) for o in outcomes]
    table = pd.DataFrame(rows, columns=["table", "state", "reason"])
    write_table(out_dir / "logs" / _REPORT, table)
    shown = Table(box=None, pad_edge=False)
    for heading in table.columns:
        shown.add_column(heading, overflow="fold")
    for name, state, reason in rows:
        colour = "green" if state == "done" else "red"
        shown.add_row(name, f"[{colour}]{state}[/]", "" if reason == "n/a" else reason)
    Console().print(shown)
    print(f"results: {out_dir}")
    if (table["state"] == "failed").all():
        return WRONG_USE
    return DONE if (table["state"] == "done").all() else SOME_FAILED


def _tell(message: str) -> None:
    print(f"petbind: {message}", file=sys.stderr)
