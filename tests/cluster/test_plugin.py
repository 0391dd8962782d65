"""Graphs of cheap nodes on a real SLURM: what it ends fails alone, and nothing stays queued."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cheap_nodes import sessions
from pipeline.config.cluster import SlurmOptions
from pipeline.execution.run import Limits, run_graph

pytestmark = [pytest.mark.slow, pytest.mark.tool("slurm")]


def run(workflow, **options):
    """Failures by the session, and seconds."""
    start_s = time.monotonic()
    failures = run_graph(workflow, Limits(1, 1, slurm=SlurmOptions(**options)))
    return {f.part: f for f in failures}, time.monotonic() - start_s


def in_background(workflow, **options):
    """The same, under way; called, it gives what came of it."""
    outcome = []
    thread = threading.Thread(target=lambda: outcome.append(run(workflow, **options)))
    thread.start()

    def result():
        thread.join(timeout=300)
        assert outcome
        return outcome[0]

    return result


def runs(folder):
    """What nodes were told, of every time that one ran."""
    path = folder / "runs"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.rpartition(" ")[0] for line in lines]


def wait_until(happened, at_most_s=60):
    end = time.monotonic() + at_most_s
    while not (said := happened()):
        assert time.monotonic() < end
        time.sleep(0.2)
    return said


def job_of(cluster, node, state="RUNNING"):
    """Id of the job of a node that runs, if it does."""
    lines = cluster.call("squeue", "-h", "-t", state, "-o", "%i %k").splitlines()
    return next((line.split()[0] for line in lines if line.split()[1] == node), None)


def nothing_is_queued(cluster, at_most_s=10):
    """But what is ending: SLURM takes a moment for that."""
    wait_until(lambda: cluster.queued() == [], at_most_s)


def test_nodes_that_slurm_ends_fail_alone_and_by_its_own_reason(cluster, tmp_path):
    # a name that a shell would make something of
    folder = tmp_path / 'it\'s $HOME; a "place"'
    folder.mkdir()
    words = ["well"] * 6 + ["fail", "hog", "sleep", "sleep"]
    under_way = in_background(sessions(folder, *words, memory=folder), time="1", memory_factor=1)
    wait_until(lambda: runs(folder).count("sleep") == 2)
    cluster.call("scancel", job_of(cluster, "cohort.sub-08_wf.first"))
    failed, seconds = under_way()

    assert sorted(failed) == ["sub-06", "sub-07", "sub-08", "sub-09"]
    assert {f.step for f in failed.values()} == {"first"}
    assert failed["sub-06"].reason == "scan 3 is negative; give a positive one"
    assert "exceeded memory limit" in failed["sub-07"].reason
    assert "memory_factor" in failed["sub-07"].reason
    assert "CANCELLED" in failed["sub-08"].reason
    assert "TIMEOUT" in failed["sub-09"].reason
    assert "time=" in failed["sub-09"].reason
    # both nodes of the six, the first of the others
    assert sorted(runs(folder)) == sorted(["well"] * 12 + words[6:])
    nothing_is_queued(cluster)
    # one minute is the shortest limit SLURM knows, and it looks twice a minute
    assert seconds < 150

    failed, _ = run(sessions(folder, *["well"] * 10, memory=folder))
    assert failed == {}
    assert len(runs(folder)) == 16 + 8
    assert not list((folder / "slurm").iterdir())


def test_a_refused_submission_says_why(cluster, tmp_path):
    failed, seconds = run(sessions(tmp_path, "well", "well"), partition="nowhere")
    assert sorted(failed) == ["sub-00", "sub-01"]
    for failure in failed.values():
        assert "invalid partition specified: nowhere" in failure.reason
        assert "--plugin-args" in failure.reason
    nothing_is_queued(cluster)
    assert seconds < 20


def test_a_controller_that_is_down_for_40_s_is_waited_for(cluster, tmp_path):
    under_way = in_background(sessions(tmp_path, "a while", "well", "a while", memory=tmp_path))
    wait_until(lambda: job_of(cluster, "cohort.sub-02_wf.first"))
    cluster.stop_controller()
    time.sleep(40)
    cluster.start_controller()
    failed, seconds = under_way()
    assert failed == {}
    assert sorted(runs(tmp_path)) == ["a while"] * 2 + ["well"] * 4
    nothing_is_queued(cluster)
    assert seconds < 150


def test_a_controller_that_stays_away_is_given_up(cluster, tmp_path):
    under_way = in_background(sessions(tmp_path, "sleep"), patience_s=5)
    wait_until(lambda: job_of(cluster, "cohort.sub-00_wf.first"))
    cluster.stop_controller()
    failed, _ = under_way()
    cluster.start_controller()
    assert "SLURM has given no answer" in failed["sub-00"].reason
    # what could not be cancelled then is cancelled when it can be
    nothing_is_queued(cluster, at_most_s=30)


_DRIVER = """
import pathlib, signal, sys
# a run in the background inherits that Ctrl-C is ignored
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path[:0] = sys.argv[2:]
from cheap_nodes import sessions
from pipeline.config.cluster import SlurmOptions
from pipeline.execution.run import Limits, run_graph
try:
    run_graph(sessions(sys.argv[1], *["sleep"] * 5), Limits(1, 1, slurm=SlurmOptions()))
except KeyboardInterrupt:
    sys.exit(3)
"""


def start_driver(folder):
    paths = [str(Path(__file__).parents[n]) for n in (1, 2)]
    return subprocess.Popen(
        [sys.executable, "-c", _DRIVER, str(folder), *paths],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.parametrize(
    ("end", "code"),
    [(signal.SIGINT, 3), (signal.SIGTERM, -15), (signal.SIGKILL, -9)],
    ids=["Ctrl-C", "told to end", "killed"],
)
def test_a_driver_that_ends_leaves_nothing_queued(cluster, tmp_path, end, code):
    driver = start_driver(tmp_path)
    wait_until(lambda: len(cluster.queued()) == 5)
    driver.send_signal(end)
    assert driver.wait(timeout=30) == code
    nothing_is_queued(cluster, at_most_s=20)


def test_what_a_lost_machine_left_is_cancelled_by_the_next_run(cluster, tmp_path):
    driver = start_driver(tmp_path)
    wait_until(lambda: len(cluster.queued()) == 5)
    # with its guard, as when the machine goes
    name = next((tmp_path / "slurm").iterdir()).name
    guard = subprocess.run(["pgrep", "-f", name], capture_output=True, text=True, check=True)
    for process in map(int, guard.stdout.split()):
        if "/sh\0-c" in Path(f"/proc/{process}/cmdline").read_text():
            os.kill(process, signal.SIGKILL)
    driver.kill()
    driver.wait()
    left = cluster.queued()
    assert len(left) == 5

    failed, _ = run(sessions(tmp_path, *["well"] * 5))
    assert failed == {}
    states = cluster.states()
    assert {states[job] for job in left} == {"CANCELLED"}
    nothing_is_queued(cluster)
