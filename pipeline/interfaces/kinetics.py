"""Nodes that fit reference-tissue models to curves and to voxels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    OutputMultiObject,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from pipeline.bids.scan import ScanInputs
from pipeline.core.decay import decay_constant_per_s
from pipeline.core.errors import DataError
from pipeline.core.timing import FrameTiming
from pipeline.core.volume import FloatArray, Volume
from pipeline.imaging.resampling import smooth
from pipeline.imaging.warp import resample_through_field
from pipeline.interfaces.regions import BRAIN
from pipeline.io.images import read_series, read_volume, write_volume
from pipeline.io.tables import read_table, write_table
from pipeline.io.transforms import read_itk_transform
from pipeline.io.warps import read_field
from pipeline.kinetics.contract import ModelFit, flag_text
from pipeline.kinetics.weights import inverse_variance_weights

MAP_PARAMETERS = ("BPND", "R1", "k2")
"""Parameters that are written as maps."""


class _FitInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    tacs = File(exists=True, mandatory=True, desc="curves of regions, reference and brain")
    model = traits.Any(mandatory=True, desc="`pipeline.kinetics.ReferenceModel`")
    reference = traits.Str(mandatory=True, desc="column of the reference region")
    scan = traits.Instance(ScanInputs, mandatory=True, desc="frame timing and radionuclide")


class _FitRegionsOutputSpec(TraitedSpec):  # type: ignore[misc]
    kinpar = File(exists=True, desc="a row per region: estimates, standard errors, flag")
    fitted_tacs = File(exists=True, desc="model curves, like the TACs, and the frame weights")


class FitRegions(SimpleInterface):  # type: ignore[misc]
    """Fit every regional curve."""

    input_spec, output_spec = _FitInputSpec, _FitRegionsOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        tacs, timing = read_table(self.inputs.tacs), self.inputs.scan.timing
        ref, weights = _reference(tacs, self.inputs.reference, self.inputs.scan)
        skip = ("frame_start", "frame_end", BRAIN, self.inputs.reference)
        names = [column for column in tacs.columns if column not in skip]
        fit = self.inputs.model.fit(tacs[names].to_numpy(float).T, ref, timing, weights)
        fitted = tacs[["frame_start", "frame_end"]].copy()
        fitted[names] = fit.fitted.T
        fitted["weight"] = weights
        folder = Path(runtime.cwd)
        self._results.update(
            kinpar=str(write_table(folder / "kinpar.tsv", _parameter_table(names, fit))),
            fitted_tacs=str(write_table(folder / "fitted.tsv", fitted)),
        )
        return runtime


class _FitVoxelsInputSpec(_FitInputSpec):
    pet_preproc = File(exists=True, mandatory=True, desc="frames in one space, Bq/mL")
    brain_mask = File(exists=True, mandatory=True, desc="where to fit")
    smoothing_fwhm_mm = traits.Float(mandatory=True, desc="smoothing of the frames")


class _FitVoxelsOutputSpec(TraitedSpec):  # type: ignore[misc]
    maps = OutputMultiObject(File(exists=True), desc="one per parameter of MAP_PARAMETERS")


class FitVoxels(SimpleInterface):  # type: ignore[misc]
    """Fit every voxel of the brain; NaN elsewhere and where the fit failed."""

    input_spec, output_spec = _FitVoxelsInputSpec, _FitVoxelsOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        tacs, timing = read_table(self.inputs.tacs), self.inputs.scan.timing
        ref, weights = _reference(tacs, self.inputs.reference, self.inputs.scan)
        mask = read_volume(self.inputs.brain_mask)
        inside = mask.data > 0
        curves = _voxel_curves(self.inputs.pet_preproc, inside, self.inputs.smoothing_fwhm_mm)
        fit = self.inputs.model.fit(curves, ref, timing, weights)
        paths = []
        for symbol in MAP_PARAMETERS:
            values = np.full(mask.shape, np.nan, np.float32)
            values[inside] = fit.estimates[symbol]
            path = Path(runtime.cwd) / f"{symbol}.nii.gz"
            paths.append(str(write_volume(path, mask.with_data(values))))
        self._results["maps"] = paths
        return runtime


class _MapsToMniInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    maps = traits.List(File(exists=True), mandatory=True, desc="maps on the PET grid")
    t1w2mni_xfm = File(
        exists=True, mandatory=True, desc="field on the MNI grid, MNI to T1w points"
    )
    petref2t1w_xfm = File(exists=True, mandatory=True, desc="ITK transform from-petref_to-T1w")


class _MapsToMniOutputSpec(TraitedSpec):  # type: ignore[misc]
    maps = OutputMultiObject(File(exists=True), desc="the maps in MNI152 space")


class MapsToMni(SimpleInterface):  # type: ignore[misc]
    """Carry maps to MNI152 space in one interpolation."""

    input_spec, output_spec = _MapsToMniInputSpec, _MapsToMniOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        field = read_field(self.inputs.t1w2mni_xfm)
        petref2t1w_xfm = read_itk_transform(self.inputs.petref2t1w_xfm)
        paths = []
        for path in self.inputs.maps:
            volume = read_volume(path)
            # laid on the T1w by its affine, so that no voxel is touched before the warp
            on_t1w = Volume(volume.data, petref2t1w_xfm @ volume.affine)
            carried = resample_through_field(on_t1w, field, order=1)
            paths.append(str(write_volume(Path(runtime.cwd) / Path(path).name, carried)))
        self._results["maps"] = paths
        return runtime


def _reference(
    tacs: pd.DataFrame, reference: str, scan: ScanInputs
) -> tuple[FloatArray, FloatArray]:
    """Reference curve (F,) and frame weights (F,) of a scan."""
    ref = tacs[reference].to_numpy(float)
    if not np.isfinite(ref).all():
        raise DataError(
            f"the reference region {reference} has no curve: it lies outside the field of view "
            "or is too small; see the regions on the page of the session"
        )
    timing: FrameTiming = scan.timing
    rate_per_s = decay_constant_per_s(scan.radionuclide) if scan.radionuclide else 0.0
    return ref, inverse_variance_weights(tacs[BRAIN].to_numpy(float), timing, rate_per_s)


def _parameter_table(names: list[str], fit: ModelFit) -> pd.DataFrame:
    table = pd.DataFrame({"index": np.arange(len(names)) + 1, "name": names})
    for symbol, values in fit.estimates.items():
        table[symbol] = values
    for symbol, errors in fit.standard_errors.items():
        with np.errstate(divide="ignore", invalid="ignore"):
            table[f"{symbol}-se"] = 100 * errors / np.abs(fit.estimates[symbol])
    table["flag"] = [flag_text(int(flags)) or "n/a" for flags in fit.flags]
    return table


def _voxel_curves(path: str, inside: Any, fwhm_mm: float) -> FloatArray:
    """Curves (V, F) float32 of the voxels of a mask."""
    series, affine = read_series(path)
    if fwhm_mm > 0:
        for i in range(series.shape[3]):
            series[..., i] = smooth(Volume(series[..., i], affine), fwhm_mm).data
    return np.ascontiguousarray(series[inside])
