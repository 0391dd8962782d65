"""Nipype's MultiProc, made to survive the death of a process, and to tell what failed."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from nipype.pipeline.plugins import MultiProcPlugin
from nipype.pipeline.plugins.multiproc import run_node

from pipeline.execution.crashes import KeepsCrashes

_SET_PARENT_DEATH_SIGNAL = 1
_PROCESS_DIED = (
    "pipeline.core.errors.ToolError: the process of this step was killed, twice; most often memory"
    " ran out: run fewer at a time with --n-procs, or ask for more memory where the job starts\n"
)


@dataclass
class _Job:
    """A node that a process computes."""

    node: Any
    update_hash: bool
    future: Future[dict[str, Any]]
    own_pool: ProcessPoolExecutor | None = None
    """Of the second attempt, so that nobody else's death spoils it."""


class CollectingMultiProc(KeepsCrashes, MultiProcPlugin):  # type: ignore[misc]
    """MultiProc that goes session by session, outlives its processes and keeps the crashes.

    Nipype waits for ever for a node whose process was killed. Here such a node, and those that
    went down with it, are each tried once more in a process of their own.
    """

    pool: ProcessPoolExecutor

    def __init__(self, plugin_args: dict[str, Any]) -> None:
        super().__init__(plugin_args=plugin_args)
        self.crashes = []
        self._jobs: dict[int, _Job] = {}
        self.pool.shutdown()
        self.pool = self._start_pool(self.processors)

    def abort(self) -> None:
        """Kill every process at once; what they were at is computed anew next time."""
        pools = [job.own_pool for job in self._jobs.values() if job.own_pool]
        for pool in (self.pool, *pools):
            for process in list((pool._processes or {}).values()):
                process.kill()

    def _start_pool(self, n_procs: int) -> ProcessPoolExecutor:
        context = multiprocessing.get_context(self.plugin_args.get("mp_context"))
        return ProcessPoolExecutor(n_procs, context, _start_process, (self._cwd,))

    def _sort_jobs(self, jobids: Iterable[int], scheduler: str = "tsort") -> list[int]:
        # by session, so that the first is finished, and its page there, before the last begins
        return sorted(jobids, key=lambda job: str(self.procs[job].fullname))

    def _submit_job(self, node: Any, updatehash: bool = False) -> int:
        self._taskid += 1
        try:
            future = self.pool.submit(run_node, node, updatehash, self._taskid)
        except BrokenProcessPool:
            self.pool = self._start_pool(self.processors)
            future = self.pool.submit(run_node, node, updatehash, self._taskid)
        self._jobs[self._taskid] = _Job(node, updatehash, future)
        return int(self._taskid)

    def _get_result(self, taskid: int) -> dict[str, Any] | None:
        job = self._jobs[taskid]
        if not job.future.done():
            return None
        try:
            return job.future.result()
        except BrokenProcessPool:
            if job.own_pool:
                return {"result": None, "traceback": [_PROCESS_DIED], "taskid": taskid}
        job.own_pool = self._start_pool(1)
        job.future = job.own_pool.submit(run_node, job.node, job.update_hash, taskid)
        return None

    def _clear_task(self, taskid: int) -> None:
        pool = self._jobs.pop(taskid).own_pool
        if pool:
            pool.shutdown()


def _start_process(folder: str) -> None:
    """Die with the parent, and leave Ctrl-C to it."""
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Linux only; elsewhere a killed parent leaves processes that finish their node
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():
            os._exit(1)
