"""One run at a time for each session and anatomy; the system frees a lock when its holder dies."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

from pipeline.core.errors import PetbindError

_LOG = logging.getLogger("petbind")
_PATIENCE_S = 1.0
"""A look at a lock holds it for a moment."""


class BusyError(PetbindError):
    """Another run is at it, and waiting was not wanted."""


class Locks:
    """Locks that a run holds, by the path of each."""

    def __init__(self) -> None:
        self._held: dict[Path, IO[str]] = {}

    def take(self, paths: Iterable[Path], *, wait: bool) -> bool:
        """Take locks, all in the order of their names; returns whether any had to be waited for.

        Raises
        ------
        BusyError
            If another run holds one and `wait` is false.
        """
        waited = False
        for path in sorted(set(paths) - set(self._held)):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a+", encoding="utf-8")
            if not _try(file):
                told = f"{path.stem}: another run is at it ({_holder(path)})"
                if not wait:
                    file.close()
                    self.free(tuple(self._held))
                    raise BusyError(f"{told}; start again when it is over, or without --no-wait")
                _LOG.info("%s; waiting for it", told)
                fcntl.flock(file, fcntl.LOCK_EX)
                waited = True
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
            self._held[path] = file
        return waited

    def free(self, paths: Sequence[Path] = ()) -> None:
        """Give back some locks, or all."""
        for path in paths or tuple(self._held):
            if file := self._held.pop(path, None):
                # processes that were forked hold the same lock: closing would not free it
                fcntl.flock(file, fcntl.LOCK_UN)
                file.close()


def is_held(path: Path) -> bool:
    """Whether a living process holds a lock."""
    try:
        with path.open("r", encoding="utf-8") as file:
            return not _try(file, fcntl.LOCK_SH, patience_s=0)
    except OSError:
        return False


def _try(file: IO[str], kind: int = fcntl.LOCK_EX, patience_s: float = _PATIENCE_S) -> bool:
    end = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(0.05)
        else:
            return True


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip() or "just started"
    except OSError:
        return "unknown"
