"""A real cluster of two nodes for the tests of this folder."""

import pytest

from one_machine_slurm import Cluster, lacking


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """SLURM on this machine, started for the tests and ended after them; clients find it."""
    if reason := lacking():
        pytest.skip(reason)
    with Cluster(tmp_path_factory.mktemp("slurm")) as started, pytest.MonkeyPatch.context() as env:
        env.setenv("SLURM_CONF", str(started.config))
        # what users have that Nipype's own plugin stumbles over
        env.setenv("SQUEUE_FORMAT", "%u")
        env.delenv("LOGNAME", raising=False)
        yield started
