"""Nodes that lay the PET on the T1w."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from pipeline.bids.scan import ScanInputs
from pipeline.core.errors import DataError
from pipeline.core.volume import BoolArray, FloatArray, Volume
from pipeline.imaging.coregistration import (
    WHOLE,
    HeadOnMr,
    PetOnT1w,
    coregister,
    judge_place,
    reference_windows,
)
from pipeline.imaging.tissue_contrast import LEAST_SCORE, TYPICAL_SCORES
from pipeline.io.frames import frames_in_petref
from pipeline.io.images import read_volume
from pipeline.io.tables import write_json
from pipeline.io.tool_transforms import read_lta_transform
from pipeline.io.transforms import read_itk_transform, write_itk_transform


class OnHeadInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    """PET, and what is known of the head on the MR side."""

    petref = File(exists=True, mandatory=True, desc="mean PET")
    pet_preproc = File(exists=True, mandatory=True, desc="frames in the space of petref")
    scan = traits.Instance(ScanInputs, mandatory=True, desc="frame timing")
    t1w_preproc = File(exists=True, mandatory=True, desc="bias-corrected T1w")
    brain_mask = File(exists=True, mandatory=True, desc="brain on the grid of the T1w")
    gm_probseg = File(exists=True, mandatory=True, desc="share of grey matter, T1w space")
    wm_probseg = File(exists=True, mandatory=True, desc="share of white matter, T1w space")
    csf_probseg = File(exists=True, mandatory=True, desc="share of fluid, T1w space")
    least_score = traits.Float(LEAST_SCORE, usedefault=True, desc="below it the run is flagged")


class _PlaceInputSpec(OnHeadInputSpec):
    # graphs are built without a look at the files that settings name; the survey has had one
    init_xfm = File(desc="ITK transform from-petref_to-T1w to take, or to start from")


class _CoregisterInputSpec(_PlaceInputSpec):
    smoothing_fwhm_mm = traits.Float(mandatory=True, desc="smoothing of the T1w")
    aligned = traits.Bool(False, usedefault=True, desc="start from the identity alone")


class TransformOutputSpec(TraitedSpec):  # type: ignore[misc]
    """Where the PET lies, and what speaks for it."""

    petref2t1w_xfm = File(exists=True, desc="ITK transform from-petref_to-T1w")
    quality = File(exists=True, desc="scores, JSON")


class Coregister(SimpleInterface):  # type: ignore[misc]
    """Rigid PET-MR alignment by mutual information, judged by tissue contrast."""

    input_spec, output_spec = _CoregisterInputSpec, TransformOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        start = _given_transform(self.inputs)
        if start is None and self.inputs.aligned:
            start = np.eye(4)
        try:
            found = coregister(
                _references(self.inputs), _head(self.inputs), self.inputs.smoothing_fwhm_mm, start
            )
        except ValueError as error:
            raise DataError(f"coregistration of PET and T1w: {error}") from error
        self._results.update(_write(Path(runtime.cwd), found, self.inputs.least_score))
        return runtime


class KeepPlace(SimpleInterface):  # type: ignore[misc]
    """A transform that was given, or the identity, measured but not changed."""

    input_spec, output_spec = _PlaceInputSpec, TransformOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        given = _given_transform(self.inputs)
        place = np.eye(4) if given is None else given
        self._results.update(judged(Path(runtime.cwd), place, self.inputs))
        return runtime


def judged(folder: Path, petref2t1w_xfm: FloatArray, inputs: Any) -> dict[str, str]:
    """Outputs of a place (4, 4) that was found elsewhere, measured as one of our own."""
    try:
        found = judge_place(_references(inputs), _head(inputs), petref2t1w_xfm)
    except ValueError as error:
        raise DataError(f"coregistration of PET and T1w: {error}") from error
    return _write(folder, found, inputs.least_score)


def _given_transform(inputs: Any) -> FloatArray | None:
    if not isdefined(inputs.init_xfm):
        return None
    is_lta = Path(inputs.init_xfm).suffix == ".lta"
    return (read_lta_transform if is_lta else read_itk_transform)(inputs.init_xfm)


def _head(inputs: Any) -> HeadOnMr:
    tissues = (inputs.gm_probseg, inputs.wm_probseg, inputs.csf_probseg)
    return HeadOnMr(
        read_volume(inputs.t1w_preproc),
        read_volume(inputs.brain_mask).data > 0,
        tuple(read_volume(path) for path in tissues),
    )


def _references(inputs: Any) -> dict[str, Volume]:
    """The mean of the scan, and means over its windows; one frame is held at a time."""
    timing = inputs.scan.timing
    windows = reference_windows(timing)
    whole = read_volume(inputs.petref)
    sums = {name: np.zeros(whole.shape) for name in windows}
    for i, frame in enumerate(frames_in_petref(inputs.pet_preproc) if windows else ()):
        for name, frames in windows.items():
            if frames[i]:
                sums[name] += timing.duration_s[i] * frame.data
    means = {
        name: (sums[name] / timing.duration_s[frames].sum()).astype(np.float32)
        for name, frames in windows.items()
    }
    # what one frame did not see is NaN in all of them, but zero in their mean on disk
    known: BoolArray = np.isfinite(next(iter(means.values()), whole.data))
    return {WHOLE: whole.with_data(np.where(known, whole.data, np.float32(np.nan)))} | {
        name: whole.with_data(mean) for name, mean in means.items()
    }


def quality_of(found: PetOnT1w, least_score: float) -> dict[str, Any]:
    """What a place says of itself, for the sidecar of the transform and for the page."""
    searched = {
        "Reference": found.reference,
        "Start": found.start,
        "ScoreByReference": dict(found.reference_scores),
        "Margin": found.margin,
        "DistanceToNextReference_mm": found.spread_mm,
        "StartsThatAgree": f"{found.starts_that_agree} of {found.starts_tried}",
    }
    typical = np.array(TYPICAL_SCORES)
    return {
        "Score": found.score,
        "LeastScore": least_score,
        "TypicalScores": [float(typical.min()), float(np.median(typical)), float(typical.max())],
        "ShareOfTypicalScoresBelow": float(np.mean(typical < found.score)),
        "Flagged": not found.score >= least_score,
        "BrainInField": found.brain_in_field,
        "ShiftFromHeaders_mm": found.shift_mm,
    } | (searched if found.starts_tried else {})


def _write(folder: Path, found: PetOnT1w, least_score: float) -> dict[str, str]:
    xfm = write_itk_transform(folder / "petref2t1w.txt", found.petref2t1w_xfm)
    # one key, so that the sidecar of the transform takes it as it is
    quality = write_json(
        folder / "coregistration.json", {"Coregistration": quality_of(found, least_score)}
    )
    return {"petref2t1w_xfm": str(xfm), "quality": str(quality)}
