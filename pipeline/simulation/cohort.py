"""Simulated patients: who they are, how they bind before and after treatment, how they feel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from pipeline.core.volume import FloatArray
from pipeline.simulation.options import CohortOptions
from pipeline.simulation.regions import EFFECT_REGIONS, TISSUE_INDEX, TISSUES, TRACER_BPND
from pipeline.simulation.tracer import TissueKinetics

SESSIONS = ("pre", "post")
"""Labels of the two sessions, before and after treatment."""

MOLAR_MASS_G_PER_MOL = 462.54
"""Of AZ10419369."""

_K2PRIME_PER_MIN = 0.14
_K2PRIME_LOG_SD = 0.06
_R1_LOG_SD = 0.06
_WEIGHT_KG, _WEIGHT_SD_KG = 75.0, 11.0
_DOSE_MBQ, _DOSE_SD_MBQ = 392.0, 35.0
_MOLAR_GBQ_PER_UMOL, _MOLAR_LOG_SD = 364.0, 0.35
# Mean MADRS before, and mean and SD of the relative fall, by treatment; roughly the paper's
_MADRS_BEFORE, _MADRS_BEFORE_SD = 28.0, 4.5
_FALL_TREATED, _FALL_PLACEBO, _FALL_SD = 0.42, 0.18, 0.22
_FALL_ON_BASELINE, _FALL_ON_CHANGE = -0.5, 0.3


class Stream(IntEnum):
    """Independent sources of randomness of one patient or session."""

    PERSON = 0
    BINDING = 1
    ANATOMY = 2
    T1W = 3
    POSITION = 4
    MOTION = 5
    COUNTS = 6


@dataclass(frozen=True, kw_only=True)
class Injection:
    """One injection of the tracer."""

    radioactivity_mbq: float
    molar_activity_gbq_per_umol: float
    start_minute_of_day: int

    @property
    def mass_ug(self) -> float:
        """Injected mass of the compound, micrograms."""
        amount_umol = self.radioactivity_mbq / 1000 / self.molar_activity_gbq_per_umol
        return amount_umol * MOLAR_MASS_G_PER_MOL

    @property
    def specific_radioactivity_mbq_per_ug(self) -> float:
        """Activity per mass, MBq/ug."""
        return self.radioactivity_mbq / self.mass_ug


@dataclass(frozen=True, kw_only=True)
class SessionTruth:
    """Binding, injection and mood of one patient in one session."""

    session: str
    kinetics: TissueKinetics
    reference_scale: float
    injection: Injection
    madrs: int
    cgi_s: int


@dataclass(frozen=True, kw_only=True)
class Patient:
    """One simulated patient with both sessions.

    Parameters
    ----------
    label : str
        Subject label without ``sub-``.
    group : str
        Treatment group.
    group_number, number : int
        Place of the group, and of the patient in it; they key the random numbers.
    """

    label: str
    group: str
    group_number: int
    number: int
    age_years: int
    sex: str
    weight_kg: float
    sessions: tuple[SessionTruth, ...]


def random_stream(
    seed: int, patient: tuple[int, int], stream: Stream, session: int = 0
) -> np.random.Generator:
    """Generator that depends on the seed and its own key alone, not on what was drawn before.

    Parameters
    ----------
    seed : int
        Seed of the study.
    patient : tuple of int
        Number of the group and of the patient in it.
    stream : Stream
        What is drawn.
    session : int
        Number of the session, for what differs between sessions.
    """
    key = (*patient, int(stream), session)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def draw_cohort(options: CohortOptions, seed: int) -> Iterator[Patient]:
    """Patients of a study, group after group.

    Parameters
    ----------
    options : CohortOptions
        Groups, effects and spreads.
    seed : int
        Seed of the study.

    Yields
    ------
    Patient
        Labels run from 01 over all groups.
    """
    width = max(2, len(str(sum(options.group_sizes.values()))))
    position = 0
    for group_number, (group, size) in enumerate(options.group_sizes.items()):
        for number in range(size):
            position += 1
            yield _draw_patient(
                options, seed, (group, group_number, number), f"{position:0{width}d}"
            )


def _draw_patient(
    options: CohortOptions, seed: int, place: tuple[str, int, int], label: str
) -> Patient:
    group, group_number, number = place
    key = (group_number, number)
    rng = random_stream(seed, key, Stream.PERSON)
    age = int(np.clip(np.rint(rng.normal(38, 11)), 20, 65))
    sex = "F" if rng.random() < 0.55 else "M"
    weight = round(float(np.clip(rng.normal(_WEIGHT_KG, _WEIGHT_SD_KG), 48, 120)), 1)
    injections = tuple(draw_injection(rng) for _ in SESSIONS)
    uptake = float(np.exp(rng.normal(0, 0.1)))
    binding = _Binding.draw(options, random_stream(seed, key, Stream.BINDING))
    treated = group == options.treated_group
    madrs = _draw_madrs(rng, binding, treated)
    sessions = tuple(
        SessionTruth(
            session=session,
            kinetics=binding.kinetics(options, i, treated and i > 0),
            reference_scale=uptake
            * (injections[i].radioactivity_mbq / _DOSE_MBQ)
            * (_WEIGHT_KG / weight),
            injection=injections[i],
            madrs=madrs[i],
            cgi_s=int(np.clip(np.rint(1 + madrs[i] / 9), 1, 7)),
        )
        for i, session in enumerate(SESSIONS)
    )
    return Patient(
        label=label, group=group, group_number=group_number, number=number,
        age_years=age, sex=sex, weight_kg=weight, sessions=sessions,
    )  # fmt: skip


def draw_injection(rng: np.random.Generator) -> Injection:
    """An injection of some 390 MBq between nine and three o'clock."""
    return Injection(
        radioactivity_mbq=round(float(np.clip(rng.normal(_DOSE_MBQ, _DOSE_SD_MBQ), 250, 500)), 1),
        molar_activity_gbq_per_umol=round(
            float(_MOLAR_GBQ_PER_UMOL * np.exp(rng.normal(0, _MOLAR_LOG_SD))), 1
        ),
        start_minute_of_day=int(rng.integers(9 * 60, 15 * 60)),
    )


def _correlated(rng: np.random.Generator, sd: float, correlation: float) -> FloatArray:
    """One normal deviate per tissue with the same correlation between any two, (T,)."""
    common, own = rng.standard_normal(), rng.standard_normal(len(TISSUES))
    return np.asarray(sd * (np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own))


@dataclass(frozen=True, eq=False)
class _Binding:
    """Deviates of one patient's kinetics from the cohort's mean, log scale, (T,) each."""

    person: FloatArray
    visits: tuple[FloatArray, ...]
    r1: FloatArray
    k2prime: float

    @classmethod
    def draw(cls, options: CohortOptions, rng: np.random.Generator) -> _Binding:
        correlation = options.region_correlation
        return cls(
            person=_correlated(rng, options.between_subject_sd, correlation),
            visits=tuple(_correlated(rng, options.session_sd, correlation) for _ in SESSIONS),
            r1=_correlated(rng, _R1_LOG_SD, 0.5),
            k2prime=float(rng.normal(0, _K2PRIME_LOG_SD)),
        )

    def kinetics(self, options: CohortOptions, visit: int, treated: bool) -> TissueKinetics:
        bpnd = np.array(TRACER_BPND[options.tracer])
        bpnd = bpnd * np.exp(self.person + self.visits[visit])
        for name, change in options.effects.items() if treated else ():
            bpnd[[TISSUE_INDEX[tissue] for tissue in EFFECT_REGIONS[name]]] *= 1 + change
        # the reference region is what the others are relative to
        r1 = np.array([tissue.r1 for tissue in TISSUES]) * np.exp(self.r1)
        for name in ("cerebellum-cortex", "vermis"):
            r1[TISSUE_INDEX[name]] = 1.0
        return TissueKinetics(r1, bpnd, _K2PRIME_PER_MIN * float(np.exp(self.k2prime)))


def _draw_madrs(rng: np.random.Generator, binding: _Binding, treated: bool) -> tuple[int, int]:
    """Depression score before and after; the fall is larger with low striatal binding before."""
    striatum = TISSUE_INDEX["accumbens-area"]
    baseline = binding.person[striatum] + binding.visits[0][striatum]
    change = binding.visits[1][striatum] - binding.visits[0][striatum]
    z = _FALL_ON_BASELINE * baseline / 0.28 + _FALL_ON_CHANGE * change / 0.07
    rest = np.sqrt(1 - _FALL_ON_BASELINE**2 - _FALL_ON_CHANGE**2)
    before = int(np.clip(np.rint(rng.normal(_MADRS_BEFORE, _MADRS_BEFORE_SD)), 20, 45))
    mean = _FALL_TREATED if treated else _FALL_PLACEBO
    fall = mean + _FALL_SD * (z + rest * rng.standard_normal())
    return before, int(np.clip(np.rint(before * (1 - fall)), 0, 60))
