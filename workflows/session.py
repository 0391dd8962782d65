"""One PET run of a subject and session, from frames to its page."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import Any

from nipype.pipeline import engine as pe

from pipeline.bids.findings import Finding
from pipeline.bids.preflight import given_transform
from pipeline.bids.scan import ScanInputs
from pipeline.config.coregistration import CoregistrationOptions
from pipeline.config.schema import Settings
from pipeline.interfaces.outputs import SaveDerivatives
from pipeline.interfaces.reports import SessionPage
from pipeline.kinetics.contract import in_table_order
from workflows import (
    anatomy,
    coregistration,
    kinetics,
    motion,
    normalisation,
    parcellation,
    partial_volume,
    regions,
)
from workflows._graph import Node, given, handed, io_node, same, taken
from workflows.anatomical import AnatomicalOutputs, Folders
from workflows.coregistration import init_coregistration_wf
from workflows.kinetics import init_corrected_kinetics_wf, init_kinetics_wf
from workflows.motion import init_motion_wf
from workflows.outputs import session_results
from workflows.partial_volume import init_partial_volume_wf
from workflows.regions import init_regions_wf, named_images, region_spec

_NO_TOOLS: Mapping[str, str] = MappingProxyType({})
_PACKAGES = ("SimpleITK", "picsl-greedy", "deepbet")
"""What the sentences of backends may name."""


def init_session_wf(
    scan: ScanInputs,
    folders: Folders,
    settings: Settings,
    findings: tuple[Finding, ...] = (),
    versions: Mapping[str, str] = _NO_TOOLS,
) -> Any:
    """Frames, alignment, regions, curves, fits, maps, page and derivatives of one PET run.

    The anatomy comes through `inputnode`, whose ports are `AnatomicalOutputs`. `versions` of tools
    by others are for the page alone: nothing else is computed anew where one changes.
    """
    workflow = pe.Workflow(name=f"{scan.label}_wf")
    inputnode = io_node(AnatomicalOutputs, "inputnode")
    motion_wf = init_motion_wf(settings.motion, settings.resources)
    coregistration_wf = init_coregistration_wf(
        _start_of(settings.coregistration, scan), settings.resources
    )
    regions_wf = init_regions_wf(settings.regions, settings.resources)
    kinetics_wf = init_kinetics_wf(settings)
    motion_wf.inputs.inputnode.pet = [str(path) for path in scan.files]
    motion_wf.inputs.inputnode.scan = scan
    motion_wf.inputs.inputnode.drop_empty = settings.scan.drop_empty
    motion_wf.inputs.inputnode.save_frames = settings.scan.save_frames
    page = _page_node(settings, findings, versions)
    ds_session = _saving_node(scan, folders, settings)

    maps = ("maps", "flags") if settings.kinetics.maps else ()
    maps_mni = ("maps_mni",) if settings.kinetics.maps else ()
    frames = ("pet_preproc",) if settings.scan.save_frames else ()
    motion_files = (*frames, "petref", "motion_xfms", "confounds")
    region_files = (
        *("regions_dseg", "regions_dseg_tsv", "morph", "reference_morph"),
        *("tacs", "reference_uptake"),
    )
    workflow.connect(
        [
            (inputnode, coregistration_wf, taken("t1w_preproc", "brain_mask", *_TISSUES)),
            (inputnode, regions_wf, taken("dseg", "gm_probseg", "t1w2acpc_xfm", "mni2t1w_xfm")),
            (inputnode, kinetics_wf, taken("t1w2mni_xfm")),
            (motion_wf, coregistration_wf, handed("scan", "petref", "pet_preproc")),
            (motion_wf, regions_wf, handed("scan", "petref", "pet_preproc")),
            (motion_wf, kinetics_wf, handed("scan", "pet_preproc")),
            (coregistration_wf, regions_wf, handed("petref2t1w_xfm")),
            (coregistration_wf, kinetics_wf, handed("petref2t1w_xfm")),
            (regions_wf, kinetics_wf, handed("tacs", "brain_mask", "region_weights")),
            (inputnode, page, same(*_PAGE_ANATOMY)),
            (motion_wf, page, given("scan", "petref", "confounds")),
            (motion_wf, page, [("outputnode.quality", "motion_quality")]),
            (coregistration_wf, page, given("petref2t1w_xfm")),
            (coregistration_wf, page, [("outputnode.quality", "coregistration_quality")]),
            (regions_wf, page, given(*region_files)),
            (regions_wf, page, [("outputnode.brain_mask", "brain_mask_pet")]),
            (kinetics_wf, page, given("kinpar", "fitted_tacs", *maps)),
            (motion_wf, ds_session, given(*motion_files)),
            (motion_wf, ds_session, [("outputnode.quality", "moved")]),
            (coregistration_wf, ds_session, given("petref2t1w_xfm")),
            (coregistration_wf, ds_session, [("outputnode.quality", "placed")]),
            (regions_wf, ds_session, given(*region_files, "tac_statistics", "reference_mask")),
            (kinetics_wf, ds_session, given("kinpar", *maps, *maps_mni)),
            (page, ds_session, [("page", "report")]),
        ]
    )
    if settings.partial_volume.label:
        _add_correction(workflow, settings)
    return workflow


def _add_correction(workflow: Any, settings: Settings) -> None:
    """Corrected curves and their fits, between the regions of a session and its page."""
    inputnode, motion_wf, coregistration_wf, regions_wf, page, ds_session = (
        workflow.get_node(step)
        for step in (
            "inputnode",
            "motion_wf",
            "coregistration_wf",
            "regions_wf",
            "page",
            "ds_session",
        )
    )
    partial_volume_wf = init_partial_volume_wf(settings.partial_volume, settings.resources)
    spec = region_spec(settings.regions)
    partial_volume_wf.inputs.inputnode.spec = spec
    partial_volume_wf.inputs.inputnode.mni_images = named_images(spec)
    partial_volume_wf.inputs.inputnode.minimum_volume_mm3 = settings.regions.minimum_volume_mm3
    corrected_kinetics_wf = init_corrected_kinetics_wf(settings)
    region_files = ("reference_mask", "region_weights", "tacs", "morph")
    made = [("outputnode.tacs", "tacs_pvc"), ("outputnode.morph", "morph_pvc")]
    fits = [("outputnode.kinpar", "kinpar_pvc")]
    workflow.connect(
        [
            (inputnode, partial_volume_wf, taken("dseg", "brain_mask", *_PLACES)),
            (motion_wf, partial_volume_wf, handed("petref", "pet_preproc")),
            (coregistration_wf, partial_volume_wf, handed("petref2t1w_xfm")),
            (regions_wf, partial_volume_wf, handed(*region_files)),
            (motion_wf, corrected_kinetics_wf, handed("scan")),
            (partial_volume_wf, corrected_kinetics_wf, handed("tacs")),
            (partial_volume_wf, page, made[1:]),
            (partial_volume_wf, ds_session, list(made)),
            (corrected_kinetics_wf, page, list(fits)),
            (corrected_kinetics_wf, ds_session, list(fits)),
        ]
    )


_PLACES = ("gm_probseg", "t1w2acpc_xfm", "mni2t1w_xfm")
_TISSUES = ("gm_probseg", "wm_probseg", "csf_probseg")
_PAGE_ANATOMY = ("t1w_preproc", "brain_mask", *_TISSUES, "dseg", "quality")


def _start_of(options: CoregistrationOptions, scan: ScanInputs) -> CoregistrationOptions:
    """The options for one run: where transforms are given, the name of its own file."""
    if options.init_file is None:
        return options
    return options.model_copy(update={"init": str(given_transform(options.init_file, scan))})


def methods(settings: Settings, versions: Mapping[str, str] = _NO_TOOLS) -> list[str]:
    """What the backends that run did, a sentence or two each, and by which versions of what."""
    said = [
        anatomy.MODULES[settings.anatomy.backend].methods(settings.anatomy),
        normalisation.MODULES[settings.normalisation.backend].METHODS,
        parcellation.MODULES[settings.parcellation.backend].METHODS,
        motion.MODULES[settings.motion.backend].METHODS,
        coregistration.MODULES[settings.coregistration.backend].METHODS,
        regions.methods(settings.regions),
        *kinetics.methods(settings.kinetics),
        partial_volume.MODULES[settings.partial_volume.backend].METHODS,
    ]
    packages = {name: _version(name) for name in _PACKAGES if any(name in text for text in said)}
    return [*said, *_named("Programs", versions), *_named("Packages", packages)]


def _named(kind: str, versions: Mapping[str, str]) -> list[str]:
    """One sentence with names and versions; none where there is nothing to name."""
    told = [f"{name} {number or '(version unknown)'}" for name, number in versions.items()]
    return [f"{kind}: {', '.join(told)}."] if told else []


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def required_tools(settings: Settings) -> dict[str, list[str]]:
    """Tools that the backends need, by their names in `REQUIRES`, each with the steps that do."""
    steps = {
        "anatomy": (anatomy, settings.anatomy),
        "normalisation": (normalisation, settings.normalisation),
        "parcellation": (parcellation, settings.parcellation),
        "motion": (motion, settings.motion),
        "coregistration": (coregistration, settings.coregistration),
        "partial_volume": (partial_volume, settings.partial_volume),
    }
    tools: dict[str, list[str]] = {}
    for step, (module, options) in steps.items():
        for tool in module.MODULES[options.backend].REQUIRES:
            tools.setdefault(tool, []).append(step)
    return tools


def _page_node(
    settings: Settings, findings: tuple[Finding, ...], versions: Mapping[str, str]
) -> Any:
    node = SessionPage(
        reference=settings.regions.reference_name,
        models=in_table_order(settings.kinetics.models),
        pvc=settings.partial_volume.label,
        findings=list(findings),
        methods=methods(settings, versions),
        # what a run may take of the machine shapes no result, so it must not change the page
        settings=settings.model_dump(mode="json", exclude={"resources"}),
    )
    return Node(node, name="page", mem_gb=min(1.5, settings.resources.mem_gb))


def _saving_node(scan: ScanInputs, folders: Folders, settings: Settings) -> Any:
    results = session_results(scan, folders.bids_dir, settings)
    node = SaveDerivatives(
        infields=list(results.targets),
        out_dir=str(folders.out_dir),
        targets=dict(results.targets),
        metadata=dict(results.metadata),
    )
    return Node(node, name="ds_session", mem_gb=0.1)
