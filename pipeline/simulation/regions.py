"""What the simulated head is made of: tissues, their label numbers and mean kinetics.

Every tissue obeys the simplified reference tissue model with its own R1 and BPND, so one equation
makes all the curves. Label numbers are FreeSurfer's; the brain stem, which is one label there, is
split into midbrain, pons, medulla and the dorsal part that holds the raphe nuclei.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.core.labels import LABEL_NAMES, sided
from pipeline.core.volume import FloatArray, IntArray

DORSAL_BRAIN_STEM, MIDBRAIN, PONS, MEDULLA = 118, 173, 174, 175
SKULL, SOFT_TISSUE = 165, 258
BRAIN_STEM, CSF = 16, 24

DORSAL_BRAIN_STEM_CENTRE_MM = (0.0, -30.0, -11.0)
"""Centre of the dorsal brain stem region, MNI152; an assumption, no coordinates are published."""
DORSAL_BRAIN_STEM_SEMI_AXES_MM = (4.0, 4.0, 5.0)
"""Half lengths of its ellipsoid along x, y and z."""
MIDBRAIN_FLOOR_MM, PONS_FLOOR_MM = -21.0, -47.0
"""MNI152 z where midbrain meets pons, and pons meets medulla."""


@dataclass(frozen=True)
class Tissue:
    """One kind of tissue and the mean kinetics of a cohort in it.

    Parameters
    ----------
    name : str
        FreeSurfer's name without its side, in lower case.
    labels : tuple of int
        Label numbers, left and right together.
    r1, bpnd : float
        Relative delivery and binding potential, unitless.
    """

    name: str
    labels: tuple[int, ...]
    r1: float
    bpnd: float


# Means of [11C]AZ10419369 BPND in healthy volunteers: openneuropet/multiverse_tools (MIT),
# table of regional binding of five tracers.
_HEALTHY_CORTEX = {
    "caudalmiddlefrontal": 1.89,
    "frontalpole": 1.69,
    "lateralorbitofrontal": 1.72,
    "medialorbitofrontal": 1.54,
    "paracentral": 1.56,
    "parsopercularis": 1.96,
    "parsorbitalis": 1.94,
    "parstriangularis": 1.93,
    "precentral": 1.73,
    "rostralmiddlefrontal": 1.86,
    "superiorfrontal": 1.83,
    "inferiorparietal": 1.75,
    "postcentral": 1.52,
    "precuneus": 1.59,
    "superiorparietal": 1.56,
    "supramarginal": 1.64,
    "cuneus": 1.81,
    "lateraloccipital": 1.74,
    "lingual": 1.78,
    "pericalcarine": 2.96,
    "bankssts": 1.60,
    "entorhinal": 0.93,
    "fusiform": 1.30,
    "inferiortemporal": 1.42,
    "insula": 1.51,
    "middletemporal": 1.53,
    "parahippocampal": 0.87,
    "superiortemporal": 1.38,
    "temporalpole": 1.05,
    "transversetemporal": 1.65,
    "caudalanteriorcingulate": 1.64,
    "isthmuscingulate": 1.16,
    "posteriorcingulate": 1.52,
    "rostralanteriorcingulate": 1.53,
}
# Patients bind less: the ratio of patients (SiMBA reference material) to the table above is
# .61 to .73 in four cortical regions and .78 to .98 in four deep ones.
_CORTEX_SCALE, _DEEP_SCALE = 0.70, 0.85

# R1: SiMBA reference material (occipital 1.054, frontal .914, anterior cingulate .851, insula
# .853); parietal, temporal and sensorimotor values are assumptions between these.
_OCCIPITAL = ("cuneus", "lateraloccipital", "lingual", "pericalcarine")
_LIMBIC = ("entorhinal", "parahippocampal", "temporalpole")
_CINGULATE_INSULA = (
    "caudalanteriorcingulate",
    "rostralanteriorcingulate",
    "insula",
)
_CORTEX_R1 = (
    dict.fromkeys(_HEALTHY_CORTEX, 0.914)
    | dict.fromkeys(_OCCIPITAL, 1.054)
    | dict.fromkeys(_LIMBIC, 0.75)
    | dict.fromkeys(_CINGULATE_INSULA, 0.852)
)

# name: (labels, R1, BPND). Binding of hippocampus, accumbens and dorsal brain stem: Tiger et al.
# 2020, table 2, baseline; amygdala and thalamus: SiMBA; the other deep grey matter: the
# table above, scaled. Tissue without grey matter and everything outside the brain: assumptions.
_OTHER: Mapping[str, tuple[tuple[int, ...], float, float]] = {
    "cerebellum-cortex": (sided("Cerebellum-Cortex"), 1.0, 0.0),
    "hippocampus": (sided("Hippocampus"), 0.776, 0.46),
    "accumbens-area": (sided("Accumbens-area"), 0.854, 1.98),
    "amygdala": (sided("Amygdala"), 0.633, 0.953),
    "thalamus": (sided("Thalamus"), 0.911, 0.502),
    "caudate": (sided("Caudate"), 0.85, 1.08 * _DEEP_SCALE),
    "putamen": (sided("Putamen"), 0.93, 1.45 * _DEEP_SCALE),
    "pallidum": (sided("Pallidum"), 0.70, 2.97 * _DEEP_SCALE),
    "ventraldc": (sided("VentralDC"), 0.75, 1.05 * _DEEP_SCALE),
    "dorsal-brain-stem": ((DORSAL_BRAIN_STEM,), 0.831, 1.31),
    "midbrain": ((MIDBRAIN,), 0.75, 1.03 * _DEEP_SCALE),
    "pons": ((PONS,), 0.65, 0.07 * _DEEP_SCALE),
    "medulla": ((MEDULLA,), 0.60, 0.07 * _DEEP_SCALE),
    "vermis": ((172,), 1.0, 0.0),
    "optic-chiasm": ((85,), 0.40, 0.25),
    "cerebral-white-matter": (
        (*sided("Cerebral-White-Matter"), 77, 251, 252, 253, 254, 255),
        0.40,
        0.25,
    ),
    "cerebellum-white-matter": (sided("Cerebellum-White-Matter"), 0.45, 0.0),
    "choroid-plexus": (sided("choroid-plexus"), 0.50, 0.10),
    "csf": (
        (*sided("Lateral-Ventricle"), *sided("Inf-Lat-Vent"), 14, 15, CSF),
        0.06,
        0.0,
    ),
    "skull": ((SKULL,), 0.12, 0.0),
    "soft-tissue": ((SOFT_TISSUE,), 0.30, 0.20),
}

TISSUES: tuple[Tissue, ...] = tuple(
    Tissue(name, sided(name), _CORTEX_R1[name], bpnd * _CORTEX_SCALE)
    for name, bpnd in _HEALTHY_CORTEX.items()
) + tuple(Tissue(name, *values) for name, values in _OTHER.items())
"""Every tissue of a simulated head."""

# Striatal: of the order of D2 antagonists such as raclopride, a tenth of the cortical tracer's
# binding elsewhere. Flat: as after a blocking dose, nothing stands out. Assumptions, both.
_STRIATUM = {"caudate": 2.6, "putamen": 3.2, "accumbens-area": 2.3, "pallidum": 1.4}
_REST_OF_STRIATAL, _FLAT = 0.1, 0.05

TRACER_BPND: Mapping[str, tuple[float, ...]] = {
    "cortical": tuple(tissue.bpnd for tissue in TISSUES),
    "striatal": tuple(_STRIATUM.get(t.name, _REST_OF_STRIATAL * t.bpnd) for t in TISSUES),
    "flat": tuple(_FLAT * tissue.bpnd for tissue in TISSUES),
}
"""Mean BPND of every tissue by the kind of tracer; `cortical` is AZ10419369."""

TISSUE_INDEX: Mapping[str, int] = {tissue.name: i for i, tissue in enumerate(TISSUES)}
"""Place of a tissue in `TISSUES` by its name."""

EFFECT_REGIONS: Mapping[str, tuple[str, ...]] = {
    tissue.name: (tissue.name,) for tissue in TISSUES
} | {
    "acc": ("caudalanteriorcingulate", "rostralanteriorcingulate"),
    "hip": ("hippocampus",),
    "vst": ("accumbens-area",),
    "dbs": ("dorsal-brain-stem",),
    "cortex": tuple(_HEALTHY_CORTEX),
}
"""Names a treatment effect may be given for, and the tissues each stands for."""

SOURCE_NAMES: Mapping[int, str] = dict(
    sorted(
        {
            **{n: name for n, name in LABEL_NAMES.items() if n != BRAIN_STEM},
            DORSAL_BRAIN_STEM: "Dorsal-Brain-Stem",
            MIDBRAIN: "Midbrain",
            PONS: "Pons",
            MEDULLA: "Medulla",
            SKULL: "Skull",
            SOFT_TISSUE: "Head-ExtraCerebral",
        }.items()
    )
)
"""Label numbers of a sources image and their names."""

# Labels that FreeSurfer may write and that have no tissue of their own here.
_SYNONYMS = {30: CSF, 62: CSF, 72: CSF, 78: 2, 79: 41, 80: 77, 1004: 2, 2004: 41, 1000: 0, 2000: 0}


def tissue_numbers() -> IntArray:
    """Lookup table from a label number to its place in `TISSUES`, plus one; zero is air.

    Returns
    -------
    (2036,) uint8 array
    """
    lookup = np.zeros(2036, np.uint8)
    for number, tissue in enumerate(TISSUES, start=1):
        lookup[list(tissue.labels)] = number
    return lookup


def known_labels(labels: IntArray) -> IntArray:
    """Label image restricted to numbers that have a tissue; rare ones become their neighbours.

    Parameters
    ----------
    labels : array of int
        FreeSurfer's numbers, any shape.

    Returns
    -------
    array of int16
        Same shape.

    Raises
    ------
    ValueError
        If a number is not one of aseg or Desikan-Killiany.
    """
    present = np.unique(labels)
    allowed = {0, BRAIN_STEM, *SOURCE_NAMES, *_SYNONYMS}
    foreign = [int(n) for n in present if int(n) not in allowed]
    if foreign:
        raise ValueError(
            f"label numbers {', '.join(map(str, foreign[:8]))} are not in FreeSurfer's aseg or "
            "Desikan-Killiany tables"
        )
    known = labels.astype(np.int16)
    for number, stand_in in _SYNONYMS.items():
        known[labels == number] = stand_in
    return known


def as_freesurfer(sources: IntArray) -> IntArray:
    """FreeSurfer's aseg and Desikan-Killiany labels of a sources image; outside the brain is 0."""
    lookup = np.arange(2036, dtype=np.int16)
    lookup[[DORSAL_BRAIN_STEM, MIDBRAIN, PONS, MEDULLA]] = BRAIN_STEM
    lookup[[SKULL, SOFT_TISSUE]] = 0
    return np.asarray(lookup[sources])


def brain_stem_part(x_mm: FloatArray, y_mm: FloatArray, z_mm: FloatArray) -> IntArray:
    """Source number of brain-stem voxels from their place in MNI152.

    Parameters
    ----------
    x_mm, y_mm, z_mm : (N,) arrays
        Coordinates, millimetres.

    Returns
    -------
    (N,) int16 array
        `MIDBRAIN`, `PONS`, `MEDULLA` or `DORSAL_BRAIN_STEM`.
    """
    part = np.where(
        z_mm >= MIDBRAIN_FLOOR_MM, MIDBRAIN, np.where(z_mm >= PONS_FLOOR_MM, PONS, MEDULLA)
    )
    centre, axes = DORSAL_BRAIN_STEM_CENTRE_MM, DORSAL_BRAIN_STEM_SEMI_AXES_MM
    radius = sum(
        ((values - c) / a) ** 2
        for values, c, a in zip((x_mm, y_mm, z_mm), centre, axes, strict=True)
    )
    return np.where(radius <= 1, DORSAL_BRAIN_STEM, part).astype(np.int16)
