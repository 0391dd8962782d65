"""Units of activity, of its concentration, and of mass, as people spell them."""

from __future__ import annotations

import re

_BQ_PER = {
    "bq": {"": 1.0, "k": 1e3, "kilo": 1e3, "m": 1e6, "mega": 1e6, "g": 1e9, "giga": 1e9},
    "ci": {
        **{"": 3.7e10, "m": 3.7e7, "milli": 3.7e7, "u": 3.7e4, "\u03bc": 3.7e4, "micro": 3.7e4},
        **{"n": 37.0, "nano": 37.0, "p": 0.037, "pico": 0.037},
    },
}
"""Unit and its prefix, without case: nobody gives a scan in millibecquerel or megacurie."""

_SMALL = {
    **{"": 1.0, "k": 1e3, "kilo": 1e3, "m": 1e-3, "milli": 1e-3, "u": 1e-6, "\u03bc": 1e-6},
    **{"mc": 1e-6, "micro": 1e-6, "n": 1e-9, "nano": 1e-9, "p": 1e-12, "pico": 1e-12},
    **{"f": 1e-15, "femto": 1e-15},
}
"""Prefix of a mass or an amount, without case: nobody injects a megagram."""

_ACTIVITY = re.compile(r"(?P<prefix>[a-z\u03bc]*?)(?P<unit>bq|becquerels?|ci|curies?)")
_MASS = re.compile(r"(?P<prefix>[a-z\u03bc]*?)(?P<unit>g|grams?|mol|moles?)")
_PER_MASS = re.compile(r"(/|per)?(?P<of>[a-z\u03bc]+?)(-1)?")
_PER_ML = re.compile(r"(/|per)?(ml|cc|ccm|cm3|milli?lit(er|re)s?)(-1)?")


def activity_factor(units: str) -> float | None:
    """Factor from a unit of activity to Bq, None if it is no such unit.

    Examples
    --------
    >>> activity_factor("MBq"), activity_factor("mCi")
    (1000000.0, 37000000.0)
    """
    match = _ACTIVITY.fullmatch(_squeeze(units))
    return None if match is None else _bq(match)


def concentration_factor(units: str) -> float | None:
    """Factor from a unit of activity concentration to Bq/mL, None if it is no such unit.

    Examples
    --------
    >>> [concentration_factor(units) for units in ("kBq/cc", "nCi/mL", "BQML")]
    [1000.0, 37.0, 1.0]
    >>> concentration_factor("SUV") is None
    True
    """
    squeezed = _squeeze(units)
    match = _ACTIVITY.match(squeezed)
    if match is None or not _PER_ML.fullmatch(squeezed[match.end() :]):
        return None
    return _bq(match)


def mass_factor(units: str) -> tuple[float, str] | None:
    """Factor from a unit of mass or of amount to g or mol, and which; None if it is no such unit.

    Examples
    --------
    >>> mass_factor("ug"), mass_factor("nmol")
    ((1e-06, 'g'), (1e-09, 'mol'))
    """
    match = _MASS.fullmatch(_squeeze(units))
    factor = None if match is None else _SMALL.get(match["prefix"])
    if match is None or factor is None:
        return None
    return factor, "mol" if match["unit"].startswith("mol") else "g"


def activity_per_mass_factor(units: str) -> tuple[float, str] | None:
    """Factor from activity per mass or amount to Bq/g or Bq/mol, and which; None if it is neither.

    Examples
    --------
    >>> activity_per_mass_factor("GBq/umol"), activity_per_mass_factor("MBq/ug")
    ((1000000000000000.0, 'mol'), (1000000000000.0, 'g'))
    """
    squeezed = _squeeze(units)
    match = _ACTIVITY.match(squeezed)
    per = None if match is None else _PER_MASS.fullmatch(squeezed[match.end() :])
    activity = None if match is None else _bq(match)
    mass = None if per is None else mass_factor(per["of"])
    if activity is None or mass is None:
        return None
    return activity / mass[0], mass[1]


def _squeeze(units: str) -> str:
    # casefold makes one of the two characters that look like micro
    return re.sub(r"[\s\[\]()*.\u00b7^_]", "", units.casefold()).replace("\u00b3", "3")


def _bq(match: re.Match[str]) -> float | None:
    unit = "ci" if match["unit"].startswith("c") else "bq"
    return _BQ_PER[unit].get(match["prefix"])
