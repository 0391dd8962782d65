"""The node that puts results into the output folder under their BIDS names."""

from __future__ import annotations

import os
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
    out_dir = traits.Directory(mandatory=True, desc="root of the derivatives")
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

    It always runs, so that an output that was deleted comes back from the working directory.
    """

    input_spec, output_spec = _SaveInputSpec, _SaveOutputSpec
    _always_run = True

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
                _describe(root / target, {key: found.get(key, said[key]) for key in said})
        self._results["out_files"] = written
        return runtime


def _describe(target: Path, metadata: Mapping[str, Any]) -> None:
    """Write the sidecar of an output, where there is something to say."""
    if metadata:
        sidecar = sidecar_path(target)
        partial = sidecar.with_name(f".{sidecar.name}.{os.getpid()}")
        write_json(partial, metadata).replace(sidecar)


def publish(source: Path, target: Path) -> Path:
    """Copy a file to its place in one step, unless the same file is there; returns the place."""
    before = source.stat()
    if target.exists():
        after = target.stat()
        if (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns):
            return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copy2(source, partial)
    partial.replace(target)
    return target
