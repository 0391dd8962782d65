"""A head whose way to MNI space is known, and derivatives of it as sMRIPrep writes them."""

import json
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import ndimage

from composite_transforms import Known, write_composite
from pipeline.core.transforms import apply_affine
from pipeline.core.volume import Volume
from pipeline.imaging.warp import grid_points_mm
from pipeline.io.atlas import load_template
from pipeline.io.images import write_volume


@dataclass(frozen=True, eq=False)
class MadeHead:
    """Truth of a head, on one grid of the T1w."""

    known: Known
    raw: Volume
    """Uneven and noisy, with skull and scalp."""
    even: Volume
    brain: Volume
    tissues: tuple[Volume, ...]
    """Grey, white, fluid; together 1 in most of the brain."""
    labels: Volume
    """FreeSurfer's numbers of white matter and of one parcel of the cortex, by side."""


@cache
def make_known_head(voxel_mm=2.0):
    """The template, stored back to front and right to left, where `Known` puts it."""
    known, template = Known(), load_template()
    order = np.array([[0, 0, -1.0], [-1.0, 0, 0], [0, 1.0, 0]])
    affine = np.eye(4)
    affine[:3, :3] = voxel_mm * order
    shape = tuple(int(extent / voxel_mm) for extent in (240, 204, 216))
    centre = known.to_t1w(np.array([[0.0], [-18], [6]]))[:, 0]
    affine[:3, 3] = centre - affine[:3, :3] @ (np.array(shape) / 2)
    places = known.to_mni(grid_points_mm(shape, affine))
    image = _pulled(template, places, 1)
    inside = ndimage.binary_fill_holes(_pulled(_mask_of(template), places, 1) > 0.5)
    outside_mm = ndimage.distance_transform_edt(~inside) * voxel_mm
    shells = np.select([inside, outside_mm < 4, outside_mm < 9, outside_mm < 18], [0, 15, 5, 70])
    even = (image / template.data.max() * 110 * inside + shells).astype(np.float32)
    x, y, z = ((p - p.mean()) / 100 for p in grid_points_mm(shape, affine))
    rng = np.random.default_rng(8)
    raw = even * np.exp(0.15 * x - 0.2 * y + 0.1 * z) * 3.7 + rng.normal(0, 5, shape)
    levels = np.percentile(even[inside], (8, 45, 85))
    tissues = tuple(
        Volume((part * inside).astype(np.float32), affine) for part in _soft_tissues(even, levels)
    )
    return MadeHead(
        known,
        Volume(np.maximum(raw, 0).astype(np.float32), affine),
        Volume(even, affine),
        Volume(inside, affine),
        tissues,
        Volume(_labelled(tissues, places[0]), affine),
    )


def _mask_of(template):
    return template.with_data((template.data > 0).astype(np.float32))


def _pulled(volume, places, order):
    voxels = np.moveaxis(
        apply_affine(np.linalg.inv(volume.affine), np.moveaxis(places, 0, -1)), -1, 0
    )
    return ndimage.map_coordinates(volume.data, voxels, order=order)


def _soft_tissues(even, levels):
    fluid, grey, white = levels
    to_grey = np.clip((even - fluid) / (grey - fluid), 0, 1)
    to_white = np.clip((even - grey) / (white - grey), 0, 1)
    return to_grey * (1 - to_white), to_white, 1 - to_grey


def _labelled(tissues, x):
    grey, white, _ = (tissue.data > 0.5 for tissue in tissues)
    left = np.select([white, grey], [2, 1035])
    right = np.select([white, grey], [41, 2035])
    return np.where(x < 0, left, right).astype(np.int32)


def describe(folder, version="0.19.1"):
    """Write the description of the derivatives."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "Name": "sMRIPrep - Structural MRI PREProcessing workflow",
        "BIDSVersion": "1.4.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "sMRIPrep", "Version": version}],
    }
    path = folder / "dataset_description.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def write_derivatives(head, folder, prefix="sub-01/anat/sub-01"):
    """What sMRIPrep would leave of a head; returns the description."""
    place = (folder / prefix).parent
    place.mkdir(parents=True)
    stem = (folder / prefix).name
    write_volume(place / f"{stem}_desc-preproc_T1w.nii.gz", head.even)
    write_volume(place / f"{stem}_desc-brain_mask.nii.gz", head.brain, np.uint8)
    for label, tissue in zip(("GM", "WM", "CSF"), head.tissues, strict=True):
        write_volume(place / f"{stem}_label-{label}_probseg.nii.gz", tissue)
    write_volume(place / f"{stem}_desc-aparcaseg_dseg.nii.gz", head.labels, np.int16)
    ways = ("from-T1w_to-MNI152NLin2009cAsym", "from-MNI152NLin2009cAsym_to-T1w")
    write_composite(head.known, place, [f"{stem}_{way}_mode-image_xfm.h5" for way in ways])
    return describe(folder)
