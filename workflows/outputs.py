"""Which results go where in the output folder, and what their sidecars say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import __version__
from pipeline.bids.derivatives import MNI_SPACE, bids_uri, derivative_path
from pipeline.bids.scan import ScanInputs
from pipeline.config.schema import Settings
from pipeline.core.errors import DataError
from pipeline.core.labels import LABEL_NAMES
from pipeline.interfaces.kinetics import MAP_PARAMETERS

ATLAS = "DesikanKilliany"
"""Description entity of the parcellation."""
REGIONS = "regions"
"""Description entity of curves and volumes of the named regions."""


@dataclass(frozen=True)
class Results:
    """What a `SaveDerivatives` node takes: places and sidecars of its inputs."""

    targets: Mapping[str, str | list[str]]
    metadata: Mapping[str, dict[str, Any]]


def anatomical_results(
    entities: Mapping[str, str], t1w: Path, bids_dir: Path, settings: Settings
) -> Results:
    """Outputs of the anatomical workflow of a T1w."""
    source = {"Sources": [_uri(t1w, bids_dir)], **_software()}
    backend = {"Backend": settings.anatomy.backend}
    keys = {
        "t1w_preproc": ("t1w_preproc", {}, {"SkullStripped": False, **backend}),
        "brain_mask": ("brain_mask", {}, {"Type": "Brain", **backend}),
        "gm_probseg": ("probseg", {"label": "GM"}, backend),
        "wm_probseg": ("probseg", {"label": "WM"}, backend),
        "csf_probseg": ("probseg", {"label": "CSF"}, backend),
        "dseg": (
            "dseg",
            {"desc": ATLAS},
            {
                "Backend": settings.parcellation.backend,
                "Description": "FreeSurfer label numbers",
                "LabelMap": {str(number): name for number, name in LABEL_NAMES.items()},
            },
        ),
        "t1w2mni_xfm": ("t1w2mni_xfm", {}, {"Units": "mm", "SpatialReference": MNI_SPACE}),
        "mni2t1w_xfm": ("mni2t1w_xfm", {}, {"Units": "mm", "SpatialReference": "T1w"}),
    }
    return Results(
        {port: str(derivative_path(entities, key, **extra)) for port, (key, extra, _) in keys.items()},
        {port: {**text, **source} for port, (_, _, text) in keys.items()},
    )


def session_results(scan: ScanInputs, bids_dir: Path, settings: Settings) -> Results:
    """Outputs of the workflow of a session."""
    model = type(settings.kinetics.model).__name__.upper()
    raw = {"Sources": [_uri(scan.pet, bids_dir)], **_software()}
    if scan.t1w is not None:
        raw["Sources"].append(_uri(scan.t1w, bids_dir))
    scanned = _scan_metadata(scan) | raw
    fitted = {
        "ModelName": model,
        "ReferenceRegion": settings.regions.reference_name,
        "BloodType": "none",
        "AdditionalModelDetails": settings.kinetics.model.__class__.__doc__.split("\n")[0],
        "InputLabels": ["k2a_min", "k2a_max"],
        "InputValues": [settings.kinetics.model.k2a_min, settings.kinetics.model.k2a_max],
        "InputUnits": ["1/min", "1/min"],
        "Weights": "inverse variance of the decay-corrected count model, whole-brain curve",
        **raw,
    }
    parameters = {p.symbol: {"Description": p.meaning, "Units": p.unit} for p in settings.kinetics.model.parameters}
    parameters |= {
        f"{p.symbol}-se": {"Description": f"Standard error of {p.symbol}", "Units": "%"}
        for p in settings.kinetics.model.parameters
    }
    keys: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
        "pet_preproc": ("pet_preproc", {}, {"Units": "Bq/mL", "MotionBackend": settings.motion.backend} | scanned),
        "petref": ("petref", {}, {"Units": "Bq/mL", "Description": "Duration-weighted mean"} | scanned),
        "motion_xfms": ("motion_xfm", {}, raw),
        "confounds": (
            "confounds",
            {},
            {
                "trans_x": {"Units": "mm"},
                "rot_x": {"Units": "rad"},
                "framewise_displacement": {
                    "Description": "Mean shift of the head against the frame before",
                    "Units": "mm",
                },
                "displacement": {
                    "Description": "Mean shift of the head against petref",
                    "Units": "mm",
                },
                "corrected": {"Description": "1 where the frame itself was aligned"},
                **raw,
            },
        ),
        "petref2t1w_xfm": ("petref2t1w_xfm", {}, raw),
        "regions_dseg": ("regions_dseg", {}, raw),
        "regions_dseg_tsv": ("regions_dseg_tsv", {}, {}),
        "morph": ("morph", {"desc": REGIONS}, {"volume-mm3": {"Units": "mm3"}, **raw}),
        "tacs": ("tacs", {"desc": REGIONS}, {"Units": "Bq/mL", "TimeUnits": "s"} | scanned),
        "kinpar": ("kinpar", {"model": model}, parameters | fitted),
    }
    targets: dict[str, str | list[str]] = {
        port: str(derivative_path(scan.entities, key, **extra)) for port, (key, extra, _) in keys.items()
    }
    targets["report"] = str(derivative_path(scan.entities, "report"))
    metadata = {port: text for port, (_, _, text) in keys.items()}
    if settings.kinetics.maps:
        for port, space in (("maps", {}), ("maps_mni", {"space": MNI_SPACE})):
            targets[port] = [
                str(derivative_path(scan.entities, "mimap", model=model, meas=meas, **space))
                for meas in MAP_PARAMETERS
            ]
            metadata[port] = fitted
    return Results(targets, metadata)


def _scan_metadata(scan: ScanInputs) -> dict[str, Any]:
    return {
        "TracerName": scan.tracer_name or "n/a",
        "TracerRadionuclide": scan.radionuclide or "n/a",
        "InjectedRadioactivity": scan.injected_mbq if scan.injected_mbq is not None else "n/a",
        "InjectedRadioactivityUnits": "MBq",
        "BodyWeight": scan.body_weight_kg if scan.body_weight_kg is not None else "n/a",
        "BodyWeightUnits": "kg",
        "FrameTimesStart": list(scan.frame_start_s),
        "FrameDuration": list(scan.frame_duration_s),
        "TimeZero": "InjectionStart",
        "ImageDecayCorrected": True,
        "ImageDecayCorrectionTime": 0,
    }


def _software() -> dict[str, str]:
    return {"SoftwareName": "petbind", "SoftwareVersion": __version__}


def _uri(path: Path, bids_dir: Path) -> str:
    try:
        return bids_uri(path.absolute(), bids_dir.absolute(), "raw")
    except DataError:
        return path.name
