"""Anatomy by the unified segmentation of SPM12."""

from __future__ import annotations

from typing import Any

from nipype.pipeline import engine as pe

from pipeline.config.anatomy import SpmAnatomy
from pipeline.config.schema import Resources
from pipeline.interfaces.anatomy import AlignAcpc
from pipeline.interfaces.spm_anatomy import AlignPriors, SegmentHead, TakeSegmentation
from workflows._graph import SharedNode, io_node, port_names, same
from workflows._spm import spm_inputs
from workflows.anatomy.contract import AnatomyInputs, AnatomyOutputs

REQUIRES: tuple[str, ...] = ("spm",)


def methods(options: SpmAnatomy) -> str:
    """What was done, for the page."""
    return (
        "Grey matter, white matter and cerebrospinal fluid, the bias field and the deformation to "
        "the tissue priors of SPM12 were estimated by its unified segmentation (Ashburner and "
        f"Friston 2005; sampled at {options.sampling_mm:g} mm). The space of these priors was "
        "registered to the ICBM 2009c nonlinear asymmetric template (MNI152NLin2009cAsym; "
        "picsl-greedy), so that places in MNI space are those of the template."
    )


def init_spm_anatomy_wf(
    options: SpmAnatomy, resources: Resources, *, name: str = "anatomy_wf"
) -> Any:
    """Tissues and MNI transform of a T1w by SPM12; see `AnatomyInputs`."""
    workflow = pe.Workflow(name=name)
    inputnode = io_node(AnatomyInputs, "inputnode")
    outputnode = io_node(AnatomyOutputs, "outputnode")
    mem_gb = min(3.0, resources.mem_gb)
    segment = SharedNode(
        SegmentHead(
            sampling_mm=options.sampling_mm,
            bias_fwhm_mm=options.bias_fwhm_mm,
            bias_regularisation=options.bias_regularisation,
            population=options.population,
            **spm_inputs(resources.spm),
        ),
        name="segment",
        mem_gb=mem_gb,
    )
    align = SharedNode(AlignPriors(), name="align_priors", mem_gb=min(1.0, resources.mem_gb))
    take = SharedNode(TakeSegmentation(), name="take_segmentation", mem_gb=mem_gb)
    acpc = SharedNode(AlignAcpc(), name="acpc", mem_gb=min(1.0, resources.mem_gb))
    segmented = (
        *("corrected", "grey", "white", "fluid", "priors2t1w", "t1w2priors", "handed2t1w_xfm"),
    )
    by_acpc = ("t1w2acpc_xfm", "t1w_acpc")
    workflow.connect(
        [
            (inputnode, segment, same("t1w")),
            (segment, align, same("priors")),
            (inputnode, take, same("t1w")),
            (segment, take, [*same(*segmented), ("quality", "segmentation_quality")]),
            (align, take, same("template2priors", "priors2template")),
            (take, acpc, same("t1w_preproc", "brain_mask", "t1w2mni_xfm")),
            (acpc, outputnode, same(*by_acpc)),
            (take, outputnode, same(*(p for p in port_names(AnatomyOutputs) if p not in by_acpc))),
        ]
    )
    return workflow
