"""Simulated studies as BIDS data sets, with the truth beside them as a derivative."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline import __version__
from pipeline.bids.simulated_truth import ScanTruth, write_head_truth, write_scan_truth
from pipeline.core.errors import DataError
from pipeline.core.timing import FrameTiming
from pipeline.io.head_template import read_head_template
from pipeline.io.images import read_labels, read_volume, write_volume
from pipeline.io.scaled_series import write_scaled_series
from pipeline.io.tables import read_json, read_table, write_json, write_table
from pipeline.simulation.cohort import (
    MOLAR_MASS_G_PER_MOL,
    SESSIONS,
    Injection,
    Patient,
    Stream,
    draw_cohort,
    random_stream,
)
from pipeline.simulation.head import Anatomy, Head, head_from_labels, make_head
from pipeline.simulation.options import SimulationOptions
from pipeline.simulation.scanner import (
    PetGeometry,
    draw_motion,
    head_centre_in_pet,
    place_head,
    scan_frames,
)
from pipeline.simulation.template import LabelledTemplate, label_template
from pipeline.simulation.tracer import tissue_curves

BIDS_VERSION = "1.10.0"
TRUTH_FOLDER = Path("derivatives", "truth")
"""Place of the truth below the data set."""

_COARSE_TEMPLATE_MM = 2.0


@dataclass(frozen=True)
class GivenHead:
    """A real head to lay the PET on.

    Parameters
    ----------
    t1w, dseg : Path
        T1w and FreeSurfer label numbers on the same grid.
    """

    t1w: Path
    dseg: Path


def _silent(message: str) -> None:
    del message


def simulate_dataset(
    out_dir: Path,
    options: SimulationOptions,
    *,
    given_head: GivenHead | None = None,
    progress: Callable[[str], None] = _silent,
) -> None:
    """Write a simulated study and its truth.

    Parameters
    ----------
    out_dir : Path
        New or empty folder.
    options : SimulationOptions
        Patients, scanner and seed.
    given_head : GivenHead, optional
        Every patient gets this head in place of a warped template.
    progress : callable
        Told, in words, what has been written.

    Raises
    ------
    DataError
        If `out_dir` holds something already, or the given head cannot be used.
    ToolError
        If a package that carries the template is missing.
    """
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise DataError(f"{out_dir}: not empty; give the name of a new folder")
    study = _Study(out_dir, options, _labelled_template(options, given_head), given_head)
    head = None if given_head is None else _read_head(given_head, study.template)
    patients = list(draw_cohort(options.cohort, options.seed))
    _write_dataset_files(out_dir, patients, options)
    for patient in patients:
        for message in study.write_patient(patient, head):
            progress(message)


def read_frame_protocol(path: Path) -> FrameTiming:
    """Frame timing from a PET sidecar or from a table.

    Parameters
    ----------
    path : Path
        ``.json`` with ``FrameTimesStart``, ``FrameDuration`` and ``InjectionStart``, or ``.tsv``
        with columns ``frame_start`` and ``frame_end``; seconds.

    Raises
    ------
    DataError
        If the file lacks them or they are no frames.
    """
    if path.suffix == ".json":
        keys, table = ("FrameTimesStart", "FrameDuration"), read_json(path)
    else:
        keys, table = ("frame_start", "frame_end"), read_table(path)
    missing = [key for key in keys if key not in table]
    if missing:
        raise DataError(f"{path}: {missing[0]} is missing; add it, in seconds")
    try:
        start, second = (np.asarray(table[key], float) for key in keys)
        if path.suffix == ".json":
            start = start - float(table.get("InjectionStart") or 0)
        timing = FrameTiming(start, second if path.suffix == ".json" else second - start)
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: {keys[0]} and {keys[1]} are no frames ({error})") from error
    if timing.start_s[0] < 0:
        raise DataError(f"{path}: {keys[0]} starts before the injection; start at 0 or later")
    return timing


def _labelled_template(options: SimulationOptions, given: GivenHead | None) -> LabelledTemplate:
    # a given head takes no more from the template than the centres of structures
    coarse = given is not None or options.scanner.t1w_voxel_mm >= _COARSE_TEMPLATE_MM
    return label_template(read_head_template().coarsened(2 if coarse else 1))


def _read_head(given: GivenHead, template: LabelledTemplate) -> Head:
    try:
        return head_from_labels(read_volume(given.t1w), read_labels(given.dseg), template)
    except ValueError as error:
        raise DataError(
            f"{given.dseg}: {error}; give FreeSurfer-numbered labels on the grid of the T1w"
        ) from error


@dataclass(frozen=True)
class _Study:
    out_dir: Path
    options: SimulationOptions
    template: LabelledTemplate
    given: GivenHead | None

    def write_patient(self, patient: Patient, given_head: Head | None) -> Iterator[str]:
        """Write the images and the truth of one patient; yields what has been written."""
        folder = self.out_dir / f"sub-{patient.label}"
        folder.mkdir(parents=True)
        _write_sessions_table(folder, patient)
        shared = given_head
        for visit, truth in enumerate(patient.sessions):
            head = shared
            if visit == 0 or self.options.own_t1w:
                head = given_head or self._head(patient, visit)
                self._write_t1w(patient, truth.session, head)
                yield f"sub-{patient.label} ses-{truth.session}: T1w"
                shared = shared or head
            if head is None:
                raise RuntimeError("the first session always has a head")
            self._write_pet(patient, visit, head)
            yield f"sub-{patient.label} ses-{truth.session}: PET"

    def _stream(self, patient: Patient, stream: Stream, visit: int = 0) -> np.random.Generator:
        key = (patient.group_number, patient.number)
        return random_stream(self.options.seed, key, stream, visit)

    def _head(self, patient: Patient, visit: int) -> Head:
        anatomy = Anatomy.draw(self._stream(patient, Stream.ANATOMY))
        rng = self._stream(patient, Stream.T1W, visit)
        return make_head(self.template, anatomy, self.options.scanner.t1w_voxel_mm, rng)

    def _write_t1w(self, patient: Patient, session: str, head: Head) -> None:
        prefix = _prefix(patient, session)
        path = _new_file(self.out_dir, prefix, "anat", "T1w.nii.gz")
        if self.given is None:
            write_volume(path, head.t1w, np.int16)
        elif self.given.t1w.name.endswith(".nii.gz"):
            shutil.copyfile(self.given.t1w, path)
        else:
            write_volume(path, head.t1w, np.float32)
        write_json(_sidecar(path), _T1W_SIDECAR)
        write_head_truth(self.out_dir / TRUTH_FOLDER, prefix, head)

    def _write_pet(self, patient: Patient, visit: int, head: Head) -> None:
        scanner, session = self.options.scanner, patient.sessions[visit]
        curves = tissue_curves(session.kinetics, scanner.timing, session.reference_scale)
        position = self._stream(patient, Stream.POSITION, visit)
        affine, shape, t1w2pet_xfm = place_head(head.centre_mm, scanner, position)
        centre = head_centre_in_pet(head, t1w2pet_xfm)
        walk = self._stream(patient, Stream.MOTION, visit)
        motion_xfm = draw_motion(centre, scanner.timing, scanner.motion_mm, walk)
        geometry = PetGeometry(affine, shape, t1w2pet_xfm, motion_xfm)
        counts = self._stream(patient, Stream.COUNTS, visit)
        frames = list(scan_frames(head, curves, geometry, scanner, counts))
        prefix = _prefix(patient, session.session)
        path = _new_file(self.out_dir, prefix, "pet", "pet.nii.gz")
        write_scaled_series(path, frames, affine)
        write_json(_sidecar(path), _pet_sidecar(session.injection, self.options))
        truth = ScanTruth(session.kinetics, curves, scanner.timing, geometry, centre)
        write_scan_truth(self.out_dir / TRUTH_FOLDER, prefix, truth)


def _prefix(patient: Patient, session: str) -> tuple[str, str]:
    return f"sub-{patient.label}", f"ses-{session}"


def _new_file(root: Path, prefix: tuple[str, str], datatype: str, ending: str) -> Path:
    subject, session = prefix
    folder = root / subject / session / datatype
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{subject}_{session}_{ending}"


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(".nii.gz") + ".json")


_TRACER_NAMES = {
    "cortical": "AZ10419369",
    "striatal": "simulated striatal tracer",
    "flat": "simulated tracer without binding",
}

_T1W_SIDECAR: Mapping[str, Any] = {
    "Manufacturer": "GE",
    "ManufacturersModelName": "MR750 (simulated)",
    "MagneticFieldStrength": 3,
    "MRAcquisitionType": "3D",
    "NonlinearGradientCorrection": True,
}


def _pet_sidecar(injection: Injection, options: SimulationOptions) -> dict[str, Any]:
    scanner = options.scanner
    hour, minute = divmod(injection.start_minute_of_day, 60)
    blurred = scanner.psf_fwhm_mm > 0
    return {
        "Manufacturer": "Siemens/CTI",
        "ManufacturersModelName": "HRRT (simulated)",
        "Units": "Bq/mL",
        "BodyPart": "BRAIN",
        "TracerName": _TRACER_NAMES[options.cohort.tracer],
        "TracerRadionuclide": "C11",
        "TracerMolecularWeight": MOLAR_MASS_G_PER_MOL,
        "TracerMolecularWeightUnits": "g/mol",
        "InjectedRadioactivity": injection.radioactivity_mbq,
        "InjectedRadioactivityUnits": "MBq",
        "InjectedMass": round(injection.mass_ug, 4),
        "InjectedMassUnits": "ug",
        "SpecificRadioactivity": round(injection.specific_radioactivity_mbq_per_ug, 2),
        "SpecificRadioactivityUnits": "MBq/ug",
        "MolarActivity": injection.molar_activity_gbq_per_umol,
        "MolarActivityUnits": "GBq/umol",
        "ModeOfAdministration": "bolus",
        "TimeZero": f"{hour:02d}:{minute:02d}:00",
        "ScanStart": 0,
        "InjectionStart": 0,
        "InjectionEnd": 10,
        "FrameTimesStart": scanner.timing.start_s,
        "FrameDuration": scanner.timing.duration_s,
        "AcquisitionMode": "list mode",
        "ImageDecayCorrected": True,
        "ImageDecayCorrectionTime": 0,
        "ReconMethodName": "simulated: mean activity of each voxel, blur, correlated noise",
        "ReconMethodParameterLabels": ["noise", "motion"],
        "ReconMethodParameterUnits": ["none", "mm"],
        "ReconMethodParameterValues": [scanner.noise, scanner.motion_mm],
        "ReconFilterType": "Gaussian" if blurred else "none",
        **({"ReconFilterSize": scanner.psf_fwhm_mm} if blurred else {}),
        "AttenuationCorrection": "none needed: attenuation is not simulated",
        "ScatterFraction": [0.0] * len(scanner.timing),
    }


def _write_sessions_table(folder: Path, patient: Patient) -> None:
    rows = [
        {"session_id": f"ses-{truth.session}", "madrs": truth.madrs, "cgi_s": truth.cgi_s}
        for truth in patient.sessions
    ]
    path = folder / f"sub-{patient.label}_sessions.tsv"
    write_table(path, pd.DataFrame(rows))
    write_json(
        path.with_suffix(".json"),
        {
            "session_id": {"Description": "Before (pre) or after (post) treatment"},
            "madrs": {"Description": "Montgomery-Asberg Depression Rating Scale, 0 to 60"},
            "cgi_s": {"Description": "Clinical Global Impression, severity, 1 to 7"},
        },
    )


def _write_dataset_files(root: Path, patients: list[Patient], options: SimulationOptions) -> None:
    root.mkdir(parents=True, exist_ok=True)
    made_by = [{"Name": "petbind simulate", "Version": __version__}]
    write_json(
        root / "dataset_description.json",
        {
            "Name": "Simulated [11C]AZ10419369 PET before and after treatment",
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": "raw",
            "License": "CC0",
            "Authors": ["petbind simulate"],
            "GeneratedBy": made_by,
        },
    )
    (root / "README").write_text(_readme(options), encoding="utf-8")
    rows = [
        {
            "participant_id": f"sub-{patient.label}",
            "age": patient.age_years,
            "sex": patient.sex,
            "group": patient.group,
            "weight": patient.weight_kg,
        }
        for patient in patients
    ]
    write_table(root / "participants.tsv", pd.DataFrame(rows))
    groups = {name: f"Treated with {name}" for name in options.cohort.group_sizes}
    write_json(
        root / "participants.json",
        {
            "age": {"Description": "Age of the participant", "Units": "year"},
            "sex": {"Description": "Sex", "Levels": {"F": "female", "M": "male"}},
            "group": {"Description": "Treatment between the sessions", "Levels": groups},
            "weight": {"Description": "Body weight", "Units": "kg"},
        },
    )
    truth = root / TRUTH_FOLDER
    truth.mkdir(parents=True)
    write_json(
        truth / "dataset_description.json",
        {
            "Name": "Truth of the simulated data set",
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": "derivative",
            "GeneratedBy": made_by,
            "SourceDatasets": [{"URL": "../../"}],
        },
    )
    write_json(truth / "simulation.json", describe_options(options))


def describe_options(options: SimulationOptions) -> dict[str, Any]:
    """Every option of a simulation as JSON values, frame timing included."""
    scanner = {
        field.name: getattr(options.scanner, field.name)
        for field in fields(options.scanner)
        if field.name != "timing"
    }
    timing = options.scanner.timing
    return {
        "Cohort": {f.name: getattr(options.cohort, f.name) for f in fields(options.cohort)},
        "Scanner": scanner
        | {"frame_start_s": timing.start_s, "frame_duration_s": timing.duration_s},
        "OwnT1w": options.own_t1w,
        "Seed": options.seed,
    }


def _readme(options: SimulationOptions) -> str:
    scanner, cohort = options.scanner, options.cohort
    changes = ", ".join(f"{name} {100 * change:+g} %" for name, change in cohort.effects.items())
    return f"""Simulated dynamic PET with a known truth. No patient is behind any file.

Sessions: {" and ".join(SESSIONS)} treatment. Change of BPND in group {cohort.treated_group}:
{changes or "none"}. Tracer: {_TRACER_NAMES[cohort.tracer]}.
PET: {len(scanner.timing)} frames, {scanner.timing.end_min[-1]:g} min,
{scanner.pet_voxel_mm:g} mm voxels, noise {scanner.noise:g}, motion {scanner.motion_mm:g} mm,
blur {scanner.psf_fwhm_mm:g} mm FWHM.

derivatives/truth holds what the images were made from: labels in T1w space (desc-truth, in
FreeSurfer's numbers; desc-sources, with brain stem parts, skull and soft tissue), the place of
the head in PET (from-T1w_to-pet), its motion in every frame, kinetic parameters and noise-free
curves of every label, and all options in simulation.json.

What to know. All labels of a region have one and the same binding. Heads are one template
(ICBM 2009a), deformed: they differ less than people do, and their cortex is thicker. Labels are
those of the Desikan-Killiany atlas, as in petbind's own parcellation, which flatters the latter.
The dorsal brain stem is an ellipsoid at MNI (0, -30, -11), an assumption. Frames are blurred and
noisy means of true activity: there is no attenuation, scatter, or motion within a frame.
"""
