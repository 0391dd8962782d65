"""Curves with known kinetics, and what the models find in them under noise.

The truth comes from the differential equations of the models, solved by SciPy: nothing of it is
shared with the code under test. ``python tests/monte_carlo.py`` prints the table.
"""

from dataclasses import dataclass

import numpy as np
from scipy.integrate import solve_ivp

from pipeline.core.decay import decay_constant_per_s
from pipeline.core.timing import FrameTiming
from pipeline.kinetics.k2prime import K2Prime
from pipeline.kinetics.logan import Logan
from pipeline.kinetics.mrtm1 import Mrtm1
from pipeline.kinetics.mrtm2 import Mrtm2
from pipeline.kinetics.srtm import Srtm
from pipeline.kinetics.srtm2 import Srtm2
from pipeline.kinetics.weights import frame_weights

DURATION_S = np.repeat([10, 15, 20, 30, 60, 180, 360], [9, 2, 3, 4, 4, 4, 12]).astype(float)
TIMING = FrameTiming(np.cumsum(DURATION_S) - DURATION_S, DURATION_S)
K2PRIME = 0.14
REGIONS = {
    "OC": (1.054, 1.243, 0.083),
    "ACC": (0.851, 1.135, 0.117),
    "VST": (0.854, 1.780, 0.271),
    "DBS": (0.831, 1.213, 0.329),
    "HIP": (0.776, 0.423, 0.126),
}
"""Region to R1, BPND and the size of its noise in simulated [11C]AZ10419369 scans (SiMBA)."""
REFERENCE_NOISE = 0.03
TRUTH = np.array([values[:2] for values in REGIONS.values()])
NOISE = np.array([values[2] for values in REGIONS.values()])
PER_S = decay_constant_per_s("C11")


def plasma(t_min):
    """Arterial input of Feng's form, kBq/mL, zero before the bolus arrives."""
    x = t_min - 0.231658
    a, b, c = 6301.66, 432.478, -432.166
    slow = b * np.exp(-0.162028 * x) + c * np.exp(-0.161412 * x)
    return np.where(x > 0, (a * x - b - c) * np.exp(-18.6677 * x) + slow, 0.0)


def simulate(timing=TIMING, truth=TRUTH, k2prime=K2PRIME):
    """Frame means (F,) of the reference and (V, F) of targets with (R1, BPND), kBq/mL."""
    r1, bpnd = np.array(truth, float).T
    k2, k2a = r1 * k2prime, r1 * k2prime / (1 + bpnd)
    count = len(r1) + 1

    def slopes(t, state):
        ref, excess = state[0], state[1:count]
        # the part of the target that does not follow the reference at once
        return np.concatenate(
            [
                [0.572642 * plasma(t) - 0.007747 * ref],
                (k2 - r1 * k2a) * ref - k2a * excess,
                state[:count],
            ]
        )

    start = np.maximum(timing.start_min, 0)
    edges = np.unique(np.concatenate([[0.0], start, timing.end_min]))
    solution = solve_ivp(
        slopes, (0, edges[-1]), np.zeros(2 * count), t_eval=edges,
        method="DOP853", rtol=1e-9, atol=1e-9, max_step=0.2,
    )  # fmt: skip
    areas = solution.y[count:]
    means = (
        areas[:, np.searchsorted(edges, timing.end_min)] - areas[:, np.searchsorted(edges, start)]
    )
    means = means / timing.duration_min
    return means[0], r1[:, None] * means[0] + means[1:]


def deviation(curves, size, timing=TIMING):
    """Standard deviation of the noise of decay-corrected curves of regions."""
    growth = np.exp(PER_S * timing.mid_s) / timing.duration_min
    return size * np.sqrt(np.maximum(curves, 0.3) * growth)


def models(k2prime=K2PRIME):
    """The models that are compared."""
    known = K2Prime(per_min=k2prime)
    return {
        "SRTM": Srtm(),
        "SRTM2": Srtm2(k2prime=known),
        "MRTM1": Mrtm1(),
        "MRTM2": Mrtm2(k2prime=known),
        "Logan": Logan(k2prime=known, tstar_min=30.0),
        "Logan, multilinear": Logan(k2prime=known, tstar_min=30.0, form="multilinear"),
    }


@dataclass(frozen=True, eq=False)
class MonteCarlo:
    """Estimates of BPND from noisy scans."""

    models: tuple[str, ...]
    regions: tuple[str, ...]
    truth: np.ndarray
    """(R,) BPND."""
    bpnd: np.ndarray
    """(models, scans, R) estimates."""
    errors: np.ndarray
    """(models, scans, R) standard errors."""

    @property
    def bias_percent(self):
        """Mean error as a share of the truth, (models, R), percent."""
        return 100 * (self.bpnd.mean(axis=1) / self.truth - 1)

    @property
    def cv_percent(self):
        """Standard deviation as a share of the truth, (models, R), percent."""
        return 100 * self.bpnd.std(axis=1, ddof=1) / self.truth

    @property
    def error_ratio(self):
        """Root mean square of the standard errors over the standard deviation, (models, R)."""
        return np.sqrt((self.errors**2).mean(axis=1)) / self.bpnd.std(axis=1, ddof=1)


def run(scans=300, seed=20200601):
    """Fits of all models to all regions of noisy scans."""
    rng = np.random.default_rng(seed)
    ref, tacs = simulate()
    weights = frame_weights("counts", tacs.mean(axis=0), TIMING, PER_S)
    compared = models()
    bpnd = np.empty((len(compared), scans, len(REGIONS)))
    errors = np.empty_like(bpnd)
    for scan in range(scans):
        noisy = tacs + rng.normal(size=tacs.shape) * deviation(tacs, NOISE[:, None])
        noisy_ref = ref + rng.normal(size=ref.shape) * deviation(ref, REFERENCE_NOISE)
        for i, model in enumerate(compared.values()):
            fit = model.fit(noisy, noisy_ref, TIMING, weights)
            bpnd[i, scan], errors[i, scan] = fit.estimates["BPND"], fit.standard_errors["BPND"]
    return MonteCarlo(tuple(compared), tuple(REGIONS), TRUTH[:, 1], bpnd, errors)


def main():
    """Print bias and coefficient of variation by model and region."""
    table = run()
    print("bias / CV of BPND, %".ljust(20), *(name.rjust(12) for name in table.regions))
    for name, bias, cv in zip(table.models, table.bias_percent, table.cv_percent, strict=True):
        cells = (f"{b:+.1f} / {c:.1f}".rjust(12) for b, c in zip(bias, cv, strict=True))
        print(name.ljust(20), *cells)
    print(np.round(table.error_ratio, 2))


if __name__ == "__main__":
    main()
