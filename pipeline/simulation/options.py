"""What a simulated study looks like: who, which scanner, how noisy, which effect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from pipeline.core.timing import FrameTiming
from pipeline.simulation.regions import EFFECT_REGIONS, TRACER_BPND


def _timing(*runs: tuple[int, float]) -> FrameTiming:
    duration = np.concatenate([np.full(count, seconds, float) for count, seconds in runs])
    return FrameTiming(np.concatenate([[0.0], np.cumsum(duration)[:-1]]), duration)


def paper_timing() -> FrameTiming:
    """The 38 frames, 93 minutes, of Tiger et al. 2020."""
    return _timing((9, 10), (2, 15), (3, 20), (4, 30), (4, 60), (4, 180), (12, 360))


def short_timing() -> FrameTiming:
    """Fourteen frames, 73 minutes: for quick trials."""
    return _timing((3, 30), (3, 60), (3, 180), (2, 450), (3, 890))


FRAME_PROTOCOLS = {"paper": paper_timing, "short": short_timing}
"""Frame timings that have a name."""


@dataclass(frozen=True, kw_only=True)
class CohortOptions:
    """Patients and how their binding varies.

    Parameters
    ----------
    group_sizes : mapping
        Patients per group, in the order of their labels.
    effects : mapping
        Relative change of BPND after treatment, by a name of `EFFECT_REGIONS`.
    treated_group : str
        Group that the effects act on; all others are placebo.
    between_subject_sd : float
        SD of log BPND between subjects.
    region_correlation : float
        Correlation of log BPND between regions, of subjects and of sessions alike.
    session_sd : float
        SD of log BPND between two sessions of one subject, each about the subject's own mean.
        Test-retest studies of this tracer give .06 to .13; the pairs of the paper give .14.
    tracer : {"cortical", "striatal", "flat"}
        Where it binds: AZ10419369, one that binds in the striatum alone, or nearly nowhere.

    Raises
    ------
    ValueError
        If an effect names an unknown region or would make BPND negative, if the treated group
        or the tracer does not exist, or if a spread or correlation is out of its range.
    """

    group_sizes: Mapping[str, int] = field(default_factory=lambda: {"ketamine": 2, "placebo": 2})
    effects: Mapping[str, float] = field(default_factory=lambda: {"hippocampus": 0.17})
    treated_group: str = "ketamine"
    between_subject_sd: float = 0.28
    region_correlation: float = 0.8
    session_sd: float = 0.05
    tracer: str = "cortical"

    def __post_init__(self) -> None:
        unknown = sorted(set(self.effects) - set(EFFECT_REGIONS))
        if unknown:
            raise ValueError(
                f"no region {unknown[0]!r} to change; known are "
                f"{', '.join(sorted(EFFECT_REGIONS))}"
            )
        if any(not np.isfinite(change) or change < -1 for change in self.effects.values()):
            raise ValueError("an effect is a finite relative change of BPND of at least -1")
        if min(self.group_sizes.values(), default=0) < 0 or not sum(self.group_sizes.values()):
            raise ValueError("a study needs at least one patient, and no group less than none")
        if self.treated_group not in self.group_sizes:
            raise ValueError(f"there is no group {self.treated_group!r} to treat")
        if not (0 <= self.region_correlation <= 1):
            raise ValueError("the correlation between regions lies between 0 and 1")
        if not min(self.between_subject_sd, self.session_sd) >= 0:
            raise ValueError("standard deviations are not negative")
        if self.tracer not in TRACER_BPND:
            raise ValueError(
                f"no tracer {self.tracer!r} to simulate; known are {', '.join(TRACER_BPND)}"
            )


@dataclass(frozen=True, kw_only=True)
class ScannerOptions:
    """How heads are scanned.

    Parameters
    ----------
    timing : FrameTiming
        PET frames, seconds after injection.
    pet_voxel_mm, t1w_voxel_mm : float
        Edge of the cubic voxels.
    pet_fov_mm : (3,) tuple of float
        Field of view of the PET, right-left, front-back and axial.
    psf_fwhm_mm : float
        Resolution of the reconstructed PET. HRRT: about 2.4 mm, with a usual filter about 4 mm.
    noise : float
        Noise relative to an HRRT scan; 0 is none. Tissue of 1 mL has a standard deviation of
        0.42 kBq/mL at 1 kBq/mL in a frame of one minute at injection.
    motion_mm : float
        Root mean square displacement of the brain at the end of a 93-minute scan, without jumps.
    offset_mm, offset_deg : float
        SD of the shift and rotation between MR and PET head positions, each axis.

    Raises
    ------
    ValueError
        If a size is not positive or a strength is negative.
    """

    timing: FrameTiming = field(default_factory=paper_timing)
    pet_voxel_mm: float = 2.0
    t1w_voxel_mm: float = 1.0
    pet_fov_mm: tuple[float, float, float] = (264.0, 264.0, 228.0)
    psf_fwhm_mm: float = 4.0
    noise: float = 1.0
    motion_mm: float = 2.0
    offset_mm: float = 4.0
    offset_deg: float = 3.0

    def __post_init__(self) -> None:
        sizes = (self.pet_voxel_mm, self.t1w_voxel_mm, *self.pet_fov_mm)
        if not all(np.isfinite(size) and size > 0 for size in sizes):
            raise ValueError("voxels and field of view must be positive, millimetres")
        strengths = (self.psf_fwhm_mm, self.noise, self.motion_mm, self.offset_mm, self.offset_deg)
        if not all(np.isfinite(strength) and strength >= 0 for strength in strengths):
            raise ValueError("resolution, noise, motion and offset are zero or more")


@dataclass(frozen=True, kw_only=True)
class SimulationOptions:
    """A whole simulated study.

    Parameters
    ----------
    cohort : CohortOptions
        Patients and binding.
    scanner : ScannerOptions
        Images.
    own_t1w : bool
        A T1w in every session; otherwise the first session's serves both.
    seed : int
        Two studies with the same options and seed are the same byte for byte, and a patient does
        not depend on how many others there are in any group.
    """

    cohort: CohortOptions = field(default_factory=CohortOptions)
    scanner: ScannerOptions = field(default_factory=ScannerOptions)
    own_t1w: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError("the seed is zero or more")

    @classmethod
    def tiny(cls, *, seed: int = 0) -> SimulationOptions:
        """One patient per group, 8 mm PET, 4 mm T1w, fourteen frames: seconds, for tests."""
        return cls(
            cohort=CohortOptions(group_sizes={"ketamine": 1, "placebo": 1}),
            scanner=ScannerOptions(
                timing=short_timing(), pet_voxel_mm=8.0, t1w_voxel_mm=4.0, psf_fwhm_mm=6.0
            ),
            seed=seed,
        )
