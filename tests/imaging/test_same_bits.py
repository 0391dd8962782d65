"""The same head gives the same bits, whatever the number of threads, and again."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from pipeline.io.head_template import read_head_template
from pipeline.io.images import read_volume, write_volume
from pipeline.simulation.head import Anatomy, make_head
from pipeline.simulation.template import label_template

pytestmark = pytest.mark.slow

CHAIN = """
import sys
from pathlib import Path
from embedded_anatomy import find_anatomy
from pipeline.io.images import read_volume, write_volume
found = find_anatomy(read_volume(sys.argv[1]))
for name, volume in (("labels", found.labels), ("grey", found.shares.grey)):
    write_volume(Path(sys.argv[2]) / f"{name}.nii", volume)
"""
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")


def sums(folder):
    """Checksums of the voxels of labels and grey matter."""
    return [
        hashlib.sha256(read_volume(folder / f"{name}.nii").data.tobytes()).hexdigest()
        for name in ("labels", "grey")
    ]


def test_threads_and_repeats_make_no_difference(tmp_path, request):
    rng = np.random.default_rng(7)
    head = make_head(label_template(read_head_template()), Anatomy.draw(rng), 2.0, rng)
    image = write_volume(tmp_path / "head.nii", head.t1w)
    places = [str(request.config.rootpath), str(request.config.rootpath / "tests")]
    found = []
    for run, threads in enumerate(("1", "2", "2")):
        folder = tmp_path / str(run)
        folder.mkdir()
        environment = os.environ | dict.fromkeys(THREADS, threads)
        environment["PYTHONPATH"] = os.pathsep.join(places)
        subprocess.run(
            [sys.executable, "-c", CHAIN, str(image), str(folder)], env=environment, check=True
        )
        found.append(sums(folder))
    assert found[0] == found[1] == found[2]
