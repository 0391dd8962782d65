"""The cohort: from the tables of its sessions to planned tests, tables, figures and a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.utility import Merge
from nipype.pipeline import engine as pe

from pipeline.bids.group_table import GroupSources, group_place
from pipeline.config.group import Group
from pipeline.interfaces.group import (
    DrawGroup,
    GatherGroup,
    GroupPage,
    PublishGroup,
    TabulateGroup,
    TestGroup,
)
from pipeline.statistics.design import GroupDesign, ScansChosen


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
    out_dir: str | Path, sources: GroupSources, design: GroupDesign, *, name: str = "group_wf"
) -> Any:
    """Tables, tests, figures and page of a cohort.

    Parameters
    ----------
    out_dir : str or path
        Root of the derivatives.
    sources : GroupSources
        Files of the cohort. They are inputs of the first node, so one that is new or changed is
        seen.
    design : GroupDesign
        What is compared.
    """
    place = group_place(design.scans, design.outcome)
    gather = pe.Node(GatherGroup(design=design), name="gather", mem_gb=0.3)
    for key, paths in _inputs(sources).items():
        setattr(gather.inputs, key, [str(path) for path in paths])
    if sources.clinical.participants is not None:
        gather.inputs.participants_file = str(sources.clinical.participants)
    test = pe.Node(TestGroup(unblind=design.unblind, place=place), name="test", mem_gb=0.3)
    tabulate = pe.Node(TabulateGroup(), name="tabulate", mem_gb=0.3)
    draw = pe.Node(DrawGroup(), name="draw", mem_gb=0.5)
    page = pe.Node(GroupPage(unblind=design.unblind, place=place), name="page", mem_gb=0.5)
    files = pe.Node(Merge(4), name="files", mem_gb=0.1)
    ds_group = pe.Node(
        PublishGroup(
            out_dir=str(Path(out_dir).absolute()), place=place, keep_others=design.blinded
        ),
        name="ds_group",
        mem_gb=0.1,
    )
    shown = [("values", "values"), ("results", "results")]
    workflow = pe.Workflow(name=name)
    workflow.connect(
        [
            (gather, test, [("study", "study"), ("plan", "plan")]),
            *((gather, node, [("plan", "plan")]) for node in (tabulate, draw, page)),
            *((test, node, shown) for node in (tabulate, draw, page)),
            (gather, page, [("runs", "runs")]),
            (test, page, [("exclusions", "exclusions"), ("methods", "methods")]),
            (draw, page, [("figures", "figures"), ("captions", "captions")]),
            *(
                (node, files, [("files", f"in{i}")])
                for i, node in enumerate((gather, test, tabulate, draw), start=1)
            ),
            (files, ds_group, [("out", "files")]),
            (page, ds_group, [("page", "page")]),
        ]
    )
    return workflow


def _inputs(sources: GroupSources) -> dict[str, tuple[Path, ...]]:
    """Lists of files by the input that takes them; empty ones are left out."""
    lists = {
        "kinpar_files": sources.kinpar_files,
        "morph_files": sources.morph_files,
        "uptake_files": sources.uptake_files,
        "uptake_sidecars": sources.uptake_sidecars,
        "confounds_files": sources.confounds_files,
        "sessions_files": sources.clinical.sessions,
        "phenotype_files": sources.clinical.phenotype,
    }
    return {key: paths for key, paths in lists.items() if paths}
