"""`petbind simulate`: a BIDS data set with known truth."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `petbind simulate`; their defaults are those of `SimulationOptions`."""
    cohort, scanner = CohortOptions(), ScannerOptions()
    parser.add_argument("out_dir", metavar="OUT", type=Path, help="new folder of the data set")
    for group, size in cohort.group_sizes.items():
        parser.add_argument(
            f"--{group}", type=int, default=size, metavar="N", help=f"patients on {group} [{size}]"
        )
    effects = ", ".join(f"{name}={change:g}" for name, change in cohort.effects.items())
    parser.add_argument(
        "--effect", action="append", metavar="REGION=CHANGE",
        help="relative change of BPND under ketamine; may be repeated; 'none' for no change "
        f"[{effects}]; short names: acc, hip, vst, dbs, cortex",
    )  # fmt: skip
    parser.add_argument(
        "--session-sd", type=float, default=cohort.session_sd, metavar="SD",
        help=f"SD of log BPND of one person between sessions [{cohort.session_sd:g}; "
        "the paper's pairs: 0.14]",
    )  # fmt: skip
    parser.add_argument(
        "--tracer", choices=tuple(TRACER_BPND), default=cohort.tracer,
        help=f"where it binds: cortical is AZ10419369 [{cohort.tracer}]",
    )  # fmt: skip
    for option, default, meaning in (
        ("pet-voxel-mm", scanner.pet_voxel_mm, "edge of the PET's voxels"),
        ("t1w-voxel-mm", scanner.t1w_voxel_mm, "edge of the T1w's voxels"),
        ("psf-mm", scanner.psf_fwhm_mm, "blur of the PET, FWHM"),
        ("noise", scanner.noise, "noise relative to an HRRT scan"),
        ("motion-mm", scanner.motion_mm, "root mean square displacement of the head by the end"),
        ("offset-mm", scanner.offset_mm, "SD of the shift between MR and PET, each axis"),
        ("offset-deg", scanner.offset_deg, "SD of the rotation between MR and PET, each axis"),
    ):
        parser.add_argument(
            f"--{option}",
            type=float,
            default=default,
            metavar="X",
            help=f"{meaning} [{default:g}]",
        )
    parser.add_argument(
        "--frames", default="paper", metavar="paper|short|FILE",
        help="frame protocol by name, from a PET sidecar (.json) or from a table (.tsv) [paper]",
    )  # fmt: skip
    parser.add_argument("--own-t1w", action="store_true", help="a T1w in every session")
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
    options = _options(args)
    start_s = time.monotonic()

    def report(message: str) -> None:
        print(f"{message} ({time.monotonic() - start_s:.0f} s)", flush=True)

    simulate_dataset(args.out_dir, options, given_head=_given_head(args), progress=report)
    print(f"{args.out_dir}: data set; truth in {args.out_dir / 'derivatives' / 'truth'}")
    return 0


def _given_head(args: argparse.Namespace) -> GivenHead | None:
    if (args.t1w is None) != (args.dseg is None):
        raise ConfigError("--t1w and --dseg go together: a head needs its labels; give both")
    return None if args.t1w is None else GivenHead(args.t1w, args.dseg)


def _options(args: argparse.Namespace) -> SimulationOptions:
    timing = _timing(args.frames)
    effects = CohortOptions().effects if args.effect is None else _effects(args.effect)
    groups = {group: getattr(args, group) for group in CohortOptions().group_sizes}
    try:
        return SimulationOptions(
            cohort=CohortOptions(
                group_sizes=groups,
                effects=effects,
                session_sd=args.session_sd,
                tracer=args.tracer,
            ),
            scanner=ScannerOptions(
                timing=timing,
                pet_voxel_mm=args.pet_voxel_mm,
                t1w_voxel_mm=args.t1w_voxel_mm,
                psf_fwhm_mm=args.psf_mm,
                noise=args.noise,
                motion_mm=args.motion_mm,
                offset_mm=args.offset_mm,
                offset_deg=args.offset_deg,
            ),
            own_t1w=args.own_t1w,
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
