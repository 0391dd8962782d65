"""Programs of FreeSurfer as nodes.

Nipype's wrappers write the command lines. Added here: a name of a file is one word, whatever is in
it; nothing of the environment enters but the programs; one thread; a failure in a line.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nipype.interfaces import freesurfer
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    CommandLine,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from pipeline.bids.freesurfer_subjects import (
    LABELS,
    State,
    brain_stem_labels,
    running,
    subject_state,
    why_unfinished,
)
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


class _ReconAll(_Checked, freesurfer.ReconAll):  # type: ignore[misc]
    """recon-all, from the start or with the steps whose results are missing."""

    def _format_arg(self, name: str, spec: Any, value: Any) -> Any:
        if name == "T1_files":
            value = [shlex.quote(path) for path in value]
        return super()._format_arg(name, spec, value)

    def _list_outputs(self) -> dict[str, Any]:
        # some hundred files; what is needed of them is asked for by name
        return {}


class _ReconstructInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    t1w = File(exists=True, mandatory=True, desc="T1w of the data set")
    subject_dir = traits.Str(mandatory=True, desc="folder of the subject, there or to be made")
    run = traits.Bool(True, usedefault=True, desc="make what is missing")
    threads = traits.Int(1, usedefault=True, nohash=True, desc="of recon-all")

    def further_key(self) -> str:
        """What else shapes the result: the substructures that may have been made since.

        The labels do not count: whoever reads them hashes them, and a subject that was made for
        one run is then the same for the next.
        """
        stem = brain_stem_labels(Path(self.subject_dir))
        return stem.name if stem else ""


class _ReconstructOutputSpec(TraitedSpec):  # type: ignore[misc]
    labels = File(exists=True, desc="aparc+aseg")
    brain_stem = File(exists=True, desc="substructures of the brain stem, if they were made")


class Reconstruct(SimpleInterface):  # type: ignore[misc]
    """Labels of a subject of FreeSurfer; recon-all is run where it did not come to its end.

    What was found of a subject is kept, in the node's folder, as long as the subject is finished.
    """

    input_spec, output_spec = _ReconstructInputSpec, _ReconstructOutputSpec

    @property
    def always_run(self) -> bool:
        """Whether nothing that was found before counts: subjects lie outside of the node."""
        return subject_state(Path(self.inputs.subject_dir)) is not State.FINISHED

    def _run_interface(self, runtime: Any) -> Any:
        folder = Path(self.inputs.subject_dir)
        state = subject_state(folder)
        if state is not State.FINISHED:
            if not self.inputs.run or state in (State.RUNNING, State.FOREIGN):
                raise ToolError(_not_to_be_had(folder, state))
            self._reconstruct(folder, runtime.cwd)
        if not (folder / LABELS).is_file():
            raise ToolError(
                f"recon-all left no {LABELS} in {folder}; see its scripts/recon-all.log"
            )
        self._results["labels"] = str(folder / LABELS)
        if brain_stem := brain_stem_labels(folder):
            self._results["brain_stem"] = str(brain_stem)
        return runtime

    def _reconstruct(self, folder: Path, cwd: str) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        t1w, threads = Path(self.inputs.t1w), self.inputs.threads
        inputs = {"parallel": True, "openmp": threads} if threads > 1 else {}
        # recon-all quotes no names: it gets one without spaces
        with TemporaryDirectory() as plain:
            link = Path(plain) / f"T1w{''.join(t1w.suffixes[-2:])}"
            link.symlink_to(t1w.resolve())
            recon_all = _ReconAll(
                directive="all",
                subject_id=folder.name,
                subjects_dir=str(folder.parent),
                T1_files=[str(link)],
                **inputs,
            )
            try:
                recon_all.run(cwd=cwd)
            except ToolError as error:
                log = f"see scripts/recon-all.log of {folder.name} in {folder.parent}"
                raise ToolError(f"{error}; {log}") from error


def _not_to_be_had(folder: Path, state: State) -> str:
    """Why a subject cannot be used, and what to do about it."""
    where = f"FreeSurfer's subject {folder.name} in {folder.parent}"
    if state is State.RUNNING:
        return f"{where}: {'; '.join(running(folder))}"
    if state is State.FOREIGN:
        return f"{where} is no finished one, nor can recon-all go on with it; delete it"
    reason = f"{where} is absent" if state is State.ABSENT else why_unfinished(folder)
    return f"{reason}; run recon-all, or set parcellation.run = true"


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
