"""Results of planned tests as rows of one table, with the JSON that explains it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.statistics.mixed_anova import AnovaEffect, Sphericity
from pipeline.statistics.multiplicity import Adjustment, adjusted_p
from pipeline.statistics.observed_power import ObservedPower
from pipeline.statistics.result import TestResult

FAMILIES = ("confirmatory", "exploratory")
"""Each is corrected for multiplicity by itself."""

_CHECKS = {
    "Shapiro-Wilk of the second variable": ("shapiro_w_with", "shapiro_p_with"),
    "Shapiro-Wilk": ("shapiro_w", "shapiro_p"),
    "Brown-Forsythe": ("brown_forsythe_f", "brown_forsythe_p"),
    "smallest expected count": ("smallest_expected",),
    "tied pairs": ("tied",),
}
"""First words of a check to its columns; the first that fits is taken."""


@dataclass(frozen=True, eq=False)
class Found:
    """A result with what it was made of."""

    result: TestResult
    sessions: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    sphericity: Sphericity | None = None
    power: ObservedPower | None = None
    planned: bool = True
    """Whether the plan asks for it; it only describes otherwise."""


def cells_of(found: Found) -> dict[str, Any]:
    """Cells of a result, in the order of `RESULT_COLUMNS`."""
    result = found.result
    cells: dict[str, Any] = {
        "sessions": " ".join(found.sessions) or None,
        "groups": " ".join(found.groups) or None,
        "n": sum(result.n),
        "n_by_group": " ".join(str(n) for n in result.n) if len(result.n) > 1 else None,
        "n_missing": result.n_missing,
        "test_name": result.name,
        "statistic_name": result.statistic_name or None,
    }
    for key in ("statistic", "df1", "df2", "p"):
        cells[key] = getattr(result, key)
    anova = result if isinstance(result, AnovaEffect) else None
    cells["p_greenhouse_geisser"] = anova.p_greenhouse_geisser if anova else math.nan
    cells["p_adjusted"], cells["below_alpha"] = math.nan, None
    cells["estimate_name"] = result.estimate_name or None
    for key in ("estimate", "ci_low", "ci_high"):
        cells[key] = getattr(result, key)
    cells["effect_name"] = result.effect_name or None
    for key in ("effect", "effect_low", "effect_high"):
        cells[key] = getattr(result, key)
    power = found.power or ObservedPower()
    cells |= {"power": power.power, "n_for_power": power.n}
    return cells | _checks(found) | {"reason": result.reason or None}


def _checks(found: Found) -> dict[str, float]:
    cells = {key: math.nan for keys in _CHECKS.values() for key in keys}
    for check in found.result.assumptions:
        keys = next(keys for name, keys in _CHECKS.items() if check.name.startswith(name))
        cells |= dict(zip(keys, (check.statistic, check.p), strict=False))
    sphericity = found.sphericity or Sphericity()
    return cells | {
        "mauchly_w": sphericity.mauchly_w,
        "mauchly_p": sphericity.mauchly_p,
        "epsilon_greenhouse_geisser": sphericity.greenhouse_geisser,
    }


def with_adjusted(table: pd.DataFrame, multiplicity: Adjustment, alpha: float) -> pd.DataFrame:
    """Adjusted p within each family; of the corrected p where sphericity is at stake."""
    p = table["p_greenhouse_geisser"].fillna(table["p"])
    for family in FAMILIES:
        rows = table["family"] == family
        table.loc[rows, "p_adjusted"] = adjusted_p(p[rows].to_numpy(float), multiplicity)
    known = table["p_adjusted"].notna()
    below = (table["p_adjusted"] < alpha).map({True: "yes", False: "no"})
    table["below_alpha"] = below.where(known)
    return table


def explained(texts: dict[str, str]) -> dict[str, dict[str, str]]:
    """Columns with their descriptions, as a JSON has them."""
    return {name: {"Description": text} for name, text in texts.items()}


RESULT_COLUMNS = explained(
    {
        "test": "Number of the test in the plan",
        "title": "Its title in the plan",
        "kind": "Kind of test",
        "family": "confirmatory or exploratory, as declared; descriptive for what the plan does "
        "not test: main effects beside an interaction, other terms of a mixed model, sample "
        "sizes; these are outside the correction for multiplicity",
        "variable": "Column or derived score that is tested; of a correlation the first",
        "with_variable": "Second variable of a correlation",
        "region": "Region; n/a where the variable has none",
        "sessions": "Sessions that are looked at, in order",
        "groups": "Groups, in order",
        "n": "Subjects that were tested",
        "n_by_group": "The same by group, in the order of groups",
        "n_missing": "Subjects left out because a value is missing",
        "test_name": "What was computed",
        "statistic_name": "Name of the statistic",
        "statistic": "Value of the statistic; of a sample size dz",
        "df1": "Degrees of freedom; of an F those of its numerator",
        "df2": "Degrees of freedom of the denominator of an F",
        "p": "Two-sided p, not adjusted",
        "p_greenhouse_geisser": "p with degrees of freedom times epsilon; more than two sessions",
        "p_adjusted": "p adjusted within the family; of p_greenhouse_geisser where there is one; "
        "n/a where descriptive",
        "below_alpha": "Whether p_adjusted is below the alpha of the plan",
        "estimate_name": "What is estimated, with its direction",
        "estimate": "Estimate, unit of the variable or none; of a sample size subjects",
        "ci_low": "Lower end of the 95 % confidence interval of the estimate",
        "ci_high": "Upper end of that interval; inf where no number is large enough",
        "effect_name": "Name of the standardised effect",
        "effect": "Standardised effect",
        "effect_low": "Lower end of its 95 % confidence interval",
        "effect_high": "Upper end of that interval",
        "power": "Power for the observed effect at the alpha of the plan, without correction for "
        "multiplicity: a function of p and n, no evidence of its own; n/a where it is not defined",
        "n_for_power": "Subjects in all, at the present ratio of the groups, for the power of the "
        "plan if the true effect were the observed one; not rounded but for Fisher's test",
        "shapiro_w": "Shapiro-Wilk W of differences, residuals, or the first variable",
        "shapiro_p": "p of W; small where they are not normal",
        "shapiro_w_with": "Shapiro-Wilk W of the second variable of a correlation",
        "shapiro_p_with": "p of that W",
        "brown_forsythe_f": "Brown-Forsythe F of the variances",
        "brown_forsythe_p": "p of that F; small where the variances differ",
        "smallest_expected": "Smallest expected count of Fisher's test",
        "tied": "Pairs of Spearman's correlation that share a value with another; p is then of t",
        "mauchly_w": "Mauchly's W; sphericity of more than two sessions",
        "mauchly_p": "p of W; small where sphericity does not hold",
        "epsilon_greenhouse_geisser": "Greenhouse and Geisser's epsilon; 1 where sphericity holds",
        "reason": "Why there is no test",
    }
)
