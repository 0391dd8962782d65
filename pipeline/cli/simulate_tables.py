"""`petbind simulate --level tables`: a trial as if it had been analysed."""

from __future__ import annotations

import argparse

from pipeline.bids.simulated_tables import DERIVATIVES_FOLDER, TableAnalysis, simulate_tables
from pipeline.cli.participant import describe_output
from pipeline.cli.simulate import OF_IMAGES, STUDIES, given
from pipeline.config.load import load_settings
from pipeline.config.motion import EmbeddedMotion
from pipeline.config.schema import Settings
from pipeline.core.errors import ConfigError
from pipeline.kinetics.srtm import Srtm
from pipeline.simulation.trial import tiger2020_groups
from pipeline.simulation.trial_patients import (
    TrialStudy,
    draw_study,
    tiger2020_moods,
    with_sizes,
)
from workflows.outputs import session_results

_DONE = 0


def run_tables(args: argparse.Namespace) -> int:
    """Write the data set and its derivatives; returns the exit code.

    Raises
    ------
    ConfigError
        If options contradict each other.
    DataError
        If OUT is not empty.
    """
    study = _study(args)
    settings = load_settings(f"{args.study}-embedded")
    simulate_tables(
        args.out_dir,
        study,
        _analysis(settings),
        lambda scan: session_results(scan, args.out_dir, settings),
    )
    out_dir = args.out_dir / DERIVATIVES_FOLDER
    (out_dir / "logs").mkdir()
    describe_output(args.out_dir, out_dir, settings, {})
    print(f"{args.out_dir}: tables; now petbind {args.out_dir} {out_dir} group")
    return _DONE


def _study(args: argparse.Namespace) -> TrialStudy:
    if args.study is None:
        raise ConfigError(f"--level tables needs --study {' or '.join(STUDIES)}")
    for option, name in OF_IMAGES.items():
        if given(args, [name]):
            raise ConfigError(
                f"--{option} is of images, and --level tables makes none; leave one of them out"
            )
    if args.effect not in (None, ["none"]):
        raise ConfigError(
            f"--effect {args.effect[0]}: --study {args.study} has the effects of its paper; "
            "write --effect none for no change of BPND, or leave it out"
        )
    groups = tiger2020_groups(effect=args.effect is None)
    try:
        sized = with_sizes(groups, given(args, groups))
        return draw_study(args.seed, sized, tiger2020_moods())
    except ValueError as error:
        raise ConfigError(f"simulate: {error}") from error


def _analysis(settings: Settings) -> TableAnalysis:
    """What of the settings shapes the tables."""
    (model,), motion, regions = settings.kinetics.models, settings.motion, settings.regions
    if not isinstance(model, Srtm) or not isinstance(motion, EmbeddedMotion):
        raise RuntimeError("tables are of SRTM, and of motion found by petbind itself")
    return TableAnalysis(
        regions=(*regions.labels, *regions.mni),
        reference=regions.reference_name,
        model=model,
        weights=settings.kinetics.weights,
        late_min=regions.late_min,
        rule=motion.rule,
        first_frame_s=motion.first_frame_s,
        within_frame_mm=motion.within_frame_mm,
    )
