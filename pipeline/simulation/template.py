"""A labelled template head: FreeSurfer labels laid on the contrast of the MNI152 template.

The label atlas comes from other brains and another generation of MNI152. Its deep structures are
kept, its cortex is not: grey matter, white matter and fluid are where the template's own tissue
maps say, and each voxel takes the nearest label that fits its tissue.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pipeline.core.labels import CORTEX_LABELS, LABEL_NAMES
from pipeline.core.volume import BoolArray, FloatArray, IntArray, Volume
from pipeline.simulation.regions import (
    BRAIN_STEM,
    CSF,
    SOFT_TISSUE,
    brain_stem_part,
    known_labels,
)

# Affine from ICBM 2009a to the FSL MNI152 that the atlas is laid on: world to world, RAS, mm.
# picsl_greedy 1.4, `-a -dof 12 -m NCC 3x3x3 -n 60x40x0 -jitter 0`, from the 1 mm T1 of both.
_2009A_TO_ATLAS = np.array(
    [
        [0.98788, -0.006216, 0.003506, 0.509766],
        [0.026817, 0.988999, -0.000664, 0.152117],
        [-0.00124, 0.009671, 0.982562, 0.439635],
        [0.0, 0.0, 0.0, 1.0],
    ]
)
_DEEP = (10, 11, 12, 13, 17, 18, 26, 28, 49, 50, 51, 52, 53, 54, 58, 60, BRAIN_STEM, 85)
_OUTER_GREY = (*CORTEX_LABELS, 8, 47)
_DEEP_GREY = (11, 12, 17, 18, 26, 50, 51, 53, 54, 58)
# deep grey matter grows only where no cortex is anywhere near
_DEEP_SHARE = 1 / 3
_WHITE = (2, 41, 7, 46, 28, 60, BRAIN_STEM)
_CALLOSUM = (251, 252, 253, 254, 255)
_FLUID = (4, 43, 5, 44, 14, 15, 31, 63)
_LEFT = tuple(n for n, name in LABEL_NAMES.items() if name.startswith(("Left-", "ctx-lh-")))
_RIGHT = tuple(n for n, name in LABEL_NAMES.items() if name.startswith(("Right-", "ctx-rh-")))
_FLUID_REACH_MM = 3.0
_WALL_MM = 2.0
_PAD_MM = 30.0
_NECK_CENTRE_MM, _NECK_RADII_MM, _NECK_TOP_MM = (0.0, -38.0), (52.0, 62.0), -48.0


@dataclass(frozen=True, eq=False)
class HeadTemplate:
    """Images that a head is built from; `t1w`, `grey` and `white` share one grid.

    Parameters
    ----------
    t1w : Volume
        Brain without skull, ICBM 2009a; zero outside the brain.
    grey, white : Volume
        Tissue fractions, 0 to 1.
    atlas : Volume
        FreeSurfer label numbers on a grid of their own, in FSL's MNI152.
    """

    t1w: Volume
    grey: Volume
    white: Volume
    atlas: Volume

    def coarsened(self, step: int) -> HeadTemplate:
        """Every `step`-th voxel of the template along each axis."""
        return HeadTemplate(
            _every(self.t1w, step), _every(self.grey, step), _every(self.white, step), self.atlas
        )


@dataclass(frozen=True, eq=False)
class LabelledTemplate:
    """A template head with a source number in every voxel, in one padded grid.

    Parameters
    ----------
    sources : Volume
        int16 numbers of `SOURCE_NAMES`, brain and neck; zero elsewhere.
    texture : Volume
        T1w of the brain, white matter at one; zero outside.
    outside_mm : Volume
        Distance from the brain, zero within.
    """

    sources: Volume
    texture: Volume
    outside_mm: Volume


def _every(volume: Volume, step: int) -> Volume:
    affine = volume.affine.copy()
    affine[:3, :3] *= step
    return Volume(np.ascontiguousarray(volume.data[::step, ::step, ::step]), affine)


def label_template(template: HeadTemplate) -> LabelledTemplate:
    """Give every voxel of the template brain its source number.

    Parameters
    ----------
    template : HeadTemplate
        Axes of the template's grid along x, y and z.

    Returns
    -------
    LabelledTemplate
        On the template's grid, padded so that skull and scalp fit.
    """
    brain = ndimage.binary_fill_holes(template.t1w.data > 0.05 * template.t1w.data.max())
    labels = _fitting_labels(template, brain)
    spacing = template.t1w.voxel_size_mm
    pad = [(int(_PAD_MM / mm), int(_PAD_MM / mm)) for mm in spacing]
    affine = template.t1w.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ [before for before, _ in pad]
    sources = Volume(np.pad(labels, pad), affine)
    _place_brain_stem(sources)
    white = float(np.median(template.t1w.data[template.white.data > 0.95]))
    texture = np.pad((template.t1w.data * brain / white).astype(np.float32), pad)
    outside = _distance_mm(np.pad(brain, pad), spacing)
    _place_neck(sources, outside)
    return LabelledTemplate(
        sources, Volume(texture, affine), Volume(outside.astype(np.float32), affine)
    )


def _fitting_labels(template: HeadTemplate, brain: BoolArray) -> IntArray:
    box = ndimage.find_objects(brain.astype(np.int8))[0]
    inside, atlas = brain[box], _atlas_on(template)[box]
    grey, white = template.grey.data[box], template.white.data[box]
    fluid = np.clip(1 - grey - white, 0, 1)
    tissue = np.where(inside, np.argmax(np.stack([fluid, grey, white]), axis=0), -1)
    spacing = template.t1w.voxel_size_mm
    affine = template.t1w.affine
    middle = int(np.rint(-affine[0, 3] / affine[0, 0])) - box[0].start
    # hemispheres apart: across the midline lies the nearest label of the wrong side
    halves = [
        _labels_of_side(
            np.where(np.isin(atlas[half], foreign), 0, atlas[half]), tissue[half], spacing
        )
        for half, foreign in ((slice(None, middle), _RIGHT), (slice(middle, None), _LEFT))
    ]
    fitting = np.concatenate(halves)
    kept = np.isin(atlas, _DEEP) & inside & (fluid < 0.6)
    kept |= np.isin(atlas, _CALLOSUM) & (tissue == 2)
    fitting[kept] = atlas[kept]
    labels = np.zeros(brain.shape, np.int16)
    labels[box] = fitting
    return labels


def _labels_of_side(atlas: IntArray, tissue: IntArray, spacing: FloatArray) -> IntArray:
    """Nearest label that fits the tissue: 0 fluid, 1 grey, 2 white; -1 is outside the brain."""
    to_fluid, fluid = _nearest(atlas, _FLUID, spacing)
    to_outer, outer = _nearest(atlas, _OUTER_GREY, spacing)
    to_deep, deep = _nearest(atlas, _DEEP_GREY, spacing)
    _, white = _nearest(atlas, _WHITE, spacing)
    to_structure, structure = _nearest(atlas, _DEEP, spacing)
    # between white matter and ventricle the template is as grey as cortex, and is none
    is_wall = to_fluid < to_outer
    shallow = np.where(is_wall, white, outer)
    grey = np.where(to_deep < _DEEP_SHARE * to_outer, deep, shallow)
    grey = np.where(is_wall & (to_structure <= _WALL_MM), structure, grey)
    choices = (np.where(to_fluid <= _FLUID_REACH_MM, fluid, CSF), grey, white)
    return np.where(tissue < 0, 0, np.choose(np.maximum(tissue, 0), choices)).astype(np.int16)


def _atlas_on(template: HeadTemplate) -> IntArray:
    """Atlas labels on the template's grid by nearest neighbour."""
    matrix = np.linalg.inv(template.atlas.affine) @ _2009A_TO_ATLAS @ template.t1w.affine
    labels = known_labels(template.atlas.data)
    return np.asarray(
        ndimage.affine_transform(
            labels, matrix[:3, :3], matrix[:3, 3], output_shape=template.t1w.shape, order=0
        )
    )


def _nearest(
    labels: IntArray, allowed: Iterable[int], spacing: FloatArray
) -> tuple[FloatArray, IntArray]:
    """Distance to the nearest of the allowed labels, millimetres, and its number."""
    distance, index = ndimage.distance_transform_edt(
        ~np.isin(labels, list(allowed)), sampling=spacing, return_indices=True
    )
    return distance, labels[tuple(index)]


def _distance_mm(mask: BoolArray, spacing: FloatArray) -> FloatArray:
    """Distance to the mask, computed on a grid of about 2 mm."""
    step = max(1, int(2.0 / float(spacing.min())))
    coarse = ndimage.distance_transform_edt(~mask[::step, ::step, ::step], sampling=spacing * step)
    if step == 1:
        return np.asarray(coarse)
    fine = ndimage.affine_transform(
        coarse.astype(np.float32), np.full(3, 1 / step), output_shape=mask.shape, order=1,
        mode="nearest",
    )  # fmt: skip
    fine[mask] = 0.0
    return np.asarray(fine)


def _world(volume: Volume, where: BoolArray) -> FloatArray:
    """World coordinates of chosen voxels, (3, N)."""
    index = np.stack(np.nonzero(where)).astype(float)
    return np.asarray(volume.affine[:3, :3] @ index + volume.affine[:3, 3:])


def _place_brain_stem(sources: Volume) -> None:
    stem = sources.data == BRAIN_STEM
    sources.data[stem] = brain_stem_part(*_world(sources, stem))


def _place_neck(sources: Volume, outside_mm: FloatArray) -> None:
    """Muscle below the skull, so that the head does not float."""
    planes = int((_NECK_TOP_MM - sources.affine[2, 3]) / sources.affine[2, 2]) + 1
    low = sources.data[..., :planes]
    x, y = (
        sources.affine[axis, 3] + sources.affine[axis, axis] * np.arange(low.shape[axis])
        for axis in (0, 1)
    )
    (cx, cy), (rx, ry) = _NECK_CENTRE_MM, _NECK_RADII_MM
    ellipse = ((x[:, None] - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1
    free = (low == 0) & (outside_mm[..., :planes] > 0)
    low[free & ellipse[..., None]] = SOFT_TISSUE
