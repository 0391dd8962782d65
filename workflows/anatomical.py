"""Everything that depends on a T1w alone; sessions that share it share this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nipype.pipeline import engine as pe

from pipeline.bids.freesurfer_subjects import usual_name
from pipeline.bids.preflight import given_labels
from pipeline.config.parcellation import (
    FreeSurferParcellation,
    GivenParcellation,
    ParcellationOptions,
)
from pipeline.config.schema import Settings
from pipeline.interfaces.outputs import SaveDerivatives
from workflows._graph import Node, given, handed, io_node, port_names
from workflows.anatomy import init_anatomy_wf
from workflows.anatomy.contract import AnatomyOutputs
from workflows.normalisation import init_normalisation_wf
from workflows.normalisation.contract import NormalisationInputs, NormalisationOutputs
from workflows.outputs import anatomical_results
from workflows.parcellation import init_parcellation_wf
from workflows.parcellation.contract import ParcellationInputs


@dataclass(frozen=True)
class AnatomicalOutputs(AnatomyOutputs):
    """Ports of `outputnode`: the anatomy and its parcellation."""

    dseg: str
    """FreeSurfer-numbered labels, T1w space."""


@dataclass(frozen=True)
class Folders:
    """Where the data come from and where results go."""

    bids_dir: Path
    out_dir: Path
    work_dir: Path


def labels_of(
    options: ParcellationOptions, entities: Mapping[str, str], subject: Path | None = None
) -> ParcellationOptions:
    """The options for one T1w: the name of its own file, or of its subject of FreeSurfer."""
    if isinstance(options, GivenParcellation):
        return options.model_copy(update={"dseg": str(given_labels(options.dseg, entities))})
    if isinstance(options, FreeSurferParcellation):
        name = subject.name if subject else usual_name(entities, options.subject)
        folder = str(subject.parent) if subject else options.subjects_dir
        return options.model_copy(update={"subject": name, "subjects_dir": folder})
    return options


def init_anatomical_wf(
    t1w: Path,
    entities: Mapping[str, str],
    folders: Folders,
    settings: Settings,
    *,
    name: str,
    subject: Path | None = None,
) -> Any:
    """Anatomy, way to MNI space and labels of a T1w, and their files; see `AnatomicalOutputs`.

    Where FreeSurfer labels the brain, `subject` is the folder of its subject, if it was looked up.
    """
    workflow = pe.Workflow(name=name)
    anatomy_wf = init_anatomy_wf(settings.anatomy, settings.resources)
    normalisation_wf = init_normalisation_wf(settings.normalisation, settings.resources)
    parcellation_wf = init_parcellation_wf(
        labels_of(settings.parcellation, entities, subject), settings.resources
    )
    outputnode = io_node(AnatomicalOutputs, "outputnode")
    anatomy_wf.inputs.inputnode.t1w = str(t1w)
    parcellation_wf.inputs.inputnode.t1w = str(t1w)

    results = anatomical_results(entities, t1w, folders.bids_dir, settings)
    ds_anatomy = Node(
        SaveDerivatives(
            infields=list(results.targets),
            out_dir=str(folders.out_dir),
            targets=dict(results.targets),
            metadata=dict(results.metadata),
        ),
        name="ds_anatomy",
        mem_gb=0.1,
    )
    ways, needed = port_names(NormalisationOutputs), port_names(ParcellationInputs)
    own = [port for port in port_names(AnatomyOutputs) if port not in ways]
    workflow.connect(
        [
            (anatomy_wf, normalisation_wf, handed(*port_names(NormalisationInputs))),
            (anatomy_wf, parcellation_wf, handed(*(p for p in needed if p in own))),
            (anatomy_wf, outputnode, given(*own)),
            (anatomy_wf, ds_anatomy, given(*(p for p in own if p in results.targets))),
            (normalisation_wf, parcellation_wf, handed(*(p for p in needed if p in ways))),
            (normalisation_wf, outputnode, given(*ways)),
            (normalisation_wf, ds_anatomy, given(*(p for p in ways if p in results.targets))),
            (normalisation_wf, ds_anatomy, [("outputnode.quality", "found")]),
            (parcellation_wf, outputnode, given("dseg")),
            (parcellation_wf, ds_anatomy, given("dseg")),
        ]
    )
    return workflow
