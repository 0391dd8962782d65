"""`petbind simulate`: a BIDS data set with known truth."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.bids.simulated import GivenHead, read_frame_protocol, simulate_dataset
from pipeline.core.errors import ConfigError
from pipeline.core.timing import FrameTiming
from pipeline.simulation.options import (
    FRAME_PROTOCOLS,
    CohortOptions,
    ScannerOptions,
    SimulationOptions,
)
from pipeline.simulation.regions import EFFECT_REGIONS, TRACER_BPND

STUDIES = ("tiger2020",)
"""Studies that come as tables."""
_SCANNER_OPTIONS = (
    ("pet-voxel-mm", "pet_voxel_mm", "edge of the PET's voxels"),
    ("t1w-voxel-mm", "t1w_voxel_mm", "edge of the T1w's voxels"),
    ("psf-mm", "psf_fwhm_mm", "blur of the PET, FWHM"),
    ("noise", "noise", "noise relative to an HRRT scan"),
    ("motion-mm", "motion_mm", "root mean square displacement of the head by the end"),
    ("offset-mm", "offset_mm", "SD of the shift between MR and PET, each axis"),
    ("offset-deg", "offset_deg", "SD of the rotation between MR and PET, each axis"),
)
"""Option, its field of `ScannerOptions`, and its meaning."""
OF_IMAGES = {
    **{"session-sd": "session_sd", "tracer": "tracer"},
    **{option: name for option, name, _ in _SCANNER_OPTIONS},
    **{"frames": "frames", "own-t1w": "own_t1w", "t1w": "t1w", "dseg": "dseg"},
}
"""Options that mean nothing where there are no images, and where their values are."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `petbind simulate`; defaults are those of `SimulationOptions`.

    One that was not given is None, so that `run` can tell what goes with what.
    """
    cohort, scanner = CohortOptions(), ScannerOptions()
    parser.add_argument("out_dir", metavar="OUT", type=Path, help="new folder of the data set")
    parser.add_argument(
        "--level", choices=("images", "tables"), default="images",
        help="images to analyse, or tables as if they had been, for the group level [images]",
    )  # fmt: skip
    parser.add_argument(
        "--study", choices=STUDIES,
        help="with --level tables: whose groups, binding potentials and scores are drawn",
    )  # fmt: skip
    for group, size in cohort.group_sizes.items():
        parser.add_argument(
            f"--{group}", type=int, metavar="N",
            help=f"patients on {group} [{size}; with --study its own number]",
        )  # fmt: skip
    effects = ", ".join(f"{name}={change:g}" for name, change in cohort.effects.items())
    parser.add_argument(
        "--effect", action="append", metavar="REGION=CHANGE",
        help="relative change of BPND under ketamine; may be repeated; 'none' for no change "
        f"[{effects}; with --study its own]; short names: acc, hip, vst, dbs, cortex",
    )  # fmt: skip
    parser.add_argument(
        "--session-sd", type=float, metavar="SD",
        help=f"SD of log BPND of one person between sessions [{cohort.session_sd:g}; "
        "the paper's pairs: 0.14]",
    )  # fmt: skip
    parser.add_argument(
        "--tracer", choices=tuple(TRACER_BPND),
        help=f"where it binds: cortical is AZ10419369 [{cohort.tracer}]",
    )  # fmt: skip
    for option, name, meaning in _SCANNER_OPTIONS:
        parser.add_argument(
            f"--{option}", dest=name, type=float, metavar="X",
            help=f"{meaning} [{getattr(scanner, name):g}]",
        )  # fmt: skip
    parser.add_argument(
        "--frames", metavar="paper|short|FILE",
        help="frame protocol by name, from a PET sidecar (.json) or from a table (.tsv) [paper]",
    )  # fmt: skip
    parser.add_argument(
        "--own-t1w", action="store_const", const=True, help="a T1w in every session"
    )
    parser.add_argument("--t1w", type=Path, metavar="FILE", help="a real head, with --dseg")
    parser.add_argument(
        "--dseg", type=Path, metavar="FILE", help="its FreeSurfer label numbers on the same grid"
    )
    parser.add_argument("--seed", type=int, default=0, help="same seed, same data set [0]")


def run(args: argparse.Namespace) -> int:
    """Write the data set; returns the exit code.

    Raises
    ------
    ConfigError
        If an option makes no sense.
    DataError
        If a file given cannot be used, or OUT is not empty.
    """
    if args.level == "tables":
        from pipeline.cli.simulate_tables import run_tables

        return run_tables(args)
    if args.study is not None:
        raise ConfigError(
            f"--study {args.study} comes as tables: add --level tables; for images, give sizes "
            "and effects one by one"
        )
    options = _options(args)
    start_s = time.monotonic()

    def report(message: str) -> None:
        print(f"{message} ({time.monotonic() - start_s:.0f} s)", flush=True)

    simulate_dataset(args.out_dir, options, given_head=_given_head(args), progress=report)
    print(f"{args.out_dir}: data set; truth in {args.out_dir / 'derivatives' / 'truth'}")
    return 0


def given(args: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """Values of the options that were given, by name."""
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def _given_head(args: argparse.Namespace) -> GivenHead | None:
    if (args.t1w is None) != (args.dseg is None):
        raise ConfigError("--t1w and --dseg go together: a head needs its labels; give both")
    return None if args.t1w is None else GivenHead(args.t1w, args.dseg)


def _options(args: argparse.Namespace) -> SimulationOptions:
    cohort = CohortOptions()
    sizes = {**cohort.group_sizes, **given(args, cohort.group_sizes)}
    of_cohort = given(args, ("session_sd", "tracer"))
    of_scanner = given(args, [name for _, name, _ in _SCANNER_OPTIONS])
    effects = cohort.effects if args.effect is None else _effects(args.effect)
    timing = _timing(args.frames or "paper")
    try:
        return SimulationOptions(
            cohort=CohortOptions(group_sizes=sizes, effects=effects, **of_cohort),
            scanner=ScannerOptions(timing=timing, **of_scanner),
            own_t1w=bool(args.own_t1w),
            seed=args.seed,
        )
    except ValueError as error:
        raise ConfigError(f"simulate: {error}") from error


def _timing(name: str) -> FrameTiming:
    if name in FRAME_PROTOCOLS:
        return FRAME_PROTOCOLS[name]()
    return read_frame_protocol(Path(name))


def _effects(words: list[str]) -> dict[str, float]:
    if words == ["none"]:
        return {}
    effects = {}
    for word in words:
        name, _, change = word.partition("=")
        try:
            effects[name.lower()] = float(change)
        except ValueError:
            raise ConfigError(
                f"--effect {word}: REGION=CHANGE expected, such as hippocampus=0.17; regions: "
                f"{', '.join(sorted(EFFECT_REGIONS))}"
            ) from None
    return effects
