"""Programs of FreeSurfer as nodes.

Nipype's wrappers write the command lines. Added here: a name of a file is one word, whatever is in
it; nothing of the environment enters but the programs; one thread; a failure in a line.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

from nipype.interfaces import freesurfer
from nipype.interfaces.base import CommandLine

from pipeline.core.errors import ToolError

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}


class _Checked:
    """Start a program of FreeSurfer with one thread, and raise where it failed."""

    def __init__(self, **inputs: Any) -> None:
        # Nipype's own takes $SUBJECTS_DIR and $OMP_NUM_THREADS of the day among the inputs
        CommandLine.__init__(self, **inputs)  # type: ignore[arg-type]
        self.inputs.environ = dict(_ONE_THREAD)  # type: ignore[attr-defined]

    def _run_interface(self, runtime: Any) -> Any:
        runtime = super()._run_interface(runtime)  # type: ignore[misc]
        if runtime.returncode:
            program = self.cmd  # type: ignore[attr-defined]
            said = f"{runtime.stdout}\n{runtime.stderr}"
            raise ToolError(f"FreeSurfer, {program}: {what_failed(said)}")
        return runtime


class RobustTemplate(_Checked, freesurfer.RobustTemplate):  # type: ignore[misc]
    """Volumes of one head aligned to their common mean."""

    def _format_arg(self, name: str, spec: Any, value: Any) -> Any:
        if name == "in_files":
            return spec.argstr % " ".join(map(shlex.quote, value))
        if name == "transform_outputs":
            # in the folder of the node, where the program runs
            names = [Path(path).name for path in self._list_outputs()[name]]
            return spec.argstr % " ".join(names)
        return super()._format_arg(name, spec, value)


class Coregister(_Checked, freesurfer.MRICoreg):  # type: ignore[misc]
    """One volume put onto another, rigidly, by normalised mutual information."""

    def _format_arg(self, name: str, spec: Any, value: Any) -> Any:
        if name == "out_lta_file":
            return spec.argstr % shlex.quote(Path(self._list_outputs()[name]).name)
        return super()._format_arg(name, spec, value)


def what_failed(said: str) -> str:
    r"""The line of a program's output that tells what went wrong.

    Examples
    --------
    >>> what_failed("reading pet.nii\nERROR: mov and ref do not overlap\n\n")
    'mov and ref do not overlap'
    >>> what_failed("reading pet.nii\nKilled\n")
    'Killed'
    """
    lines = [" ".join(line.split()) for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"error\b", line, re.IGNORECASE)]
    told = (errors or lines[-1:] or ["it ended before its work was done"])[0]
    return re.sub(r"^error\W+", "", told, flags=re.IGNORECASE)
