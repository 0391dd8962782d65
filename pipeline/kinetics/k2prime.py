"""The efflux rate constant of the reference region that several models take as known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

import numpy as np

from pipeline.core.timing import FrameTiming
from pipeline.core.volume import FloatArray
from pipeline.kinetics.contract import AnyModel, Flag, flag_text
from pipeline.kinetics.srtm import Srtm

_UNFIT = Flag.FAILED | Flag.AT_BOUND | Flag.SINGULAR | Flag.IMPLAUSIBLE | Flag.NO_K2PRIME


@dataclass(frozen=True, kw_only=True)
class K2Prime:
    """Where k2prime comes from.

    A given value; else that of the SRTM fit of a stated region; else the median over the SRTM
    fits of all curves whose BPND lies in a window (Wu & Carson 2002): where little binds, k2prime
    is not determined.

    References
    ----------
    .. [1] Wu Y, Carson RE (2002). J Cereb Blood Flow Metab 22:1440-1452.
    """

    per_min: float | None = None
    """Value, 1/min; without one it is estimated. Logan and WAPI leave the term out at 0."""
    region: str = ""
    """Region whose SRTM fit gives the value; empty for the median over the window."""
    bpnd_window: tuple[float, float] = (0.5, 20.0)
    """Least and largest SRTM BPND of the curves that count for the median, unitless."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if self.per_min is not None and not 0 <= self.per_min < np.inf:
            raise ValueError("k2prime per_min must be zero or positive")
        if not self.bpnd_window[0] < self.bpnd_window[1]:
            raise ValueError("the first value of k2prime bpnd_window must be below the second")

    def estimate(
        self, tacs: FloatArray, ref: FloatArray, timing: FrameTiming, weights: FloatArray
    ) -> float:
        """Value for curves without names, 1/min.

        Parameters
        ----------
        tacs, ref, timing, weights
            As for `pipeline.kinetics.contract.ReferenceModel.fit`.

        Raises
        ------
        ValueError
            If a region is stated, or no curve has its BPND in the window.
        """
        if self.per_min is not None:
            return self.per_min
        if self.region:
            raise ValueError(
                f"k2prime is to come from the region {self.region}, but these curves have no "
                "names; give k2prime per_min"
            )
        fit = Srtm().fit_voxels(tacs, ref, timing, weights)
        low, high = self.bpnd_window
        bpnd = fit.estimates["BPND"]
        counts = (fit.flags == 0) & (bpnd >= low) & (bpnd <= high)
        if not counts.any():
            raise ValueError(
                f"k2prime cannot be estimated: none of {len(bpnd)} curves has an SRTM fit "
                f"without flags and a BPND from {low:g} to {high:g}; give k2prime per_min, or "
                "widen its bpnd_window"
            )
        return float(np.median(fit.estimates["k2prime"][counts]))

    def estimate_named(
        self,
        names: Sequence[str],
        tacs: FloatArray,
        ref: FloatArray,
        timing: FrameTiming,
        weights: FloatArray,
    ) -> float:
        """Value for the curves of named regions, 1/min.

        Raises
        ------
        ValueError
            If the stated region is not among the names or its fit is of no use, or no curve has
            its BPND in the window.
        """
        if self.per_min is not None or not self.region:
            return self.estimate(tacs, ref, timing, weights)
        if self.region not in names:
            raise ValueError(
                f"k2prime is to come from the region {self.region}, which is not among "
                + ", ".join(names)
            )
        row = [list(names).index(self.region)]
        fit = Srtm().fit(tacs[row], ref, timing, weights)
        flags = int(fit.flags[0])
        if flags & _UNFIT:
            raise ValueError(
                f"the SRTM fit of {self.region} gives no k2prime ({flag_text(flags)}); state "
                "another region or give k2prime per_min"
            )
        return float(fit.estimates["k2prime"][0])


def with_k2prime(
    model: AnyModel,
    names: Sequence[str],
    tacs: FloatArray,
    ref: FloatArray,
    timing: FrameTiming,
    weights: FloatArray,
) -> AnyModel:
    """The model with the value of its k2prime filled in; one without k2prime as it is.

    Parameters
    ----------
    model : ReferenceModel
        Any model.
    names : sequence of str
        Names of the V curves.
    tacs, ref, timing, weights
        As for `pipeline.kinetics.contract.ReferenceModel.fit`.

    Raises
    ------
    ValueError
        As `K2Prime.estimate_named`.
    """
    source = getattr(model, "k2prime", None)
    if not isinstance(source, K2Prime) or source.per_min is not None:
        return model
    value = source.estimate_named(names, tacs, ref, timing, weights)
    filled = replace(source, per_min=value)
    return cast(AnyModel, replace(cast(Any, model), k2prime=filled))
