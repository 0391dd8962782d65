"""Subjects of FreeSurfer: where they lie, which T1w they are of, how far recon-all came."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np

from pipeline.bids.dataset import Dataset, index_dataset
from pipeline.bids.entities import parse_name
from pipeline.bids.findings import Finding, Severity
from pipeline.bids.preflight import Plan, without_blocked
from pipeline.core.errors import DataError
from pipeline.core.transforms import apply_affine
from pipeline.core.volume import Volume
from pipeline.io.images import read_grid

LABELS = Path("mri", "aparc+aseg.mgz")
_ORIGINAL = Path("mri", "orig", "001.mgz")
"""The first T1w that a subject was made of, as it came."""
_BRAIN_STEM = re.compile(r"brainstemSsLabels\.v(\d+)\.FSvoxelSpace\.mgz")
_SAME_FIELD_MM = 0.1
_NOT_FOR_SCRIPTS = re.compile(r"""[\s'"\\$&;()<>|*?\[\]{}~!#`]""")
"""What recon-all, which quotes nothing, cannot have in the name of a folder."""


class State(StrEnum):
    """How far recon-all came with a subject."""

    ABSENT = "absent"
    """There is no such folder."""
    BEGUN = "begun"
    """It has read its T1w and was stopped, or failed, later."""
    RUNNING = "running"
    """It says that it is at work, and nothing speaks against it."""
    FINISHED = "finished"
    FOREIGN = "foreign"
    """A folder that recon-all can neither start in nor go on with."""


def subject_state(folder: Path) -> State:
    """How far recon-all came with the subject of a folder.

    A run that fails writes ``recon-all.done`` too, with a 1 in it.
    """
    if not folder.exists():
        return State.ABSENT
    scripts = folder / "scripts"
    if set(_locks(folder)) - set(stale_locks(folder)):
        return State.RUNNING
    done, failed = scripts / "recon-all.done", (scripts / "recon-all.error").exists()
    ended = done.is_file() and done.read_text(errors="replace").strip() != "1"
    if ended and not failed and not _locks(folder) and (folder / LABELS).is_file():
        return State.FINISHED
    return State.BEGUN if (folder / _ORIGINAL).is_file() else State.FOREIGN


def stale_locks(folder: Path) -> tuple[Path, ...]:
    """Marks of a run on this machine whose process is gone; those of others nobody can tell."""
    return tuple(path for path in _locks(folder) if _is_stale(path))


def _locks(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted((folder / "scripts").glob("IsRunning.*")))


def _is_stale(lock: Path) -> bool:
    said = dict(
        line.split(maxsplit=1)
        for line in lock.read_text(errors="replace").splitlines()
        if len(line.split(maxsplit=1)) == 2
    )
    process = said.get("PROCESSID", "").strip()
    if said.get("HOST", "").strip() != platform.node() or not process.isdecimal():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def brain_stem_labels(folder: Path) -> Path | None:
    """Substructures of the brain stem beside the labels of a subject, the newest version's."""
    found = {
        int(name[1]): path
        for path in (folder / "mri").glob("brainstemSsLabels.*")
        if (name := _BRAIN_STEM.fullmatch(path.name))
    }
    return found[max(found)] if found else None


def find_subjects_dir(
    setting: str, bids_dir: Path, out_dir: Path, environ: Mapping[str, str]
) -> Path:
    """Folder of the subjects, absolute: the one that was set, or the first that there is."""
    if setting:
        return Path(setting).absolute()
    beside = bids_dir.absolute() / "derivatives" / "freesurfer"
    if beside.is_dir():
        return beside
    named = environ.get("SUBJECTS_DIR", "")
    came_along = Path(environ.get("FREESURFER_HOME", "/nowhere"), "subjects")
    if named and Path(named).absolute() != came_along.absolute():
        return Path(named).absolute()
    return out_dir.absolute() / "sourcedata" / "freesurfer"


def usual_name(t1w_entities: Mapping[str, str], pattern: str = "") -> str:
    """Name of the subject of a T1w: by a pattern, or ``sub-01_ses-pre`` and ``sub-01``."""
    subject, session = t1w_entities["sub"], t1w_entities.get("ses", "")
    if pattern:
        return pattern.format(subject=subject, session=session)
    return f"sub-{subject}" + (f"_ses-{session}" if session else "")


@dataclass(frozen=True)
class Subjects:
    """Where the subjects of a study are, and whether missing ones are made."""

    subjects_dir: Path
    pattern: str = ""
    """Of their names; empty for ``sub-01_ses-pre``, or ``sub-01`` where that is of the T1w."""
    run: bool = True

    def folder_of(self, t1w: Path, t1ws: Sequence[Path]) -> Path:
        """Folder of the subject of a T1w, there or to be made.

        Parameters
        ----------
        t1w : Path
            Any of `t1ws`.
        t1ws : sequence of Path
            All of the person, in order.
        """
        name = parse_name(t1w.name)
        entities = {} if name is None else dict(name.entities)
        own = self.subjects_dir / usual_name(entities, self.pattern)
        if self.pattern or own.exists():
            return own
        shared = self.subjects_dir / f"sub-{entities['sub']}"
        return shared if shared.exists() and _made_of(shared, t1ws) == t1w else own


def _made_of(folder: Path, t1ws: Sequence[Path]) -> Path:
    """Which T1w a subject named without session is of: the one on its grid, else the first."""
    try:
        field = read_grid(folder / _ORIGINAL)
        same = [t1w for t1w in t1ws if len(t1ws) > 1 and _same_field(read_grid(t1w), field)]
    except DataError:
        same = []
    return (same or list(t1ws))[0]


def _same_field(a: Volume, b: Volume) -> bool:
    """Whether two grids have their corners in the same places, whatever their axes are called."""
    corners = [
        apply_affine(
            grid.affine, np.array(list(np.ndindex(2, 2, 2))) * np.array(grid.shape[:3]) - 0.5
        )
        for grid in (a, b)
    ]
    distance_mm = np.linalg.norm(corners[0][:, None] - corners[1][None], axis=-1)
    return bool(distance_mm.min(axis=1).max() < _SAME_FIELD_MM)


def require_subjects(plan: Plan, subjects: Subjects, bids_dir: Path) -> Plan:
    """The plan with the subject of every T1w; runs without one, where none is made, are blocked.

    It tells which subjects recon-all will make or go on with.
    """
    dataset = index_dataset(bids_dir)
    folders: dict[Path, Path] = {}
    blocked: dict[str, tuple[Finding, ...]] = {}
    told: list[Finding] = []
    for scan in plan.scans:
        if scan.t1w is None:
            continue
        t1ws = _t1ws_of(dataset, scan.subject) or [scan.t1w]
        folder = folders.setdefault(scan.t1w, subjects.folder_of(scan.t1w, t1ws))
        for finding in _about(folder, scan.t1w, t1ws, subjects):
            if finding.is_error:
                blocked[scan.label] = (finding,)
            else:
                told.append(finding)
    left = without_blocked(plan, blocked)
    used = {scan.t1w for scan in left.scans}
    return replace(
        left,
        findings=tuple(dict.fromkeys((*left.findings, *told))),
        subjects=tuple((t1w, folder) for t1w, folder in folders.items() if t1w in used),
    )


def to_reconstruct(plan: Plan) -> tuple[Path, ...]:
    """Subjects of a plan that recon-all has to make, or go on with."""
    return tuple(
        folder for _, folder in plan.subjects if subject_state(folder) is not State.FINISHED
    )


def _t1ws_of(dataset: Dataset, subject: str) -> list[Path]:
    return [dataset.absolute(image) for image in dataset.t1w_images.get(subject, ())]


def _about(
    folder: Path, t1w: Path, t1ws: Sequence[Path], subjects: Subjects
) -> tuple[Finding, ...]:
    """What there is to say about the subject of a T1w; an error where it cannot be had."""
    state, name = subject_state(folder), folder.name
    if state is State.FINISHED:
        return ()
    if state is State.FOREIGN:
        message = f"{name} among FreeSurfer's subjects is no finished one, nor can recon-all go on"
        step = (
            "delete it, so that recon-all can start anew; if it holds labels, name them by "
            "parcellation.backend = 'given'"
        )
        return (Finding("error", t1w.name, None, message, step),)
    message, step = _TOLD[state]
    message = message.format(name=name, scripts=f"{name}/scripts")
    if not subjects.run:
        shared = folder.with_name(f"sub-{_subject_of(t1w)}")
        if state is State.ABSENT and shared != folder and shared.exists():
            other = _made_of(shared, t1ws).name
            message = f"FreeSurfer's {shared.name} was made of {other}, and there is no {name}"
            step = "set anatomy.t1w = 'first' to take one T1w for all sessions"
        return (Finding("error", t1w.name, None, message, f"{step}, or parcellation.run = true"),)
    if _NOT_FOR_SCRIPTS.search(str(subjects.subjects_dir)):
        message = "recon-all, which has to run, cannot cope with the name of its folder"
        step = (
            f"set parcellation.subjects_dir to one without spaces and signs, not "
            f"{subjects.subjects_dir}"
        )
        return (Finding("error", t1w.name, None, message, step),)
    severity: Severity = "warning" if state is State.RUNNING else "note"
    return (Finding(severity, t1w.name, None, message, _NEXT[state].format(name=name)),)


def _subject_of(t1w: Path) -> str:
    name = parse_name(t1w.name)
    return (name.get("sub") if name is not None else None) or ""


_TOLD = {
    State.ABSENT: ("FreeSurfer has no subject {name}", "run recon-all"),
    State.BEGUN: ("recon-all came to no end with {name}", "let it go on"),
    State.RUNNING: (
        "recon-all is at work on {name}, or was stopped without a word ({scripts}/IsRunning.*)",
        "wait for it; if none is at work, delete that file",
    ),
}
_NEXT = {
    State.ABSENT: "recon-all will make it, which takes hours",
    State.BEGUN: "recon-all will go on with what is missing; its log is scripts/recon-all.log",
    State.RUNNING: "wait for it; if none is at work, delete that file",
}
