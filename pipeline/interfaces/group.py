"""Nodes of the group level: gather, test, draw, tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    OutputMultiObject,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from pipeline import __version__
from pipeline.bids.group_statistics import (
    EXCLUSION_COLUMNS,
    INTERACTION_COLUMNS,
    PAIR_COLUMNS,
    PAIRED_COLUMNS,
    REGION_COLUMNS,
    UPTAKE_INTERACTION_COLUMNS,
    UPTAKE_PAIR_COLUMNS,
    UPTAKE_PAIRED_COLUMNS,
    interaction_table,
    paired_table,
)
from pipeline.bids.group_table import (
    GROUP_NAMES,
    GroupSources,
    gather,
    group_place,
    read_pairs,
    source_uris,
    wide_table,
)
from pipeline.io.tables import read_table, write_json, write_table
from pipeline.reports.group import GroupReport, group_figure, render_group
from pipeline.reports.style import figure_bytes
from pipeline.statistics.design import GroupDesign


def _sidecar(folder: Path, key: str, columns: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    software = {"SoftwareName": "petbind", "SoftwareVersion": __version__}
    content = {**columns, **about, **software}
    return str(write_json(folder / f"{GROUP_NAMES[key]}.json", content))


def _design_facts(design: GroupDesign) -> dict[str, Any]:
    return {
        "GroupColumn": design.group_column,
        "SessionsCompared": list(design.sessions),
        "PartialVolumeCorrection": design.pvc or "none",
    }


class _GatherInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    kinpar_files = InputMultiObject(
        File(exists=True), mandatory=True, desc="kinetic parameters of every PET run, sorted"
    )
    participants_file = File(exists=True, desc="participants.tsv")
    sessions_files = InputMultiObject(File(exists=True), desc="sessions.tsv of every subject")
    uptake_files = InputMultiObject(
        File(exists=True), desc="uptake of the reference region of every PET run, sorted"
    )
    design = traits.Instance(GroupDesign, mandatory=True, desc="sessions and groups compared")


class _GatherOutputSpec(TraitedSpec):  # type: ignore[misc]
    regions = File(exists=True, desc="a row per PET run and region")
    wide = File(exists=True, desc="a row per PET run")
    pairs = File(exists=True, desc="a row per subject and region")
    exclusions = File(exists=True, desc="what the tests do not use, and why")
    uptake = File(exists=True, desc="of the reference region, a row per subject and measure")
    sidecars = OutputMultiObject(File(exists=True), desc="what the columns mean, one per table")


class GatherGroup(SimpleInterface):  # type: ignore[misc]
    """One table of the cohort from the tables of its sessions."""

    input_spec, output_spec = _GatherInputSpec, _GatherOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        design, folder = self.inputs.design, Path(runtime.cwd)
        sources = GroupSources(
            kinpar_files=_paths(self.inputs.kinpar_files),
            participants_file=next(iter(_paths(self.inputs.participants_file)), None),
            sessions_files=_paths(self.inputs.sessions_files),
            uptake_files=_paths(self.inputs.uptake_files),
        )
        tables = gather(sources, design)
        about = {**_design_facts(design), "Sources": source_uris(sources)}
        made = {
            "regions": (tables.regions, REGION_COLUMNS),
            "wide": (wide_table(tables.regions), REGION_COLUMNS),
            "pairs": (tables.pairs, PAIR_COLUMNS),
            "exclusions": (tables.exclusions, EXCLUSION_COLUMNS),
            "uptake": (tables.uptake, UPTAKE_PAIR_COLUMNS),
        }
        for key, (table, _) in made.items():
            self._results[key] = str(write_table(folder / f"{GROUP_NAMES[key]}.tsv", table))
        self._results["sidecars"] = [
            _sidecar(folder, key, _described(columns, table), about)
            for key, (table, columns) in made.items()
        ]
        return runtime


def _paths(value: Any) -> tuple[Path, ...]:
    if not isdefined(value):
        return ()
    return tuple(Path(path) for path in ([value] if isinstance(value, str) else value))


def _described(columns: Mapping[str, Any], table: pd.DataFrame) -> dict[str, Any]:
    return {name: text for name, text in columns.items() if name in table.columns}


class _TestInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    pairs = File(exists=True, mandatory=True, desc="a row per subject and region")
    uptake = File(exists=True, mandatory=True, desc="of the reference region, likewise")
    design = traits.Instance(GroupDesign, mandatory=True, desc="sessions and groups compared")


class _TestOutputSpec(TraitedSpec):  # type: ignore[misc]
    paired = File(exists=True, desc="paired t, a row per region and group")
    interaction = File(exists=True, desc="group x time, a row per region")
    uptake_paired = File(exists=True, desc="paired t of the uptake of the reference region")
    uptake_interaction = File(exists=True, desc="group x time of the same")
    sidecars = OutputMultiObject(File(exists=True), desc="what the columns mean, one per table")


class CompareSessions(SimpleInterface):  # type: ignore[misc]
    """Paired t within groups and group x time interaction, region by region."""

    input_spec, output_spec = _TestInputSpec, _TestOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        pairs, uptake = read_pairs(self.inputs.pairs), read_pairs(self.inputs.uptake)
        folder, design = Path(runtime.cwd), _design_facts(self.inputs.design)
        made = {
            "paired": (paired_table(pairs), PAIRED_COLUMNS, "pairs"),
            "interaction": (interaction_table(pairs), INTERACTION_COLUMNS, "pairs"),
            "uptake_paired": (paired_table(uptake), UPTAKE_PAIRED_COLUMNS, "uptake"),
            "uptake_interaction": (
                interaction_table(uptake),
                UPTAKE_INTERACTION_COLUMNS,
                "uptake",
            ),
        }
        place = group_place(self.inputs.design.pvc)
        for key, (table, *_) in made.items():
            self._results[key] = str(write_table(folder / f"{GROUP_NAMES[key]}.tsv", table))
        self._results["sidecars"] = [
            _sidecar(
                folder,
                key,
                columns,
                {**design, "Sources": [f"bids::{place}/{GROUP_NAMES[source]}.tsv"]},
            )
            for key, (_, columns, source) in made.items()
        ]
        return runtime


class _ShowInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    regions = File(exists=True, mandatory=True, desc="a row per PET run and region")
    pairs = File(exists=True, mandatory=True, desc="a row per subject and region")
    exclusions = File(exists=True, mandatory=True, desc="what the tests do not use, and why")
    paired = File(exists=True, mandatory=True, desc="paired t, a row per region and group")
    interaction = File(exists=True, mandatory=True, desc="group x time, a row per region")
    uptake_paired = File(exists=True, desc="paired t of the uptake of the reference region")
    uptake_interaction = File(exists=True, desc="group x time of the same")
    design = traits.Instance(GroupDesign, mandatory=True, desc="sessions and groups compared")
    methods = traits.List(traits.Str, desc="sentences on what was done")


def _report(inputs: Any) -> GroupReport:
    methods: Sequence[str] = inputs.methods if isdefined(inputs.methods) else ()
    return GroupReport(
        sessions=inputs.design.sessions,
        regions=read_table(inputs.regions),
        pairs=read_pairs(inputs.pairs),
        exclusions=read_table(inputs.exclusions),
        paired=read_table(inputs.paired),
        interaction=read_table(inputs.interaction),
        uptake_paired=_table(inputs.uptake_paired),
        uptake_interaction=_table(inputs.uptake_interaction),
        methods=methods,
        version=__version__,
    )


def _table(path: Any) -> pd.DataFrame:
    """A table; empty where it is not given."""
    return read_table(path) if isdefined(path) else pd.DataFrame()


class _FigureOutputSpec(TraitedSpec):  # type: ignore[misc]
    svg = File(exists=True, desc="for papers")
    png = File(exists=True, desc="for slides")


class DrawGroup(SimpleInterface):  # type: ignore[misc]
    """Every subject before and after, by region and group."""

    input_spec, output_spec = _ShowInputSpec, _FigureOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        figure = group_figure(_report(self.inputs))
        for kind in ("svg", "png"):
            path = Path(runtime.cwd) / f"{GROUP_NAMES['figure']}.{kind}"
            path.write_bytes(figure_bytes(figure, kind, dpi=200))
            self._results[kind] = str(path)
        return runtime


class _PageOutputSpec(TraitedSpec):  # type: ignore[misc]
    page = File(exists=True, desc="HTML page of the cohort")


class GroupPage(SimpleInterface):  # type: ignore[misc]
    """The page of the cohort."""

    input_spec, output_spec = _ShowInputSpec, _PageOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        path = Path(runtime.cwd) / "group.html"
        path.write_text(render_group(_report(self.inputs)), encoding="utf-8")
        self._results["page"] = str(path)
        return runtime
