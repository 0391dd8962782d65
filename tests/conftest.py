"""Settings of the test session and fixtures that every folder shares."""

import os

# Before anything imports nipype or matplotlib.
os.environ.update(NO_ET="1", NIPYPE_NO_ET="1", MPLBACKEND="Agg")

import numpy as np
import pytest


@pytest.fixture
def rng():
    """Random numbers that are the same in every run."""
    return np.random.default_rng(20200601)
