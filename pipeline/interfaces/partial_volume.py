"""Nodes that correct regional curves for partial volume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from pipeline.core.errors import DataError
from pipeline.core.volume import FloatArray
from pipeline.imaging.areas import Areas, Head, Scanner, cut_into_areas
from pipeline.imaging.partial_volume import correction
from pipeline.imaging.regions import RegionSpec
from pipeline.interfaces.regions import BRAIN, read_anatomy
from pipeline.io.frames import frames_in_petref
from pipeline.io.images import read_volume, write_array, write_volume
from pipeline.io.region_weights import read_region_weights
from pipeline.io.tables import read_table, write_table
from pipeline.io.transforms import read_itk_transform

_NOT_REGIONS = ("frame_start", "frame_end", BRAIN)


class _AreasInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    dseg = File(exists=True, mandatory=True, desc="FreeSurfer-numbered labels, T1w space")
    brain_mask = File(exists=True, mandatory=True, desc="brain on the grid of the T1w")
    gm_probseg = File(exists=True, mandatory=True, desc="share of grey matter, T1w space")
    t1w2acpc_xfm = File(exists=True, mandatory=True, desc="ITK transform from-T1w_to-ACPC")
    mni2t1w_xfm = File(
        exists=True, mandatory=True, desc="field on the T1w grid, T1w to MNI points"
    )
    reference_mask = File(exists=True, mandatory=True, desc="trimmed reference region, T1w")
    mni_images = InputMultiObject(File(), desc="label images that regions name")
    petref = File(exists=True, mandatory=True, desc="PET grid")
    petref2t1w_xfm = File(exists=True, mandatory=True, desc="ITK transform from-petref_to-T1w")
    spec = traits.Instance(RegionSpec, mandatory=True, desc="regions to correct")
    psf_fwhm_mm = traits.Tuple(
        traits.Float(), traits.Float(), traits.Float(), mandatory=True, desc="of the scanner"
    )
    minimum_volume_mm3 = traits.Float(mandatory=True, desc="least volume of an area")


def _read_areas(inputs: Any) -> Areas:
    """The areas of the head, from files."""
    head = Head(
        read_anatomy(inputs), read_volume(inputs.brain_mask), read_volume(inputs.reference_mask)
    )
    grid = read_volume(inputs.petref)
    scanner = Scanner(grid, read_itk_transform(inputs.petref2t1w_xfm), inputs.psf_fwhm_mm)
    return cut_into_areas(head, scanner, inputs.spec, inputs.minimum_volume_mm3)


class _CorrectCurvesInputSpec(_AreasInputSpec):
    method = traits.Enum("gtm", "rbv", mandatory=True, desc="how")
    pet_preproc = File(exists=True, mandatory=True, desc="frames in one space, Bq/mL")
    tacs = File(exists=True, mandatory=True, desc="curves without correction")
    morph = File(exists=True, mandatory=True, desc="volumes of the regions")


class _CorrectedOutputSpec(TraitedSpec):  # type: ignore[misc]
    tacs = File(exists=True, desc="corrected curves; that of the brain is as it was")
    morph = File(exists=True, desc="volumes, what the scanner leaves of a region, and the noise")


class CorrectCurves(SimpleInterface):  # type: ignore[misc]
    """Curves of regions by geometric transfer matrix or region-based voxel-wise correction.

    One frame is in memory at a time.
    """

    input_spec, output_spec = _CorrectCurvesInputSpec, _CorrectedOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        areas, folder = _read_areas(self.inputs), Path(runtime.cwd)
        found, means = None, []
        for frame in frames_in_petref(self.inputs.pet_preproc):
            # all frames know the same voxels
            found = correction(areas, np.isfinite(frame.data)) if found is None else found
            means.append(getattr(found, self.inputs.method)(frame.data))
        if found is None:
            raise DataError(f"{Path(self.inputs.pet_preproc).name}: no frame")
        tacs = _replaced(read_table(self.inputs.tacs), areas.regions, np.array(means))
        reference = self.inputs.spec.reference_name
        if tacs[reference].isna().any():
            psf = " x ".join(f"{fwhm:g}" for fwhm in self.inputs.psf_fwhm_mm)
            raise DataError(
                f"partial-volume correction: the reference region {reference} cannot be told from "
                f"what lies around it at a resolution of {psf} mm, or the frames cover less than "
                "half of it; look at it on the page of a run with partial_volume.backend = 'none'"
            )
        morph = read_table(self.inputs.morph).set_index("name", drop=False)
        for column, values in (("recovery", found.recovery), ("noise-factor", found.noise_factor)):
            morph[column] = pd.Series(values, index=list(areas.regions))
        self._results.update(
            tacs=str(write_table(folder / "tacs.tsv", tacs)),
            morph=str(write_table(folder / "morph.tsv", morph)),
        )
        return runtime


def _replaced(tacs: pd.DataFrame, names: tuple[str, ...], means: FloatArray) -> pd.DataFrame:
    """Curves with corrected means (F, R) where there was a curve; all else as it was."""
    table = tacs.copy()
    for place, name in enumerate(names):
        table[name] = np.where(tacs[name].isna(), np.nan, means[:, place])
    return table


class _MarkAreasOutputSpec(TraitedSpec):  # type: ignore[misc]
    areas = File(exists=True, desc="(X, Y, Z, A): share of every area, the rest last")


class MarkAreas(SimpleInterface):  # type: ignore[misc]
    """Areas that do not overlap, as the masks that other programs take."""

    input_spec, output_spec = _AreasInputSpec, _MarkAreasOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        areas, grid = _read_areas(self.inputs), read_volume(self.inputs.petref)
        seen = [row for row, volume in enumerate(areas.volume_mm3) if volume > 0]
        masks = np.zeros((*grid.shape, len(seen) + 1), np.float32, order="F")
        for place, row in enumerate(seen):
            share = areas.shares[[row]].toarray().reshape(grid.shape)
            masks[..., place] = np.clip(share, 0, 1)
        masks[..., -1] = np.clip(1 - masks[..., :-1].sum(axis=3), 0, 1)
        path = write_array(Path(runtime.cwd) / "areas.nii.gz", masks, grid.affine)
        self._results["areas"] = str(path)
        return runtime


class _SplitFramesInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    pet_preproc = File(exists=True, mandatory=True, desc="frames in one space, Bq/mL")


class _SplitFramesOutputSpec(TraitedSpec):  # type: ignore[misc]
    frames = traits.List(File(exists=True), desc="one image per frame, unknown voxels 0")


class SplitFrames(SimpleInterface):  # type: ignore[misc]
    """Frames as images of their own, for programs that take one at a time."""

    input_spec, output_spec = _SplitFramesInputSpec, _SplitFramesOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        self._results["frames"] = []
        for number, frame in enumerate(frames_in_petref(self.inputs.pet_preproc)):
            path = Path(runtime.cwd) / f"frame{number:03d}.nii.gz"
            known = frame.with_data(np.nan_to_num(frame.data))
            self._results["frames"].append(str(write_volume(path, known)))
        return runtime


class _AverageFramesInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    frames = InputMultiObject(File(exists=True), mandatory=True, desc="corrected, in order")
    pet_preproc = File(exists=True, mandatory=True, desc="frames before the correction")
    region_weights = File(exists=True, mandatory=True, desc="weights of every region, npz")
    tacs = File(exists=True, mandatory=True, desc="curves without correction")


class _AverageFramesOutputSpec(TraitedSpec):  # type: ignore[misc]
    tacs = File(exists=True, desc="corrected curves; that of the brain is as it was")


class AverageFrames(SimpleInterface):  # type: ignore[misc]
    """Regional means of frames that another program corrected."""

    input_spec, output_spec = _AverageFramesInputSpec, _AverageFramesOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        regions = read_region_weights(self.inputs.region_weights)
        known = np.isfinite(next(frames_in_petref(self.inputs.pet_preproc)).data)
        means = []
        for path in self.inputs.frames:
            frame = read_volume(path).data
            means.append(regions.statistics(np.where(known, frame, np.nan)).mean)
        tacs = read_table(self.inputs.tacs)
        if len(means) != len(tacs):
            raise DataError(f"{len(tacs)} frames went in, {len(means)} came back corrected")
        names = [name for name in regions.names if name not in _NOT_REGIONS]
        rows = [regions.names.index(name) for name in names]
        table = _replaced(tacs, tuple(names), np.array(means)[:, rows])
        path = write_table(Path(runtime.cwd) / "tacs.tsv", table)
        self._results["tacs"] = str(path)
        return runtime
