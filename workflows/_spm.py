"""How the nodes of SPM12 are started."""

from __future__ import annotations

import os
from typing import Any

from pipeline.config.schema import SpmProgram


def spm_inputs(program: SpmProgram) -> dict[str, Any]:
    """Inputs of every node of SPM12: what the settings say, else what the environment does.

    The environment has no say in what kind of program a command of the settings is.
    """
    forced = not program.command and os.getenv("FORCE_SPMMCR", "0") not in ("", "0")
    standalone = program.standalone or forced
    named = os.getenv("SPMMCRCMD" if standalone else "MATLABCMD", "")
    command = program.command or named or "matlab"
    folder = program.folder or os.getenv("SPM_PATH", "")
    inputs: dict[str, Any] = {"matlab_cmd": command}
    if standalone:
        inputs["use_mcr"] = True
    elif folder:
        inputs["paths"] = [folder]
    return inputs
