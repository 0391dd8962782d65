"""The settings of a study: frozen sections that refuse what they do not know."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from pipeline.core.labels import LABEL_NAMES, sided
from pipeline.imaging.reference import TrimByDistance, TrimByPlanes
from pipeline.kinetics import Logan, Mrtm1, Mrtm2, Srtm, Srtm2, Suv, Suvr, Wapi
from pipeline.kinetics.contract import is_image_model
from pipeline.kinetics.weights import FrameWeights


class Section(BaseModel):
    """A frozen group of settings."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True
    )


class EmbeddedAnatomy(Section):
    """Tissues and MNI transform by the packages that come with petbind."""

    backend: Literal["embedded"] = "embedded"
    t1w: str = "session"
    """Whose T1w a session takes: `session` (its own, else the subject's only one, else the
    first), `first`, or `ses-<label>`."""

    @field_validator("t1w")
    @classmethod
    def _known_rule(cls, value: str) -> str:
        if value not in ("session", "first") and not re.fullmatch(r"ses-[A-Za-z0-9]+", value):
            raise ValueError("must be 'session', 'first' or 'ses-<label>'")
        return value


class EmbeddedParcellation(Section):
    """FreeSurfer-numbered labels by a Bayesian labelling with atlas priors."""

    backend: Literal["embedded"] = "embedded"


class GivenParcellation(Section):
    """Labels that another program or a person made of every T1w."""

    backend: Literal["given"] = "given"
    dseg: str
    """File of FreeSurfer-numbered labels in the space of the T1w, on any grid, with `{subject}`
    and `{session}` for the labels of the T1w."""

    @field_validator("dseg")
    @classmethod
    def _known_places(cls, value: str) -> str:
        _check_pattern(value, "without {subject} everyone would get the same labels")
        return value


def _check_pattern(value: str, without_subject: str) -> None:
    """Refuse a file name whose places nobody fills, or that is the same for everyone."""
    try:
        value.format(subject="", session="")
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError("only {subject} and {session} are filled in") from error
    if "{subject}" not in value:
        raise ValueError(without_subject)


class EmbeddedMotion(Section):
    """Rigid alignment of every frame to the mean of the scan."""

    backend: Literal["embedded"] = "embedded"
    first_frame_s: float = Field(default=120, ge=0)
    """Frames whose middle comes earlier hold too few counts in too few places to be aligned:
    they take the transform of the first frame that is; seconds after injection."""
    smoothing_fwhm_mm: float = Field(default=2, ge=0, le=20)
    """Gaussian smoothing for the estimation only, FWHM."""


class NoMotion(Section):
    """Frames are taken as they are."""

    backend: Literal["none"] = "none"


class EmbeddedCoregistration(Section):
    """Rigid alignment of PET and T1w by mutual information."""

    backend: Literal["embedded"] = "embedded"
    smoothing_fwhm_mm: float = Field(default=4, ge=0, le=20)
    """Gaussian smoothing of the T1w for the estimation only, FWHM."""
    init: str = "header"
    """Where the search starts: `header` (where the headers put the images, their centres of mass
    together, and small turns about these), `identity` (they arrive aligned: no other start), or
    the only start in a file: an ITK transform `from-petref_to-T1w`, with `{subject}` and
    `{session}` of the PET."""

    @field_validator("init")
    @classmethod
    def _known_start(cls, value: str) -> str:
        if value not in ("header", "identity"):
            _check_pattern(value, "must be 'header', 'identity' or a file with {subject}")
        return value

    @property
    def init_file(self) -> str | None:
        """Pattern of the given transforms, or None."""
        return None if self.init in ("header", "identity") else self.init


class NoCoregistration(Section):
    """PET and T1w lie as told: nothing is searched, and the alignment is only measured."""

    backend: Literal["none"] = "none"
    init: str = "identity"
    """How they lie: `identity` (they share one world) or a file: an ITK transform
    `from-petref_to-T1w`, with `{subject}` and `{session}` of the PET."""

    @field_validator("init")
    @classmethod
    def _known_place(cls, value: str) -> str:
        if value != "identity":
            _check_pattern(value, "must be 'identity' or a file with {subject}")
        return value

    @property
    def init_file(self) -> str | None:
        """Pattern of the given transforms, or None."""
        return None if self.init == "identity" else self.init


ParcellationOptions = Annotated[
    EmbeddedParcellation | GivenParcellation, Field(discriminator="backend")
]
MotionOptions = Annotated[EmbeddedMotion | NoMotion, Field(discriminator="backend")]
CoregistrationOptions = Annotated[
    EmbeddedCoregistration | NoCoregistration, Field(discriminator="backend")
]
KineticModel = Annotated[
    Srtm | Srtm2 | Mrtm1 | Mrtm2 | Logan | Suvr | Suv | Wapi, Field(discriminator="model")
]


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
    """NIfTI label image or mask in MNI152NLin2009cAsym, any grid."""
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
    """Region name to the label numbers it is made of."""
    sides: bool = False
    """Whether every region comes once more for the left and for the right: `HIPL`, `HIPR`."""
    every_label: bool = False
    """Whether every label of FreeSurfer is a region of its own too."""
    grey_masked: bool = False
    """Whether every region of labels comes once more, as `gm<name>`, with the voxels of the T1w
    only that are grey matter by half or more."""
    mni: dict[str, MniArea] = {
        "DBS": Ellipsoid(centre_mm=(0, -30, -11), radii_mm=(4, 4, 5)),
    }
    """Region name to its place in MNI152NLin2009cAsym: an ellipsoid, or labels of an image. The
    dorsal brain stem has no published coordinates; this ellipsoid is an assumption."""
    reference: Reference = TrimByPlanes()
    """Reference region: its labels and what is cut off, by `recipe`: `planes` of landmarks, or
    `distance` from other structures."""
    reference_name: str = "CBL"
    """Its name in tables."""
    supersampling: int = Field(default=3, ge=1, le=6)
    """Sample points along each edge of a PET voxel when region fractions are measured."""
    minimum_volume_mm3: float = Field(default=100, ge=0)
    """Regions with less volume inside the field of view get no estimate."""

    @field_validator("reference", mode="before")
    @classmethod
    def _planes_by_default(cls, value: Any) -> Any:
        return {"recipe": "planes"} | value if isinstance(value, dict) else value

    @field_validator("labels", "reference")
    @classmethod
    def _known_labels(cls, value: Any) -> Any:
        sets = value.values() if isinstance(value, dict) else [value.labels]
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


class Kinetics(Section):
    """Models for regions and voxels."""

    models: tuple[KineticModel, ...] = (Srtm(),)
    """Models fitted to every region and, for the maps, to every voxel of the brain; a name alone
    means its defaults, as in `["srtm", "logan"]`. The page draws the curves of the first."""
    weights: FrameWeights = "counts"
    """Weights of the frames: `counts` is the inverse variance of the decay-corrected count model
    on the curve of the whole brain; `uniform`; `duration`; or a method of kinfitr by number."""
    maps: bool = True
    """Also write parametric maps, in PET and in MNI152 space."""
    map_smoothing_fwhm_mm: float = Field(default=0, ge=0, le=20)
    """Gaussian smoothing of the frames before the voxelwise fit, FWHM."""

    @field_validator("models", mode="before")
    @classmethod
    def _names_alone(cls, value: Any) -> Any:
        """Names of models as models with their defaults."""
        if not isinstance(value, list | tuple):
            return value
        return [{"model": item} if isinstance(item, str) else item for item in value]

    @model_validator(mode="after")
    def _models_once(self) -> Self:
        names = [model.model for model in self.models]
        if not names:
            raise ValueError("models: name at least one, such as srtm")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"models: {', '.join(twice)} is named twice; its files would clash")
        if not self.maps and (images := [m.model for m in self.models if is_image_model(m)]):
            raise ValueError(f"models: {', '.join(images)} makes maps only; set maps = true")
        if all(is_image_model(model) for model in self.models):
            raise ValueError(f"models: {names[0]} fits images; name one for curves too, as srtm")
        return self


class Group(Section):
    """Where the design of the study is written."""

    group_column: str = "group"
    """Column of participants.tsv with the treatment group; empty for a study of one group."""
    sessions: tuple[str, ...] = ("pre", "post")
    """Labels of the sessions before and after treatment; empty for tables without tests."""

    @field_validator("sessions")
    @classmethod
    def _two_or_none(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) not in (0, 2) or len(value) not in (0, 2):
            raise ValueError("name two different sessions, or none")
        return value


class Resources(Section):
    """What a run may take of the machine."""

    n_procs: int = Field(default=1, ge=1)
    """Processes at the same time."""
    mem_gb: float = Field(default=8, gt=0)
    """Memory all of them may take together."""
    omp_nthreads: int = Field(default=1, ge=1)
    """Threads a process may use."""


class Settings(Section):
    """Everything a study can set."""

    anatomy: EmbeddedAnatomy = EmbeddedAnatomy()
    parcellation: ParcellationOptions = EmbeddedParcellation()
    motion: MotionOptions = EmbeddedMotion()
    coregistration: CoregistrationOptions = EmbeddedCoregistration()
    regions: Regions = Regions()
    kinetics: Kinetics = Kinetics()
    group: Group = Group()
    resources: Resources = Resources()

    @model_validator(mode="before")
    @classmethod
    def _default_backend(cls, content: Any) -> Any:
        """A section that names no backend means the embedded one."""
        if not isinstance(content, dict):
            return content
        several = ("parcellation", "motion", "coregistration")
        steps = {step: content[step] for step in several if step in content}
        return content | {
            step: {"backend": "embedded"} | options
            for step, options in steps.items()
            if isinstance(options, dict)
        }
