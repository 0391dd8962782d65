"""Programs that pip does not install: what must be there, which version, where it comes from."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import PetbindError, ToolError

Question = Callable[[], str]
"""Gives the version of a tool as people write it, empty where nothing tells it; raises
`ToolError` where the tool cannot work."""


@dataclass(frozen=True)
class Tool:
    """A suite of programs by others."""

    title: str
    """Its name in papers."""
    least: str
    """The oldest version that will do."""
    reason: str
    """Why no older one."""
    install: str
    """A sentence on how to get it."""
    programs: tuple[str, ...] = ()
    """What must be on the PATH."""
    ask: Question | None = None
    """How to find the version; None where that takes settings, which whoever looks has."""


@dataclass(frozen=True)
class Found:
    """What there is of a tool."""

    version: str = ""
    """Empty where it is not known."""
    problem: str = ""
    """Why it cannot be used; empty where it can."""


def look_for(tool: Tool, ask: Question | None = None) -> Found:
    """Whether a tool is there, in which version, and whether that will do.

    Parameters
    ----------
    tool : Tool
        One of `TOOLS`.
    ask : callable, optional
        How to find its version, where the tool does not know by itself.

    Examples
    --------
    >>> look_for(Tool("X", "2.1", "new layout", "", ask=lambda: "2.0.9 (beta)")).problem
    '2.0.9 (beta) is too old: 2.1 or later (new layout)'
    """
    missing = [program for program in tool.programs if shutil.which(program) is None]
    if missing:
        return Found(problem=f"not on the PATH: {', '.join(missing)}")
    question = ask or tool.ask
    try:
        version = "" if question is None else question()
    except PetbindError as error:
        return Found(problem=str(error))
    if version and _numbers(version) < _numbers(tool.least):
        problem = f"{version} is too old: {tool.least} or later ({tool.reason})"
        return Found(version, problem)
    return Found(version)


def _numbers(version: str) -> tuple[int, ...]:
    """The first run of numbers, as far as it is not zero at its end.

    Examples
    --------
    >>> _numbers("r7771 (GNU Octave 7.3.0)"), _numbers("6.0.7.4"), _numbers("6.0")
    ((7771,), (6, 0, 7, 4), (6,))
    """
    found = re.search(r"\d+(?:\.\d+)*", version)
    numbers = [int(number) for number in found[0].split(".")] if found else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def _freesurfer_version() -> str:
    """By the stamp of the build, which names the version between the system and the date."""
    home = os.getenv("FREESURFER_HOME", "")
    if not home:
        raise ToolError(
            "$FREESURFER_HOME is not set, and its programs ask for it; set it to the folder of "
            "FreeSurfer, then source $FREESURFER_HOME/SetUpFreeSurfer.sh"
        )
    found = re.search(r"-v?(\d+\.\d+(?:\.\d+)*)", _read(Path(home) / "build-stamp.txt"))
    return found[1] if found else ""


def _fsl_version() -> str:
    """By the file of the installation that flirt belongs to."""
    home = os.getenv("FSLDIR", "")
    if not home:
        raise ToolError(
            "$FSLDIR is not set, and FNIRT looks there for what it needs; set it to the folder of "
            "FSL, then source $FSLDIR/etc/fslconf/fsl.sh"
        )
    above = Path(shutil.which("flirt") or "flirt").resolve().parents
    told = (_read(place / "etc" / "fslversion") for place in (*above, Path(home)))
    return next((text.split(":")[0].strip() for text in told if text.strip()), "")


def _petpvc_version() -> str:
    command = [shutil.which("petpvc") or "petpvc", "-version"]
    try:
        said = subprocess.run(
            command, capture_output=True, text=True, timeout=20, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"petpvc -version does not work ({error})") from error
    found = re.search(r"Version:\s*(\S+)", said)
    return found[1] if found else ""


def _read(path: Path) -> str:
    return path.read_text("utf-8", errors="replace") if path.is_file() else ""


TOOLS: Mapping[str, Tool] = {
    "spm": Tool(
        title="SPM12",
        least="r6225",
        reason="the first release of SPM12",
        install="Get SPM12 r7771 from https://www.fil.ion.ucl.ac.uk/spm/software/spm12/, to run "
        "in MATLAB, in GNU Octave, or as the standalone, which needs no licence; say how in "
        "resources.spm",
    ),
    "freesurfer": Tool(
        title="FreeSurfer",
        least="6.0",
        reason="mri_coreg came with it",
        install="Get FreeSurfer, 7.4.1 for one, from "
        "https://surfer.nmr.mgh.harvard.edu/fswiki/rel7downloads, its licence, free of charge, "
        "from https://surfer.nmr.mgh.harvard.edu/registration.html, and source "
        "$FREESURFER_HOME/SetUpFreeSurfer.sh",
        programs=("recon-all", "mri_robust_template", "mri_coreg"),
        ask=_freesurfer_version,
    ),
    "fsl": Tool(
        title="FSL",
        least="6.0",
        reason="the series that its makers still mend",
        install="Get FSL from https://fsl.fmrib.ox.ac.uk/fsl/docs/#/install/index (its licence "
        "forbids commercial use) and put $FSLDIR/bin or $FSLDIR/share/fsl/bin on the PATH",
        programs=("flirt", "mcflirt", "fnirt", "convertwarp", "invwarp"),
        ask=_fsl_version,
    ),
    "petpvc": Tool(
        title="PETPVC",
        least="1.2",
        reason="the command line that is used here",
        install="Get PETPVC from https://github.com/UCL/PETPVC/releases and put the folder bin of "
        "what you unpack on the PATH",
        programs=("petpvc",),
        ask=_petpvc_version,
    ),
}
"""Name in the `REQUIRES` of backends to the tool."""
