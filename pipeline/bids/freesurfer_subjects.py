"""Subjects of FreeSurfer: where they lie, which T1w they are of, how far recon-all came."""

from __future__ import annotations

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
from pipeline.core.errors import ConfigError, DataError
from pipeline.core.transforms import apply_affine
from pipeline.core.volume import Volume
from pipeline.io.images import read_grid, read_upright

LABELS = Path("mri", "aparc+aseg.mgz")
_ORIGINAL = Path("mri", "orig", "001.mgz")
"""The first T1w that a subject was made of, as it came."""
_BRAIN_STEM = re.compile(r"brainstemSsLabels\.v(\d+)\.FSvoxelSpace\.mgz")
_VERSION = re.compile(r"(?<![\d.])\d+\.\d+(?:\.\d+)?(?![\d.])")
_SAME_FIELD_MM = 0.1
_SAME_IMAGE = 0.99
"""Least correlation of the voxels of a T1w with those of its copy."""
_MOST_SHOWN = 4
_NOT_FOR_SCRIPTS = re.compile(r"""[\s'"\\$&;()<>|*?\[\]{}~!#`]""")
"""What recon-all, which quotes nothing, cannot have in the name of a folder."""


class State(StrEnum):
    """How far recon-all came with a subject."""

    ABSENT = "absent"
    """There is no such folder."""
    BEGUN = "begun"
    """It has read its T1w and was stopped, or failed, later."""
    RUNNING = "running"
    """It says that it is at work; whether its process still is, nobody can tell from here."""
    FINISHED = "finished"
    FOREIGN = "foreign"
    """A folder that recon-all can neither start in nor go on with."""


def subject_state(folder: Path) -> State:
    """How far recon-all came with the subject of a folder.

    A run that fails writes ``recon-all.done`` too, with a 1 in it.
    """
    if not folder.exists():
        return State.ABSENT
    if locks_of(folder):
        return State.RUNNING
    if _ended(folder) and not _failed(folder) and (folder / LABELS).is_file():
        return State.FINISHED
    return State.BEGUN if (folder / _ORIGINAL).is_file() else State.FOREIGN


def locks_of(folder: Path) -> tuple[Path, ...]:
    """Marks that recon-all is at work on a subject, or was stopped without a word.

    The process that they name may live on another machine, or in another container of this name.
    """
    return tuple(sorted((folder / "scripts").glob("IsRunning.*")))


def _ended(folder: Path) -> bool:
    done = folder / "scripts" / "recon-all.done"
    return done.is_file() and done.read_text(errors="replace").strip() != "1"


def _failed(folder: Path) -> bool:
    return (folder / "scripts" / "recon-all.error").exists()


def why_unfinished(folder: Path) -> str:
    """What keeps a subject that recon-all began from being a finished one."""
    log = folder / "scripts" / "recon-all.log"
    if _failed(folder):
        return f"recon-all failed with {folder.name}; its log is {log}"
    if _ended(folder) and not (folder / LABELS).is_file():
        return f"no {LABELS} in {folder}"
    return f"recon-all came to no end with {folder.name}; its log is {log}"


def built_by(folder: Path) -> str:
    """Version of FreeSurfer that made a subject, by its build stamp; empty if it is not known.

    Stamps are such as ``freesurfer-linux-ubuntu20_x86_64-7.4.1-20230614-7eb8460``.
    """
    try:
        stamp = (folder / "scripts" / "build-stamp.txt").read_text(errors="replace")
    except OSError:
        return ""
    found = _VERSION.search(stamp)
    return found[0] if found else ""


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
    """Folder of the subjects, absolute: the one that was set, or the first that there is.

    Raises
    ------
    ConfigError
        If the one that was set is not there and is not the usual place of new subjects.
    """
    usual = out_dir.absolute() / "sourcedata" / "freesurfer"
    if setting:
        named = Path(setting).absolute()
        if not named.is_dir() and named.resolve() != usual.resolve():
            raise ConfigError(
                f"parcellation.subjects_dir: there is no folder {named}; name the one where "
                "FreeSurfer's subjects are, or make it"
            )
        return named
    beside = bids_dir.absolute() / "derivatives" / "freesurfer"
    if beside.is_dir():
        return beside
    exported = environ.get("SUBJECTS_DIR", "")
    came_along = Path(environ.get("FREESURFER_HOME", "/nowhere"), "subjects")
    if exported and Path(exported).absolute() != came_along.absolute():
        return Path(exported).absolute()
    return usual


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

    def names_of(self, t1w: Path) -> tuple[str, ...]:
        """Names that the subject of a T1w may have; that of a new one comes first."""
        name = parse_name(t1w.name)
        entities = {} if name is None else dict(name.entities)
        own = usual_name(entities, self.pattern)
        return (own,) if self.pattern else tuple(dict.fromkeys((own, f"sub-{entities['sub']}")))

    def match(self, wanted: Sequence[Path], t1ws: Sequence[Path]) -> tuple[Match, ...]:
        """Folders of the subjects of some T1ws of a person, there or to be made.

        Parameters
        ----------
        wanted : sequence of Path
            Any of `t1ws`.
        t1ws : sequence of Path
            All of the person.
        """
        matches = [Match(t1w, self.subjects_dir, self.names_of(t1w), len(t1ws)) for t1w in wanted]
        shared = next((match.shared for match in matches if match.may_share), None)
        if shared is None:
            return tuple(matches)
        owner = _made_of(shared, t1ws)
        return tuple(replace(m, owner=owner) if m.may_share else m for m in matches)


@dataclass(frozen=True)
class Match:
    """A T1w and the subject that is taken for its own."""

    t1w: Path
    subjects_dir: Path
    names: tuple[str, ...]
    """Names that were tried, its own first."""
    n_t1ws: int
    """T1ws of the person."""
    owner: Path | None = None
    """The T1w that the subject named without session was made of, where that is the question."""

    @property
    def own(self) -> Path:
        """Folder named after this very T1w."""
        return self.subjects_dir / self.names[0]

    @property
    def shared(self) -> Path:
        """Folder named after the person alone."""
        return self.subjects_dir / self.names[-1]

    @property
    def may_share(self) -> bool:
        """Whether there is no subject of its own, but one of the person."""
        return self.own != self.shared and self.shared.exists() and not self.own.exists()

    @property
    def is_clear(self) -> bool:
        """Whether it is known whose a subject named without session is."""
        return self.owner is not None or not self.may_share

    @property
    def folder(self) -> Path:
        """Folder of the subject, there or to be made."""
        return self.shared if self.may_share and self.owner == self.t1w else self.own


def _made_of(folder: Path, t1ws: Sequence[Path]) -> Path | None:
    """Which T1w a subject named without session is of, by what it read; None if that is unclear.

    Voxels are read only where several T1ws lie on its grid.
    """
    if len(t1ws) == 1:
        return t1ws[0]
    original = folder / _ORIGINAL
    try:
        field = read_grid(original)
        same = [t1w for t1w in t1ws if _same_field(read_grid(t1w), field)]
        if len(same) > 1:
            copy = read_upright(original)
            same = [t1w for t1w in same if _same_values(read_upright(t1w), copy)]
    except DataError:
        return None
    return same[0] if len(same) == 1 else None


def _same_values(a: Volume, b: Volume) -> bool:
    """Whether two images of one grid and orientation hold the same, whatever their scale."""
    if a.shape != b.shape:
        return False
    first, other = (
        v.data.ravel() - v.data.mean(dtype=np.float64).astype(v.data.dtype) for v in (a, b)
    )
    size = float(np.linalg.norm(first)) * float(np.linalg.norm(other))
    return size > 0 and float(np.vdot(first, other)) / size > _SAME_IMAGE


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

    It tells which subjects are taken, and which recon-all will make or go on with.
    """
    matches = _matches(plan, subjects, index_dataset(bids_dir))
    found = {
        t1w: _contested(match, list(matches.values())) or _about(match, subjects)
        for t1w, match in matches.items()
    }
    of_scan = {scan.label: found[scan.t1w] for scan in plan.scans if scan.t1w is not None}
    blocked = {
        label: errors
        for label, findings in of_scan.items()
        if (errors := tuple(finding for finding in findings if finding.is_error))
    }
    left = without_blocked(plan, blocked)
    used = {scan.t1w for scan in left.scans}
    told = [finding for t1w, findings in found.items() if t1w in used for finding in findings]
    finished = {m.t1w for m in matches.values() if subject_state(m.folder) is State.FINISHED}
    pages = {scan.label for scan in left.scans if scan.t1w in finished}
    return replace(
        left,
        findings=tuple(dict.fromkeys((*left.findings, *told))),
        noted=tuple(
            (label, (*noted, *of_scan[label]) if label in pages else noted)
            for label, noted in left.noted
        ),
        subjects=tuple((t1w, match.folder) for t1w, match in matches.items() if t1w in used),
    )


def to_reconstruct(plan: Plan) -> tuple[Path, ...]:
    """Subjects of a plan that recon-all has to make, or go on with."""
    return tuple(
        folder for _, folder in plan.subjects if subject_state(folder) is not State.FINISHED
    )


def _matches(plan: Plan, subjects: Subjects, dataset: Dataset) -> dict[Path, Match]:
    """The subjects of all T1ws of a plan, person by person."""
    wanted: dict[str, list[Path]] = {}
    for scan in plan.scans:
        if scan.t1w is not None and scan.t1w not in wanted.setdefault(scan.subject, []):
            wanted[scan.subject].append(scan.t1w)
    matches: dict[Path, Match] = {}
    for subject, t1ws in wanted.items():
        known = [dataset.absolute(image) for image in dataset.t1w_images.get(subject, ())]
        matches |= {match.t1w: match for match in subjects.match(t1ws, known or t1ws)}
    return matches


def _contested(match: Match, matches: Sequence[Match]) -> tuple[Finding, ...]:
    """Error on a subject that other T1ws would have too; nothing where there are none."""
    same = [other for other in matches if other.is_clear and other.folder == match.folder]
    names = ", ".join(other.t1w.name for other in same if other != match)
    if not names or not match.is_clear:
        return ()
    message = f"FreeSurfer's {match.folder.name} would be that of {names} too"
    step = "put {session} into parcellation.subject, or set anatomy.t1w = 'first'"
    return (Finding("error", match.t1w.name, None, message, step),)


def _about(match: Match, subjects: Subjects) -> tuple[Finding, ...]:
    """What there is to say about the subject of a T1w; an error where it cannot be had."""
    where, folder = match.t1w.name, match.folder
    if not match.is_clear:
        return (_unclear(match),)
    state = subject_state(folder)
    if state is State.FINISHED:
        return _about_finished(match)
    if state is State.FOREIGN:
        reason = f"no {LABELS} in {folder}" if _ended(folder) else f"{folder} is no finished one"
        message = f"{reason}, nor can recon-all go on"
        step = (
            "delete it, so that recon-all can start anew; if it holds labels, name them by "
            "parcellation.backend = 'given'"
        )
        return (Finding("error", where, None, message, step),)
    message, step, severity = _unfinished(match, state)
    if not subjects.run:
        message, step = _absent_for(match, message, step)
        step += "" if state is State.RUNNING else ", or parcellation.run = true"
        return (Finding("error", where, None, message, step),)
    if _NOT_FOR_SCRIPTS.search(str(subjects.subjects_dir)):
        message = "recon-all, which has to run, cannot cope with the name of its folder"
        step = (
            f"set parcellation.subjects_dir to one without spaces and signs, not "
            f"{subjects.subjects_dir}"
        )
        return (Finding("error", where, None, message, step),)
    return (
        Finding(severity, where, None, message, _NEXT.get(state, step)),
        *_other_grid(match),
    )


def _about_finished(match: Match) -> tuple[Finding, ...]:
    where, folder = match.t1w.name, match.folder
    try:
        read_grid(folder / LABELS)
    except DataError as error:
        step = "copy it again, or delete it, so that recon-all makes it anew"
        return (Finding("error", where, None, str(error), step),)
    version = built_by(folder) or "version unknown"
    message = f"its labels are those of FreeSurfer's {folder.name} ({version})"
    note = Finding("note", where, None, message, "look at their outlines on the page")
    return (note, *_other_grid(match))


def _other_grid(match: Match) -> tuple[Finding, ...]:
    """Warning on a subject that may be of another T1w, by the grid of what it read."""
    name = match.folder.name
    step = f"was FreeSurfer's {name} made of this T1w? If not, make or name another"
    if not match.folder.exists():
        return ()
    try:
        field = read_grid(match.folder / _ORIGINAL)
        if _same_field(read_grid(match.t1w), field):
            return ()
        message = f"FreeSurfer's {name} read a T1w that lies elsewhere, or has other voxels"
    except DataError:
        if match.folder == match.own:
            return ()
        message = f"FreeSurfer's {name} has no readable {_ORIGINAL}, which tells what it is of"
    return (Finding("warning", match.t1w.name, None, message, step),)


def _unclear(match: Match) -> Finding:
    """Error on a subject named without session that could be of any T1w, or of none."""
    message = (
        f"FreeSurfer's {match.shared.name} in {match.subjects_dir} cannot be told to be of one of "
        f"the {match.n_t1ws} T1w images of this person"
    )
    step = (
        f"name it after the session it was made of, such as {match.names[0]}, or set "
        "parcellation.subject"
    )
    return Finding("error", match.t1w.name, None, message, step)


def _unfinished(match: Match, state: State) -> tuple[str, str, Severity]:
    """What is told of a subject that is not finished, what to do, and how bad that is."""
    if state is State.BEGUN:
        return why_unfinished(match.folder), "let recon-all go on", "note"
    if state is State.RUNNING:
        return (*running(match.folder), "warning")
    place = match.subjects_dir
    if not place.is_dir():
        names = " or ".join(match.names)
        message = f"FreeSurfer has no subject {names}: there is no folder {place}"
        return message, "run recon-all, or set parcellation.subjects_dir", "note"
    there = sorted(path.name for path in place.iterdir() if path.is_dir())
    shown = ", ".join(there[:_MOST_SHOWN]) + (", ..." if len(there) > _MOST_SHOWN else "")
    message = f"FreeSurfer has no subject {' or '.join(match.names)} in {place}"
    return message + (f", which holds {shown}" if there else ""), "run recon-all", "note"


def running(folder: Path) -> tuple[str, str]:
    """What is told of a subject with locks, and what to do about them."""
    locks = ", ".join(map(str, locks_of(folder)))
    message = f"recon-all is at work on {folder.name}, or was stopped without a word"
    return message, f"wait for it; if no recon-all is at work on it, delete this file: {locks}"


def _absent_for(match: Match, message: str, step: str) -> tuple[str, str]:
    """The same, where the subject of the person is that of another T1w."""
    if match.owner is None or match.owner == match.t1w:
        return message, step
    shared, own = match.shared.name, match.own.name
    message = (
        f"FreeSurfer's {shared} was made of {match.owner.name}, and there is no {own} in "
        f"{match.subjects_dir}"
    )
    return message, "set anatomy.t1w = 'first' to take one T1w for all sessions"


_NEXT = {
    State.ABSENT: "recon-all will make it, which takes hours",
    State.BEGUN: "recon-all will go on with what is missing",
}
