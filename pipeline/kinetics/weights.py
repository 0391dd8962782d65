"""Frame weights, which multiply squared residuals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import numpy as np

from pipeline.core.decay import frame_decay_factors
from pipeline.core.timing import FrameTiming
from pipeline.core.volume import FloatArray

FrameWeights = Literal[
    "counts",
    "uniform",
    "duration",
    "kinfitr-1",
    "kinfitr-2",
    "kinfitr-3",
    "kinfitr-4",
    "kinfitr-5",
    "kinfitr-6",
    "kinfitr-7",
    "kinfitr-8",
    "kinfitr-9",
]
"""How frames are weighted."""

_FLOOR_SHARE = 0.3
"""On published scans the error of BPND is least with this, and grows where it is small."""
_KINFITR_FLOOR_SHARE = 0.01
_KINFITR_QUOTIENTS = (1, 3, 6, 8, 9)
_KINFITR_MIN_WEIGHT = 0.5
_KINFITR_TOP = 5


def frame_weights(
    method: str, tac: FloatArray, timing: FrameTiming, decay_constant_per_s: float
) -> FloatArray:
    """Weights by the name of the method, mean one over the frames that have weight.

    Parameters
    ----------
    method : str
        One of `FrameWeights`: `counts` is `inverse_variance_weights`, `kinfitr-1` to `kinfitr-9`
        are `kinfitr_weights`, `duration` takes frames by their length.
    tac : (F,) array
        Decay-corrected curve of a large region of the same scan; `uniform` and `duration` do not
        look at it.
    timing : FrameTiming
        The F frames.
    decay_constant_per_s : float
        Of the radionuclide, 1/s.

    Returns
    -------
    (F,) array
        Weights of squared residuals; zero for frames that end before the injection.

    Raises
    ------
    ValueError
        If there is no such method, or the curve holds no activity.

    Examples
    --------
    >>> timing = FrameTiming(np.array([-60.0, 0.0, 60.0]), np.array([60.0, 60.0, 180.0]))
    >>> frame_weights("duration", np.ones(3), timing, 0.0)
    array([0. , 0.5, 1.5])
    """
    if method not in get_args(FrameWeights):
        raise ValueError(f"no weights '{method}'; there are {', '.join(get_args(FrameWeights))}")
    if method == "counts":
        return inverse_variance_weights(tac, timing, decay_constant_per_s)
    if method == "uniform":
        return _mean_one(np.ones(len(timing)), timing)
    if method == "duration":
        return _mean_one(timing.duration_s, timing)
    number = int(method.removeprefix("kinfitr-"))
    return kinfitr_weights(number, tac, timing, decay_constant_per_s)


def inverse_variance_weights(
    tac: FloatArray, timing: FrameTiming, decay_constant_per_s: float
) -> FloatArray:
    r"""Weights of the count model for decay-corrected frames, mean one.

    Counts in a frame are Poisson: with the mean activity :math:`C`, decay factor :math:`f` and
    duration :math:`D` the variance of the decay-corrected mean goes with :math:`f C / D`.

    Parameters
    ----------
    tac : (F,) array
        Decay-corrected curve of a large region of the same scan, for one set of weights per scan.
    timing : FrameTiming
        The F frames.
    decay_constant_per_s : float
        Of the radionuclide, 1/s.

    Returns
    -------
    (F,) array
        Weights; zero for frames that end before the injection.

    Notes
    -----
    Activities below a third of the largest are raised to it: the first frames hold next to no
    activity, not next to no variance, and their weight must not exceed that of full ones.
    """
    tac = np.asarray(tac, float)
    largest = np.nanmax(tac, initial=0.0)
    if not largest > 0:
        raise ValueError("weights need a curve with activity; this one has none")
    activity = np.maximum(np.nan_to_num(tac, nan=0.0), _FLOOR_SHARE * largest)
    weights = timing.duration_s / (activity * frame_decay_factors(timing, decay_constant_per_s))
    return _mean_one(weights, timing)


_KINFITR: Mapping[int, Callable[[FloatArray, FloatArray, FloatArray], FloatArray]] = {
    1: lambda d, c, f: d * f / c,
    2: lambda d, c, f: np.sqrt(d * c / f),
    3: lambda d, c, f: np.sqrt(d) / c,
    4: lambda d, c, f: np.sqrt(d),
    6: lambda d, c, f: d / c,
    7: lambda d, c, f: d,
    8: lambda d, c, f: d**2 * f / c,
    9: lambda d, c, f: d * f**2 / c,
}
"""Number to weights of durations, decay-corrected activities and decay factors, all (F,)."""


def kinfitr_weights(
    number: int, tac: FloatArray, timing: FrameTiming, decay_constant_per_s: float
) -> FloatArray:
    r"""Weights that the R package kinfitr offers, by its numbers, for comparison; mean one.

    With durations :math:`D`, decay-corrected activities :math:`C` and decay factors :math:`f`:

    ====== ============================== ====== ==============================
    number weights                        number weights
    ====== ============================== ====== ==============================
    1      :math:`D f / C`                6      :math:`D / C`
    2      :math:`\sqrt{D C / f}`         7      :math:`D`
    3      :math:`\sqrt D / C`            8      :math:`D^2 f / C`
    4      :math:`\sqrt D`                9      :math:`D f^2 / C`
    5      :math:`D e^{-\lambda t}`
    ====== ============================== ====== ==============================

    Its default is 2. Activities count by their absolute values, in denominators no less than a
    hundredth of the largest. Weights above the median of the five largest are cut to it where the
    fifth is less than half the largest. They are then squeezed towards the range from one half to
    one, unless they lie in it, by the expression of its code, which misses that range by a little.

    Notes
    -----
    Methods 5 and 9 are as its documentation has them: as written, its code leaves the time out of
    the first and the denominator of the second inside the product. Method 3 is as its code has
    it, as documented it would be method 6 again.
    """
    duration = timing.duration_min
    tac = np.nan_to_num(np.asarray(tac, float), nan=0.0)
    if not tac.max() > 0:
        raise ValueError("weights need a curve with activity; this one has none")
    factor = frame_decay_factors(timing, decay_constant_per_s)
    after = timing.end_s > 0
    if number == 5:
        raw = duration * np.exp(-decay_constant_per_s * timing.mid_s)
    else:
        uncorrected = number in (1, 2, 8)
        seen = np.abs(tac) / factor if uncorrected else np.abs(tac)
        if number in _KINFITR_QUOTIENTS:
            seen = np.maximum(seen, _KINFITR_FLOOR_SHARE * seen[after].max())
        raw = _KINFITR[number](duration, seen * factor if uncorrected else seen, factor)
    largest = np.sort(raw[after])[::-1][:_KINFITR_TOP]
    if largest[-1] < largest[0] / 2:
        raw = np.minimum(raw, np.median(largest))
    share = raw / raw[after].max()
    least = share[after].min()
    if least < _KINFITR_MIN_WEIGHT:
        # not (share - least) / (1 - least): so it is written there, and published fits used it
        share = share - least / (1 - least)
        share = _KINFITR_MIN_WEIGHT + (1 - _KINFITR_MIN_WEIGHT) * share
    return _mean_one(share, timing)


def _mean_one(weights: FloatArray, timing: FrameTiming) -> FloatArray:
    """Weights with mean one, frames before the injection without any."""
    weights = np.where(timing.end_s > 0, weights, 0.0)
    return np.asarray(weights / weights[weights > 0].mean())
