"""Maps of a cohort: which there are, what is compared, what results are called and say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.bids.derivatives import MNI_SPACE, bids_uri
from pipeline.bids.entities import FileName, natural_key, parse_name, same_label
from pipeline.core.errors import DataError

_DIVIDING = ("task", "trc", "rec", "model", "desc")
"""Entities that are never mixed; runs are averaged."""
_SETTING = {
    "task": "group.task",
    "trc": "group.tracer",
    "rec": "group.reconstruction",
    "model": "group.model",
    "desc": "the desc label of the maps",
}


@dataclass(frozen=True)
class SubjectMap:
    """A parametric map of one PET run."""

    participant_id: str
    """Without ``sub-``."""
    session: str
    """Without ``ses-``; empty for none."""
    path: Path
    name: FileName

    def label(self, key: str) -> str:
        """Label of an entity, empty for none."""
        return self.name.get(key) or ""


def find_maps(
    out_dir: str | Path, parameter: str, labels: Mapping[str, str] | None = None
) -> tuple[SubjectMap, ...]:
    """Maps of a parameter in MNI152 space that the participant level wrote, one per PET run.

    Parameters
    ----------
    out_dir : path
        Root of the derivatives.
    parameter : str
        Label of ``meas``, such as ``BPND``.
    labels : mapping of str to str, optional
        What is taken: label of ``model``, ``trc``, ``task``, ``rec`` or ``run``; an empty one is
        maps without it.

    Returns
    -------
    tuple of SubjectMap
        By subject, session and run; empty if there is none at all.

    Raises
    ------
    DataError
        If there are maps but none with these labels, or several labels are left where only maps
        of one can be averaged.
    """
    pattern = f"sub-*/**/*_space-{MNI_SPACE}_*meas-{parameter}*_mimap.nii.gz"
    every = [found for path in Path(out_dir).glob(pattern) if (found := _map_at(path, parameter))]
    wanted = dict(labels or {})
    kept = [
        found
        for found in every
        if all(same_label(key, found.label(key), label) for key, label in wanted.items())
    ]
    if every and not kept:
        asked = ", ".join(
            f"{key}-{label}" if label else f"no {key}" for key, label in wanted.items()
        )
        raise DataError(
            f"{out_dir}: no maps of {parameter} with {asked}; found: {_described(every, wanted)}"
        )
    for key in _DIVIDING:
        if len(several := sorted({found.label(key) for found in kept})) > 1:
            told = ", ".join(
                f"{key}-{label}" if label else f"none without {key}" for label in several
            )
            raise DataError(
                f"{out_dir}: maps of {parameter} differ in {key} ({told}) and cannot be averaged; "
                f"say which are meant: {_SETTING[key]}"
            )
    return tuple(sorted(kept, key=_order))


def _map_at(path: Path, parameter: str) -> SubjectMap | None:
    name = parse_name(path.name)
    if name is None or name.get("meas") != parameter or name.get("space") != MNI_SPACE:
        return None
    return SubjectMap(name.get("sub") or "", name.get("ses") or "", path, name)


def _described(maps: Sequence[SubjectMap], keys: Mapping[str, str]) -> str:
    pairs = sorted({(key, found.label(key)) for key in keys for found in maps})
    return ", ".join(f"{key}-{label}" if label else f"no {key}" for key, label in pairs)


def _order(found: SubjectMap) -> tuple[Any, ...]:
    return tuple(
        natural_key(text) for text in (found.participant_id, found.session, str(found.path))
    )


@dataclass(frozen=True, kw_only=True)
class MapDesign:
    """What is made of the maps of a cohort."""

    parameter: str
    """Label of ``meas``."""
    sessions: tuple[str, ...] = ("",)
    """In order, without ``ses-``; one empty label where the data have no sessions."""
    groups: tuple[str, ...] = ()
    """In order; empty while blinded, or for a study of one group."""
    compared: tuple[str, str] | None = None
    """The earlier and the later session; None compares none."""
    labels: tuple[tuple[str, str], ...] = ()
    """Entities of the maps that go into names, such as ``("model", "SRTM")``."""

    @property
    def parts(self) -> tuple[str, ...]:
        """Groups, or one without a name for all subjects."""
        return self.groups or ("",)


@dataclass(frozen=True)
class Comparison:
    """A voxelwise test of the change."""

    kind: Literal["paired", "difference"]
    """Change against zero, or change of the first group minus that of the second."""
    groups: tuple[str, ...]
    """One or two; an empty label is all subjects."""


def planned_comparisons(design: MapDesign) -> tuple[Comparison, ...]:
    """Change within every group, then between the first two groups."""
    if design.compared is None:
        return ()
    within = [Comparison("paired", (group,)) for group in design.parts]
    between = [Comparison("difference", design.groups[:2])] if len(design.groups) > 1 else []
    return (*within, *between)


@dataclass(frozen=True)
class MapTable:
    """Maps of a cohort in one order."""

    paths: tuple[str, ...]
    participant_ids: tuple[str, ...]
    sessions: tuple[str, ...]
    groups: tuple[str, ...]
    """Empty for a subject of none."""

    def __post_init__(self) -> None:
        if len({len(column) for column in (self.paths, *self._keys)}) > 1:
            raise ValueError("maps, subjects, sessions and groups must be as many")

    @property
    def _keys(self) -> tuple[tuple[str, ...], ...]:
        return self.participant_ids, self.sessions, self.groups

    def runs(self, group: str, session: str) -> dict[str, list[str]]:
        """Subject to the maps of one session, of a group; an empty group is everyone."""
        found: dict[str, list[str]] = {}
        for path, subject, label, part in zip(self.paths, *self._keys, strict=True):
            if _bare(label) == _bare(session) and group in ("", part):
                found.setdefault(subject, []).append(path)
        return found

    def pairs(
        self, group: str, sessions: tuple[str, str]
    ) -> tuple[list[str], list[list[str]], list[list[str]]]:
        """Subjects of a group with maps of both sessions, and those maps."""
        first, second = (self.runs(group, session) for session in sessions)
        both = [subject for subject in first if subject in second]
        return both, [first[subject] for subject in both], [second[subject] for subject in both]


def _bare(session: str) -> str:
    return session.removeprefix("ses-")


def clean_labels(labels: Sequence[str]) -> dict[str, str]:
    """Labels as file names hold them: letters and digits alone.

    Raises
    ------
    DataError
        If nothing is left of a label, or two become the same.

    Examples
    --------
    >>> clean_labels(["ketamine 0.5 mg/kg", "placebo"])
    {'ketamine 0.5 mg/kg': 'ketamine05mgkg', 'placebo': 'placebo'}
    """
    cleaned = {label: re.sub("[^A-Za-z0-9]", "", label) for label in labels}
    for label, text in cleaned.items():
        if label and not text:
            raise DataError(f"group '{label}': no letter or digit to name its maps by; rename it")
        same = [other for other in cleaned if cleaned[other].lower() == text.lower()]
        if len(same) > 1:
            raise DataError(
                f"groups '{same[0]}' and '{same[1]}' would both be called {text} in the names of "
                "maps; rename one"
            )
    return cleaned


def mean_map_stem(design: MapDesign, group: str, session: str, desc: str) -> str:
    """Name of a mean map without extension.

    Examples
    --------
    >>> design = MapDesign(parameter="BPND", sessions=("pre",), groups=("a b", "c"))
    >>> mean_map_stem(design, "a b", "pre", "mean")
    'group_grp-ab_ses-pre_space-MNI152NLin2009cAsym_meas-BPND_desc-mean_mimap'
    """
    return _stem(design, (group,), (session,), {"desc": desc}, "mimap")


def comparison_stem(design: MapDesign, comparison: Comparison, stat: str, desc: str = "") -> str:
    """Name of a statistic map without extension; `desc` goes behind the kind of comparison."""
    entities = {"stat": stat, "desc": comparison.kind + desc}
    return _stem(design, comparison.groups, design.compared or (), entities, "statmap")


def _stem(
    design: MapDesign,
    groups: Sequence[str],
    sessions: Sequence[str],
    entities: Mapping[str, str],
    suffix: str,
) -> str:
    cleaned = clean_labels(design.parts)
    of_maps = dict(design.labels)
    parts = {
        "grp": "+".join(cleaned[group] for group in groups),
        "ses": "+".join(_bare(session) for session in sessions),
        **{key: of_maps.get(key, "") for key in ("task", "trc", "rec")},
        "space": MNI_SPACE,
        "model": of_maps.get("model", ""),
        "meas": design.parameter,
        **entities,
    }
    return "_".join(["group", *(f"{key}-{text}" for key, text in parts.items() if text), suffix])


def map_uris(paths: Sequence[str]) -> list[str]:
    """BIDS URIs of maps, with the output folder as the data set at hand."""
    uris = []
    for path in map(Path, paths):
        name = parse_name(path.name)
        subject = f"sub-{name.get('sub')}" if name is not None else ""
        start = path.parts.index(subject) if subject in path.parts else -1
        uris.append(bids_uri(Path(*path.parts[start:]), Path()))
    return uris


def about_design(
    design: MapDesign, groups: Sequence[str], sessions: Sequence[str]
) -> dict[str, Any]:
    """What sidecars of all maps of a cohort say of their subjects and sessions."""
    named = [group for group in groups if group]
    return {
        "Parameter": design.parameter,
        "SpatialReference": MNI_SPACE,
        "Groups": named or "all subjects",
        "Sessions": [_bare(session) for session in sessions if session],
        **{_ENTITY_NAMES[key]: label for key, label in design.labels if label},
    }


_ENTITY_NAMES = {
    "model": "Model",
    "trc": "Tracer",
    "task": "Task",
    "rec": "Reconstruction",
}

MEAN_TEXTS = {
    "mean": "Mean over subjects, of each the mean of the runs; n/a (NaN) where fewer than half of "
    "the subjects have a value",
    "n": "Subjects with a value",
}
"""Description of a mean map by its label of ``desc``."""

_CHANGE = {
    "paired": "change, later session minus earlier, in one group",
    "difference": "change, later session minus earlier, of the first group minus the second",
}
_STAT_TEXTS = {
    "effect": "Mean {change}",
    "t": "t of the {change}",
    "z": "z with the p of the t of the {change}",
    "logp": "-log10 of the two-sided family-wise p of the {change}",
    "thresh": "t of the {change} where the family-wise p is Alpha or less, else 0",
}


def statistic_text(kind: str, stat: str) -> str:
    """Description of a statistic map."""
    return _STAT_TEXTS[stat].format(change=_CHANGE[kind]) + "; NaN outside the mask"
