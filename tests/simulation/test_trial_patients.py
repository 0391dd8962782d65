"""Patients of a trial without images: scores, their relation to binding, whole points."""

import numpy as np
import pytest
from scipy import stats

from pipeline.simulation.trial import TIGER2020_REGIONS, draw_trial, tiger2020_groups
from pipeline.simulation.trial_patients import (
    NOT_SHORT,
    draw_study,
    relative_fall,
    tiger2020_moods,
    with_sizes,
)

VST = TIGER2020_REGIONS.index("VST")
SIZES = {"ketamine": 4000, "placebo": 2000}


class Scores:
    """MADRS of a study, in groups of its trial."""

    def __init__(self, study):
        self.trial = study.trial
        items = [[session.madrs for session in patient.sessions] for patient in study.patients]
        self.items = np.array(items)

    def of(self, group, *, short=False):
        """Sums (n, 2) before and after."""
        items = self.items[self.trial.group == self.trial.groups.index(group)]
        return (np.delete(items, NOT_SHORT, axis=2) if short else items).sum(axis=2)


@pytest.fixture(scope="module")
def large():
    """The published trial with 200 times its patients."""
    return Scores(draw_study(7, with_sizes(tiger2020_groups(), SIZES), tiger2020_moods()))


def test_items_are_whole_numbers_of_zero_to_six(large):
    assert large.items.shape == (6000, 2, 10)
    assert large.items.dtype.kind == "i"
    assert large.items.min() == 0
    assert large.items.max() == 6


@pytest.mark.parametrize(("group", "mean"), [("ketamine", 526 / 20), ("placebo", 308 / 10)])
def test_madrs_before_treatment_has_the_published_mean(large, group, mean):
    found = large.of(group)[:, 0]
    # four standard errors, and what whole points and the least total shift
    assert found.mean() == pytest.approx(mean, abs=4 * found.std() / np.sqrt(found.size) + 0.03)


def test_spreads_before_treatment_give_the_published_p():
    """Of 20 and 10 patients with those means, .0465 by Welch, and .067 by Student."""
    moods = tiger2020_moods()
    summary = [(m.mean, m.sd, n) for m, n in zip(moods.values(), (20, 10), strict=True)]
    arguments = [x for group in summary for x in group]
    welch = stats.ttest_ind_from_stats(*arguments, equal_var=False)
    student = stats.ttest_ind_from_stats(*arguments)
    assert welch.pvalue == pytest.approx(0.04646, abs=2e-4)
    assert student.pvalue == pytest.approx(0.067, abs=3e-4)


@pytest.mark.parametrize(
    ("group", "quarter", "half"), [("ketamine", 0.75, 0.35), ("placebo", 0.30, 0.20)]
)
def test_shares_of_responders_are_the_published_ones(large, group, quarter, half):
    """Within four standard errors, and the two hundredths that rounding to points adds."""
    before, after = large.of(group, short=True).T
    for share, threshold in ((quarter, 0.25), (half, 0.5)):
        found = np.mean(before - after >= threshold * before)
        error = np.sqrt(share * (1 - share) / before.size)
        assert -4 * error < found - share < 4 * error + 0.025


def test_deviates_of_the_shares_fall_by_a_quarter_and_a_half():
    shares = (0.3, 0.2)
    deviates = stats.norm.isf(shares)
    assert relative_fall(deviates, shares) == pytest.approx([0.25, 0.5])
    every = relative_fall(np.linspace(-6, 6, 1001), shares)
    assert (np.diff(every) >= 0).all()
    assert every[-1] == 1


def test_binding_goes_with_madrs_before_treatment_in_both_groups(large):
    """r -.426 over all patients; its standard error is .011."""
    binding = np.concatenate([large.trial.of(group, VST)[:, 0] for group in SIZES])
    madrs = np.concatenate([large.of(group)[:, 0] for group in SIZES])
    assert np.corrcoef(binding, madrs)[0, 1] == pytest.approx(-0.426, abs=0.04)


def test_low_binding_goes_with_a_large_fall_under_ketamine_alone(large):
    """r -.644 with before minus after; standard errors are .009 and .022.

    Under placebo the fall still goes with how much there is to fall.
    """
    r = []
    for group in SIZES:
        before, after = large.of(group, short=True).T
        r.append(np.corrcoef(large.trial.of(group, VST)[:, 0], before - after)[0, 1])
    assert r[0] == pytest.approx(-0.644, abs=0.035)
    assert -0.15 < r[1] < 0.05


def test_small_trials_scatter_about_the_published_correlations():
    """Means of r over 150 trials of 20 and 10; the small samples pull them to zero by 1 %."""
    r_before, r_fall = [], []
    for seed in range(150):
        scores = Scores(draw_study(seed, tiger2020_groups(), tiger2020_moods()))
        binding = scores.trial.bpnd[:, VST, 0]
        r_before.append(np.corrcoef(binding, scores.items[:, 0].sum(axis=1))[0, 1])
        before, after = scores.of("ketamine", short=True).T
        r_fall.append(np.corrcoef(binding[:20], before - after)[0, 1])
    for found, r in ((r_before, -0.426), (r_fall, -0.644)):
        error = np.std(found) / np.sqrt(len(found))
        assert np.mean(found) == pytest.approx(0.985 * r, abs=4 * error)


def test_binding_is_that_of_a_trial_of_the_same_seed():
    """What else is drawn of patients does not touch it."""
    groups, moods = tiger2020_groups(), tiger2020_moods()
    study = draw_study(5, groups, moods)
    (stream, *_) = np.random.SeedSequence(5).spawn(3)
    assert np.array_equal(study.trial.bpnd, draw_trial(np.random.default_rng(stream), groups).bpnd)
    for patient, bpnd in zip(study.patients, study.trial.bpnd, strict=True):
        for visit, session in enumerate(patient.sessions):
            assert np.array_equal(session.kinetics.bpnd, bpnd[:, visit])


def test_without_an_effect_only_binding_differs():
    """Scores are the same patient by patient: treatment may help without the receptor."""
    with_effect, without = (
        draw_study(2, tiger2020_groups(effect=effect), tiger2020_moods())
        for effect in (True, False)
    )
    change = with_effect.trial.bpnd - without.trial.bpnd
    assert change[:20, :, 1] == pytest.approx(np.tile([0.12, 0.04, 0.08, 0.11], (20, 1)))
    assert not change[:, :, 0].any()
    assert not change[20:].any()
    assert np.array_equal(Scores(with_effect).items, Scores(without).items)


def test_patients_are_people():
    study = draw_study(0, tiger2020_groups(), tiger2020_moods())
    assert [patient.label for patient in study.patients] == [f"{n:02d}" for n in range(1, 31)]
    for patient in study.patients:
        assert 20 <= patient.age_years <= 65
        assert patient.sex in {"F", "M"}
        assert 40 < patient.weight_kg < 160
        for session in patient.sessions:
            assert session.kinetics.k2prime_per_min == pytest.approx(0.14, rel=0.35)
            assert 1 <= session.cgi_s <= 7


def test_impossible_studies_are_refused():
    groups, moods = tiger2020_groups(), tiger2020_moods()
    with pytest.raises(ValueError, match="seed"):
        draw_study(-1, groups, moods)
    with pytest.raises(ValueError, match="at least one patient"):
        draw_study(0, with_sizes(groups, {"ketamine": 0, "placebo": 0}), moods)
    with pytest.raises(ValueError, match="not negative"):
        with_sizes(groups, {"ketamine": -1})


def test_a_group_may_be_empty():
    groups = with_sizes(tiger2020_groups(), {"placebo": 0})
    study = draw_study(0, groups, tiger2020_moods())
    assert {patient.group for patient in study.patients} == {"ketamine"}
