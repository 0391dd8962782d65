"""A simulated cohort through a real SLURM: failures named, the rest done, the same to the bit."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.bids.simulated import simulate_dataset
from pipeline.io.tables import read_table
from pipeline.simulation.options import (
    CohortOptions,
    ScannerOptions,
    SimulationOptions,
    short_timing,
)

pytestmark = [pytest.mark.slow, pytest.mark.tool("slurm")]

REPOSITORY = Path(__file__).parents[2]
SETTINGS = ("--set", "kinetics.maps=false")
FIRST = ("sub-01_ses-post", "sub-01_ses-pre")
SECOND = ("sub-02_ses-post", "sub-02_ses-pre")


class Study:
    """A data set and what was made of it."""

    def __init__(self, root):
        self.bids_dir, self.out_dir, self.work_dir = (root / n for n in ("bids", "out", "work"))

    def call(self, *words, code=0):
        """What a command says."""
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", *words, "--work-dir", self.work_dir, *SETTINGS],
            cwd=REPOSITORY, env=os.environ | {"COLUMNS": "200", "OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def run(self, level, *words):
        return self.call(self.bids_dir, self.out_dir, level, *words)

    def submit(self, *words):
        """Lines of what was handed over, and the words about every part."""
        said = self.call("submit", self.bids_dir, self.out_dir, "--scheduler", "slurm", *words)
        lines = said.splitlines()
        handed = [line.split(":")[0] for line in lines if ": job " in line]
        return handed, {line.split()[0]: " ".join(line.split()[1:]) for line in lines if line}

    def digests(self, folder=""):
        """SHA-256 of every output but the logs."""
        return {
            path.relative_to(self.out_dir).as_posix(): hashlib.sha256(
                path.read_bytes()
            ).hexdigest()
            for path in sorted((self.out_dir / folder).rglob("*"))
            if path.is_file() and "logs" not in path.parts
        }

    def states(self):
        table = read_table(self.out_dir / "logs" / "sessions.tsv")
        return dict(zip(table["session"], table["state"], strict=True))


def wait_for(cluster, at_most_s=900):
    end = time.monotonic() + at_most_s
    while cluster.queued():
        assert time.monotonic() < end, cluster.call("squeue")
        time.sleep(0.5)


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The cohort on this machine, without SLURM."""
    study = Study(tmp_path_factory.mktemp("local"))
    options = SimulationOptions(
        cohort=CohortOptions(group_sizes={"ketamine": 1, "placebo": 1}),
        scanner=ScannerOptions(timing=short_timing(), pet_voxel_mm=5.0, t1w_voxel_mm=2.0),
        seed=1,
    )
    simulate_dataset(study.bids_dir, options)
    study.run("participant", "--n-procs", "2")
    study.run("group")
    return study


@pytest.mark.long
def test_submitting_until_all_is_done_gives_what_a_local_run_gives(cluster, local, tmp_path):
    study = Study(tmp_path)
    shutil.copytree(local.bids_dir, study.bids_dir)
    t1w = Path("sub-02", "ses-pre", "anat", "sub-02_ses-pre_T1w.nii.gz")
    (study.bids_dir / t1w).write_bytes((local.bids_dir / t1w).read_bytes()[:50_000])

    # too little memory: the anatomy is ended, and its sessions do not start
    handed, _ = study.submit("--participant-label", "01", "--sbatch=--mem=150M")
    assert handed == ["anatomy-1", "sessions-1", "sessions-2"]
    wait_for(cluster)
    assert not (study.out_dir / "logs" / "sessions.tsv").exists()

    # one bad anatomy stops its own sessions and no others
    handed, told = study.submit("--group")
    assert handed == ["anatomy-1", "sessions-1", "sessions-2", "group"]
    assert "exceeded memory limit" in told["sub-01_ses-pre_T1w"]
    wait_for(cluster)
    assert study.states() == dict.fromkeys(FIRST, "done") | dict.fromkeys(SECOND, "failed")
    reasons = read_table(study.out_dir / "logs" / "sessions.tsv")["reason"].dropna()
    assert all("sub-02_ses-pre_T1w.nii.gz" in reason for reason in reasons)
    assert not list(study.work_dir.glob("submit/002/sessions-*_2.log"))
    assert (study.out_dir / "group.html").is_file()

    # mended, and one task cancelled
    shutil.copyfile(local.bids_dir / t1w, study.bids_dir / t1w)
    handed, told = study.submit("--group")
    assert handed == ["anatomy-1", "sessions-1", "sessions-2", "group"]
    assert told["sub-02_ses-pre_T1w"] == "to do FAILED (NonZeroExitCode)"
    assert not set(FIRST) & set(told)
    job = cluster.call("squeue", "-h", "-r", "-o", "%i %k").splitlines()
    cancelled = next(line.split()[0] for line in job if "sessions-2 " in line)
    cluster.call("scancel", cancelled)
    # what is on its way is not submitted twice
    handed, told = study.submit()
    assert "sub-02_ses-post" in told
    assert handed == ["sessions-1"]
    wait_for(cluster)

    handed, told = study.submit("--group")
    assert handed == ["group"]
    wait_for(cluster)
    assert study.states() == dict.fromkeys([*FIRST, *SECOND], "done")
    assert study.digests() == local.digests()
    assert len(study.digests()) > 100


@pytest.mark.long
def test_every_node_as_a_job_gives_what_a_local_run_gives(cluster, local, tmp_path):
    study = Study(tmp_path)
    shutil.copytree(local.bids_dir, study.bids_dir)
    one = ("--participant-label", "01", "--session-label", "pre")
    study.run("participant", *one, "--plugin", "slurm", "--plugin-args", "partition=main poll_s=1")
    folder = "sub-01/ses-pre"
    assert study.digests(folder) == local.digests(folder)
    assert len(study.digests(folder)) > 20
    assert cluster.queued() == []
