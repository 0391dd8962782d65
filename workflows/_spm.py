"""How the nodes of SPM12 are started."""

from __future__ import annotations

import os
from typing import Any

from pipeline.config.schema import SpmProgram


def spm_inputs(program: SpmProgram) -> dict[str, Any]:
    """Inputs of every node of SPM12: what the settings say, else what the environment does."""
    standalone = program.standalone or "FORCE_SPMMCR" in os.environ
    named = os.getenv("SPMMCRCMD" if standalone else "MATLABCMD", "")
    command = program.command or named or "matlab"
    folder = program.folder or os.getenv("SPM_PATH", "")
    inputs: dict[str, Any] = {"matlab_cmd": command}
    if standalone:
        inputs["use_mcr"] = True
    elif folder:
        inputs["paths"] = [folder]
    return inputs
