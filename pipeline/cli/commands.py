"""What `run`, `check`, `graph` and `config` do."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from pipeline import __version__
from pipeline.bids.anatomical_derivatives import find_source, require_anatomy
from pipeline.bids.dataset import Selection
from pipeline.bids.derivatives import dataset_description, raw_link
from pipeline.bids.freesurfer_subjects import (
    Subjects,
    find_subjects_dir,
    require_subjects,
    to_reconstruct,
)
from pipeline.bids.preflight import (
    Plan,
    missing_group_column,
    render_plan,
    require_labels,
    require_transforms,
    survey,
    with_unknown_names,
)
from pipeline.bids.runs import FrameChoice
from pipeline.cli.tools import Need, found_versions, needed_tools, require_tools, tools_table
from pipeline.config.anatomy import DerivativesAnatomy, EmbeddedAnatomy
from pipeline.config.cluster import load_slurm_options
from pipeline.config.load import load_settings
from pipeline.config.motion import NoMotion
from pipeline.config.parcellation import FreeSurferParcellation, GivenParcellation
from pipeline.config.regions import MniImage
from pipeline.config.schema import Settings
from pipeline.core.errors import ConfigError, DataError
from pipeline.imaging.mni_regions import LabelledBody
from pipeline.io.deepbet import deepbet_is_installed
from pipeline.io.images import read_labels
from pipeline.io.tables import read_json, read_table, write_json, write_table
from pipeline.kinetics import Logan, Mrtm2, Srtm2, Wapi

if TYPE_CHECKING:
    from workflows.anatomical import Folders

DONE, SOME_FAILED, WRONG_USE = 0, 1, 2

_NOT_IN_BIDS_YET = """\
*.html
group
group_*
logs/
**/*_xfm.*
**/*_mimap.*
**/*_kinpar.*
**/*_tacs.*
**/*_stats.*
**/*_morph.*
**/*_petref.*
**/*_timeseries.*
**/*_space-petref_desc-regions_dseg.*
**/*_space-T1w_desc-reference_mask.*
"""
"""Outputs whose names the released BIDS schema does not know."""


def run(args: argparse.Namespace) -> int:
    """Analyse sessions, or the cohort."""
    settings = _settings(args)
    _check_folders(args.bids_dir, args.out_dir)
    if args.work_dir is not None:
        _check_folders(args.bids_dir, args.work_dir)
    if args.level == "group":
        from pipeline.cli import group
        from workflows.cohort import work_root

        return group.run(args, settings, work_root(_folders(args).work_dir))
    if args.unblind:
        raise ConfigError("--unblind is for the group level; participant never reads groups")
    return _run_participants(args, settings)


def check(args: argparse.Namespace) -> int:
    """Print what would run, and every oddity."""
    settings = _settings(args)
    _check_folders(args.bids_dir, args.out_dir)
    settings = _with_anatomy_found(settings, args.bids_dir)
    plan = _survey(args, settings)
    needs = _needs(args, plan, settings)
    print(render_plan(plan))
    if needs:
        Console().print(tools_table(needs))
        print()
    if missing := missing_group_column(args.bids_dir, settings.group.group_column):
        print(f"{missing}\n")
    require_tools(needs)
    if not plan.scans:
        return WRONG_USE
    return SOME_FAILED if plan.blocked else DONE


def graph(args: argparse.Namespace) -> int:
    """Draw the graph of the first session that would run."""
    from pipeline.execution.run import make_folder
    from pipeline.reports.steps import steps_figure
    from pipeline.reports.style import figure_bytes
    from workflows.cohort import init_cohort_wf, step_edges

    settings = _settings(args)
    _check_folders(args.bids_dir, args.out_dir)
    settings = _with_anatomy_found(settings, args.bids_dir)
    plan = _survey(args, settings)
    _require_scans(plan)
    first = plan.scans[0]
    workflow = init_cohort_wf(Plan((first,), (), (), (), plan.subjects), _folders(args), settings)
    make_folder(args.out_dir)
    path = args.out_dir / f"{first.label}_graph.svg"
    figure = steps_figure(f"{first.label}: what waits for what", step_edges(workflow))
    path.write_bytes(figure_bytes(figure, "svg"))
    print(path)
    return DONE


def config(args: argparse.Namespace) -> int:
    """Show, check or describe the settings."""
    if args.action == "schema":
        print(json.dumps(Settings.model_json_schema(), indent=2))
        return DONE
    settings = load_settings(args.config, args.overrides)
    if args.action == "show":
        print(settings.model_dump_json(indent=2))
    else:
        print("settings are valid")
    return DONE


def _run_participants(args: argparse.Namespace, settings: Settings) -> int:
    from pipeline.execution.run import Limits, make_folder, run_graph
    from workflows.cohort import init_anatomies_wf, init_cohort_wf, of_part

    settings = _with_anatomy_found(settings, args.bids_dir)
    plan = _survey(args, settings)
    plan = of_part(plan, args.part) if args.part else plan
    for label, findings in plan.blocked:
        for finding in findings:
            print(f"petbind: {label} will not run: {finding}", file=sys.stderr)
    _require_scans(plan)
    needs = _needs(args, plan, settings)
    require_tools(needs)
    make_folder(args.out_dir / "logs")
    make_folder(_folders(args).work_dir)
    versions = found_versions(needs)
    describe_output(args.bids_dir, args.out_dir, settings, versions)
    whole = not args.part or args.part in {scan.label for scan in plan.scans}
    build = init_cohort_wf if whole else init_anatomies_wf
    workflow = build(plan, _folders(args), settings, versions)
    resources = settings.resources
    slurm = load_slurm_options(args.plugin_args) if args.plugin == "slurm" else None
    failures = run_graph(
        workflow, Limits(resources.n_procs, resources.mem_gb, args.stop_on_first_crash, slurm)
    )
    if args.part:
        return _report_part(args.part, _outcomes(plan, failures, _folders(args)), _folders(args))
    return _report_outcome(_outcomes(plan, failures, _folders(args)), _folders(args))


def _outcomes(plan: Plan, failures: list, folders: Folders):  # type: ignore[no-untyped-def,type-arg]
    """Which sessions are done, and where the others stopped; a data frame with a row for each."""
    import pandas as pd

    from workflows.cohort import parts_of

    rows = []
    for scan in plan.scans:
        stopped = [f for f in failures if f.part in parts_of(scan)]
        first = stopped[0] if stopped else None
        rows.append(
            {
                "session": scan.label,
                "state": "failed" if first else "done",
                "node": first.step if first else "n/a",
                "reason": _without_folders(first.reason, folders) if first else "n/a",
                "crash_file": Path(first.crash_file).name if first else "n/a",
            }
        )
    for label, findings in plan.blocked:
        reason = " ".join(str(finding) for finding in findings)
        rows.append(
            {
                "session": label,
                "state": "not run",
                "node": "n/a",
                "reason": reason,
                "crash_file": "n/a",
            }
        )
    return pd.DataFrame(rows)


def _report_outcome(table, folders: Folders) -> int:  # type: ignore[no-untyped-def]
    """Print and write which sessions are done, and where the others stopped."""
    write_table(folders.out_dir / "logs" / "sessions.tsv", table)
    _print_outcome(table)
    print(f"results and pages: {folders.out_dir}")
    return DONE if (table["state"] == "done").all() else SOME_FAILED


def _report_part(part: str, table, folders: Folders) -> int:  # type: ignore[no-untyped-def]
    """Print what became of a part; its sessions' rows replace those of earlier runs."""
    from filelock import FileLock

    failed = (table["state"] == "failed").any()
    if not failed and part not in set(table["session"]):
        # an anatomy, whose sessions are still to come
        print(f"{part}: done")
        return DONE
    path = folders.out_dir / "logs" / "sessions.tsv"
    with FileLock(folders.work_dir / "sessions.lock"):
        write_table(path, with_rows(path, table))
    _print_outcome(table)
    return SOME_FAILED if failed else DONE


def with_rows(path: Path, table):  # type: ignore[no-untyped-def]
    """The table of sessions in a file, if there is one, with these rows in place of its own."""
    import pandas as pd

    if path.is_file():
        earlier = read_table(path, as_text=True)
        table = pd.concat([earlier[~earlier["session"].isin(table["session"])], table])
    return table.sort_values("session")


def _without_folders(reason: str, folders: Folders) -> str:
    """A reason on one line, with files named from the data set's or the output's top."""
    for folder in (folders.bids_dir, folders.out_dir, folders.work_dir):
        reason = reason.replace(f"{folder.resolve()}/", "").replace(f"{folder}/", "")
    return " ".join(reason.split())


def _print_outcome(table) -> None:  # type: ignore[no-untyped-def]
    shown = Table(box=None, pad_edge=False)
    for heading in ("session", "state", "node", "reason"):
        shown.add_column(heading, overflow="fold")
    for row in table.to_dict("records"):
        colour = {"done": "green", "failed": "red"}.get(row["state"], "yellow")
        cells = ["" if row[key] == "n/a" else row[key] for key in ("node", "reason")]
        shown.add_row(row["session"], f"[{colour}]{row['state']}[/]", *cells)
    Console().print(shown)


def describe_output(
    bids_dir: Path, out_dir: Path, settings: Settings, tools: Mapping[str, str]
) -> None:
    """Write `dataset_description.json` and the settings in force."""
    raw = bids_dir / "dataset_description.json"
    try:
        content = read_json(raw)
    except DataError:
        # `check` has told of it; nothing but names and links come from it
        content = {}
    link = raw_link(bids_dir, out_dir)
    description = dataset_description(__version__, content, link, tools=tools)
    write_json(out_dir / "dataset_description.json", description)
    (out_dir / ".bidsignore").write_text(_NOT_IN_BIDS_YET, encoding="utf-8")
    write_json(out_dir / "logs" / "settings.json", settings.model_dump(mode="json"))


def _settings(args: argparse.Namespace) -> Settings:
    overrides = list(args.overrides)
    for option in ("n_procs", "mem_gb", "omp_nthreads"):
        value = getattr(args, option, None)
        if value is not None:
            overrides.append(f"resources.{option}={value}")
    return load_settings(args.config, overrides)


def _with_anatomy_found(settings: Settings, bids_dir: Path) -> Settings:
    """The settings with the folder of anatomical derivatives that they mean, if any."""
    anatomy = settings.anatomy
    if not isinstance(anatomy, DerivativesAnatomy):
        return settings
    # the shortest way from here, so that no folder of this machine enters the outputs
    folder = os.path.relpath(find_source(bids_dir, anatomy.folder).folder)
    return settings.model_copy(update={"anatomy": anatomy.model_copy(update={"folder": folder})})


def _survey(args: argparse.Namespace, settings: Settings) -> Plan:
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


def _needs(args: argparse.Namespace, plan: Plan, settings: Settings) -> list[Need]:
    """Tools that the plan needs; FreeSurfer for labels only where a subject is to be made."""
    makes = isinstance(settings.parcellation, FreeSurferParcellation) and to_reconstruct(plan)
    return needed_tools(settings, _folders(args).work_dir, labels_to_make=bool(makes))


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


def _folders(args: argparse.Namespace):  # type: ignore[no-untyped-def]
    from workflows.anatomical import Folders

    work_dir = getattr(args, "work_dir", None) or Path(f"{args.out_dir}-work")
    return Folders(args.bids_dir.absolute(), args.out_dir.absolute(), work_dir.absolute())


def _check_folders(bids_dir: Path, out_dir: Path) -> None:
    """Refuse an output that would lie among raw data: anywhere but in a folder of derivatives."""
    raw, out = bids_dir.resolve(), out_dir.resolve()
    below = out.relative_to(raw).parts if out.is_relative_to(raw) else None
    if below is not None and (below[:1] != ("derivatives",) or len(below) < 2):
        raise ConfigError(
            f"{out_dir}: results would mix with the raw data; name a folder outside {bids_dir}, "
            f"or {bids_dir / 'derivatives' / 'petbind'}"
        )


def _require_scans(plan: Plan) -> None:
    if not plan.scans:
        raise ConfigError("no session can run; see the errors above, or petbind check BIDS OUT")
