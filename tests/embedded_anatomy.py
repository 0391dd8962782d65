"""The chain of the embedded anatomy on an image, without a graph, for tests of what it finds."""

from dataclasses import dataclass
from functools import cache

from pipeline.core.volume import Volume
from pipeline.imaging.atlas_alignment import align_atlas
from pipeline.imaging.bias import correct_bias
from pipeline.imaging.brain import (
    is_stripped,
    locate_brain,
    refine_brain_mask,
    rough_brain_mask,
)
from pipeline.imaging.labelling import TissueShares, label_brain, tissue_shares, warp_atlas
from pipeline.imaging.normalisation import normalise
from pipeline.io.atlas import load_atlas, load_template


@dataclass(frozen=True, eq=False)
class Found:
    """What the chain makes of a head."""

    labels: Volume
    brain: Volume
    shares: TissueShares
    stripped: bool


@cache
def template_atlas():
    """Labels in the space of the template; the same for every head."""
    return align_atlas(load_atlas(), load_template())


def find_anatomy(t1w):
    """Labels, brain, tissues, and whether the image was taken for a stripped one."""
    template = load_template()
    affine = locate_brain(t1w, template)
    rough = rough_brain_mask(t1w, template, affine)
    corrected = correct_bias(t1w, rough).image
    brain = refine_brain_mask(corrected, rough)
    found = normalise(corrected, brain, template, affine)
    atlas = warp_atlas(template_atlas(), found.image2template, brain)
    shares = tissue_shares(corrected, brain, atlas)
    labels = label_brain(corrected, brain, atlas, shares)
    return Found(labels, brain, shares, is_stripped(corrected, brain))
