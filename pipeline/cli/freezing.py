"""Declared plans as they were when the groups were read: frozen, hashed, and logged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline import __version__

PLAN, HASHES, LOG = "plan.json", "sha256sums.txt", "unblinding.log"
"""Names of the plan, of the hashes of what went in, and of the log, beside the results."""


def frozen(plan: Mapping[str, Any]) -> str:
    """A plan as text, the same for the same plan."""
    return json.dumps(plan, indent=2, ensure_ascii=False) + "\n"


def sha256(content: bytes) -> str:
    """Hash of a file's content."""
    return hashlib.sha256(content).hexdigest()


def hash_lines(hashes: Mapping[str, str]) -> str:
    """Hashes by name, as `sha256sum` writes them."""
    return "".join(f"{digest}  {name}\n" for name, digest in hashes.items())


def read_hashes(path: Path) -> dict[str, str]:
    """Hashes by name of a file of `hash_lines`; none where it is not there."""
    if not path.is_file():
        return {}
    lines = path.read_text("utf-8").splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def log_unblinding(log: Path, hashes: Mapping[str, str]) -> None:
    """Add when groups were read, and by which plan of which tables, to the log."""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    told = " ".join(f"{name} sha256:{digest}" for name, digest in hashes.items())
    with log.open("a", encoding="utf-8") as file:
        file.write(f"{when} unblinded by petbind {__version__}: {told}\n")
