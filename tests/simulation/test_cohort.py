from dataclasses import replace

import numpy as np
import pytest

from pipeline.simulation.cohort import Stream, draw_cohort, random_stream
from pipeline.simulation.options import CohortOptions, ScannerOptions, SimulationOptions
from pipeline.simulation.regions import EFFECT_REGIONS, TISSUE_INDEX, TISSUES

LARGE = CohortOptions(group_sizes={"ketamine": 300, "placebo": 300})
BINDING = [i for i, tissue in enumerate(TISSUES) if tissue.bpnd > 0]


@pytest.fixture(scope="module")
def cohort():
    return list(draw_cohort(LARGE, seed=3))


def log_bpnd(patients, session):
    return np.log([patient.sessions[session].kinetics.bpnd[BINDING] for patient in patients])


def group(patients, name):
    return [patient for patient in patients if patient.group == name]


def test_spread_and_correlation_are_those_asked_for(cohort):
    before = log_bpnd(cohort, 0)
    expected = np.hypot(LARGE.between_subject_sd, LARGE.session_sd)
    # 600 subjects: the standard error of an SD is 3 %
    assert before.std(axis=0).mean() == pytest.approx(expected, rel=0.1)
    correlation = np.corrcoef(before.T)
    assert correlation[np.triu_indices_from(correlation, 1)].mean() == pytest.approx(0.8, abs=0.04)


def test_means_are_the_tissues(cohort):
    mean = np.exp(log_bpnd(cohort, 0).mean(axis=0))
    np.testing.assert_allclose(mean, [TISSUES[i].bpnd for i in BINDING], rtol=0.05)


def test_sessions_differ_by_the_session_sd(cohort):
    placebo = group(cohort, "placebo")
    change = log_bpnd(placebo, 1) - log_bpnd(placebo, 0)
    assert change.std(axis=0).mean() == pytest.approx(np.sqrt(2) * LARGE.session_sd, rel=0.1)
    assert np.abs(change.mean()) < 0.015


def test_only_the_treated_region_of_the_treated_group_changes(cohort):
    hippocampus = BINDING.index(TISSUE_INDEX["hippocampus"])
    for name, expected in (("ketamine", np.log(1.17)), ("placebo", 0.0)):
        patients = group(cohort, name)
        change = (log_bpnd(patients, 1) - log_bpnd(patients, 0)).mean(axis=0)
        rest = np.delete(change, hippocampus).mean()
        # SD .07 among 300: standard error .004
        assert change[hippocampus] - rest == pytest.approx(expected, abs=0.016)
        assert rest == pytest.approx(0, abs=0.016)


def test_cerebellum_is_the_reference(cohort):
    index = TISSUE_INDEX["cerebellum-cortex"]
    for patient in cohort[:20]:
        for session in patient.sessions:
            assert session.kinetics.bpnd[index] == 0
            assert session.kinetics.r1[index] == 1


def test_fall_of_depression_follows_treatment_and_low_binding(cohort):
    treated, placebo = group(cohort, "ketamine"), group(cohort, "placebo")

    def fall(patients):
        return np.array([1 - p.sessions[1].madrs / p.sessions[0].madrs for p in patients])

    assert fall(treated).mean() - fall(placebo).mean() == pytest.approx(0.24, abs=0.06)
    striatum = [p.sessions[0].kinetics.bpnd[TISSUE_INDEX["accumbens-area"]] for p in treated]
    assert -0.65 < np.corrcoef(np.log(striatum), fall(treated))[0, 1] < -0.35


def test_injections_are_plausible(cohort):
    for patient in cohort:
        for session in patient.sessions:
            injection = session.injection
            assert 0.05 < injection.mass_ug < 3
            # MBq/ug is GBq/umol * 1000 / molar mass
            assert injection.specific_radioactivity_mbq_per_ug == pytest.approx(
                injection.molar_activity_gbq_per_umol * 1000 / 462.54
            )


def test_a_patient_does_not_depend_on_the_others():
    few = list(draw_cohort(CohortOptions(group_sizes={"ketamine": 1, "placebo": 1}), seed=3))
    many = list(draw_cohort(CohortOptions(group_sizes={"ketamine": 4, "placebo": 2}), seed=3))
    for ours, theirs in ((few[0], many[0]), (few[1], many[4])):
        for a, b in zip(ours.sessions, theirs.sessions, strict=True):
            np.testing.assert_array_equal(a.kinetics.bpnd, b.kinetics.bpnd)
            assert (a.madrs, a.injection) == (b.madrs, b.injection)


def test_an_effect_leaves_all_else_as_it_was():
    none, some = (
        next(draw_cohort(replace(LARGE, effects=effects), seed=1)).sessions[1].kinetics.bpnd
        for effects in ({}, {"acc": -0.2, "vst": 0.3})
    )
    ratio = some[BINDING] / none[BINDING]
    expected = np.ones(len(TISSUES))
    expected[[TISSUE_INDEX[name] for name in EFFECT_REGIONS["acc"]]] = 0.8
    expected[TISSUE_INDEX["accumbens-area"]] = 1.3
    np.testing.assert_allclose(ratio, expected[BINDING])


def test_streams_are_independent():
    first = random_stream(0, (0, 1), Stream.COUNTS, 0).standard_normal(4)
    for other in (
        random_stream(1, (0, 1), Stream.COUNTS, 0),
        random_stream(0, (1, 0), Stream.COUNTS, 0),
        random_stream(0, (0, 1), Stream.MOTION, 0),
        random_stream(0, (0, 1), Stream.COUNTS, 1),
    ):
        assert not np.any(first == other.standard_normal(4))
    again = random_stream(0, (0, 1), Stream.COUNTS, 0).standard_normal(4)
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"effects": {"hipocampus": 0.1}}, "no region 'hipocampus'"),
        ({"effects": {"hippocampus": -1.5}}, "at least -1"),
        ({"effects": {"hippocampus": float("nan")}}, "at least -1"),
        ({"group_sizes": {"ketamine": 0, "placebo": 0}}, "at least one patient"),
        ({"group_sizes": {"ketamine": 3, "placebo": -1}}, "no group less than none"),
        ({"treated_group": "drug"}, "no group 'drug'"),
        ({"region_correlation": 1.2}, "between 0 and 1"),
        ({"session_sd": -0.1}, "not negative"),
        ({"tracer": "raclopride"}, "no tracer 'raclopride'"),
        ({"between_subject_sd": float("nan")}, "not negative"),
    ],
)
def test_impossible_cohorts_are_refused(options, problem):
    with pytest.raises(ValueError, match=problem):
        CohortOptions(**options)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"pet_voxel_mm": 0.0}, "must be positive"),
        ({"t1w_voxel_mm": float("nan")}, "must be positive"),
        ({"noise": -1.0}, "zero or more"),
        ({"motion_mm": float("inf")}, "zero or more"),
    ],
)
def test_impossible_scanners_are_refused(options, problem):
    with pytest.raises(ValueError, match=problem):
        ScannerOptions(**options)


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="seed"):
        SimulationOptions(seed=-1)


def test_tracers_bind_where_they_are_said_to():
    bpnd = {
        tracer: next(draw_cohort(CohortOptions(tracer=tracer), 0)).sessions[0].kinetics.bpnd
        for tracer in ("cortical", "striatal", "flat")
    }
    default = next(draw_cohort(CohortOptions(), 0)).sessions[0].kinetics.bpnd
    np.testing.assert_array_equal(bpnd["cortical"], default)
    putamen, frontal = TISSUE_INDEX["putamen"], TISSUE_INDEX["superiorfrontal"]
    assert bpnd["striatal"][putamen] > 10 * bpnd["striatal"][frontal]
    assert bpnd["flat"].max() < 0.5
