"""Anatomy by the packages that come with petbind."""

from __future__ import annotations

from typing import Any

from nipype.pipeline import engine as pe

from pipeline.config.schema import EmbeddedAnatomy, Resources
from pipeline.interfaces.anatomy import AlignAtlas, ExtractBrain, Normalise, SegmentTissues
from workflows._graph import SharedNode, io_node
from workflows.anatomy.contract import AnatomyInputs, AnatomyOutputs

REQUIRES: tuple[str, ...] = ()
METHODS = (
    "The T1w was corrected for intensity non-uniformity (N4, SimpleITK) and registered to "
    "MNI152NLin2009cAsym (greedy: affine by mutual information, deformable by local correlation), "
    "which also gave its brain mask. Grey matter, white matter and fluid are the shares of a "
    "Bayesian labelling with atlas priors and drifting class means."
)


def init_embedded_anatomy_wf(
    options: EmbeddedAnatomy, resources: Resources, *, name: str = "anatomy_wf"
) -> Any:
    """Brain, tissues and the way to MNI152 space; see `AnatomyInputs`."""
    workflow = pe.Workflow(name=name)
    inputnode = io_node(AnatomyInputs, "inputnode")
    outputnode = io_node(AnatomyOutputs, "outputnode")
    memory = min(2.5, resources.mem_gb)
    extract_brain = SharedNode(ExtractBrain(), name="extract_brain", mem_gb=memory)
    normalise = SharedNode(Normalise(), name="normalise", mem_gb=memory)
    align_atlas = SharedNode(AlignAtlas(), name="align_atlas", mem_gb=memory, common=True)
    segment_tissues = SharedNode(SegmentTissues(), name="segment_tissues", mem_gb=memory)
    brain = [("t1w_preproc", "t1w_preproc"), ("brain_mask", "brain_mask")]
    tissues = ("gm_probseg", "wm_probseg", "csf_probseg")
    fields = ("t1w2mni_xfm", "mni2t1w_xfm", "quality")
    workflow.connect(
        [
            (inputnode, extract_brain, [("t1w", "t1w")]),
            (
                extract_brain,
                normalise,
                [*brain, ("location", "location"), ("quality", "brain_quality")],
            ),
            (extract_brain, segment_tissues, list(brain)),
            (normalise, segment_tissues, [("mni2t1w_xfm", "mni2t1w_xfm")]),
            (align_atlas, segment_tissues, [("atlas", "atlas")]),
            (extract_brain, outputnode, list(brain)),
            (normalise, outputnode, [(port, port) for port in fields]),
            (segment_tissues, outputnode, [(port, port) for port in tissues]),
        ]
    )
    return workflow
