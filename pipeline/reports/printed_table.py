"""A table as it is printed: heads, cells with letters for their notes, and sentences below."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd
from markupsafe import Markup

from pipeline.reports.journal_numbers import MISSING, SPACE, shown_p
from pipeline.reports.page import SYMBOL_HTML

CI = f"95{SPACE}%{SPACE}CI"
P, N, T, F = (Markup("<i>{}</i>").format(letter) for letter in "pntF")

Row = Mapping[str, Any]
Kind = Literal["text", "number"]


@dataclass(frozen=True, kw_only=True)
class PaperWords:
    """What the tables say beside their numbers."""

    labels: Mapping[str, str] = field(default_factory=dict)
    """Variable to its name with unit; others are shown by their own name."""
    adjustment: str = ""
    """Sentence on how p was adjusted for the number of tests."""

    def of(self, variable: str) -> str:
        """Name of a variable; may be markup."""
        return self.labels.get(variable, SYMBOL_HTML.get(variable, variable))


@dataclass(frozen=True)
class Head:
    """Head of one column, or of several; may hold markup."""

    text: str
    kind: Literal["text", "number", "over"] = "number"
    """`over` stands over several columns."""
    span: int = 1
    down: int = 1
    """Rows of heads that it takes."""


@dataclass(frozen=True)
class PaperCell:
    """A cell, with the letter of its note."""

    text: str
    kind: Kind = "number"
    mark: str = ""


@dataclass(frozen=True)
class Printed:
    """A table; caption and notes may hold markup."""

    caption: str
    heads: Sequence[Sequence[Head]]
    rows: Sequence[Sequence[PaperCell]]
    notes: Sequence[str]


@dataclass(frozen=True)
class Marks:
    """Notes of single cells, in the order they are met."""

    letters: dict[str, str] = field(default_factory=dict)

    def of(self, note: Any) -> str:
        """Letter of a note, the same for the same note; none where there is no note."""
        if pd.isna(note) or not note:
            return ""
        number = len(self.letters)
        letter = chr(ord("a") + number % 26) * (1 + number // 26)
        return self.letters.setdefault(str(note), letter)


@dataclass(frozen=True)
class Column:
    """A column of a table whose rows are those of a frame."""

    head: str
    cell: Callable[[Row], PaperCell]
    kind: Kind = "number"


def printed(
    caption: str,
    heads: Sequence[Sequence[Head]],
    rows: Sequence[Sequence[PaperCell]],
    notes: Sequence[str],
    marks: Marks,
) -> Printed:
    """A table whose notes end with those of single cells, and with what n/a means."""
    below = [
        *notes,
        *(
            Markup('<sup style="font-size:7pt;line-height:0">{}</sup>{}{}.').format(
                letter, SPACE, note
            )
            for note, letter in marks.letters.items()
        ),
    ]
    if any(cell.text == MISSING for row in rows for cell in row):
        below.append(f"{MISSING}: not available, or not tested.")
    return Printed(caption, heads, rows, below)


def stacked(
    caption: str,
    frame: pd.DataFrame,
    columns: Sequence[Column],
    notes: Sequence[str],
    marks: Marks,
) -> Printed:
    """A table with a row for each of a frame; a first cell like the one above it is left empty."""
    rows: list[list[PaperCell]] = []
    above: PaperCell | None = None
    for row in frame.to_dict("records"):
        cells = [column.cell(row) for column in columns]
        first = cells[0]
        if first == above and first.kind == "text":
            cells[0] = PaperCell("", "text")
        above = first
        rows.append(cells)
    heads = [Head(column.head, column.kind) for column in columns]
    return printed(caption, [heads], rows, notes, marks)


def text_column(head: str, name: str) -> Column:
    """Words of a frame; nothing where they are missing."""

    def cell(row: Row) -> PaperCell:
        return PaperCell("" if pd.isna(row[name]) else str(row[name]), "text")

    return Column(head, cell, "text")


def variable_column(head: str, name: str, words: PaperWords) -> Column:
    """Variables of a frame, by their names."""
    return Column(head, lambda row: PaperCell(words.of(row[name]), "text"), "text")


def varying(frame: pd.DataFrame, columns: Mapping[str, str]) -> tuple[list[Column], list[str]]:
    """Columns of words that differ between rows; of the others, sentences of what they hold.

    Parameters
    ----------
    frame : data frame
        Rows of a table.
    columns : mapping
        Column of the frame to its head.
    """
    shown, told = [], []
    for name, head in columns.items():
        if frame[name].nunique(dropna=False) > 1:
            shown.append(text_column(head, name))
        elif frame[name].notna().any():
            told.append(f"{head}: {frame[name].iloc[0]}.")
    return shown, told


def p_columns(frame: pd.DataFrame, marks: Marks, p: str = "p") -> list[Column]:
    """p with the reason where there is none; adjusted p where it differs."""

    def cell(row: Row) -> PaperCell:
        return PaperCell(shown_p(row[p]), mark=marks.of(row["reason"]))

    columns = [Column(P, cell)]
    if is_adjusted(frame, p):
        adjusted = Column(
            Markup("Adjusted {}").format(P), lambda row: PaperCell(shown_p(row["p_adjusted"]))
        )
        columns.append(adjusted)
    return columns


def is_adjusted(frame: pd.DataFrame, p: str = "p") -> bool:
    """Whether an adjusted p says something that p does not."""
    return bool(((frame["p_adjusted"] - frame[p]).abs() > 1e-12).any())


def p_notes(frame: pd.DataFrame, words: PaperWords, p: str = "p") -> list[str]:
    """What p and adjusted p mean."""
    notes: list[str] = [
        Markup("{} is two-sided and not adjusted for the number of tests.").format(P)
    ]
    if is_adjusted(frame, p):
        how = words.adjustment or "for the number of tests of its family in the plan."
        notes.append(Markup("Adjusted {}: {}").format(P, how))
    return notes
