"""PET sidecars: the only module that reads their keys.

Metadata are inherited from the top of the data set down to the image; every value keeps the name
of the file it came from. What a key says is turned into seconds after injection, Bq/mL and MBq,
or into findings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from pipeline.bids.dataset import BidsFile, Dataset, read_columns
from pipeline.bids.entities import bare_label, parse_name
from pipeline.bids.findings import Finding, Severity
from pipeline.bids.units import (
    activity_factor,
    activity_per_mass_factor,
    concentration_factor,
    mass_factor,
)
from pipeline.core.decay import (
    HALF_LIFE_S,
    decay_constant_per_s,
    frame_decay_factors,
    nuclide_name,
)
from pipeline.core.errors import DataError
from pipeline.core.timing import FrameTiming
from pipeline.core.volume import FloatArray
from pipeline.io.tables import read_json

_STANDARD_UNITS = "Bq/mL"

_TIME_TOLERANCE_S = 0.01
_LATE_INJECTION_S = 600.0
LATE_SCAN_S = 60.0
"""Kinetic models need frames before this time after the injection."""
_PLAUSIBLE_MBQ = (1.0, 5000.0)
_PLAUSIBLE_UG = (0.0, 1000.0)
_PLAUSIBLE_GBQ_PER_UMOL = (0.1, 1e6)
_PLAUSIBLE_KG = (1.0, 400.0)


@dataclass(frozen=True)
class Metadata:
    """Inherited metadata of an image.

    Parameters
    ----------
    values : mapping
        Sidecar key to its value, nearest file first.
    sources : mapping
        Sidecar key to the file it came from, relative.
    fallback : str
        File to name where a key is missing: the image's own sidecar.
    findings : tuple of Finding
        Sidecars that could not be read.
    """

    values: Mapping[str, Any]
    sources: Mapping[str, str]
    fallback: str
    findings: tuple[Finding, ...] = ()


def read_metadata(dataset: Dataset, image: BidsFile) -> Metadata:
    """Metadata of an image by the inheritance principle.

    A JSON file applies if it lies in the image's folder or above, has its suffix, and has no
    entity the image lacks. Deeper files win; in one folder, the one with more entities.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    findings = []
    for path in _applicable(dataset, image):
        try:
            content = read_json(dataset.root / path)
        except DataError as error:
            problem = str(error).removeprefix(f"{dataset.root / path}: ")
            findings.append(
                Finding("error", str(path), None, problem, "repair the file; it is JSON text")
            )
            continue
        values |= content
        sources |= dict.fromkeys(content, str(path))
    own = image.path.with_name(image.name.stem + ".json")
    return Metadata(values, sources, str(own), tuple(findings))


def _applicable(dataset: Dataset, image: BidsFile) -> list[PurePosixPath]:
    entities = set(image.name.entities)
    found = []
    for depth, folder in enumerate(reversed(image.path.parents)):
        for path in dataset.by_folder.get(folder, ()):
            name = parse_name(path.name) if path.suffix == ".json" else None
            if (
                name is not None
                and name.suffix == image.name.suffix
                and set(name.entities) <= entities
            ):
                found.append((depth, len(name.entities), path))
    return [path for *_, path in sorted(found)]


@dataclass(frozen=True)
class PetSidecar:
    """What a PET run's metadata say, in the units of the analysis."""

    frame_start_s: tuple[float, ...]
    """Seconds after injection."""
    frame_duration_s: tuple[float, ...]
    frame_scale: tuple[float, ...]
    """Per frame: value in the file times this is Bq/mL, decay-corrected to injection."""
    radionuclide: str
    tracer_name: str
    injected_mbq: float | None
    time_zero_s: float | None = None
    """Clock time that the sidecar counts from, seconds after midnight; None if it does not say."""
    injection_s: float = 0.0
    """The injection, seconds after that."""
    clock_source: str = ""
    """File that gives the clock time, relative."""
    molar_activity_gbq_per_umol: float | None = None
    injected_mass_ug: float | None = None


def read_pet_sidecar(
    dataset: Dataset, pet: BidsFile, n_frames: int | None, *, continues: bool = False
) -> tuple[PetSidecar | None, tuple[Finding, ...]]:
    """What the metadata of a PET run say, and everything odd about them.

    Parameters
    ----------
    dataset : Dataset
        Where the sidecars are.
    pet : BidsFile
        The PET image.
    n_frames : int or None
        Frames in the image, None if it could not be read.
    continues : bool
        Whether another run of the same injection comes before, so that frames start late.

    Returns
    -------
    PetSidecar or None
        None if any finding is an error.
    tuple of Finding
    """
    metadata = read_metadata(dataset, pet)
    if metadata.findings:
        return None, metadata.findings
    reader = _Reader(metadata)
    if not metadata.values:
        reader.report("error", None, "no sidecar", "write one; BIDS lists the keys a PET needs")
        return None, tuple(reader.findings)
    units = _read_units(reader)
    timing, injection_s = _read_timing(reader, n_frames, continues)
    radionuclide = _read_radionuclide(reader)
    decay = _read_decay(reader, timing, injection_s, radionuclide)
    injected_mbq = _read_injected(reader)
    molar_activity, mass_ug = _read_molar_activity(reader), _read_mass(reader)
    tracer_name = reader.text("TracerName")
    _check_scale_factor(reader)
    findings = tuple(dict.fromkeys(reader.findings))
    if any(finding.is_error for finding in findings) or units is None or timing is None:
        return None, findings
    sidecar = PetSidecar(
        frame_start_s=tuple(timing.start_s.tolist()),
        frame_duration_s=tuple(timing.duration_s.tolist()),
        frame_scale=tuple((units * decay).tolist()),
        radionuclide=radionuclide,
        tracer_name=tracer_name,
        injected_mbq=injected_mbq,
        time_zero_s=_clock_s(reader.raw("TimeZero")),
        injection_s=injection_s,
        clock_source=metadata.sources.get("TimeZero", metadata.fallback),
        molar_activity_gbq_per_umol=molar_activity,
        injected_mass_ug=mass_ug,
    )
    return sidecar, findings


def frame_metadata(timing: FrameTiming) -> dict[str, list[float]]:
    """What sidecars of results say about frames, counted from the injection."""
    return {
        "FrameTimesStart": timing.start_s.tolist(),
        "FrameDuration": timing.duration_s.tolist(),
    }


@dataclass
class _Reader:
    """Typed access to metadata; collects findings instead of raising."""

    metadata: Metadata
    findings: list[Finding] = field(default_factory=list)

    def report(self, severity: Severity, key: str | None, message: str, next_step: str) -> None:
        where = self.metadata.sources.get(self._spelling(key), self.metadata.fallback)
        self.findings.append(Finding(severity, where, key, message, next_step))

    def _spelling(self, key: str | None) -> str:
        if key is None or key in self.metadata.values:
            return key or ""
        same = [k for k in self.metadata.values if k.lower() == key.lower()]
        return same[0] if same else key

    def raw(self, key: str) -> Any:
        """Value of a key, None if it is missing, null or ``n/a``."""
        spelling = self._spelling(key)
        value = self.metadata.values.get(spelling)
        if value is not None and spelling != key:
            self.report("note", key, f"spelt {spelling}", f"rename it to {key}")
        if isinstance(value, str) and value.strip().lower() in {"", "n/a", "na", "nan", "none"}:
            return None
        return value

    def has(self, key: str) -> bool:
        """Whether a key says anything."""
        return self.raw(key) is not None

    def text(self, key: str) -> str:
        """A text, empty if missing."""
        value = self.raw(key)
        if value is None:
            self.report("warning", key, "missing", "add it to the sidecar")
            return ""
        return str(value).strip()

    def number(self, key: str) -> float | None:
        """A finite number, None if missing; something else is an error."""
        value = self.raw(key)
        if value is None:
            return None
        number = _number(value)
        if number is None:
            self.report("error", key, f"{value!r} is not a number", "write a number")
        elif isinstance(value, str):
            self.report("note", key, f"the number {value} is written as text", "drop the quotes")
        return number

    def numbers(self, key: str) -> FloatArray | None:
        """A list of finite numbers; missing or something else is an error."""
        value = self.raw(key)
        if value is None:
            self.report(
                "error", key, "missing; it cannot be guessed", "add one number per frame, seconds"
            )
            return None
        items = value if isinstance(value, list) else [value]
        numbers = [_number(item) for item in items]
        for place, (item, number) in enumerate(zip(items, numbers, strict=True)):
            if number is None:
                message = f"frame {place} is {item!r}, not a number"
                self.report("error", key, message, "write one number per frame, seconds")
                return None
        if not items:
            self.report("error", key, "empty", "add one number per frame, seconds")
            return None
        if any(isinstance(item, str) for item in items):
            self.report("note", key, "numbers are written as text", "drop the quotes")
        return np.array(numbers, float)

    def flag(self, key: str) -> bool | None:
        """True or false, None if missing; something else is an error."""
        value = self.raw(key)
        if value is None or isinstance(value, bool):
            return value
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        flag = words.get(str(value).strip().lower())
        if flag is None:
            message = f"{value!r} is neither true nor false"
            self.report("error", key, message, "write true or false")
        else:
            self.report("note", key, f"{value!r} read as {flag}".lower(), "write true or false")
        return flag


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if np.isfinite(number) else None


def _clock_s(value: Any) -> float | None:
    """A clock time ``hh:mm:ss`` as seconds after midnight, None if it is none."""
    match = _CLOCK.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return None
    hours, minutes, seconds = (float(part) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds


_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d):([0-5]\d(?:\.\d+)?)")


def _read_units(reader: _Reader) -> float | None:
    units = reader.raw("Units")
    if units is None:
        reader.report(
            "error", "Units", "missing", f"add the unit of the voxels, {_STANDARD_UNITS}"
        )
        return None
    factor = concentration_factor(units) if isinstance(units, str) else None
    if factor is None:
        reader.report(
            "error",
            "Units",
            f"{units!r} is not activity per volume",
            f"give images in {_STANDARD_UNITS}, kBq/mL or nCi/mL; "
            "SUV and counts cannot be turned into it",
        )
    elif units != _STANDARD_UNITS:
        milli = factor == 1e6 and units.strip().startswith("m")
        reader.report(
            "warning" if milli else "note",
            "Units",
            f"{units!r} read as {factor:g} Bq/mL",
            f"BIDS asks for {_STANDARD_UNITS}",
        )
    return factor


def _read_timing(
    reader: _Reader, n_frames: int | None, continues: bool
) -> tuple[FrameTiming | None, float]:
    """Frames in seconds after injection, and the injection in seconds after TimeZero."""
    injection_s = reader.number("InjectionStart") or 0.0
    if not reader.has("InjectionStart"):
        reader.report(
            "warning",
            "InjectionStart",
            "missing; the injection is taken to be at TimeZero",
            "add it, seconds after TimeZero",
        )
    start = reader.numbers("FrameTimesStart")
    duration = reader.numbers("FrameDuration")
    if start is None or duration is None:
        return None, injection_s
    for key, values in (("FrameDuration", duration), ("FrameTimesStart", start)):
        if n_frames is not None and values.size != n_frames:
            reader.report(
                "error",
                key,
                f"has {values.size} values but the image has {n_frames} frames",
                "correct the sidecar, or convert the image again",
            )
            return None, injection_s
    try:
        timing = FrameTiming(start - injection_s, duration)
    except ValueError as error:
        key = "FrameDuration" if (duration <= 0).any() else "FrameTimesStart"
        reader.report("error", key, str(error), _overlap_hint(start, duration))
        return None, injection_s
    _check_start(reader, timing, float(start[0]), continues)
    _check_gaps(reader, timing)
    return timing, injection_s


def after_injection(timing: FrameTiming, values: Mapping[str, Any]) -> FrameTiming:
    """Frames after injection, where they count from TimeZero as those of a sidecar do.

    Parameters
    ----------
    timing : FrameTiming
        Frames of a table that was made from the image.
    values : mapping
        Content of the sidecar; where its frames are others than these, nothing is changed.
    """
    reader = _Reader(Metadata(values, {}, ""))
    injection_s, start_s = reader.number("InjectionStart"), reader.numbers("FrameTimesStart")
    if not injection_s or start_s is None or start_s.shape != timing.start_s.shape:
        return timing
    if not np.allclose(start_s, timing.start_s, rtol=0, atol=_TIME_TOLERANCE_S):
        return timing
    return FrameTiming(timing.start_s - injection_s, timing.duration_s)


def is_uncorrected_for_decay(values: Mapping[str, Any]) -> bool:
    """Whether a sidecar says so; one that says nothing does not."""
    return _Reader(Metadata(values, {}, "")).flag("ImageDecayCorrected") is False


def _overlap_hint(start: FloatArray, duration: FloatArray) -> str:
    if start.size == duration.size > 2 and np.isclose(duration[:-1], start[1:]).mean() > 0.9:
        return "FrameDuration holds the ends of the frames: write end minus start"
    return "correct FrameTimesStart or FrameDuration; both are seconds"


def _check_start(
    reader: _Reader, timing: FrameTiming, first_frame_s: float, continues: bool
) -> None:
    scan_s = reader.number("ScanStart")
    if scan_s is not None and abs(first_frame_s - scan_s) > 1:
        reader.report(
            "warning",
            "ScanStart",
            f"is {scan_s:g} s but the first frame starts at {first_frame_s:g} s",
            "check that both count from TimeZero; FrameTimesStart is read so",
        )
    first_s = float(timing.start_s[0])
    if first_s < -_LATE_INJECTION_S:
        reader.report(
            "warning",
            "InjectionStart",
            f"is {-first_s / 60:.1f} min after the first frame",
            "check InjectionStart and TimeZero",
        )
    elif first_s < -_TIME_TOLERANCE_S:
        reader.report(
            "note",
            "InjectionStart",
            f"is {-first_s:g} s after the first frame, whose time is negative",
            "nothing to do if the scan was started first",
        )
    elif first_s > LATE_SCAN_S and not continues:
        reader.report(
            "warning",
            "FrameTimesStart",
            f"the first frame starts {first_s / 60:.1f} min after the injection",
            "kinetic models need the scan from injection on; check InjectionStart",
        )


def _check_gaps(reader: _Reader, timing: FrameTiming) -> None:
    gap_s = timing.start_s[1:] - timing.end_s[:-1]
    frames = np.flatnonzero(gap_s > _TIME_TOLERANCE_S)
    if frames.size == 0:
        return
    first = int(frames[0])
    total_s = float(gap_s[frames].sum())
    long = total_s > timing.duration_s.sum()
    reader.report(
        "warning" if long else "note",
        "FrameTimesStart",
        f"{frames.size} gap(s) between frames, {total_s:g} s in all, first after frame {first}",
        "check that starts and durations are both seconds"
        if long
        else "nothing to do if the scan was interrupted",
    )


def _read_radionuclide(reader: _Reader) -> str:
    """Name as `HALF_LIFE_S` has it where it is known, else as written."""
    written = str(reader.raw("TracerRadionuclide") or "").strip()
    name = nuclide_name(written)
    return name if name in HALF_LIFE_S else written


def _read_decay(
    reader: _Reader, timing: FrameTiming | None, injection_s: float, radionuclide: str
) -> FloatArray:
    """Factors to activity decay-corrected to the injection, (F,); ones where an error forbids."""
    ones = np.ones(0 if timing is None else len(timing))
    corrected = reader.flag("ImageDecayCorrected")
    if not reader.has("ImageDecayCorrected"):
        reader.report(
            "error",
            "ImageDecayCorrected",
            "missing; a wrong guess would bend every curve",
            "add true or false",
        )
    if corrected is None:
        return ones
    shift_s = _correction_time_s(reader, injection_s) - injection_s if corrected else 0.0
    needed = not corrected or abs(shift_s) > _TIME_TOLERANCE_S
    if radionuclide not in HALF_LIFE_S:
        _report_radionuclide(reader, radionuclide, needed)
        return ones
    if timing is None or not needed:
        return ones
    per_s = decay_constant_per_s(radionuclide)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        if corrected:
            factors = np.full(len(timing), np.exp(per_s * shift_s))
        else:
            factors = frame_decay_factors(timing, per_s)
    _report_decay(reader, corrected, shift_s, factors)
    return factors


def _report_decay(reader: _Reader, corrected: bool, shift_s: float, factors: FloatArray) -> None:
    key = "ImageDecayCorrectionTime" if corrected else "ImageDecayCorrected"
    if not (np.isfinite(factors) & (factors > 0)).all():
        message = "the decay correction goes beyond all numbers"
        reader.report("error", key, message, "check the times; all are seconds")
    elif corrected:
        message = f"{shift_s:g} s after the injection; values are multiplied by {factors[0]:.5g}"
        reader.report("note", key, message, "nothing to do")
    else:
        message = "false; frames are corrected to the injection here"
        reader.report("note", key, message, "nothing to do")
        if not _all_ones(reader.raw("DecayCorrectionFactor")):
            reader.report(
                "warning",
                "DecayCorrectionFactor",
                "given, although ImageDecayCorrected is false",
                "make sure that the values are not corrected already",
            )


def _all_ones(value: object) -> bool:
    items = value if isinstance(value, list) else [value]
    return all(item is None or _number(item) == 1 for item in items)


def _check_scale_factor(reader: _Reader) -> None:
    if not _all_ones(reader.raw("ScaleFactor")):
        reader.report(
            "note",
            "ScaleFactor",
            "not applied; the values in the image are taken to be scaled already",
            "nothing to do if the image was written by a converter",
        )


def _correction_time_s(reader: _Reader, injection_s: float) -> float:
    reference_s = reader.number("ImageDecayCorrectionTime")
    if not reader.has("ImageDecayCorrectionTime"):
        reader.report(
            "warning",
            "ImageDecayCorrectionTime",
            "missing; taken to be the injection",
            "add it, seconds after TimeZero",
        )
    return injection_s if reference_s is None else reference_s


def _report_radionuclide(reader: _Reader, radionuclide: str, needed: bool) -> None:
    severity: Severity = "error" if needed else "warning"
    name = f"no half-life is known of {radionuclide!r}" if radionuclide else "missing"
    use = "the decay correction needs it" if needed else "frame weights will leave decay out"
    known = f"known are {', '.join(HALF_LIFE_S)}"
    reader.report(severity, "TracerRadionuclide", f"{name}; {use}", known)


def _read_injected(reader: _Reader) -> float | None:
    amount = reader.number("InjectedRadioactivity")
    if not reader.has("InjectedRadioactivity"):
        reader.report(
            "note", "InjectedRadioactivity", "missing", "add it if SUV or dose tables are wanted"
        )
    if amount is None:
        return None
    units = reader.raw("InjectedRadioactivityUnits")
    factor = activity_factor(units) if isinstance(units, str) else None
    if factor is None:
        said = "missing" if units is None else f"{units!r} is not a unit of activity"
        reader.report(
            "warning", "InjectedRadioactivityUnits", f"{said}; the dose is left out", "write MBq"
        )
        return None
    mbq = amount * factor / 1e6
    low, high = _PLAUSIBLE_MBQ
    if not low <= mbq <= high:
        reader.report(
            "warning",
            "InjectedRadioactivity",
            f"{mbq:g} MBq is not a usual dose",
            "check the number and its units",
        )
    return mbq


def _read_molar_activity(reader: _Reader) -> float | None:
    """Molar activity in GBq/umol; from the specific activity where it is not given itself."""
    for key in ("MolarActivity", "SpecificRadioactivity"):
        found = _quantity(reader, key, activity_per_mass_factor, "GBq/umol")
        if found is None:
            continue
        value, per = found
        molar_mass = 1.0 if per == "mol" else _molar_mass(reader, key)
        if molar_mass is not None:
            gbq_per_umol = value * molar_mass * 1e-15
            _check_plausible(reader, key, gbq_per_umol, "GBq/umol", _PLAUSIBLE_GBQ_PER_UMOL)
            return gbq_per_umol
    return None


def _read_mass(reader: _Reader) -> float | None:
    """Injected mass in ug."""
    found = _quantity(reader, "InjectedMass", mass_factor, "ug")
    if found is None:
        return None
    value, of = found
    molar_mass = 1.0 if of == "g" else _molar_mass(reader, "InjectedMass")
    if molar_mass is None:
        return None
    ug = value * molar_mass * 1e6
    _check_plausible(reader, "InjectedMass", ug, "ug", _PLAUSIBLE_UG)
    return ug


def _quantity(
    reader: _Reader,
    key: str,
    factor_of: Callable[[str], tuple[float, str] | None],
    standard: str,
) -> tuple[float, str] | None:
    """What a key says in basic units, and which; none where it says nothing that can be used."""
    raw, units = reader.raw(key), reader.raw(f"{key}Units")
    if raw is None:
        return None
    number = _number(raw)
    if number is None:
        message = f"{raw!r} is not a number; it is left out"
        reader.report("warning", key, message, "write a number")
        return None
    factor = factor_of(units) if isinstance(units, str) else None
    if factor is None:
        said = "missing" if units is None else f"{units!r} is no unit of it"
        message = f"{said}; {key} is left out"
        reader.report("warning", f"{key}Units", message, f"write {standard}")
        return None
    return number * factor[0], factor[1]


def _molar_mass(reader: _Reader, key: str) -> float | None:
    """Molar mass of the tracer in g/mol; without it a key is left out."""
    mass = _number(reader.raw("TracerMolecularWeight"))
    units = reader.raw("TracerMolecularWeightUnits")
    if mass is not None and mass > 0 and units in (None, "g/mol", "Da", "gmolar", "g/mole"):
        return mass
    given = reader.raw(f"{key}Units")
    message = f"{given}: without TracerMolecularWeight in g/mol it is left out"
    reader.report("note", f"{key}Units", message, "add TracerMolecularWeight, g/mol")
    return None


def _check_plausible(
    reader: _Reader, key: str, value: float, units: str, limits: tuple[float, float]
) -> None:
    if not limits[0] <= value <= limits[1]:
        message = f"{value:g} {units} is not usual"
        reader.report("warning", key, message, "check the number and its units")


def read_body_weight(
    dataset: Dataset, subject: str, session: str | None
) -> tuple[float | None, tuple[Finding, ...]]:
    """Body weight in kg: that of the session, else of the subject, else None.

    Only the columns of the identifier and of ``weight`` are looked at.
    """
    sessions_table = PurePosixPath(f"sub-{subject}", f"sub-{subject}_sessions.tsv")
    places = (
        (sessions_table, "session_id", "ses", session),
        (PurePosixPath("participants.tsv"), "participant_id", "sub", subject),
    )
    for path, column, key, label in places:
        for row in read_columns(dataset, path, (column, "weight")):
            if label is None or bare_label(row[column], key) != label:
                continue
            weight = _number(row["weight"])
            if weight is None:
                continue
            low, high = _PLAUSIBLE_KG
            if low <= weight <= high:
                return weight, ()
            finding = Finding(
                "warning",
                str(path),
                "weight",
                f"{weight:g} kg for {key}-{label} is no body weight; it is left out",
                "write kilograms",
            )
            return None, (finding,)
    return None, ()
