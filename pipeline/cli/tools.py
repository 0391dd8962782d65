"""Which tools the settings need, what there is of them, and what to do about those that lack."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from pipeline.config.schema import Settings, SpmProgram
from pipeline.core.errors import ConfigError, ToolError
from pipeline.execution.freesurfer_licence import require_licence
from pipeline.execution.tools import TOOLS, Found, Tool, look_for


@dataclass(frozen=True)
class Need:
    """A tool that steps of the settings ask for."""

    tool: Tool
    settings: Mapping[str, str]
    """The settings that ask for it: key to value."""
    found: Found


FURTHER: Mapping[str, Callable[[], object]] = {
    "freesurfer": lambda: require_licence(os.environ),
}
"""Name of a tool to what else must hold, a licence for one; raises a `PetbindError` if not."""


def needed_tools(
    settings: Settings, work_dir: Path, *, labels_to_make: bool = False
) -> list[Need]:
    """The tools that these settings need, and what there is of them.

    Where SPM is one of them it is started, which takes a second or some with MATLAB.

    Parameters
    ----------
    settings : Settings
        Whose backends say what they require.
    work_dir : Path
        Where nodes will work.
    labels_to_make : bool
        Whether recon-all of FreeSurfer has to run; finished labels need no program.
    """
    from workflows.session import required_tools

    needs = []
    required = required_tools(settings)
    if labels_to_make:
        required.setdefault("freesurfer", []).insert(0, "parcellation")
    for name, steps in required.items():
        asking = {f"{step}.backend": str(getattr(settings, step).backend) for step in steps}
        found = look_for(TOOLS[name], _question(name, settings.resources.spm, work_dir))
        needs.append(Need(TOOLS[name], asking, found))
    return needs


def _question(name: str, program: SpmProgram, work_dir: Path) -> Callable[[], str] | None:
    """How to ask a tool for its version, and whether all else is as it must be."""
    own, further = TOOLS[name].ask, FURTHER.get(name)
    ask = own if name != "spm" else lambda: _spm_version(program, work_dir)
    if ask is None or further is None:
        return ask

    def both() -> str:
        further()
        return ask()

    return both


def _spm_version(program: SpmProgram, work_dir: Path) -> str:
    from pipeline.interfaces.spm import find_spm, unspeakable
    from workflows._spm import spm_inputs

    inputs = spm_inputs(program)
    # a node works in its folder by the name that links lead to
    for folder in dict.fromkeys((str(work_dir), str(work_dir.resolve()))):
        if letters := unspeakable(folder, standalone="use_mcr" in inputs):
            raise ToolError(
                f"SPM cannot work in {folder}, whose name holds {' '.join(map(repr, letters))}: "
                "choose another folder with --work-dir"
            )
    for folder in inputs.get("paths", ()):
        if not Path(folder, "spm.m").is_file():
            raise ToolError(f"{folder} holds no spm.m; see resources.spm.folder, or $SPM_PATH")
    found = find_spm(**inputs)
    if found.name != "SPM12":
        raise ToolError(f"{inputs['matlab_cmd']} starts {found.name}, not SPM12")
    return str(found)


def require_tools(needs: Sequence[Need]) -> None:
    """Refuse settings that need what is not there, and name all of it at once.

    Raises
    ------
    ConfigError
        With what lacks, who asks for it, how to get it, and which setting does without.
    """
    lacking = [_what_to_do(need) for need in needs if need.found.problem]
    if lacking:
        heading = "the settings need programs that are not there, or cannot be used"
        raise ConfigError("\n".join([heading, *lacking]))


def _what_to_do(need: Need) -> str:
    asking = " and ".join(f"{key} = '{value}'" for key, value in need.settings.items())
    without = " and ".join(
        f"{key} = '{'anatomy' if key == 'normalisation.backend' else 'embedded'}'"
        for key in need.settings
    )
    advice = f"To do without, set {without}"
    if _LABELS in need.settings:
        advice += "; finished subjects need no program: name their folder in "
        advice += "parcellation.subjects_dir"
    return (
        f"  {need.tool.title}: {need.found.problem}\n"
        f"    needed by {asking}\n    {need.tool.install}\n    {advice}"
    )


def found_versions(needs: Sequence[Need]) -> dict[str, str]:
    """Names of the tools that nodes start, as papers have them, to versions; empty where unknown.

    A subject of FreeSurfer tells itself what made it, before this run or in it.
    """
    started = [need for need in needs if set(need.settings) != {_LABELS}]
    return {need.tool.title: need.found.version for need in started}


_LABELS = "parcellation.backend"


def tools_table(needs: Sequence[Need]) -> Table:
    """The tools for the eye."""
    shown = Table(box=None, pad_edge=False)
    for heading in ("tool", "needed by", "found", "least", "state"):
        shown.add_column(heading, overflow="fold")
    for need in needs:
        bad, version = need.found.problem, need.found.version
        state = f"[red]{'too old' if version else 'not usable'}[/]" if bad else "[green]ready[/]"
        steps = ", ".join(key.removesuffix(".backend") for key in need.settings)
        told = version or ("" if bad else "version unknown")
        shown.add_row(need.tool.title, steps, told, need.tool.least, state)
    return shown
