"""A label atlas brought from its own generation of MNI space into the template's.

The two spaces differ by about 2 mm (99th percentile 5 mm). No atlas at hand tells the vermis from
the hemispheres of the cerebellum: it is cut out by its place in MNI space. The atlas has no
image, so one is made from its labels: every structure gets the template's usual intensity. That
image is registered to the template with a stiff deformation, since only its coarse borders can be
trusted. Then the template is labelled as a subject's brain is, with those labels as priors: its
cortex and its deep grey matter get the borders that its image shows, and labels that carry to a
subject without the inflation of an average. Structures that the template's contrast does not bound
keep the atlas' borders.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from pipeline.core.labels import CORTEX_LABELS, LABEL_NAMES
from pipeline.core.volume import Volume
from pipeline.imaging.brain import distance_mm
from pipeline.imaging.greedy import register_deformable
from pipeline.imaging.labelling import label_brain, tissue_shares, warp_atlas
from pipeline.imaging.warp import (
    coarse_grid,
    grid_points_mm,
    resample,
    smooth_and_resample,
)

_CEREBELLAR_CORTEX = (8, 47)
_VERMIS = 172
_VERMIS_HALF_WIDTH_MM = 5.0
_FLUID = 0.24
_INTENSITIES = {
    _FLUID: (4, 43, 5, 44, 14, 15, 24, 31, 63),
    0.74: CORTEX_LABELS,
    0.76: _CEREBELLAR_CORTEX,
    0.77: (17, 53, 18, 54),
    0.81: (11, 50, 26, 58),
    0.89: (12, 51),
    0.90: (10, 49),
    0.95: (16,),
    0.98: (28, 60),
    1.00: (2, 41, 77, 85, 251, 252, 253, 254, 255),
    1.02: (7, 46, 13, 52),
}
"""Intensity of structures on a T1w template, relative to white matter."""
_FLUID_MARGIN_MM = 6.0
_LITTLE_CONTRAST = (7, 8, 46, 47, 10, 49, 28, 60, 16)
"""Cerebellum, thalamus, ventral diencephalon and brain stem."""
_STIFF = "4mm 2mm"


def align_atlas(atlas: Volume, template: Volume) -> Volume:
    """Atlas labels on the grid and in the space of the template.

    Parameters
    ----------
    atlas : Volume
        FreeSurfer-numbered labels in another generation of MNI space; numbers of no region here
        (vessels, optic tract, cortex without a name) take the nearest one that has a name.
    template : Volume
        Skull-stripped T1w template, zero outside the brain.

    Raises
    ------
    ToolError
        If the registration fails.
    """
    atlas = _with_known_labels(atlas)
    fixed = smooth_and_resample(template, coarse_grid(template, 2.0))
    moving = smooth_and_resample(_synthetic_t1w(resample(atlas, template, order=0)), fixed)
    brain = ndimage.binary_dilation(fixed.data > 0)
    field = register_deformable(
        fixed,
        moving,
        np.eye(4),
        fixed_mask=fixed.with_data(brain.astype(np.float32)),
        smoothing=_STIFF,
    )
    near_brain = template.with_data(template.data > 0)
    aligned = warp_atlas(atlas, field, near_brain)
    return _with_vermis(_with_borders_of(template, aligned))


def _with_known_labels(atlas: Volume) -> Volume:
    """Nameless cortex at the medial wall, and specks of vessels, go to what lies around them.

    That is the nearest parcel or white matter: deep nuclei would grow by a third by what they are
    not.
    """
    unknown = ~np.isin(atlas.data, (0, *LABEL_NAMES))
    nearest = ndimage.distance_transform_edt(
        ~np.isin(atlas.data, (*CORTEX_LABELS, 2, 41)),
        sampling=atlas.voxel_size_mm,
        return_distances=False,
        return_indices=True,
    )
    data = atlas.data.copy()
    data[unknown] = atlas.data[tuple(axis[unknown] for axis in nearest)]
    return atlas.with_data(data)


def _with_borders_of(template: Volume, atlas: Volume) -> Volume:
    """Labels bounded by the image of the template where it has the contrast for it."""
    inside = template.with_data(ndimage.binary_fill_holes(template.data > 0))
    shares = tissue_shares(template, inside, atlas)
    labels = label_brain(template, inside, atlas, shares).data
    kept = np.isin(atlas.data, _LITTLE_CONTRAST)
    return atlas.with_data(np.where(kept, atlas.data, labels).astype(atlas.data.dtype))


def _with_vermis(labels: Volume) -> Volume:
    """Cerebellar cortex next to the mid-sagittal plane of MNI space becomes vermis."""
    from_middle_mm = np.abs(grid_points_mm(labels.shape, labels.affine)[0])
    vermis = np.isin(labels.data, _CEREBELLAR_CORTEX) & (from_middle_mm <= _VERMIS_HALF_WIDTH_MM)
    return labels.with_data(np.where(vermis, _VERMIS, labels.data))


def _synthetic_t1w(labels: Volume) -> Volume:
    level = np.zeros(int(labels.data.max()) + 1, np.float32)
    for value, numbers in _INTENSITIES.items():
        level[[number for number in numbers if number < level.size]] = value
    image = level[labels.data]
    outside = labels.data == 0
    image[outside & (distance_mm(outside, labels.voxel_size_mm) < _FLUID_MARGIN_MM)] = _FLUID
    # labels are crisp, the template is an average
    return labels.with_data(ndimage.gaussian_filter(image, 0.8 / labels.voxel_size_mm))
