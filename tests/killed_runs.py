"""A finished study copied, some of its nodes forgotten, and runs that are killed on the way."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


@dataclass(frozen=True)
class Copy:
    """A study in a place of its own: ``bids``, ``out`` and ``work`` in a folder."""

    root: Path

    @classmethod
    def of(cls, study, root, *, outputs=True):
        """The same data, intermediate results and, if wanted, outputs, times and all."""
        root.mkdir(parents=True, exist_ok=True)
        for name in ("bids", "work", *(("out",) if outputs else ())):
            subprocess.run(["cp", "-a", study / name, root / name], check=True)
        return cls(root)

    @property
    def nodes(self):
        """Folder of the sessions' nodes."""
        (folder,) = self.root.glob("work/petbind*/petbind_wf")
        return folder

    def command(self, *words):
        return [sys.executable, "-m", "pipeline", *map(str, words)]

    def participant(self, *words):
        folders = [self.root / "bids", self.root / "out"]
        return self.command(*folders, "participant", *words, "--work-dir", self.root / "work")

    def run(self, *words, command=None):
        """Exit code and what was said."""
        done = subprocess.run(
            command or self.participant(*words),
            cwd=REPOSITORY, env=environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def recorded(self, word, *words):
        """What `status` or `rerun` returns and says."""
        folders = [self.root / "out", "--work-dir", self.root / "work"]
        return self.run(command=self.command(word, folders[0], *words, *folders[1:]))

    def killed_after(self, seconds, *words):
        """Start a run, kill all of its processes at a moment; whether it lived, and how long."""
        start_s = time.monotonic()
        run = subprocess.Popen(
            self.participant(*words), cwd=REPOSITORY, env=environment(), start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            run.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
            return True, time.monotonic() - start_s
        return False, time.monotonic() - start_s

    def forget(self, part, *kept):
        """Delete the nodes of a session or anatomy, but for those in some folders."""
        for folder in (self.nodes / f"{part}_wf").iterdir():
            if folder.name not in kept:
                shutil.rmtree(folder)

    def forget_outputs(self):
        shutil.rmtree(self.root / "out", ignore_errors=True)

    def digests(self, *parts):
        """SHA-256 of every output whose name begins as one of some parts does."""
        return {
            path.relative_to(self.root / "out").as_posix(): digest(path)
            for path in sorted((self.root / "out").rglob("*"))
            if path.is_file() and path.name.startswith(parts) and "logs" not in path.parts
        }


def environment():
    return os.environ | {"COLUMNS": "200", "OMP_NUM_THREADS": "1"}


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def computed(said):
    """Number of nodes that a run says it computed."""
    return int(re.search(r"^(\d+) nodes computed", said, re.MULTILINE)[1])


def computed_nodes(said):
    """Names of the nodes that `rerun` says it computed, without the part they lie in."""
    return sorted(re.findall(r"^computed  \S+  (\S+)$", said, re.MULTILINE))
