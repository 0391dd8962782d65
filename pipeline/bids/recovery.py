"""How well an analysis found the truth of a simulated data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.bids.derivatives import derivative_path
from pipeline.bids.scan import ScanInputs
from pipeline.bids.simulated import TRUTH_FOLDER
from pipeline.core.decay import decay_constant_per_s
from pipeline.core.transforms import apply_affine
from pipeline.core.volume import FloatArray, Volume
from pipeline.imaging.brain import distance_mm
from pipeline.imaging.regions import RegionWeights, label_fractions
from pipeline.imaging.resampling import resample_rigid
from pipeline.io.images import iterate_frames, read_labels
from pipeline.io.tables import read_table
from pipeline.io.transforms import read_itk_transform, read_itk_transforms
from pipeline.kinetics import ReferenceModel
from pipeline.kinetics.weights import inverse_variance_weights

_BRAIN = "Brain"
_STILL_S = 120.0
_CLEAR_OF_OTHERS_MM = 2.5
"""Distance of true reference voxels from other tissue: whatever recipe the analysis follows, the
curve is that of cerebellar grey matter without spill-over."""


@dataclass(frozen=True)
class TrueRegions:
    """Regions to compare, by label, and the reference they are measured against."""

    labels: Mapping[str, tuple[int, ...]]
    reference: tuple[int, ...]
    supersampling: int


@dataclass(frozen=True, eq=False)
class SimulatedScan:
    """A simulated scan with its truth."""

    scan: ScanInputs
    labels: Volume
    t1w2pet_xfm: FloatArray
    """(4, 4), world of the T1w to the world of the PET, head at injection."""
    motion_xfms: FloatArray
    """(F, 4, 4), PET world at injection to the same tissue in each frame."""
    kinpar: pd.DataFrame

    @classmethod
    def read(cls, scan: ScanInputs, bids_dir: Path) -> SimulatedScan:
        """Read the truth that `petbind simulate` wrote."""
        truth = bids_dir / TRUTH_FOLDER
        pet = truth / f"sub-{scan.subject}" / f"ses-{scan.session}" / "pet"
        stem = f"sub-{scan.subject}_ses-{scan.session}"
        assert scan.t1w is not None  # noqa: S101  a simulated scan has a T1w
        anat = truth / scan.t1w.parent.relative_to(bids_dir.absolute())
        dseg = anat / scan.t1w.name.replace("_T1w.nii.gz", "_desc-truth_dseg.nii.gz")
        motion = read_table(pet / f"{stem}_desc-truth_motion.tsv")
        cells = [f"m{i}{j}" for i in range(3) for j in range(4)]
        xfms = np.tile(np.eye(4), (len(motion), 1, 1))
        xfms[:, :3] = motion[cells].to_numpy(float).reshape(-1, 3, 4)
        return cls(
            scan,
            read_labels(dseg),
            read_itk_transform(pet / f"{stem}_from-T1w_to-pet_mode-image_xfm.txt"),
            xfms,
            read_table(pet / f"{stem}_desc-truth_kinpar.tsv"),
        )

    def brain_points_mm(self) -> FloatArray:
        """Points (N, 3) all over the brain, world of the T1w."""
        index = np.argwhere(self.labels.data > 0)[::97].astype(float)
        return apply_affine(self.labels.affine, index)


def attainable_bpnd(
    simulated: SimulatedScan, regions: TrueRegions, model: ReferenceModel
) -> dict[str, float]:
    """BPND that the true labels, motion and alignment give on the same noisy frames.

    Parameters
    ----------
    simulated : SimulatedScan
        Scan and truth.
    regions : TrueRegions
        Which regions.
    model : ReferenceModel
        Model to fit.

    Returns
    -------
    dict of str to float
        Region to BPND.
    """
    scan = simulated.scan
    frames = enumerate(iterate_frames(scan.pet))
    weights: RegionWeights | None = None
    means = []
    for i, frame in frames:
        if weights is None:
            weights = _true_weights(simulated, regions, frame)
        still = resample_rigid(frame, frame, simulated.motion_xfms[i])
        means.append(weights.means(still * np.float32(scan.frame_scale[i])))
    assert weights is not None  # noqa: S101  a scan has frames
    tacs = np.array(means).T
    rate_per_s = decay_constant_per_s(scan.radionuclide)
    frame_weights = inverse_variance_weights(tacs[-1], scan.timing, rate_per_s)
    fit = model.fit(tacs[:-2], tacs[-2], scan.timing, frame_weights)
    return dict(zip(regions.labels, fit.estimates["BPND"].tolist(), strict=True))


def _true_weights(simulated: SimulatedScan, regions: TrueRegions, grid: Volume) -> RegionWeights:
    pet2t1w_xfm = np.linalg.inv(simulated.t1w2pet_xfm)
    labels = simulated.labels
    carried = label_fractions(labels, grid, pet2t1w_xfm, regions.supersampling)
    whole = np.isin(labels.data, regions.reference)
    trimmed = distance_mm(whole, labels.voxel_size_mm) > _CLEAR_OF_OTHERS_MM
    reference = label_fractions(
        labels.with_data(trimmed.astype(np.int32)), grid, pet2t1w_xfm, regions.supersampling
    )
    fractions = {name: carried.of(members) for name, members in regions.labels.items()}
    fractions["reference"] = reference.of((1,))
    fractions[_BRAIN] = carried.of(carried.labels)
    return RegionWeights.of(fractions, grid.voxel_volume_mm3)


def true_bpnd(simulated: SimulatedScan, labels: Mapping[str, tuple[int, ...]]) -> dict[str, float]:
    """BPND the scan was made from, volume-weighted over the labels of each region."""
    index = simulated.kinpar["index"].to_numpy(int)
    value = dict(zip(index.tolist(), simulated.kinpar["BPND"].astype(float), strict=True))
    count = dict(zip(*np.unique(simulated.labels.data, return_counts=True), strict=True))
    result = {}
    for name, members in labels.items():
        volume = np.array([float(count.get(label, 0)) for label in members])
        bpnd = np.array([value[label] for label in members])
        result[name] = float(volume @ bpnd / volume.sum()) if volume.any() else np.nan
    return result


@dataclass(frozen=True)
class AlignmentError:
    """How far estimated transforms are from the truth, mean over the brain, mm."""

    coregistration_mm: float
    motion_mean_mm: float
    """Mean over the frames after the first two minutes."""
    motion_worst_mm: float
    """Worst of these frames."""


def alignment_error(simulated: SimulatedScan, out_dir: Path) -> AlignmentError:
    """Compare the transforms in an output folder with the truth.

    The reference of motion correction is free to choose its pose; so the way from the T1w into
    the frames is compared for motion after the pose all frames share is taken out.
    """
    entities = simulated.scan.entities
    petref2t1w = read_itk_transform(out_dir / derivative_path(entities, "petref2t1w_xfm"))
    frame2petref = read_itk_transforms(out_dir / derivative_path(entities, "motion_xfm"))
    points = simulated.brain_points_mm()
    late = simulated.scan.timing.mid_s >= _STILL_S
    true = simulated.motion_xfms @ simulated.t1w2pet_xfm
    # T1w points by way of the true frame into petref: one constant place if motion is right
    places = np.array(
        [apply_affine(a @ b, points) for a, b in zip(frame2petref, true, strict=True)]
    )
    middle = np.median(places[late], axis=0)
    motion = np.linalg.norm(places - middle, axis=2).mean(axis=1)[late]
    found = apply_affine(np.linalg.inv(petref2t1w), points)
    return AlignmentError(
        coregistration_mm=float(np.linalg.norm(found - middle, axis=1).mean()),
        motion_mean_mm=float(motion.mean()),
        motion_worst_mm=float(motion.max()),
    )
