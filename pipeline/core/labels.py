"""The vocabulary of regions: FreeSurfer's label numbers and names."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipeline.core.volume import IntArray

_ASEG_SIDED = {
    "Cerebral-White-Matter": (2, 41),
    "Lateral-Ventricle": (4, 43),
    "Inf-Lat-Vent": (5, 44),
    "Cerebellum-White-Matter": (7, 46),
    "Cerebellum-Cortex": (8, 47),
    "Thalamus": (10, 49),
    "Caudate": (11, 50),
    "Putamen": (12, 51),
    "Pallidum": (13, 52),
    "Hippocampus": (17, 53),
    "Amygdala": (18, 54),
    "Accumbens-area": (26, 58),
    "VentralDC": (28, 60),
    "choroid-plexus": (31, 63),
}
_ASEG_SINGLE = {
    14: "3rd-Ventricle",
    15: "4th-Ventricle",
    16: "Brain-Stem",
    24: "CSF",
    77: "WM-hypointensities",
    85: "Optic-Chiasm",
    172: "Vermis",
    251: "CC_Posterior",
    252: "CC_Mid_Posterior",
    253: "CC_Central",
    254: "CC_Mid_Anterior",
    255: "CC_Anterior",
}
_DESIKAN_KILLIANY = {
    1: "bankssts",
    2: "caudalanteriorcingulate",
    3: "caudalmiddlefrontal",
    5: "cuneus",
    6: "entorhinal",
    7: "fusiform",
    8: "inferiorparietal",
    9: "inferiortemporal",
    10: "isthmuscingulate",
    11: "lateraloccipital",
    12: "lateralorbitofrontal",
    13: "lingual",
    14: "medialorbitofrontal",
    15: "middletemporal",
    16: "parahippocampal",
    17: "paracentral",
    18: "parsopercularis",
    19: "parsorbitalis",
    20: "parstriangularis",
    21: "pericalcarine",
    22: "postcentral",
    23: "posteriorcingulate",
    24: "precentral",
    25: "precuneus",
    26: "rostralanteriorcingulate",
    27: "rostralmiddlefrontal",
    28: "superiorfrontal",
    29: "superiorparietal",
    30: "superiortemporal",
    31: "supramarginal",
    32: "frontalpole",
    33: "temporalpole",
    34: "transversetemporal",
    35: "insula",
}


def _label_names() -> dict[int, str]:
    names = dict(_ASEG_SINGLE)
    for name, (left, right) in _ASEG_SIDED.items():
        names[left], names[right] = f"Left-{name}", f"Right-{name}"
    for offset, side in ((1000, "lh"), (2000, "rh")):
        names |= {offset + n: f"ctx-{side}-{name}" for n, name in _DESIKAN_KILLIANY.items()}
    return dict(sorted(names.items()))


LABEL_NAMES: Mapping[int, str] = _label_names()
"""FreeSurfer label number to its name in FreeSurferColorLUT, aseg and Desikan-Killiany."""

BRAIN_STEM, PONS = 16, 174
_BRAIN_STEM_PARTS = (173, PONS, 175, 178)
"""Midbrain, pons, medulla and superior cerebellar peduncle, where FreeSurfer tells them apart."""


def whole_brain_stem(numbers: IntArray) -> IntArray:
    """Label numbers of any shape, with the brain stem as one structure.

    Examples
    --------
    >>> whole_brain_stem(np.array([173, 174, 17, 16]))
    array([16, 16, 17, 16])
    """
    return np.where(np.isin(numbers, _BRAIN_STEM_PARTS), BRAIN_STEM, numbers)


_OTHER_SPELLINGS = {"Left-Thalamus-Proper": 10, "Right-Thalamus-Proper": 49}
"""Names that FreeSurfer gave up with version 7."""
_NUMBERS = {name: number for number, name in LABEL_NAMES.items()} | _OTHER_SPELLINGS


def label_number(name: str) -> int | None:
    """Label number of a FreeSurfer name, None if there is no such label here.

    Examples
    --------
    >>> label_number("ctx-rh-insula"), label_number("Left-Thalamus-Proper"), label_number("Skull")
    (2035, 10, None)
    """
    return _NUMBERS.get(name)


def sided(name: str) -> tuple[int, int]:
    """Left and right label numbers of a structure.

    Parameters
    ----------
    name : str
        aseg name without its side (``Hippocampus``) or Desikan-Killiany name (``insula``).

    Raises
    ------
    KeyError
        If no structure has this name.

    Examples
    --------
    >>> sided("Hippocampus"), sided("insula")
    ((17, 53), (1035, 2035))
    """
    if name in _ASEG_SIDED:
        return _ASEG_SIDED[name]
    number = next((n for n, parcel in _DESIKAN_KILLIANY.items() if parcel == name), None)
    if number is None:
        raise KeyError(name)
    return 1000 + number, 2000 + number


def side_of(label: int) -> str | None:
    """`left`, `right`, or None for a structure in the middle.

    Examples
    --------
    >>> side_of(17), side_of(2035), side_of(16)
    ('left', 'right', None)
    """
    name = LABEL_NAMES[label]
    if name.startswith(("Left-", "ctx-lh-")):
        return "left"
    return "right" if name.startswith(("Right-", "ctx-rh-")) else None


def structure_of(label: int) -> str:
    """Name of a label without its side.

    Examples
    --------
    >>> structure_of(53), structure_of(2035), structure_of(16)
    ('Hippocampus', 'insula', 'Brain-Stem')
    """
    name = LABEL_NAMES[label]
    for prefix in ("Left-", "Right-", "ctx-lh-", "ctx-rh-"):
        name = name.removeprefix(prefix)
    return name


_DEEP_GREY = (
    "Thalamus", "Caudate", "Putamen", "Pallidum", "Hippocampus", "Amygdala", "Accumbens-area",
)  # fmt: skip
CORTEX_LABELS = tuple(offset + number for offset in (1000, 2000) for number in _DESIKAN_KILLIANY)
"""Every Desikan-Killiany parcel, left then right."""

GREY_LABELS = frozenset(
    (*CORTEX_LABELS, 172, *(n for s in ("Cerebellum-Cortex", *_DEEP_GREY) for n in sided(s)))
)
"""Labels of cortex, deep nuclei, cerebellar cortex and vermis. Ventral diencephalon and brain stem
mix nuclei with tracts that no T1w tells apart."""
