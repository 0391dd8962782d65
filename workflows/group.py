"""The cohort: from the tables of its sessions to tests, a figure and a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.pipeline import engine as pe

from pipeline.bids.group_table import GROUP_NAMES, find_group_sources, group_place
from pipeline.config.schema import Group
from pipeline.interfaces.group import CompareSessions, DrawGroup, GatherGroup, GroupPage
from pipeline.interfaces.outputs import SaveDerivatives
from pipeline.statistics import interaction, paired
from pipeline.statistics.design import GroupDesign

_TABLES = ("regions", "wide", "pairs", "exclusions", "uptake")
_TESTS = ("paired", "interaction", "uptake_paired", "uptake_interaction")


def group_design(options: Group) -> GroupDesign:
    """The settings of the group level as the value that nodes take; no column is one group."""
    return GroupDesign(
        group_column=options.group_column or None, sessions=options.sessions, pvc=options.pvc
    )


def group_targets(pvc: str = "") -> dict[str, str | list[str]]:
    """Where every result of the group level goes, below the output folder."""
    folder = group_place(pvc)
    places: dict[str, str | list[str]] = {
        key: f"{folder}/{GROUP_NAMES[key]}.tsv" for key in (*_TABLES, *_TESTS)
    }
    for name, keys in (("table_sidecars", _TABLES), ("test_sidecars", _TESTS)):
        places[name] = [f"{folder}/{GROUP_NAMES[key]}.json" for key in keys]
    for kind in ("svg", "png"):
        places[kind] = f"{folder}/{GROUP_NAMES['figure']}.{kind}"
    return places | {"page": f"{folder}.html"}


def init_group_wf(
    out_dir: str | Path, bids_dir: str | Path, design: GroupDesign, *, name: str = "group_wf"
) -> Any:
    """Table, tests, figure and page of all sessions whose kinetic parameters are in `out_dir`.

    The files found are inputs of the first node, so a session that is new or changed is seen.
    """
    sources = find_group_sources(Path(out_dir).absolute(), Path(bids_dir).absolute(), design.pvc)
    methods = [paired.METHODS, interaction.METHODS] if design.sessions else []
    targets = group_targets(design.pvc)

    gather = pe.Node(GatherGroup(design=design), name="gather", mem_gb=0.3)
    gather.inputs.kinpar_files = [str(path) for path in sources.kinpar_files]
    gather.inputs.sessions_files = [str(path) for path in sources.sessions_files]
    gather.inputs.uptake_files = [str(path) for path in sources.uptake_files]
    if sources.participants_file is not None:
        gather.inputs.participants_file = str(sources.participants_file)
    compare = pe.Node(CompareSessions(design=design), name="compare", mem_gb=0.3)
    draw = pe.Node(DrawGroup(design=design), name="draw", mem_gb=0.5)
    page = pe.Node(GroupPage(design=design, methods=methods), name="page", mem_gb=0.5)
    ds_group = pe.Node(
        SaveDerivatives(
            infields=list(targets),
            out_dir=str(Path(out_dir).absolute()),
            targets=targets,
            metadata={},
        ),
        name="ds_group",
        mem_gb=0.1,
    )

    shown = [(key, key) for key in ("regions", "pairs", "exclusions")]
    tested = [(key, key) for key in _TESTS]
    workflow = pe.Workflow(name=name)
    workflow.connect(
        [
            (gather, compare, [("pairs", "pairs"), ("uptake", "uptake")]),
            (gather, draw, shown),
            (gather, page, shown),
            (gather, ds_group, [*((k, k) for k in _TABLES), ("sidecars", "table_sidecars")]),
            (compare, draw, tested[:2]),
            (compare, page, tested),
            (compare, ds_group, [*tested, ("sidecars", "test_sidecars")]),
            (draw, ds_group, [("svg", "svg"), ("png", "png")]),
            (page, ds_group, [("page", "page")]),
        ]
    )
    return workflow
