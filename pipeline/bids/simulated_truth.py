"""What a simulated scan was made from, as a derivative data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.core.labels import LABEL_NAMES
from pipeline.core.timing import FrameTiming
from pipeline.core.transforms import rigid_parameters
from pipeline.core.volume import FloatArray
from pipeline.io.images import write_volume
from pipeline.io.tables import write_json, write_table
from pipeline.io.transforms import write_itk_transform
from pipeline.simulation.head import Head
from pipeline.simulation.regions import SOURCE_NAMES, TISSUES, tissue_numbers
from pipeline.simulation.scanner import PetGeometry
from pipeline.simulation.tracer import TissueKinetics


@dataclass(frozen=True, eq=False)
class ScanTruth:
    """Truth of one PET scan.

    Parameters
    ----------
    kinetics : TissueKinetics
        Of every tissue.
    curves_bqml : (T, F) array
        Noise-free mean of every tissue in every frame.
    timing : FrameTiming
        Of the scan.
    geometry : PetGeometry
        Place and motion of the head.
    centre_mm : (3,) array
        Centre of the brain at injection, PET world; rotations of the motion table are about it.
    """

    kinetics: TissueKinetics
    curves_bqml: FloatArray
    timing: FrameTiming
    geometry: PetGeometry
    centre_mm: FloatArray


def write_head_truth(root: Path, prefix: tuple[str, str], head: Head) -> None:
    """Write both label images of a head with their tables and volumes.

    Parameters
    ----------
    root : Path
        Top of the derivative.
    prefix : tuple of str
        ``sub-<label>`` and ``ses-<label>``.
    head : Head
        In T1w space.
    """
    for desc, labels, names in (
        ("truth", head.labels, LABEL_NAMES),
        ("sources", head.sources, SOURCE_NAMES),
    ):
        stem = _stem(root, prefix, "anat", f"desc-{desc}")
        write_volume(f"{stem}_dseg.nii.gz", labels, np.int16)
        index, counts = np.unique(labels.data[labels.data > 0], return_counts=True)
        table = pd.DataFrame({"index": index, "name": [names[int(n)] for n in index]})
        write_table(f"{stem}_dseg.tsv", table)
        table["volume-mm3"] = counts * labels.voxel_volume_mm3
        write_table(f"{stem}_morph.tsv", table)


def write_scan_truth(root: Path, prefix: tuple[str, str], truth: ScanTruth) -> None:
    """Write transforms, motion, kinetic parameters and noise-free curves of a scan.

    Parameters
    ----------
    root : Path
        Top of the derivative.
    prefix : tuple of str
        ``sub-<label>`` and ``ses-<label>``.
    truth : ScanTruth
        What the scan was made from.
    """
    stem = _stem(root, prefix, "pet", "from-T1w_to-pet_mode-image_xfm")
    write_itk_transform(f"{stem}.txt", truth.geometry.t1w2pet_xfm)
    write_json(
        f"{stem}.json",
        {
            "Description": "Points of the T1w world to points of the PET world, head at injection",
            "Convention": "4x4, RAS+, millimetres; the text file is the same in ITK's convention",
            "Matrix": truth.geometry.t1w2pet_xfm,
        },
    )
    stem = _stem(root, prefix, "pet", "desc-truth")
    write_table(f"{stem}_motion.tsv", _motion_table(truth.geometry.motion_xfm, truth.centre_mm))
    write_json(
        f"{stem}_motion.json",
        {
            "Description": "Rigid motion of the head in every frame: m00 to m23 are the upper "
            "rows of a 4x4 matrix from points of the PET world at injection to the same tissue in "
            "the frame; RAS+. Shifts, and rotations about CentreMm, are the same in six numbers.",
            "CentreMm": truth.centre_mm,
            "trans_x": {"Units": "mm"},
            "rot_x": {"Units": "rad"},
        },
    )
    write_table(f"{stem}_kinpar.tsv", _kinetic_table(truth.kinetics))
    write_json(
        f"{stem}_kinpar.json",
        {
            "ModelName": "SRTM",
            "ReferenceRegion": "cerebellum cortex",
            "k2": {"Units": "1/min"},
            "k2prime": {"Units": "1/min"},
            "k2a": {"Units": "1/min"},
        },
    )
    write_table(f"{stem}_tacs.tsv", _curve_table(truth))
    write_json(
        f"{stem}_tacs.json",
        {"Description": "Without blur, noise or motion", "Units": "Bq/mL", "TimeUnits": "s"},
    )


def _stem(root: Path, prefix: tuple[str, str], datatype: str, ending: str) -> str:
    subject, session = prefix
    folder = root / subject / session / datatype
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder / f"{subject}_{session}_{ending}")


def _labels() -> tuple[list[int], list[int]]:
    """Label numbers with a name and the place of each one's tissue."""
    numbers = list(SOURCE_NAMES)
    return numbers, [int(n) - 1 for n in tissue_numbers()[numbers]]


def _motion_table(motion_xfm: FloatArray, centre_mm: FloatArray) -> pd.DataFrame:
    rows = []
    for frame, matrix in enumerate(motion_xfm):
        shift, angle = rigid_parameters(matrix, centre_mm)
        six = {
            f"{kind}_{axis}": value
            for kind, values in (("trans", shift), ("rot", angle))
            for axis, value in zip("xyz", values, strict=True)
        }
        cells = {f"m{i}{j}": matrix[i, j] for i in range(3) for j in range(4)}
        rows.append({"frame": frame, **six, **cells})
    return pd.DataFrame(rows)


def _kinetic_table(kinetics: TissueKinetics) -> pd.DataFrame:
    numbers, tissues = _labels()
    return pd.DataFrame(
        {
            "index": numbers,
            "name": [SOURCE_NAMES[n] for n in numbers],
            "tissue": [TISSUES[t].name for t in tissues],
            "R1": kinetics.r1[tissues],
            "k2": kinetics.k2_per_min[tissues],
            "k2prime": kinetics.k2prime_per_min,
            "k2a": kinetics.k2a_per_min[tissues],
            "BPND": kinetics.bpnd[tissues],
        }
    )


def _curve_table(truth: ScanTruth) -> pd.DataFrame:
    numbers, tissues = _labels()
    columns = {"frame_start": truth.timing.start_s, "frame_end": truth.timing.end_s}
    curves = {SOURCE_NAMES[n]: truth.curves_bqml[t] for n, t in zip(numbers, tissues, strict=True)}
    return pd.DataFrame(columns | curves)
