"""A simulated head in both scanners, as coregistration sees it: references, tissues, truth."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from pipeline.core.timing import FrameTiming
from pipeline.core.transforms import apply_affine, displacement_mm
from pipeline.core.volume import Volume
from pipeline.imaging.coregistration import WHOLE, HeadOnMr, reference_windows
from pipeline.io.head_template import read_head_template
from pipeline.simulation.cohort import draw_cohort
from pipeline.simulation.head import Anatomy, make_head
from pipeline.simulation.options import CohortOptions, ScannerOptions
from pipeline.simulation.regions import SKULL, SOFT_TISSUE
from pipeline.simulation.scanner import PetGeometry, place_head, scan_frames
from pipeline.simulation.template import label_template
from pipeline.simulation.tracer import tissue_curves

# ten frames in place of 38: their means are the same, and the head is moved ten times only
_DURATION_S = np.array([60.0, 60, 120, 120, 120, 480, 480, 1035, 1035, 2070])
TIMING = FrameTiming(np.concatenate([[0.0], np.cumsum(_DURATION_S)[:-1]]), _DURATION_S)
_MOTION_LEFT_MM = 0.3
_WHITE = (2, 41, 7, 46, 251, 252, 253, 254, 255, 77, 16)
_FLUID = (0, 4, 43, 5, 44, 14, 15, 24, 31, 63)


@dataclass(frozen=True)
class Wanted:
    """Which session to simulate."""

    seed: int
    tracer: str
    shift_mm: float
    turn_deg: float
    pet_voxel_mm: float = 2.0
    t1w_voxel_mm: float = 1.0
    scalp: bool = True


@dataclass(frozen=True)
class Session:
    """References on one grid, the MR side, and the true transform."""

    references: dict[str, Volume]
    head: HeadOnMr
    t1w2pet_xfm: np.ndarray

    def error_mm(self, petref2t1w_xfm):
        """Distance to the truth, at points of the brain."""
        points = np.argwhere(self.head.brain_mask)[::101].astype(float)
        points = apply_affine(self.head.t1w.affine, points)
        return displacement_mm(np.linalg.inv(petref2t1w_xfm), self.t1w2pet_xfm, points)

    def with_world(self, xfm):
        """The same PET with other headers: its world is moved."""
        moved = {n: Volume(v.data, xfm @ v.affine) for n, v in self.references.items()}
        return Session(moved, self.head, xfm @ self.t1w2pet_xfm)

    def cropped(self, *slices):
        """The same PET in a smaller field of view, or stored in another order."""
        starts = [range(n)[s] for n, s in zip(self.references[WHOLE].shape, slices, strict=True)]
        part = np.diag([*(r.step for r in starts), 1]).astype(float)
        part[:3, 3] = [r.start for r in starts]
        cut = {n: Volume(v.data[slices], v.affine @ part) for n, v in self.references.items()}
        return Session(cut, self.head, self.t1w2pet_xfm)


@cache
def _template(coarse):
    return label_template(read_head_template().coarsened(2 if coarse else 1))


def simulate_session(wanted):
    """Means of a motion-corrected scan at default noise; 0.3 mm of motion are left in it."""
    rng = np.random.default_rng(wanted.seed + 1000)
    options = ScannerOptions(
        timing=TIMING, pet_voxel_mm=wanted.pet_voxel_mm, offset_mm=0, offset_deg=0
    )
    template = _template(wanted.t1w_voxel_mm > 1)
    made = make_head(template, Anatomy.draw(rng), wanted.t1w_voxel_mm, rng)
    patient = next(draw_cohort(CohortOptions(tracer=wanted.tracer), wanted.seed)).sessions[0]
    activity = tissue_curves(patient.kinetics, TIMING, patient.reference_scale)
    affine, shape, _ = place_head(made.centre_mm, options, rng)
    xfm = _about(made.centre_mm, _of_length(rng, wanted.shift_mm), wanted.turn_deg, rng)
    centre = apply_affine(xfm, made.centre_mm)
    left = [
        _about(centre, rng.normal(0, _MOTION_LEFT_MM / np.sqrt(3), 3), 0.0, rng)
        for _ in TIMING.mid_s
    ]
    scanned = made
    if not wanted.scalp:
        bare = np.where(np.isin(made.sources.data, (SKULL, SOFT_TISSUE)), 0, made.sources.data)
        scanned = type(made)(made.t1w, made.sources.with_data(bare))
    geometry = PetGeometry(affine, shape, xfm, np.array(left))
    frames = list(scan_frames(scanned, activity, geometry, options, rng))
    windows = {WHOLE: np.ones(len(frames), bool), **reference_windows(TIMING)}
    references = {name: Volume(_mean(frames, chosen), affine) for name, chosen in windows.items()}
    return Session(references, _mr_side(made), xfm)


def _mean(frames, chosen):
    weights = np.where(chosen, _DURATION_S, 0) / _DURATION_S[chosen].sum()
    return sum(w * f for w, f in zip(weights, frames, strict=True)).astype(np.float32)


def _of_length(rng, length):
    direction = rng.standard_normal(3)
    return length * direction / np.linalg.norm(direction)


def _about(centre_mm, shift_mm, turn_deg, rng):
    xfm = np.eye(4)
    axis = _of_length(rng, np.deg2rad(turn_deg))
    xfm[:3, :3] = Rotation.from_rotvec(axis).as_matrix()
    xfm[:3, 3] = centre_mm + shift_mm - xfm[:3, :3] @ centre_mm
    return xfm


def _mr_side(head):
    labels = head.labels.data
    brain = ndimage.binary_closing(labels > 0, iterations=2)
    white, fluid = np.isin(labels, _WHITE) & brain, np.isin(labels, _FLUID) & brain
    tissues = (brain & ~white & ~fluid, white, fluid)
    return HeadOnMr(
        head.t1w, brain, tuple(head.t1w.with_data(t.astype(np.float32)) for t in tissues)
    )
