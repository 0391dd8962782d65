"""What a node leaves beside its result, last of all: a node with a sound record is done."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.execution.digests import Identity

NAME = "_petbind.json"
"""Of the file in a node's folder."""


@dataclass(frozen=True)
class ResultFile:
    """A file that a node made or handed on."""

    path: str
    """Absolute."""
    sha256: str
    identity: Identity


@dataclass(frozen=True)
class Record:
    """What is known of a node that finished."""

    key: str
    """Digest of everything that the result depends on."""
    interface: str
    sources: str
    """Digest of the code."""
    libraries: Mapping[str, str]
    """Name to version."""
    inputs: Mapping[str, str]
    """Name to digest."""
    outputs: Mapping[str, str]
    files: tuple[ResultFile, ...]
    roots: tuple[str, ...]
    """Folders of nodes and of outputs when it was written; files below them move with them."""
    seconds: float = math.nan
    peak_gb: float = math.nan
    declared_gb: float = math.nan

    def write(self, folder: Path) -> None:
        """Put it into a node's folder in one step."""
        partial = folder / f"{NAME}.partial"
        content = asdict(self) | {
            "files": [[f.path, f.sha256, f.identity.values] for f in self.files],
            **{k: _or_none(getattr(self, k)) for k in ("seconds", "peak_gb", "declared_gb")},
        }
        with partial.open("w", encoding="utf-8") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(folder / NAME)

    def at(self, roots: tuple[str, ...]) -> Record:
        """The same in another place, where the same files are."""
        paths = [moved(file.path, self.roots, roots) for file in self.files]
        files = [
            replace(file, path=path, identity=Identity.of(path))
            for file, path in zip(self.files, paths, strict=True)
        ]
        return replace(self, roots=roots, files=tuple(files))

    def why_unsound(self, roots: Sequence[str], sha256: Callable[[str], str]) -> str:
        """Which of its files is gone or another by now; empty if none is."""
        for file in self.files:
            path = moved(file.path, self.roots, roots)
            try:
                now = Identity.of(path)
                if now == file.identity:
                    continue
                if now.size == file.identity.size and sha256(path) == file.sha256:
                    continue
            except OSError:
                return f"{Path(path).name} is gone"
            return f"{Path(path).name} was altered"
        return ""


def read_record(folder: Path) -> Record | None:
    """The record in a node's folder; None where there is none that can be read."""
    path = folder / NAME
    try:
        return _read(path, Identity.of(path))
    except (OSError, ValueError, TypeError, KeyError):
        return None


@lru_cache(maxsize=4096)
def _read(path: Path, identity: Identity) -> Record:
    content: dict[str, Any] = json.loads(path.read_bytes())
    files = [ResultFile(p, sha, Identity(*values)) for p, sha, values in content.pop("files")]
    costs = {k: _or_nan(content.pop(k)) for k in ("seconds", "peak_gb", "declared_gb")}
    roots = tuple(content.pop("roots"))
    content |= {**costs, "files": tuple(files), "roots": roots}
    return Record(**content)


def moved(path: str, old_roots: Sequence[str], new_roots: Sequence[str]) -> str:
    """A path below one of some folders as it is called where the folder was moved.

    Examples
    --------
    >>> moved("/a/work/x", ["/a/work"], ["/b"]), moved("/a/workshop/x", ["/a/work"], ["/b"])
    ('/b/x', '/a/workshop/x')
    """
    for old, new in zip(old_roots, new_roots, strict=False):
        if old != new and path.startswith(f"{old}/"):
            return new + path[len(old) :]
    return path


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
