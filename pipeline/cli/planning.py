"""From what the command line says to what would run."""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.bids.anatomical_derivatives import find_source, require_anatomy
from pipeline.bids.dataset import Selection
from pipeline.bids.freesurfer_subjects import (
    Subjects,
    find_subjects_dir,
    require_subjects,
    to_reconstruct,
)
from pipeline.bids.preflight import (
    Plan,
    require_labels,
    require_transforms,
    survey,
    with_unknown_names,
)
from pipeline.bids.runs import FrameChoice
from pipeline.cli.tools import Need, needed_tools
from pipeline.config.anatomy import DerivativesAnatomy, EmbeddedAnatomy
from pipeline.config.load import load_settings
from pipeline.config.motion import NoMotion
from pipeline.config.parcellation import FreeSurferParcellation, GivenParcellation
from pipeline.config.regions import MniImage
from pipeline.config.schema import Settings
from pipeline.core.errors import ConfigError, DataError
from pipeline.imaging.mni_regions import LabelledBody
from pipeline.io.deepbet import deepbet_is_installed
from pipeline.io.images import read_labels
from pipeline.kinetics import Logan, Mrtm2, Srtm2, Wapi

if TYPE_CHECKING:
    from workflows.anatomical import Folders


def settings_of(args: argparse.Namespace) -> Settings:
    """Settings of a file or study, with those of the command line."""
    overrides = list(args.overrides)
    for option in ("n_procs", "mem_gb", "omp_nthreads"):
        value = getattr(args, option, None)
        if value is not None:
            overrides.append(f"resources.{option}={value}")
    return load_settings(args.config, overrides)


def with_anatomy_found(settings: Settings, bids_dir: Path) -> Settings:
    """The settings with the folder of anatomical derivatives that they mean, if any."""
    anatomy = settings.anatomy
    if not isinstance(anatomy, DerivativesAnatomy):
        return settings
    # the shortest way from here, so that no folder of this machine enters the outputs
    folder = os.path.relpath(find_source(bids_dir, anatomy.folder).folder)
    return settings.model_copy(update={"anatomy": anatomy.model_copy(update={"folder": folder})})


def plan_for(args: argparse.Namespace, settings: Settings) -> Plan:
    """What would run under these settings; files that they name are there."""
    anatomy = settings.anatomy
    deepbet = isinstance(anatomy, EmbeddedAnatomy) and anatomy.brain == "deepbet"
    if deepbet and not deepbet_is_installed():
        raise ConfigError(
            "anatomy.brain = 'deepbet' needs deepbet and torch; pip install 'petbind[deepbet]'"
        )
    _check_regions(settings)
    plan = survey(args.bids_dir, _selection(args), anatomy.t1w, _frame_choice(settings))
    if not isinstance(settings.motion, NoMotion):
        plan = with_unknown_names(plan, "motion.sessions", settings.motion.sessions)
    if isinstance(anatomy, DerivativesAnatomy):
        plan = require_anatomy(plan, find_source(args.bids_dir, anatomy.folder))
    if isinstance(settings.parcellation, GivenParcellation):
        plan = require_labels(plan, settings.parcellation.dseg)
    if isinstance(settings.parcellation, FreeSurferParcellation):
        plan = _with_subjects(args, plan, settings.parcellation)
    if settings.coregistration.init_file is not None:
        plan = require_transforms(plan, settings.coregistration.init_file)
    return plan


def _with_subjects(args: argparse.Namespace, plan: Plan, options: FreeSurferParcellation) -> Plan:
    """The plan with the subjects of FreeSurfer."""
    place = find_subjects_dir(options.subjects_dir, args.bids_dir, args.out_dir, os.environ)
    return require_subjects(plan, Subjects(place, options.subject, options.run), args.bids_dir)


def needs_of(args: argparse.Namespace, plan: Plan, settings: Settings) -> list[Need]:
    """Tools that the plan needs; FreeSurfer for labels only where a subject is to be made."""
    makes = isinstance(settings.parcellation, FreeSurferParcellation) and to_reconstruct(plan)
    return needed_tools(settings, folders_of(args).work_dir, labels_to_make=bool(makes))


def _frame_choice(settings: Settings) -> FrameChoice:
    options = settings.scan
    return FrameChoice(
        join_runs=options.join_runs,
        drop=options.drop_frames,
        drop_of=tuple(options.drop_frames_of.items()),
        start_s=-math.inf if options.start_s is None else options.start_s,
        end_s=math.inf if options.end_s is None else options.end_s,
    )


def _check_regions(settings: Settings) -> None:
    """Refuse regions that no session could have."""
    from workflows.regions import region_spec

    for name, region in settings.regions.mni.items():
        if isinstance(region, MniImage):
            try:
                LabelledBody.of(read_labels(region.image), region.labels, str(region.image))
            except (DataError, ValueError) as error:
                raise ConfigError(f"regions.mni.{name}: {error}") from error
    known = region_spec(settings.regions).names
    for model in settings.kinetics.models:
        wanted = model.k2prime.region if isinstance(model, Logan | Mrtm2 | Srtm2 | Wapi) else ""
        if wanted and wanted not in known:
            raise ConfigError(
                f"kinetics.models: {model.model} takes its k2prime from {wanted}, which is no "
                f"region; known: {', '.join(known)}"
            )


def _selection(args: argparse.Namespace) -> Selection:
    return Selection(
        participants=tuple(args.participant_label),
        sessions=tuple(args.session_label),
        tracers=tuple(args.tracer_label),
        tasks=tuple(args.task_label),
        reconstructions=tuple(args.rec_label),
        runs=tuple(args.run_label),
    )


def folders_of(args: argparse.Namespace) -> Folders:
    """Where data, results and intermediate results lie."""
    from workflows.anatomical import Folders

    work_dir = getattr(args, "work_dir", None) or Path(f"{args.out_dir}-work")
    return Folders(args.bids_dir.absolute(), args.out_dir.absolute(), work_dir.absolute())


def make_work_dir(args: argparse.Namespace) -> Path:
    """Make the folder of intermediate results, and return it."""
    from pipeline.execution.run import make_folder

    folder = folders_of(args).work_dir
    make_folder(folder, "" if args.work_dir else "; name another with --work-dir")
    return folder


def check_folders(bids_dir: Path, out_dir: Path) -> None:
    """Refuse an output that would lie among raw data: anywhere but in a folder of derivatives."""
    raw, out = bids_dir.resolve(), out_dir.resolve()
    below = out.relative_to(raw).parts if out.is_relative_to(raw) else None
    if below is not None and (below[:1] != ("derivatives",) or len(below) < 2):
        raise ConfigError(
            f"{out_dir}: results would mix with the raw data; name a folder outside {bids_dir}, "
            f"or {bids_dir / 'derivatives' / 'petbind'}"
        )


def require_scans(plan: Plan) -> None:
    """Refuse a plan of which nothing can run."""
    if not plan.scans:
        raise ConfigError("no session can run; see the errors above, or petbind check BIDS OUT")
