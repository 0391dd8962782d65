"""Runs that are killed, and runs that meet: nothing is lost, nothing half done is taken."""

import logging
import multiprocessing
import os
import random
import signal
import sys
import threading
import time

import pytest

from pipeline.execution.graph import executable_graph
from pipeline.execution.locks import Locks, is_held
from pipeline.execution.record import NAME
from pipeline.execution.run import Limits, run_graphs
from pipeline.execution.states import examine, lock_of
from small_graphs import Cohort

LIMITS = Limits(n_procs=2, mem_gb=1)


def run_apart(cohort):
    os.setsid()
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123  until the process ends
    outcome = run_graphs(cohort.workflows(), LIMITS)
    os._exit(bool(outcome.failures))


def run_one_apart(cohort, session):
    outcome = run_graphs([cohort.sharing(session)], LIMITS)
    os._exit(bool(outcome.failures))


def started(cohort):
    """A run in a process group of its own."""
    process = multiprocessing.get_context("fork").Process(target=run_apart, args=(cohort,))
    process.start()
    return process


def results(cohort):
    return {
        path.relative_to(cohort.work).as_posix(): path.read_text()
        for path in cohort.work.rglob("sum.json")
    }


def done(cohort):
    return {
        f"{path.parts[-3].removesuffix('_wf')}.{path.parts[-2]}"
        for path in cohort.work.rglob(NAME)
    }


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes die with their parent on Linux")
def test_killed_at_any_moment_it_goes_on_from_what_is_done(tmp_path):
    whole = Cohort(tmp_path / "whole")
    start_s = time.monotonic()
    run = started(whole)
    run.join()
    whole_s = time.monotonic() - start_s
    assert run.exitcode == 0

    rng, seen, kills = random.Random(8), set(), 0
    for attempt in range(20):
        cohort = Cohort(tmp_path / str(attempt))
        run = started(cohort)
        run.join(rng.uniform(0, whole_s))
        if run.is_alive():
            os.killpg(run.pid, signal.SIGKILL)
            run.join()
            kills += 1
        before = done(cohort)
        seen.add(len(before))
        cohort.ran()
        again = started(cohort)
        again.join()
        assert again.exitcode == 0
        assert not before & set(cohort.ran()), "what is done is not done again"
        assert results(cohort) == results(whole)
    # some were killed before anything was done, some in the midst of it
    assert kills >= 10
    assert len(seen) >= 4


def test_a_run_waits_for_another_at_the_same_session(tmp_path, caplog):
    cohort = Cohort(tmp_path, ["sub-01_ses-pre"])
    node = next(iter(executable_graph(next(iter(cohort.workflows()))).nodes()))
    locks = Locks()
    locks.take([lock_of(node)], wait=False)
    assert is_held(lock_of(node))
    caplog.set_level(logging.INFO, "petbind")
    threading.Timer(3, locks.free).start()
    start_s = time.monotonic()
    assert run_graphs(cohort.workflows(), LIMITS).failures == []
    assert time.monotonic() - start_s > 2
    assert "sub-01_ses-pre: another run is at it" in caplog.text
    assert not is_held(lock_of(node))


def test_sessions_that_start_together_make_their_anatomy_once(tmp_path):
    sessions = [f"sub-01_ses-{n}" for n in range(3)]
    cohort = Cohort(tmp_path, sessions)
    fork = multiprocessing.get_context("fork")
    runs = [fork.Process(target=run_one_apart, args=(cohort, session)) for session in sessions]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [run.exitcode for run in runs] == [0, 0, 0]
    assert cohort.ran() == ["sub-01_T1w.a", "sub-01_T1w.b", *(f"{s}.c" for s in sessions)]


def test_a_node_under_way_is_running_only_while_its_run_lives(tmp_path):
    cohort = Cohort(tmp_path, ["sub-01_ses-pre"])
    graph = executable_graph(next(iter(cohort.workflows())))
    (node,) = [n for n in graph.nodes() if n.name == "a"]
    node.folder().mkdir(parents=True)
    (node.folder() / "_0xabc_unfinished.json").touch()
    locks = Locks()
    locks.take([lock_of(node)], wait=False)
    assert str(examine(graph)[node].state) == "running"
    locks.free()
    assert str(examine(graph)[node].state) == "waiting"
