"""What a node took: time, and the most memory it held, its programs included."""

from __future__ import annotations

import math
import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

_INTERVAL_S = 0.25
_RESET_PEAK = "5"
_KB_PER_GB = 1024**2


@dataclass(frozen=True)
class Cost:
    """What was measured of a node."""

    seconds: float
    peak_gb: float
    """Most resident memory, GiB; NaN where the system does not tell."""


class Meter:
    """Measures what happens inside of it in this process and those that it starts.

    The kernel keeps the peak of a process, and forgets it when it is told to; peaks of programs
    are read while they live: one that lives for less than a quarter of a second may be missed.
    """

    def __enter__(self) -> Self:
        self._peak_is_ours = _forget_peak()
        self._children_kb = 0
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look_after_children, daemon=True)
        self._started_s = time.monotonic()
        self._watch.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        seconds = time.monotonic() - self._started_s
        self._over.set()
        self._watch.join()
        own_kb = _memory_kb("self", "VmHWM") if self._peak_is_ours else math.nan
        self.cost = Cost(seconds, (own_kb + self._children_kb) / _KB_PER_GB)

    def _look_after_children(self) -> None:
        while not self._over.wait(_INTERVAL_S):
            held = sum(_memory_kb(process, "VmHWM") for process in _descendants("self"))
            self._children_kb = max(self._children_kb, int(held))


def _forget_peak() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text(_RESET_PEAK, encoding="ascii")
    except OSError:
        return False
    return True


def _memory_kb(process: str, what: str) -> float:
    """Memory of a process; 0 where it is gone."""
    try:
        told = Path(f"/proc/{process}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0.0
    found = re.search(rf"^{what}:\s*(\d+) kB", told, re.MULTILINE)
    return float(found[1]) if found else 0.0


def _descendants(process: str) -> list[str]:
    """Processes that a process started, and that those did."""
    found: list[str] = []
    ahead = [process]
    while ahead:
        for children in Path(f"/proc/{ahead.pop()}/task").glob("*/children"):
            try:
                born = children.read_text(encoding="ascii").split()
            except OSError:
                continue
            found += born
            ahead += born
    return found
