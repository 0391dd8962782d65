"""The cohort: from the tables of its sessions to planned tests, tables, figures, maps, a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.utility import Merge
from nipype.pipeline import engine as pe

from pipeline.bids.clinical import ClinicalTables
from pipeline.bids.group_maps import MapDesign, SubjectMap, find_maps
from pipeline.bids.group_table import GROUP_NAMES, GroupSources, group_place
from pipeline.config.group import Group
from pipeline.config.schema import Settings
from pipeline.interfaces.group import (
    DrawGroup,
    GatherGroup,
    GroupPage,
    PublishGroup,
    TabulateGroup,
    TestGroup,
)
from pipeline.statistics.design import GroupDesign, ScansChosen
from workflows._graph import Node, same
from workflows.group_maps import (
    MarkedRegions,
    init_group_maps_wf,
    methods_of_comparisons,
    methods_of_means,
)
from workflows.memory import declare_memory
from workflows.regions import region_spec


def group_design(options: Group, *, unblind: bool) -> GroupDesign:
    """The settings of the group level as the value that nodes take; no column is one group."""
    return GroupDesign(
        group_column=options.group_column or None,
        sessions=options.sessions,
        scans=ScansChosen(
            tracer=options.tracer,
            task=options.task,
            reconstruction=options.reconstruction,
            model=options.model,
            pvc=options.pvc,
        ),
        plan=None if options.plan is None else options.plan.value,
        unblind=unblind,
    )


def init_group_wf(
    out_dir: str | Path,
    sources: GroupSources,
    design: GroupDesign,
    settings: Settings,
    *,
    name: str = "group_wf",
) -> Any:
    """Tables, tests, figures, maps and page of a cohort.

    Parameters
    ----------
    out_dir : str or path
        Root of the derivatives.
    sources : GroupSources
        Files of the cohort. They are inputs of the first nodes, so one that is new or changed is
        seen.
    design : GroupDesign
        What is compared.
    settings : Settings
        Regions that figures of maps mark, and how maps are compared.
    """
    place = group_place(design.scans, design.outcome)
    gather = _gather_node(sources, design)
    about = {
        "PlanSHA256": design.plan_sha256,
        "Blinded": design.blinded,
        "Sources": [f"bids::{place}/{GROUP_NAMES['study']}.tsv"],
    }
    test = Node(TestGroup(unblind=design.unblind, about=about), name="test", mem_gb=0.3)
    tabulate = Node(TabulateGroup(about=about), name="tabulate", mem_gb=0.3)
    draw = Node(DrawGroup(), name="draw", mem_gb=0.5)
    page = Node(GroupPage(unblind=design.unblind, place=place), name="page", mem_gb=0.5)
    files = Node(Merge(8, ravel_inputs=True), name="files", mem_gb=0.1)
    ds_group = Node(
        PublishGroup(
            out_dir=str(Path(out_dir).absolute()), place=place, keep_others=design.blinded
        ),
        name="ds_group",
        mem_gb=0.1,
    )
    workflow = pe.Workflow(name=name)
    workflow.connect(
        [
            (gather, test, same("study", "plan")),
            *((gather, node, same("plan")) for node in (tabulate, draw, page)),
            *((test, node, same("values", "results")) for node in (tabulate, draw, page)),
            (gather, page, same("runs")),
            (test, page, same("exclusions", "methods")),
            (draw, page, same("figures", "captions", "widths")),
            *(
                (node, files, [("files", f"in{i}")])
                for i, node in enumerate((gather, test, tabulate, draw), start=1)
            ),
            (files, ds_group, [("out", "files")]),
            (page, ds_group, same("page")),
        ]
    )
    if maps := _maps(Path(out_dir), design):
        _add_maps(workflow, maps, design, settings, sources)
    declare_memory(workflow, {}, settings.resources.mem_gb)
    return workflow


def _gather_node(sources: GroupSources, design: GroupDesign) -> Any:
    gather = Node(GatherGroup(design=design), name="gather", mem_gb=0.3)
    lists = {
        "kinpar_files": sources.kinpar_files,
        "morph_files": sources.morph_files,
        "uptake_files": sources.uptake_files,
        "uptake_sidecars": sources.uptake_sidecars,
        "confounds_files": sources.confounds_files,
        "sessions_files": sources.clinical.sessions,
        "phenotype_files": sources.clinical.phenotype,
    }
    for key, paths in lists.items():
        if paths:
            setattr(gather.inputs, key, [str(path) for path in paths])
    if sources.clinical.participants is not None:
        gather.inputs.participants_file = str(sources.clinical.participants)
    return gather


def _maps(out_dir: Path, design: GroupDesign) -> tuple[SubjectMap, ...]:
    """Maps of the scans that were chosen; none where partial volumes are corrected."""
    scans = design.scans
    if scans.pvc:
        return ()  # maps are never corrected
    chosen = {
        "model": scans.model,
        "trc": scans.tracer,
        "task": scans.task,
        "rec": scans.reconstruction,
    }
    return find_maps(out_dir, design.outcome, {key: text for key, text in chosen.items() if text})


def _add_maps(
    workflow: Any,
    maps: tuple[SubjectMap, ...],
    design: GroupDesign,
    settings: Settings,
    sources: GroupSources,
) -> None:
    """Join the maps of the cohort to its files and its page."""
    groups = _group_of_subject(sources, design)
    labels = _group_labels(maps, groups, design)
    sessions = design.sessions or tuple(sorted({found.session for found in maps}))
    compared = len(sessions) == 2 and not design.blinded
    map_design = MapDesign(
        parameter=design.outcome,
        sessions=sessions,
        groups=labels,
        compared=(sessions[0], sessions[1]) if compared else None,
        labels=tuple((key, label) for key in ("model",) if (label := maps[0].label(key))),
    )
    options = settings.group.voxelwise
    group_maps_wf = init_group_maps_wf(map_design, options, _marked(design, settings))
    inputs = group_maps_wf.get_node("inputnode").inputs
    inputs.maps = [str(found.path) for found in maps]
    inputs.participant_ids = [found.participant_id for found in maps]
    inputs.sessions = [found.session for found in maps]
    inputs.groups = [groups.get(found.participant_id, "") for found in maps]
    page = workflow.get_node("page")
    page.inputs.map_methods = methods_of_means(map_design)
    page.inputs.comparison_methods = methods_of_comparisons(map_design, options)
    workflow.connect(
        [
            (
                group_maps_wf,
                page,
                [("outputnode.page_png", "map_figures"), ("outputnode.facts", "map_facts")],
            ),
            *(
                (group_maps_wf, workflow.get_node("files"), [(f"outputnode.{port}", f"in{i}")])
                for i, port in enumerate(("images", "sidecars", "svg", "png"), start=5)
            ),
        ]
    )


def _group_of_subject(sources: GroupSources, design: GroupDesign) -> dict[str, str]:
    """Group of every subject; nobody's while the study is blinded, or of one group."""
    if design.blinded or design.group_column is None:
        return {}
    return ClinicalTables.read(sources.clinical).group_of_subjects(design.group_column)


def _group_labels(
    maps: tuple[SubjectMap, ...], groups: dict[str, str], design: GroupDesign
) -> tuple[str, ...]:
    """Groups in the order of the plan, or of the alphabet."""
    if not groups:
        return ()
    if design.plan is not None:
        return design.plan.layout.groups
    found = (groups.get(found.participant_id, "") for found in maps)
    return tuple(sorted({label for label in found if label}))


def _marked(design: GroupDesign, settings: Settings) -> MarkedRegions:
    """Regions of the plan, or all."""
    spec = region_spec(settings.regions)
    usual = (*settings.regions.labels, *settings.regions.mni)
    wanted = usual if design.plan is None else design.plan.layout.regions_read
    labels = {name: numbers for name, numbers in spec.labels if name in wanted}
    return MarkedRegions(labels, [region for region in spec.mni if region.name in wanted])
