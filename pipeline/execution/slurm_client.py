"""What is asked of SLURM: argument lists, an environment of its own, answers as values."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import ToolError

_ENDED = frozenset(
    {
        *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "LAUNCH_FAILED"),
        *("NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT", "LOST"),
    }
)
_HOPELESS = ("BadConstraints", "DependencyNeverSatisfied", "JobHoldMaxRequeue", "launch failed")
"""Reasons of jobs that wait for ever."""
_PASSING = re.compile(
    r"unable to contact|timed out|connection (refused|reset|failure)|communication|zero bytes"
    r"|temporarily|not available at the moment|try again|maxsubmitjob|in standby",
    re.IGNORECASE,
)
_OVER_MEMORY = re.compile(r"exceeded \w*\s?memory limit.*|oom[-_ ]kill event", re.IGNORECASE)
"""What SLURM writes into the log of a job, without the machine that stands before it."""
_NAMED_BY_USERS = frozenset(
    f"SBATCH_{name}"
    for name in ("ACCOUNT", "CONSTRAINT", "PARTITION", "QOS", "RESERVATION", "TIMELIMIT")
)
_ANSWER_WITHIN_S = 120
_OF_CLIENTS = re.compile(r"(SACCT|SBATCH|SCANCEL|SCONTROL|SLURM|SQUEUE)_")


class NoAnswer(ToolError):  # noqa: N818  it may answer the next time
    """SLURM's controller cannot be reached, or wants to be asked again."""


@dataclass(frozen=True)
class JobState:
    """What SLURM says of a job."""

    state: str
    """Such as ``PENDING`` or ``OUT_OF_MEMORY``."""
    reason: str = ""
    """Why it waits or ended, in SLURM's word; empty where there is none."""
    comment: str = ""
    """What the job was given as its comment."""

    @property
    def has_ended(self) -> bool:
        """Whether it is over."""
        return self.state in _ENDED

    @property
    def is_live(self) -> bool:
        """Whether it waits for something that can happen, or runs."""
        return not self.has_ended and not any(word in self.reason for word in _HOPELESS)

    def __str__(self) -> str:
        return f"{self.state} ({self.reason})" if self.reason else self.state


LOST = JobState("LOST", "SLURM no longer knows it")
"""Of a job that is not listed."""


def client_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment without what changes how SLURM's clients ask, write or submit.

    A format that a user prefers would not be understood, and a run that is itself a job would
    hand its own memory and cores on. What says where and for whom jobs run is kept.

    Examples
    --------
    >>> client_environment({"HOME": "/h", "SQUEUE_FORMAT": "%i", "SBATCH_ACCOUNT": "pet"})
    {'HOME': '/h', 'SBATCH_ACCOUNT': 'pet'}
    """
    given = os.environ if environment is None else environment
    return {
        name: value
        for name, value in given.items()
        if name in _NAMED_BY_USERS or name.startswith("SLURM_CONF") or not _OF_CLIENTS.match(name)
    }


def ending(state: JobState, log: Path) -> str:
    """How a job ended, in SLURM's words; also those that it left in the job's log.

    Where SLURM watches memory by itself, it tells only there that a job took too much.
    """
    said = log.read_text("utf-8", errors="replace") if log.is_file() else ""
    over = _OVER_MEMORY.search(said)
    return f"{state}, {over[0].strip()}" if over else str(state)


def ran_out_of_memory(told: str) -> bool:
    """Whether `ending` tells of memory."""
    return "OUT_OF_MEMORY" in told or bool(_OVER_MEMORY.search(told))


def submit_job(words: Sequence[str], name: str, comment: str, patience_s: float) -> str:
    """Id of a new job; SLURM is asked again while it gives no answer.

    Parameters
    ----------
    words : sequence of str
        Further options of sbatch, the script, and its arguments.
    name, comment : str
        Together they find a job that was taken although the answer was lost.
    patience_s : float
        How long it may give no answer, seconds.

    Raises
    ------
    ToolError
        With sbatch's own message, where the job is refused.
    NoAnswer
        If the controller stays silent.
    """
    command = ["sbatch", "--parsable", f"--job-name={name}", f"--comment={comment}", *words]
    end_s, pause_s = time.monotonic() + patience_s, 1.0
    while True:
        try:
            return _ask(command).strip().split(";")[0]
        except NoAnswer:
            if time.monotonic() + pause_s > end_s:
                raise
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 30)
        if found := _taken(name, comment):
            return found


def list_jobs(*names: str) -> dict[str, JobState]:
    """Id to state of the jobs with these names that SLURM remembers, finished ones among them.

    Tasks of an array have ids of their own, such as ``12_3``.

    Raises
    ------
    NoAnswer
        If squeue fails, whatever the reason.
    """
    form = "%i|%T|%r|%k"
    try:
        said = _ask(["squeue", "-h", "-r", "-t", "all", "-o", form, f"--name={','.join(names)}"])
    except NoAnswer:
        raise
    except ToolError as error:
        raise NoAnswer(str(error)) from error
    jobs = {}
    for line in filter(str.strip, said.splitlines()):
        if line.count("|") < form.count("|"):
            raise NoAnswer(f"squeue said what is no list of jobs: {line}")
        job, state, reason, comment = line.split("|", 3)
        reason, comment = (
            "" if text in ("None", "(null)") else text for text in (reason, comment)
        )
        jobs[job.strip()] = JobState(state, reason, comment)
    return jobs


def recorded_state(job: str) -> JobState | None:
    """What accounting has of a job that squeue no longer knows; None where there is none."""
    try:
        said = _ask(["sacct", "-n", "-X", "-P", "-j", job, "-o", "State"])
    except ToolError:
        return None
    words = said.split()
    return JobState(words[0]) if words and words[0] in _ENDED else None


def cancel_jobs(names: Sequence[str] = (), ids: Sequence[str] = ()) -> None:
    """Cancel whatever of these waits or runs.

    Raises
    ------
    ToolError
        If scancel fails.
    """
    for name in names:
        _ask(["scancel", "--quiet", f"--name={name}"])
    if ids:
        _ask(["scancel", "--quiet", *ids])


def _taken(name: str, comment: str) -> str:
    """Id of a job that was taken although sbatch did not hear so; empty where there is none."""
    try:
        jobs = list_jobs(name)
    except NoAnswer:
        return ""
    return next((job.split("_")[0] for job, said in jobs.items() if said.comment == comment), "")


def _ask(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command,
            env=client_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ANSWER_WITHIN_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise ToolError(f"{command[0]} is not on the PATH; run this where SLURM's are") from error
    except subprocess.TimeoutExpired as error:
        raise NoAnswer(f"{command[0]} gave no answer in {_ANSWER_WITHIN_S} s") from error
    if done.returncode == 0:
        return done.stdout
    said = " ".join(_plain(line) for line in done.stderr.splitlines() if line.strip())
    text = f"{command[0]}: {said or f'exit code {done.returncode}'}"
    raise NoAnswer(text) if _PASSING.search(said) else ToolError(text)


def _plain(line: str) -> str:
    return re.sub(r"^\w+: (error: )?", "", line.strip())
