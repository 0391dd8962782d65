"""Anatomy that sMRIPrep made, alone or within fMRIPrep or PETPrep: its data set and its files.

A subject's files lie in its own ``anat`` folder where its sessions share a T1w reference, and in
that of a session where the reference is that session's alone (``sessionwise``, or only one session
has a T1w) [1]_. Their names keep the entities that all T1w images behind the reference have in
common: ``run-1`` where each is a ``run-1``, whatever became of ``ses-`` [2]_.

References
----------
.. [1] sMRIPrep, ``--subject-anatomical-reference`` and ``data/io_spec.json``; its pull requests
   193, 225 and 480.
.. [2] https://github.com/nipreps/smriprep/issues/224; outputs of fMRIPrep,
   https://fmriprep.org/en/stable/outputs.html, and of PETPrep, which are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pipeline.bids.dataset import IMAGE_EXTENSIONS
from pipeline.bids.derivatives import MNI_SPACE
from pipeline.bids.entities import FileName, build_name, natural_key, parse_name, same_label
from pipeline.bids.findings import Finding
from pipeline.bids.preflight import Plan, without_blocked
from pipeline.core.errors import ConfigError, DataError
from pipeline.io.images import open_image
from pipeline.io.tables import read_json

PIPELINES = ("sMRIPrep", "fMRIPrep", "PETPrep")
"""What a description must name; the last two run the first."""

DESCRIPTION = "dataset_description.json"
_ANY_PIPELINE = ", ".join(PIPELINES[:-1]) + f" or {PIPELINES[-1]}"


@dataclass(frozen=True)
class AnatomySource:
    """A data set of derivatives with anatomy in it."""

    folder: Path
    pipeline: str
    """One of `PIPELINES`."""
    version: str
    """As the description has it; empty where it has none."""


@dataclass(frozen=True)
class AnatomicalFiles:
    """Files of one T1w reference, all in its space; their names are those of node inputs."""

    t1w_preproc: Path
    brain_mask: Path
    gm_probseg: Path
    wm_probseg: Path
    csf_probseg: Path
    t1w2mni_xfm: Path
    mni2t1w_xfm: Path


@dataclass(frozen=True)
class Lacking:
    """Why a T1w has no anatomy in the derivatives, and what to do."""

    message: str
    next_step: str


@dataclass(frozen=True)
class _Kind:
    suffix: str
    entities: Mapping[str, str]
    extensions: tuple[str, ...] = IMAGE_EXTENSIONS


def _xfm(source: str, target: str) -> _Kind:
    return _Kind("xfm", {"from": source, "to": target, "mode": "image"}, (".h5",))


_KINDS: Mapping[str, _Kind] = {
    "t1w_preproc": _Kind("T1w", {"desc": "preproc"}),
    "brain_mask": _Kind("mask", {"desc": "brain"}),
    "gm_probseg": _Kind("probseg", {"label": "GM"}),
    "wm_probseg": _Kind("probseg", {"label": "WM"}),
    "csf_probseg": _Kind("probseg", {"label": "CSF"}),
    "t1w2mni_xfm": _xfm("T1w", MNI_SPACE),
    "mni2t1w_xfm": _xfm(MNI_SPACE, "T1w"),
}


def read_source(folder: Path) -> AnatomySource:
    """What a data set of derivatives says it was made by.

    Raises
    ------
    ConfigError
        If it has no readable description, or one that names none of `PIPELINES`.
    """
    if not folder.is_dir():
        raise ConfigError(
            f"anatomy.folder: no folder {folder}; name the derivatives of {_ANY_PIPELINE}"
        )
    try:
        content = read_json(folder / DESCRIPTION)
    except DataError as error:
        raise ConfigError(
            f"anatomy.folder: {error}; the derivatives of {_ANY_PIPELINE} have one at their top"
        ) from error
    makers = list(_makers(content))
    for name, version in makers:
        for pipeline in PIPELINES:
            if name.casefold() == pipeline.casefold():
                return AnatomySource(folder, pipeline, version)
    said = ", ".join(name for name, _ in makers) or "nobody"
    raise ConfigError(
        f"anatomy.folder: {folder / DESCRIPTION} says that the data are by {said}; "
        f"derivatives of {_ANY_PIPELINE} are expected"
    )


def _makers(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Names and versions of what made a data set, also as descriptions before BIDS 1.4 have it."""
    listed = content.get("GeneratedBy")
    for maker in [
        *(listed if isinstance(listed, list) else []),
        content.get("PipelineDescription"),
    ]:
        if isinstance(maker, Mapping) and isinstance(maker.get("Name"), str):
            yield maker["Name"], str(maker.get("Version") or "")


def find_source(bids_dir: Path, folder: str = "") -> AnatomySource:
    """The data set that ``anatomy.folder`` names, or the only one in ``derivatives``.

    Parameters
    ----------
    bids_dir : Path
        Top folder of the raw data.
    folder : str
        As set; empty to look for it.

    Raises
    ------
    ConfigError
        If what is named is none, or none or several are there.
    """
    if folder:
        return read_source(Path(folder))
    place = bids_dir / "derivatives"
    below = sorted(place.iterdir(), key=lambda p: natural_key(p.name)) if place.is_dir() else []
    found = []
    for path in below:
        try:
            found.append(read_source(path))
        except ConfigError:
            continue
    if len(found) == 1:
        return found[0]
    if not found:
        there = ", ".join(path.name for path in below if path.is_dir()) or "nothing"
        raise ConfigError(
            f"anatomy.backend = 'derivatives': no derivatives of {_ANY_PIPELINE} in {place} "
            f"(there: {there}); name their folder in anatomy.folder"
        )
    listed = ", ".join(f"{one.folder.name} ({one.pipeline} {one.version})" for one in found)
    raise ConfigError(
        f"anatomy.backend = 'derivatives': {place} holds several derivatives with anatomy: "
        f"{listed}; name one in anatomy.folder"
    )


def find_anatomy(source: AnatomySource, t1w: Mapping[str, str]) -> AnatomicalFiles | Lacking:
    """Files of the reference that a T1w went into; the session's own before the subject's.

    Parameters
    ----------
    source : AnatomySource
        Where to look.
    t1w : mapping
        Entities of the raw T1w's name.
    """
    candidates: dict[tuple[int, tuple[tuple[str, str], ...]], dict[str, Path]] = {}
    others: set[str] = set()
    for level, place in enumerate(_places(t1w)):
        for path, name in _named_files(source.folder / place):
            for port, kind in _KINDS.items():
                rest = _beyond(name, kind)
                if rest is None:
                    continue
                if all(same_label(key, label, t1w.get(key, "")) for key, label in rest):
                    candidates.setdefault((level, rest), {}).setdefault(port, path)
                elif port == "t1w_preproc" and "space" not in dict(rest):
                    others.add(path.name)
    # what a session has of its own, be it half, is never replaced by what was there before
    nearest = min((level for level, _ in candidates), default=0)
    ranked = sorted(
        (found for found in candidates if found[0] == nearest), key=lambda found: -len(found[1])
    )
    for found in ranked:
        if len(candidates[found]) == len(_KINDS):
            files = AnatomicalFiles(**candidates[found])
            return _unfit(files) or files
    if not ranked:
        return _nothing(source, t1w, sorted(others, key=natural_key))
    # of those that are incomplete, the one with most
    best = max(ranked, key=lambda found: len(candidates[found]))
    return _incomplete(source, dict(best[1]), candidates[best])


def _places(t1w: Mapping[str, str]) -> list[Path]:
    subject = f"sub-{t1w['sub']}"
    own = [Path(subject, f"ses-{t1w['ses']}", "anat")] if "ses" in t1w else []
    return [*own, Path(subject, "anat")]


def _named_files(folder: Path) -> list[tuple[Path, FileName]]:
    """Files with BIDS names, sorted; none where there is no such folder or it cannot be read."""
    try:
        paths = sorted(folder.iterdir())
    except OSError:
        return []
    named = ((path, parse_name(path.name)) for path in paths)
    return [(path, name) for path, name in named if name is not None]


def _beyond(name: FileName, kind: _Kind) -> tuple[tuple[str, str], ...] | None:
    """Entities of a name beyond those of its kind and of T1w space, None if it is another kind."""
    entities = dict(name.entities)
    if name.suffix != kind.suffix or name.extension not in kind.extensions:
        return None
    if any(entities.pop(key, None) != label for key, label in kind.entities.items()):
        return None
    if entities.get("space") == "T1w":
        del entities["space"]
    return tuple(entities.items())


def _nothing(source: AnatomySource, t1w: Mapping[str, str], others: list[str]) -> Lacking:
    folders = " or ".join(place.as_posix() for place in _places(t1w))
    message = f"no anatomy of it in {folders} of {source.folder.name}"
    if others:
        message += f"; of other images there: {', '.join(others)}"
    return Lacking(message, f"run {source.pipeline} for it, or set anatomy.backend = 'embedded'")


def _incomplete(
    source: AnatomySource, entities: Mapping[str, str], there: Mapping[str, Path]
) -> Lacking:
    lacking = [
        str(build_name({**entities, **kind.entities}, kind.suffix, kind.extensions[0]))
        for port, kind in _KINDS.items()
        if port not in there
    ]
    folder = next(iter(there.values())).parent
    place = folder.relative_to(source.folder).as_posix()
    message = f"no {', '.join(lacking)} in {place} of {source.folder.name}"
    step = f"run {source.pipeline} again for it, or set anatomy.backend = 'embedded'"
    if not {"t1w2mni_xfm", "mni2t1w_xfm"} <= there.keys():
        names = [name for _, name in _named_files(folder) if name.extension == ".h5"]
        spaces = sorted({name.get("to") or "" for name in names} - {"", "T1w", MNI_SPACE})
        if spaces:
            message += f"; its transforms lead to {', '.join(spaces)}"
        step = f"run {source.pipeline} again with --output-spaces {MNI_SPACE}"
    return Lacking(message, step)


def _unfit(files: AnatomicalFiles) -> Lacking | None:
    """What keeps files from being used, by their headers; None if nothing does."""
    for field in fields(files):
        path: Path = getattr(files, field.name)
        if not path.is_file():
            step = "get its content (datalad get), or copy it there"
            return Lacking(f"{path.name} is a link to a file that is not there", step)
        if path.suffix == ".h5":
            continue
        try:
            shape = open_image(path).shape
        except DataError as error:
            reason = str(error).removeprefix(f"{path}: ")
            return Lacking(f"{path.name} is no readable image ({reason})", "copy it again")
        if len(shape) < 3 or any(n > 1 for n in shape[3:]):
            return Lacking(f"{path.name} is no single 3-D image, but {shape}", "copy it again")
    return None


def require_anatomy(plan: Plan, source: AnatomySource) -> Plan:
    """The plan without the runs whose T1w has no anatomy in the derivatives, which it blocks."""
    blocked: dict[str, tuple[Finding, ...]] = {}
    for scan in plan.scans:
        if scan.t1w is None:
            continue
        found = find_anatomy(source, scan.t1w_entities)
        if isinstance(found, Lacking):
            finding = Finding("error", scan.t1w.name, None, found.message, found.next_step)
            blocked[scan.label] = (finding,)
    return without_blocked(plan, blocked)
