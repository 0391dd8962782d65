"""Settings of the test session and fixtures that every folder shares."""

import os

# Before anything imports nipype or matplotlib.
os.environ.update(NO_ET="1", NIPYPE_NO_ET="1", MPLBACKEND="Agg")

from functools import cache

import numpy as np
import pytest

import one_machine_slurm
from pipeline.core.errors import ToolError


@pytest.fixture
def rng():
    """Random numbers that are the same in every run."""
    return np.random.default_rng(20200601)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Skip a test that needs a program which is not here, and say why."""
    for mark in item.iter_markers("tool"):
        if reason := lacking(mark.args[0]):
            pytest.skip(reason)


@cache
def lacking(name):
    """Why a tool cannot be used; empty where it can."""
    from pipeline.execution.tools import TOOLS, look_for
    from pipeline.io.deepbet import deepbet_is_installed

    if name == "deepbet":
        return "" if deepbet_is_installed() else "deepbet and torch are not installed"
    if name == "slurm":
        return one_machine_slurm.lacking()
    found = look_for(TOOLS[name], _spm_version if name == "spm" else None)
    return f"{TOOLS[name].title}: {found.problem}" if found.problem else ""


def _spm_version():
    from pipeline.config.schema import SpmProgram
    from pipeline.interfaces.spm import find_spm
    from workflows._spm import spm_inputs

    if not {"MATLABCMD", "SPMMCRCMD"} & os.environ.keys():
        raise ToolError("name it: MATLABCMD=octave SPM_PATH=/opt/spm12, or SPMMCRCMD=...")
    return str(find_spm(**spm_inputs(SpmProgram())))
