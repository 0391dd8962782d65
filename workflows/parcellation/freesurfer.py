"""Parcellation by recon-all of FreeSurfer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.pipeline import engine as pe

from pipeline.config.parcellation import FreeSurferParcellation
from pipeline.config.schema import Resources
from pipeline.interfaces.anatomy import TakeLabels
from pipeline.interfaces.freesurfer import Reconstruct
from workflows._graph import SharedNode, io_node, same
from workflows.parcellation.contract import ParcellationInputs, ParcellationOutputs

# what is there needs no program; whether anything is missing only the data tell
REQUIRES: tuple[str, ...] = ()
METHODS = (
    "The T1w was segmented and its cortex parcelled by FreeSurfer (recon-all; Desikan-Killiany "
    "atlas)."
)


def init_freesurfer_parcellation_wf(
    options: FreeSurferParcellation, resources: Resources, *, name: str = "parcellation_wf"
) -> Any:
    """Labels of a subject of FreeSurfer, made where they are missing; its name is filled in."""
    workflow = pe.Workflow(name=name)
    inputnode = io_node(ParcellationInputs, "inputnode")
    outputnode = io_node(ParcellationOutputs, "outputnode")
    threads = min(options.threads, resources.n_procs)
    reconstruct = SharedNode(
        Reconstruct(
            subject_dir=str(Path(options.subjects_dir, options.subject)),
            run=options.run,
            threads=threads,
        ),
        name="reconstruct",
        mem_gb=min(6.0, resources.mem_gb),
        n_procs=threads,
    )
    take = SharedNode(TakeLabels(), name="label", mem_gb=min(0.5, resources.mem_gb), n_procs=1)
    workflow.connect(
        [
            (inputnode, reconstruct, same("t1w")),
            (inputnode, take, same("t1w_preproc", "brain_mask")),
            (reconstruct, take, [("labels", "dseg"), ("brain_stem", "brain_stem")]),
            (take, outputnode, same("dseg")),
        ]
    )
    return workflow
