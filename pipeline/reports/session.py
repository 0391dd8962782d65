"""The page of a session: what was done to its images, what came out, and how far to trust it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from pipeline.core.volume import FloatArray, Volume
from pipeline.imaging.labelling import brighter_white_share
from pipeline.reports.curves import (
    CURVE_KEY,
    Curves,
    Motion,
    curve_figure,
    motion_figure,
)
from pipeline.reports.overlays import (
    OUTLINE_KEY,
    Tissues,
    label_figure,
    map_figure,
    pet_over_t1w_figure,
    pet_under_outlines_figure,
    region_figure,
    tissue_figure,
)
from pipeline.reports.page import (
    SYMBOL_HTML,
    Card,
    Cell,
    Note,
    Page,
    Section,
    Shown,
    Table,
    facts,
    flat,
    number,
    public,
    render_page,
    shown_value,
)
from pipeline.reports.style import UNITS, Colour, as_hex, data_uri, distinct_colours

_PARAMETERS = {
    "BPND": ".2f",
    "DVR": ".2f",
    "SUVR": ".2f",
    "SUV": ".2f",
    "R1": ".2f",
    "k2": ".3f",
    "k2a": ".3f",
    "tstar": ".1f",
}
_MAP_NAMES = {"residual": "Weighted residual"}
_MOST_CARDS = 8
_LARGE_STEP_MM = 3.0
"""Mean shift of the head from a frame to the next that the findings tell of."""
_SCAN_NAMES = {
    "subject": "Subject",
    "session": "Session",
    "task": "Task",
    "tracer": "Tracer label",
    "reconstruction": "Reconstruction",
    "run": "Run",
    "tracer_name": "Tracer",
    "radionuclide": "Radionuclide",
    "injected_mbq": "Injected (MBq)",
    "body_weight_kg": "Body weight (kg)",
    "pet": "PET files",
    "n_frames": "Frames",
    "left_out": "Frames left out",
    "duration_min": "Scan length (min)",
    "t1w": "T1w image",
    "t1w_reason": "Why this T1w",
}
_CAPTION_SIDES = "Left is on the left; positions in mm."


@dataclass(frozen=True, eq=False)
class Coregistration:
    """Where the PET lies on the T1w."""

    petref: Volume
    petref2t1w_xfm: FloatArray
    """(4, 4), world points of the PET reference to world points of the T1w, mm."""
    quality: Mapping[str, Any] = field(default_factory=dict)

    @property
    def pet_in_t1w(self) -> Volume:
        """The PET reference where it lies on the T1w; no voxel is changed."""
        return Volume(self.petref.data, self.petref2t1w_xfm @ self.petref.affine)


@dataclass(frozen=True, eq=False)
class Regions:
    """Regions on the grid of the PET reference."""

    labels: Volume
    names: Mapping[int, str]
    """Label to name."""
    volumes_mm3: Mapping[str, float] = field(default_factory=dict)
    trimming: Sequence[Mapping[str, Any]] = ()
    """Rules of the reference region: `name`; on the T1w, `volume-mm3` left and `voxels-lost`."""
    too_small: Sequence[str] = ()
    """Names of regions with too little volume for an estimate."""
    in_field: Mapping[str, float] = field(default_factory=dict)
    """Region to the share of it that the field of view holds."""
    uncovered: Sequence[str] = ()
    """Names of regions without an estimate as the frames cover less than half of them."""
    covered: Mapping[str, float] = field(default_factory=dict)
    """Region to the share of it that every frame covers."""

    @property
    def without_estimate(self) -> tuple[str, ...]:
        """Names of regions that got none, for either reason."""
        return (*self.too_small, *self.uncovered)

    @property
    def colours(self) -> dict[int, Colour]:
        """Colour of every label."""
        return dict(zip(self.names, distinct_colours(len(self.names)), strict=True))


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelReport:
    """What one model found."""

    model: str
    """Its name as papers write it."""
    kinetics: Sequence[Mapping[str, Any]] = ()
    """Rows of the kinetic table: `name`, parameters, `<parameter>-se` in per cent, `flag`."""
    maps: Mapping[str, Volume] = field(default_factory=dict)
    """Parameter to map, on the grid of the PET reference."""
    flagged: Mapping[str, float] = field(default_factory=dict)
    """Flag to the share of voxels that raise it."""

    @property
    def main(self) -> str:
        """The parameter that cards and curves show: the first of the table."""
        columns = {key: None for row in self.kinetics for key in row}
        return next((column for column in columns if column in _PARAMETERS), "BPND")


@dataclass(frozen=True, kw_only=True, eq=False)
class PartialVolume:
    """What the models found after partial-volume correction."""

    method: str
    """Label of the correction."""
    kinetics: Mapping[str, Sequence[Mapping[str, Any]]]
    """Model to the rows of its kinetic table."""
    recovery: Mapping[str, float] = field(default_factory=dict)
    """Region to the share of itself that the scanner leaves in its mean."""
    noise_factor: Mapping[str, float] = field(default_factory=dict)
    """Region to the standard deviation of its mean after correction by that before."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SessionReport:
    """What the page of a session is made of; what is missing is left out of it."""

    scan: Mapping[str, Any]
    """Facts of the scan; `subject` and `session` name the page."""
    version: str
    tissues: Tissues | None = None
    labels: Volume | None = None
    """Parcellation on the T1w, FreeSurfer label numbers."""
    anatomy_quality: Mapping[str, Any] = field(default_factory=dict)
    coregistration: Coregistration | None = None
    motion: Motion | None = None
    regions: Regions | None = None
    curves: Curves | None = None
    uptake: Sequence[Mapping[str, Any]] = ()
    """Rows of the uptake of the reference region: `name`, `window`, `frame_start` and
    `frame_end` (s), `mean` (Bq/mL), `suv` (g/mL), `percent-per-litre`."""
    models: Sequence[ModelReport] = ()
    """The first one is the one that cards and curves show."""
    partial_volume: PartialVolume | None = None
    methods: Sequence[str] = ()
    findings: Sequence[Note] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)


def render_session(report: SessionReport) -> str:
    """The page as HTML, the same for the same report."""
    entities = ("subject", "sub"), ("session", "ses"), ("task", "task"), ("run", "run")
    labels = [
        f"{short}-{str(report.scan[key]).removeprefix(short + '-')}"
        for key, short in entities
        if report.scan.get(key)
    ]
    shown = {key: value for key, value in report.scan.items() if value not in (None, "")}
    sections = [
        _findings(report),
        *(_kinetics(report, fit) for fit in report.models),
        _partial_volume(report),
        _curves(report),
        _anatomy(report),
        _coregistration(report),
        _motion(report),
        _regions(report),
        *(_maps(report, fit) for fit in report.models),
        Section("methods", "Methods", text=[public(text) for text in report.methods]),
        Section(
            "provenance",
            "Provenance",
            facts={key: public(shown_value(value)) for key, value in flat(report.provenance)},
        ),
    ]
    return render_page(
        Page(
            title=" ".join(labels) or "Session",
            kicker="petbind session report",
            facts=facts(shown, _SCAN_NAMES),
            cards=_cards(report),
            cards_title=SYMBOL_HTML[_first(report).main] + " of the regions",
            sections=[section for section in sections if section is not None],
            version=report.version,
        )
    )


def _first(report: SessionReport) -> ModelReport:
    return next(iter(report.models), ModelReport(model=""))


def _cards(report: SessionReport) -> list[Card]:
    fit = _first(report)
    return [
        Card(
            title=str(row["name"]),
            value=number(_value(row, fit.main)).text,
            detail=_error_text(_value(row, f"{fit.main}-se")),
            flag=_flag(row),
        )
        for row in list(fit.kinetics)[:_MOST_CARDS]
    ]


def _error_text(percent: float) -> str:
    return f"SE {percent:.1f} %" if np.isfinite(percent) else "no standard error"


def _findings(report: SessionReport) -> Section:
    lacking = report.regions.without_estimate if report.regions is not None else ()
    flagged = [
        (fit.model, row)
        for fit in report.models
        for row in fit.kinetics
        if _flag(row) and row["name"] not in lacking
    ]
    notes = [Note(n.severity, public(n.text), public(n.where)) for n in report.findings]
    if (corrected := report.partial_volume) is not None:
        flagged += [
            (f"{model} after {corrected.method}", row)
            for model, rows in corrected.kinetics.items()
            for row in rows
            if _flag(row) and row["name"] not in lacking
        ]
    notes += [
        Note("warning", f"{model} fit: {_flag(row)}", str(row["name"])) for model, row in flagged
    ]
    notes += [*_no_estimate(report.regions), *_cut_off(report.regions), *_lost(report.regions)]
    notes += [
        Note("warning", text, "anatomy") for text in report.anatomy_quality.get("Warnings", ())
    ]
    notes += [
        *_empty(report.motion),
        *_off_labels(report),
        *_misplaced(report.coregistration),
        *_noisy(report.partial_volume),
        *_jumps(report.motion),
        *_moved_within(report.motion),
    ]
    text = () if notes else ("Nothing was found wrong with the data or the fits.",)
    return Section("findings", "Findings", text=text, notes=notes)


def _no_estimate(regions: Regions | None) -> list[Note]:
    """A note on the regions without an estimate, by reason."""
    if regions is None:
        return []
    told = {
        "too small for an estimate (regions.minimum_volume_mm3), or absent": regions.too_small,
        "no estimate: less than half of it lies in every frame": regions.uncovered,
    }
    return [Note("warning", text, ", ".join(names)) for text, names in told.items() if names]


def _cut_off(regions: Regions | None) -> list[Note]:
    """A note on every region of which the field of view lacks a part."""
    shares = regions.in_field.items() if regions is not None else ()
    return [
        Note("warning", f"{100 * (1 - share):.0f} % of it lie outside the field of view", name)
        for name, share in shares
        if share < _WHOLE
    ]


_WHOLE = 0.95


def _lost(regions: Regions | None) -> list[Note]:
    """A note on every region with a part in the field of view that some frame does not cover."""
    if regions is None:
        return []
    lost = {
        name: min(regions.in_field.get(name, 1.0), 1.0) - covered
        for name, covered in regions.covered.items()
        if name not in regions.without_estimate
    }
    text = "% of it lie in the field of view, but not in every frame: left out of its curve"
    return [
        Note("warning", f"{100 * share:.0f} {text}", name)
        for name, share in lost.items()
        if share > _LOST
    ]


_LOST = 0.1


def _empty(motion: Motion | None) -> list[Note]:
    """A note on frames that were left out as they hold no counts."""
    frames = motion.quality.get("FramesEmpty", ()) if motion is not None else ()
    if not frames:
        return []
    numbers = ", ".join(map(str, frames))
    text = f"frames left out, as they hold no counts (scan.drop_empty): {numbers}"
    return [Note("warning", text, "frames")]


def _off_labels(report: SessionReport) -> list[Note]:
    """A note where the labels may lie beside the tissue of the T1w."""
    if report.tissues is None or report.labels is None:
        return []
    share = brighter_white_share(report.labels, report.tissues.t1w)
    if not share < _USUAL_BRIGHTER:
        return []
    text = (
        f"what the labels call white matter is brighter than their cortex in {100 * share:.0f} % "
        "of pairs of voxels; 98 % are usual, and 88 % where labels lie 2 mm off: look at them on "
        "the T1w"
    )
    return [Note("warning", text, "parcellation")]


_USUAL_BRIGHTER = 0.95


def _misplaced(coregistration: Coregistration | None) -> list[Note]:
    """A note where the score says that the PET may not lie on the T1w, or is an unusual one."""
    quality = coregistration.quality if coregistration is not None else {}
    if not quality.get("Flagged"):
        usual = min(quality.get("TypicalScores", [-np.inf]))
        if not quality.get("Score", np.inf) < usual - _UNUSUAL_BELOW:
            return []
        text = (
            f"the score of the coregistration, {quality['Score']:.2f}, is lower than that of any "
            f"of ten simulated scans ({usual:.2f} and more, with voxels of 2 mm); coarse voxels "
            "lower it, and so does a shift of 3 mm: look at the pictures"
        )
        return [Note("note", text, "coregistration")]
    text = (
        f"the PET may not lie on the T1w: its score is {quality['Score']:.2f}, below "
        f"{quality['LeastScore']:.2f}, and {100 * quality['BrainInField']:.0f} % of the brain are "
        "in its field of view; look at the pictures of the coregistration before any number"
    )
    return [Note("warning", text, "coregistration")]


_UNUSUAL_BELOW = 0.1


def _noisy(corrected: PartialVolume | None) -> list[Note]:
    """A note on regions that the correction makes noisy; the reference's noise is in all."""
    factors = corrected.noise_factor if corrected is not None else {}
    high = [f"{name} {factor:.1f}" for name, factor in factors.items() if factor > _NOISY]
    if corrected is None or not high:
        return []
    text = (
        f"after {corrected.method} the noise of these regions is more than {_NOISY:g} times what "
        f"it was: {', '.join(high)}; that of the reference region is in every BPND"
    )
    return [Note("warning", text, "partial volume")]


_NOISY = 2.0


def _jumps(motion: Motion | None) -> list[Note]:
    """A note on the largest step of the head between frames, where it is a large one."""
    if motion is None or not (motion.displacement_mm > _LARGE_STEP_MM).any():
        return []
    frame = int(np.nanargmax(motion.displacement_mm))
    text = (
        f"the head moved by {motion.displacement_mm[frame]:.1f} mm at "
        f"{motion.timing.mid_min[frame]:.0f} min: what moved within a frame is not corrected, and "
        "the attenuation map no longer fits; look at the curves after it"
    )
    return [Note("warning", text, "motion")]


def _moved_within(motion: Motion | None) -> list[Note]:
    """A note on every frame within which the head moved, and on those that fit badly."""
    if motion is None:
        return []
    notes = []
    for frame, moved_mm in motion.moved_within.items():
        start, end = motion.timing.start_min[frame], motion.timing.end_min[frame]
        text = (
            f"the head moved by {moved_mm:.1f} mm or more within frame {frame}, {start:.1f} to "
            f"{end:.1f} min: it is blurred, which no correction mends; see whether results hold "
            "without it"
        )
        notes.append(Note("warning", text, "motion"))
    if rises := motion.quality.get("FramesResidualRise", ()):
        text = (
            f"frames that fit the mean of the scan worse than their neighbours: "
            f"{', '.join(map(str, rises))}; the head may have moved within them, or away from "
            "its attenuation map"
        )
        notes.append(Note("warning", text, "motion"))
    if guessed := motion.quality.get("FramesGuessed", ()):
        text = (
            f"frames whose pose is that of the other side of a break in the scan: "
            f"{', '.join(map(str, guessed))}; nothing shows where the head was in them: look at "
            "the curves, or leave these frames out (scan.drop_frames_of)"
        )
        notes.append(Note("warning", text, "motion"))
    return notes


def _anatomy(report: SessionReport) -> Section | None:
    if report.tissues is None:
        return None
    figures = [
        Shown(
            data_uri(tissue_figure(report.tissues), "png"),
            f"T1w image and its tissue boundaries. {_CAPTION_SIDES}",
            OUTLINE_KEY,
        )
    ]
    if report.labels is not None:
        figures.append(
            Shown(
                data_uri(label_figure(report.tissues, report.labels), "png"),
                f"Parcellation; left and right share a colour. {_CAPTION_SIDES}",
            )
        )
    volumes = {name: f"{ml:.0f}" for name, ml in report.tissues.volumes_ml.items()}
    # measured on the images above, whichever backend made them: not a second time as its own words
    quality = facts(
        {
            key: value
            for key, value in report.anatomy_quality.items()
            if not key.endswith("Volume_mL") and key != "Warnings"
        }
    )
    return Section("anatomy", "Anatomy", figures=figures, facts=volumes | quality)


def _coregistration(report: SessionReport) -> Section | None:
    if report.coregistration is None or report.tissues is None:
        return None
    pet = report.coregistration.pet_in_t1w
    figures = [
        Shown(
            data_uri(pet_under_outlines_figure(report.tissues, pet), "png"),
            f"PET reference under the boundaries of the T1w. {_CAPTION_SIDES}",
            OUTLINE_KEY,
        ),
        Shown(
            data_uri(pet_over_t1w_figure(report.tissues, pet), "png"),
            "PET reference in colour over the T1w. The score is the share of variance that the "
            "tissues of the T1w and the PET have in common over the brain, 0 to 1; the typical "
            "scores come from simulated sessions that lie right. Early, late and whole means of "
            "the scan were tried from several starts; where most agree, the place is no accident. "
            f"{_CAPTION_SIDES}",
        ),
    ]
    return Section(
        "coregistration",
        "Coregistration",
        figures=figures,
        facts=facts(report.coregistration.quality),
    )


def _motion(report: SessionReport) -> Section | None:
    motion = report.motion
    if motion is None:
        return None
    if not motion.estimated.any():
        return Section("motion", "Motion", text=("Head motion was not estimated.",))
    summary = {
        "Corrected": "yes" if motion.quality.get("MotionCorrected", True) else "no",
        "Why": motion.quality.get("MotionCorrectionReason"),
        "Frames with an estimate": f"{int(motion.estimated.sum())} of {motion.estimated.size}",
        "Median step from group to group (mm)": motion.quality.get("MedianStep_mm"),
        "Largest step (mm)": motion.quality.get("LargestStep_mm"),
        "Median error of a pose (mm)": motion.quality.get("MedianPoseError_mm"),
        "Largest translation (mm)": float(np.abs(motion.translation_mm).max()),
        "Largest rotation (°)": float(np.rad2deg(np.abs(motion.rotation_rad).max())),
    }
    shown = Shown(
        data_uri(motion_figure(motion), "svg"),
        "Head motion against the reference, at the middle of every frame, with standard errors. "
        "Grey: frames without an estimate. Red: motion within the frame.",
    )
    tables = [_motion_table(motion)]
    return Section("motion", "Motion", figures=[shown], facts=facts(summary), tables=tables)


def _motion_table(motion: Motion) -> Table:
    """A row per run of frames that share a transform and where it comes from."""
    heads = [
        "Frames",
        "Time (min)",
        "Decays (10⁶)",
        "Shift (mm)",
        "Turn (°)",
        "Error (mm, °)",
        "Step (mm)",
        "Transform",
    ]
    share = list(zip(motion.group.tolist(), motion.source, strict=True))
    starts = [f for f in range(len(share)) if f == 0 or share[f] != share[f - 1]]
    rows = []
    for first, stop in pairwise([*starts, len(share)]):
        start, end = motion.timing.start_min[first], motion.timing.end_min[stop - 1]
        turn = np.rad2deg(np.linalg.norm(motion.rotation_rad[first]))
        shift_error = np.linalg.norm(motion.standard_error[first, :3])
        turn_error = np.rad2deg(np.linalg.norm(motion.standard_error[first, 3:]))
        error = f"{shift_error:.2f}, {turn_error:.2f}" if np.isfinite(shift_error) else "n/a"
        rows.append(
            [
                Cell(str(first) if stop == first + 1 else f"{first} to {stop - 1}"),
                Cell(f"{start:.1f} to {end:.1f}"),
                number(float(motion.counts[first:stop].sum()) / 1e6, ".0f"),
                number(float(np.linalg.norm(motion.translation_mm[first]))),
                number(float(turn)),
                Cell(error),
                number(float(motion.displacement_mm[first])),
                Cell(share[first][1]),
            ]
        )
    return Table(heads, rows)


def _regions(report: SessionReport) -> Section | None:
    regions = report.regions
    if regions is None or report.coregistration is None:
        return None
    key = [(as_hex(regions.colours[label]), name) for label, name in regions.names.items()]
    petref = report.coregistration.petref
    shown = Shown(
        data_uri(region_figure(petref, regions.labels, regions.colours), "png"),
        f"Regions on the PET reference, in slices chosen to meet each of them. {_CAPTION_SIDES}",
        key,
    )
    tables = []
    if regions.trimming:
        heads = ["Reference region after the rule", "Left (mL, on the T1w)", "Voxels lost"]
        rows = [
            [
                Cell(str(row["name"])),
                number(_value(row, "volume-mm3") / 1000),
                number(_value(row, "voxels-lost"), ".0f"),
            ]
            for row in regions.trimming
        ]
        tables = [Table(heads, rows)]
    return Section("regions", "Regions in PET space", "Regions", figures=[shown], tables=tables)


def _curves(report: SessionReport) -> Section | None:
    if report.curves is None:
        return None
    fit = _first(report)
    estimates = {str(row["name"]): _value(row, fit.main) for row in fit.kinetics}
    shown = Shown(
        data_uri(curve_figure(report.curves, estimates, fit.main), "svg"),
        f"Time-activity curves and the fit of {fit.model}, decay-corrected. Reference: "
        f"{report.curves.reference or 'none'}.",
        CURVE_KEY,
    )
    tables = [_uptake_table(report.uptake)] if report.uptake else []
    return Section("curves", "Time-activity curves", "Curves", figures=[shown], tables=tables)


def _uptake_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Uptake of the reference region, for the eye that compares sessions."""
    heads = [
        "Reference region",
        "Frames (min)",
        "Mean (kBq/mL)",
        "SUV (g/mL)",
        "Injected activity (%/L)",
    ]
    cells = []
    for row in rows:
        start, end = (_value(row, key) / 60 for key in ("frame_start", "frame_end"))
        there = np.isfinite(start)
        cells.append(
            [
                Cell(f"{row['name']}, {row['window']}"),
                Cell(f"{start:.1f} to {end:.1f}") if there else Cell("n/a", "missing"),
                number(_value(row, "mean") / 1000),
                number(_value(row, "suv")),
                number(_value(row, "percent-per-litre")),
            ]
        )
    return Table(heads, cells)


def _kinetics(report: SessionReport, fit: ModelReport) -> Section | None:
    if not fit.kinetics:
        return None
    shown = [
        column
        for parameter in _PARAMETERS
        for column in (parameter, f"{parameter}-se")
        if column != "k2a-se" and _has_values(fit, column)
    ]
    volumes = {} if report.regions is None else report.regions.volumes_mm3
    heads = ["Region", *map(_heading, shown), *(["Volume (mL)"] if volumes else []), "Flag"]
    finite = [v for row in fit.kinetics if np.isfinite(v := _value(row, fit.main))]
    bar = (fit.main, max(finite, default=1.0))
    rows = [_kinetic_row(row, shown, bar, volumes) for row in fit.kinetics]
    first = fit is report.models[0]
    return Section(
        "kinetics" if first else f"kinetics-{fit.model.lower()}",
        f"Kinetic parameters ({fit.model})",
        "Kinetics" if first else fit.model,
        tables=[Table(heads, rows)],
    )


def _partial_volume(report: SessionReport) -> Section | None:
    """The main parameter of every model of curves, without and with correction."""
    corrected = report.partial_volume
    if corrected is None:
        return None
    fits = [fit for fit in report.models if corrected.kinetics.get(fit.model)]
    names = list(dict.fromkeys(str(row["name"]) for fit in fits for row in fit.kinetics))
    heads: list[str] = ["Region"]
    for fit in fits:
        symbol = SYMBOL_HTML[fit.main]
        heads += [f"{fit.model} " + symbol, symbol + f", {corrected.method}", "Change (%)"]
    further = {"Recovery (%)": (corrected.recovery, 100.0), "Noise ×": (corrected.noise_factor, 1)}
    further = {head: column for head, column in further.items() if column[0]}
    rows = []
    for name in names:
        cells = [Cell(name)]
        for fit in fits:
            cells += _without_and_with(fit, corrected.kinetics[fit.model], name)
        for values, scale in further.values():
            told = scale * values.get(name, float("nan"))
            cells.append(number(told, ".0f" if scale > 1 else ".2f"))
        rows.append(cells)
    text = (
        "Curves of the regions and of the reference region were corrected and fitted again with "
        "the same weights; the maps, the curves below and the cards above are without correction. "
        "Recovery is what the scanner leaves of a region in its own mean; noise is that of a "
        "corrected mean by that of the plain one.",
    )
    title = f"Partial-volume correction ({corrected.method})"
    tables = [Table([*heads, *further], rows)]
    return Section("partial-volume", title, "Partial volume", text=text, tables=tables)


def _without_and_with(
    fit: ModelReport, corrected: Sequence[Mapping[str, Any]], name: str
) -> list[Cell]:
    """Main parameter of a region before and after the correction, and its change in per cent."""
    before, after = (
        next((_value(row, fit.main) for row in rows if row["name"] == name), float("nan"))
        for rows in (fit.kinetics, corrected)
    )
    change = 100 * (after / before - 1) if before else float("nan")
    return [number(before), number(after), number(change, "+.1f")]


def _has_values(fit: ModelReport, column: str) -> bool:
    """Whether a column belongs into the table: errors only where some are known."""
    if column.endswith("-se"):
        return any(np.isfinite(_value(row, column)) for row in fit.kinetics)
    return any(column in row for row in fit.kinetics)


def _heading(column: str) -> str:
    """Heading of a column of the kinetic table."""
    if column.endswith("-se"):
        return "SE (%)"
    unit = UNITS[column]
    return SYMBOL_HTML[column] + ("" if unit == "unitless" else f" ({unit})")


def _kinetic_row(
    row: Mapping[str, Any],
    shown: Sequence[str],
    bar: tuple[str, float],
    volumes: Mapping[str, float],
) -> list[Cell]:
    cells = [Cell(str(row["name"]))]
    for column in shown:
        value = _value(row, column)
        cell = number(value, _PARAMETERS.get(column, ".1f"))
        if column == bar[0] and np.isfinite(value) and bar[1] > 0:
            cell = Cell(cell.text, cell.kind, bar=float(np.clip(value / bar[1], 0, 1)))
        cells.append(cell)
    if volumes:
        cells.append(number(volumes.get(str(row["name"]), np.nan) / 1000))
    flag = _flag(row)
    return [*cells, Cell(flag, "flag") if flag else Cell("")]


def _maps(report: SessionReport, fit: ModelReport) -> Section | None:
    if not fit.maps:
        return None
    brain = None
    if report.coregistration is not None and report.tissues is not None:
        brain = _in_petref(report.tissues.brain, report.coregistration.petref2t1w_xfm)
    figures = [
        Shown(
            data_uri(map_figure(symbol, volume, brain), "png"),
            f"{_MAP_NAMES.get(symbol, symbol)} ({UNITS.get(symbol, '')}) in every voxel by "
            f"{fit.model}. {_CAPTION_SIDES}",
        )
        for symbol, volume in fit.maps.items()
    ]
    first = fit is report.models[0]
    return Section(
        "maps" if first else f"maps-{fit.model.lower()}",
        f"Parametric maps ({fit.model})",
        "Maps" if first else f"{fit.model} maps",
        figures=figures,
        facts={
            f"Voxels flagged {name.replace('_', ' ')}": f"{100 * share:.1f} %"
            for name, share in fit.flagged.items()
        },
    )


def _in_petref(brain: Volume | None, petref2t1w_xfm: FloatArray) -> Volume | None:
    if brain is None:
        return None
    return Volume(brain.data, np.linalg.inv(petref2t1w_xfm) @ brain.affine)


def _value(row: Mapping[str, Any], key: str) -> float:
    value = row.get(key)
    return float(value) if isinstance(value, (int, float)) else float("nan")


def _flag(row: Mapping[str, Any]) -> str:
    flag = row.get("flag")
    return flag.replace("_", " ").replace(",", ", ") if isinstance(flag, str) else ""
