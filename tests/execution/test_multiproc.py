"""What becomes of a run whose processes are killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from nipype.interfaces.base import BaseInterfaceInputSpec, SimpleInterface, TraitedSpec, traits
from nipype.pipeline import engine as pe

from pipeline.execution.run import Limits, run_graph


class _InputSpec(BaseInterfaceInputSpec):
    what = traits.Str(mandatory=True)
    memory = traits.Str(desc="folder that outlives a process")


class _OutputSpec(TraitedSpec):
    what = traits.Str()


class Live(SimpleInterface):
    """Do as told: "well", "die", "die once" or "sleep"; leave the process's number in a file."""

    input_spec, output_spec = _InputSpec, _OutputSpec

    def _run_interface(self, runtime):
        what, memory = self.inputs.what, Path(self.inputs.memory)
        marker = memory / what
        first_time = not marker.exists()
        marker.write_text(str(os.getpid()))
        if what == "die" or (what == "die once" and first_time):
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep({"well": 1, "sleep": 120}.get(what, 0))
        self._results["what"] = what
        return runtime


def _cohort(folder, *sessions):
    cohort = pe.Workflow(name="cohort", base_dir=str(folder))
    for number, what in enumerate(sessions):
        session = pe.Workflow(name=f"sub-{number}_wf")
        session.add_nodes([pe.Node(Live(what=what, memory=str(folder)), name="live", mem_gb=0.1)])
        cohort.add_nodes([session])
    return cohort


def test_a_killed_process_fails_its_own_session_only(tmp_path):
    # the second session is under way when the first takes the pool down with it
    cohort = _cohort(tmp_path, "die", "well", "die once")
    failures = run_graph(cohort, Limits(n_procs=2, mem_gb=1))
    assert [(f.part, f.step) for f in failures] == [("sub-0", "live")]
    assert failures[0].reason.startswith("the process of this step was killed")
    assert "--n-procs" in failures[0].reason
    assert "Killed" not in failures[0].reason


_SCRIPT = """
import importlib.util, pathlib, signal, sys
# a run in the background inherits that Ctrl-C is ignored
signal.signal(signal.SIGINT, signal.default_int_handler)
spec = importlib.util.spec_from_file_location("lives", sys.argv[1])
lives = importlib.util.module_from_spec(spec)
sys.modules["lives"] = lives
spec.loader.exec_module(lives)
try:
    lives.run_graph(lives._cohort(pathlib.Path(sys.argv[2]), "sleep"), lives.Limits(1, 1))
except KeyboardInterrupt:
    sys.exit(3)
"""


@pytest.mark.parametrize(
    ("end", "code"),
    [(signal.SIGKILL, -9), (signal.SIGTERM, -15), (signal.SIGINT, 3)],
    ids=["killed", "told to end", "Ctrl-C"],
)
@pytest.mark.skipif(sys.platform != "linux", reason="the parent's death is told on Linux only")
def test_no_process_outlives_the_run(tmp_path, end, code):
    command = [sys.executable, "-c", _SCRIPT, __file__, str(tmp_path)]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    marker = tmp_path / "sleep"
    _wait_until(lambda: marker.exists() and marker.read_text())
    worker = int(marker.read_text())
    assert _is_alive(worker)
    run.send_signal(end)
    assert run.wait(timeout=30) == code
    _wait_until(lambda: not _is_alive(worker))


def _wait_until(happened, at_most_s=60):
    end = time.monotonic() + at_most_s
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.1)


def _is_alive(process):
    status = Path(f"/proc/{process}/status")
    try:
        return "State:\tZ" not in status.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
