"""Running a graph to its end, whatever fails on the way."""

from __future__ import annotations

import gc
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nipype import config as nipype_config
from nipype import logging as nipype_logging

from pipeline.config.cluster import SlurmOptions
from pipeline.core.errors import ConfigError
from pipeline.execution.multiproc import CollectingMultiProc
from pipeline.execution.progress import Progress, row_name, step_name
from pipeline.execution.slurm import CollectingSlurmPlugin

_OWN_ERROR = re.compile(r"pipeline\.core\.errors\.\w+: (.*)", re.DOTALL)


@dataclass(frozen=True)
class Failure:
    """A node that did not finish."""

    node: str
    """Full name, ``<cohort>.<session>.<step>...``."""
    reason: str
    """What a person should read first."""
    crash_file: str

    @property
    def part(self) -> str:
        """The session or anatomy it belongs to."""
        return row_name(self.node)

    @property
    def step(self) -> str:
        """The node within its part."""
        return step_name(self.node)


@dataclass(frozen=True)
class Limits:
    """What a run may take."""

    n_procs: int
    mem_gb: float
    stop_on_first_crash: bool = False
    slurm: SlurmOptions | None = None
    """Where every node is a job of SLURM; processes and memory are then not limited here."""


def explain(trace: str) -> str:
    r"""The line of a traceback that a person should read.

    Examples
    --------
    >>> explain("Traceback ...\npipeline.core.errors.DataError: a.nii: damaged\n")
    'a.nii: damaged'
    >>> explain("Traceback ...\nKeyError: 'x'\n")
    "internal error, please report it: KeyError: 'x'"
    """
    text = trace.strip()
    own = _OWN_ERROR.search(text)
    if own:
        return own.group(1).strip().split("\n\n")[0]
    last = text.splitlines()[-1].strip() if text else "the process ended without a word"
    return f"internal error, please report it: {last}"


def make_folder(path: Path) -> None:
    """Make a folder and those above it.

    Raises
    ------
    ConfigError
        If that cannot be done; the text names the folder.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{path}: cannot make this folder ({error.strerror})") from error


def run_graph(workflow: Any, limits: Limits) -> list[Failure]:
    """Run every node that can run; a failure stops only what depends on it.

    Parameters
    ----------
    workflow : nipype Workflow
        With its `base_dir` set; crash files go to ``crash`` in it.
    limits : Limits
        Processes and memory.

    Returns
    -------
    list of Failure
        Empty if everything is done.
    """
    crash_dir = Path(workflow.base_dir) / "crash"
    make_folder(crash_dir)
    _configure(workflow, crash_dir, limits.stop_on_first_crash)
    names = [node.fullname for node in workflow._create_flat_graph().nodes()]
    visible = [
        name for name in names if name.rsplit(".", 1)[-1] not in ("inputnode", "outputnode")
    ]
    with Progress(visible) as progress:
        plugin = _plugin(limits, progress)
        # nipype collects garbage at every poll: what is there by now never becomes any
        gc.freeze()
        try:
            workflow.run(plugin=plugin)
        except KeyboardInterrupt:
            plugin.abort()
            raise
        except RuntimeError:
            # Nipype raises at the end of a run with crashes; anything else is not ours to hide
            if not plugin.crashes:
                raise
        finally:
            gc.unfreeze()
    return [
        Failure(node.fullname, explain(trace), str(crash_file))
        for node, trace, crash_file in plugin.crashes
    ]


def _plugin(limits: Limits, progress: Progress) -> CollectingMultiProc | CollectingSlurmPlugin:
    """What runs the nodes."""
    if limits.slurm is not None:
        return CollectingSlurmPlugin(limits.slurm, {"status_callback": progress})
    return CollectingMultiProc(
        {
            "n_procs": limits.n_procs,
            "memory_gb": limits.mem_gb,
            "raise_insufficient": False,
            "status_callback": progress,
        }
    )


def _configure(workflow: Any, crash_dir: Path, stop_on_first_crash: bool) -> None:
    options = {
        "crashdump_dir": str(crash_dir),
        "crashfile_format": "txt",
        "stop_on_first_crash": str(stop_on_first_crash).lower(),
        "remove_unnecessary_outputs": "false",
        "poll_sleep_duration": "0.1",
        "check_version": "false",
    }
    for key, value in options.items():
        nipype_config.set("execution", key, value)
        workflow.config.setdefault("execution", {})[key] = value
    nipype_logging.update_logging(nipype_config)
    # Nipype's own lines repeat what the progress and the table of failures say
    for name in ("nipype.workflow", "nipype.interface", "nipype.utils"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
