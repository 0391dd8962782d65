"""What every test of the group statistics gives: its figures, or why there are none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

CONFIDENCE = 0.95
"""Level of every interval."""


@dataclass(frozen=True, kw_only=True)
class Assumption:
    """Check of what a test takes for granted; a small p speaks against it."""

    name: str
    statistic: float = math.nan
    p: float = math.nan


@dataclass(frozen=True, kw_only=True)
class TestResult:
    """One test; NaN where it cannot be computed, and then why.

    Intervals are of 95 %, p is two-sided and not corrected for other tests.
    """

    __test__: ClassVar = False  # not a class of tests, whatever pytest makes of the name

    name: str
    n: tuple[int, ...]
    """Subjects that were tested, by group."""
    n_missing: int = 0
    """Subjects left out because a value is missing."""
    statistic_name: str = ""
    """t, F or S; dz of a sample size."""
    statistic: float = math.nan
    df1: float = math.nan
    """Degrees of freedom; of an F those of its numerator."""
    df2: float = math.nan
    """Degrees of freedom of the denominator of an F."""
    p: float = math.nan
    estimate_name: str = ""
    """What is estimated, with its direction."""
    estimate: float = math.nan
    ci_low: float = math.nan
    ci_high: float = math.nan
    effect_name: str = ""
    """Standardised size of the effect."""
    effect: float = math.nan
    effect_low: float = math.nan
    effect_high: float = math.nan
    assumptions: tuple[Assumption, ...] = ()
    reason: str = ""
    """Why the test is missing; empty where it is there."""
