"""Anatomy by the packages that come with petbind: SimpleITK, greedy and a Bayesian labelling."""

from __future__ import annotations

from typing import Any

from nipype.pipeline import engine as pe

from pipeline.config.anatomy import EmbeddedAnatomy
from pipeline.config.schema import Resources
from pipeline.interfaces.anatomy import AlignAcpc, ClassifyTissues, FindBrain, Normalise
from workflows._atlas import atlas_node
from workflows._graph import SharedNode, io_node
from workflows.anatomy.contract import AnatomyInputs, AnatomyOutputs

REQUIRES: tuple[str, ...] = ()
_BRAIN_METHODS = {
    "registration": "registration of the template",
    "deepbet": "a convolutional network (deepbet)",
}


def methods(options: EmbeddedAnatomy) -> str:
    """What was done, for the page."""
    return (
        "The T1w image was corrected for intensity non-uniformity (N4, SimpleITK), its brain "
        f"found by {_BRAIN_METHODS[options.brain]} and followed along its edge. "
        "The brain was registered to the ICBM 2009c nonlinear asymmetric template "
        "(MNI152NLin2009cAsym) affinely by normalised mutual information and deformably by local "
        "correlation at 2 mm (picsl-greedy), which carries the commissures that define the "
        "anatomical axes. Shares of grey matter, white matter and cerebrospinal fluid were "
        "estimated by a Gaussian mixture with spatially varying means and priors of a warped "
        "atlas."
    )


def init_embedded_anatomy_wf(
    options: EmbeddedAnatomy, resources: Resources, *, name: str = "anatomy_wf"
) -> Any:
    """Brain, tissues and MNI transform of a T1w by greedy and N4; see `AnatomyInputs`."""
    workflow = pe.Workflow(name=name)
    inputnode = io_node(AnatomyInputs, "inputnode")
    outputnode = io_node(AnatomyOutputs, "outputnode")
    # all else takes one thread, so that no sum depends on their number
    threads = resources.omp_nthreads if options.brain == "deepbet" else 1
    find_brain = SharedNode(
        FindBrain(method=options.brain, threads=threads),
        name="find_brain",
        mem_gb=min(1.5, resources.mem_gb),
        n_procs=min(threads, resources.n_procs),
    )
    normalise = SharedNode(
        Normalise(), name="normalise", mem_gb=min(1.5, resources.mem_gb), n_procs=1
    )
    acpc = SharedNode(AlignAcpc(), name="acpc", mem_gb=min(1.0, resources.mem_gb), n_procs=1)
    align_atlas = atlas_node()
    tissues = SharedNode(
        ClassifyTissues(), name="tissues", mem_gb=min(2.5, resources.mem_gb), n_procs=1
    )
    images = [("t1w_preproc", "t1w_preproc"), ("brain_mask", "brain_mask")]
    shares = [(f"{tissue}_probseg", f"{tissue}_probseg") for tissue in ("gm", "wm", "csf")]
    workflow.connect(
        [
            (inputnode, find_brain, [("t1w", "t1w")]),
            (find_brain, normalise, [*images, ("mni2t1w_affine", "mni2t1w_affine")]),
            (find_brain, tissues, [*images, ("quality", "brain_quality")]),
            (
                normalise,
                tissues,
                [("mni2t1w_xfm", "mni2t1w_xfm"), ("quality", "normalisation_quality")],
            ),
            (find_brain, acpc, images),
            (normalise, acpc, [("t1w2mni_xfm", "t1w2mni_xfm")]),
            (acpc, outputnode, [(port, port) for port in ("t1w2acpc_xfm", "t1w_acpc")]),
            (align_atlas, tissues, [("atlas", "atlas")]),
            (find_brain, outputnode, images),
            (
                normalise,
                outputnode,
                [("t1w2mni_xfm", "t1w2mni_xfm"), ("mni2t1w_xfm", "mni2t1w_xfm")],
            ),
            (tissues, outputnode, [*shares, ("quality", "quality")]),
        ]
    )
    return workflow
