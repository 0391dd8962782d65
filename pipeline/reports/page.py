"""A page: sections of facts, figures, tables and text, rendered into one self-contained file."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

SYMBOL_HTML = {
    "BPND": Markup("<i>BP</i><sub>ND</sub>"),
    "R1": Markup("<i>R</i><sub>1</sub>"),
    "k2": Markup("<i>k</i><sub>2</sub>"),
    "k2a": Markup("<i>k</i><sub>2a</sub>"),
    "k2prime": Markup("<i>k</i><sub>2</sub>′"),  # noqa: RUF001 (a prime is what it is)
    "DVR": Markup("DVR"),
    "SUVR": Markup("SUVR"),
    "SUV": Markup("SUV"),
    "tstar": Markup("<i>t</i>*"),
}
"""Parameters as pages write them."""

_UNIT_ENDINGS = {
    "mm3": "mm³",
    "ml": "mL",
    "mm": "mm",
    "mbq": "MBq",
    "kg": "kg",
    "min": "min",
    "s": "s",
    "deg": "°",
    "rad": "rad",
    "bqml": "Bq/mL",
    "percent": "%",
    "gb": "GB",
}
_ACRONYMS = {
    **{word.lower(): word for word in ("GM", "WM", "CSF", "PET", "MNI", "BPND", "MI", "NMI")},
    "t1w": "T1w",
    "fd": "framewise displacement",
}
_ABSOLUTE_PATH = re.compile(r"(?<![\w./])(?:[A-Za-z]:)?/(?:[^\s/]+/)+([^\s/]*)")
_LONGEST_LIST = 12


@dataclass(frozen=True)
class Shown:
    """A figure on a page."""

    source: str
    """Data URI."""
    caption: str
    key: Sequence[tuple[str, str]] = ()
    """Colours and what they mean."""
    width_percent: float = 100
    """Of the page."""


@dataclass(frozen=True)
class Cell:
    """A cell of a table."""

    text: str
    kind: Literal["text", "number", "strong", "flag", "missing"] = "text"
    bar: float | None = None
    """Length of a bar behind the text, 0 to 1."""


@dataclass(frozen=True)
class Table:
    """A table on a page; the heads may hold markup."""

    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""


@dataclass(frozen=True)
class Note:
    """Something found, with how grave it is."""

    severity: str
    text: str
    where: str = ""


@dataclass(frozen=True)
class Card:
    """A figure that should be seen first."""

    title: str
    value: str
    detail: str = ""
    flag: str = ""


@dataclass(frozen=True)
class Section:
    """One part of a page; empty parts are left out."""

    anchor: str
    title: str
    short_title: str = ""
    """For the list of sections, where it differs."""
    text: Sequence[str] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    figures: Sequence[Shown] = ()
    tables: Sequence[Table] = ()
    notes: Sequence[Note] = ()


@dataclass(frozen=True)
class Page:
    """Everything a page shows."""

    title: str
    kicker: str
    facts: Mapping[str, str]
    cards: Sequence[Card]
    cards_title: str
    sections: Sequence[Section]
    version: str


def render_page(page: Page) -> str:
    """The page as HTML that loads nothing from anywhere; all text is escaped."""
    environment = Environment(
        loader=PackageLoader("pipeline.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(page=page)


def public(text: str) -> str:
    """Text without the folders of this machine: of an absolute path only its end stays.

    Examples
    --------
    >>> public("/data/study/sub-01_pet.json: no key, see https://bids.neuroimaging.io/a/b")
    'sub-01_pet.json: no key, see https://bids.neuroimaging.io/a/b'
    """
    return _ABSOLUTE_PATH.sub(r"\1", text)


def facts(values: Mapping[str, Any], names: Mapping[str, str] | None = None) -> dict[str, str]:
    """Names and values as text; nested mappings become ``outer: inner``, long lists their size.

    Parameters
    ----------
    values : mapping
        What to show, in order.
    names : mapping, optional
        Key to name; other keys are made readable, their unit in brackets.
    """
    known = names or {}
    return {
        known.get(key, ": ".join(map(readable_key, key.split(".")))): public(shown_value(value))
        for key, value in flat(values)
    }


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Keys joined by dots, and values that are no mappings."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def readable_key(key: str) -> str:
    """A key as words, with the unit that ends it in brackets.

    Examples
    --------
    >>> readable_key("brain_volume_ml"), readable_key("ReferenceRegion")
    ('Brain volume (mL)', 'Reference region')
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z][a-z0-9])", " ", key).replace("_", " ")
    words = [_ACRONYMS.get(word.lower(), word.lower()) for word in spaced.split()]
    if len(words) > 1 and words[-1] in _UNIT_ENDINGS:
        words[-1] = f"({_UNIT_ENDINGS[words[-1]]})"
    text = " ".join(words)
    return text[:1].upper() + text[1:]


def shown_value(value: Any) -> str:
    """A value as people read it: four digits, yes and no, n/a for what is missing.

    Examples
    --------
    >>> shown_value(0.123456), shown_value(True), shown_value(float("nan")), shown_value([1, 2])
    ('0.1235', 'yes', 'n/a', '1, 2')
    """
    if value is None or value == "":
        return "n/a"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else "n/a"
    if isinstance(value, (list, tuple)):
        if len(value) > _LONGEST_LIST:
            return f"{len(value)} values"
        return ", ".join(shown_value(item) for item in value) or "none"
    return str(value)


def number(value: float, pattern: str = ".2f") -> Cell:
    """A number in a table; n/a where it is missing."""
    if not math.isfinite(value):
        return Cell("n/a", "missing")
    return Cell(format(value, pattern).replace("-", "−"), "number")
