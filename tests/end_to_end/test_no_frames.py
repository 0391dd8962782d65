"""A session without written frames, through the command: no 4-D image, the same results."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.bids.simulated import simulate_dataset
from pipeline.io.images import open_image
from pipeline.simulation.options import (
    CohortOptions,
    ScannerOptions,
    SimulationOptions,
    short_timing,
)

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A simulated session, analysed without frames on disk first, and then with them."""
    root = tmp_path_factory.mktemp("no_frames")
    scanner = ScannerOptions(timing=short_timing(), pet_voxel_mm=5.0, t1w_voxel_mm=2.0)
    cohort = CohortOptions(group_sizes={"ketamine": 1})
    simulate_dataset(root / "bids", SimulationOptions(cohort=cohort, scanner=scanner, seed=1))
    return root


def analysed(root, name, save_frames):
    words = [str(root / "bids"), str(root / name), "participant", "--session-label", "pre"]
    settings = ["kinetics.maps=false", f"scan.save_frames={save_frames}", "scan.drop_frames=[13]"]
    words += [word for setting in settings for word in ("--set", setting)]
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *words, "--work-dir", str(root / "work")],
        cwd=REPOSITORY, env=os.environ | {"COLUMNS": "200"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return {
        path.relative_to(root / name).as_posix(): path.read_bytes()
        for path in (root / name / "sub-01").rglob("*")
        if path.is_file()
    }


def series(*folders):
    """Images with more than one frame; fields have a fifth axis, and one frame."""
    images = [path for folder in folders for path in folder.rglob("*.nii*")]
    return [p.name for p in images if len(s := open_image(p).shape) > 3 and s[3] > 1]


def test_no_series_is_written_and_results_are_the_same(root):
    made = analysed(root, "made", "false")
    assert list((root / "work").rglob("petref.nii.gz"))
    assert series(root / "work", root / "made") == []
    written = analysed(root, "written", "true")
    only = {name for name in written if name not in made}
    stem = "sub-01/ses-pre/pet/sub-01_ses-pre_desc-preproc_pet"
    assert only == {f"{stem}.nii.gz", f"{stem}.json"}
    assert series(root / "written") == ["sub-01_ses-pre_desc-preproc_pet.nii.gz"]
    assert [name for name, content in made.items() if written[name] != content] == []
