"""Columns of a raw data set about subjects and sessions: participants, sessions, phenotype."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pandas as pd

from pipeline.bids.entities import parse_name
from pipeline.core.errors import DataError
from pipeline.io.tables import read_table

_KEYS = ("participant_id", "session_id")
_PARTICIPANTS, _SESSIONS = "participants.tsv", "sub-*_sessions.tsv"
_LINE = "line of the file"
_PREFIX = dict(zip(_KEYS, ("sub-", "ses-"), strict=True))


@dataclass(frozen=True)
class ClinicalFiles:
    """Tables of a raw data set that say something of subjects and sessions."""

    participants: Path | None
    sessions: tuple[Path, ...]
    """One per subject, sorted."""
    phenotype: tuple[Path, ...]

    @property
    def every(self) -> tuple[Path, ...]:
        """All of them."""
        first = () if self.participants is None else (self.participants,)
        return (*first, *self.sessions, *self.phenotype)


@dataclass(frozen=True, eq=False)
class ClinicalColumn:
    """One column: text of every subject, or of every subject and session."""

    rows: pd.DataFrame
    """`participant_id`, `session_id` where it has one, `text`, `path` and the line there."""

    @property
    def by_session(self) -> bool:
        """Whether it may differ between sessions."""
        return "session_id" in self.rows.columns


def find_clinical_files(bids_dir: Path) -> ClinicalFiles:
    """Tables below a raw data set, none of them opened."""
    participants = bids_dir / "participants.tsv"
    return ClinicalFiles(
        participants=participants if participants.exists() else None,
        sessions=tuple(sorted(bids_dir.glob("sub-*/sub-*_sessions.tsv"))),
        phenotype=tuple(sorted(bids_dir.glob("phenotype/*.tsv"))),
    )


@dataclass(frozen=True, eq=False)
class ClinicalTables:
    """The tables, read once: kind of file, file, and its rows as text."""

    tables: tuple[tuple[str, Path, pd.DataFrame], ...]

    @classmethod
    def read(cls, files: ClinicalFiles) -> ClinicalTables:
        """Read every table; whoever asks for a column learns what is wrong with it."""
        return cls(tuple((kind, path, _read(path)) for kind, path in _kinds(files)))

    def column(self, name: str, *, numeric: bool) -> ClinicalColumn:
        """A column, wherever it is.

        Parameters
        ----------
        name : str
            Its name.
        numeric : bool
            Whether it must hold numbers.

        Raises
        ------
        DataError
            If no file has it, several kinds of file do, a subject or session has it twice, or a
            number is none; naming file, column and line.
        """
        found: dict[str, list[pd.DataFrame]] = {}
        for kind, path, table in self.tables:
            if name in table:
                found.setdefault(kind, []).append(_of_column(path, table, name))
        if not found:
            self._raise_unknown(name)
        if len(found) > 1:
            first, second, *_ = found
            raise DataError(
                f"column '{name}' is in {first} and in {second}; rename it in one of them"
            )
        (rows,) = found.values()
        column = ClinicalColumn(pd.concat(rows, ignore_index=True))
        _require_once(column, name)
        if numeric:
            _require_numbers(column, name)
        return column

    def group_of_subjects(self, column: str) -> dict[str, str]:
        """Group of every subject that has one, from participants.tsv.

        Raises
        ------
        DataError
            As `column` does, and if the column is not there, or empty.
        """
        self.require_group_column(column)
        rows = self.column(column, numeric=False).rows
        if "session_id" in rows:
            raise DataError(f"column '{column}' differs between sessions; groups do not")
        labelled = rows.dropna(subset=["text"])
        if labelled.empty:
            raise DataError(
                f"{rows['path'].iloc[0]}: every value of column '{column}' is n/a; name the "
                "groups there"
            )
        return dict(zip(labelled["participant_id"], labelled["text"], strict=True))

    def require_group_column(self, column: str) -> None:
        """Refuse a data set without this column; its values are not looked at."""
        tables = [(path, table) for kind, path, table in self.tables if kind == _PARTICIPANTS]
        if not tables:
            raise DataError(
                f"participants.tsv is missing, so there is no column '{column}'; add the file, or "
                'set group.group_column to "" to treat all subjects as one group'
            )
        ((path, table),) = tables
        if column not in table:
            raise DataError(
                f"{path}: no column '{column}'; found {_columns(table)}. Set group.group_column "
                '(plan: columns.group) to one of them, or group.group_column to "" to treat all '
                "subjects as one group"
            )

    def planned_sessions(self, sessions: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
        """Subject and session of everything the data set says was planned, without prefixes.

        Parameters
        ----------
        sessions : tuple of str
            Sessions that every participant was meant to have.
        """
        planned: set[tuple[str, str]] = set()
        for kind, path, table in self.tables:
            if kind == _PARTICIPANTS and "participant_id" in table:
                subjects = table["participant_id"].dropna()
                planned |= {(subject, session) for subject in subjects for session in sessions}
            elif kind == _SESSIONS:
                planned |= set(_sessions_of(path, table))
        return tuple(sorted(planned))

    def _raise_unknown(self, name: str) -> NoReturn:
        columns = [column for _, _, table in self.tables for column in table.columns]
        plain = {label.lower(): label for label in columns if label not in (_LINE, *_KEYS)}
        near = difflib.get_close_matches(name.lower(), plain, n=1)
        looked = ", ".join(dict.fromkeys(kind for kind, _, _ in self.tables)) or "none is there"
        hint = "add it to one of them"
        if plain:
            hint = f"there are {', '.join(plain.values())}"
        if near:
            hint = f"did you mean '{plain[near[0]]}'?"
        raise DataError(
            f"no column '{name}', which the plan names, in the tables of the data set ({looked}); "
            f"{hint}"
        )


def _sessions_of(path: Path, table: pd.DataFrame) -> Iterator[tuple[str, str]]:
    if "session_id" not in table:
        raise DataError(f"{path}: no column 'session_id'; found {_columns(table)}")
    known = table.dropna(subset=["session_id"])
    return zip(known["participant_id"], known["session_id"], strict=True)


def _kinds(files: ClinicalFiles) -> Iterator[tuple[str, Path]]:
    if files.participants is not None:
        yield _PARTICIPANTS, files.participants
    for path in files.sessions:
        yield _SESSIONS, path
    for path in files.phenotype:
        yield f"phenotype/{path.name}", path


def _read(path: Path) -> pd.DataFrame:
    """Rows as text, without the prefixes of their keys; those of `sessions.tsv` get a subject."""
    table = read_table(path, as_text=True).dropna(how="all")
    table[_LINE] = table.index + 2
    if path.name.endswith("_sessions.tsv") and "participant_id" not in table:
        name = parse_name(path.name)
        subject = None if name is None else name.get("sub")
        if subject is None:
            raise DataError(f"{path}: not a BIDS name with a sub- entity; rename it or remove it")
        table.insert(0, "participant_id", subject)
    for key in _KEYS:
        if key in table:
            table[key] = table[key].str.replace(f"^{_PREFIX[key]}", "", regex=True)
    return table


def _of_column(path: Path, table: pd.DataFrame, name: str) -> pd.DataFrame:
    keys = [key for key in _KEYS if key in table]
    if "participant_id" not in keys:
        raise DataError(f"{path}: no column 'participant_id'; found {_columns(table)}")
    for key in keys:
        if (empty := table[_LINE][table[key].isna()]).size:
            raise DataError(f"{path}: line {empty.iloc[0]}: column {key} is empty")
    return table[[*keys, _LINE]].assign(text=table[name], path=str(path))


def _columns(table: pd.DataFrame) -> str:
    return ", ".join(column for column in table.columns if column != _LINE)


def _require_once(column: ClinicalColumn, name: str) -> None:
    """One line for every subject, or session of one."""
    keys = [key for key in _KEYS if key in column.rows]
    again = column.rows[column.rows.duplicated(keys)]
    if again.empty:
        return
    row = again.iloc[0]
    same = (column.rows[keys] == row[keys]).all(axis=1)
    first = column.rows[same].iloc[0]
    what = ", ".join(f"{key} {row[key]}" for key in keys)
    raise DataError(
        f"{row['path']}: line {row[_LINE]}: {what} is in line {first[_LINE]}"
        f"{'' if first['path'] == row['path'] else ' of ' + first['path']} already; keep one of "
        f"them (column {name} is needed)"
    )


def _require_numbers(column: ClinicalColumn, name: str) -> None:
    text = column.rows["text"]
    wrong = text.notna() & ~text.fillna("0").map(_is_number)
    if wrong.any():
        row = column.rows[wrong].iloc[0]
        raise DataError(
            f"{row['path']}: line {row[_LINE]}: column {name}: '{row['text']}' is no number; "
            "write n/a where it is missing"
        )


def _is_number(text: str) -> bool:
    return bool(re.fullmatch(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*", text))
