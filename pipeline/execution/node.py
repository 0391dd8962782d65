"""Nipype's nodes, cached by contents, settings and code instead of names, times and chance.

A node's key is the digest of its inputs, of the settings among them, and of the code that makes
it. An input that comes from another node counts by the digest in that node's record, so that keys
of a whole graph are known without loading a single result. The record is written last and in one
step: whatever ends a run, a node either has a sound record or has to be computed anew.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nipype.interfaces.base import Bunch, isdefined
from nipype.pipeline import engine as pe
from nipype.pipeline.engine.utils import load_resultfile

from pipeline.core.errors import ToolError
from pipeline.execution.code import CodeVersion, code_version
from pipeline.execution.cost import Cost, Meter
from pipeline.execution.digests import Digests, Identity, digest_of, digests_in, value_digest
from pipeline.execution.record import NAME, Record, ResultFile, moved, read_record

_FULL_GB = 0.001


@dataclass(frozen=True)
class Parts:
    """What a result depends on."""

    interface: str
    code: CodeVersion
    inputs: Mapping[str, str]
    """Name to digest."""

    @property
    def key(self) -> str:
        """Digest of all of it."""
        code = [self.code.sources, *map(list, self.code.libraries)]
        return digest_of([self.interface, code, dict(self.inputs)])

    def differences(self, record: Record) -> list[str]:
        """What is another now than it was for a record, a phrase each."""
        told = []
        if record.interface != self.interface:
            return [f"the node is now {self.interface}"]
        names = sorted({*self.inputs, *record.inputs})
        changed = [n for n in names if self.inputs.get(n) != record.inputs.get(n)]
        if changed:
            told.append(f"changed: {', '.join(changed)}")
        if record.sources != self.code.sources:
            told.append("its code changed")
        versions = dict(self.code.libraries)
        told += [
            f"{name} {record.libraries.get(name) or 'absent'} became {version or 'absent'}"
            for name, version in versions.items()
            if record.libraries.get(name) != version
        ]
        return told


class _Keyed:
    """What makes a node of Nipype one that is keyed; goes before it among the bases."""

    memo: Path | None = None
    """Where digests of files are remembered; by default beside the nodes, one for each part."""
    top: str | None = None
    """Folder of all nodes; by default the base directory."""
    _hashvalue: str | None
    _hashed_inputs: list[tuple[str, str]] | None
    _get_inputs: Callable[[], None]

    def parts(self) -> Parts:
        """What the result depends on; nodes before it must be done."""
        interface = self._interface  # type: ignore[attr-defined]
        inputs, sources = self.inputs, self.input_source  # type: ignore[attr-defined]
        of_file = self.digests().sha256
        found = {name: self._digest_from(name, *source) for name, source in sources.items()}
        for name, value in inputs.trait_get().items():
            if name in sources or not isdefined(value) or inputs.has_metadata(name, "nohash"):
                continue
            found[name] = value_digest(value, of_file)
        if further := getattr(inputs, "further_key", None):
            found["further"] = digest_of(further())
        name = f"{type(interface).__module__}.{type(interface).__qualname__}"
        return Parts(name, code_version(type(interface).__module__), found)

    def _digest_from(self, field: str, result_file: str, port: Any) -> str:
        """Digest of what another node hands over."""
        record = read_record(Path(result_file).parent)
        if record is None:
            # not one of these nodes: its result says what it gave
            self._get_inputs()
            return value_digest(getattr(self.inputs, field), self.digests().sha256)  # type: ignore[attr-defined]
        if isinstance(port, tuple):
            name, *function = port
            return digest_of([record.outputs.get(name), [str(part) for part in function]])
        return record.outputs.get(port, "")

    def digests(self) -> Digests:
        """Digests of files that this node and its neighbours read."""
        if self.memo is not None:
            return digests_in(self.memo)
        names = str(self._hierarchy or "").split(".")  # type: ignore[attr-defined]
        part = names[1] if len(names) > 1 else names[0] or "nodes"
        return digests_in(Path(self.roots()[0]) / "digests" / f"{part}.jsonl")

    def folder(self) -> Path:
        """Its working directory."""
        return Path(self.output_dir())  # type: ignore[attr-defined]

    def roots(self) -> tuple[str, ...]:
        """Folders whose files move with them: of nodes, and of outputs where it writes any."""
        top = self.top or os.path.realpath(self.base_dir or self.folder().parent)  # type: ignore[attr-defined]
        out = getattr(self.inputs, "out_dir", None)  # type: ignore[attr-defined]
        return (top, os.path.realpath(out)) if isinstance(out, str) else (top,)

    def record(self) -> Record | None:
        """What it left when it finished."""
        return read_record(self.folder())

    def why_not_done(self) -> str:
        """Empty if its result holds, else why not; nodes before it must be done."""
        record = self.record()
        if record is None:
            return "not run"
        parts = self.parts()
        if parts.key != record.key:
            return "; ".join(parts.differences(record)) or "written by another version"
        interface = self._interface  # type: ignore[attr-defined]
        if interface.always_run and not getattr(interface, "checked_by_record", False):
            return "what it looks at lies outside"
        reason = record.why_unsound(self.roots(), self.digests().sha256)
        if reason or record.roots == self.roots():
            return reason
        return self._settle(record)

    def _settle(self, record: Record) -> str:
        """Take a sound result as one of the place to which folders were moved, if it can be.

        Names of files in the node's own folder hold wherever it lies. Those of others do not.
        """
        old, new = record.roots[0], self.roots()[0]
        others = (f for f in record.files if old != new and f.path.startswith(f"{old}/"))
        if any(not moved(f.path, (old,), (new,)).startswith(f"{self.folder()}/") for f in others):
            return "it names files in the folder where nodes were before"
        try:
            load_resultfile(self.folder() / f"result_{self.name}.pklz")  # type: ignore[attr-defined]
        except Exception as error:  # noqa: BLE001  whatever keeps a result from being read
            return f"its result cannot be read in this place ({type(error).__name__})"
        with suppress(OSError):
            record.at(self.roots()).write(self.folder())
        return ""

    def forget(self) -> None:
        """Make it one that has to run."""
        (self.folder() / NAME).unlink(missing_ok=True)

    def is_cached(self, rm_outdated: bool = False) -> tuple[bool, bool]:
        """Whether the result holds; Nipype asks for this twice, as there and as up to date."""
        done = not self.why_not_done()
        return done, done

    def _get_hashval(self) -> tuple[list[tuple[str, str]] | None, str]:
        self._get_inputs()
        if self._hashvalue is None:
            parts = self.parts()
            self._hashed_inputs = sorted(parts.inputs.items())
            self._hashvalue = parts.key
        return self._hashed_inputs, self._hashvalue

    @property
    def result(self) -> Any:
        """Result that was saved; an empty one where that did not come about."""
        try:
            return super().result  # type: ignore[misc]
        except (OSError, EOFError):
            return Bunch(runtime=None, outputs=None)

    def run(self, updatehash: bool = False) -> Any:
        """Compute it, unless its result holds."""
        if self.is_cached()[0]:
            return self._load_results()  # type: ignore[attr-defined]
        self.forget()
        self._hashvalue = self._hashed_inputs = None
        try:
            with Meter() as meter:
                result = super().run(updatehash=updatehash)  # type: ignore[misc]
            self._write_record(result, meter.cost)
        except Exception as error:
            if full := _full_disk(self.roots()):
                raise ToolError(full) from error
            raise
        return result

    def _write_record(self, result: Any, cost: Cost) -> None:
        parts, files = self.parts(), _Files(self.digests())
        given = result.outputs
        values = {} if given is None else given.items() if isinstance(given, Bunch) else None
        values = dict(given.trait_get() if values is None else values)
        outputs = {n: value_digest(v, files.sha256) for n, v in values.items() if isdefined(v)}
        files.sha256(str(self.folder() / f"result_{self.name}.pklz"))  # type: ignore[attr-defined]
        record = Record(
            key=parts.key,
            interface=parts.interface,
            sources=parts.code.sources,
            libraries=dict(parts.code.libraries),
            inputs=dict(parts.inputs),
            outputs=outputs,
            files=tuple(files.seen.values()),
            roots=self.roots(),
            seconds=cost.seconds,
            peak_gb=cost.peak_gb,
            declared_gb=float(self.mem_gb),  # type: ignore[attr-defined]
        )
        record.write(self.folder())


class Node(_Keyed, pe.Node):  # type: ignore[misc]
    """A keyed node."""


class MapNode(_Keyed, pe.MapNode):  # type: ignore[misc]
    """A keyed node for each of several inputs."""

    def _make_nodes(self, cwd: str | None = None) -> Iterator[tuple[int, Node]]:
        for place, plain in super()._make_nodes(cwd):
            # Nipype makes them of its own class, whose cache knows nothing of the code
            plain.__class__ = Node
            plain.memo, plain.top = self.digests().memo, self.roots()[0]
            yield place, plain


class _Files:
    """Digests of files, kept together with what identifies each."""

    def __init__(self, digests: Digests) -> None:
        self._digests = digests
        self.seen: dict[str, ResultFile] = {}

    def sha256(self, path: str) -> str:
        if path not in self.seen:
            identity = Identity.of(path)
            place = Path(path).parent.resolve() / Path(path).name
            self.seen[path] = ResultFile(str(place), self._digests.sha256(path), identity)
        return self.seen[path].sha256


def _full_disk(folders: tuple[str, ...]) -> str:
    """What to say if there is no space left; empty if there is."""
    for folder in folders:
        try:
            free_gb = shutil.disk_usage(folder).free / 1024**3
        except OSError:
            continue
        if free_gb < _FULL_GB:
            return (
                f"{folder}: the disk is full; make room, then start the same command again: what "
                "is done is kept"
            )
    return ""
