"""Settings of the regions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from pipeline.config.section import Section
from pipeline.core.labels import LABEL_NAMES, sided
from pipeline.imaging.reference import TrimByDistance, TrimByPlanes


class Ellipsoid(Section):
    """A region drawn in MNI152 space."""

    centre_mm: tuple[float, float, float]
    """Centre, MNI152NLin2009cAsym world coordinates."""
    radii_mm: tuple[float, float, float]
    """Half axes along x, y and z."""

    @field_validator("radii_mm")
    @classmethod
    def _positive(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(value) <= 0:
            raise ValueError("every half axis must be positive")
        return value


class MniImage(Section):
    """A region that an image in MNI152 space holds."""

    image: Path
    """NIfTI label image or mask in MNI152NLin2009cAsym, any grid; relative to the folder of the
    settings file."""
    labels: tuple[int, ...] = (1,)
    """Its numbers that make up the region."""


def _kind_of_area(value: Any) -> str:
    given = isinstance(value, dict) and "image" in value
    return "image" if given or isinstance(value, MniImage) else "ellipsoid"


MniArea = Annotated[
    Annotated[Ellipsoid, Tag("ellipsoid")] | Annotated[MniImage, Tag("image")],
    Discriminator(_kind_of_area),
]
Reference = Annotated[TrimByPlanes | TrimByDistance, Field(discriminator="recipe")]


def _both_sides(*names: str) -> tuple[int, ...]:
    return tuple(sorted(label for name in names for label in sided(name)))


DEFAULT_REGIONS: dict[str, tuple[int, ...]] = {
    "ACC": _both_sides("caudalanteriorcingulate", "rostralanteriorcingulate"),
    "HIP": _both_sides("Hippocampus"),
    "VST": _both_sides("Accumbens-area"),
    "CAU": _both_sides("Caudate"),
    "PUT": _both_sides("Putamen"),
    "PAL": _both_sides("Pallidum"),
    "THA": _both_sides("Thalamus"),
    "AMG": _both_sides("Amygdala"),
    "INS": _both_sides("insula"),
    "FC": _both_sides(
        "caudalmiddlefrontal",
        "lateralorbitofrontal",
        "medialorbitofrontal",
        "parsopercularis",
        "parsorbitalis",
        "parstriangularis",
        "rostralmiddlefrontal",
        "superiorfrontal",
        "frontalpole",
    ),
    "TC": _both_sides(
        "bankssts",
        "fusiform",
        "inferiortemporal",
        "middletemporal",
        "superiortemporal",
        "temporalpole",
        "transversetemporal",
    ),
    "PC": _both_sides("inferiorparietal", "precuneus", "superiorparietal", "supramarginal"),
    "OC": _both_sides("cuneus", "lateraloccipital", "lingual", "pericalcarine"),
}


class Regions(Section):
    """Named regions: sets of FreeSurfer labels, or shapes in MNI152 space."""

    labels: dict[str, tuple[int, ...]] = DEFAULT_REGIONS
    """Region name to the label numbers it is made of. A table in a file takes the place of these
    regions; `--set regions.labels.NAME=[17, 53]` adds one."""
    sides: bool = False
    """Whether every region of labels comes once more for the left and for the right: `HIPL`,
    `HIPR`."""
    every_label: bool = False
    """Whether every label of FreeSurfer is a region of its own too."""
    grey_masked: bool = False
    """Whether every region of labels with grey matter comes once more, as `gm<name>`, with the
    voxels of the T1w only that are grey matter by half or more."""
    mni: dict[str, MniArea] = Field(
        default={"DBS": Ellipsoid(centre_mm=(0, -30, -11), radii_mm=(4, 4, 5))}
    )
    """Region name to its place in MNI152NLin2009cAsym: an ellipsoid, or labels of an image. The
    dorsal brain stem has no published coordinates; this ellipsoid is an assumption. A table in a
    file takes the place of this one."""
    reference: Reference = TrimByPlanes()
    """Reference region: its labels and what is cut off, by `recipe`: `planes` of landmarks, or
    `distance` from other structures."""
    reference_name: str = "CBL"
    """Its name in tables."""
    supersampling: int = Field(default=4, ge=1, le=6)
    """Sample points along each edge of a PET voxel when region fractions are measured. On voxels
    of 2 mm, regions over 1 mL differ from dense sampling by 0.2 % at most with 4, 0.6 % with 3;
    two to three times that where activity is sharp."""
    least_share: float = Field(default=0, ge=0, le=1)
    """0: every voxel counts in a region by its share of it. Above 0: voxels with at least this
    share count in full, others not at all: less of what lies beside, more noise. Accumbens,
    pallidum, amygdala and caudate, four times as hot as all about them, voxels of 2 mm, a scanner
    of 2.5 mm FWHM: by share -25 % and 4.3 % of a voxel's noise; from a share of 0.5 on -22 and
    5.0 %, from 0.9 on -12 and 7.0 %."""
    minimum_volume_mm3: float = Field(default=100, ge=0)
    """Regions of which the frames cover less get no estimate, nor do those of which they cover
    less than half."""
    late_min: tuple[float, float] = (40, 90)
    """Late window over which the uptake of the reference region is averaged, beside the whole
    scan, to compare it between sessions; minutes after injection, frames wholly inside."""

    @field_validator("reference", mode="before")
    @classmethod
    def _planes_by_default(cls, value: Any) -> Any:
        return {"recipe": "planes"} | value if isinstance(value, dict) else value

    @field_validator("late_min")
    @classmethod
    def _in_order(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= value[0] < value[1]:
            raise ValueError("starts at zero or later, and ends after its start")
        return value

    @field_validator("labels", "reference")
    @classmethod
    def _known_labels(cls, value: Any) -> Any:
        sets = value.values() if isinstance(value, dict) else [value.labels]
        sets = [tuple(labels) for labels in sets]
        if () in sets:
            raise ValueError("a region without a label; list at least one FreeSurfer number")
        unknown = sorted({n for labels in sets for n in labels} - set(LABEL_NAMES))
        if unknown:
            raise ValueError(f"no FreeSurfer label has number {', '.join(map(str, unknown))}")
        return value

    @model_validator(mode="after")
    def _names_once(self) -> Self:
        names = [*self.labels, *self.mni, self.reference_name]
        for name in names:
            if not re.fullmatch(r"[A-Za-z0-9]+", name):
                raise ValueError(f"region name '{name}': only letters and digits")
        if len({name.lower() for name in names}) < len(names):
            raise ValueError("a region name is used twice")
        return self
