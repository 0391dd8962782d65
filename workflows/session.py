"""One PET run of a subject and session, from frames to its page."""

from __future__ import annotations

from typing import Any

from nipype.pipeline import engine as pe

from pipeline import __version__
from pipeline.bids.findings import Finding
from pipeline.bids.scan import ScanInputs
from pipeline.config.schema import Settings
from pipeline.interfaces.outputs import SaveDerivatives
from pipeline.interfaces.reports import SessionPage
from workflows import anatomy, coregistration, kinetics, motion, parcellation, regions
from workflows._graph import io_node, port_names
from workflows.anatomical import AnatomicalOutputs, Folders
from workflows.coregistration import init_coregistration_wf
from workflows.kinetics import init_kinetics_wf
from workflows.motion import init_motion_wf
from workflows.outputs import Results, session_results
from workflows.regions import init_regions_wf


def init_session_wf(
    scan: ScanInputs, folders: Folders, settings: Settings, findings: tuple[Finding, ...] = ()
) -> Any:
    """Frames, alignment, regions, curves, fits, maps, page and derivatives of one PET run.

    The anatomy comes through `inputnode`, whose ports are `AnatomicalOutputs`.
    """
    workflow = pe.Workflow(name=f"{scan.label}_wf")
    inputnode = io_node(AnatomicalOutputs, "inputnode")
    motion_wf = init_motion_wf(settings.motion, settings.resources)
    coregistration_wf = init_coregistration_wf(settings.coregistration, settings.resources)
    regions_wf = init_regions_wf(settings.regions, settings.resources)
    kinetics_wf = init_kinetics_wf(
        settings.kinetics, settings.regions.reference_name, settings.resources
    )
    motion_wf.inputs.inputnode.pet = str(scan.pet)
    for step in (motion_wf, regions_wf, kinetics_wf):
        step.inputs.inputnode.scan = scan

    results = session_results(scan, folders.bids_dir, settings)
    page = pe.Node(_page(scan, settings, findings), name="page", mem_gb=1.0)
    ds_session = pe.Node(_saver(results, folders), name="ds_session", mem_gb=0.1)
    connections = [
        (inputnode, coregistration_wf, _ports("t1w_preproc", "brain_mask")),
        (motion_wf, coregistration_wf, _between("petref")),
        (inputnode, regions_wf, _ports("dseg", "mni2t1w_xfm")),
        (motion_wf, regions_wf, _between("petref", "pet_preproc")),
        (coregistration_wf, regions_wf, _between("petref2t1w_xfm")),
        (inputnode, kinetics_wf, _ports("t1w2mni_xfm")),
        (motion_wf, kinetics_wf, _between("pet_preproc")),
        (coregistration_wf, kinetics_wf, _between("petref2t1w_xfm")),
        (regions_wf, kinetics_wf, _between("tacs", "brain_mask")),
    ]
    made = {
        motion_wf: ("pet_preproc", "petref", "motion_xfms", "confounds"),
        coregistration_wf: ("petref2t1w_xfm",),
        regions_wf: ("regions_dseg", "regions_dseg_tsv", "morph", "tacs"),
        kinetics_wf: ("kinpar", "maps", "maps_mni") if settings.kinetics.maps else ("kinpar",),
    }
    connections += [
        (step, ds_session, [(f"outputnode.{port}", port) for port in ports])
        for step, ports in made.items()
    ]
    connections += _page_connections(page, (inputnode, motion_wf, coregistration_wf, regions_wf))
    workflow.connect(connections)
    fitted = [("kinpar", "kinpar"), ("fitted_tacs", "fitted_tacs")]
    fitted += [("maps", "maps")] if settings.kinetics.maps else []
    workflow.connect(kinetics_wf, "outputnode.kinpar", page, "kinpar")
    for port, field in fitted[1:]:
        workflow.connect(kinetics_wf, f"outputnode.{port}", page, field)
    workflow.connect(page, "page", ds_session, "report")
    return workflow
