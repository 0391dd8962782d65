"""How fast fits are, as ratios: ``pytest -m slow -s tests/benchmarks``.

Times are processor time of this process, so that neither other programs nor a second thread
flatter or spoil them; of several runs the shortest counts. Limits are a few times looser than
what a quiet machine reaches, and guard against falling back to voxel by voxel.

NiftyPAD is compared where ``PETBIND_NIFTYPAD_PYTHON`` names a Python that can import it, for
example that of a virtual environment of its own into which ``pip install niftypad`` went.
It takes no part in anything else here.
"""

import json
import os
import subprocess
import time
import tracemalloc

import nibabel as nib
import numpy as np
import pytest
from scipy.optimize import curve_fit

from pipeline.core.timing import FrameTiming
from pipeline.kinetics import Srtm, Srtm2
from pipeline.kinetics.convolution import ReferenceCurve
from pipeline.kinetics.k2prime import K2Prime

pytestmark = pytest.mark.slow

VOXELS = 1_000_000  # a brain of 1.4 l holds 0.8 million of an HRRT's
DURATION_S = np.repeat([10, 15, 20, 30, 60, 180, 360], [9, 2, 3, 4, 4, 4, 12]).astype(float)
TIMING = FrameTiming(np.cumsum(DURATION_S) - DURATION_S, DURATION_S)
T = TIMING.mid_min
REF = 8 * (1 - np.exp(-T / 0.4)) * (0.6 * np.exp(-T / 12) + 0.4 * np.exp(-T / 120))
SD = 0.7 * np.sqrt(np.maximum(REF, 0.3) * np.exp(0.034 * T) / TIMING.duration_min)
WEIGHTS = 1 / SD**2
K2PRIME = 0.14


def curves(count, noise, rng):
    """Noisy curves (V, F), float32, of a brain's range of R1 and BPND."""
    kinds = 2000
    r1, bpnd = rng.uniform(0.5, 1.2, kinds), rng.uniform(0, 3, kinds)
    k2a = r1 * K2PRIME / (1 + bpnd)
    response = ReferenceCurve(REF, TIMING).convolved(k2a)
    clean = r1[:, None] * REF + (r1 * (K2PRIME - k2a))[:, None] * response
    tacs = rng.standard_normal((count, T.size), np.float32)
    tacs *= (noise * SD).astype(np.float32)
    tacs += clean.astype(np.float32)[rng.integers(0, kinds, count)]
    return tacs


def seconds(run, repeats=3):
    """Shortest processor time of a call."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


class CurveFit:
    """SRTM as a general program fits it curve by curve: 1,024 points, rectangles, mid-frames."""

    def __init__(self):
        self.t = np.linspace(0, TIMING.end_min[-1], 1024)
        self.ref = np.interp(self.t, np.append(0, T), np.append(0, REF))

    def curve(self, _, r1, k2, bpnd):
        k2a = k2 / (1 + bpnd)
        tail = np.convolve(self.ref, np.exp(-k2a * self.t))[: self.t.size] * self.t[1]
        return np.interp(T, self.t, r1 * self.ref + (k2 - r1 * k2a) * tail)

    def fit(self, tacs):
        """BPND and its standard error of every curve, NaN where the program gives up."""
        found = []
        for tac in tacs.astype(float):
            try:
                best, covariance = curve_fit(self.curve, T, tac, p0=(1, 0.1, 1.5), sigma=SD)
            except RuntimeError:
                found.append((np.nan, np.nan))
            else:
                found.append((best[2], np.sqrt(covariance[2, 2])))
        return np.array(found).T


@pytest.fixture(scope="module")
def voxels():
    return curves(VOXELS, 1.0, np.random.default_rng(1))


@pytest.fixture(scope="module")
def srtm_seconds(voxels):
    return seconds(lambda: Srtm().fit_voxels(voxels, REF, TIMING, WEIGHTS))


def test_maps_take_no_longer_than_reading_the_scan(voxels, srtm_seconds, tmp_path):
    path = tmp_path / "pet.nii.gz"
    image = nib.Nifti1Image(voxels.reshape(100, 100, 100, T.size), np.eye(4))
    nib.save(image, path)
    reading = seconds(lambda: np.asarray(nib.load(path).dataobj))
    srtm2 = Srtm2(k2prime=K2Prime(per_min=K2PRIME))
    two = seconds(lambda: srtm2.fit_voxels(voxels, REF, TIMING, WEIGHTS), repeats=2)
    print(
        f"\n{VOXELS:,} voxels x {T.size} frames: nibabel reads {path.stat().st_size / 1e6:.0f} MB "
        f"in {reading:.2f} s\nSRTM {srtm_seconds:.2f} s, {srtm_seconds / reading:.2f} of reading; "
        f"SRTM2 {two:.2f} s, {two / reading:.2f} of reading"
    )
    assert max(srtm_seconds, two) < 3 * reading


def test_maps_are_a_thousand_times_faster_than_voxel_by_voxel(voxels, srtm_seconds):
    sample = voxels[:: VOXELS // 100]
    start = time.process_time()
    bpnd, _ = CurveFit().fit(sample)
    ratio = (time.process_time() - start) / len(sample) * VOXELS / srtm_seconds
    ours = Srtm().fit_voxels(sample, REF, TIMING, WEIGHTS).estimates["BPND"]
    difference = np.nanmedian(np.abs(ours - bpnd))
    print(f"\ncurve_fit per voxel / SRTM: {ratio:.0f}; BPND differs by {difference:.4f} (median)")
    assert difference < 0.02
    assert ratio > 200


def test_regions_with_errors_are_fifty_times_faster_than_one_by_one():
    tacs = curves(1000, 0.1, np.random.default_rng(2))
    ours = seconds(lambda: Srtm().fit(tacs, REF, TIMING, WEIGHTS))
    sample = tacs[::20]
    start = time.process_time()
    bpnd, error = CurveFit().fit(sample)
    ratio = (time.process_time() - start) / len(sample) * len(tacs) / ours
    fit = Srtm().fit(sample, REF, TIMING, WEIGHTS)
    difference = np.nanmedian(np.abs(fit.estimates["BPND"] - bpnd))
    errors = np.nanmedian(np.abs(fit.standard_errors["BPND"] / error - 1))
    print(
        f"\ncurve_fit / SRTM with errors, 1,000 curves in {1e3 * ours:.0f} ms: {ratio:.0f}; BPND "
        f"differs by {difference:.4f}, its standard error by {100 * errors:.1f} % (medians)"
    )
    assert difference < 0.01
    assert errors < 0.1
    assert ratio > 10


def test_memory_of_the_maps_is_below_a_gibibyte(voxels):
    tracemalloc.start()
    try:
        Srtm().fit_voxels(voxels, REF, TIMING, WEIGHTS)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    print(f"\npeak memory beyond the {voxels.nbytes / 2**20:.0f} MiB of input: "
          f"{peak / 2**20:.0f} MiB, maps included")  # fmt: skip
    assert peak < 2**30


NIFTYPAD = os.environ.get("PETBIND_NIFTYPAD_PYTHON", "")

_NIFTYPAD_SCRIPT = """
import json, sys, time
import numpy as np
import niftypad.models
from niftypad.basis import make_basis

scan = np.load(sys.argv[1])
dt = np.stack([scan["start_s"], scan["end_s"]]).astype(int)
t1 = np.arange(dt.max())
ref = np.interp(t1, np.append(0, scan["mid_s"]), np.append(0, scan["ref"]))
basis = make_basis(
    ref, dt, beta_lim=[0.006 / 60, 0.6 / 60], n_beta=128, w=np.sqrt(scan["weights"])
)
bpnd = []
start = time.process_time()
for tac in scan["tacs"].astype(float):
    bpnd.append(float(niftypad.models.srtmb_basis(tac, basis)["bp"]))
seconds = (time.process_time() - start) / len(bpnd)
print(json.dumps({"seconds_per_voxel": seconds, "bpnd": bpnd}))
"""


def test_maps_are_a_hundred_times_faster_than_niftypad(voxels, srtm_seconds, tmp_path):
    if not NIFTYPAD:
        pytest.skip("PETBIND_NIFTYPAD_PYTHON names no Python with NiftyPAD")
    sample = voxels[:: VOXELS // 200]
    path = tmp_path / "scan.npz"
    np.savez(
        path, tacs=sample, ref=REF, weights=WEIGHTS,
        start_s=TIMING.start_s, end_s=TIMING.end_s, mid_s=TIMING.mid_s,
    )  # fmt: skip
    done = subprocess.run(
        [NIFTYPAD, "-c", _NIFTYPAD_SCRIPT, path], capture_output=True, text=True, check=True
    )
    theirs = json.loads(done.stdout.splitlines()[-1])
    ours = Srtm().fit_voxels(sample, REF, TIMING, WEIGHTS).estimates["BPND"]
    ratio = theirs["seconds_per_voxel"] * VOXELS / srtm_seconds
    difference = np.nanmedian(np.abs(ours - np.array(theirs["bpnd"])))
    print(f"\nNiftyPAD / SRTM: {ratio:.0f}; BPND differs by {difference:.4f} (median)")
    assert difference < 0.1  # a grid of 128 rates, an input curve by the second
    assert ratio > 20
