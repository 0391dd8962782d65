"""Which results go where in the output folder, and what their sidecars say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline import __version__
from pipeline.bids.derivatives import MNI_SPACE, MODEL_LABELS, bids_uri, derivative_path
from pipeline.bids.model_sidecars import (
    flags_metadata,
    map_metadata,
    model_metadata,
    parameter_columns,
)
from pipeline.bids.scan import ScanInputs
from pipeline.bids.sidecar import frame_metadata
from pipeline.config.anatomy import DerivativesAnatomy
from pipeline.config.normalisation import AnatomyNormalisation
from pipeline.config.parcellation import EmbeddedParcellation, GivenParcellation
from pipeline.config.partial_volume import NoPartialVolume
from pipeline.config.regions import Ellipsoid, MniImage
from pipeline.config.schema import Settings
from pipeline.core.errors import DataError
from pipeline.core.labels import LABEL_NAMES, PONS
from pipeline.kinetics.contract import curve_models, in_table_order, map_symbols

ATLAS = "DesikanKilliany"
"""Description entity of the parcellation."""
GIVEN = "given"
"""Description entity of labels that came with the data."""
_TISSUES = {"GM": "grey matter", "WM": "white matter", "CSF": "cerebrospinal fluid"}
_FIELD = (
    "ITK displacement field: at a point of the space that the name goes to, the way to the same "
    "place in the space it comes from; pulls images onto the space it goes to"
)
_ACPC = (
    "Origin in the anterior commissure, y axis along the line between the commissures, x to the "
    "right"
)
REGIONS = "regions"
"""Description entity of curves and volumes of the named regions."""


@dataclass(frozen=True)
class Results:
    """What a `SaveDerivatives` node takes: places and sidecars of its inputs."""

    targets: Mapping[str, str | list[str]]
    metadata: Mapping[str, dict[str, Any] | list[dict[str, Any]]]


def anatomical_results(
    entities: Mapping[str, str], t1w: Path, bids_dir: Path, settings: Settings
) -> Results:
    """Outputs of the anatomical workflow of a T1w."""
    about: dict[str, Any] = {"Sources": [_uri(t1w, bids_dir)], **_software()}
    backend: dict[str, Any] = {"Backend": settings.anatomy.backend}
    if isinstance(settings.anatomy, DerivativesAnatomy):
        backend |= _FOUND_OF_DERIVATIVES
    parcellation: dict[str, Any] = {
        "Backend": settings.parcellation.backend,
        "Description": "FreeSurfer label numbers",
        "LabelMap": {str(number): name for number, name in LABEL_NAMES.items()},
    }
    field = {"Units": "mm", "Backend": _way_to_mni(settings), "Description": _FIELD}
    labels_desc = ATLAS
    if not isinstance(settings.parcellation, EmbeddedParcellation):
        parcellation["LabelMap"][str(PONS)] = "Pons"
    if isinstance(settings.parcellation, GivenParcellation):
        labels_desc = GIVEN
        parcellation["LabelFile"] = Path(settings.parcellation.dseg).name
    tissues = {
        label: {"Description": f"Share of {tissue} in a voxel, 0 to 1", **backend}
        for label, tissue in _TISSUES.items()
    }
    return _results(
        entities,
        {
            "t1w_preproc": _Output("t1w_preproc", {}, {"SkullStripped": False, **backend}),
            "brain_mask": _Output("brain_mask", {}, {"Type": "Brain", **backend}),
            "gm_probseg": _Output("probseg", {"label": "GM"}, tissues["GM"]),
            "wm_probseg": _Output("probseg", {"label": "WM"}, tissues["WM"]),
            "csf_probseg": _Output("probseg", {"label": "CSF"}, tissues["CSF"]),
            "dseg": _Output("dseg", {"desc": labels_desc}, parcellation),
            "t1w2mni_xfm": _Output("t1w2mni_xfm", {}, {"SpatialReference": MNI_SPACE, **field}),
            "t1w_acpc": _Output(
                "t1w_acpc", {}, {"SkullStripped": False, "SpatialReference": _ACPC, **backend}
            ),
            "t1w2acpc_xfm": _Output("t1w2acpc_xfm", {}, {"SpatialReference": _ACPC, **backend}),
            "mni2t1w_xfm": _Output("mni2t1w_xfm", {}, {"SpatialReference": "T1w", **field}),
        },
        about,
    )


def _way_to_mni(settings: Settings) -> str:
    """Backend that made the displacement fields."""
    own = isinstance(settings.normalisation, AnatomyNormalisation)
    return settings.anatomy.backend if own else settings.normalisation.backend


def session_results(scan: ScanInputs, bids_dir: Path, settings: Settings) -> Results:
    """Outputs of the workflow of a session."""
    sources = [_uri(path, bids_dir) for path in (*scan.files, scan.t1w) if path is not None]
    about: dict[str, Any] = {"Sources": sources, **_software()}
    images = {"Units": "Bq/mL", **_scan_metadata(scan)}
    motion = {"MotionBackend": settings.motion.backend, **_FOUND_OF_CORRECTION}
    regions = {"desc": REGIONS}
    outputs = {
        "pet_preproc": _Output("pet_preproc", {}, {"SkullStripped": False, **motion, **images}),
        "petref": _Output("petref", {}, {"Description": "Duration-weighted mean", **images}),
        "motion_xfms": _Output("motion_xfm", {}, motion),
        "confounds": _Output("confounds", {}, _confounds_metadata(motion, settings)),
        "petref2t1w_xfm": _Output(
            "petref2t1w_xfm",
            {},
            {"CoregistrationBackend": settings.coregistration.backend, "Coregistration": {}},
        ),
        "regions_dseg": _Output("regions_dseg", {}, _region_metadata(settings)),
        "regions_dseg_tsv": _Output("regions_dseg_tsv", {}, _region_metadata(settings)),
        "reference_mask": _Output(
            "reference_mask",
            {},
            {"Type": "ROI", "Description": f"{settings.regions.reference_name} after its rules"},
        ),
        "morph": _Output("morph", regions, _MORPH_COLUMNS),
        "reference_morph": _Output("morph", {"desc": "reference"}, _REFERENCE_COLUMNS),
        "tacs": _Output("tacs", regions, {"TimeUnits": "s", **images}),
        "tac_statistics": _Output("tac_statistics", regions, _STATISTICS_COLUMNS),
        "reference_uptake": _Output("uptake", {}, {**_UPTAKE_COLUMNS, **_dose(scan)}),
    }
    if not settings.scan.save_frames:
        del outputs["pet_preproc"]
    results = _results(scan.entities, outputs, about)
    targets = {**results.targets, "report": str(derivative_path(scan.entities, "report"))}
    fits = _fit_results(scan, settings, about)
    corrected = _corrected_results(scan, settings, about)
    return Results(
        {**targets, **fits.targets, **corrected.targets},
        {**results.metadata, **fits.metadata, **corrected.metadata},
    )


def _corrected_results(scan: ScanInputs, settings: Settings, about: dict[str, Any]) -> Results:
    """Tables after partial-volume correction, if there is one."""
    options = settings.partial_volume
    if isinstance(options, NoPartialVolume):
        return Results({}, {})
    images = {"Units": "Bq/mL", **_scan_metadata(scan)}
    pvc = {"pvc": options.label}
    said = {
        "PartialVolumeCorrection": options.label,
        "PartialVolumeBackend": options.backend,
        "PSF_FWHM_mm": list(options.psf_fwhm_mm),
    }
    tables = _results(
        scan.entities,
        {
            "tacs_pvc": _Output(
                "tacs", {"desc": REGIONS, **pvc}, {"TimeUnits": "s", **said, **images}
            ),
            "morph_pvc": _Output(
                "morph", {"desc": REGIONS, **pvc}, {**_MORPH_COLUMNS, **_PVC_COLUMNS, **said}
            ),
        },
        about,
    )
    shared = (settings.regions.reference_name, settings.kinetics.weights)
    models = curve_models(in_table_order(settings.kinetics.models))
    paths = [
        derivative_path(scan.entities, "kinpar", model=MODEL_LABELS[model.model], **pvc)
        for model in models
    ]
    fits = [
        {**parameter_columns(model), **model_metadata(model, *shared), **said, **about}
        for model in models
    ]
    return Results(
        {**tables.targets, "kinpar_pvc": [str(path) for path in paths]},
        {**tables.metadata, "kinpar_pvc": fits},
    )


def _fit_results(scan: ScanInputs, settings: Settings, about: dict[str, Any]) -> Results:
    """Tables and maps of the models, in the order in which the nodes hand them over."""
    options = settings.kinetics
    shared = (settings.regions.reference_name, options.weights)
    models = in_table_order(options.models)
    targets: dict[str, list[str]] = {"kinpar": []}
    metadata: dict[str, list[dict[str, Any]]] = {"kinpar": []}
    for model in models:
        path = derivative_path(scan.entities, "kinpar", model=MODEL_LABELS[model.model])
        targets["kinpar"].append(str(path))
        columns = parameter_columns(model)
        metadata["kinpar"].append({**columns, **model_metadata(model, *shared), **about})
    spaces: dict[str, dict[str, str]] = {"maps": {}, "maps_mni": {"space": MNI_SPACE}}
    for port, space in spaces.items() if options.maps else ():
        targets[port], metadata[port] = [], []
        for model, symbol in (
            (m, s) for m in in_table_order(options.models) for s in map_symbols(m)
        ):
            entities = {"model": MODEL_LABELS[model.model], "meas": symbol, **space}
            targets[port].append(str(derivative_path(scan.entities, "mimap", **entities)))
            content = {**map_metadata(model, symbol), **model_metadata(model, *shared)}
            content["SpatialSmoothing_mm"] = options.map_smoothing_fwhm_mm
            metadata[port].append({**content, **about})
    if options.maps:
        flags = [{"model": MODEL_LABELS[model.model], "meas": "flags"} for model in models]
        targets["flags"] = [str(derivative_path(scan.entities, "mimap", **e)) for e in flags]
        metadata["flags"] = [{**flags_metadata(), **about} for _ in flags]
    return Results(targets, metadata)


@dataclass(frozen=True)
class _Output:
    key: str
    """In `pipeline.bids.derivatives.OUTPUT_NAMES`."""
    entities: Mapping[str, str]
    metadata: Mapping[str, Any]


def _results(
    entities: Mapping[str, str], outputs: Mapping[str, _Output], about: Mapping[str, Any]
) -> Results:
    return Results(
        {p: str(derivative_path(entities, o.key, **o.entities)) for p, o in outputs.items()},
        {p: {**o.metadata, **about} for p, o in outputs.items()},
    )


# the run replaces these by what it decided and found
_FOUND_OF_CORRECTION: dict[str, Any] = {"MotionCorrected": "n/a", "MotionCorrectionReason": "n/a"}
_FOUND_OF_DERIVATIVES = dict.fromkeys(("Pipeline", "PipelineVersion", "PipelineT1w"), "n/a")
_FOUND_OF_MOTION: dict[str, Any] = dict.fromkeys(
    (
        "MedianStep_mm",
        "LargestStep_mm",
        "MedianPoseError_mm",
        "FramesEstimated",
        "FramesMovedWithin",
        "FramesMovedWithin_mm",
        "FramesResidualRise",
        "FramesGuessed",
    ),
    "n/a",
)


def _confounds_metadata(motion: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Of the table of motion; frames in lists are counted from zero."""
    options = settings.motion.model_dump(mode="json", exclude={"backend"})
    return {**motion, "MotionSettings": options, **_FOUND_OF_MOTION, **_CONFOUND_COLUMNS}


_CONFOUND_COLUMNS: dict[str, Any] = {
    **{f"trans_{axis}": {"Units": "mm", "Description": "Shift of the head"} for axis in "xyz"},
    **{f"rot_{axis}": {"Units": "deg", "Description": "Turn about its centre"} for axis in "xyz"},
    **{
        f"{kind}_{axis}_se": {
            "Units": unit,
            "Description": f"Standard error of {kind}_{axis}, from residuals summed over blocks",
        }
        for kind, unit in (("trans", "mm"), ("rot", "deg"))
        for axis in "xyz"
    },
    "pose_error": {
        "Units": "mm",
        "Description": "Root mean square shift of the head that the standard errors stand for",
    },
    "framewise_displacement": {
        "Units": "mm",
        "Description": "Mean shift of the points of the head against the frame before; n/a where "
        "one of the two poses is guessed",
    },
    "displacement": {
        "Units": "mm",
        "Description": "Mean shift of the points of the head against petref, or against the mean "
        "pose where the run was not corrected",
    },
    "moved_within": {
        "Units": "mm",
        "Description": "Smaller of the shifts against the groups before and after: what the head "
        "moved within the frame at least",
    },
    "misfit": {
        "Description": "Mean squared residual times counts, relative to the median of the scan"
    },
    "counts": {"Description": "Decays in the head during the frame"},
    "group": {"Description": "Frames of one number share a transform"},
    "source": {
        "Description": "Where the transform comes from",
        "Levels": {
            "estimated": "From the counts of the group",
            "interpolated": "From the groups before and after",
            "copied": "From the group next in time",
            "guessed": "From the other side of a break: nothing shows where the head was",
            "none": "Motion was not looked for",
        },
    },
}

_MORPH_COLUMNS: dict[str, Any] = {
    "volume-mm3": {"Units": "mm3", "Description": "Inside the field of view of the PET"},
    "volume-T1w-mm3": {"Units": "mm3", "Description": "On the T1w"},
    "in-field": {
        "Description": "Share of the region's volume on the T1w that the field of view holds, to "
        "within the sampling"
    },
    "covered": {
        "Description": "Share of the region's volume on the T1w that every frame covers: "
        "in-field, less what motion, joined runs and voxels without a value take"
    },
    "usable": {"Description": "0 where the region has no curve, for the reason given"},
    "reason": {
        "Description": "Why the region has no curve",
        "Levels": {
            "volume": "Frames cover less of it than regions.minimum_volume_mm3",
            "cover": "Frames cover less than half of it",
        },
    },
}


_PVC_COLUMNS: dict[str, Any] = {
    "recovery": {
        "Description": "Mean over the region of itself, activity one, as the scanner shows it"
    },
    "noise-factor": {
        "Description": "Standard deviation of a mean after GTM by that before, for noise as "
        "smooth as the point spread"
    },
}


_STATISTICS_COLUMNS: dict[str, Any] = {
    "frame_start": {"Units": "s", "Description": "After injection"},
    "frame_end": {"Units": "s", "Description": "After injection"},
    "mean": {"Units": "Bq/mL", "Description": "Of the voxels, by their share of the region"},
    "mean-core": {
        "Units": "Bq/mL",
        "Description": "Plain mean of the voxels of which the region holds half or more",
    },
    "sd": {"Units": "Bq/mL", "Description": "Between the voxels, by their share of the region"},
    "voxels": {"Description": "Voxels with a value and some share of the region"},
    "voxels-core": {"Description": "Voxels with a value of which the region holds half or more"},
    "suv": {
        "Units": "g/mL",
        "Description": "Mean by injected activity per body weight; n/a where one is not known",
    },
}


_UPTAKE_COLUMNS: dict[str, Any] = {
    "name": {"Description": "Reference region"},
    "window": {
        "Description": "Frames that count, by their duration",
        "Levels": {
            "scan": "All that start with the injection or after it",
            "late": "Those wholly inside the late window of the settings",
        },
    },
    "frame_start": {"Units": "s", "Description": "Of the first frame, after injection"},
    "frame_end": {"Units": "s", "Description": "Of the last frame, after injection"},
    "mean": {"Units": "Bq/mL", "Description": "Mean uptake, decay-corrected to the injection"},
    "suv": {
        "Units": "g/mL",
        "Description": "Mean by injected activity per body weight; n/a where one is not known",
    },
    "percent-per-litre": {
        "Units": "%/L",
        "Description": "Per cent of the injected activity in a litre; n/a where it is not known",
    },
}


_REFERENCE_COLUMNS: dict[str, Any] = {
    "name": {"Description": "Rule of the reference region, in the order of use"},
    "volume-mm3": {"Units": "mm3", "Description": "Left on the T1w after the rule"},
    "voxels": {"Description": "Voxels of the T1w left after the rule"},
    "voxels-lost": {"Description": "Voxels that the rule took away"},
}


def _region_metadata(settings: Settings) -> dict[str, Any]:
    regions = settings.regions
    return {
        "Description": (
            "The region that fills a voxel by half or more, for viewing; where regions overlap, "
            "the smallest. Curves use every region's share of every voxel, overlaps and all"
        ),
        "voxels": {"Description": "Voxels where the image shows the region"},
        "SpatialReference": "petref",
        "Labels": {name: list(labels) for name, labels in regions.labels.items()},
        "MniRegions": {name: _described(region) for name, region in regions.mni.items()},
        "ReferenceRegion": regions.reference_name,
        "ReferenceRules": asdict(regions.reference),
    }


def _described(region: Ellipsoid | MniImage) -> dict[str, Any]:
    content = region.model_dump(mode="json")
    if isinstance(region, MniImage):
        content["image"] = region.image.name
    return content


def _scan_metadata(scan: ScanInputs) -> dict[str, Any]:
    return {
        "TracerName": scan.tracer_name or "n/a",
        "TracerRadionuclide": scan.radionuclide or "n/a",
        **_dose(scan),
        # the run replaces these where it finds frames without counts
        **frame_metadata(scan.timing),
        "FramesDropped": list(scan.dropped),
        "ImageDecayCorrected": True,
        "ImageDecayCorrectionTime": 0,
    }


def _dose(scan: ScanInputs) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for key, value, units in (
        ("InjectedRadioactivity", scan.injected_mbq, "MBq"),
        ("MolarActivity", scan.molar_activity_gbq_per_umol, "GBq/umol"),
        ("InjectedMass", scan.injected_mass_ug, "ug"),
        ("BodyWeight", scan.body_weight_kg, "kg"),
    ):
        said |= {key: "n/a" if value is None else value, f"{key}Units": units}
    return said


def _software() -> dict[str, str]:
    return {"SoftwareName": "petbind", "SoftwareVersion": __version__}


def _uri(path: Path, bids_dir: Path) -> str:
    try:
        return bids_uri(path.absolute(), bids_dir.absolute(), "raw")
    except DataError:
        return path.name
