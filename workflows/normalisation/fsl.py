"""The way to MNI152 space by FLIRT and FNIRT of FSL."""

from __future__ import annotations

from typing import Any

from nipype.pipeline import engine as pe

from pipeline.config.normalisation import FslNormalisation
from pipeline.config.schema import Resources
from pipeline.interfaces.fsl import FLIRT, FNIRT, ConvertWarp, InvWarp
from pipeline.interfaces.tool_normalisation import HandBrain, TakeWarps
from workflows._graph import SharedNode, io_node, port_names, same
from workflows.normalisation.contract import NormalisationInputs, NormalisationOutputs

REQUIRES: tuple[str, ...] = ("fsl",)
METHODS = (
    "For labels, regions and maps, the brain was registered to the ICBM 2009c nonlinear "
    "asymmetric template (MNI152NLin2009cAsym) affinely (FLIRT, FSL) and deformably at 2 mm "
    "(FNIRT, FSL)."
)


def init_fsl_normalisation_wf(
    options: FslNormalisation, resources: Resources, *, name: str = "normalisation_wf"
) -> Any:
    """Affine and deformable registration to the template by FSL; see `NormalisationInputs`."""
    workflow = pe.Workflow(name=name)
    inputnode = io_node(NormalisationInputs, "inputnode")
    outputnode = io_node(NormalisationOutputs, "outputnode")
    mem_gb = min(2.0, resources.mem_gb)
    hand = SharedNode(HandBrain(), name="hand_brain", mem_gb=mem_gb)
    flirt = SharedNode(
        FLIRT(
            dof=12,
            cost=options.cost,
            cost_func=options.cost,
            out_file="affine.nii",
            out_matrix_file="t1w2mni.mat",
        ),
        name="flirt",
        mem_gb=mem_gb,
    )
    spacing_mm = options.warp_resolution_mm
    fnirt = SharedNode(
        FNIRT(
            # its own reference and mask, which lie elsewhere, give way to ours
            config_file="T1_2_MNI152_2mm",
            # what is black around a stripped brain is not missing, and shows where the brain ends
            skip_implicit_in_masking=True,
            skip_implicit_ref_masking=True,
            warp_resolution=(spacing_mm, spacing_mm, spacing_mm),
            fieldcoeff_file="coefficients.nii",
            warped_file="warped.nii",
            log_file="fnirt.log",
        ),
        name="fnirt",
        mem_gb=min(4.0, resources.mem_gb),
    )
    convertwarp = SharedNode(
        ConvertWarp(out_relwarp=True, out_file="warp.nii"), name="convertwarp", mem_gb=mem_gb
    )
    invwarp = SharedNode(
        InvWarp(relative=True, inverse_warp="inverse.nii"), name="invwarp", mem_gb=mem_gb
    )
    take = SharedNode(TakeWarps(), name="take_warps", mem_gb=min(3.0, resources.mem_gb))
    workflow.connect(
        [
            (inputnode, hand, same("t1w_preproc", "brain_mask")),
            (hand, flirt, [("brain", "in_file"), ("template", "reference")]),
            (hand, fnirt, [("brain", "in_file"), ("template", "ref_file")]),
            (hand, fnirt, [("template_mask", "refmask_file")]),
            (flirt, fnirt, [("out_matrix_file", "affine_file")]),
            (hand, convertwarp, [("template", "reference")]),
            (fnirt, convertwarp, [("fieldcoeff_file", "warp1")]),
            (hand, invwarp, [("brain", "reference")]),
            (fnirt, invwarp, [("fieldcoeff_file", "warp")]),
            (inputnode, take, same("t1w_preproc", "brain_mask", "quality")),
            (hand, take, same("brain", "template")),
            (convertwarp, take, [("out_file", "warp")]),
            (invwarp, take, [("inverse_warp", "inverse")]),
            (take, outputnode, same(*port_names(NormalisationOutputs))),
        ]
    )
    return workflow
