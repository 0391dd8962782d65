"""What a failure says to a person."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.execution.progress import row_name, step_name

_OWN_ERROR = re.compile(r"pipeline\.core\.errors\.\w+: (.*)", re.DOTALL)
_FULL = "[Errno 28]"
_NO_MEMORY = re.compile(r"^(?:numpy\.\S*)?(?:MemoryError|_ArrayMemoryError)\b", re.MULTILINE)


@dataclass(frozen=True)
class Failure:
    """A node that did not finish."""

    node: str
    """Full name, ``<cohort>.<session>.<step>...``."""
    reason: str
    """What a person should read first."""
    crash_file: str

    @property
    def part(self) -> str:
        """The session or anatomy it belongs to."""
        return row_name(self.node)

    @property
    def step(self) -> str:
        """The node within its part."""
        return step_name(self.node)


def explain(trace: str) -> str:
    r"""The line of a traceback that a person should read.

    Examples
    --------
    >>> explain("Traceback ...\npipeline.core.errors.DataError: a.nii: damaged\n")
    'a.nii: damaged'
    >>> explain("Traceback ...\nKeyError: 'x'\n")
    "internal error, please report it: KeyError: 'x'"
    """
    text = trace.strip()
    own = _OWN_ERROR.search(text)
    if own:
        return own.group(1).strip().split("\n\n")[0]
    if _FULL in text:
        return "the disk is full; make room, then start again: what is done is kept"
    if _NO_MEMORY.search(text):
        return "memory ran out; run fewer at a time with --n-procs, or on a larger machine"
    last = text.splitlines()[-1].strip() if text else "the process ended without a word"
    return f"internal error, please report it: {last}"
