"""Anatomy that sMRIPrep, fMRIPrep or PETPrep has found already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.pipeline import engine as pe

from pipeline.bids.anatomical_derivatives import DESCRIPTION
from pipeline.config.anatomy import DerivativesAnatomy
from pipeline.config.schema import Resources
from pipeline.interfaces.anatomical_derivatives import FindDerivatives, TakeDerivatives
from pipeline.interfaces.anatomy import AlignAcpc
from workflows._graph import SharedNode, io_node, port_names, same
from workflows.anatomy.contract import AnatomyInputs, AnatomyOutputs

REQUIRES: tuple[str, ...] = ()


def methods(options: DerivativesAnatomy) -> str:
    """What was done, for the page."""
    return (
        "The bias-corrected T1w, its brain, its tissues and its transforms to and from "
        "MNI152NLin2009cAsym were taken from derivatives that sMRIPrep had made, alone or within "
        "fMRIPrep or PETPrep (pipeline and version stand with the anatomy). Tissues were scaled "
        "to shares that add up to one in the brain, and transforms were sampled at 2 mm."
    )


def init_derivatives_anatomy_wf(
    options: DerivativesAnatomy, resources: Resources, *, name: str = "anatomy_wf"
) -> Any:
    """Anatomy of a T1w from other derivatives; see `AnatomyInputs`.

    The images lie on the grid of the derivatives' T1w.
    """
    workflow = pe.Workflow(name=name)
    inputnode = io_node(AnatomyInputs, "inputnode")
    outputnode = io_node(AnatomyOutputs, "outputnode")
    find = SharedNode(
        FindDerivatives(description=str(Path(options.folder, DESCRIPTION).absolute())),
        name="find",
        mem_gb=0.1,
    )
    take = SharedNode(TakeDerivatives(), name="take", mem_gb=min(2.5, resources.mem_gb))
    acpc = SharedNode(AlignAcpc(), name="acpc", mem_gb=min(1.0, resources.mem_gb))
    files = (
        *("t1w_preproc", "brain_mask", "gm_probseg", "wm_probseg", "csf_probseg"),
        *("t1w2mni_xfm", "mni2t1w_xfm"),
    )
    by_acpc = ("t1w2acpc_xfm", "t1w_acpc")
    workflow.connect(
        [
            (inputnode, find, same("t1w")),
            (inputnode, take, same("t1w")),
            (find, take, same(*files, "source")),
            (take, acpc, same("t1w_preproc", "brain_mask", "t1w2mni_xfm")),
            (acpc, outputnode, same(*by_acpc)),
            (take, outputnode, same(*(p for p in port_names(AnatomyOutputs) if p not in by_acpc))),
        ]
    )
    return workflow
