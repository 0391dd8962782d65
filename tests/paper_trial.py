"""A trial of the size of Tiger et al. (2020) in code, with the results of a plan on it."""

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd

from pipeline.bids.paper_tables import PaperContents
from pipeline.bids.planned_tests import result_table
from pipeline.bids.study_table import Study
from pipeline.statistics.plan import (
    PlannedCorrelation,
    PlannedFisher,
    PlannedInteraction,
    PlannedPairedT,
    PlannedTwoSampleT,
)
from pipeline.statistics.study_plan import usual_plan

REGIONS = ("ACC", "Dorsal brainstem", "Hippocampus", "Ventral striatum")
MEANS = np.array([1.22, 1.31, 0.46, 1.98])
SESSIONS = ("pre", "post")
GROUPS = ("ketamine", "placebo")
RESPONDERS = {"ketamine": (15, 20), "placebo": (3, 10)}
"""Partial responders of each group, and its subjects."""

LABELS = {
    "age": "Age (years)",
    "female": "Female",
    "MADRS": "MADRS (points)",
    "relief": "Decrease of MADRS (%)",
    "partial_response": "Partial response, ≥ 25 %",
    "injected_mbq": "Injected activity (MBq)",
    "molar_activity_gbq_per_umol": "Molar activity (GBq/µmol)",
    "injected_mass_ug": "Injected mass (µg)",
    "reference_suv": "SUV of cerebellum (g/mL)",
    "mean_fd_mm": "Mean framewise displacement (mm)",
    "max_fd_mm": "Largest framewise displacement (mm)",
}
CONTENTS = PaperContents(
    outcome="BPND",
    sessions=SESSIONS,
    groups=GROUPS,
    demography=("age", "female", "MADRS"),
    clinical=("MADRS",),
    responders=("partial_response",),
    radiochemistry=(
        "injected_mbq",
        "molar_activity_gbq_per_umol",
        "injected_mass_ug",
        "reference_suv",
    ),
    motion=("mean_fd_mm", "max_fd_mm"),
    binary=("female",),
    labels=LABELS,
)
TESTS = (
    *(
        PlannedPairedT(kind="paired_t", title=f"{name} by group", confirmatory=i == 0, of=name,
                       by_group=True)
        for i, name in enumerate(("BPND", "MADRS", "injected_mbq", "mean_fd_mm"))
    ),
    PlannedInteraction(kind="interaction", title="interaction", confirmatory=True),
    PlannedInteraction(kind="interaction", title="clinical", confirmatory=False, of="MADRS"),
    PlannedTwoSampleT(kind="two_sample_t", title="age", confirmatory=False, of="age"),
    PlannedTwoSampleT(kind="two_sample_t", title="MADRS", confirmatory=False, of="MADRS",
                      session="pre"),
    PlannedFisher(kind="fisher", title="sex", confirmatory=False, of="female"),
    PlannedFisher(kind="fisher", title="response", confirmatory=False, of="partial_response"),
    PlannedCorrelation(kind="correlation", title="r", confirmatory=True, x="BPND", y="MADRS",
                       session="pre"),
    PlannedCorrelation(kind="correlation", title="r by group", confirmatory=False, x="BPND",
                       y="relief", session="pre", by_group=True),
)  # fmt: skip


def make_trial(groups=GROUPS, sessions=SESSIONS, regions=REGIONS, seed=1):
    """A study; three values are missing."""
    rng = np.random.default_rng(seed)
    n = {group: RESPONDERS.get(group, (0, 12))[1] for group in groups}
    group = np.repeat(np.arange(len(groups)), list(n.values()))
    S, T, R = group.size, len(sessions), len(regions)
    means = np.resize(MEANS, R)
    own = means * np.exp(0.28 * rng.normal(size=(S, 1, R)))
    bpnd = own * np.exp(0.12 * rng.normal(size=(S, T, R)))
    bpnd[:, 1:] += 0.1 * means * (group == 0)[:, None, None]
    bpnd[2, -1, 2 % R] = np.nan
    madrs = np.rint(28 + 5 * rng.normal(size=(S, T, 1)))
    madrs[:, 1:] -= np.where(group == 0, 11, 4)[:, None, None]
    responded = np.concatenate(
        [np.arange(n[g]) < RESPONDERS.get(g, (4, 12))[0] for g in groups]
    ).astype(float)
    own_column = lambda values: np.asarray(values, float)[:, None, None]  # noqa: E731
    by_session = lambda mean, sd: mean + sd * rng.normal(size=(S, T, 1))  # noqa: E731
    variables = {
        "BPND": bpnd,
        "age": own_column(np.rint(rng.uniform(21, 65, S))),
        "female": own_column(rng.random(S) < 0.6),
        "MADRS": madrs,
        "relief": 100 * (madrs[:, :1] - madrs[:, 1:2]) / madrs[:, :1],
        "partial_response": own_column(responded),
        "injected_mbq": by_session(405, 22),
        "molar_activity_gbq_per_umol": by_session(310, 90),
        "injected_mass_ug": np.exp(by_session(-0.4, 0.4)),
        "reference_suv": by_session(1.6, 0.2),
        "mean_fd_mm": np.exp(by_session(-1.1, 0.5)),
        "max_fd_mm": np.exp(by_session(0.6, 0.5)),
    }
    variables["age"][4], variables["mean_fd_mm"][0, 1] = np.nan, np.nan
    return Study(
        subjects=tuple(f"{s + 1:02d}" for s in range(S)),
        sessions=sessions,
        regions=regions,
        groups=groups,
        group=group,
        variables=variables,
    )


def blinded(study):
    return replace(study, groups=(), group=np.full(len(study.subjects), -1))


def values_of(study):
    """The tidy frame of a study: a row per variable, subject, session and region."""
    rows = []
    for name, values in study.variables.items():
        _, T, R = values.shape
        for r, t, s in product(range(R), range(T), range(len(study.subjects))):
            rows.append(
                {
                    "variable": name,
                    "participant_id": study.subjects[s],
                    "group": study.groups[study.group[s]] if study.group[s] >= 0 else np.nan,
                    "session_id": study.sessions[t] if len(study.sessions) == T else np.nan,
                    "region": (study.regions[r] or np.nan)
                    if len(study.regions) == R and name == "BPND"
                    else np.nan,
                    "value": values[s, t, r],
                }
            )
    return pd.DataFrame(rows)


def results_of(study, tests=TESTS):
    plan = usual_plan(study.regions, study.sessions, None, study.groups, ())
    return result_table(study, replace(plan, tests=tests, multiplicity="holm"))
