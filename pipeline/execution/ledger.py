"""What was submitted of a cohort: which task is at which part, and where its log is."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.io.tables import read_json, write_json

GROUP = "group"
"""The part that is the group level."""
_KINDS = ("anatomy", "sessions", GROUP)


@dataclass
class Ledger:
    """What was submitted for a working directory, kept there."""

    folder: Path
    jobs: dict[str, str] = field(default_factory=dict)
    """Name of a part, or ``group``, to the id of its last task."""
    logs: dict[str, str] = field(default_factory=dict)
    calls: int = 0

    @classmethod
    def read(cls, folder: Path) -> Ledger:
        """The ledger in a folder; an empty one where there is none."""
        path = folder / "jobs.json"
        content = read_json(path) if path.is_file() else {}
        return cls(folder, **{key: content[key] for key in ("jobs", "logs", "calls") if content})

    def write(self) -> None:
        """In one step: a call that is stopped leaves what it knew."""
        content = {"calls": self.calls, "jobs": self.jobs, "logs": self.logs}
        partial = self.folder / ".jobs.json"
        write_json(partial, content).replace(self.folder / "jobs.json")

    @property
    def done_dir(self) -> Path:
        """Where tasks that succeed leave a file called by their part."""
        return self.folder / "done"

    def job_name(self, kind: str) -> str:
        """Of the jobs of this working directory, and of no other."""
        place = hashlib.sha256(str(self.folder).encode()).hexdigest()[:8]
        return f"petbind-{kind}-{place}"

    @property
    def job_names(self) -> list[str]:
        """Of all its jobs."""
        return [self.job_name(kind) for kind in _KINDS]
