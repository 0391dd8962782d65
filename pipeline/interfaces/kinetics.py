"""Nodes that fit reference-tissue models to curves and to voxels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
from numpy.typing import NDArray

from pipeline.bids.scan import ScanInputs
from pipeline.core.decay import HALF_LIFE_S, decay_constant_per_s, nuclide_name
from pipeline.core.errors import DataError
from pipeline.core.volume import Volume
from pipeline.imaging.resampling import smooth
from pipeline.imaging.warp import resample_through_field
from pipeline.interfaces.regions import BRAIN
from pipeline.io.frames import frames_in_petref
from pipeline.io.images import read_volume, write_volume
from pipeline.io.kinetics import mean_table, parameter_table
from pipeline.io.region_weights import read_region_weights
from pipeline.io.tables import read_table, write_table
from pipeline.io.transforms import read_itk_transform
from pipeline.io.warps import read_field
from pipeline.kinetics.contract import RESIDUAL, curve_models, is_image_model, map_symbols
from pipeline.kinetics.curves import ScanCurves
from pipeline.kinetics.weights import frame_weights

_NOT_REGIONS = ("frame_start", "frame_end", BRAIN)


class _FitInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    tacs = File(exists=True, mandatory=True, desc="curves of regions, reference and brain")
    models = traits.List(
        traits.Any, mandatory=True, desc="`ReferenceModel` or `ImageModel`, in order"
    )
    weights = traits.Str(mandatory=True, desc="how frames are weighted")
    reference = traits.Str(mandatory=True, desc="column of the reference region")
    scan = traits.Instance(ScanInputs, mandatory=True, desc="frame timing, radionuclide, dose")


class _FitRegionsOutputSpec(TraitedSpec):  # type: ignore[misc]
    kinpar = OutputMultiObject(
        File(exists=True), desc="one per model: a row per region, estimates, errors, flag"
    )
    fitted_tacs = OutputMultiObject(
        File(exists=True), desc="one per model: its curves, like the TACs, and the frame weights"
    )


class FitRegions(SimpleInterface):  # type: ignore[misc]
    """Fit every model to every regional curve."""

    input_spec, output_spec = _FitInputSpec, _FitRegionsOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        tacs = read_table(self.inputs.tacs)
        curves = _scan_curves(tacs, self.inputs)
        folder = Path(runtime.cwd)
        self._results.update(kinpar=[], fitted_tacs=[])
        for model in curve_models(self.inputs.models):
            with _naming(model):
                resolved = curves.resolved(model)
                fit = resolved.fit(curves.tacs, curves.ref, curves.timing, curves.weights)
            fitted = tacs[["frame_start", "frame_end"]].copy()
            fitted[list(curves.names)] = fit.fitted.T
            fitted["weight"] = curves.weights
            made = {"kinpar": parameter_table(curves.names, fit), "fitted_tacs": fitted}
            for port, table in made.items():
                path = write_table(folder / f"{port}_{model.model}.tsv", table)
                self._results[port].append(str(path))
        return runtime


class _FitVoxelsInputSpec(_FitInputSpec):
    pet_preproc = File(exists=True, mandatory=True, desc="frames in one space, Bq/mL")
    brain_mask = File(exists=True, mandatory=True, desc="where to fit")
    smoothing_fwhm_mm = traits.Float(mandatory=True, desc="smoothing of the frames")


class _FitVoxelsOutputSpec(TraitedSpec):  # type: ignore[misc]
    maps = OutputMultiObject(
        File(exists=True), desc="of every model in turn, one per symbol of `map_symbols`"
    )
    # a list of one model must stay a list: nobody downstream asks how many there are
    flags = traits.List(File(exists=True), desc="one per model: `Flag` bits, uint8")


class FitVoxels(SimpleInterface):  # type: ignore[misc]
    """Fit every model in every voxel of the brain; NaN elsewhere and where a fit failed."""

    input_spec, output_spec = _FitVoxelsInputSpec, _FitVoxelsOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        curves = _scan_curves(read_table(self.inputs.tacs), self.inputs)
        mask = read_volume(self.inputs.brain_mask)
        inside = mask.data > 0
        margins = [m.margin_voxels for m in self.inputs.models if is_image_model(m)]
        box = _bounding_box(inside, max(margins, default=0))
        frames = _frames_in_box(
            self.inputs.pet_preproc, box, len(curves.timing), self.inputs.smoothing_fwhm_mm
        )
        voxels: NDArray[np.float32] | None = None
        paths, flag_paths = [], []
        shared = (curves.ref, curves.timing, curves.weights)
        for model in self.inputs.models:
            with _naming(model):
                resolved = curves.resolved_for_voxels(model)
                if is_image_model(resolved):
                    fit = resolved.fit_image(frames, inside[box], *shared)
                else:
                    voxels = frames[inside[box]] if voxels is None else voxels
                    fit = resolved.fit_voxels(voxels, *shared)
            maps = {**fit.estimates, RESIDUAL: fit.residual}
            for symbol in map_symbols(model):
                values = np.full(mask.shape, np.nan, np.float32)
                values[inside] = maps[symbol]
                path = Path(runtime.cwd) / f"{model.model}_{symbol}.nii.gz"
                paths.append(str(write_volume(path, mask.with_data(values))))
            flags = np.zeros(mask.shape, np.uint8)
            flags[inside] = fit.flags
            path = Path(runtime.cwd) / f"{model.model}_flags.nii.gz"
            flag_paths.append(str(write_volume(path, mask.with_data(flags), np.uint8)))
        self._results.update(maps=paths, flags=flag_paths)
        return runtime


class _AverageMapsInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    maps = traits.List(File(exists=True), mandatory=True, desc="of `FitVoxels`")
    models = traits.List(traits.Any, mandatory=True, desc="as of `FitVoxels`")
    region_weights = File(exists=True, mandatory=True, desc="weights of every region, npz")
    reference = traits.Str(mandatory=True, desc="name of the reference region")
    minimum_volume_mm3 = traits.Float(mandatory=True, desc="less of a region gives no mean")


class _AverageMapsOutputSpec(TraitedSpec):  # type: ignore[misc]
    kinpar = OutputMultiObject(
        File(exists=True), desc="one per model of whole images: a row per region"
    )


class AverageMaps(SimpleInterface):  # type: ignore[misc]
    """Regional values of models of whole images: the means of their maps."""

    input_spec, output_spec = _AverageMapsInputSpec, _AverageMapsOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        regions = read_region_weights(self.inputs.region_weights)
        shown = [name not in (BRAIN, self.inputs.reference) for name in regions.names]
        names = [name for name, keep in zip(regions.names, shown, strict=True) if keep]
        maps = iter(self.inputs.maps)
        self._results["kinpar"] = []
        for model in self.inputs.models:
            paths = {symbol: next(maps) for symbol in map_symbols(model)}
            if not is_image_model(model):
                continue
            means = {}
            for symbol in model.map_parameters:
                estimates = read_volume(paths[symbol]).data
                found = regions.usable_means(estimates, self.inputs.minimum_volume_mm3)
                means[symbol] = found[shown]
            path = Path(runtime.cwd) / f"kinpar_{model.model}.tsv"
            self._results["kinpar"].append(str(write_table(path, mean_table(names, means))))
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
            carried = resample_through_field(on_t1w, field, order=1, outside=np.nan)
            paths.append(str(write_volume(Path(runtime.cwd) / Path(path).name, carried)))
        self._results["maps"] = paths
        return runtime


def _scan_curves(tacs: pd.DataFrame, inputs: Any) -> ScanCurves:
    """Curves of the regions of a scan, with what models need to know of it."""
    scan: ScanInputs = inputs.scan
    ref = tacs[inputs.reference].to_numpy(float)
    if not np.isfinite(ref).all():
        raise DataError(
            f"the reference region {inputs.reference} has no curve: the frames cover less than "
            "half of it or it is too small; see the regions on the page of the session"
        )
    names = [name for name in tacs.columns if name not in (*_NOT_REGIONS, inputs.reference)]
    known = nuclide_name(scan.radionuclide) in HALF_LIFE_S
    rate_per_s = decay_constant_per_s(scan.radionuclide) if known else 0.0
    brain = tacs[BRAIN].to_numpy(float)
    return ScanCurves(
        names=tuple(names),
        tacs=tacs[names].to_numpy(float).T,
        ref=ref,
        timing=scan.timing,
        weights=frame_weights(inputs.weights, brain, scan.timing, rate_per_s),
        injected_mbq=scan.injected_mbq,
        body_weight_kg=scan.body_weight_kg,
    )


@contextmanager
def _naming(model: Any) -> Iterator[None]:
    """What a model cannot do with a scan, said with the model's name."""
    try:
        yield
    except ValueError as error:
        raise DataError(f"model {model.model}: {error}") from error


def _bounding_box(inside: NDArray[np.bool_], margin: int) -> tuple[slice, ...]:
    """Box that holds a mask and, where the image does, a margin around it; as an index."""
    ends = zip(np.nonzero(inside), inside.shape, strict=True)
    return tuple(
        slice(max(int(place.min()) - margin, 0), min(int(place.max()) + 1 + margin, size))
        for place, size in ends
    )


def _frames_in_box(
    path: str, box: tuple[slice, ...], n_frames: int, fwhm_mm: float
) -> NDArray[np.float32]:
    """Frames (X, Y, Z, F) inside a box; the scan as a whole is never in memory."""
    frames = np.empty((*(side.stop - side.start for side in box), n_frames), np.float32)
    for i, frame in enumerate(frames_in_petref(path)):
        frames[..., i] = (smooth(frame, fwhm_mm) if fwhm_mm > 0 else frame).data[box]
    return frames
