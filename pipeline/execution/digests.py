"""Digests of contents: of files, each read once, and of the values that nodes take and give."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

_YOUNG_NS = 100_000_000
"""A file that changes again within the tick of the file system's clock looks unchanged."""


@dataclass(frozen=True)
class Identity:
    """What tells whether a file may have changed since it was read, without reading it."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, path: str | Path) -> Identity:
        """Of a file as it is now; symbolic links are followed."""
        stat = Path(path).stat()
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)

    @property
    def values(self) -> list[int]:
        """As it is stored."""
        return [self.size, self.mtime_ns, self.ctime_ns, self.inode]


class Digests:
    """SHA-256 of files, remembered in a file that any number of processes may add to.

    What is lost of it costs time and nothing else. A file counts as known as long as its size, its
    inode and both of its times are the same: nobody can put back the time of the last change of an
    inode, so that a changed byte is seen whatever was done to hide it.

    Parameters
    ----------
    memo : Path, optional
        Where to remember; nowhere by default.
    """

    def __init__(self, memo: Path | None = None) -> None:
        self.memo = memo
        self._known: dict[str, tuple[Identity, str]] | None = None

    def sha256(self, path: str | Path) -> str:
        """Of a file's content, hexadecimal.

        Raises
        ------
        OSError
            If it cannot be read.
        """
        name, identity = str(Path(path).absolute()), Identity.of(path)
        if self._known is None:
            self._known = self._read()
        known = self._known.get(name)
        if known is not None and known[0] == identity:
            return known[1]
        with Path(path).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.remember(name, identity, digest)
        return digest

    def remember(self, path: str | Path, identity: Identity, digest: str) -> None:
        """Take a digest as that of a file, if the file is not so young that it may yet change."""
        if self._known is None:
            self._known = self._read()
        newest = max(identity.mtime_ns, identity.ctime_ns)
        if time.time_ns() - newest < _YOUNG_NS or Identity.of(path) != identity:
            return
        self._known[str(path)] = (identity, digest)
        if self.memo is None:
            return
        line = json.dumps([str(path), identity.values, digest]) + "\n"
        try:
            self.memo.parent.mkdir(parents=True, exist_ok=True)
            # one write, at the end: lines of several processes do not mix
            with self.memo.open("ab", buffering=0) as file:
                file.write(line.encode())
        except OSError:
            self.memo = None

    def _read(self) -> dict[str, tuple[Identity, str]]:
        known: dict[str, tuple[Identity, str]] = {}
        try:
            lines = self.memo.read_bytes().splitlines() if self.memo else []
        except OSError:
            return known
        for line in lines:
            try:
                path, values, digest = json.loads(line)
                known[path] = (Identity(*values), digest)
            except (ValueError, TypeError):
                # a line that a full disk or a kill cut short
                continue
        return known


@lru_cache(maxsize=4096)
def digests_in(memo: Path) -> Digests:
    """The digests of a memo, the same object for everyone in a process."""
    return Digests(memo)


def value_digest(value: Any, of_file: Callable[[str], str]) -> str:
    """Digest of a value of a node: files count by name and content, not by where they lie.

    Parameters
    ----------
    value : object
        Numbers, text, paths, arrays, enumerations, and dataclasses and containers of them.
    of_file : callable
        SHA-256 of a file.

    Raises
    ------
    TypeError
        If there is something in it whose content cannot be told.

    Examples
    --------
    >>> value_digest([1, "a"], str) == value_digest((1, "a"), str)
    True
    >>> value_digest(1, str) == value_digest("1", str)
    False
    """
    return digest_of(_plain(value, of_file))


def digest_of(plain: Any) -> str:
    """Digest of what JSON can hold; keys in any order."""
    text = json.dumps(plain, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any, of_file: Callable[[str], str]) -> Any:
    if value is None or isinstance(value, bool):
        return [str(value)]
    if isinstance(value, Enum):
        return [type(value).__qualname__, value.name]
    if isinstance(value, str):
        if value.startswith("/") and (path := Path(value)).is_file():
            return ["file", path.name, of_file(value)]
        return value
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        content = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
        return ["array", str(array.dtype), list(array.shape), content]
    if isinstance(value, int | float | complex | bytes):
        return [type(value).__name__, repr(value)]
    if isinstance(value, os.PathLike):
        # what a value says about itself; files to be read come as text
        return ["path", Path(value).name]
    return _plain_of_many(value, of_file)


def _plain_of_many(value: Any, of_file: Callable[[str], str]) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        said = {f.name: _plain(getattr(value, f.name), of_file) for f in fields(value)}
        return [type(value).__qualname__, said]
    if isinstance(value, Mapping):
        pairs = [[_plain(k, of_file), _plain(v, of_file)] for k, v in value.items()]
        return ["mapping", sorted(pairs, key=json.dumps)]
    if isinstance(value, set | frozenset):
        return ["set", sorted((_plain(item, of_file) for item in value), key=json.dumps)]
    if isinstance(value, list | tuple):
        return ["list", [_plain(item, of_file) for item in value]]
    raise TypeError(f"a node cannot be keyed by a {type(value).__name__}")
