"""Radioactive decay: half-lives and the factors of decay correction."""

from __future__ import annotations

import numpy as np

from pipeline.core.timing import FrameTiming
from pipeline.core.volume import FloatArray

HALF_LIFE_S = {
    "C11": 1221.84,
    "N13": 597.9,
    "O15": 122.24,
    "F18": 6586.2,
    "Cu64": 45723.6,
    "Ga68": 4069.8,
    "Rb82": 75.45,
    "Zr89": 282268.8,
    "I124": 360806.4,
}
"""Physical half-lives, seconds (National Nuclear Data Center, NuDat 3)."""


_ELEMENTS = {
    "Carbon": "C",
    "Nitrogen": "N",
    "Oxygen": "O",
    "Fluorine": "F",
    "Copper": "Cu",
    "Gallium": "Ga",
    "Rubidium": "Rb",
    "Zirconium": "Zr",
    "Iodine": "I",
}


def nuclide_name(written: str) -> str:
    """Name as `HALF_LIFE_S` has it, of whatever spelling; it may be one that is not known.

    Examples
    --------
    >>> [nuclide_name(text) for text in ("[11C]", "C-11", "Carbon-11", "18-Fluorine")]
    ['C11', 'C11', 'C11', 'F18']
    """
    letters = "".join(c for c in written if c.isalpha()).capitalize()
    return _ELEMENTS.get(letters, letters) + "".join(c for c in written if c.isdigit())


def decay_constant_per_s(radionuclide: str) -> float:
    """Decay constant of a radionuclide, 1/s.

    Parameters
    ----------
    radionuclide : str
        As in ``TracerRadionuclide``; ``C11``, ``11C``, ``[11C]`` and ``C-11`` are the same.

    Raises
    ------
    KeyError
        If the half-life is not known here.

    Examples
    --------
    >>> round(decay_constant_per_s("[11C]") * 1221.84, 6)
    0.693147
    """
    return float(np.log(2) / HALF_LIFE_S[nuclide_name(radionuclide)])


def frame_decay_factors(
    timing: FrameTiming, decay_constant_per_s: float, reference_s: float = 0.0
) -> FloatArray:
    r"""Factors that turn measured frame means into activity at a reference time.

    The mean of :math:`e^{-\lambda (t - t_0)}` over each frame, inverted:

    .. math::
        f = \frac{\lambda D \, e^{\lambda (t_s - t_0)}}{1 - e^{-\lambda D}}

    Parameters
    ----------
    timing : FrameTiming
        Frame starts and durations, seconds.
    decay_constant_per_s : float
        Decay constant, 1/s; zero means no decay.
    reference_s : float
        Time the activity is corrected to, on the clock of `timing`.

    Returns
    -------
    (F,) array
        Factors of at least about one for frames after the reference time.
    """
    x = decay_constant_per_s * timing.duration_s
    mean_survival = -np.expm1(-x) / x if decay_constant_per_s > 0 else np.ones_like(x)
    return np.asarray(
        np.exp(decay_constant_per_s * (timing.start_s - reference_s)) / mean_survival
    )
