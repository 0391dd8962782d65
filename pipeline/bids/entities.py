"""BIDS file names: entities, suffix and extension, to and from text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

ENTITY_ORDER = (
    *("sub", "tpl", "ses", "cohort", "sample", "task", "tracksys", "acq", "nuc", "voi"),
    *("ce", "trc", "stain", "rec", "dir", "run"),
    *("mod", "echo", "flip", "inv", "mt", "part", "proc", "hemi", "space", "split"),
    *("recording", "chunk", "atlas", "seg", "scale"),
    *("res", "den", "from", "to", "mode", "label", "pvc", "model", "meas", "desc"),
)
"""Order of entities in a name: that of the BIDS schema (1.11), with those of BEP014 (``from``,
``to``, ``mode``) and BEP023 (``pvc``, ``model``, ``meas``) before ``desc``, which stays last."""

PET_ENTITIES = ("sub", "ses", "task", "trc", "rec", "run")
"""What BIDS allows in the name of a raw PET image, in order."""

_NAME = re.compile(
    r"(?P<entities>(?:[a-zA-Z]+-[a-zA-Z0-9+]+_)*)(?P<suffix>[a-zA-Z0-9]+)(?P<extension>(?:\.[a-zA-Z0-9]+)+)"
)


@dataclass(frozen=True)
class FileName:
    """A BIDS file name taken apart.

    Parameters
    ----------
    entities : tuple of (str, str)
        Short key and label, as written: leading zeros of ``run`` are kept.
    suffix : str
        Last part, such as ``pet``.
    extension : str
        With its dot, such as ``.nii.gz``.
    """

    entities: tuple[tuple[str, str], ...]
    suffix: str
    extension: str

    def get(self, key: str) -> str | None:
        """Label of an entity, None where the name has none."""
        return dict(self.entities).get(key)

    @property
    def stem(self) -> str:
        """The name without its extension."""
        return "_".join([*(f"{key}-{label}" for key, label in self.entities), self.suffix])

    def __str__(self) -> str:
        return self.stem + self.extension


def parse_name(name: str) -> FileName | None:
    """A file name taken apart, or None if it is not a BIDS name.

    Examples
    --------
    >>> parse_name("sub-01_run-02_pet.nii.gz").get("run")
    '02'
    >>> parse_name("sub-01_pet_copy.nii.gz") is None
    True
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    parts = [part.split("-", 1) for part in match["entities"].split("_") if part]
    entities = tuple((key, label) for key, label in parts)
    if len(dict(entities)) < len(entities):
        return None
    return FileName(entities, match["suffix"], match["extension"])


def build_name(entities: Mapping[str, str], suffix: str, extension: str) -> FileName:
    """A file name with its entities in BIDS order, whatever the order given.

    Raises
    ------
    ValueError
        If an entity is not known here, or a label holds anything but letters, digits and ``+``.

    Examples
    --------
    >>> str(build_name({"desc": "preproc", "sub": "01"}, "pet", ".nii.gz"))
    'sub-01_desc-preproc_pet.nii.gz'
    """
    unknown = sorted(set(entities) - set(ENTITY_ORDER))
    if unknown:
        raise ValueError(f"no place in a BIDS name for {', '.join(unknown)}")
    name = FileName(
        tuple((key, entities[key]) for key in ENTITY_ORDER if key in entities), suffix, extension
    )
    if parse_name(str(name)) != name:
        raise ValueError(f"{name} is not a BIDS name: labels are letters, digits and +")
    return name


def bare_label(label: str, key: str) -> str:
    """A label without its key: ``sub-01`` and ``01`` are the same."""
    return label.removeprefix(f"{key}-")


def same_label(key: str, first: str, second: str) -> bool:
    """Whether two labels name the same thing; ``run`` is a number, so 1 is 01."""
    if key == "run" and first.isdigit() and second.isdigit():
        return int(first) == int(second)
    return first == second


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sorting key that puts 2 before 10.

    Examples
    --------
    >>> sorted(["ses-10", "ses-2"], key=natural_key)
    ['ses-2', 'ses-10']
    """
    parts = re.split(r"(\d+)", text)
    return tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in parts if p)
