"""What every reference-tissue model takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntFlag
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.core.timing import FrameTiming
from pipeline.core.volume import FloatArray


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One model parameter: the source of column names, sidecars and axis labels."""

    symbol: str
    unit: str
    meaning: str


R1 = Parameter(symbol="R1", unit="1", meaning="Relative delivery K1/K1'")
K2 = Parameter(symbol="k2", unit="1/min", meaning="Efflux rate constant of the target")
K2A = Parameter(symbol="k2a", unit="1/min", meaning="Apparent efflux rate constant k2/(1+BPND)")
K2PRIME = Parameter(
    symbol="k2prime", unit="1/min", meaning="Efflux rate constant of the reference region, k2/R1"
)
BPND = Parameter(
    symbol="BPND", unit="1", meaning="Binding potential relative to non-displaceable uptake"
)


class Flag(IntFlag):
    """What a user should know about an estimate; the estimate stays visible unless FAILED."""

    FAILED = 1
    """No estimate: all parameters are NaN."""
    NONFINITE_INPUT = 2
    """A frame with positive weight holds NaN or infinity."""
    FEW_FRAMES = 4
    """Fewer frames with positive weight than the model can use."""
    AT_BOUND = 8
    """The optimum lies on a bound of the search."""
    SINGULAR = 16
    """Parameters that the curve does not determine."""
    IMPLAUSIBLE = 32
    """R1 or k2 is not positive, or k2prime is not finite."""
    IMPRECISE = 64
    """The standard error of BPND exceeds the stated share of the estimate."""


def flag_text(flags: int) -> str:
    """Names of the flags that are set, lower case, joined by commas; empty if none.

    Examples
    --------
    >>> flag_text(Flag.AT_BOUND | Flag.IMPRECISE)
    'at_bound,imprecise'
    """
    return ",".join(flag.name.lower() for flag in Flag if flag.name and flags & flag)


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelFit:
    """Estimates of one model for V curves."""

    estimates: Mapping[str, FloatArray]
    """Symbol to (V,) estimates, NaN where the fit failed."""
    standard_errors: Mapping[str, FloatArray]
    """Symbol to (V,) standard errors in the unit of the estimate; NaN where there are none."""
    fitted: FloatArray
    """Model curves, (V, F), in the unit of the input."""
    flags: NDArray[np.uint8] = field(repr=False)
    """`Flag` bits of every curve, (V,)."""


class ReferenceModel(Protocol):
    """A reference-tissue model; options in the constructor, data in `fit`."""

    parameters: ClassVar[tuple[Parameter, ...]]

    def fit(
        self, tacs: FloatArray, ref: FloatArray, timing: FrameTiming, weights: FloatArray
    ) -> ModelFit:
        """Fit every curve.

        Parameters
        ----------
        tacs : (V, F) array
            Target curves, any activity unit, decay-corrected.
        ref : (F,) array
            Reference-region curve in the same unit.
        timing : FrameTiming
            The F frames.
        weights : (F,) array
            Weights of *squared* residuals (inverse variances); 0 leaves a frame out.
        """
        ...
