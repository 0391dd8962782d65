"""What `run`, `check`, `graph` and `config` do."""

from __future__ import annotations

import argparse
import json

from rich.console import Console

from pipeline.bids.preflight import (
    Plan,
    missing_group_column,
    render_plan,
)
from pipeline.cli.participant import DONE, SOME_FAILED, WRONG_USE, run_participants
from pipeline.cli.planning import (
    check_folders,
    folders_of,
    needs_of,
    plan_for,
    require_scans,
    settings_of,
    with_anatomy_found,
)
from pipeline.cli.tools import require_tools, tools_table
from pipeline.config.load import load_settings
from pipeline.config.schema import Settings
from pipeline.core.errors import ConfigError


def run(args: argparse.Namespace) -> int:
    """Analyse sessions, or the cohort."""
    settings = settings_of(args)
    check_folders(args.bids_dir, args.out_dir)
    if args.work_dir is not None:
        check_folders(args.bids_dir, args.work_dir)
    if args.level == "group":
        from pipeline.cli import group
        from workflows.cohort import work_root

        return group.run(args, settings, work_root(folders_of(args).work_dir))
    if args.unblind:
        raise ConfigError("--unblind is for the group level; participant never reads groups")
    return run_participants(args, settings)


def check(args: argparse.Namespace) -> int:
    """Print what would run, and every oddity."""
    settings = settings_of(args)
    check_folders(args.bids_dir, args.out_dir)
    settings = with_anatomy_found(settings, args.bids_dir)
    plan = plan_for(args, settings)
    needs = needs_of(args, plan, settings)
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

    settings = settings_of(args)
    check_folders(args.bids_dir, args.out_dir)
    settings = with_anatomy_found(settings, args.bids_dir)
    plan = plan_for(args, settings)
    require_scans(plan)
    first = plan.scans[0]
    only = Plan((first,), (), (), (), plan.subjects)
    workflow = init_cohort_wf(only, folders_of(args), settings)
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
