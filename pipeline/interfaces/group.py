"""Nodes of the group level: gather, test, tabulate, draw, tell, publish."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
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
from pipeline.bids.clinical import ClinicalFiles
from pipeline.bids.cohort_table import gather
from pipeline.bids.group_sidecars import column_texts, wide_texts
from pipeline.bids.group_table import GROUP_NAMES, GroupSources, source_uris, wide_table
from pipeline.bids.paper_tables import PaperContents, paper_tables
from pipeline.bids.planned_tests import result_table
from pipeline.bids.result_rows import RESULT_COLUMNS
from pipeline.bids.study_descriptives import (
    DESCRIPTIVE_COLUMNS,
    STUDY_EXCLUSION_COLUMNS,
    descriptive_table,
)
from pipeline.bids.study_scores import planned_study, study_values
from pipeline.interfaces.outputs import publish
from pipeline.io.tables import read_table, write_json, write_table
from pipeline.reports.group import GroupReport, render_group
from pipeline.reports.group_figures import group_figures
from pipeline.reports.page import Shown
from pipeline.reports.paper_tables import render_tables
from pipeline.reports.printed_table import PaperWords
from pipeline.reports.style import figure_bytes, image_uri
from pipeline.statistics.design import GroupDesign
from pipeline.statistics.methods import methods_of
from pipeline.statistics.multiplicity import METHODS as ADJUSTMENTS
from pipeline.statistics.study_plan import StudyPlan

_SOURCE_LISTS = ("kinpar_files", "morph_files", "uptake_files", "confounds_files")


def _save(
    folder: Path, name: str, table: pd.DataFrame, columns: Mapping[str, Any], about: Any
) -> str:
    """Write a table and its sidecar; returns the table."""
    write_json(folder / f"{name}.json", {**columns, **about})
    return str(write_table(folder / f"{name}.tsv", table))


def _software() -> dict[str, str]:
    return {"SoftwareName": "petbind", "SoftwareVersion": __version__}


def _paths(value: Any) -> tuple[Path, ...]:
    if not isdefined(value):
        return ()
    return tuple(Path(path) for path in ([value] if isinstance(value, str) else value))


def _with_sidecars(*tables: str) -> list[str]:
    return [file for table in tables for file in (table, str(Path(table).with_suffix(".json")))]


class _GatherInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    kinpar_files = InputMultiObject(
        File(exists=True), mandatory=True, desc="kinetic parameters of every PET run, sorted"
    )
    morph_files = InputMultiObject(File(exists=True), desc="volumes of regions, likewise")
    uptake_files = InputMultiObject(File(exists=True), desc="uptake of the reference, likewise")
    uptake_sidecars = InputMultiObject(File(exists=True), desc="their sidecars, with the dose")
    confounds_files = InputMultiObject(File(exists=True), desc="motion of every run, likewise")
    participants_file = File(exists=True, desc="participants.tsv")
    sessions_files = InputMultiObject(File(exists=True), desc="sessions.tsv of every subject")
    phenotype_files = InputMultiObject(File(exists=True), desc="tables of the folder phenotype")
    design = traits.Instance(GroupDesign, mandatory=True, desc="what is compared")


class _GatherOutputSpec(TraitedSpec):  # type: ignore[misc]
    runs = File(exists=True, desc="a row per PET run and region")
    study = File(exists=True, desc="a row per subject, session and region")
    plan = traits.Any(desc="the plan that the tables are for")
    files = OutputMultiObject(File(exists=True), desc="tables with their sidecars")


class GatherGroup(SimpleInterface):  # type: ignore[misc]
    """The tables of a cohort from those of its sessions, and from its clinical ones."""

    input_spec, output_spec = _GatherInputSpec, _GatherOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        design, folder = self.inputs.design, Path(runtime.cwd)
        participants = _paths(self.inputs.participants_file)
        sources = GroupSources(
            **{name: _paths(getattr(self.inputs, name)) for name in _SOURCE_LISTS},
            clinical=ClinicalFiles(
                participants=participants[0] if participants else None,
                sessions=_paths(self.inputs.sessions_files),
                phenotype=_paths(self.inputs.phenotype_files),
            ),
        )
        cohort = gather(sources, design)
        about = {
            **_design_facts(design, cohort.plan),
            "Sources": source_uris(sources),
            **_software(),
        }
        wide = wide_table(cohort.runs, design.outcome)
        made = {
            "runs": (cohort.runs, column_texts(cohort.runs, sources, cohort.plan)),
            "wide": (wide, wide_texts(wide, sources, cohort.plan)),
            "study": (cohort.table, column_texts(cohort.table, sources, cohort.plan)),
        }
        paths = {
            key: _save(folder, GROUP_NAMES[key], table, columns, about)
            for key, (table, columns) in made.items()
        }
        self._results |= {
            "runs": paths["runs"],
            "study": paths["study"],
            "plan": cohort.plan,
            "files": _with_sidecars(*paths.values()),
        }
        return runtime


def _design_facts(design: GroupDesign, plan: StudyPlan) -> dict[str, Any]:
    scans = {key: label or "n/a" for key, label in dataclasses.asdict(design.scans).items()}
    return {
        "GroupColumn": design.group_column,
        "Blinded": design.blinded,
        "PlanSHA256": design.plan_sha256,
        "Sessions": list(plan.layout.sessions),
        "Scans": scans | {"pvc": design.scans.pvc or "none"},
    }


class _StudyInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    study = File(exists=True, mandatory=True, desc="a row per subject, session and region")
    plan = traits.Any(mandatory=True, desc="what is tested")
    unblind = traits.Bool(mandatory=True, desc="whether groups may be read")
    about = traits.Dict(mandatory=True, desc="for sidecars")


class _StudyOutputSpec(TraitedSpec):  # type: ignore[misc]
    values = File(exists=True, desc="every value of every variable, tidy")
    results = File(exists=True, desc="every planned test")
    exclusions = File(exists=True, desc="what is missing, odd or left out, and what was done")
    methods = traits.List(traits.Str, desc="sentences on what was done")
    files = OutputMultiObject(File(exists=True), desc="tables with their sidecars")


class TestGroup(SimpleInterface):  # type: ignore[misc]
    """The planned tests of a cohort; description alone while it is blinded."""

    __test__ = False  # not a class of tests, whatever pytest makes of the name
    input_spec, output_spec = _StudyInputSpec, _StudyOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        plan, folder = self.inputs.plan, Path(runtime.cwd)
        blinded = plan.needs_groups and not self.inputs.unblind
        known = plan.without_groups if blinded else plan
        study = planned_study(Path(self.inputs.study), known, unblind=self.inputs.unblind)
        about: dict[str, Any] = {**self.inputs.about, **_software()}
        made = {
            "descriptives": (descriptive_table(study, plan.described), DESCRIPTIVE_COLUMNS),
            "exclusions": (study.exclusion_table(), STUDY_EXCLUSION_COLUMNS),
        }
        methods: list[str] = []
        if plan.tests and not blinded:
            results = result_table(study, plan)
            methods = methods_of(plan)
            made["results"] = (results, RESULT_COLUMNS)
            about |= {
                "Alpha": plan.alpha,
                "Multiplicity": plan.multiplicity,
                "Power": plan.power,
                "Methods": methods,
            }
        paths = {
            key: _save(folder, GROUP_NAMES[key], table, columns, about)
            for key, (table, columns) in made.items()
        }
        values = write_table(folder / "values.tsv", study_values(study, plan.described))
        self._results |= {
            "values": str(values),
            "exclusions": paths["exclusions"],
            "methods": methods,
            "files": _with_sidecars(*paths.values()),
        }
        if "results" in paths:
            self._results["results"] = paths["results"]
        return runtime


class _ShowInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    plan = traits.Any(mandatory=True, desc="what was tested")
    values = File(exists=True, mandatory=True, desc="every value of every variable, tidy")
    results = File(exists=True, desc="every planned test")


class _TablesInputSpec(_ShowInputSpec):
    about = traits.Dict(mandatory=True, desc="for sidecars")


class _TablesOutputSpec(TraitedSpec):  # type: ignore[misc]
    page = File(exists=True, desc="all tables, to be pasted into a text")
    files = OutputMultiObject(File(exists=True), desc="tables with their sidecars, and the page")


class TabulateGroup(SimpleInterface):  # type: ignore[misc]
    """The tables that a paper prints."""

    input_spec, output_spec = _TablesInputSpec, _TablesOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        folder, about = Path(runtime.cwd), {**self.inputs.about, **_software()}
        shown = _shown(self.inputs)
        contents = PaperContents.of(self.inputs.plan)
        tables = paper_tables(shown.values, shown.results, contents)
        paths = [
            _save(folder, f"group_desc-{key}_table", table.frame, table.columns, about)
            for key, table in tables.items()
        ]
        page = folder / "group_desc-tables.html"
        frames = {key: table.frame for key, table in tables.items()}
        words = PaperWords(
            labels=contents.labels, adjustment=ADJUSTMENTS[self.inputs.plan.multiplicity]
        )
        page.write_text(render_tables(frames, words), encoding="utf-8")
        self._results |= {"page": str(page), "files": [*_with_sidecars(*paths), str(page)]}
        return runtime


class _FiguresOutputSpec(TraitedSpec):  # type: ignore[misc]
    figures = OutputMultiObject(File(exists=True), desc="figures of the page, SVG, in its order")
    captions = traits.List(traits.Str, desc="words below each")
    widths = traits.List(traits.Float, desc="of each on the page, per cent")
    files = OutputMultiObject(File(exists=True), desc="SVG for papers, PNG for slides")


class DrawGroup(SimpleInterface):  # type: ignore[misc]
    """Subjects over the sessions, correlations and effects."""

    input_spec, output_spec = _ShowInputSpec, _FiguresOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        shown, folder = _shown(self.inputs), Path(runtime.cwd)
        files, captions, widths = [], [], []
        for drawn in group_figures(self.inputs.plan, shown.values, shown.results):
            for kind in ("svg", "png"):
                path = folder / f"group_desc-{drawn.name}_figure.{kind}"
                path.write_bytes(figure_bytes(drawn.figure, kind, dpi=300))
                files.append(str(path))
            captions.append(drawn.caption)
            widths.append(drawn.width_percent)
        self._results |= {
            "figures": [path for path in files if path.endswith(".svg")],
            "captions": captions,
            "widths": widths,
            "files": files,
        }
        return runtime


@dataclass(frozen=True, eq=False)
class _Shown:
    values: pd.DataFrame
    results: pd.DataFrame


def _shown(inputs: Any) -> _Shown:
    """Frames of a study; groups called 1 and 2 stay names."""
    results = pd.DataFrame(columns=list(RESULT_COLUMNS))
    if isdefined(inputs.results):
        results = _labelled(inputs.results)
    return _Shown(_labelled(inputs.values), results)


def _labelled(path: str) -> pd.DataFrame:
    """A table whose labels are text, even where they are numbers."""
    frame, text = read_table(path), read_table(path, as_text=True)
    labels = ("participant_id", "group", "session_id", "region", "groups", "sessions")
    return frame.assign(**{name: text[name] for name in labels if name in frame})


class _PageInputSpec(_ShowInputSpec):
    runs = File(exists=True, mandatory=True, desc="a row per PET run and region")
    exclusions = File(exists=True, mandatory=True, desc="what is missing, odd or left out")
    figures = InputMultiObject(File(exists=True), desc="SVG, in the order of the page")
    captions = traits.List(traits.Str, desc="words below each")
    widths = traits.List(traits.Float, desc="of each on the page, per cent")
    methods = traits.List(traits.Str, desc="sentences on what was done")
    map_figures = InputMultiObject(File(exists=True), desc="PNG of maps of the cohort")
    map_facts = traits.List(traits.Dict, desc="of every voxelwise comparison")
    map_methods = traits.Str(desc="how maps were averaged")
    comparison_methods = traits.Str(desc="how they were compared; said if any could be")
    unblind = traits.Bool(mandatory=True, desc="whether groups were read")
    place = traits.Str(mandatory=True, desc="folder of the results, and name of the page")


class _PageOutputSpec(TraitedSpec):  # type: ignore[misc]
    page = File(exists=True, desc="HTML page of the cohort")


class GroupPage(SimpleInterface):  # type: ignore[misc]
    """The page of the cohort."""

    input_spec, output_spec = _PageInputSpec, _PageOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        shown, plan = _shown(self.inputs), self.inputs.plan
        figures = [
            Shown(image_uri(path.read_bytes(), "svg"), caption, width_percent=width)
            for path, caption, width in zip(
                _paths(self.inputs.figures), self.inputs.captions, self.inputs.widths, strict=True
            )
        ]
        methods = [*(self.inputs.methods if isdefined(self.inputs.methods) else ())]
        map_facts = self.inputs.map_facts if isdefined(self.inputs.map_facts) else []
        if isdefined(self.inputs.map_methods):
            methods.append(self.inputs.map_methods)
        if not all(facts["Reason"] for facts in map_facts):
            methods.append(self.inputs.comparison_methods)
        report = GroupReport(
            plan=plan,
            blinded=plan.needs_groups and not self.inputs.unblind,
            runs=read_table(self.inputs.runs),
            values=shown.values,
            results=shown.results,
            exclusions=_labelled(self.inputs.exclusions),
            figures=figures,
            map_figures=[
                image_uri(path.read_bytes(), "png") for path in _paths(self.inputs.map_figures)
            ],
            map_facts=map_facts,
            methods=methods,
            version=__version__,
        )
        path = Path(runtime.cwd) / f"{self.inputs.place}.html"
        path.write_text(render_group(report), encoding="utf-8")
        self._results["page"] = str(path)
        return runtime


class _PublishInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    files = InputMultiObject(File(exists=True), mandatory=True, desc="results, under their names")
    page = File(exists=True, mandatory=True, desc="the page, which goes beside the folder")
    out_dir = traits.Directory(mandatory=True, nohash=True, desc="root of the derivatives")
    place = traits.Str(mandatory=True, desc="folder of the results below it")
    keep_others = traits.Bool(
        mandatory=True, desc="leave results that an earlier plan made and this one does not"
    )


class _PublishOutputSpec(TraitedSpec):  # type: ignore[misc]
    out_files = traits.List(traits.Str, desc="what is there now, absolute paths")


class PublishGroup(SimpleInterface):  # type: ignore[misc]
    """Copy the results of the cohort to their places; what is there unchanged is not touched.

    An output that was deleted or altered comes back from the working directory at the next run.
    """

    input_spec, output_spec = _PublishInputSpec, _PublishOutputSpec
    _always_run = True
    checked_by_record = True
    """A keyed node knows by its record whether every output is still what it was."""

    def _run_interface(self, runtime: Any) -> Any:
        root, page = Path(self.inputs.out_dir), Path(self.inputs.page)
        folder = root / self.inputs.place
        written = [publish(path, folder / path.name) for path in _paths(self.inputs.files)]
        if not self.inputs.keep_others:
            for path in set(folder.glob("group_*")) - set(written):
                path.unlink()  # of an earlier plan
        written.append(publish(page, root / page.name))
        self._results["out_files"] = [str(path) for path in written]
        return runtime
