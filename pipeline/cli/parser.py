"""The words of the command line."""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path
from typing import Any

from pipeline import __version__

_MODELS = "srtm, srtm2, mrtm1, mrtm2, logan, suvr or suv"
_ENTITIES = ("participant", "session", "tracer", "task", "rec", "run")


def build_parser() -> argparse.ArgumentParser:
    """Parser of every sub-command; the BIDS-App form is `run`."""
    parser = argparse.ArgumentParser(
        prog="petbind",
        description="From BIDS dynamic PET and T1w MRI to binding potentials and statistics.",
        epilog="petbind BIDS OUT participant|group is the same as petbind run BIDS OUT ...",
    )
    parser.add_argument("--version", action="version", version=f"petbind {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_run(commands)
    _add_check(commands)
    _add_graph(commands)
    _add_status(commands)
    _add_rerun(commands)
    _add_submit(commands)
    _add_simulate(commands)
    _add_demo(commands)
    _add_fit(commands)
    _add_stats(commands)
    _add_config(commands)
    return parser


def parse(parser: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
    """Arguments of a command; what it does not know is told with its own usage.

    argparse itself would show the usage of the whole program, which lists no options.
    """
    args, unknown = parser.parse_known_args(words)
    if unknown:
        command = _commands_of(parser)[args.command]
        known = [name for action in command._actions for name in action.option_strings]
        near = difflib.get_close_matches(unknown[0].partition("=")[0], known, n=1)
        command.error(
            f"not understood: {' '.join(unknown)}" + (f"; did you mean {near[0]}?" if near else "")
        )
    return args


def _commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    actions = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return dict(next(actions).choices)


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = commands.add_parser("run", help="analyse sessions (participant) or the cohort (group)")
    _add_folders(run)
    run.add_argument("level", choices=("participant", "group"), help="level of the analysis")
    _add_selection(run)
    _add_settings(run)
    _add_resources(run)
    run.add_argument(
        "--unblind", action="store_true",
        help="of group: read who is in which group, and test; logged",
    )  # fmt: skip
    run.add_argument(
        "--stop-on-first-crash", action="store_true", help="do not go on with other sessions"
    )
    _add_no_wait(run)
    run.add_argument(
        "--part",
        metavar="NAME",
        help="only this session, or only the anatomy of this T1w, by its name in the progress "
        "(sub-01_ses-pre, sub-01_ses-pre_T1w); what petbind submit runs",
    )
    run.add_argument(
        "--plugin",
        choices=("multiproc", "slurm"),
        default="multiproc",
        help="processes on this machine, or every node as a job of SLURM",
    )
    run.add_argument(
        "--plugin-args",
        metavar="KEY=VALUE...|FILE.toml",
        help="for slurm: partition, account, time, sbatch, memory_factor, max_jobs, poll_s, "
        "patience_s, file_delay_s",
    )


def _add_resources(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--work-dir", type=Path, help="intermediate results; default OUT-work")
    parser.add_argument("--n-procs", type=int, help="processes at the same time")
    parser.add_argument("--mem-gb", type=float, help="memory all processes may take, GB")
    parser.add_argument(
        "--omp-nthreads", type=int, help="threads of deepbet's network; all else takes one"
    )


def _add_submit(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    submit = commands.add_parser(
        "submit", help="a cohort as array jobs of SLURM; again: what is not done of it"
    )
    _add_folders(submit)
    submit.add_argument("--scheduler", choices=("slurm",), default="slurm", help="who runs it")
    _add_selection(submit)
    _add_settings(submit)
    _add_resources(submit)
    for option, told in (
        ("partition", "where jobs run"),
        ("account", "who pays"),
        ("time", "longest time of a task, as sbatch takes it"),
    ):
        submit.add_argument(f"--{option}", help=told)
    submit.add_argument(
        "--sbatch",
        action="append",
        default=[],
        metavar="OPTION",
        help="further option of sbatch, as in --sbatch=--qos=long; may be repeated, comes last",
    )
    submit.add_argument("--max-at-once", type=int, metavar="N", help="tasks of an array at once")
    submit.add_argument(
        "--group", action="store_true", help="the group level too, when all sessions have ended"
    )
    submit.add_argument(
        "--unblind", action="store_true", help="the group level with its option --unblind"
    )
    submit.add_argument(
        "--container",
        metavar="IMAGE",
        help="run in this image: FILE.sif with Apptainer, else a name with Docker",
    )
    submit.add_argument(
        "--bind",
        action="append",
        default=[],
        type=Path,
        metavar="FOLDER",
        help="also seen in the container, read-only; may be repeated",
    )
    submit.add_argument(
        "--dry-run", action="store_true", help="print the scripts; write and submit nothing"
    )


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    check = commands.add_parser("check", help="what would run, and what is odd; writes nothing")
    _add_folders(check)
    check.add_argument("--work-dir", type=Path, help="of the run; only looked at")
    _add_selection(check)
    _add_settings(check)


def _add_graph(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    graph = commands.add_parser("graph", help="draw the graph of a session, as SVG")
    _add_folders(graph)
    _add_selection(graph)
    _add_settings(graph)


def _add_status(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    status = commands.add_parser("status", help="how far every session is, node by node")
    _add_recorded(status)
    status.add_argument("--nodes", action="store_true", help="every node, not only what is amiss")
    status.add_argument("--json", action="store_true", help="for programs")
    status.add_argument(
        "--verify",
        action="store_true",
        help="read inputs and outputs again, and tell what was altered by hand",
    )


def _add_rerun(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    rerun = commands.add_parser("rerun", help="some nodes again, and what they change")
    _add_recorded(rerun)
    rerun.add_argument(
        "nodes",
        nargs="+",
        metavar="NODE",
        help="as status names them: a step, a node, or a pattern such as 'kinetics*'",
    )
    rerun.add_argument("--only", action="store_true", help="leave what depends on them as it is")
    rerun.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change one setting of these sessions; may be repeated",
    )
    rerun.add_argument("--dry-run", action="store_true", help="print what would run")
    rerun.add_argument("--n-procs", type=int, help="processes at the same time")
    rerun.add_argument("--mem-gb", type=float, help="memory all processes may take, GB")
    _add_no_wait(rerun)


def _add_recorded(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out_dir", metavar="OUT", type=Path, help="derivatives of earlier runs")
    parser.add_argument("--work-dir", type=Path, help="intermediate results; default OUT-work")
    for entity in ("participant", "session"):
        parser.add_argument(
            f"--{entity}-label", nargs="+", default=(), metavar="LABEL", help="only these"
        )


def _add_simulate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from pipeline.cli import simulate

    simulate.add_arguments(
        commands.add_parser("simulate", help="a BIDS data set with known truth")
    )


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    demo = commands.add_parser(
        "demo", help="simulate a small trial, analyse it, compare it with the truth"
    )
    demo.add_argument("out", type=Path, help="new or earlier demo folder")
    demo.add_argument("--n-procs", type=int, default=2, help="processes at the same time")


def _add_fit(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("fit", help="kinetic models of curves: of a table, or of many")
    parser.add_argument(
        "tacs",
        metavar="TACS.tsv|DERIVATIVES",
        type=Path,
        help="frame_start, frame_end (s), curves; or a folder of BIDS derivatives with such "
        "tables, as PETPrep writes them",
    )
    parser.add_argument(
        "--reference",
        required=True,
        metavar="NAME|FILE",
        help="column of the reference region, or a table that holds its curve alone; in a folder "
        "also the label of such a table, or a region",
    )
    parser.add_argument(
        "--model",
        action="append",
        dest="models",
        metavar="NAME",
        help=f"{_MODELS}; may be repeated; default srtm",
    )
    parser.add_argument(
        "--weights", default="counts", help="counts, uniform, duration or kinfitr-N"
    )
    parser.add_argument(
        "--radionuclide", help="for the weights by counts, where no JSON beside the table says it"
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="MODEL.KEY=VALUE",
        help="option of a model, such as srtm2.k2prime.per_min=0.14; may be repeated",
    )
    parser.add_argument("--output-dir", type=Path, help="default: beside the table")
    parser.add_argument("--plot", action="store_true", help="also draw curves and fits, as SVG")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier results")
    _add_fit_of_folder(parser.add_argument_group("for a folder of derivatives"))


def _add_fit_of_folder(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--seg", metavar="LABEL", help="segmentation, where there are several")
    group.add_argument(
        "--pvc", metavar="LABEL", help="curves with this partial-volume correction; default none"
    )
    group.add_argument(
        "--regions",
        nargs="?",
        const="",
        metavar="FILE|NAME",
        help="make petbind's regions of columns with FreeSurfer names, weighted by volume; those "
        "of settings if a file or study is named",
    )
    group.add_argument(
        "--bids-dir",
        type=Path,
        metavar="BIDS",
        help="raw data, whose PET sidecars say what those of the curves do not",
    )


def _add_stats(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("stats", help="the tests of a declared plan, on a long table")
    parser.add_argument(
        "table",
        metavar="TABLE.tsv",
        type=Path,
        help="one row per subject, session and region",
    )
    parser.add_argument(
        "--plan", required=True, metavar="PLAN.toml", type=Path, help="what is tested, declared"
    )
    parser.add_argument("--output-dir", type=Path, help="default: TABLE_stats beside the table")
    parser.add_argument(
        "--unblind", action="store_true", help="read the groups; without it, only describe"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace results of another plan or table"
    )


def _add_config(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    config = commands.add_parser("config", help="settings in force, their check, their schema")
    config.add_argument("action", choices=("show", "check", "schema"))
    _add_settings(config)


def _add_folders(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bids_dir", metavar="BIDS", type=Path, help="BIDS data set")
    parser.add_argument("out_dir", metavar="OUT", type=Path, help="derivatives")


def _add_no_wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-wait",
        action="store_true",
        help="stop where another run is at the same session, instead of waiting for it",
    )


def _add_selection(parser: argparse.ArgumentParser) -> None:
    for entity in _ENTITIES:
        parser.add_argument(
            f"--{entity}-label",
            nargs="+",
            default=(),
            metavar="LABEL",
            help="only these; with or without the BIDS key",
        )


class _Once(argparse.Action):
    """An option that may be given once: a second one would silently replace the first."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        if getattr(namespace, self.dest) is not None:
            parser.error(
                f"{option_string} was given twice; one file or study is read, and --set changes "
                "single settings of it"
            )
        setattr(namespace, self.dest, values)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", metavar="FILE|NAME", action=_Once, help="TOML settings, or a study's name"
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="one setting, such as motion.backend=none; may be repeated",
    )
