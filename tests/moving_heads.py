"""Simulated dynamic scans of heads that drift and jump, with their truth, in memory."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.core.decay import decay_constant_per_s
from pipeline.core.timing import FrameTiming
from pipeline.core.transforms import apply_affine, rigid_matrix
from pipeline.core.volume import Volume
from pipeline.imaging.brain import distance_mm
from pipeline.imaging.groupwise import recentred
from pipeline.imaging.regions import RegionWeights, label_fractions
from pipeline.imaging.resampling import resample_rigid
from pipeline.io.head_template import read_head_template
from pipeline.kinetics import Srtm
from pipeline.kinetics.weights import inverse_variance_weights
from pipeline.simulation.head import Anatomy, Head, make_head
from pipeline.simulation.options import ScannerOptions
from pipeline.simulation.regions import TISSUE_INDEX, TISSUES
from pipeline.simulation.scanner import (
    PetGeometry,
    draw_motion,
    head_centre_in_pet,
    place_head,
    scan_frames,
)
from pipeline.simulation.template import label_template
from pipeline.simulation.tracer import TissueKinetics, tissue_curves

REGIONS = {
    "ACC": (1002, 2002, 1026, 2026),
    "HIP": (17, 53),
    "VST": (26, 58),
    "CAU": (11, 50),
    "PUT": (12, 51),
    "THA": (10, 49),
    "OC": (1005, 2005, 1011, 2011, 1013, 2013, 1021, 2021),
    "INS": (1035, 2035),
}
CEREBELLUM = (8, 47)
_K2PRIME_PER_MIN = 0.14
_STRIATUM = {"caudate": 2.6, "putamen": 3.2, "accumbens-area": 2.0, "pallidum": 1.2}


def _bpnd(contrast: str) -> np.ndarray:
    """BPND of every tissue: high in the cortex, in the striatum alone, or nearly nowhere."""
    usual = np.array([tissue.bpnd for tissue in TISSUES])
    if contrast == "cortex":
        return usual
    bpnd = np.minimum(usual, 0.15)
    for name, value in _STRIATUM.items() if contrast == "striatum" else ():
        bpnd[TISSUE_INDEX[name]] = value
    return bpnd


CONTRASTS = ("cortex", "striatum", "flat")


@dataclass(frozen=True, eq=False)
class MovingHead:
    """One dynamic scan and what it was made from."""

    contrast: str
    frames: np.ndarray
    """(X, Y, Z, F) float32, Bq/mL, decay-corrected."""
    affine: np.ndarray
    timing: FrameTiming
    poses: np.ndarray
    """(F, 4, 4), PET world at injection to the same tissue in each frame."""
    t1w2pet_xfm: np.ndarray
    labels: Volume

    def frame(self, i: int) -> Volume:
        return Volume(self.frames[..., i], self.affine)

    @property
    def late(self) -> np.ndarray:
        """Frames after the first two minutes."""
        return np.flatnonzero(self.timing.mid_s >= 120)

    def brain_points_mm(self) -> np.ndarray:
        """Points (N, 3) all over the brain, PET world at injection."""
        index = np.argwhere(self.labels.data > 0)[::97].astype(float)
        return apply_affine(self.t1w2pet_xfm @ self.labels.affine, index)

    def distances_mm(self, frame2petref_xfms: np.ndarray) -> np.ndarray:
        """Distance of every brain point from its place in the reference, (F, N)."""
        return np.linalg.norm(self._residual(frame2petref_xfms), axis=2)

    def _residual(self, frame2petref_xfms: np.ndarray) -> np.ndarray:
        points, loops = self.brain_points_mm(), frame2petref_xfms @ self.poses
        places = np.array([apply_affine(x, points) for x in loops])
        return places - np.median(places[self.late], axis=0)

    def errors_mm(self, frame2petref_xfms: np.ndarray) -> np.ndarray:
        """Mean distance over the brain, every frame (F,); the pose all share taken out."""
        return self.distances_mm(frame2petref_xfms).mean(axis=1)

    def bpnd(self, frame2petref_xfms: np.ndarray | None) -> Mapping[str, float]:
        """SRTM's BPND with true labels laid where the frames put the head.

        Without transforms the frames are taken as they lie, labels at their mean pose.
        """
        resampled = frame2petref_xfms is not None
        xfms = np.tile(np.eye(4), (len(self.timing), 1, 1)) if not resampled else frame2petref_xfms
        middle = self.brain_points_mm().mean(axis=0)
        loops = np.linalg.inv(xfms @ self.poses)[self.late]
        mean = recentred(loops, self.timing.duration_s[self.late], middle)
        injection2petref = np.linalg.inv(loops[0]) @ mean[0]
        weights = self._weights(np.linalg.inv(injection2petref @ self.t1w2pet_xfm))
        means = []
        for i in range(len(self.timing)):
            frame = self.frame(i)
            data = frame.data
            if resampled:
                data = resample_rigid(frame, frame, np.linalg.inv(xfms[i]))
            means.append(weights.means(data))
        tacs = np.array(means).T
        by_frame = inverse_variance_weights(tacs[-1], self.timing, decay_constant_per_s("C11"))
        fit = Srtm().fit(tacs[:-2], tacs[-2], self.timing, by_frame)
        return dict(zip(REGIONS, fit.estimates["BPND"].tolist(), strict=True))

    def _weights(self, petref2t1w_xfm: np.ndarray) -> RegionWeights:
        labels, grid = self.labels, self.frame(0)
        carried = label_fractions(labels, grid, petref2t1w_xfm, 2)
        deep = distance_mm(np.isin(labels.data, CEREBELLUM), labels.voxel_size_mm) > 2.5
        trimmed = labels.with_data(deep.astype(np.int32))
        fractions = {name: carried.of(members) for name, members in REGIONS.items()}
        fractions["reference"] = label_fractions(trimmed, grid, petref2t1w_xfm, 2).of((1,))
        fractions["brain"] = carried.of(carried.labels)
        return RegionWeights.of(fractions, grid.voxel_volume_mm3)


def template():
    """What heads are made from; takes seconds."""
    return label_template(read_head_template().coarsened(2))


def moving_head(
    made_of,
    contrast: str,
    seed: int,
    *,
    still: bool = False,
    options: ScannerOptions | None = None,
) -> MovingHead:
    """A scan of 93 minutes, 2 mm, default noise: drift, small moves, and a jump.

    The jump is of 2.5 to 5 mm and 2 to 4 degrees, at the start of a frame after two minutes.
    """
    options, rng = options or ScannerOptions(), np.random.default_rng([seed, 5])
    head = make_head(made_of, Anatomy.draw(rng), 1.0, rng)
    affine, shape, t1w2pet = place_head(head.centre_mm, options, rng)
    timing, centre = options.timing, head_centre_in_pet(head, t1w2pet)
    if still:
        poses = np.tile(np.eye(4), (len(timing), 1, 1))
    else:
        poses = draw_motion(centre, timing, options.motion_mm, rng)
        first = rng.choice(np.flatnonzero(timing.mid_s >= 180))
        poses[first:] = _jump(rng, centre) @ poses[first:]
    return _scanned(head, contrast, PetGeometry(affine, shape, t1w2pet, poses), options, rng)


def head_that_jumps_within(made_of, contrast: str, frame: int, seed: int) -> MovingHead:
    """A scan of a head that lies still but for one jump in the middle of one frame."""
    options, rng = ScannerOptions(), np.random.default_rng([seed, 6])
    whole = options.timing
    half_s = whole.duration_s[frame] / 2
    start_s = np.insert(whole.start_s, frame + 1, whole.start_s[frame] + half_s)
    duration_s = np.insert(whole.duration_s, frame + 1, half_s)
    duration_s[frame] = half_s
    options = ScannerOptions(timing=FrameTiming(start_s, duration_s))
    head = make_head(made_of, Anatomy.draw(rng), 1.0, rng)
    affine, shape, t1w2pet = place_head(head.centre_mm, options, rng)
    poses = np.tile(np.eye(4), (len(start_s), 1, 1))
    poses[frame + 1 :] = _jump(rng, head_centre_in_pet(head, t1w2pet))
    split = _scanned(head, contrast, PetGeometry(affine, shape, t1w2pet, poses), options, rng)
    frames = np.delete(split.frames, frame + 1, axis=3)
    frames[..., frame] = split.frames[..., frame : frame + 2].mean(axis=3)
    poses = np.delete(poses, frame + 1, axis=0)
    return MovingHead(contrast, frames, affine, whole, poses, t1w2pet, split.labels)


def _jump(rng: np.random.Generator, centre_mm: np.ndarray) -> np.ndarray:
    shift, turn = (v / np.linalg.norm(v) for v in rng.standard_normal((2, 3)))
    return rigid_matrix(
        shift * rng.uniform(2.5, 5), np.deg2rad(turn * rng.uniform(2, 4)), centre_mm
    )


def _scanned(
    head: Head, contrast: str, geometry: PetGeometry, options: ScannerOptions, rng
) -> MovingHead:
    r1 = np.array([tissue.r1 for tissue in TISSUES])
    kinetics = TissueKinetics(r1, _bpnd(contrast), _K2PRIME_PER_MIN)
    timing = options.timing
    frames = np.empty((*geometry.shape, len(timing)), np.float32, order="F")
    scan = scan_frames(head, tissue_curves(kinetics, timing), geometry, options, rng)
    for i, data in enumerate(scan):
        frames[..., i] = data
    return MovingHead(
        contrast, frames, geometry.affine, timing, geometry.motion_xfm, geometry.t1w2pet_xfm,
        head.labels,
    )  # fmt: skip
