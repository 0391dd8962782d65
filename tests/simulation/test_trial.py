"""Drawn trials: their moments, the tests' size and power on them."""

import dataclasses

import numpy as np
import pytest

from pipeline.simulation.trial import (
    TIGER2020_REGIONS,
    TrialGroup,
    draw_trial,
    tiger2020_groups,
)
from pipeline.statistics.interaction import group_by_time
from pipeline.statistics.mixed_anova import mixed_anova
from pipeline.statistics.power import interaction_d, two_sample_power

HIP = TIGER2020_REGIONS.index("HIP")


def changes(trial, region=HIP):
    """Change (n,) of each group."""
    return [np.diff(trial.of(group, region))[:, 0] for group in trial.groups]


def test_a_large_group_has_the_moments_it_was_drawn_from():
    groups = {
        name: dataclasses.replace(group, n=40_000) for name, group in tiger2020_groups().items()
    }
    trial = draw_trial(np.random.default_rng(1), groups, region_correlation=0.5)
    for name, group in groups.items():
        for region in range(len(TIGER2020_REGIONS)):
            found = trial.of(name, region)
            # six standard errors of a mean, of an SD and of a correlation
            near = 6 * group.sds[region, 0] / np.sqrt(len(found))
            assert found.mean(axis=0) == pytest.approx(group.means[region], abs=near)
            assert found.std(axis=0) == pytest.approx(group.sds[region], abs=near)
            r = np.corrcoef(found.T)[0, 1]
            assert r == pytest.approx(group.correlation[region], abs=0.03)
    between = np.corrcoef(trial.bpnd[:40_000, :, 0].T)[np.triu_indices(4, 1)]
    assert between == pytest.approx(between.mean(), abs=0.05)


def test_samples_of_the_published_size_have_the_published_moments_on_average():
    """Of 1000 trials: mean, SD and r of 20 and 10 patients, each to four standard errors.

    What s and r of small samples are on average is known to the order of 1/n.
    """
    groups = tiger2020_groups()
    rng = np.random.default_rng(20)
    found = {name: [] for name in groups}
    for _ in range(1000):
        trial = draw_trial(rng, groups)
        for name in groups:
            x = np.stack([trial.of(name, region) for region in range(4)])
            r = [np.corrcoef(pairs.T)[0, 1] for pairs in x]
            found[name].append(np.column_stack([x.mean(axis=1), x.std(axis=1, ddof=1), r]))
    for name, group in groups.items():
        n, rho = group.n, group.correlation
        expected = np.column_stack(
            [group.means, group.sds * (1 - 1 / (4 * (n - 1))), rho * (1 - (1 - rho**2) / (2 * n))]
        )
        samples = np.array(found[name])
        error = samples.std(axis=0) / np.sqrt(len(samples))
        # what the expansions leave out is of the order of 1/n^2
        assert (np.abs(samples.mean(axis=0) - expected) < 4 * error + 0.1 / n**2).all()


def test_published_hippocampus_is_what_is_drawn():
    """Table 2: dz .506 of a rise from .46 to .54; t 2.263 of twenty patients."""
    group = tiger2020_groups()["ketamine"]
    before, after = group.means[HIP]
    spread = group.sds[HIP, 0] * np.sqrt(2 * (1 - group.correlation[HIP]))
    assert (after - before) / spread == pytest.approx(0.506, abs=0.001)
    assert (after - before) / (spread / np.sqrt(20)) == pytest.approx(2.263, abs=0.003)


def test_same_seed_same_trial_and_no_subject_is_lost():
    groups = tiger2020_groups()
    one, other = (draw_trial(np.random.default_rng(3), groups) for _ in range(2))
    assert np.array_equal(one.bpnd, other.bpnd)
    assert one.bpnd.shape == (30, 4, 2)
    assert np.bincount(one.group).tolist() == [20, 10]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n": -1}, "not negative"),
        ({"sds": np.full((4, 2), -1.0)}, "not negative"),
        ({"correlation": np.full(4, 1.1)}, "between 0 and 1"),
        ({"correlation": np.zeros(3)}, "correlation per region"),
        ({"means": np.zeros(4)}, "regions by sessions"),
    ],
)
def test_impossible_groups_are_refused(change, words):
    group = tiger2020_groups()["placebo"]
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(group, **change)


def rejected(groups, seed, trials=500):
    """Share of trials whose interaction has p below .05."""
    rng = np.random.default_rng(seed)
    tests = [group_by_time(*changes(draw_trial(rng, groups))) for _ in range(trials)]
    return np.mean([test.p < 0.05 for test in tests])


@pytest.mark.parametrize("effect", [False, True])
def test_interaction_has_its_level_and_the_power_of_the_published_trial(effect):
    """5 % without an effect; 24 % with the published one, of 20 and 10 patients.

    The standard error of a share of 500 is 1.0 and 1.9 %; two of them are allowed for.
    """
    groups = tiger2020_groups(effect=effect)
    group = groups["ketamine"]
    before, after = group.means[HIP]
    d = interaction_d(after - before, 0.0, group.sds[HIP, 0], group.correlation[HIP])
    predicted = two_sample_power(d, 20, 10) if effect else 0.05
    assert predicted == pytest.approx(0.24 if effect else 0.05, abs=0.005)
    found = rejected(groups, seed=20200601)
    assert found == pytest.approx(predicted, abs=0.038 if effect else 0.02)


def test_three_groups_and_sessions_have_the_level_of_the_f_tests():
    group = TrialGroup(
        n=8, means=np.full((1, 3), 1.2), sds=np.full((1, 3), 0.3), correlation=np.array([0.6])
    )
    groups = {
        name: dataclasses.replace(group, n=n) for name, n in zip("abc", (8, 5, 4), strict=True)
    }
    rng, p = np.random.default_rng(7), []
    for _ in range(300):
        trial = draw_trial(rng, groups)
        found = mixed_anova(trial.bpnd[:, 0], trial.group)
        p.append([found.group.p, found.time.p, found.interaction.p])
    # standard error of a share of 300: 1.3 %
    assert np.mean(np.array(p) < 0.05, axis=0) == pytest.approx(0.05, abs=0.038)
