"""SPM12 as nodes that fail when it failed.

Nipype's wrappers write the batch and start the program. What they do not see is added here: SPM
and GNU Octave end with codes that nobody looks at, Octave takes other options than MATLAB, and
threads of the linear algebra change last digits.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

from nipype.interfaces import spm
from nipype.interfaces.base import CommandLine, Undefined, isdefined, traits
from nipype.interfaces.matlab import MatlabCommand, MatlabInputSpec

from pipeline.core.errors import ToolError

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def is_octave(command: str) -> bool:
    """Whether a command starts GNU Octave by its own name.

    Examples
    --------
    >>> is_octave("/usr/bin/octave-cli"), is_octave("matlab -nodesktop")
    (True, False)
    """
    words = shlex.split(command)
    return bool(words) and Path(words[0]).name.startswith("octave")


class _Matlab(MatlabCommand):  # type: ignore[misc]
    """MATLAB, or the standalone; its output is judged by who started it."""

    def _run_interface(self, runtime: Any) -> Any:
        # Nipype would also reset the terminal, which there may not be
        self.terminal_output = "allatonce"
        return CommandLine._run_interface(self, runtime)


class _OctaveInputSpec(MatlabInputSpec):  # type: ignore[misc]
    script = traits.Str(argstr='--eval "%s;exit"', mandatory=True, position=-1, desc="code")
    nodesktop = traits.Bool(
        True, argstr="--no-gui --no-window-system --no-history --no-init-file --quiet",
        usedefault=True, nohash=True, desc="no screen, no traces, no settings of the user",
    )  # fmt: skip


class _Octave(_Matlab):
    """GNU Octave where Nipype expects MATLAB."""

    input_spec = _OctaveInputSpec
    _cmd = "octave"

    def __init__(self, **inputs: Any) -> None:
        super().__init__(**inputs)
        # options of MATLAB alone
        self.inputs.nosplash = self.inputs.single_comp_thread = Undefined

    def _gen_matlab_command(self, argstr: str, script_lines: str) -> str:
        """The same script; but the guard around Nipype's paths calls what Octave lacks."""
        paths = self.inputs.paths if isdefined(self.inputs.paths) else []
        self.inputs.paths = Undefined
        self.inputs.prescript = [*self.inputs.prescript, *(f"addpath('{p}');\n" for p in paths)]
        return str(super()._gen_matlab_command(argstr, script_lines))


class _Checked:
    """Start SPM with one thread, and raise where it failed."""

    version = None
    """Unknown to Nipype, which would start the program once more at every node to ask for it."""

    def _matlab_cmd_update(self) -> None:
        inputs: Any = self.inputs  # type: ignore[attr-defined]
        command = inputs.matlab_cmd if isdefined(inputs.matlab_cmd) else "matlab"
        kind = _Octave if is_octave(command) else _Matlab
        self.mlab = kind(matlab_cmd=command, paths=inputs.paths, resource_monitor=False)
        self.mlab.inputs.script_file = f"{type(self).__name__.lower()}_job.m"
        self.mlab.inputs.environ = dict(_ONE_THREAD)
        if isdefined(inputs.use_mcr) and inputs.use_mcr:
            for option in ("nodesktop", "nosplash", "single_comp_thread"):
                setattr(self.mlab.inputs, option, Undefined)
            self.mlab.inputs.uses_mcr = True
        elif kind is _Matlab:
            self.mlab.inputs.single_comp_thread = True

    def _run_interface(self, runtime: Any) -> Any:
        name = type(self).__name__
        try:
            runtime = super()._run_interface(runtime)  # type: ignore[misc]
        except (RuntimeError, OSError) as error:
            raise ToolError(f"SPM12, {name}: {what_failed(str(error))}") from error
        said = f"{runtime.stdout}\n{runtime.stderr}"
        if runtime.returncode or _FAILED in said:
            raise ToolError(f"SPM12, {name}: {what_failed(said)}")
        return runtime


_FAILED = "MATLAB code threw an exception"
_REASON = re.compile(
    r"^\s*(?:Error using |error: |Error in |Job execution failed|Failed ).*", re.M
)


def what_failed(said: str) -> str:
    r"""The line of SPM's output that tells what went wrong.

    Examples
    --------
    >>> what_failed("Running job #1\nFailed  'Coregister: Estimate'\nerror: no such file\n")
    "error: no such file (Failed 'Coregister: Estimate')"
    """
    lines = [" ".join(line.split()) for line in _REASON.findall(said)]
    thrown = said.partition(f"{_FAILED}:\n")[2].strip().splitlines()
    reasons = [line for line in lines if not line.startswith(("Failed", "Job execution"))]
    failed = next((line for line in lines if line.startswith("Failed")), "")
    reason = (reasons or thrown or lines or ["it ended before its work was done"])[0]
    return f"{reason} ({failed})" if failed and failed != reason else reason


class Realign(_Checked, spm.Realign):  # type: ignore[misc]
    """Spatial: Realign."""


class Coregister(_Checked, spm.Coregister):  # type: ignore[misc]
    """Spatial: Coregister."""


class NewSegment(_Checked, spm.NewSegment):  # type: ignore[misc]
    """Spatial: Segment."""
