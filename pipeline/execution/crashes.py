"""What both ways of running nodes do with a failure: keep it, and tell it in a file."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any


class KeepsCrashes:
    """Keeps what failed; goes before a plugin of Nipype among the bases.

    Attributes
    ----------
    crashes : list of (node, traceback, Path)
        What failed, in order, with the file that tells more.
    """

    crashes: list[tuple[Any, str, Path]]

    def _report_crash(self, node: Any, result: Any = None) -> str:
        trace = result.get("traceback", "") if isinstance(result, dict) else ""
        # read before Nipype adds its own troubles to the list
        text = "".join(trace) if isinstance(trace, (list, tuple)) else str(trace)
        # Nipype takes a list alone
        result = {"result": None, **(result or {}), "traceback": text.splitlines(keepends=True)}
        folder = Path(node.config["execution"]["crashdump_dir"])
        crash_file = folder / f"crash-{node.fullname}.txt"
        try:
            written = Path(super()._report_crash(node, result=result))  # type: ignore[misc]
            # Nipype puts the user's name into the file's; one name per node keeps only the last
            written.replace(crash_file)
        except OSError:
            # the disk is full: whoever asks hears it of this run only
            logging.getLogger("petbind").warning("%s cannot be written", crash_file)
        self.crashes.append((node, text, crash_file))
        return str(crash_file)
