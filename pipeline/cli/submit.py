"""`petbind submit`: a cohort as array jobs of SLURM; called again, what is not done of it."""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import sys
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from rich.console import Console
from rich.table import Table

from pipeline import __version__
from pipeline.bids.derivatives import derivative_path
from pipeline.bids.preflight import Plan
from pipeline.bids.scan import ScanInputs
from pipeline.cli.participant import DONE, SOME_FAILED
from pipeline.cli.planning import (
    check_folders,
    folders_of,
    make_work_dir,
    plan_for,
    settings_of,
    with_anatomy_found,
)
from pipeline.config.cluster import SlurmOptions, checked_slurm_options
from pipeline.config.schema import Settings
from pipeline.execution.batch import (
    Batch,
    Command,
    Need,
    Part,
    array_script,
    group_script,
    in_container,
    is_done,
    needs_of,
    plan_batches,
    resolved,
    sbatch_words,
)
from pipeline.execution.ledger import GROUP, Ledger
from pipeline.execution.run import make_folder
from pipeline.execution.slurm_client import (
    LOST,
    JobState,
    cancel_jobs,
    ending,
    list_jobs,
    recorded_state,
    submit_job,
)

_GROUP_GB = 1.0
_DRIVER_GB = 0.5
"""The process that runs the nodes of a task."""
_ANSWER_WITHIN_S = 120.0


def run(args: argparse.Namespace) -> int:
    """Write and submit, or only show, the jobs of what is not done and not on its way."""
    from workflows.cohort import init_cohort_wf

    settings = settings_of(args)
    check_folders(args.bids_dir, args.out_dir)
    check_folders(args.bids_dir, folders_of(args).work_dir)
    options = _options(args)
    # as the tasks see them, which start where this was started
    found = with_anatomy_found(settings, args.bids_dir)
    plan = plan_for(args, found)
    parts = _parts(plan, settings, args)
    needs = needs_of(init_cohort_wf(plan, folders_of(args), found), settings.resources.n_procs)
    folder = folders_of(args).work_dir / "submit"
    if args.dry_run:
        _submit(args, options, parts, needs, Ledger.read(folder))
    else:
        make_work_dir(args)
        make_folder(folder / "done")
        make_folder(args.out_dir)
        with FileLock(folder / "submit.lock"):
            _submit(args, options, parts, needs, Ledger.read(folder))
    for label, findings in plan.blocked:
        for finding in findings:
            print(f"petbind: {label} will not run: {finding}", file=sys.stderr)
    return SOME_FAILED if plan.blocked else DONE


def _submit(
    args: argparse.Namespace,
    options: SlurmOptions,
    parts: Sequence[Part],
    needs: Mapping[str, Need],
    ledger: Ledger,
) -> None:
    """Find out what is to be done, and hand it over."""
    known = bool(ledger.jobs) or not args.dry_run
    states = list_jobs(*ledger.job_names) if known else {}
    live = {n: job for n, job in ledger.jobs.items() if states.get(job, LOST).is_live}
    done = {
        part.name for part in parts if part.name not in live and is_done(part, ledger.done_dir)
    }
    # an anatomy is wanted by sessions that are not done, not for itself
    wanted = {part.anatomy for part in parts if part.anatomy and part.name not in done}
    todo = [
        part
        for part in parts
        if part.name not in done
        and part.name not in live
        and (part.anatomy or part.name in wanted)
    ]
    batches = plan_batches(todo, live, needs)
    sessions = [part.name for part in parts if part.anatomy]
    regroup = bool(args.group or args.unblind) and bool(batches or GROUP not in live)
    if regroup:
        batches += _group_batch(batches, [live[name] for name in sessions if name in live])
    _show_state(parts, todo, done, live, _endings(todo, ledger, states))
    if not args.dry_run:
        _clear_away(ledger, states, todo, regroup=regroup)
    ledger.calls += 1
    _Handing(args, options, ledger).hand_over(batches)


def _group_batch(batches: Sequence[Batch], live: Iterable[str]) -> list[Batch]:
    """The group level, after every session that is on its way, however that ends."""
    after = [batch.name for batch in batches if batch.kind == "sessions"]
    waits = [*after, *dict.fromkeys(job.split("_")[0] for job in live)]
    text = f"afterany:{':'.join(waits)}" if waits else ""
    return [Batch(GROUP, after=text, need=Need(1, _GROUP_GB))]


@dataclass(frozen=True)
class _Handing:
    """Writes scripts and gives them to sbatch; or shows both."""

    args: argparse.Namespace
    options: SlurmOptions
    ledger: Ledger

    def hand_over(self, batches: Sequence[Batch]) -> None:
        """One after the other: those behind wait for the ids of those in front."""
        folder = self.ledger.folder / f"{self.ledger.calls:03d}"
        ids: dict[str, str] = {}
        for batch in batches:
            script = self._script(batch, folder)
            memory_mb = self.options.memory_mb(batch.need.mem_gb + _DRIVER_GB)
            log = folder / batch.name
            words = sbatch_words(batch, log, memory_mb, self.args.max_at_once)
            path = folder / f"{batch.name}.sh"
            if self.args.dry_run:
                after = (
                    [f"--dependency={resolved(batch.after, '<{}>'.format)}"] if batch.after else []
                )
                self._show([*words, *after, *self.options.words, str(path)], batch, script)
                continue
            make_folder(folder)
            path.write_text(script, encoding="utf-8")
            if batch.parts:
                (folder / f"{batch.name}.tasks").write_text(batch.tasks, encoding="utf-8")
            after = (
                [f"--dependency={resolved(batch.after, ids.__getitem__)}"] if batch.after else []
            )
            name = self.ledger.job_name(batch.kind)
            told = f"{batch.name} of call {self.ledger.calls}, {uuid.uuid4().hex[:6]}"
            job = submit_job(
                [*words, *after, *self.options.words, str(path)], name, told, _ANSWER_WITHIN_S
            )
            ids[batch.name] = job
            self._note(batch, job, log)
            print(f"{batch.name}: job {job}, {len(batch.parts) or 1} task(s), logs {log}*.log")

    def _script(self, batch: Batch, folder: Path) -> str:
        command = self._command()
        if not batch.parts:
            return group_script(command, self.args.unblind)
        return array_script(batch, command, folder / f"{batch.name}.tasks", self.ledger.done_dir)

    def _note(self, batch: Batch, job: str, log: Path) -> None:
        for number, part in batch.parts.items():
            self.ledger.jobs[part.name] = f"{job}_{number}"
            self.ledger.logs[part.name] = f"{log}_{number}.log"
        if not batch.parts:
            self.ledger.jobs[GROUP], self.ledger.logs[GROUP] = job, f"{log}.log"
        self.ledger.write()

    def _show(self, words: Sequence[str], batch: Batch, script: str) -> None:
        print(f"\n# {batch.name}.sh\n{script}")
        if batch.parts:
            print(f"# {batch.name}.tasks\n{batch.tasks}")
        print(f"sbatch {shlex.join([f'--job-name={self.ledger.job_name(batch.kind)}', *words])}")

    def _command(self) -> Command:
        args, folders = self.args, folders_of(self.args)
        command = Command(
            _this_program(), folders.bids_dir, folders.out_dir, tuple(_task_options(args))
        )
        if not args.container:
            return command
        read = [folders.bids_dir, *(path.absolute() for path in args.bind)]
        if args.config and Path(args.config).is_file():
            read.append(Path(args.config).absolute().parent)
        binds = [(path, False) for path in dict.fromkeys(read)]
        binds += [(path, True) for path in (folders.out_dir, folders.work_dir)]
        return in_container(command, args.container, binds, self.ledger.folder)


def _this_program() -> tuple[str, ...]:
    """How petbind was started: by its script, or as a module."""
    script = Path(sys.argv[0])
    if script.name == "petbind" and script.is_file():
        return (sys.executable, str(script.absolute()))
    return (sys.executable, "-m", "pipeline")


def _task_options(args: argparse.Namespace) -> list[str]:
    """What was said of settings and resources, for the tasks."""
    words = ["--work-dir", str(folders_of(args).work_dir)]
    if args.config:
        path = Path(args.config)
        words += ["--config", str(path.absolute()) if path.is_file() else args.config]
    for override in args.overrides:
        words += ["--set", override]
    for option in ("n_procs", "mem_gb", "omp_nthreads"):
        if (value := getattr(args, option)) is not None:
            words += [f"--{option.replace('_', '-')}", str(value)]
    return words


def _options(args: argparse.Namespace) -> SlurmOptions:
    given = {key: getattr(args, key) for key in ("partition", "account", "time")}
    content = {key: value for key, value in given.items() if value is not None}
    return checked_slurm_options(content | {"sbatch": args.sbatch}, "submit")


def _parts(plan: Plan, settings: Settings, args: argparse.Namespace) -> list[Part]:
    """Every anatomy and session of a plan, anatomies first."""
    from workflows.cohort import parts_of

    out_dir = folders_of(args).out_dir
    anatomies, sessions = {}, []
    for scan in plan.scans:
        anatomy, name = parts_of(scan)
        assert scan.t1w is not None  # noqa: S101  a planned scan has its T1w
        t1w = out_dir / derivative_path(scan.t1w_entities, "t1w_preproc")
        digest = _digest(settings, args.container, [scan.t1w])
        anatomies[anatomy] = Part(anatomy, scan.subject, digest, output=t1w)
        digest = _digest(settings, args.container, _inputs(scan))
        page = out_dir / derivative_path(scan.entities, "report")
        sessions.append(Part(name, scan.subject, digest, anatomy, page))
    return [*anatomies.values(), *sessions]


def _inputs(scan: ScanInputs) -> list[Path]:
    images = [*scan.files, *([scan.t1w] if scan.t1w else [])]
    sidecars = [image.with_name(f"{image.name.split('.')[0]}.json") for image in images]
    return [*images, *(path for path in sidecars if path.is_file())]


def _digest(settings: Settings, container: str | None, files: Iterable[Path]) -> str:
    """Changes with the settings, the version, and the size or time of an input."""
    content = [
        __version__,
        container,
        settings.model_dump(mode="json", exclude={"resources"}),
        [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files],
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _endings(
    todo: Iterable[Part], ledger: Ledger, states: Mapping[str, JobState]
) -> dict[str, str]:
    """How the last task of what is submitted again ended, in SLURM's words."""
    told = {}
    for part in todo:
        if job := ledger.jobs.get(part.name):
            state = states.get(job) or recorded_state(job)
            told[part.name] = ending(state, Path(ledger.logs[part.name])) if state else ""
    return told


def _clear_away(
    ledger: Ledger, states: Mapping[str, JobState], todo: Iterable[Part], *, regroup: bool
) -> None:
    """Cancel what would get in the way of what is submitted now.

    That is what waits for what will never be, a group level that would come too early, and jobs
    of an earlier call that SLURM took without its answer being heard.
    """
    again = {part.name for part in todo} | ({GROUP} if regroup else set())
    kept = {job for name, job in ledger.jobs.items() if name not in again}
    in_the_way = [job for job, state in states.items() if not state.has_ended and job not in kept]
    if in_the_way:
        cancel_jobs(ids=in_the_way)


def _show_state(
    parts: Sequence[Part],
    todo: Iterable[Part],
    done: set[str],
    live: Mapping[str, str],
    endings: Mapping[str, str],
) -> None:
    shown = Table(box=None, pad_edge=False)
    for heading in ("", "", "last time"):
        shown.add_column(heading, overflow="fold")
    for part in todo:
        shown.add_row(part.name, "to do", endings.get(part.name, ""))
    for name, job in live.items():  # also of sessions that were not asked for now
        shown.add_row(name, "on its way", f"job {job}")
    Console().print(shown)
    counts = Counter("done" if part.name in done else "not done" for part in parts if part.anatomy)
    print(f"sessions: {counts['done']} done, {counts['not done']} not")
