"""`petbind demo`: a small simulated trial, analysed and compared with its truth."""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from pipeline.bids.derivatives import derivative_path
from pipeline.bids.preflight import survey
from pipeline.bids.recovery import (
    SimulatedScan,
    TrueRegions,
    alignment_error,
    attainable_bpnd,
    true_bpnd,
)
from pipeline.bids.scan import ScanInputs
from pipeline.bids.simulated import simulate_dataset
from pipeline.config.load import load_settings
from pipeline.config.schema import Settings
from pipeline.core.errors import ConfigError
from pipeline.io.tables import read_table, write_table
from pipeline.kinetics.contract import curve_models
from pipeline.simulation.options import CohortOptions, ScannerOptions, SimulationOptions

_REGIONS = ("ACC", "HIP", "VST", "PUT", "THA")
_PET_VOXEL_MM = 3.0
_SEED = 1


def run(args: argparse.Namespace) -> int:
    """Simulate, analyse both levels, compare, and print where the pages are.

    A demo folder that has its data set already is analysed again from what is there.
    """
    from pipeline.cli.main import main

    start_s = time.monotonic()
    bids_dir, out_dir = args.out / "bids", args.out / "derivatives"
    _simulate(args.out, bids_dir)
    folders = [str(bids_dir), str(out_dir)]
    code = main([*folders, "participant", "--n-procs", str(args.n_procs)])
    if code:
        return code
    code = main([*folders, "group", "--unblind"])
    if code:
        return code
    settings = load_settings()
    scans = survey(bids_dir).scans
    table = compare(scans, bids_dir, out_dir, settings)
    write_table(args.out / "comparison.tsv", table)
    console = Console()
    console.print(_shown(table))
    _print_effect(console, out_dir)
    for scan in scans:
        console.print(str(out_dir / derivative_path(scan.entities, "report")), soft_wrap=True)
    console.print(str(out_dir / "group.html"), soft_wrap=True)
    console.print(f"{(time.monotonic() - start_s) / 60:.1f} min")
    return 0


def _simulate(demo_dir: Path, bids_dir: Path) -> None:
    """Write the data set, in one step: a demo that was stopped half way starts anew."""
    if bids_dir.exists():
        if not (bids_dir / "dataset_description.json").is_file():
            raise ConfigError(f"{bids_dir}: no data set of a demo; name another folder")
        return
    partial = demo_dir / "bids.partial"
    if partial.exists():
        raise ConfigError(f"{partial}: left by a demo that was stopped; remove it, start again")
    options = SimulationOptions(
        cohort=CohortOptions(group_sizes={"ketamine": 2, "placebo": 2}),
        scanner=ScannerOptions(pet_voxel_mm=_PET_VOXEL_MM),
        seed=_SEED,
    )
    simulate_dataset(partial, options, progress=print)
    partial.rename(bids_dir)


def compare(
    scans: tuple[ScanInputs, ...], bids_dir: Path, out_dir: Path, settings: Settings
) -> pd.DataFrame:
    """Estimates of every session beside what the truth gives on the same frames.

    Parameters
    ----------
    scans : tuple of ScanInputs
        Simulated sessions that have been analysed.
    bids_dir, out_dir : Path
        Data set with its truth, and derivatives.
    settings : Settings
        In force in the analysis.

    Returns
    -------
    DataFrame
        A row per session and region: BPND estimated, attainable with the true labels, motion
        and alignment, and simulated; and the session's errors of alignment, mm.
    """
    regions = TrueRegions(
        {name: settings.regions.labels[name] for name in _REGIONS},
        settings.regions.reference.labels,
        settings.regions.supersampling,
    )
    rows = []
    for scan in scans:
        simulated = SimulatedScan.read(scan, bids_dir)
        kinpar = out_dir / derivative_path(scan.entities, "kinpar", model="SRTM")
        estimate = read_table(kinpar).set_index("name")["BPND"]
        attainable = attainable_bpnd(simulated, regions, curve_models(settings.kinetics.models)[0])
        truth = true_bpnd(simulated, regions.labels)
        error = alignment_error(simulated, out_dir)
        rows += [
            {
                "session": scan.label,
                "region": name,
                "BPND": estimate[name],
                "BPND_attainable": attainable[name],
                "BPND_simulated": truth[name],
                "difference_percent": 100 * (estimate[name] / attainable[name] - 1),
                "coregistration_error_mm": error.coregistration_mm,
                "motion_error_mm": error.motion_mean_mm,
                "motion_error_worst_mm": error.motion_worst_mm,
            }
            for name in _REGIONS
        ]
    return pd.DataFrame(rows)


def _shown(table: pd.DataFrame) -> Table:
    shown = Table(
        title="BPND: estimate; truth, with true labels, motion and alignment; difference",
        caption="alignment and motion: mean distance over the brain, mm",
        box=None,
        pad_edge=False,
    )
    for heading in ("session", ""):
        shown.add_column(heading, no_wrap=True)
    for heading in (*_REGIONS, "alignment", "motion"):
        shown.add_column(heading, justify="right")
    for session, rows in table.groupby("session", sort=False):
        of = rows.set_index("region")
        first = rows.iloc[0]
        errors = (f"{first.coregistration_error_mm:.2f}", f"{first.motion_error_mm:.2f}")
        shown.add_row(str(session), "estimate", *_cells(of["BPND"], "{:.2f}"), *errors)
        shown.add_row("", "truth", *_cells(of["BPND_attainable"], "{:.2f}"))
        shown.add_row("", "%", *_cells(of["difference_percent"], "{:+.1f}"))
        shown.add_row()
    sessions = table.groupby("session").first()
    means = [sessions[f"{kind}_error_mm"].mean() for kind in ("coregistration", "motion")]
    mean = table["difference_percent"].abs().groupby(table["region"]).mean()
    shown.add_row("mean", "|%|", *_cells(mean, "{:.1f}"), *map("{:.2f}".format, means))
    return shown


def _cells(values: pd.Series, form: str) -> list[str]:
    return [form.format(values[name]) for name in _REGIONS]


def _print_effect(console: Console, out_dir: Path) -> None:
    """Say what became of the rise in the hippocampus that was simulated."""
    table = read_table(out_dir / "group" / "group_desc-binding_table.tsv")
    changes = table[(table["region"] == "HIP") & (table["session_id"] == "post")]
    for row in changes[changes["group"] != "all"].itertuples():
        change = float(row.percent_change_of_mean)
        text = "n/a" if math.isnan(change) else f"{change:+.1f} %"
        console.print(f"hippocampus, {row.group}: {text} after treatment")
