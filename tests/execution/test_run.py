"""Running graphs: one failure stops only what depends on it."""

from pathlib import Path

from nipype.interfaces.base import BaseInterfaceInputSpec, SimpleInterface, TraitedSpec, traits
from nipype.pipeline import engine as pe

from pipeline.core.errors import DataError
from pipeline.execution.run import Limits, explain, run_graph
from workflows._graph import SharedNode


class _InputSpec(BaseInterfaceInputSpec):
    value = traits.Int(mandatory=True)
    log = traits.Str(nohash=True)


class _OutputSpec(TraitedSpec):
    value = traits.Int()


class AddOne(SimpleInterface):
    """Fail on a negative number, else add one; every run leaves a line in the log."""

    input_spec, output_spec = _InputSpec, _OutputSpec

    def _run_interface(self, runtime):
        if self.inputs.value < 0:
            raise DataError(f"scan {self.inputs.value} is negative; give a positive one")
        if self.inputs.log:
            with Path(self.inputs.log).open("a") as log:
                log.write("run\n")
        self._results["value"] = self.inputs.value + 1
        return runtime


def _session(name, value, log=""):
    workflow = pe.Workflow(name=f"{name}_wf")
    first = pe.Node(AddOne(value=value, log=log), name="first", mem_gb=0.1)
    second = pe.Node(AddOne(log=log), name="second", mem_gb=0.1)
    workflow.connect(first, "value", second, "value")
    return workflow


def test_other_sessions_finish_and_the_failure_says_why(tmp_path):
    log = tmp_path / "log"
    cohort = pe.Workflow(name="cohort", base_dir=str(tmp_path))
    cohort.add_nodes([_session("sub-01", -3), _session("sub-02", 3, str(log))])
    failures = run_graph(cohort, Limits(n_procs=1, mem_gb=1))
    assert [(f.part, f.step) for f in failures] == [("sub-01", "first")]
    assert failures[0].reason == "scan -3 is negative; give a positive one"
    assert log.read_text().count("run") == 2
    assert failures[0].crash_file.startswith(str(tmp_path / "crash"))


def test_a_second_run_computes_nothing(tmp_path):
    log = tmp_path / "log"
    for _ in range(2):
        cohort = pe.Workflow(name="cohort", base_dir=str(tmp_path))
        cohort.add_nodes([_session("sub-02", 3, str(log))])
        assert run_graph(cohort, Limits(n_procs=1, mem_gb=1)) == []
    assert log.read_text().count("run") == 2


def test_a_shared_node_is_computed_by_the_first_who_comes(tmp_path):
    log = tmp_path / "log"
    for _ in range(2):
        node = SharedNode(AddOne(value=1, log=str(log)), name="node", base_dir=str(tmp_path))
        assert node.run().outputs.value == 2
    assert log.read_text().count("run") == 1


def test_a_bug_of_ours_is_called_one():
    assert explain("Traceback\nZeroDivisionError: division by zero") == (
        "internal error, please report it: ZeroDivisionError: division by zero"
    )
