"""The PET scanner: where the head lies, how it moves, blur and counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.core.decay import decay_constant_per_s
from pipeline.core.timing import FrameTiming
from pipeline.core.transforms import apply_affine, rigid_matrix
from pipeline.core.volume import FloatArray, Volume
from pipeline.simulation.head import Head
from pipeline.simulation.options import ScannerOptions
from pipeline.simulation.regions import tissue_numbers

_FULL_SCAN_MIN = 93.0
_HEAD_RADIUS_MM = 70.0
_POSE_INTERVAL_S = 60.0
_JUMPS = 2
# The count model: SD of 1 mL of tissue at 1 kBq/mL in one minute at injection. Curves of SiMBA,
# times the root of usual volumes: accumbens .31, hippocampus .36, cingulate .37, occipital .74.
_NOISE_1ML_KBQML = 0.42
_NOISE_FWHM_MM = 4.5
_LOCAL_FWHM_MM = 8.0
_LEAST_ACTIVITY_BQML = 100.0
_SCATTERS = 97
_FINE_SLAB_VOXELS = 4_000_000


@dataclass(frozen=True, eq=False)
class PetGeometry:
    """Where the head lies in the PET scanner, at injection and in every frame.

    Parameters
    ----------
    affine : (4, 4) array
        PET voxels to PET world; stored right to left, as HRRT images are.
    shape : tuple of int
        Number of voxels.
    t1w2pet_xfm : (4, 4) array
        T1w world to PET world, head at rest at injection.
    motion_xfm : (F, 4, 4) array
        PET world at injection to the place of the same tissue in every frame.
    """

    affine: FloatArray
    shape: tuple[int, int, int]
    t1w2pet_xfm: FloatArray
    motion_xfm: FloatArray


def place_head(
    head_centre_mm: FloatArray, options: ScannerOptions, rng: np.random.Generator
) -> tuple[FloatArray, tuple[int, int, int], FloatArray]:
    """PET grid about a head, and the rigid offset between T1w and PET.

    Parameters
    ----------
    head_centre_mm : (3,) array
        Centre of the brain, T1w world.
    options : ScannerOptions
        Voxels, field of view and offset.
    rng : Generator
        Position of the head and of the bed.

    Returns
    -------
    affine : (4, 4) array
        PET voxels to world; the world's origin is the centre of the field of view.
    shape : tuple of int
        Number of voxels.
    t1w2pet_xfm : (4, 4) array
        T1w world to PET world.
    """
    voxel = options.pet_voxel_mm
    x, y, z = (int(np.ceil(extent / voxel)) for extent in options.pet_fov_mm)
    affine = np.diag([-voxel, voxel, voxel, 1.0])
    bed = rng.normal(0, options.offset_mm, 3)
    # the head lies in the centre of the field but for the bed: soft tissue of the neck is below
    affine[:3, 3] = head_centre_mm + bed - affine[:3, :3] @ ((np.array([x, y, z]) - 1) / 2)
    xfm = rigid_matrix(
        rng.normal(0, options.offset_mm, 3),
        np.deg2rad(rng.normal(0, options.offset_deg, 3)),
        head_centre_mm,
    )
    return affine, (x, y, z), xfm


def draw_motion(
    centre_mm: FloatArray, timing: FrameTiming, motion_mm: float, rng: np.random.Generator
) -> FloatArray:
    """Rigid head motion: a slow walk with two sudden moves, still within frames.

    Parameters
    ----------
    centre_mm : (3,) array
        Centre of rotation, PET world.
    timing : FrameTiming
        F frames. Frames shorter than a minute share the position of those before them until a
        minute has passed.
    motion_mm : float
        Root mean square displacement of the brain that the walk reaches in 93 minutes; the same
        scale for each sudden move.
    rng : Generator
        What moves the head.

    Returns
    -------
    (F, 4, 4) array
        The first is the identity.
    """
    # shift and rotation each take half of the mean square displacement; radius 70 mm
    shift_sd = motion_mm / np.sqrt(2 * 3)
    angle_sd = motion_mm / np.sqrt(2 * 2) / _HEAD_RADIUS_MM
    scale = np.array([shift_sd] * 3 + [angle_sd] * 3)
    changes = _pose_changes(timing)
    jumps = set(rng.choice(changes, min(_JUMPS, len(changes)), replace=False).tolist())
    pose, last_s = np.zeros(6), float(timing.mid_s[0])
    xfm = np.empty((len(timing), 4, 4))
    for frame in range(len(timing)):
        if frame in changes:
            elapsed_min = (float(timing.mid_s[frame]) - last_s) / 60
            step = np.sqrt(elapsed_min / _FULL_SCAN_MIN) + (frame in jumps)
            pose = pose + scale * step * rng.standard_normal(6)
            last_s = float(timing.mid_s[frame])
        xfm[frame] = rigid_matrix(pose[:3], pose[3:], centre_mm)
    return xfm


def _pose_changes(timing: FrameTiming) -> list[int]:
    changes, last_s = [], float(timing.mid_s[0])
    for frame, mid_s in enumerate(timing.mid_s.tolist()):
        if mid_s - last_s >= _POSE_INTERVAL_S:
            changes.append(frame)
            last_s = mid_s
    return changes


def scan_frames(
    head: Head,
    tissue_bqml: FloatArray,
    geometry: PetGeometry,
    options: ScannerOptions,
    rng: np.random.Generator,
) -> Iterator[NDArray[np.float32]]:
    """Reconstructed frames of a dynamic scan, decay-corrected to injection.

    Each frame is the activity of the moved head averaged over every PET voxel, blurred by the
    scanner, plus noise whose variance follows the local activity, the decay and the duration.
    Negative values are left in, so that means of regions are unbiased.

    Parameters
    ----------
    head : Head
        Sources in T1w space.
    tissue_bqml : (T, F) array
        Activity of every tissue in every frame, Bq/mL.
    geometry : PetGeometry
        Grid and positions.
    options : ScannerOptions
        Resolution and noise.
    rng : Generator
        Counts.

    Yields
    ------
    (X, Y, Z) float32 array
        Bq/mL.
    """
    timing = options.timing
    sigma = _sigma_voxels(options.psf_fwhm_mm, options.pet_voxel_mm)
    tissues = head.sources.with_data(tissue_numbers()[head.sources.data])
    lookup = np.vstack([np.zeros(len(timing)), tissue_bqml]).astype(np.float32)
    moved: _MovedHead | None = None
    for frame in range(len(timing)):
        pose = geometry.motion_xfm[frame]
        if moved is None or not np.array_equal(moved.pose, pose):
            moved = _MovedHead.of(tissues, geometry, pose)
        activity = np.zeros(geometry.shape, np.float32)
        activity[moved.box] = moved.voxel_means(lookup[:, frame])
        activity = ndimage.gaussian_filter(activity, sigma, mode="constant")
        if options.noise > 0:
            activity += _noise(activity, frame, options, rng)
        yield activity


@dataclass(frozen=True, eq=False)
class _MovedHead:
    """Tissue numbers of the head in one position, as finely as the T1w divides the PET's voxels.

    Parameters
    ----------
    pose : (4, 4) array
        Motion since injection.
    box : three slices
        PET voxels that can hold some of the head.
    parts : int
        Every voxel of the box is cut in so many along each axis.
    numbers : (parts X, parts Y, parts Z) uint8 array
        Place in `TISSUES` plus one; zero is air.
    """

    pose: FloatArray
    box: tuple[slice, ...]
    parts: int
    numbers: NDArray[np.uint8]

    @classmethod
    def of(cls, tissues: Volume, geometry: PetGeometry, pose: FloatArray) -> _MovedHead:
        t1w2pet_index = np.linalg.inv(geometry.affine) @ pose @ geometry.t1w2pet_xfm
        t1w2pet_index = t1w2pet_index @ tissues.affine
        corners = np.array(list(product(*((0.0, n - 1.0) for n in tissues.shape))))
        reached = apply_affine(t1w2pet_index, corners)
        first = np.clip(np.floor(reached.min(axis=0)).astype(int), 0, geometry.shape)
        last = np.clip(np.ceil(reached.max(axis=0)).astype(int) + 1, 0, geometry.shape)
        parts = _parts(geometry, tissues)
        to_box = np.eye(4)
        to_box[:3, 3] = first
        matrix = np.linalg.inv(t1w2pet_index) @ to_box @ _division(parts)
        x, y, z = ((last - first) * parts).tolist()
        numbers = _nearest(tissues.data, matrix, (x, y, z))
        box = tuple(slice(a, b) for a, b in zip(first.tolist(), last.tolist(), strict=True))
        return cls(pose, box, parts, numbers)

    def voxel_means(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mean over every voxel of the box of the values that its parts' tissues have."""
        parts, shape = self.parts, [n // self.parts for n in self.numbers.shape]
        means = np.empty(shape, np.float32)
        step = max(1, _FINE_SLAB_VOXELS // (shape[1] * shape[2] * parts**3))
        for start in range(0, shape[0], step):
            fine = values[self.numbers[start * parts : (start + step) * parts]]
            for axis in range(3) if parts > 1 else ():
                cut = list(fine.shape)
                cut[axis : axis + 1] = [cut[axis] // parts, parts]
                fine = fine.reshape(cut).mean(axis=axis + 1)
            means[start : start + step] = fine
        return means


def _sigma_voxels(fwhm_mm: float, voxel_mm: float) -> float:
    return fwhm_mm / float(np.sqrt(8 * np.log(2))) / voxel_mm


def _nearest(
    numbers: NDArray[np.uint8], matrix: FloatArray, shape: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Nearest-neighbour resampling by an affine on indices, zero outside.

    Points are scattered within their cells: on a regular grid about as fine as the labels, the
    rounding of neighbours agrees, and moves edges by up to half a voxel. Plane by plane, this
    takes a third of the time of `scipy.ndimage.affine_transform`.
    """
    padded = np.ascontiguousarray(np.pad(numbers, 1))
    flat, steps = padded.reshape(-1), np.array(padded.strides)
    j, k = np.arange(shape[1])[:, None], np.arange(shape[2])
    planes = [(row[1] * j + row[2] * k).astype(np.float32) for row in matrix[:3]]
    cells = np.random.default_rng(0).uniform(-0.5, 0.5, (3, shape[1] + _SCATTERS, shape[2]))
    scatter = np.tensordot(matrix[:3, :3], cells, 1).astype(np.float32)
    out = np.empty(shape, np.uint8)
    place = np.empty(shape[1:], np.float32)
    for i in range(shape[0]):
        index = np.zeros(shape[1:], np.int32)
        for axis in range(3):
            # one for the padding, and a half so that cutting rounds
            np.add(planes[axis], np.float32(matrix[axis] @ [i, 0, 0, 1] + 1.5), out=place)
            place += scatter[axis, i % _SCATTERS :][: shape[1]]
            np.clip(place, 0, padded.shape[axis] - 1, out=place)
            index += place.astype(np.int32) * np.int32(steps[axis])
        np.take(flat, index, out=out[i])
    return out


def _parts(geometry: PetGeometry, tissues: Volume) -> int:
    voxel_mm = abs(float(geometry.affine[0, 0]))
    return max(2, int(np.ceil(voxel_mm / float(tissues.voxel_size_mm.mean()) - 0.05)))


def _division(parts: int) -> FloatArray:
    """Indices of a grid with every voxel cut in `parts` along each axis to those of the grid."""
    matrix = np.diag([1 / parts] * 3 + [1.0])
    matrix[:3, 3] = (1 / parts - 1) / 2
    return matrix


def _noise(
    activity: NDArray[np.float32], frame: int, options: ScannerOptions, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Spatially correlated noise of one frame, Bq/mL."""
    timing, voxel_mm = options.timing, options.pet_voxel_mm
    rate = decay_constant_per_s("C11")
    weight = np.exp(rate * timing.mid_s[frame]) / timing.duration_min[frame]
    local = ndimage.gaussian_filter(activity, _sigma_voxels(_LOCAL_FWHM_MM, voxel_mm))
    # the variance of a mean over V falls as 1/V, whatever the voxels and the correlation are
    variance = np.maximum(local, _LEAST_ACTIVITY_BQML) * np.float32(
        1000.0 * weight * (options.noise * _NOISE_1ML_KBQML) ** 2 * (1000.0 / voxel_mm**3)
    )
    white = rng.standard_normal(activity.shape, dtype=np.float32)
    white *= np.sqrt(variance)
    return np.asarray(ndimage.gaussian_filter(white, _sigma_voxels(_NOISE_FWHM_MM, voxel_mm)))


def head_centre_in_pet(head: Head, t1w2pet_xfm: FloatArray) -> FloatArray:
    """Centre of the brain at injection, (3,), PET world."""
    return apply_affine(t1w2pet_xfm, head.centre_mm)
