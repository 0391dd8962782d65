"""Patients of a trial without images: who they are, what they were given, how they feel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri

from pipeline.core.volume import FloatArray, IntArray
from pipeline.simulation.cohort import SESSIONS, Injection, draw_injection
from pipeline.simulation.tracer import TissueKinetics
from pipeline.simulation.trial import TIGER2020_REGIONS, Trial, TrialGroup, draw_trial

MADRS_ITEMS = (
    "Apparent sadness",
    "Reported sadness",
    "Inner tension",
    "Reduced sleep",
    "Reduced appetite",
    "Concentration difficulties",
    "Lassitude",
    "Inability to feel",
    "Pessimistic thoughts",
    "Suicidal thoughts",
)
"""Items of the Montgomery-Asberg Depression Rating Scale, 0 to 6 each."""
NOT_SHORT = (3, 4)
"""Places of the items that MADRS-short leaves out: sleep and appetite."""

_HIGHEST_ITEM, _LEAST_TOTAL = 6, 10
_USUAL_ITEMS = (3.5, 3.7, 3.0, 2.6, 1.8, 3.2, 3.0, 3.0, 2.6, 1.4)
_ITEM_LOG_SD = 0.25
_THRESHOLDS = (0.25, 0.50)
_FALL_SD = 0.236
_MOOD_ON_BINDING = -0.455

_R1 = {"ACC": 0.851, "DBS": 0.831, "HIP": 0.776, "VST": 0.854}
_R1_LOG_SD, _K2PRIME_PER_MIN, _K2PRIME_LOG_SD = 0.06, 0.14, 0.06
_UPTAKE_LOG_SD, _VISIT_LOG_SD = 0.1, 0.05
_USUAL_MBQ, _USUAL_KG = 392.0, 75.0
_MOTION_MM, _MOTION_LOG_SD = 1.5, 0.4


@dataclass(frozen=True, kw_only=True)
class Mood:
    """How depressed a group is, and how it responds.

    Parameters
    ----------
    mean, sd : float
        MADRS before treatment, points.
    shares : (float, float)
        Share of patients whose MADRS-short falls by a quarter or more, and by a half or more.
    fall_on_binding : float
        Correlation of BPND in the ventral striatum before treatment with the normal deviate that
        the relative fall is a function of.
    """

    mean: float
    sd: float
    shares: tuple[float, float]
    fall_on_binding: float


@dataclass(frozen=True, kw_only=True, eq=False)
class TrialSession:
    """One session of a patient, its regions R."""

    session: str
    kinetics: TissueKinetics
    """Of the R regions of the trial."""
    reference_scale: float
    """Height of the reference curve, see `pipeline.simulation.tracer.tissue_curves`."""
    injection: Injection
    madrs: IntArray
    """(10,) of `MADRS_ITEMS`."""
    cgi_s: int
    motion_mm: float
    """Root mean square displacement of the head at the end of the scan."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrialPatient:
    """One patient with all sessions."""

    label: str
    """Without ``sub-``."""
    group: str
    age_years: int
    sex: str
    bmi_kg_per_m2: float
    weight_kg: float
    head: float
    """Volume of the brain relative to the usual."""
    sessions: tuple[TrialSession, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class TrialStudy:
    """A drawn trial with its patients."""

    trial: Trial
    regions: tuple[str, ...]
    """Names of the regions of the trial."""
    patients: tuple[TrialPatient, ...]
    """In the order of the trial."""
    seed: int


def tiger2020_moods() -> dict[str, Mood]:
    r"""Depression in the two groups of Tiger et al. (2020).

    Notes
    -----
    Means are 526/20 and 308/10 points. The SDs are not among the figures at hand: only these two,
    with those means, give p .0465 by Welch, as printed, and .067 by Student, as the paper's
    summaries did when they were looked at. Shares are the printed ones, 15 and 7 of 20, 3 and 2
    of 10; rounding to whole points adds one or two hundredths. BPND in the ventral striatum
    correlates with MADRS before treatment at -.426 over both groups, and at -.644 with the fall
    of MADRS-short, before minus after, under ketamine. Placebo has no such relation here.
    """
    return {
        "ketamine": Mood(mean=26.3, sd=6.58, shares=(0.75, 0.35), fall_on_binding=-0.59),
        "placebo": Mood(mean=30.8, sd=4.91, shares=(0.30, 0.20), fall_on_binding=0.0),
    }


def draw_study(
    seed: int, groups: Mapping[str, TrialGroup], moods: Mapping[str, Mood]
) -> TrialStudy:
    """A trial of the regions `TIGER2020_REGIONS` with the patients behind it.

    Parameters
    ----------
    seed : int
        Same seed, same study; binding does not depend on what else is drawn.
    groups, moods : mapping
        Binding and depression by group.

    Raises
    ------
    ValueError
        If the seed is negative, or there is nobody in the trial.
    """
    if seed < 0:
        raise ValueError("the seed is zero or more")
    if not sum(group.n for group in groups.values()):
        raise ValueError("a study needs at least one patient")
    of_binding, of_mood, of_people = (
        np.random.default_rng(stream) for stream in np.random.SeedSequence(seed).spawn(3)
    )
    trial = draw_trial(of_binding, groups)
    scores = np.concatenate(
        [
            _draw_scores(of_mood, moods[name], _striatal_deviates(trial, name, group))
            for name, group in groups.items()
        ]
    )
    patients = tuple(_patients(of_people, trial, scores))
    return TrialStudy(trial=trial, regions=TIGER2020_REGIONS, patients=patients, seed=seed)


def with_sizes(
    groups: Mapping[str, TrialGroup], sizes: Mapping[str, int]
) -> dict[str, TrialGroup]:
    """The groups with other numbers of patients, where a number is given."""
    return {name: replace(group, n=sizes.get(name, group.n)) for name, group in groups.items()}


def _striatal_deviates(trial: Trial, name: str, group: TrialGroup) -> FloatArray:
    """Standard normal deviates (n,) of BPND in the ventral striatum before treatment."""
    place = TIGER2020_REGIONS.index("VST")
    before = trial.of(name, place)[:, 0]
    return np.asarray((before - group.means[place, 0]) / group.sds[place, 0])


def _draw_scores(rng: np.random.Generator, mood: Mood, binding: FloatArray) -> IntArray:
    """Items of MADRS before and after, (n, 2, 10)."""
    n = binding.size
    own_mood, own_fall = rng.standard_normal((2, n))
    low = _MOOD_ON_BINDING * binding + np.sqrt(1 - _MOOD_ON_BINDING**2) * own_mood
    r = mood.fall_on_binding
    fall = relative_fall(r * binding + np.sqrt(1 - r**2) * own_fall, mood.shares)
    total = np.rint(mood.mean + mood.sd * low).clip(_LEAST_TOTAL, _HIGHEST_ITEM * 10)
    usual = np.array(_USUAL_ITEMS) * np.exp(_ITEM_LOG_SD * rng.standard_normal((n, 10)))
    before = np.array([_items(t, u) for t, u in zip(total, usual, strict=True)], int)
    before = before.reshape(n, len(MADRS_ITEMS))
    short = [i for i in range(len(MADRS_ITEMS)) if i not in NOT_SHORT]
    left = np.rint(before[:, short].sum(axis=1) * (1 - fall)).clip(0, _HIGHEST_ITEM * len(short))
    # sleep and appetite go down by as much, at random to one side or the other of whole points
    others = before * (1 - fall)[:, None]
    after = np.floor(others + rng.random(others.shape)).clip(0, _HIGHEST_ITEM).astype(int)
    for patient in range(n):
        after[patient, short] = _items(left[patient], usual[patient, short])
    return np.stack([before, after], axis=1)


def relative_fall(deviate: FloatArray, shares: tuple[float, float]) -> FloatArray:
    """Fall of a score relative to what it was, from standard normal deviates, (n,).

    It rises straight between a quarter and a half, whose deviates are those of the shares that
    reach them, and with a usual spread outside; no more than all of the score falls.
    """
    quarter, half = -ndtri(np.asarray(shares))
    first, second = _THRESHOLDS
    between = (second - first) * np.clip((deviate - quarter) / (half - quarter), 0, 1)
    below, above = np.minimum(deviate - quarter, 0), np.maximum(deviate - half, 0)
    return np.asarray(np.minimum(first + between + _FALL_SD * (below + above), 1))


def _items(total: float, usual: FloatArray) -> IntArray:
    """Whole items, none above the highest, that sum to a total and are shared out as usual."""
    items = np.zeros(usual.size, int)
    for _ in range(int(total)):
        # the next point goes to the item that lags most behind its share
        lag = np.where(items < _HIGHEST_ITEM, (items + 0.5) / usual, np.inf)
        items[int(np.argmin(lag))] += 1
    return items


def _patients(rng: np.random.Generator, trial: Trial, scores: IntArray) -> Iterator[TrialPatient]:
    width = max(2, len(str(len(trial.group))))
    for number, (group, bpnd) in enumerate(zip(trial.group, trial.bpnd, strict=True)):
        sex = "F" if rng.random() < 0.5 else "M"
        bmi = round(float(np.clip(rng.normal(25, 3.5), 18, 38)), 1)
        height_m = rng.normal(1.67 if sex == "F" else 1.80, 0.06)
        weight_kg = round(float(bmi * height_m**2), 1)
        yield TrialPatient(
            label=f"{number + 1:0{width}d}",
            group=trial.groups[group],
            age_years=int(np.clip(np.rint(rng.normal(38, 11)), 20, 65)),
            sex=sex,
            bmi_kg_per_m2=bmi,
            weight_kg=weight_kg,
            head=float(np.exp(rng.normal(0, 0.08))),
            sessions=tuple(_sessions(rng, bpnd, scores[number], weight_kg)),
        )


def _sessions(
    rng: np.random.Generator, bpnd: FloatArray, scores: IntArray, weight_kg: float
) -> Iterator[TrialSession]:
    """Sessions of a patient with BPND (R, M) and items of MADRS (M, 10)."""
    r1 = np.array([_R1[name] for name in TIGER2020_REGIONS])
    r1 = r1 * np.exp(_R1_LOG_SD * rng.standard_normal(r1.size))
    k2prime = _K2PRIME_PER_MIN * float(np.exp(rng.normal(0, _K2PRIME_LOG_SD)))
    uptake = rng.normal(0, _UPTAKE_LOG_SD)
    for visit, session in enumerate(SESSIONS):
        injection = draw_injection(rng)
        dose = injection.radioactivity_mbq / _USUAL_MBQ * _USUAL_KG / weight_kg
        points = int(scores[visit].sum())
        yield TrialSession(
            session=session,
            kinetics=TissueKinetics(r1, bpnd[:, visit], k2prime),
            reference_scale=float(np.exp(uptake + rng.normal(0, _VISIT_LOG_SD)) * dose),
            injection=injection,
            madrs=scores[visit],
            cgi_s=int(np.clip(np.rint(1.25 + points / 9 + rng.normal(0, 0.4)), 1, 7)),
            motion_mm=float(_MOTION_MM * np.exp(rng.normal(0, _MOTION_LOG_SD))),
        )
