"""A long table of a study as arrays, with a list of all that is missing, odd or left out."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.core.errors import DataError
from pipeline.core.volume import FloatArray
from pipeline.io.tables import read_table
from pipeline.statistics.plan import (
    Equals,
    StudyLayout,
)

LEFT_OUT = "left out of tests that need it"
_COLUMNS = ("participant_id", "session_id", "region", "column", "value", "reason", "action")


@dataclass(frozen=True, eq=False, kw_only=True)
class Study:
    """Numbers of a study.

    Every variable is an array of subjects by sessions by regions; an axis along which it does
    not vary has length 1.
    """

    subjects: tuple[str, ...]
    sessions: tuple[str, ...]
    regions: tuple[str, ...]
    """One empty name where the plan has none."""
    groups: tuple[str, ...]
    """Empty while the study is blinded."""
    group: NDArray[np.intp]
    """(S,) number of the group of every subject; -1 for none of the plan."""
    variables: Mapping[str, FloatArray]
    exclusions: tuple[Mapping[str, Any], ...] = field(default=())

    def exclusion_table(self) -> pd.DataFrame:
        """What is missing, odd or left out, and what was done about it."""
        return pd.DataFrame(list(self.exclusions), columns=list(_COLUMNS))


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows of the plan: text of every column, and where each row belongs."""

    path: Path
    layout: StudyLayout
    frame: pd.DataFrame
    whole: pd.DataFrame
    """Rows of all sessions and regions; they say who is in which group."""
    subjects: tuple[str, ...]
    at: NDArray[np.intp]
    """(L, 3) numbers of subject, session and region."""
    lines: NDArray[np.intp]
    """(L,) lines of the file."""

    @property
    def regions(self) -> tuple[str, ...]:
        return self.layout.regions_read or ("",)

    def shape_of(self, column: str) -> tuple[int, int, int]:
        """Axes along which a column varies; the others are 1."""
        sessions, regions = len(self.layout.sessions), len(self.regions)
        if column in self.layout.subject_columns:
            return len(self.subjects), 1, 1
        return (
            len(self.subjects),
            sessions,
            1 if column in self.layout.session_columns else regions,
        )


def read_study(
    path: Path,
    layout: StudyLayout,
    columns: tuple[str, ...],
    words: tuple[Equals, ...] = (),
    *,
    unblind: bool,
) -> Study:
    """Numbers of a long table, one row per subject, session and region.

    Parameters
    ----------
    path : path
        Table, TSV.
    layout : StudyLayout
        Axes of the plan.
    columns : tuple of str
        Columns whose numbers are read; the outcome is the first.
    words : tuple of Equals
        Variables made of columns of words.
    unblind : bool
        Read the groups of the plan; otherwise their column is not looked at.

    Raises
    ------
    DataError
        Naming file, column and line, where the table does not hold what the plan needs.
    """
    frame = read_table(path, as_text=True)
    _require_columns(path, frame, layout, (*columns, *(score.of for score in words)))
    rows, exclusions = _rows_of_plan(path, frame, layout)
    variables = {}
    for column in columns:
        variables[column] = _numbers(rows, column)
        exclusions += _missing(rows, column, variables[column], column == columns[0])
    for column in {region.volume for region in layout.joined}:
        _require_volumes(rows, column, variables[column])
    for score in words:
        variables[score.name] = _equal(rows, score)
        exclusions += _missing(rows, score.of, variables[score.name], False)
    study = Study(
        subjects=rows.subjects,
        sessions=layout.sessions,
        regions=rows.regions,
        groups=(),
        group=np.full(len(rows.subjects), -1),
        variables=variables,
        exclusions=tuple(exclusions),
    )
    study = _joined(_with_flags(study, rows, columns[0]), rows)
    return _with_groups(study, rows) if unblind and layout.groups else study


def listed(
    study: Study | _Rows, at: Any, column: str, *, values: FloatArray, reason: str, action: str
) -> dict[str, Any]:
    """A line of the exclusions about one value."""
    sessions = study.sessions if isinstance(study, Study) else study.layout.sessions
    s, t, r = at
    _, of_sessions, of_regions = values.shape
    return {
        "participant_id": study.subjects[s],
        "session_id": sessions[t] if of_sessions == len(sessions) else None,
        "region": (study.regions[r] or None) if of_regions == len(study.regions) else None,
        "column": column,
        "value": values[s, t, r],
        "reason": reason,
        "action": action,
    }


def _require_columns(
    path: Path, frame: pd.DataFrame, layout: StudyLayout, columns: tuple[str, ...]
) -> None:
    names = layout.columns
    needed = [names.subject, names.session, *([names.region] if layout.regions else [])]
    needed += [names.group] if layout.groups else []
    needed += [names.flag] if layout.leave_out_flagged else []
    for column in (*needed, *columns):
        if column not in frame:
            hint = _hint(column, list(frame.columns))
            raise DataError(f"{path}: line 1: no column '{column}', which the plan names; {hint}")


def _hint(wanted: str, there: list[str]) -> str:
    plain = {label.lower(): label for label in there}
    near = difflib.get_close_matches(wanted.lower(), plain, n=1)
    return f"did you mean '{plain[near[0]]}'?" if near else f"there are {', '.join(there)}"


def _rows_of_plan(
    path: Path, frame: pd.DataFrame, layout: StudyLayout
) -> tuple[_Rows, list[dict[str, Any]]]:
    """Rows of the sessions and regions of the plan; others are listed."""
    frame = frame.dropna(how="all")
    if frame.empty:
        raise DataError(f"{path}: no line but the first; rows are needed")
    names = layout.columns
    labels = {names.subject: "sub-", names.session: "ses-"}
    labels |= {names.region: ""} if layout.regions else {}
    for column, prefix in labels.items():
        empty = frame.index[frame[column].isna()]
        if len(empty):
            raise DataError(f"{path}: line {empty[0] + 2}: column {column} is empty")
        frame = frame.assign(**{column: frame[column].str.removeprefix(prefix)})
    _require_labels(path, frame, names.session, layout.sessions)
    _require_labels(path, frame, names.region, layout.regions_read)
    exclusions = _not_in_plan(frame, layout)
    kept = frame[names.session].isin(layout.sessions)
    if layout.regions:
        kept &= frame[names.region].isin(layout.regions_read)
    # whoever has no row of the plan is a subject all the same, and listed as missing
    subjects = tuple(sorted(frame[names.subject].unique()))
    whole, frame = frame, frame[kept]
    place = [
        frame[names.subject].map({label: i for i, label in enumerate(subjects)}),
        frame[names.session].map({label: i for i, label in enumerate(layout.sessions)}),
        frame[names.region].map({label: i for i, label in enumerate(layout.regions_read)})
        if layout.regions
        else pd.Series(0, index=frame.index),
    ]
    at = np.column_stack([column.to_numpy(int) for column in place])
    rows = _Rows(path, layout, frame, whole, subjects, at, frame.index.to_numpy() + 2)
    _require_no_duplicates(rows)
    return rows, exclusions


def _require_labels(
    path: Path, frame: pd.DataFrame, column: str, expected: tuple[str, ...]
) -> None:
    for label in expected:
        if not (frame[column] == label).any():
            hint = _hint(label, list(frame[column].unique()))
            raise DataError(
                f"{path}: column {column}: no line has '{label}', which the plan names; {hint}"
            )


def _not_in_plan(frame: pd.DataFrame, layout: StudyLayout) -> list[dict[str, Any]]:
    names, told = layout.columns, []
    others = frame[~frame[names.session].isin(layout.sessions)]
    pairs = others[[names.subject, names.session]].drop_duplicates()
    for subject, session in sorted(pairs.itertuples(index=False, name=None)):
        told.append(
            {
                "participant_id": subject,
                "session_id": session,
                "reason": "session is not in the plan",
                "action": "left out",
            }
        )
    if layout.regions:
        for region in sorted(set(frame[names.region]) - set(layout.regions_read)):
            told.append(
                {"region": region, "reason": "region is not in the plan", "action": "left out"}
            )
    return told


def _require_no_duplicates(rows: _Rows) -> None:
    first: dict[tuple[int, ...], int] = {}
    for at, line in zip(map(tuple, rows.at), rows.lines, strict=True):
        if at not in first:
            first[at] = line
            continue
        s, t, r = at
        names = rows.layout.columns
        what = f"{names.subject} {rows.subjects[s]}, {names.session} {rows.layout.sessions[t]}"
        what += f", {names.region} {rows.regions[r]}" if rows.layout.regions else ""
        hint = ""
        if not rows.layout.regions and names.region in rows.frame:
            hint = f"; there is a column {names.region}: name the regions in the plan"
        raise DataError(
            f"{rows.path}: line {line}: {what} is in line {first[at]} already; keep "
            f"one of them{hint}"
        )


def _numbers(rows: _Rows, column: str) -> FloatArray:
    text = rows.frame[column]
    numbers = pd.to_numeric(text, errors="coerce").to_numpy(float)
    wrong = text.notna().to_numpy() & ~np.isfinite(numbers)
    if wrong.any():
        i = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"{rows.path}: line {rows.lines[i]}: column {column}: '{text.iloc[i]}' is no number; "
            "write n/a where it is missing"
        )
    return _placed(rows, column, numbers)


def _equal(rows: _Rows, score: Equals) -> FloatArray:
    """1 where a column holds a word, 0 where it holds another."""
    codes, found = pd.factorize(rows.frame[score.of])
    if score.value not in found:
        raise DataError(
            f"{rows.path}: column {score.of}: no line has '{score.value}', which the plan names; "
            f"{_hint(score.value, list(found))}"
        )
    values = _placed(rows, score.of, np.where(codes < 0, np.nan, codes))
    equal = values == list(found).index(score.value)
    return np.where(np.isfinite(values), equal.astype(float), np.nan)


def _placed(rows: _Rows, column: str, numbers: FloatArray) -> FloatArray:
    """Numbers of lines on the axes of their column, where lines that share a place agree."""
    values = np.full(rows.shape_of(column), np.nan)
    lines = np.zeros(values.shape, int)
    for i in np.flatnonzero(np.isfinite(numbers)):
        place = tuple(np.minimum(rows.at[i], np.array(values.shape) - 1))
        if np.isfinite(values[place]) and values[place] != numbers[i]:
            same = "subject" if column in rows.layout.subject_columns else "subject and session"
            text = rows.frame[column]
            earlier = text.iloc[int(np.flatnonzero(rows.lines == lines[place])[0])]
            raise DataError(
                f"{rows.path}: line {rows.lines[i]}: column {column}: {text.iloc[i]}, and "
                f"{earlier} in line {lines[place]} of the same {same}; the plan says there is one "
                "value"
            )
        values[place], lines[place] = numbers[i], rows.lines[i]
    return values


def _missing(rows: _Rows, column: str, values: FloatArray, outcome: bool) -> list[dict[str, Any]]:
    """Lines about missing values; a session without any row is told once, with the outcome."""
    has_row = np.zeros((len(rows.subjects), len(rows.layout.sessions), len(rows.regions)), bool)
    has_row[tuple(rows.at.T)] = True
    told = []
    for s, t, r in zip(*np.nonzero(np.isnan(values)), strict=True):
        line = listed(rows, (s, t, r), column, values=values, reason="no value", action=LEFT_OUT)
        if values.shape[1] == has_row.shape[1] and not has_row[s, t].any():
            if outcome and r == 0:
                told.append(
                    {**line, "region": None, "column": None, "reason": "no row of this session"}
                )
        elif values.shape[2] > 1 and np.isnan(values[s, t]).all():
            if r == 0:
                told.append({**line, "region": None, "reason": "no value in any region"})
        elif values.shape == has_row.shape and not has_row[s, t, r]:
            told.append({**line, "reason": "no row of this region"})
        else:
            told.append(line)
    return told


def _with_flags(study: Study, rows: _Rows, outcome: str) -> Study:
    """List outcomes whose flag is not empty, and leave them out if told so."""
    column, before = rows.layout.columns.flag, study.variables[outcome]
    if column not in rows.frame:
        return study
    values, told = before.copy(), []
    action = "left out" if rows.layout.leave_out_flagged else "kept"
    for at, flag in zip(rows.at, rows.frame[column], strict=True):
        place = tuple(np.minimum(at, np.array(values.shape) - 1))
        if not isinstance(flag, str) or np.isnan(before[place]):
            continue
        reason = f"flagged: {flag}"
        told.append(listed(study, place, outcome, values=before, reason=reason, action=action))
        if rows.layout.leave_out_flagged:
            values[place] = np.nan
    told.sort(key=_order)
    return replace(
        study,
        variables={**study.variables, outcome: values},
        exclusions=(*study.exclusions, *told),
    )


def _order(line: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(line.get(key)) for key in ("participant_id", "session_id", "region"))


def _with_groups(study: Study, rows: _Rows) -> Study:
    """The study with its groups; who is in none of the plan is listed."""
    column, of_subject = rows.layout.columns.group, _group_of_subject(rows)
    found = sorted({label for label, _ in of_subject.values()})
    for group in rows.layout.groups:
        if group not in found:
            there = f"; there is only {', '.join(found)}" if found else ": it is empty"
            there += f" (line {min(line for _, line in of_subject.values())})" if found else ""
            raise DataError(
                f"{rows.path}: column {column}: no line has '{group}', which the plan names{there}"
            )
    number = {label: i for i, label in enumerate(rows.layout.groups)}
    labels = [of_subject.get(subject, ("", 0))[0] for subject in study.subjects]
    told = [
        {
            "participant_id": subject,
            "column": column,
            "reason": f"group '{label}' is not in the plan" if label else "no group",
            "action": "left out of tests that look at groups",
        }
        for subject, label in zip(study.subjects, labels, strict=True)
        if label not in number
    ]
    return replace(
        study,
        groups=rows.layout.groups,
        group=np.array([number.get(label, -1) for label in labels]),
        exclusions=(*study.exclusions, *told),
    )


def _joined(study: Study, rows: _Rows) -> Study:
    """The study on the regions of the plan, some of which are means of those of the table."""
    layout = rows.layout
    if not layout.joined:
        return study
    parts = {region.name: region for region in layout.joined}
    variables = {}
    for name, values in study.variables.items():
        if values.shape[2] < len(rows.regions):
            variables[name] = values
            continue
        made = []
        for label in layout.regions:
            of = parts[label].of if label in parts else (label,)
            at = [rows.regions.index(part) for part in of]
            if label not in parts:
                made.append(values[:, :, at[0]])
                continue
            volume = study.variables[parts[label].volume][:, :, at]
            made.append((values[:, :, at] * volume).sum(axis=2) / volume.sum(axis=2))
        variables[name] = np.stack(made, axis=2)
    return replace(study, regions=layout.regions, variables=variables)


def _require_volumes(rows: _Rows, column: str, values: FloatArray) -> None:
    for i, at in enumerate(rows.at):
        if values[tuple(at)] <= 0:
            raise DataError(
                f"{rows.path}: line {rows.lines[i]}: column {column}: a volume of "
                f"{values[tuple(at)]:g}; more than 0 is expected"
            )


def _group_of_subject(rows: _Rows) -> dict[str, tuple[str, int]]:
    """Group of every subject that has one, and the line that says so first."""
    column = rows.layout.columns.group
    of_subject: dict[str, tuple[str, int]] = {}
    labelled = rows.whole[rows.whole[column].notna()]
    subjects = labelled[rows.layout.columns.subject]
    for subject, label, line in zip(subjects, labelled[column], labelled.index + 2, strict=True):
        earlier = of_subject.setdefault(subject, (label, line))
        if earlier[0] != label:
            raise DataError(
                f"{rows.path}: line {line}: column {column}: '{label}', and '{earlier[0]}' in "
                f"line {earlier[1]} of the same subject"
            )
    return of_subject
