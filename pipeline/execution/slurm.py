"""Every node of a graph as a SLURM job; one that SLURM ends fails alone, and says why."""

from __future__ import annotations

import contextlib
import logging
import math
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout
from nipype.pipeline.plugins.base import DistributedPluginBase

from pipeline.config.cluster import SlurmOptions
from pipeline.core.errors import ToolError
from pipeline.execution.crashes import KeepsCrashes
from pipeline.execution.node_job import NODE, RESULT, read_result, write_job, write_starter
from pipeline.execution.slurm_client import (
    LOST,
    JobState,
    NoAnswer,
    cancel_jobs,
    client_environment,
    ending,
    list_jobs,
    ran_out_of_memory,
    recorded_state,
    submit_job,
)

_LOG = logging.getLogger("petbind")
_NOT_YET = -math.inf
_RESULTS_EVERY_S = 0.5
_ENDING_WITHIN_S = 60
_LOCK = "driver.lock"
_GUARD = """\
exec 3<&0
(
    read -r word <&3
    [ "$word" = dismissed ] && exit
    n=0
    until scancel --quiet --name="$0" || [ $((n+=1)) -gt 60 ]; do sleep 5; done
    sleep 10
    scancel --quiet --name="$0"
) </dev/null &
"""
"""Waits for the end of the driver, which closes the pipe however it dies; then cancels, and again
what was about to be submitted."""


@dataclass
class _Job:
    """A node that was handed to SLURM."""

    asked_gb: float
    job_id: str = ""
    refusal: str = ""
    """Why SLURM did not take it."""
    taken_s: float = math.inf
    ended_s: float | None = None
    """When it was first seen to be over; a job that SLURM starts again has none."""


@dataclass
class _Answers:
    """What SLURM last said of the jobs of a run, and when."""

    states: dict[str, JobState] = field(default_factory=dict)
    asked_s: float = _NOT_YET
    answered_s: float = _NOT_YET
    silence: str = ""
    """What is wrong, once it has been silent for too long."""

    def renew(self, name: str, options: SlurmOptions) -> None:
        """Ask again, if it is time to; a question without an answer leaves what was known."""
        now_s = time.monotonic()
        if now_s < self.asked_s + options.poll_s:
            return
        self.asked_s = now_s
        try:
            self.states = list_jobs(name)
            self.answered_s = now_s
        except NoAnswer as error:
            silent_s = time.monotonic() - self.answered_s
            _LOG.warning("SLURM has given no answer for %.0f s, asking on (%s)", silent_s, error)
            if silent_s > options.patience_s:
                self.silence = f"SLURM has given no answer for {silent_s:.0f} s: {error}"


class CollectingSlurmPlugin(KeepsCrashes, DistributedPluginBase):  # type: ignore[misc]
    """Nipype's distribution engine over SLURM, with the surface of `CollectingMultiProc`.

    Jobs of a run share one name, by which they are listed, and cancelled when the run ends, in
    whatever way. A job leaves word in a file of its own, so an old result in a node's directory
    is never taken for a new one. Where a driver was lost with its machine, the next run on the
    same working directory cancels what it left.
    """

    def __init__(self, options: SlurmOptions, plugin_args: dict[str, Any] | None = None) -> None:
        super().__init__(plugin_args={**(plugin_args or {}), "max_jobs": options.max_jobs})
        # Nipype hands the arguments to every MapNode, which must be pickled
        self.plugin_args: dict[str, Any] = {}
        # Nipype tells of a start before it looks whether the result holds
        self._watch = (plugin_args or {}).get("status_callback")
        self._status_callback: Any = self._tell_of_end
        self.options = options
        self.crashes = []
        self.name = f"petbind-{uuid.uuid4().hex[:12]}"
        self._folder = Path()
        self._jobs: dict[int, _Job] = {}
        self._count = 0
        self._answers = _Answers()
        self._found: set[int] = set()
        self._looked_s = _NOT_YET

    def run(self, graph: Any, config: Any, updatehash: bool = False) -> None:
        """Run every node that can run; whatever ends this, no job is left in the queue."""
        root = Path(next(iter(graph.nodes())).base_dir) / "slurm"
        _cancel_orphans(root)
        self._folder = root / self.name
        self._folder.mkdir(parents=True)
        self._script = write_starter(self._folder)
        self._answers.answered_s = time.monotonic()
        with FileLock(self._folder / _LOCK), _guarded(self.name) as guard:
            try:
                super().run(graph, config, updatehash)
            finally:
                if self._jobs or self._answers.silence:
                    self.abort()
                else:
                    guard.write(b"dismissed\n")
        if not self.crashes:
            shutil.rmtree(self._folder, ignore_errors=True)

    def abort(self) -> None:
        """Cancel every job that waits or runs; what they were at is computed anew next time."""
        try:
            cancel_jobs(names=[self.name])
        except ToolError as error:
            _LOG.warning("jobs may be left: scancel --name=%s (%s)", self.name, error)

    def _tell(self, node: Any, status: str) -> None:
        if self._watch is not None:
            self._watch(node, status)

    def _tell_of_end(self, node: Any, status: str) -> None:
        if status != "start":
            self._tell(node, status)

    def _submit_job(self, node: Any, updatehash: bool = False) -> int:
        self._tell(node, "start")
        self._count += 1
        number, memory_mb = self._count, self.options.memory_mb(node.mem_gb)
        write_job(self._folder, number, node, updatehash)
        # a percent sign would start a pattern
        log = str(self._log(number)).replace("%", "%%")
        words = [
            *("--ntasks=1", f"--cpus-per-task={node.n_procs}", f"--mem={memory_mb}M"),
            *("--export=ALL", f"--output={log}", "--open-mode=append"),
            *self.options.words,
            *(str(self._script), str(number)),
        ]
        job = self._jobs[number] = _Job(memory_mb / 1024)
        told = f"{node.fullname} {number}"
        try:
            # whoever was silent for too long once is not waited for again, node by node
            patience_s = 0 if self._answers.silence else self.options.patience_s
            job.job_id = submit_job(words, self.name, told, patience_s)
        except NoAnswer as error:
            self._answers.silence = f"SLURM has given no answer for {patience_s:.0f} s: {error}"
        except ToolError as error:
            job.refusal = f"SLURM did not take the job of this step: {error}"
        job.taken_s = time.monotonic()
        return number

    def _get_result(self, taskid: int) -> dict[str, Any] | None:
        job = self._jobs[taskid]
        if job.refusal:
            return self._outcome(taskid, _as_error(f"{job.refusal}; correct --plugin-args"))
        self._look_for_results()
        if taskid in self._found:
            return self._outcome(taskid, read_result(self._folder, taskid) or "")
        self._answers.renew(self.name, self.options)
        if self._answers.silence:
            return self._outcome(taskid, _as_error(self._answers.silence))
        state = self._answers.states.get(job.job_id, LOST)
        if state.is_live or self._answers.answered_s <= job.taken_s:
            job.ended_s = None
            return None
        trace = read_result(self._folder, taskid)
        return self._ended(taskid, state) if trace is None else self._outcome(taskid, trace)

    def _ended(self, taskid: int, state: JobState) -> dict[str, Any] | None:
        """What became of a job that is over, or never will run, without word of its own."""
        job, now_s = self._jobs[taskid], time.monotonic()
        job.ended_s = now_s if job.ended_s is None else job.ended_s
        may_have_told = state.state == "COMPLETED" or state.reason == "NonZeroExitCode"
        if (may_have_told or state is LOST) and now_s < job.ended_s + self.options.file_delay_s:
            # its file may take a while to be seen on this host
            return None
        if state is LOST:
            state = recorded_state(job.job_id) or state
        if not state.has_ended:
            with contextlib.suppress(ToolError):
                cancel_jobs(ids=[job.job_id])
        return self._outcome(taskid, _as_error(self._told(taskid, state)))

    def _told(self, taskid: int, state: JobState) -> str:
        """Why a job ended, in SLURM's words, and what to do."""
        job, log = self._jobs[taskid], self._log(taskid)
        what, advice = ending(state, log), "start again to go on"
        if ran_out_of_memory(what):
            advice = f"it had asked for {job.asked_gb:.1f} GB; "
            advice += "--plugin-args memory_factor=2 asks for more"
        elif state.state in ("TIMEOUT", "DEADLINE"):
            advice = "--plugin-args time=8:00:00 asks for more"
        elif not state.has_ended:
            advice = "such a job never starts; correct --plugin-args"
        return f"SLURM ended this step (job {job.job_id}): {what}; {advice}; log: {log}"

    def _outcome(self, taskid: int, trace: str) -> dict[str, Any]:
        """What Nipype takes; files of a job that went well are not kept."""
        for kind in (NODE, RESULT) if trace else (NODE, RESULT, ".log"):
            (self._folder / f"{taskid}{kind}").unlink(missing_ok=True)
        return {"result": None, "traceback": [trace] if trace else None, "taskid": taskid}

    def _look_for_results(self) -> None:
        now_s = time.monotonic()
        if now_s > self._looked_s + _RESULTS_EVERY_S:
            self._looked_s = now_s
            names = (path.name for path in self._folder.iterdir())
            self._found = {int(n.split(".")[0]) for n in names if n.endswith(RESULT)}

    def _log(self, number: int) -> Path:
        return self._folder / f"{number}.log"

    def _clear_task(self, taskid: int) -> None:
        del self._jobs[taskid]


def _as_error(text: str) -> str:
    return f"pipeline.core.errors.ToolError: {text}\n"


@contextlib.contextmanager
def _guarded(name: str) -> Iterator[IO[bytes]]:
    """Have jobs of this name cancelled if this process dies, by whatever signal.

    The guard is no child of ours, and out of the reach of Ctrl-C; it goes when it is dismissed
    through what this gives, or when it has cancelled what is left.
    """
    starter = subprocess.Popen(
        ["/bin/sh", "-c", _GUARD, name],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=client_environment(),
        start_new_session=True,
    )
    starter.wait()
    assert starter.stdin is not None  # noqa: S101  a pipe was asked for
    try:
        yield starter.stdin
    finally:
        with contextlib.suppress(BrokenPipeError):
            starter.stdin.close()


def _cancel_orphans(root: Path) -> None:
    """Cancel what drivers left that were lost with their machines, and see it end.

    Raises
    ------
    ToolError
        If SLURM cannot be asked to, or the jobs do not end: two jobs at one node spoil it.
    """
    for lock in sorted(root.glob(f"petbind-*/{_LOCK}")):
        try:
            with FileLock(lock, timeout=0):
                cancel_jobs(names=[lock.parent.name])
                _see_end(lock.parent.name)
        except Timeout:
            continue  # of a run that lives
        shutil.rmtree(lock.parent, ignore_errors=True)


def _see_end(name: str) -> None:
    end_s = time.monotonic() + _ENDING_WITHIN_S
    while any(state.is_live for state in list_jobs(name).values()):
        if time.monotonic() > end_s:
            raise ToolError(
                f"jobs of an earlier run do not end; start again when squeue --name={name} "
                "lists none"
            )
        time.sleep(1)
