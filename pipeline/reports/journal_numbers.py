"""Numbers as journals print them: a true minus, few decimals, no nought before the point."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import pandas as pd

MISSING = "n/a"
SPACE = "\N{NO-BREAK SPACE}"
"""Keeps a number and what belongs to it on one line."""


def shown_number(value: float, decimals: int = 2) -> str:
    """A number, rounded; n/a where it is missing.

    Examples
    --------
    >>> shown_number(-0.5), shown_number(-0.001), shown_number(float("inf"))
    ('−0.50', '0.00', '∞')
    """
    if pd.isna(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return format(value, f"z.{decimals}f").replace("-", "−")


def shown_p(p: float) -> str:
    """A p value.

    Examples
    --------
    >>> shown_p(0.0358), shown_p(1.0), shown_p(0.0004).split()
    ('.036', '1.000', ['<', '.001'])
    """
    return f"<{SPACE}.001" if p < 0.001 else shown_share(p)


def shown_share(value: float) -> str:
    """A p, correlation or share of variance, none of which is larger than 1.

    Examples
    --------
    >>> shown_share(-0.4264), shown_share(1.0)
    ('−.426', '1.000')
    """
    text = shown_number(value, 3)
    return text.replace("0.", ".", 1) if text.lstrip("−").startswith("0.") else text


def shown_mean(mean: float, sd: float, decimals: int) -> str:
    """Mean (SD).

    Examples
    --------
    >>> shown_mean(1.2213, 0.2657, 2).split()
    ['1.22', '(0.27)']
    """
    if pd.isna(mean):
        return MISSING
    return f"{shown_number(mean, decimals)}{SPACE}({shown_number(sd, decimals)})"


def shown_percent(count: float, percent: float) -> str:
    """Number and whole per cent.

    Examples
    --------
    >>> shown_percent(15, 75.0).split()
    ['15', '(75', '%)']
    """
    if pd.isna(percent):
        return MISSING
    return f"{shown_number(count, 0)}{SPACE}({shown_number(percent, 0)}{SPACE}%)"


def shown_interval(low: float, high: float, show: Callable[[float], str]) -> str:
    """Both ends in brackets, to follow an estimate; nothing where they are missing."""
    return "" if pd.isna(low) or pd.isna(high) else f" [{show(low)},{SPACE}{show(high)}]"


def shown_degrees(*df: float) -> str:
    """Degrees of freedom in brackets; those of Welch's t are no whole numbers.

    Examples
    --------
    >>> shown_degrees(1.0, 28.0).split(), shown_degrees(17.34)
    (['(1,', '28)'], '(17.3)')
    """
    return f"({f',{SPACE}'.join(shown_number(n, 0 if n % 1 == 0 else 1) for n in df)})"


def decimals_of(means: Iterable[float]) -> int:
    """Decimals that show quantities of this size to about three digits.

    Examples
    --------
    >>> decimals_of([0.46, 1.98]), decimals_of([408.0]), decimals_of([0.031])
    (2, 1, 3)
    """
    size = max((abs(mean) for mean in means if not pd.isna(mean)), default=1.0)
    if size >= 1000:
        return 0
    if size >= 10:
        return 1
    return 2 if size >= 0.1 or size == 0 else 3
