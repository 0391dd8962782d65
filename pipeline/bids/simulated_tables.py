"""Simulated trials as tables alone: a raw data set without images, and its derivatives.

The derivatives are those files of the participant level that the group level reads, under the
same names, with the same columns and sidecars.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from pipeline import __version__
from pipeline.bids.derivatives import BIDS_VERSION, sidecar_path
from pipeline.bids.scan import ScanInputs
from pipeline.bids.uptake import reference_uptake
from pipeline.core.errors import DataError
from pipeline.core.timing import FrameTiming
from pipeline.core.volume import FloatArray
from pipeline.imaging.head_motion import CorrectionRule, HeadMotion
from pipeline.io.kinetics import parameter_table
from pipeline.io.motion_table import motion_findings, motion_table
from pipeline.io.tables import write_json, write_table
from pipeline.kinetics.srtm import Srtm
from pipeline.simulation.options import paper_timing
from pipeline.simulation.scanner import draw_motion
from pipeline.simulation.tracer import TissueKinetics
from pipeline.simulation.trial_curves import NOISE, NUCLIDE, ScanBackground, fit_as_drawn
from pipeline.simulation.trial_patients import (
    MADRS_ITEMS,
    TrialPatient,
    TrialSession,
    TrialStudy,
)

DERIVATIVES_FOLDER = Path("derivatives", "petbind")
"""Place of the tables below the data set."""
MADRS_COLUMNS = tuple(f"madrs_{number:02d}" for number in range(1, len(MADRS_ITEMS) + 1))

_USUAL_MM3 = {"ACC": 11800.0, "DBS": 335.0, "HIP": 7900.0, "VST": 1150.0}
_USUAL_REFERENCE_MM3 = 7000.0
_VOLUME_LOG_SD = 0.06
_HEAD_RADIUS_MM = 70.0
_CURVES, _MOTION, _VOLUMES = range(3)


@dataclass(frozen=True)
class TableAnalysis:
    """How the tables are said to have been made, in the settings' words.

    Parameters
    ----------
    regions : tuple of str
        Regions in the order of the tables.
    reference : str
        Name of the reference region.
    model : Srtm
        Kinetic model.
    weights : str
        Weights of the frames.
    late_min : (float, float)
        Late window of the uptake, minutes after injection.
    rule : CorrectionRule
        Which sessions are corrected for motion.
    first_frame_s, within_frame_mm : float
        Frames before take the motion of the first after; limit of motion within a frame.
    """

    regions: tuple[str, ...]
    reference: str
    model: Srtm
    weights: str
    late_min: tuple[float, float]
    rule: CorrectionRule
    first_frame_s: float
    within_frame_mm: float


class SessionOutputs(Protocol):
    """Places below the output folder and sidecars of the results of a session."""

    @property
    def targets(self) -> Mapping[str, str | list[str]]:
        """Result to its path, or to one path for every model."""
        ...

    @property
    def metadata(self) -> Mapping[str, dict[str, Any] | list[dict[str, Any]]]:
        """Result to the content of its sidecar, or to one for every model."""
        ...


def simulate_tables(
    out_dir: Path,
    study: TrialStudy,
    analysis: TableAnalysis,
    outputs_of: Callable[[ScanInputs], SessionOutputs],
) -> None:
    """Write the tables of a study: raw in `out_dir`, derivatives below it.

    Parameters
    ----------
    out_dir : Path
        New or empty folder.
    study : TrialStudy
        Patients of the trial.
    analysis : TableAnalysis
        What the participant level would have done.
    outputs_of : callable
        Scan to the places and sidecars of its results.

    Raises
    ------
    DataError
        If `out_dir` holds something already.
    """
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise DataError(f"{out_dir}: not empty; give the name of a new folder")
    _write_raw(out_dir, study)
    for number, patient in enumerate(study.patients):
        for visit, session in enumerate(patient.sessions):
            scan = _scan(out_dir, patient, session)
            streams = np.random.SeedSequence(study.seed, spawn_key=(number, visit)).spawn(3)
            tables = _Tables(study.regions, analysis, scan, patient, session)
            made = tables.made([np.random.default_rng(stream) for stream in streams])
            _write_session(out_dir / DERIVATIVES_FOLDER, made, outputs_of(scan))


_Made = Mapping[str, tuple[pd.DataFrame, Mapping[str, Any]]]
"""Result to its table, and to what was found that its sidecar says."""


@dataclass(frozen=True)
class _Tables:
    """Tables of a session."""

    regions: tuple[str, ...]
    """In the order of the kinetics that were drawn."""
    analysis: TableAnalysis
    scan: ScanInputs
    patient: TrialPatient
    session: TrialSession

    def made(self, rngs: list[np.random.Generator]) -> _Made:
        session, timing = self.session, self.scan.timing
        background = ScanBackground.of(
            session.kinetics.k2prime_per_min,
            timing,
            session.reference_scale,
            self.analysis.weights,
        )
        uptake = reference_uptake(
            self.analysis.reference,
            background.reference_bqml,
            self.scan,
            self.analysis.late_min,
        )
        return {
            "kinpar": (self._kinetics(rngs[_CURVES], background), {}),
            "morph": (self._volumes(rngs[_VOLUMES]), {}),
            "reference_uptake": (uptake, {}),
            "confounds": self._motion(rngs[_MOTION]),
        }

    def _kinetics(self, rng: np.random.Generator, scan: ScanBackground) -> pd.DataFrame:
        names = self.analysis.regions
        order = [self.regions.index(name) for name in names]
        drawn = self.session.kinetics
        kinetics = TissueKinetics(drawn.r1[order], drawn.bpnd[order], drawn.k2prime_per_min)
        noise = np.array([NOISE[name] for name in names])
        return parameter_table(
            names, fit_as_drawn(rng, self.analysis.model, kinetics, noise, scan)
        )

    def _volumes(self, rng: np.random.Generator) -> pd.DataFrame:
        names = (*self.analysis.regions, self.analysis.reference)
        usual = np.array([_USUAL_MM3.get(name, _USUAL_REFERENCE_MM3) for name in names])
        deviates = rng.standard_normal(len(names))
        volume = np.rint(usual * self.patient.head * np.exp(_VOLUME_LOG_SD * deviates))
        return pd.DataFrame(
            {
                "index": np.arange(len(names)) + 1,
                "name": names,
                "volume-mm3": volume,
                "volume-T1w-mm3": volume,
                "in-field": 1.0,
                "covered": 1.0,
                "usable": 1,
                "reason": None,
            }
        )

    def _motion(self, rng: np.random.Generator) -> tuple[pd.DataFrame, dict[str, Any]]:
        timing, rule = self.scan.timing, self.analysis.rule
        moved = draw_motion(np.zeros(3), timing, self.session.motion_mm, rng)
        first = int(np.argmax(timing.mid_s >= self.analysis.first_frame_s))
        motion = HeadMotion.placed_alone(
            np.linalg.inv(moved[first:]), first, timing.duration_s, _head_points_mm()
        )
        decision = rule.decide(self.scan.entities, motion)
        found = {
            "MotionCorrected": decision.corrected,
            "MotionCorrectionReason": decision.reason,
            **motion_findings(motion, self.analysis.within_frame_mm),
        }
        return motion_table(timing, motion), found


def _head_points_mm() -> FloatArray:
    """Points on the axes of a ball like the head, (6, 3)."""
    return _HEAD_RADIUS_MM * np.concatenate([np.eye(3), -np.eye(3)])


def _scan(out_dir: Path, patient: TrialPatient, session: TrialSession) -> ScanInputs:
    """The scan that the tables would come from; its image is not there."""
    timing: FrameTiming = paper_timing()
    folder = out_dir / f"sub-{patient.label}" / f"ses-{session.session}" / "pet"
    return ScanInputs(
        subject=patient.label,
        session=session.session,
        task=None,
        tracer=None,
        reconstruction=None,
        run=None,
        pet=folder / f"sub-{patient.label}_ses-{session.session}_pet.nii.gz",
        t1w=None,
        t1w_reason="",
        frame_start_s=tuple(timing.start_s.tolist()),
        frame_duration_s=tuple(timing.duration_s.tolist()),
        frame_scale=(1.0,) * len(timing),
        radionuclide=NUCLIDE,
        tracer_name="AZ10419369",
        injected_mbq=session.injection.radioactivity_mbq,
        body_weight_kg=patient.weight_kg,
        molar_activity_gbq_per_umol=session.injection.molar_activity_gbq_per_umol,
        injected_mass_ug=round(session.injection.mass_ug, 4),
    )


def _write_session(root: Path, made: _Made, outputs: SessionOutputs) -> None:
    for key, (table, found) in made.items():
        target, said = outputs.targets[key], outputs.metadata[key]
        # one model was fitted
        target = target[0] if isinstance(target, list) else target
        said = said[0] if isinstance(said, list) else said
        path = root / target
        path.parent.mkdir(parents=True, exist_ok=True)
        write_table(path, table)
        content = {k: found.get(k, value) for k, value in said.items() if k != "Sources"}
        write_json(sidecar_path(path), content | {"Description": _NO_IMAGE})


_NO_IMAGE = "Simulated: there are no images behind this table"


def _write_raw(root: Path, study: TrialStudy) -> None:
    root.mkdir(parents=True, exist_ok=True)
    write_json(
        root / "dataset_description.json",
        {
            "Name": "Simulated trial of ketamine with [11C]AZ10419369, tables alone",
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": "raw",
            "License": "CC0",
            "Authors": ["petbind simulate"],
            "GeneratedBy": [{"Name": "petbind simulate", "Version": __version__}],
        },
    )
    (root / "README").write_text(_README.format(seed=study.seed), encoding="utf-8")
    # the released schema has one row of a participant here, whatever the sessions
    (root / ".bidsignore").write_text("phenotype/\n", encoding="utf-8")
    _write_described(root / "participants.tsv", _participants(study), _PARTICIPANTS)
    for patient in study.patients:
        folder = root / f"sub-{patient.label}"
        folder.mkdir()
        sessions = [
            {"session_id": f"ses-{session.session}", "CGI_S": session.cgi_s}
            for session in patient.sessions
        ]
        path = folder / f"sub-{patient.label}_sessions.tsv"
        _write_described(path, pd.DataFrame(sessions), _SESSIONS)
    (root / "phenotype").mkdir()
    _write_described(root / "phenotype" / "madrs.tsv", _madrs(study), _madrs_columns())


def _write_described(path: Path, table: pd.DataFrame, columns: Mapping[str, Any]) -> None:
    write_table(path, table)
    write_json(path.with_suffix(".json"), columns)


def _participants(study: TrialStudy) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "participant_id": f"sub-{patient.label}",
                "group": patient.group,
                "age": patient.age_years,
                "sex": patient.sex,
                "BMI": patient.bmi_kg_per_m2,
                "weight": patient.weight_kg,
            }
            for patient in study.patients
        ]
    )


def _madrs(study: TrialStudy) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "participant_id": f"sub-{patient.label}",
                "session_id": f"ses-{session.session}",
                **dict(zip(MADRS_COLUMNS, session.madrs.tolist(), strict=True)),
                "MADRS": int(session.madrs.sum()),
            }
            for patient in study.patients
            for session in patient.sessions
        ]
    )


_PARTICIPANTS: Mapping[str, Any] = {
    "group": {
        "Description": "Treatment between the sessions",
        "Levels": {"ketamine": "Treated with ketamine", "placebo": "Treated with placebo"},
    },
    "age": {"Description": "Age of the participant", "Units": "year"},
    "sex": {"Description": "Sex", "Levels": {"F": "female", "M": "male"}},
    "BMI": {"Description": "Body mass index", "Units": "kg/m^2"},
    "weight": {"Description": "Body weight", "Units": "kg"},
}
_SESSIONS: Mapping[str, Any] = {
    "session_id": {"Description": "Before (pre) or after (post) treatment"},
    "CGI_S": {"Description": "Clinical Global Impression, severity, 1 to 7"},
}


def _madrs_columns() -> dict[str, Any]:
    items = zip(MADRS_COLUMNS, MADRS_ITEMS, strict=True)
    return {
        "MeasurementToolMetadata": {
            "Description": "Montgomery-Asberg Depression Rating Scale, simulated"
        },
        "session_id": {"Description": "Before (pre) or after (post) treatment"},
        **{column: {"Description": f"{name}, 0 to 6"} for column, name in items},
        "MADRS": {"Description": "Sum of the ten items, 0 to 60"},
    }


_README = """Tables of a simulated trial, seed {seed}. No patient is behind any file, and no image.

The groups and binding potentials are those of Tiger et al. 2020 (Transl Psychiatry 10:159): means,
standard deviations and correlations within subjects of its Table 2, drawn as normal numbers.
Where it prints nothing, placebo does not change. Binding in the ventral striatum correlates with
MADRS before treatment (-.43), and under ketamine with its fall (-.64); means of MADRS before
treatment and the shares of responders are the paper's too. Age, sex, body, injections, motion and
volumes are of a usual size and bear no relation to anything else.

derivatives/petbind holds what `petbind BIDS OUT participant` would have written of 93-minute scans
as far as the group level reads it: kinetic parameters, volumes, uptake of the reference region and
motion. Standard errors and goodness are those of fits of noisy curves whose optimum is the
binding potential that was drawn:

    petbind . derivatives/petbind group
"""
