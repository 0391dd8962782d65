"""p values from the data themselves: groups exchanged, or signs turned."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import stats

from pipeline.core.volume import FloatArray
from pipeline.statistics.paired import paired_t
from pipeline.statistics.result import TestResult
from pipeline.statistics.two_sample import two_sample_t

METHODS = {
    "interaction": "Group x time interaction was tested by exchanging the groups of the "
    "changes; effects are Hedges' g of the change, whose interval, unlike p, takes normality for "
    "granted; equality of variances was checked by the Brown-Forsythe test.",
    "paired": "Paired differences were tested by turning their signs; effects are Cohen's "
    "dz, whose interval, unlike p, takes normality for granted.",
}
"""Design to its sentence."""
DRAWING_METHODS = (
    "Permutation p values come from all exchanges or turns where these are no more than the draws "
    "declared, and from seeded random ones elsewhere (Phipson & Smyth 2010)."
)

DRAWS = 9999
_MIN_PER_GROUP = 2


def permuted_interaction(
    change_a: FloatArray, change_b: FloatArray, *, seed: int, draws: int = DRAWS
) -> TestResult:
    r"""Group x time interaction by exchanging the groups of the changes.

    .. math::
        p = \frac{k + 1}{B + 1} \quad\text{from } B \text{ draws,} \qquad
        p = \frac{k}{B} \quad\text{from all } B \text{ exchanges,}

    where k counts mean differences at least as far from zero as the observed one; of all
    exchanges, that itself is one.

    Parameters
    ----------
    change_a, change_b : (NA,), (NB,) arrays
        Second minus first session of every subject of each group; NaN where missing.
    seed : int
        Seed of the draws. All exchanges are taken where there are no more than `draws`.
    draws : int
        Random exchanges.

    Returns
    -------
    TestResult
        `estimate` is the mean change of the first group minus that of the second, without an
        interval; `effect` is Hedges' g, with that of `two_sample_t`.

    References
    ----------
    .. [1] Phipson B, Smyth GK (2010). Stat Appl Genet Mol Biol 9:39.

    Examples
    --------
    >>> a, b = np.array([4.0, 5.0, 6.0]), np.array([1.0, 2.0, 3.0])
    >>> permuted_interaction(a, b, seed=0).p  # two of twenty exchanges
    0.1
    """
    groups = [np.asarray(values, float) for values in (change_a, change_b)]
    a, b = (values[np.isfinite(values)] for values in groups)
    test = TestResult(
        name="group x time by permutation",
        n=(a.size, b.size),
        n_missing=groups[0].size + groups[1].size - a.size - b.size,
        estimate_name="change of the first group minus that of the second",
    )
    if min(test.n) < _MIN_PER_GROUP:
        return replace(
            test, reason=f"{a.size} and {b.size} subjects; two in each group are needed"
        )

    def distance(first: FloatArray, second: FloatArray, axis: int) -> Any:
        return np.abs(first.mean(axis=axis) - second.mean(axis=axis))

    # a sum of few numbers in another order differs by rounding; SciPy allows for it
    exchanges = math.comb(a.size + b.size, a.size)
    p = _p((a, b), distance, "independent", (seed, draws), exchanges)
    student = two_sample_t(a, b, equal_variances=True)
    return replace(
        test, estimate=float(a.mean() - b.mean()), p=p, effect_name="Hedges' g",
        effect=student.effect, effect_low=student.effect_low, effect_high=student.effect_high,
        assumptions=student.assumptions[1:],
    )  # fmt: skip


def sign_flipped_change(differences: FloatArray, *, seed: int, draws: int = DRAWS) -> TestResult:
    """Paired test by turning signs: without an effect, each difference could be its opposite.

    Parameters
    ----------
    differences : (N,) array
        Second minus first session of every subject; NaN where missing.
    seed : int
        Seed of the draws. All turns are taken where there are no more than `draws`.
    draws : int
        Random turns.

    Returns
    -------
    TestResult
        `estimate` is the mean difference, `effect` is dz with the interval of `paired_t`; p as of
        `permuted_interaction`.

    Examples
    --------
    >>> sign_flipped_change(np.array([1.0, 2.0, 3.0]), seed=0).p  # two of eight turns
    0.25
    """
    values = np.asarray(differences, float)
    present = values[np.isfinite(values)]
    test = TestResult(
        name="paired test by turned signs",
        n=(present.size,),
        n_missing=values.size - present.size,
        estimate_name="mean of second minus first",
    )
    if present.size < _MIN_PER_GROUP:
        return replace(test, reason=f"complete pairs: {present.size}; two are needed")

    def distance(sample: FloatArray, axis: int) -> Any:
        return np.abs(sample.mean(axis=axis))

    p = _p((present,), distance, "samples", (seed, draws), 2**present.size)
    student = paired_t(np.zeros(present.size), present)
    return replace(
        test, estimate=float(present.mean()), p=p, effect_name="dz",
        effect=student.dz, effect_low=student.dz_low, effect_high=student.dz_high,
    )  # fmt: skip


def _p(
    data: tuple[FloatArray, ...], distance: Any, kind: str, seeded: tuple[int, int], exchanges: int
) -> float:
    seed, draws = seeded
    found = stats.permutation_test(
        data, distance, permutation_type=kind, alternative="greater", vectorized=True,
        n_resamples=exchanges if exchanges <= draws else draws,
        rng=np.random.default_rng(seed),
    )  # fmt: skip
    return float(found.pvalue)
