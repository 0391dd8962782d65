"""The node that puts results into the output folder under their BIDS names."""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    DynamicTraitedSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)
from nipype.interfaces.io import add_traits

from pipeline.bids.derivatives import sidecar_path
from pipeline.io.tables import read_json, write_json


class _SaveInputSpec(DynamicTraitedSpec):  # type: ignore[misc]
    out_dir = traits.Directory(mandatory=True, nohash=True, desc="root of the derivatives")
    targets = traits.Dict(
        mandatory=True, desc="input name to relative path, or list of paths for a list of files"
    )
    metadata = traits.Dict(desc="input name to the content of its JSON sidecar, or of each")
    found = File(exists=True, desc="JSON of what was found of the anatomy")
    moved = File(exists=True, desc="JSON of what was found of motion")
    placed = File(exists=True, desc="JSON of what was found by coregistration")


class _SaveOutputSpec(TraitedSpec):  # type: ignore[misc]
    out_files = traits.List(traits.Str, desc="what was written, absolute paths")


class SaveDerivatives(SimpleInterface):  # type: ignore[misc]
    """Copy results to their places; what is already there unchanged is not touched.

    An output that was deleted or altered comes back from the working directory at the next run.
    """

    input_spec, output_spec = _SaveInputSpec, _SaveOutputSpec
    _always_run = True
    checked_by_record = True
    """A keyed node knows by its record whether every output is still what it was."""

    def __init__(self, infields: Sequence[str] = (), **inputs: Any) -> None:
        super().__init__(**inputs)
        self._infields = tuple(infields)
        add_traits(self.inputs, self._infields)

    def _run_interface(self, runtime: Any) -> Any:
        root = Path(self.inputs.out_dir)
        # what a run found replaces what sidecars say under the same keys
        inputs = (self.inputs.found, self.inputs.moved, self.inputs.placed)
        given = [file for file in inputs if isdefined(file)]
        found = {key: value for file in given for key, value in read_json(file).items()}
        written = []
        for name in self._infields:
            sources, targets = getattr(self.inputs, name), self.inputs.targets[name]
            several = isinstance(targets, list)
            pairs = zip(sources, targets, strict=True) if several else [(sources, targets)]
            about = self.inputs.metadata.get(name, {})
            for place, (source, target) in enumerate(pairs):
                written.append(str(publish(Path(source), root / target)))
                said = about[place] if isinstance(about, list) else about
                if said := {key: found.get(key, value) for key, value in said.items()}:
                    written.append(str(_describe(root / target, said)))
        self._results["out_files"] = written
        return runtime


def _describe(target: Path, metadata: Mapping[str, Any]) -> Path:
    """Write the sidecar of an output; returns its place."""
    sidecar = sidecar_path(target)
    return write_json(_beside(sidecar), metadata).replace(sidecar)


def publish(source: Path, target: Path) -> Path:
    """Copy a file to its place in one step, unless the same is there; returns the place."""
    if target.is_file() and filecmp.cmp(source, target, shallow=False):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = _beside(target)
    shutil.copy2(source, partial)
    partial.replace(target)
    return target


def _beside(target: Path) -> Path:
    """Where a file is written before it is whole; what a killed run left there is written over."""
    return target.with_name(f".{target.name}.partial")
