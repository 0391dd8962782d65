"""FSL as nodes that fail when it failed.

Nipype's wrappers write the command line and start the program. What they leave to chance is set
here: the kind of file comes from us, not from ``$FSLOUTPUTTYPE``; every name reaches the program
as one argument; an exit code, or a file that is not there, is an error in the program's own words;
threads of the linear algebra, which change last digits, are one.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from nipype.interfaces import fsl

from pipeline.core.errors import ToolError
from pipeline.io.images import open_image

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class _Checked:
    """Start a program of FSL, and raise where it failed."""

    _output_type = "NIFTI"

    def _get_environ(self) -> dict[str, str]:
        environ = super()._get_environ()  # type: ignore[misc]
        return {**environ, **_ONE_THREAD}

    def _run_interface(self, runtime: Any) -> Any:
        try:
            runtime = super()._run_interface(runtime)  # type: ignore[misc]
        except (RuntimeError, OSError) as error:
            raise ToolError(f"{self._program}: {what_failed(str(error))}") from error
        if runtime.returncode:
            raise ToolError(f"{self._program}: {what_failed(runtime.stderr, runtime.stdout)}")
        return runtime

    def aggregate_outputs(self, runtime: Any = None, needed_outputs: Any = None) -> Any:
        """Outputs that the program left; an error in its own words where one is missing."""
        try:
            return super().aggregate_outputs(runtime, needed_outputs)  # type: ignore[misc]
        except FileNotFoundError as error:
            said = (runtime.stderr, runtime.stdout) if runtime is not None else ()
            raise ToolError(f"{self._program}: {what_failed(*said)} ({error})") from error

    @property
    def _program(self) -> str:
        return f"FSL, {self.cmd}"  # type: ignore[attr-defined]


def what_failed(*said: str) -> str:
    r"""The last line that tells something, of the first of a program's streams that has one.

    Examples
    --------
    >>> what_failed("Could not open image t1w\nterminate called after throwing ...\nAborted\n")
    'Could not open image t1w'
    >>> what_failed("", "")
    'it ended before its work was done'
    """
    for stream in said:
        lines = [" ".join(line.split()) for line in (stream or "").splitlines()]
        told = [line for line in lines if line and not line.startswith(_SAYS_NOTHING)]
        if told:
            return told[-1]
    return "it ended before its work was done"


_SAYS_NOTHING = ("Abort", "terminate called")


class FLIRT(_Checked, fsl.FLIRT):  # type: ignore[misc]
    """Linear registration of one image to another."""


class MCFLIRT(_Checked, fsl.MCFLIRT):  # type: ignore[misc]
    """Rigid alignment of the frames of a 4-D image; `out_file` is a name without an ending.

    What MCFLIRT calls its files depends on the ending it is given and on its version; without one
    there is a single way.
    """

    def _list_outputs(self) -> dict[str, Any]:
        outputs: dict[str, Any] = self._outputs().get()
        moved = Path(self.inputs.out_file).absolute()
        frames = range(open_image(self.inputs.in_file).shape[3])
        outputs["out_file"] = f"{moved}.nii"
        outputs["mat_file"] = [str(Path(f"{moved}.mat") / f"MAT_{i:04d}") for i in frames]
        return outputs


class FNIRT(_Checked, fsl.FNIRT):  # type: ignore[misc]
    """Deformable registration of one image to another."""

    def _format_arg(self, name: str, spec: Any, value: Any) -> Any:
        if name in self.filemap:
            # Nipype quotes what comes in, not what these options name
            return spec.argstr % shlex.quote(self._list_outputs()[name])
        return super()._format_arg(name, spec, value)


class ConvertWarp(_Checked, fsl.ConvertWarp):  # type: ignore[misc]
    """A warp of any kind as a field of displacements."""


class InvWarp(_Checked, fsl.InvWarp):  # type: ignore[misc]
    """The inverse of a warp."""
