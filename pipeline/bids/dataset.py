"""What lies in a data set: its files, which of them a person asked for, and whose T1w is used.

The listing is our own, a walk over folders. Three libraries were tried on 60 sessions: pybids 0.22
(1.4 s, 35 MB with SQLAlchemy) gives up on the whole data set where one JSON file cannot be read,
and so does ancpbids 0.4 (0.2 s, 4 MB) for some files at the top; bids2table 2.3 (0.4 s, 170 MB
with pyarrow) takes such a file for an empty one without a word. Here one bad file must cost one
session, and say so.
"""

from __future__ import annotations

import csv
import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from pipeline.bids.entities import (
    ENTITY_ORDER,
    PET_ENTITIES,
    FileName,
    bare_label,
    natural_key,
    parse_name,
    same_label,
)
from pipeline.bids.findings import Finding
from pipeline.core.errors import ConfigError, DataError

IMAGE_EXTENSIONS = (".nii.gz", ".nii")

# no raw data, and derivatives can hold a million files
_NOT_RAW = {"derivatives", "sourcedata", "code", "stimuli"}


@dataclass(frozen=True)
class BidsFile:
    """A file with a BIDS name."""

    path: PurePosixPath
    """Relative to the data set."""
    name: FileName

    @property
    def subject(self) -> str | None:
        """Label of the subject."""
        return self.name.get("sub")

    @property
    def session(self) -> str | None:
        """Label of the session."""
        return self.name.get("ses")

    @property
    def is_in_place(self) -> bool:
        """Whether the folders say the same subject and session as the name."""
        expected = [f"sub-{self.subject}"]
        if self.session is not None:
            expected.append(f"ses-{self.session}")
        return list(self.path.parts[:-2]) == expected


@dataclass(frozen=True)
class Dataset:
    """Listing of a data set; nothing is opened.

    Parameters
    ----------
    root : Path
        Folder of the data set, absolute.
    paths : tuple of PurePosixPath
        Every file but hidden ones and those in ``derivatives``, ``sourcedata`` and ``code``,
        relative, sorted.
    unreadable : tuple of PurePosixPath
        Folders that could not be listed, relative.
    """

    root: Path
    paths: tuple[PurePosixPath, ...]
    unreadable: tuple[PurePosixPath, ...] = ()

    @property
    def participants(self) -> tuple[str, ...]:
        """Labels of the subjects that have a folder, in natural order."""
        labels = {
            path.parts[0].removeprefix("sub-")
            for path in (*self.paths, *self.unreadable)
            if path.parts[0].startswith("sub-")
        }
        return tuple(sorted(labels, key=natural_key))

    @cached_property
    def by_folder(self) -> Mapping[PurePosixPath, tuple[PurePosixPath, ...]]:
        """Folder to the files in it."""
        folders: dict[PurePosixPath, list[PurePosixPath]] = {}
        for path in self.paths:
            folders.setdefault(path.parent, []).append(path)
        return {folder: tuple(paths) for folder, paths in folders.items()}

    @cached_property
    def t1w_images(self) -> Mapping[str, tuple[BidsFile, ...]]:
        """Label of a subject to its T1w images, in natural order."""
        subjects: dict[str, list[BidsFile]] = {}
        for image in self.images("anat", "T1w"):
            subjects.setdefault(image.subject or "", []).append(image)
        return {subject: tuple(images) for subject, images in subjects.items()}

    def images(self, datatype: str, suffix: str) -> tuple[BidsFile, ...]:
        """NIfTI images with a BIDS name and in its place, in natural order of their paths."""
        named = (
            BidsFile(path, name)
            for path in self.nifti_paths(datatype)
            if (name := parse_name(path.name)) is not None
            and name.suffix == suffix
            and set(dict(name.entities)) <= set(ENTITY_ORDER)
        )
        found = [file for file in named if file.is_in_place]
        return tuple(sorted(found, key=lambda file: natural_key(str(file.path))))

    def nifti_paths(self, datatype: str) -> tuple[PurePosixPath, ...]:
        """Every NIfTI path of subjects in folders of a data type, well named or not."""
        return tuple(
            path
            for path in self.paths
            if path.parts[0].startswith("sub-")
            and path.parent.name == datatype
            and path.name.endswith(IMAGE_EXTENSIONS)
        )

    def absolute(self, file: BidsFile) -> Path:
        """Path of a file on disk."""
        return self.root / file.path


def index_dataset(bids_dir: Path) -> Dataset:
    """List a data set; it need not be valid BIDS.

    Links are followed, as DataLad and many archives use them, but no folder is visited twice.

    Raises
    ------
    DataError
        If the folder does not exist or cannot be listed.
    """
    root = Path(bids_dir).absolute()
    if not root.is_dir():
        raise DataError(f"{bids_dir}: no such folder; give the top folder of a BIDS data set")
    paths: list[PurePosixPath] = []
    failed: list[PurePosixPath] = []

    def keep(error: OSError) -> None:
        failed.append(PurePosixPath(Path(error.filename).relative_to(root).as_posix()))

    visited = set()
    for folder, subfolders, files in os.walk(root, onerror=keep, followlinks=True):
        place = Path(folder).relative_to(root)
        real = Path(folder).resolve()
        hidden = {name for name in subfolders if name.startswith(".")}
        left_out = hidden | (_NOT_RAW if folder == str(root) else set())
        subfolders[:] = [] if real in visited else sorted(set(subfolders) - left_out)
        if real not in visited:
            paths += [PurePosixPath(place, name) for name in files if not name.startswith(".")]
        visited.add(real)
    if PurePosixPath() in failed:
        raise DataError(f"{bids_dir}: cannot be listed; ask for the right to read it")
    return Dataset(root, tuple(sorted(paths)), tuple(sorted(failed)))


@dataclass(frozen=True)
class Selection:
    """Labels to run, with or without ``sub-`` and the like; empty means all."""

    participants: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    tracers: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    reconstructions: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()

    @property
    def by_entity(self) -> dict[str, tuple[str, ...]]:
        """Entity key to the bare labels asked for, only those that are given."""
        asked = (
            self.participants,
            self.sessions,
            self.tasks,
            self.tracers,
            self.reconstructions,
            self.runs,
        )
        return {
            key: tuple(bare_label(label, key) for label in labels)
            for key, labels in zip(PET_ENTITIES, asked, strict=True)
            if labels
        }

    def keeps(self, name: FileName) -> bool:
        """Whether a PET run is asked for."""
        return all(
            any(same_label(key, label, name.get(key) or "") for label in labels)
            for key, labels in self.by_entity.items()
        )


def select_pet(dataset: Dataset, pets: Sequence[BidsFile], selection: Selection) -> list[BidsFile]:
    """PET runs a person asked for.

    Raises
    ------
    ConfigError
        If a label does not exist in the data set, naming the nearest that do, or if each exists
        but no run has them all.
    """
    for key, labels in selection.by_entity.items():
        existing = dataset.participants if key == "sub" else _labels_of(pets, key)
        for label in labels:
            if not any(same_label(key, label, other) for other in existing):
                raise ConfigError(_no_such_label(key, label, existing))
    chosen = [pet for pet in pets if selection.keeps(pet.name)]
    if not chosen and set(selection.by_entity) != {"sub"}:
        asked = ", ".join(
            f"{key}-{label}" for key, labels in selection.by_entity.items() for label in labels
        )
        raise ConfigError(f"no PET run has all of {asked}; ask for fewer labels at once")
    return chosen


def _labels_of(files: Iterable[BidsFile], key: str) -> tuple[str, ...]:
    labels = {label for file in files if (label := file.name.get(key)) is not None}
    return tuple(sorted(labels, key=natural_key))


def _no_such_label(key: str, label: str, existing: Sequence[str]) -> str:
    message = f"{key}-{label}: not in this data set"
    if not existing:
        return f"{message}; no PET file name has '{key}-'"
    near = difflib.get_close_matches(label, existing, n=3, cutoff=0.4) or list(existing[:5])
    more = "" if len(near) == len(existing) else f" (of {len(existing)})"
    return f"{message}; nearest: {', '.join(f'{key}-{other}' for other in near)}{more}"


@dataclass(frozen=True)
class T1wChoice:
    """The T1w of a session and why, or the finding that says why there is none."""

    image: BidsFile | None
    reason: str
    findings: tuple[Finding, ...] = ()


def choose_t1w(dataset: Dataset, pet: BidsFile, rule: str = "session") -> T1wChoice:
    """The T1w for the session of a PET run.

    Parameters
    ----------
    dataset : Dataset
        Where to look.
    pet : BidsFile
        The PET run.
    rule : str
        ``session``: the session's own, else the subject's only one, else the first in session
        order; ``first``: always the first in session order; ``ses-<label>``: always that
        session's.

    Notes
    -----
    Session order is that of the rows of ``sub-<label>_sessions.tsv`` where there is one, else
    the natural order of the labels, a T1w without session first. Of several T1w in a session
    the one with the fewest entities is taken, one without contrast agent before any other.
    """
    candidates = dataset.t1w_images.get(pet.subject or "", ())
    if not candidates:
        return _no_t1w(
            pet, "this subject has no T1w image", "add one with a BIDS name to an 'anat' folder"
        )
    order = session_order(dataset, pet.subject or "", {t1w.session for t1w in candidates})
    wanted, reason = _wanted_session(pet, order, rule)
    pool = [t1w for t1w in candidates if t1w.session == wanted]
    if not pool:
        there = ", ".join(f"ses-{session}" for session in order if session) or "none with session"
        return _no_t1w(
            pet,
            f"the setting anatomy.t1w asks for {rule}, which has no T1w of this subject",
            f"sessions with a T1w: {there}",
        )
    best = min(pool, key=_plainness)
    if len(pool) == 1:
        return T1wChoice(best, reason)
    finding = Finding(
        "note",
        str(best.path),
        None,
        f"one of {len(pool)} T1w images in this session was taken, the plainest by name",
        "remove or rename the others if this is not the one to use",
    )
    return T1wChoice(best, f"{reason}, plainest of {len(pool)}", (finding,))


def _wanted_session(
    pet: BidsFile, order: Sequence[str | None], rule: str
) -> tuple[str | None, str]:
    first = order[0]
    first_name = "without session" if first is None else f"ses-{first}"
    if rule == "first":
        return first, f"first session of the subject with a T1w ({first_name}), as set"
    if rule != "session":
        return bare_label(rule, "ses"), f"{rule}, as set"
    if pet.session in order:
        return pet.session, "own session"
    if len(order) == 1:
        return first, f"the subject's only one ({first_name})"
    return first, f"first session of the subject with a T1w ({first_name})"


def _no_t1w(pet: BidsFile, message: str, next_step: str) -> T1wChoice:
    return T1wChoice(None, "", (Finding("error", str(pet.path), None, message, next_step),))


def _plainness(t1w: BidsFile) -> tuple[bool, int, tuple[tuple[int, int, str], ...]]:
    return (
        t1w.name.get("ce") is not None,
        len(t1w.name.entities),
        natural_key(str(t1w.name)),
    )


def session_order(
    dataset: Dataset, subject: str, sessions: Iterable[str | None]
) -> tuple[str | None, ...]:
    """Sessions of a subject in order; None, a file without session, comes first."""
    table = PurePosixPath(f"sub-{subject}", f"sub-{subject}_sessions.tsv")
    rows = read_columns(dataset, table, ("session_id",))
    listed = [bare_label(row["session_id"], "ses") for row in rows]

    def place(session: str | None) -> tuple[int, int, tuple[tuple[int, int, str], ...]]:
        if session is None:
            return (0, 0, ())
        if session in listed:
            return (1, listed.index(session), ())
        return (2, 0, natural_key(session))

    return tuple(sorted(set(sessions), key=place))


def read_columns(
    dataset: Dataset, path: PurePosixPath, columns: Sequence[str]
) -> list[Mapping[str, str]]:
    """Named columns of a table, and nothing else of it.

    Only these columns are kept, so that what groups or treatments the others hold cannot reach
    the analysis of a scan. A missing or unreadable file has no rows, a missing column no cells.
    """
    if path not in dataset.by_folder.get(path.parent, ()):
        return []
    try:
        text = (dataset.root / path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return []
    lines = csv.reader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    header = [cell.strip() for cell in next(lines, [])]
    places = {column: header.index(column) for column in columns if column in header}
    if len(places) < len(columns):
        return []
    return [
        {column: line[place].strip() for column, place in places.items()}
        for line in lines
        if len(line) > max(places.values())
    ]
