"""Graphs of small nodes that leave a trace of every run."""

import json
from pathlib import Path

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)
from nipype.pipeline import engine as pe

from pipeline.execution.node import Node


class _InputSpec(BaseInterfaceInputSpec):
    one = File(exists=True)
    other = File(exists=True)
    number = traits.Int(0, usedefault=True)
    log = traits.Str(nohash=True)


class _OutputSpec(TraitedSpec):
    out = File(exists=True)


class Add(SimpleInterface):
    """Sum of a number and of those in the files, modulo ten; a negative number fails."""

    input_spec, output_spec = _InputSpec, _OutputSpec

    def _run_interface(self, runtime):
        with Path(self.inputs.log).open("a") as log:
            log.write(f"{runtime.cwd}\n")
        files = [f for f in (self.inputs.one, self.inputs.other) if isinstance(f, str)]
        total = self.inputs.number + sum(json.loads(Path(f).read_text()) for f in files)
        if total < 0:
            raise ValueError(f"{total} is negative")
        out = Path(runtime.cwd) / "sum.json"
        out.write_text(json.dumps(total % 10))
        self._results["out"] = str(out)
        return runtime


class Cohort:
    """Sessions of five nodes each: ``a -> b -> d``, ``c -> d -> e``, ``a`` reading a file."""

    def __init__(self, root, sessions=("sub-01_ses-pre", "sub-02_ses-pre")):
        self.root, self.sessions = Path(root), sessions
        self.work = self.root / "work"
        self.log = self.root / "log"
        for session in sessions:
            path = self.data(session)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("1")

    def data(self, session):
        return self.root / "data" / f"{session}.json"

    def workflows(self, **numbers):
        """One workflow a session; numbers by node, of every session."""
        for session in self.sessions:
            nodes = {
                name: Node(
                    Add(number=numbers.get(name, 0), log=str(self.log)), name=name, mem_gb=0.1
                )
                for name in "abcde"
            }
            nodes["a"].inputs.one = str(self.data(session))
            inner = pe.Workflow(name=f"{session}_wf")
            for source, target, port in (
                ("a", "b", "one"),
                ("b", "d", "one"),
                ("c", "d", "other"),
                ("d", "e", "one"),
            ):
                inner.connect(nodes[source], "out", nodes[target], port)
            workflow = pe.Workflow(name="petbind_wf", base_dir=str(self.work))
            workflow.add_nodes([inner])
            yield workflow

    def sharing(self, session):
        """A session of one node that waits for two of an anatomy, which all sessions share."""
        anatomy, inner = pe.Workflow(name="sub-01_T1w_wf"), pe.Workflow(name=f"{session}_wf")
        a, b, c = (Node(Add(log=str(self.log)), name=name, mem_gb=0.1) for name in "abc")
        a.inputs.one = str(self.data(self.sessions[0]))
        anatomy.connect(a, "out", b, "one")
        inner.add_nodes([c])
        workflow = pe.Workflow(name="petbind_wf", base_dir=str(self.work))
        workflow.connect(anatomy, "b.out", inner, "c.one")
        return workflow

    def ran(self):
        """What was computed since the last question, ``session.node``, sorted."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return sorted(
            f"{Path(line).parts[-2].removesuffix('_wf')}.{Path(line).name}" for line in lines
        )
