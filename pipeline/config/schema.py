"""The settings of a study: frozen sections that refuse what they do not know."""

from __future__ import annotations

import re
from collections.abc import Iterable
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
from pipeline.imaging.frame_groups import ReferenceFrames
from pipeline.imaging.head_motion import CorrectionMode
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
    brain: Literal["registration", "deepbet"] = "registration"
    """What finds the brain in the head: registration of the template, or the neural network
    deepbet (`pip install petbind[deepbet]`, needs torch); either mask then follows the tissue."""

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
    and `{session}` for the labels of the T1w; relative to the folder of the settings file."""

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


def _check_sessions(names: Iterable[str]) -> None:
    for name in names:
        if not re.fullmatch(r"sub-[A-Za-z0-9]+(_[a-z]+-[A-Za-z0-9]+)*", name):
            raise ValueError(f"'{name}' is no session; write sub-01 or sub-01_ses-pre")


FrameNumbers = tuple[Annotated[int, Field(ge=0)], ...]


class Scan(Section):
    """Which frames make a scan, and whether they are kept."""

    join_runs: bool = False
    """Whether runs that differ in `run-` only are one scan, as after a break: they must be of one
    injection. Outputs then have no `run-` in their names."""
    drop_frames: FrameNumbers = ()
    """Frames to leave out of every scan, counted from zero, after runs were joined and before
    anything is left out."""
    drop_frames_of: dict[str, FrameNumbers] = {}
    """The same for single sessions: `sub-01_ses-pre`, or `sub-01` for all of its."""
    start_s: float | None = None
    """Frames that start earlier are left out; seconds after injection."""
    end_s: float | None = None
    """So are frames that end later."""
    drop_empty: bool = False
    """Whether frames without any counts, zero or not finite all over, are left out. Only the run
    itself looks at voxels: the page tells of them, `petbind check` does not."""
    save_frames: bool = True
    """Whether the frames in one space are written as an image, `*_desc-preproc_pet.nii.gz`.
    Without, no 4-D image is written anywhere: whoever needs frames makes them from the raw ones,
    one at a time. Results are the same, to the bit. Where motion is corrected this saves the space
    of the frames, but not time: coregistration and curves put each frame in its place again."""

    @field_validator("drop_frames_of")
    @classmethod
    def _labels(cls, value: dict[str, FrameNumbers]) -> dict[str, FrameNumbers]:
        _check_sessions(value)
        return value

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if self.start_s is not None and self.end_s is not None and self.start_s >= self.end_s:
            raise ValueError("start_s must come before end_s")
        return self


class EmbeddedMotion(Section):
    """Rigid alignment of frames, in groups of enough counts, to the mean of the scan."""

    backend: Literal["embedded"] = "embedded"
    mode: CorrectionMode = "always"
    """Which sessions are corrected: `always` all; `auto` those with excessive movement; `listed`
    those of `sessions`; `never` none. Motion is estimated, shown and judged in any case."""
    sessions: tuple[str, ...] = ()
    """With mode `listed`: sessions to correct, as `sub-01_ses-pre`, or `sub-01` for all of its."""
    auto_median_mm: float = Field(default=1, gt=0)
    """With mode `auto`: the median step of the head, from one group of frames to the next, above
    which a session is corrected."""
    auto_jump_mm: float = Field(default=3, gt=0)
    """With mode `auto`: the single step of the head above which it is."""
    first_frame_s: float = Field(default=120, ge=0)
    """Frames whose middle comes earlier show tracer in too few places to be aligned: they take
    the transform of the first group that is; seconds after injection."""
    group_counts: float = Field(default=5e8, ge=0)
    """Neighbouring frames are aligned as one until they hold so many decays in the head; 0 aligns
    every frame alone."""
    longest_group_s: float = Field(default=120, gt=0)
    """Several frames are not aligned as one if they last longer together."""
    minimum_counts: float = Field(default=5e7, ge=0)
    """A group with fewer decays in the head gets a transform between those of its neighbours."""
    largest_error_mm: float = Field(default=1, gt=0)
    """So does a group whose estimate has a larger standard error, as a mean over the head."""
    reference: ReferenceFrames = "all"
    """Groups that make the mean all are aligned to, each by its counts: `all`; `late`, the second
    half of the scan; `counts`, those of the most counts that hold half of all."""
    smoothing_fwhm_mm: float = Field(default=2, ge=0, le=20)
    """Smoothing for the estimation only, FWHM. It includes the averaging to voxels of 4 mm that
    comes before, 2.7 mm for voxels of 2 mm: a smaller number adds nothing there."""
    within_frame_mm: float = Field(default=1.5, gt=0)
    """Movement within a frame, which cannot be corrected, is told of from this size on."""

    @field_validator("sessions")
    @classmethod
    def _labels(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        _check_sessions(value)
        return value

    @model_validator(mode="after")
    def _list_and_mode(self) -> Self:
        if (self.mode == "listed") != bool(self.sessions):
            raise ValueError("mode 'listed' and a list of sessions belong together")
        return self


class NoMotion(Section):
    """Frames are taken as they are, and motion is not looked for."""

    backend: Literal["none"] = "none"


class EmbeddedCoregistration(Section):
    """Rigid alignment of PET and T1w by mutual information."""

    backend: Literal["embedded"] = "embedded"
    smoothing_fwhm_mm: float = Field(default=4, ge=0, le=20)
    """Gaussian smoothing of the T1w for the estimation only, FWHM."""
    least_score: float = Field(default=0.5, ge=0, le=1)
    """A session whose tissues explain less of its PET (0 to 1) is flagged; 0.84 to 0.91 is usual,
    noise and half a head stay below 0.5."""
    init: str = "header"
    """Where the search starts: `header` (where the headers put the images, their centres of mass
    together, and small turns about these), `identity` (they arrive aligned: no other start), or
    the only start in a file: a transform `from-petref_to-T1w` of ITK, or an `.lta` of
    FreeSurfer from the PET to the T1w, with `{subject}` and `{session}` of the PET."""

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


class NoPartialVolume(Section):
    """Curves are not corrected for partial volume."""

    backend: Literal["none"] = "none"

    @property
    def label(self) -> str:
        """Label of the `pvc` entity of corrected tables; empty where there are none."""
        return ""


def _along_axes(value: Any) -> Any:
    """One width as the same along all three axes."""
    single = isinstance(value, int | float) and not isinstance(value, bool)
    return (value, value, value) if single else value


PsfFwhm = Annotated[float, Field(ge=0, le=20)]


class EmbeddedPartialVolume(Section):
    """Areas of the head, blurred by the resolution of the scanner, explain the frames."""

    backend: Literal["embedded"] = "embedded"
    method: Literal["gtm", "rbv"] = "gtm"
    """`gtm`, the geometric transfer matrix (Rousset 1998): every area is level; `rbv`,
    region-based voxel-wise correction (Thomas 2011): voxels keep what differs within an area."""
    psf_fwhm_mm: tuple[PsfFwhm, PsfFwhm, PsfFwhm] = (2.4, 2.4, 2.4)
    """Resolution of the reconstructed frames, FWHM of a Gaussian; one number, or one along each
    axis of the image. An HRRT resolves 1.5 mm in its centre and 2.4 mm at 10 cm from it, about
    where the cortex lies; a filter after the reconstruction adds its square to the square."""

    _one_or_three = field_validator("psf_fwhm_mm", mode="before")(_along_axes)

    @property
    def label(self) -> str:
        """Label of the `pvc` entity of corrected tables."""
        return self.method.upper()


class PetpvcPartialVolume(Section):
    """The program PETPVC, which corrects every frame; it has to be on the PATH."""

    backend: Literal["petpvc"] = "petpvc"
    method: Literal["RBV", "LABBE+RBV", "MTC", "LABBE+MTC", "IY"] = "RBV"
    """As PETPVC calls it: region-based voxel-wise or multi-target correction, after GTM or after
    Labbé; iterative Yang."""
    psf_fwhm_mm: tuple[PsfFwhm, PsfFwhm, PsfFwhm] = (2.4, 2.4, 2.4)
    """Resolution of the reconstructed frames, FWHM of a Gaussian; one number, or one along each
    axis of the image."""

    _one_or_three = field_validator("psf_fwhm_mm", mode="before")(_along_axes)

    @property
    def label(self) -> str:
        """Label of the `pvc` entity of corrected tables."""
        return self.method


class NoCoregistration(Section):
    """PET and T1w lie as told: nothing is searched, and the alignment is only measured."""

    backend: Literal["none"] = "none"
    least_score: float = Field(default=0.5, ge=0, le=1)
    """A session whose tissues explain less of its PET (0 to 1) is flagged; 0.84 to 0.91 is usual,
    noise and half a head stay below 0.5."""
    init: str = "identity"
    """How they lie: `identity` (they share one world) or a file: a transform
    `from-petref_to-T1w` of ITK, or an `.lta` of FreeSurfer from the PET to the T1w, with
    `{subject}` and `{session}` of the PET."""

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
PartialVolumeOptions = Annotated[
    NoPartialVolume | EmbeddedPartialVolume | PetpvcPartialVolume, Field(discriminator="backend")
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
    mni: dict[str, MniArea] = {
        "DBS": Ellipsoid(centre_mm=(0, -30, -11), radii_mm=(4, 4, 5)),
    }
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

    pvc: str = Field(default="", pattern="^[A-Za-z0-9+]*$")
    """Which tables the cohort is made of: empty for curves without partial-volume correction, or
    the label of a correction in their names, such as `GTM`."""


class Resources(Section):
    """What a run may take of the machine."""

    n_procs: int = Field(default=1, ge=1)
    """Processes at the same time."""
    mem_gb: float = Field(default=8, gt=0)
    """Memory all of them may take together."""
    omp_nthreads: int = Field(default=1, ge=1)
    """Threads that deepbet's network may use; all else takes one, whatever is said here or in the
    environment, so that results do not depend on it."""


class Settings(Section):
    """Everything a study can set."""

    scan: Scan = Scan()
    anatomy: EmbeddedAnatomy = EmbeddedAnatomy()
    parcellation: ParcellationOptions = EmbeddedParcellation()
    motion: MotionOptions = EmbeddedMotion()
    coregistration: CoregistrationOptions = EmbeddedCoregistration()
    regions: Regions = Regions()
    partial_volume: PartialVolumeOptions = NoPartialVolume()
    kinetics: Kinetics = Kinetics()
    group: Group = Group()
    resources: Resources = Resources()

    @model_validator(mode="before")
    @classmethod
    def _default_backend(cls, content: Any) -> Any:
        """A section that names no backend means the embedded one."""
        if not isinstance(content, dict):
            return content
        several = ("parcellation", "motion", "coregistration", "partial_volume")
        steps = {step: content[step] for step in several if step in content}
        return content | {
            step: {"backend": "embedded"} | options
            for step, options in steps.items()
            if isinstance(options, dict)
        }
