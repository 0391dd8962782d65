"""What runs were asked for: kept per session in the work directory, so that others can look.

The outputs hold no folder of this machine; these files do.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.errors import ConfigError

_FOLDER = "requests"


@dataclass(frozen=True)
class Request:
    """What the last command asked for of one session."""

    label: str
    """Such as ``sub-01_ses-pre``."""
    bids_dir: str
    out_dir: str
    here: str
    """Folder that relative paths among the settings count from."""
    settings: Mapping[str, Any]
    """In force, as JSON holds them."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Programs by others that nodes start, to their versions."""
    blocked: str = ""
    """Why it could not be run; empty if it could."""
    changed: tuple[str, ...] = ()
    """Settings that `rerun` changed for this session alone, as ``key=value``."""

    def write(self, work_dir: Path) -> None:
        """Put it into a work directory in one step; what is there already is left alone."""
        path = _path(work_dir, self.label)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(self), indent=1)
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            return
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)


def read_request(work_dir: Path, label: str) -> Request | None:
    """What was asked for of a session; None if nothing was, or nobody can tell."""
    try:
        content = json.loads(_path(work_dir, label).read_text(encoding="utf-8"))
        return Request(**content | {"changed": tuple(content["changed"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def read_requests(work_dir: Path) -> list[Request]:
    """Of every session that was asked for, by label.

    Raises
    ------
    ConfigError
        If the folder is not one in which sessions were run.
    """
    labels = sorted(path.stem for path in (work_dir / _FOLDER).glob("*.json"))
    found = [request for label in labels if (request := read_request(work_dir, label))]
    if not found:
        raise ConfigError(
            f"{work_dir}: no session was run here; name the folder of intermediate results with "
            "--work-dir"
        )
    return found


def _path(work_dir: Path, label: str) -> Path:
    return work_dir / _FOLDER / f"{label}.json"
