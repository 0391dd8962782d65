"""Methods of a plan: every sentence that is true of it, and none that is not."""

import pytest

from pipeline import __version__
from pipeline.config.plan import Plan
from pipeline.statistics.methods import methods_of

KINDS = {
    "paired_t": ({}, ("paired t", "dz"), "t"),
    "student": ({"kind": "two_sample_t", "of": "age", "equal_var": True}, ("Student",), "t"),
    "two_sample_t": ({"of": "age"}, ("Welch",), "Satterthwaite"),
    "interaction": ({}, ("2 x 2", "Huck", "Main effects"), "t"),
    "correlation": ({"x": "age", "y": "relief"}, ("Pearson", "either variable"), "Fisher's z"),
    "spearman": (
        {"kind": "correlation", "x": "age", "y": "relief", "method": "spearman"},
        ("Spearman", "Bonett"), "",
    ),
    "fisher": ({"of": "female"}, ("Fisher's exact", "odds ratio"), "all tables"),
    "mixed_model": ({}, ("mixed model", "adjusted for age and relief"), ""),
    "permutation": ({"design": "interaction", "seed": 1}, ("exchanging", "Phipson"), ""),
    "turned": (
        {"kind": "permutation", "design": "paired", "seed": 1, "by_group": True},
        ("turning their signs", "Within each group, not over all subjects together: 'turned'"), "",
    ),
    "sample_size": ({"group": "drug"}, ("Sample sizes", "taken as zero"), ""),
}  # fmt: skip
"""Test to its options, its words, and a word of its power."""

WORDS = (
    "paired t test", "Student", "Welch's two-sided", "2 x 2", "Main effects", "split-plot",
    "Mauchly", "Pearson", "Spearman", "Fisher's exact", "odds ratio", "mixed model",
    "exchanging the groups",
    "turning their signs", "Sample sizes are", "Within each group",
)  # fmt: skip


def plan_of(*names, **more):
    tests = []
    for name in names:
        options, _, _ = KINDS[name]
        confirmatory = {} if name == "sample_size" else {"confirmatory": True}
        tests.append({"kind": name, "title": name} | confirmatory | options)
    model = "mixed_model" in names
    settings = {
        "outcome": "BPND", "sessions": ("pre", "post"), "groups": ("drug", "none"),
        "subject_columns": ("age", "relief", "female"), "tests": tests,
        "covariates": ("age", "relief") if model else (),
    }  # fmt: skip
    if not any(name not in ("paired_t", "correlation", "spearman") for name in names):
        del settings["groups"]
    return Plan.model_validate(settings | more).value


@pytest.mark.parametrize("name", KINDS)
def test_a_plan_of_one_test_speaks_of_that_alone(name):
    told = methods_of(plan_of(name))
    text = " ".join(told)
    _, words, power = KINDS[name]
    assert all(word in text for word in words)
    assert ("no evidence of its own" in text) == bool(power)
    assert power in text
    rest = text.split("Values whose modified z")[0]
    for word in WORDS:
        own = any(word in mine or mine in word for mine in words)
        assert own or word not in rest, word
    assert len(told) == len(set(told))


@pytest.mark.parametrize("rule", ["none", "holm", "fdr"])
def test_one_rule_of_multiplicity_is_told(rule):
    text = " ".join(methods_of(plan_of("paired_t", multiplicity=rule, alpha=0.01)))
    assert ("not corrected" in text) == (rule == "none")
    assert ("Holm" in text) == (rule == "holm")
    assert ("Benjamini" in text) == (rule == "fdr")
    assert "held against 0.01" in text
    assert "corrected apart" not in text


def test_two_families_are_corrected_apart():
    tests = [
        {"kind": "paired_t", "title": word, "confirmatory": word == "yes"}
        for word in ("yes", "no")
    ]
    holm = plan_of("paired_t", tests=tests, multiplicity="holm")
    assert any("corrected apart" in sentence for sentence in methods_of(holm))
    none = plan_of("paired_t", tests=tests)
    assert not any("corrected apart" in sentence for sentence in methods_of(none))


def test_more_sessions_or_groups_are_another_analysis():
    three = plan_of("interaction", sessions=("pre", "post", "late"))
    text = " ".join(methods_of(three))
    assert "split-plot" in text
    assert "Mauchly" in text
    assert "2 x 2" not in text
    assert "Power" not in text
    groups = " ".join(methods_of(plan_of("interaction", groups=("drug", "none", "other"))))
    assert "split-plot" in groups
    assert "Mauchly" not in groups


def test_flags_software_and_power_of_the_plan():
    kept = " ".join(methods_of(plan_of("paired_t", power=0.9)))
    assert "flagged were kept" in kept
    assert f"petbind {__version__}" in kept
    assert "power of 0.9" in kept
    gone = " ".join(methods_of(plan_of("paired_t", flagged="leave_out")))
    assert "flagged were left out" in gone


def test_a_sample_size_alone_corrects_nothing():
    text = " ".join(methods_of(plan_of("sample_size")))
    assert "correct" not in text
    assert "The two-sided level was 0.05" in text
