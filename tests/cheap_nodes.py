"""Nodes that do as they are told, in graphs that are made in no time; jobs can import them."""

import os
import signal
import time
from pathlib import Path

from nipype.interfaces.base import BaseInterfaceInputSpec, SimpleInterface, TraitedSpec, traits
from nipype.pipeline import engine as pe

from pipeline.core.errors import DataError
from pipeline.execution.node import Node


class _InputSpec(BaseInterfaceInputSpec):
    what = traits.Str(mandatory=True)
    value = traits.Int(1, usedefault=True)
    memory = traits.Str(nohash=True, desc="folder where every run leaves a line")


class _OutputSpec(TraitedSpec):
    value = traits.Int()


class Obey(SimpleInterface):
    """Add one, unless told to "fail", "die", "hog" 800 MB, "sleep" or wait "a while" before."""

    input_spec, output_spec = _InputSpec, _OutputSpec

    def _run_interface(self, runtime):
        what = self.inputs.what
        if self.inputs.memory:
            with (Path(self.inputs.memory) / "runs").open("a") as runs:
                runs.write(f"{what} {os.getpid()}\n")
        if what == "fail":
            raise DataError("scan 3 is negative; give a positive one")
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "hog":
            held = bytearray(800 << 20)
            held[:: 1 << 12] = b"x" * len(held[:: 1 << 12])
            time.sleep(60)
        time.sleep({"sleep": 600, "a while": 20}.get(what, 0))
        self._results["value"] = self.inputs.value + 1
        return runtime


def sessions(folder, *words, memory=None):
    """A cohort with a session per word, of two nodes in a row; the first does as told."""
    cohort = pe.Workflow(name="cohort", base_dir=str(folder))
    for number, what in enumerate(words):
        session = pe.Workflow(name=f"sub-{number:02d}_wf")
        told = Obey(what=what, memory=str(memory or ""))
        first = Node(told, name="first", mem_gb=0.1, n_procs=2)
        second = Node(Obey(what="well", memory=str(memory or "")), name="second", mem_gb=0.1)
        session.connect(first, "value", second, "value")
        cohort.add_nodes([session])
    return cohort
