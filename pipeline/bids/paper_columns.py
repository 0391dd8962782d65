"""What the columns of a paper's tables mean."""

from __future__ import annotations

from collections.abc import Mapping


def _columns(texts: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Descriptions of columns; a text that ends with a unit in brackets has a unit."""
    told = {}
    for name, text in texts.items():
        plain, percent, _ = text.partition(" [%]")
        told[name] = {"Description": plain} | ({"Units": "%"} if percent else {})
    return told


_VARIABLE = {"variable": "Column or derived score"}
_REGION = {"region": "Region; n/a where the variable has none"}
_GROUP = {"group": "Group of the plan; two that are compared; all for all subjects together"}
_COUNTS = {"n": "Subjects with a value", "n_missing": "Subjects without one"}
_MEANS = {"mean": "Mean, unit of the variable", "sd": "Standard deviation (n - 1), same unit"}
_P = {
    "p": "Two-sided p of that test, not adjusted",
    "p_adjusted": "p adjusted for the number of tests of its family in the plan",
}
_REASON = {"reason": "Why there is no p, where a test was planned"}
_BETWEEN = {
    "groups_compared": "Groups that are tested against each other; n/a where no test was planned",
    "test_name": "Test of these groups",
    **_P,
    **_REASON,
}
_BY_SESSION = {
    **_GROUP,
    "session_id": "Session",
    **_COUNTS,
    "n_all_sessions": "Subjects with a value in every session",
    **_MEANS,
    "compared_with": "First session, which the change is against; n/a in its own row",
    "n_pairs": "Subjects with a value in both",
    "mean_difference": "Mean of this minus the first session over them, unit of the variable",
    "sd_difference": "Standard deviation of these differences (n - 1), same unit",
    "ci_low": "Lower end of the 95 % confidence interval of mean_difference",
    "ci_high": "Upper end of that interval",
    "percent_change_of_mean": "mean_difference in per cent of the mean of the first session over "
    "the same subjects [%]",
    "mean_percent_change": "Mean of the subjects' own changes in per cent of their first session "
    "[%]",
    "sd_percent_change": "Standard deviation of these (n - 1) [%]",
    "t": "t of the paired t test; n/a where none was planned",
    "df": "Its degrees of freedom",
    **_P,
    "dz": "Cohen's dz: mean_difference / sd_difference",
    "dz_low": "Lower end of the 95 % confidence interval of dz (noncentral t)",
    "dz_high": "Upper end of that interval",
    **_REASON,
}
SESSION_COLUMNS = _columns(_VARIABLE | _BY_SESSION)
BINDING_COLUMNS = _columns(_VARIABLE | _REGION | _BY_SESSION)
DEMOGRAPHY_COLUMNS = _columns(
    _VARIABLE
    | {"session_id": "Session it is of; n/a where there is one value per subject"}
    | _GROUP
    | {"kind": "continuous or binary"}
    | _COUNTS
    | _MEANS
    | {
        "median": "Median, same unit",
        "min": "Smallest value, same unit",
        "max": "Largest value, same unit",
        "count": "Subjects whose value is 1; of binary variables",
        "percent": "count in per cent of n [%]",
    }
    | _BETWEEN
)
RESPONDER_COLUMNS = _columns(
    _VARIABLE
    | {"session_id": "Session it is of; n/a where there is one value per subject"}
    | _GROUP
    | _COUNTS
    | {
        "responders": "Subjects whose value is 1",
        "percent": "responders in per cent of n [%]",
        "ci_low": "Lower end of the 95 % confidence interval of percent (Wilson) [%]",
        "ci_high": "Upper end of that interval [%]",
        "odds_ratio": "Odds of the first of the groups compared against the second",
        "odds_ratio_low": "Lower end of its 95 % confidence interval",
        "odds_ratio_high": "Upper end of that interval",
    }
    | _BETWEEN
)
CORRELATION_COLUMNS = _columns(
    {
        "x": "Column or derived score",
        "y": "The one it is correlated with",
        **_REGION,
        "session_id": "Session; n/a where both have one value per subject",
        **_GROUP,
        "n": "Subjects with both values",
        "n_missing": "Subjects without one or both",
        "method": "What was computed",
        "r": "Coefficient of correlation",
        "ci_low": "Lower end of its 95 % confidence interval",
        "ci_high": "Upper end of that interval",
        **_P,
        "family": "confirmatory or exploratory, as declared",
        **_REASON,
    }
)
INTERACTION_COLUMNS = _columns(
    {
        **_VARIABLE,
        **_REGION,
        "groups": "Groups, in order",
        "sessions": "Sessions, in order",
        "n": "Subjects with a value in all of these sessions",
        "n_by_group": "The same by group, in the order of groups",
        "difference": "Mean change of the first group minus that of the second, unit of the "
        "variable; two groups and two sessions",
        "ci_low": "Lower end of the 95 % confidence interval of difference",
        "ci_high": "Upper end of that interval",
        "F": "F of group x time, mixed analysis of variance",
        "df_effect": "Degrees of freedom of the effect",
        "df_error": "Degrees of freedom of the error",
        "p": "p of F, not adjusted",
        "p_greenhouse_geisser": "p with degrees of freedom times epsilon; more than two sessions",
        "p_adjusted": "p adjusted for the number of tests of its family in the plan; of "
        "p_greenhouse_geisser where there is one",
        "partial_eta2": "Partial eta squared",
        "partial_eta2_low": "Lower end of its 95 % confidence interval (noncentral F)",
        "partial_eta2_high": "Upper end of that interval",
        **_REASON,
    }
)
