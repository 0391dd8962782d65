"""Cost of a large cohort before anything runs: it grows with the cohort, no faster.

``PYTHONPATH=.:tests python tests/benchmarks/test_scale.py 250 500 1000`` prints seconds and memory
for as many subjects with two sessions each; the test does the same for few.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from many_sessions import make_tree

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]


def measure(root):
    """CPU seconds of each stage, and the peak of memory in MiB, of the data set in a folder."""
    from pipeline.bids.preflight import survey
    from pipeline.cli.participant import Task, _note_requests, graphs_of
    from pipeline.cli.recorded import tasks_of
    from pipeline.cli.status import look_at
    from pipeline.config.schema import Settings
    from pipeline.execution.graph import executable_graph
    from pipeline.execution.requests import read_requests
    from workflows.anatomical import Folders

    folders = Folders(root, root.parent / "out", root.parent / "work")
    folders.out_dir.mkdir(exist_ok=True)
    taken = {}

    def timed(name, function):
        start_s = time.process_time()
        result = function()
        taken[name] = time.process_time() - start_s
        return result

    plan = timed("index", lambda: survey(root))
    _note_requests(plan, folders, Settings(), {})
    task = Task(plan, folders, Settings(), {})
    timed("one graph", lambda: executable_graph(next(graphs_of(task))))
    timed("graphs", lambda: sum(len(executable_graph(w)) for w in graphs_of(task)))
    requests = read_requests(folders.work_dir)
    assert len(next(iter(tasks_of(requests[:2], folders.work_dir))).plan.scans) == 2
    seen = timed("status", lambda: list(look_at(requests, folders.work_dir)))
    assert len(seen) == len(plan.scans)
    assert {session.state for session in seen} == {"waiting"}
    taken["MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return taken


def measured(subjects):
    """The same in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "bids"
        make_tree(root, subjects)
        code = "import sys, json, pathlib; sys.path[:0] = ['tests', 'tests/benchmarks']; "
        code += (
            "import test_scale; print(json.dumps(test_scale.measure(pathlib.Path(sys.argv[1]))))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(root)],
            cwd=REPOSITORY, env=os.environ | {"NO_ET": "1"}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.long
def test_costs_grow_with_the_cohort_and_no_faster():
    few, many = measured(20), measured(80)
    for stage in ("index", "graphs", "status"):
        # four times as many subjects; half as much again for the noise of a shared machine
        assert many[stage] < 1.5 * 4 * few[stage] + 0.5, (stage, few, many)
        # two sessions of a subject at less than 0.2 s each
        assert many[stage] / 80 < 0.4
    # 120 sessions more are not held: what is looked at is let go
    assert many["MiB"] - few["MiB"] < 60


if __name__ == "__main__":
    for size in map(int, sys.argv[1:]):
        print(size, {name: round(value, 2) for name, value in measured(size).items()}, flush=True)
