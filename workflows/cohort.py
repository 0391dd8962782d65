"""All sessions of a run in one graph; anatomy once per T1w."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nipype.pipeline import engine as pe
from nipype.pipeline.engine.utils import generate_expanded_graph

from pipeline.bids.entities import parse_name
from pipeline.bids.preflight import Plan
from pipeline.bids.scan import ScanInputs
from pipeline.config.schema import Settings
from pipeline.core.errors import ConfigError
from workflows._graph import handed, port_names
from workflows.anatomical import AnatomicalOutputs, Folders, init_anatomical_wf
from workflows.memory import declare_memory
from workflows.session import init_session_wf

NAME = "petbind_wf"


def init_cohort_wf(
    plan: Plan,
    folders: Folders,
    settings: Settings,
    versions: Mapping[str, str] = MappingProxyType({}),
) -> Any:
    """Every session of a plan, joined to the anatomy of its T1w.

    A T1w has one workflow whose name is made of its file name alone. Sessions that run together
    share it, and so do runs one after another or at the same time, which find its nodes in the
    same working directories. `versions` of tools by others go onto the pages.
    """
    workflow = pe.Workflow(name=NAME, base_dir=str(work_root(folders.work_dir, versions)))
    findings, anatomical_wfs = dict(plan.noted), _anatomical_wfs(plan, folders, settings)
    ports, known = port_names(AnatomicalOutputs), dict(plan.voxels)
    for scan in plan.scans:
        assert scan.t1w is not None  # noqa: S101  a planned scan has its T1w
        noted = findings.get(scan.label, ())
        session_wf = init_session_wf(scan, folders, settings, noted, versions or {})
        sizes = _sizes(known, pet=scan.pet, t1w=scan.t1w)
        declare_memory(session_wf, sizes, settings.resources.mem_gb)
        # a fresh list each time: Nipype keeps it and empties it later
        workflow.connect([(anatomical_wfs[scan.t1w], session_wf, handed(*ports))])
    return workflow


def init_anatomies_wf(
    plan: Plan,
    folders: Folders,
    settings: Settings,
    versions: Mapping[str, str] = MappingProxyType({}),
) -> Any:
    """The anatomy alone of every T1w of a plan, where `init_cohort_wf` finds it."""
    workflow = pe.Workflow(name=NAME, base_dir=str(work_root(folders.work_dir, versions)))
    workflow.add_nodes(list(_anatomical_wfs(plan, folders, settings).values()))
    return workflow


def _anatomical_wfs(plan: Plan, folders: Folders, settings: Settings) -> dict[Path, Any]:
    subjects, known = dict(plan.subjects), dict(plan.voxels)
    workflows = {}
    for t1w in _t1ws(plan.scans):
        workflows[t1w] = init_anatomical_wf(
            t1w,
            t1w_entities(t1w),
            folders,
            settings,
            name=_t1w_name(t1w),
            subject=subjects.get(t1w),
        )
        declare_memory(workflows[t1w], _sizes(known, t1w=t1w), settings.resources.mem_gb)
    return workflows


def _sizes(known: Mapping[Path, int], **images: Path) -> dict[str, int]:
    """Voxels of a frame of some images, by the names given to them; of those that are known."""
    return {name: known[path] for name, path in images.items() if path in known}


def work_root(work_dir: Path, versions: Mapping[str, str] = MappingProxyType({})) -> Path:
    """Where nodes keep their results; which code made them, they know themselves.

    Parameters
    ----------
    work_dir : Path
        As the user named it.
    versions : mapping of str to str
        Name to version of the programs that nodes start: with another version of one, nothing of
        the old is taken for a result of the new.

    Examples
    --------
    >>> work_root(Path("work"), {"SPM12": "r7771 (GNU Octave 7.3.0)"}).name.partition("_")[2]
    'SPM12-r7771-GNU-Octave-7.3.0'
    """
    parts = ["petbind", *(f"{name} {text}" for name, text in versions.items())]
    return work_dir / "_".join(re.sub(r"[^A-Za-z0-9.]+", "-", part).strip("-") for part in parts)


def t1w_entities(t1w: Path) -> dict[str, str]:
    """BIDS entities of a T1w file."""
    name = parse_name(t1w.name)
    return dict(name.entities) if name is not None else {}


def parts_of(scan: ScanInputs) -> tuple[str, str]:
    """Names of the sub-workflows a session consists of: its anatomy and its own."""
    assert scan.t1w is not None  # noqa: S101  a planned scan has its T1w
    return _t1w_name(scan.t1w).removesuffix("_wf"), scan.label


def of_part(plan: Plan, part: str) -> Plan:
    """The plan of the sessions that a part, by its name, belongs to; nothing else is blocked.

    Raises
    ------
    ConfigError
        If no session has it.
    """
    scans = tuple(scan for scan in plan.scans if part in parts_of(scan))
    if not scans:
        known = dict.fromkeys(name for scan in plan.scans for name in parts_of(scan))
        raise ConfigError(f"--part {part}: no such session or T1w; there are {', '.join(known)}")
    return replace(plan, scans=scans, blocked=())


def step_edges(workflow: Any) -> list[tuple[str, str]]:
    """Pairs of steps of a cohort of one session, named ``group.step``; the second waits."""
    graph = generate_expanded_graph(workflow._create_flat_graph())
    return [(_short_name(earlier), _short_name(later)) for earlier, later in graph.edges]


def _short_name(node: Any) -> str:
    _, _, *groups, step = node.fullname.split(".")
    return ".".join([*(group.removesuffix("_wf") for group in groups), step])


def _t1ws(scans: Sequence[ScanInputs]) -> list[Path]:
    return list(dict.fromkeys(scan.t1w for scan in scans if scan.t1w is not None))


def _t1w_name(t1w: Path) -> str:
    return f"{t1w.name.split('.')[0]}_wf"
