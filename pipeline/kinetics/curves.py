"""The curves of a scan with all that models need to know of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pipeline.core.timing import FrameTiming
from pipeline.core.volume import FloatArray
from pipeline.kinetics.contract import AnyModel
from pipeline.kinetics.k2prime import with_k2prime
from pipeline.kinetics.logan import Logan
from pipeline.kinetics.suv import Suv


@dataclass(frozen=True, kw_only=True, eq=False)
class ScanCurves:
    """Regional curves of a scan, and what its models share."""

    names: tuple[str, ...]
    """The V target regions."""
    tacs: FloatArray
    """(V, F), decay-corrected; Bq/mL where an SUV is asked for."""
    ref: FloatArray
    """(F,)"""
    timing: FrameTiming
    weights: FloatArray
    """(F,) weights of squared residuals."""
    injected_mbq: float | None = None
    body_weight_kg: float | None = None

    def resolved(self, model: AnyModel) -> AnyModel:
        """The model with what it takes from the scan: k2prime of a first pass, the dose.

        Regions and voxels of a scan so share one k2prime, from the curves with the least noise.

        Raises
        ------
        ValueError
            If the scan does not have what the model needs.
        """
        if isinstance(model, Suv):
            dose, weight = model.injected_mbq, model.body_weight_kg
            return replace(
                model,
                injected_mbq=self.injected_mbq if dose is None else dose,
                body_weight_kg=self.body_weight_kg if weight is None else weight,
            )
        return with_k2prime(model, self.names, self.tacs, self.ref, self.timing, self.weights)

    def resolved_for_voxels(self, model: AnyModel) -> AnyModel:
        """Likewise, with one t* for all voxels: the median of what the regions find.

        In the noise of a voxel hardly any start looks linear.
        """
        resolved = self.resolved(model)
        if not isinstance(resolved, Logan) or resolved.tstar_min is not None:
            return resolved
        fit = resolved.fit(self.tacs, self.ref, self.timing, self.weights)
        found = fit.estimates["tstar"]
        if not np.isfinite(found).any():
            raise ValueError("no region has a linear part, so there is no t* for the voxels")
        return replace(resolved, tstar_min=float(np.nanmedian(found)))
