"""SPM12 as nodes that fail when it failed.

Nipype's wrappers write the batch and start the program. What they do not see is added here: SPM
and GNU Octave end with codes that nobody looks at, Octave takes other options than MATLAB,
threads of the linear algebra change last digits, and whoever only makes a node starts no MATLAB.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nipype.interfaces import spm
from nipype.interfaces.base import CommandLine, Undefined, isdefined, traits
from nipype.interfaces.matlab import MatlabCommand, MatlabInputSpec

from pipeline.core.errors import ToolError

_STDIN = 0
"""As a number: where processes of a pool run, Python has closed its file."""
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
    """MATLAB or the standalone, silent about a terminal where there is none to mend."""

    def _run_interface(self, runtime: Any) -> Any:
        if os.isatty(_STDIN):
            return super()._run_interface(runtime)
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

    def _gen_matlab_command(self, argstr: str, script_lines: str) -> str:
        """The same script; but the guard around Nipype's paths calls what Octave lacks."""
        paths = self.inputs.paths if isdefined(self.inputs.paths) else []
        added = "".join(f"addpath('{_quoted(path)}');\n" for path in paths)
        # for the time of this call only: Nipype asks for the command more than once
        self.inputs.paths = Undefined
        try:
            return str(super()._gen_matlab_command(argstr, added + script_lines))
        finally:
            self.inputs.paths = paths or Undefined


def _quoted(text: str) -> str:
    return text.replace("'", "''")


class _Checked:
    """Start SPM with one thread, and raise where it failed."""

    version = None
    """Nipype would start MATLAB for it whenever a node is made."""

    @property
    def _speaker(self) -> str:
        return f"SPM12, {type(self).__name__}: "

    def _matlab_cmd_update(self) -> None:
        super()._matlab_cmd_update()  # type: ignore[misc]
        inputs: Any = self.inputs  # type: ignore[attr-defined]
        made = self.mlab.inputs  # type: ignore[has-type]
        standalone = isdefined(inputs.use_mcr) and inputs.use_mcr
        octave = not standalone and isdefined(inputs.matlab_cmd) and is_octave(inputs.matlab_cmd)
        self.mlab = (_Octave if octave else _Matlab)(
            matlab_cmd=inputs.matlab_cmd, paths=inputs.paths, resource_monitor=False
        )
        self.mlab.inputs.script_file = made.script_file
        self.mlab.inputs.environ = dict(_ONE_THREAD)
        if standalone:
            self.mlab.inputs.trait_set(
                nodesktop=Undefined, nosplash=Undefined, single_comp_thread=Undefined
            )
            self.mlab.inputs.uses_mcr = True
        elif octave:
            self.mlab.inputs.trait_set(nosplash=Undefined, single_comp_thread=Undefined)
        else:
            self.mlab.inputs.single_comp_thread = True

    def _run_interface(self, runtime: Any) -> Any:
        _require_command(self._speaker, self.mlab.cmd)
        try:
            runtime = super()._run_interface(runtime)  # type: ignore[misc]
        except (RuntimeError, OSError) as error:
            raise ToolError(f"{self._speaker}{what_failed(str(error))}") from error
        said = f"{runtime.stdout}\n{runtime.stderr}"
        if runtime.returncode or _FAILED in said:
            raise ToolError(f"{self._speaker}{what_failed(said)}")
        return runtime


def _require_command(speaker: str, command: str) -> None:
    words = shlex.split(command)
    if not words or shutil.which(words[0]) is None:
        program = words[0] if words else "that is named"
        raise ToolError(
            f"{speaker}no program {program}; name MATLAB, GNU Octave or the standalone in "
            "resources.spm.command, or in $MATLABCMD or $SPMMCRCMD"
        )


_FAILED = "MATLAB code threw an exception"
_NO_SPM = ("SPM not in matlab path", "'MException' undefined")
"""Octave lacks what Nipype would throw."""
_JOB_FAILED = re.compile(r"Failed\s+'([^']*)'\s*\n\s*(?:Error using .*\n\s*)?(.+)")
"""What SPM says of a job: its name and, on the next line or the one after, why."""
_REASONS = (
    re.compile(rf"{_FAILED}:\s*\n\s*(.+)"),
    re.compile(r"^error: (.+)", re.M),
    re.compile(r"^Error using .*\n\s*(.+)", re.M),
    re.compile(r"^(License checkout.+)", re.M),
)
"""What tells why where no job had begun, the surest first."""


def what_failed(said: str) -> str:
    r"""The line of SPM's output that tells what went wrong.

    Examples
    --------
    >>> what_failed("10:11 - Failed  'Realign: Estimate'\nInsufficient image overlap.\nIn file x")
    "Insufficient image overlap. ('Realign: Estimate')"
    >>> what_failed("GNU Octave Version: 7.3.0\nerror: out of memory\n")
    'out of memory'
    """
    if any(sign in said for sign in _NO_SPM):
        return "no SPM on its path; say where it lies in resources.spm.folder, or in $SPM_PATH"
    if job := _JOB_FAILED.search(said):
        return f"{job[2].strip().removeprefix('error: ')} ('{job[1]}')"
    told = (reason.search(said) for reason in _REASONS)
    return next((words[1].strip() for words in told if words), "it ended before its work was done")


class Realign(_Checked, spm.Realign):  # type: ignore[misc]
    """Spatial: Realign."""


class Coregister(_Checked, spm.Coregister):  # type: ignore[misc]
    """Spatial: Coregister."""


class NewSegment(_Checked, spm.NewSegment):  # type: ignore[misc]
    """Spatial: Segment."""

    _jobtype, _jobname = "spatial", "preproc"

    def __init__(self, **inputs: Any) -> None:
        # past Nipype's own, which starts MATLAB, and takes SPM8 for granted if that fails
        spm.SPMCommand.__init__(self, **inputs)


@dataclass(frozen=True)
class SpmVersion:
    """Which SPM a command starts, and in what."""

    name: str
    """``SPM12``, or another."""
    revision: str
    """Such as ``7771``."""
    engine: str
    """MATLAB, its runtime or GNU Octave, with its version."""

    def __str__(self) -> str:
        return f"r{self.revision} ({self.engine})"


class FindSpm(_Checked, spm.SPMCommand):  # type: ignore[misc]
    """Nothing but the question which SPM this is."""

    _speaker = ""

    def _make_matlab_command(self, contents: Any, postscript: str | None = None) -> str:
        return _WHICH_SPM

    def _list_outputs(self) -> dict[str, Any]:
        return {}


_WHICH_SPM = """
if isempty(which('spm')),
  error('petbind:NoSpm', 'SPM not in matlab path');
end
[name, revision] = spm('ver');
engine = 'MATLAB';
if exist('OCTAVE_VERSION', 'builtin'), engine = 'GNU Octave'; end
if exist('isdeployed') && isdeployed, engine = 'MATLAB Runtime'; end
fprintf(1, '\\npetbind asks: %s|%s|%s|%s|\\n', name, revision, engine, version);
"""
_ANSWER = re.compile(r"petbind asks: ([^|]*)\|([^|]*)\|([^|]*)\|([^|]*)\|")


def find_spm(**program: Any) -> SpmVersion:
    """Start SPM, and say which it is; some seconds with MATLAB.

    Parameters
    ----------
    **program
        `matlab_cmd`, `paths` and `use_mcr`, as every node of SPM takes them.

    Raises
    ------
    ToolError
        If nothing starts, or what starts finds no SPM; the text says which.
    """
    with tempfile.TemporaryDirectory(prefix="petbind-") as folder:
        said = str(FindSpm(**program).run(cwd=folder).runtime.stdout)
    found = _ANSWER.search(said)
    if found is None:
        raise ToolError("it started, but did not say which SPM it is")
    name, revision, engine, release = (word.strip() for word in found.groups())
    year = re.search(r"R20\d\d[ab]", release)
    return SpmVersion(name, revision, f"{engine} {year[0] if year else release}")


def unspeakable(folder: str, *, standalone: bool = False) -> str:
    """Characters of a folder's name that keep SPM from working in it; empty if there are none.

    Nipype puts the folder into code of MATLAB, and that into the command of a shell; the
    standalone gets it as a bare word.

    Examples
    --------
    >>> unspeakable("/data/o'neill/work"), unspeakable("/data/my work")
    ("'", '')
    >>> unspeakable("/data/my work", standalone=True)
    ' '
    """
    kept_out = _NOT_A_BARE_WORD if standalone else _NOT_IN_CODE
    return "".join(sorted(set(kept_out.findall(folder))))


_NOT_IN_CODE = re.compile(r"[\"'$`\\\n]")
_NOT_A_BARE_WORD = re.compile(r"[^\w@%+=:,./-]")
