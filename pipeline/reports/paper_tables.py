"""The tables of a paper as one page that pastes into a word processor as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipeline.reports.journal_numbers import (
    MISSING,
    SPACE,
    decimals_of,
    shown_degrees,
    shown_interval,
    shown_mean,
    shown_number,
    shown_p,
    shown_percent,
    shown_share,
)
from pipeline.reports.printed_table import (
    CI,
    Column,
    F,
    Head,
    Marks,
    N,
    P,
    PaperCell,
    PaperWords,
    Printed,
    Row,
    T,
    is_adjusted,
    p_columns,
    p_notes,
    printed,
    stacked,
    text_column,
    variable_column,
    varying,
)

_ALL = "all"
_WIDEST = 13
"""Columns that a page takes."""
_MEAN_NOTE = "Values are mean (SD); SD: standard deviation."
_CI_NOTE = "CI: confidence interval."
_DZ = Markup("<i>d</i><sub>z</sub>")
_ETA2 = Markup("Partial <i>η</i><sup>2</sup>")
_SESSION_TABLES = {
    "binding": Markup("{}"),
    "clinical": Markup("Clinical scales"),
    "radiochemistry": Markup("Radiochemistry and uptake of the reference region"),
    "motion": Markup("Head motion"),
}
"""What they are about; the outcome in braces."""


def render_tables(tables: Mapping[str, pd.DataFrame], words: PaperWords) -> str:
    """All tables as HTML that loads nothing; all text is escaped.

    Styles are in every cell, since word processors drop others when a table is pasted.

    Parameters
    ----------
    tables : mapping
        Name to frame, of `demography`, `binding`, `interaction`, `correlations`, `responders`,
        `clinical`, `radiochemistry`, `motion`; any may be absent.
    words : PaperWords
        Names of variables, and how p was adjusted.
    """
    environment = Environment(
        loader=PackageLoader("pipeline.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = printed_tables(tables, words)
    return environment.get_template("paper_tables.html.j2").render(tables=shown)


def printed_tables(tables: Mapping[str, pd.DataFrame], words: PaperWords) -> list[Printed]:
    """Tables in the order of a paper."""
    there = {name: frame for name, frame in tables.items() if len(frame)}
    interaction = _interaction_p(there.get("interaction"))
    printers: dict[str, Callable[[pd.DataFrame, PaperWords], Iterator[Printed]]] = {
        "demography": _demography,
        "binding": partial(_of_sessions, "binding", interaction),
        "clinical": partial(_of_sessions, "clinical", interaction),
        "interaction": _interactions,
        "correlations": _correlations,
        "responders": _responders,
        "radiochemistry": partial(_of_sessions, "radiochemistry", interaction),
        "motion": partial(_of_sessions, "motion", interaction),
    }
    return [
        table
        for name, printer in printers.items()
        if name in there
        for table in printer(there[name], words)
    ]


def _interaction_p(frame: pd.DataFrame | None) -> dict[tuple[str, str], float]:
    """p of the first interaction of every variable and region."""
    found: dict[tuple[str, str], float] = {}
    if frame is not None:
        for row in _with_corrected_p(frame).to_dict("records"):
            found.setdefault(_place(row), row["corrected_p"])
    return found


def _with_corrected_p(frame: pd.DataFrame) -> pd.DataFrame:
    """p, or that of Greenhouse and Geisser where sphericity is at stake."""
    return frame.assign(corrected_p=frame["p_greenhouse_geisser"].fillna(frame["p"]))


def _place(row: Row) -> tuple[str, str]:
    """Variable and region of a row; an empty region where there is none."""
    return row["variable"], "" if pd.isna(row["region"]) else str(row["region"])


# groups side by side


def _sizes(frame: pd.DataFrame) -> dict[str, int]:
    """Subjects of every group, those without a value too."""
    return dict((frame["n"] + frame["n_missing"]).groupby(frame["group"]).max().astype(int))


def _shown_groups(frame: pd.DataFrame, *, all_too: bool = False) -> list[str]:
    """Groups in order; all subjects together where they are not told apart, or were tested."""
    groups = [group for group in dict.fromkeys(frame["group"]) if group != _ALL]
    tested = bool(frame.loc[frame["group"] == _ALL, "p"].notna().any())
    if len(groups) < 2:
        return [_ALL] if tested or not groups else groups
    return [*groups, _ALL] if all_too or tested else groups


def _with_n(group: str, sizes: Mapping[str, int]) -> str:
    shown = "All" if group == _ALL else group
    return Markup("{} ({}{}={}{})").format(shown, N, SPACE, SPACE, sizes[group])


def _fewer(n: int, of: int) -> str:
    """Note on a cell in which subjects of the group are missing."""
    return f"n{SPACE}={SPACE}{n}" if n < of else ""


def _decimals(frame: pd.DataFrame) -> dict[str, int]:
    """Decimals of every variable."""
    return {
        str(name): decimals_of(means)
        for name, means in frame["mean"].groupby(frame["variable"], sort=False)
    }


# who took part, and who responded: a row per variable, tests between groups at its end


def _demography(frame: pd.DataFrame, words: PaperWords) -> Iterator[Printed]:
    decimals = _decimals(frame)

    def cell(row: Row) -> str:
        if row["kind"] == "binary":
            return shown_percent(row["count"], row["percent"])
        return shown_mean(row["mean"], row["sd"], decimals[row["variable"]])

    notes = ["Values are mean (SD) or number (%); SD: standard deviation."]
    for session, block in frame.dropna(subset="session_id").groupby("session_id", sort=False):
        names = [words.of(name) for name in dict.fromkeys(block["variable"])]
        listed = Markup("; ").join(names)
        notes.append(Markup("Of session {}: {}.").format(session, listed))
    yield _side_by_side("Subjects", frame, words, cell, notes)


def _responders(frame: pd.DataFrame, words: PaperWords) -> Iterator[Printed]:
    def cell(row: Row) -> str:
        interval = shown_interval(row["ci_low"], row["ci_high"], _whole)
        return shown_percent(row["responders"], row["percent"]) + interval

    notes = [f"Values are number (%) [{CI} of the percentage, Wilson]. {_CI_NOTE}"]
    if frame["groups_compared"].notna().any():
        notes.append("Odds ratio: of the first group against the second.")
    yield _side_by_side("Responders", frame, words, cell, notes)


def _side_by_side(
    caption: str,
    frame: pd.DataFrame,
    words: PaperWords,
    cell: Callable[[Row], str],
    notes: list[str],
) -> Printed:
    """A row per variable and session, a column per group, then the tests between groups."""
    # what two groups are together is not printed: only their test is
    of_group = frame[frame["group"] != frame["groups_compared"]]
    groups, sizes = _shown_groups(of_group, all_too=True), _sizes(of_group)
    pairs = list(dict.fromkeys(frame["groups_compared"].dropna()))
    marks, adjusted = Marks(), is_adjusted(frame)
    rows = []
    for row_name, block in frame.groupby(["variable", "session_id"], dropna=False, sort=False):
        by_group = {row["group"]: row for row in block.to_dict("records")}
        cells = [_row_name(frame, words, *row_name)]
        for group in groups:
            row = by_group[group]
            cells.append(PaperCell(cell(row), mark=marks.of(_fewer(row["n"], sizes[group]))))
        tests = {row["groups_compared"]: row for row in by_group.values()}
        for pair in pairs:
            cells += _between(tests.get(pair), "odds_ratio" in frame, adjusted, marks)
        rows.append(cells)
    heads = [Head("", "text"), *(Head(_with_n(group, sizes)) for group in groups)]
    for pair in pairs:
        heads += _between_heads(f", {pair}" if len(pairs) > 1 else "", frame, adjusted)
    notes = [*notes, *(p_notes(frame, words) if pairs else [])]
    return printed(caption, [heads], rows, notes, marks)


def _row_name(frame: pd.DataFrame, words: PaperWords, name: str, session: Any) -> PaperCell:
    """Name of a variable, with its session where it has several."""
    label = words.of(name)
    if frame.loc[frame["variable"] == name, "session_id"].nunique() > 1:
        label = Markup("{}, {}").format(label, session)
    return PaperCell(label, "text")


def _between_heads(which: str, frame: pd.DataFrame, adjusted: bool) -> list[Head]:
    odds = [Head(f"Odds ratio [{CI}]{which}")] if "odds_ratio" in frame else []
    more = [Head(Markup("Adjusted {}{}").format(P, which))] if adjusted else []
    return [*odds, Head(P + which), *more]


def _between(row: Row | None, odds: bool, adjusted: bool, marks: Marks) -> list[PaperCell]:
    """Cells of a test between two groups; empty where none was planned."""
    if row is None:
        return [PaperCell("")] * (1 + odds + adjusted)
    reason = "" if pd.isna(row["reason"]) else f": {row['reason']}"
    cells = [PaperCell(shown_p(row["p"]), mark=marks.of(f"{row['test_name']}{reason}"))]
    if odds:
        interval = shown_interval(row["odds_ratio_low"], row["odds_ratio_high"], shown_number)
        cells.insert(0, PaperCell(shown_number(row["odds_ratio"]) + interval))
    return [*cells, PaperCell(shown_p(row["p_adjusted"]))] if adjusted else cells


# what was measured in every session: means with groups side by side, then changes in rows


def _of_sessions(
    name: str,
    interaction: Mapping[tuple[str, str], float],
    frame: pd.DataFrame,
    words: PaperWords,
) -> Iterator[Printed]:
    if "region" not in frame:
        frame = frame.assign(region=None)
    frame = frame[frame["group"].isin(_shown_groups(frame))]
    about = _SESSION_TABLES[name].format(words.of(frame["variable"].iloc[0]))
    yield _means(about, frame, words, interaction)
    changes = frame[frame["n_pairs"] > 0]
    if len(changes):
        yield _changes(about, changes, words, _decimals(frame))


def _means(
    about: str,
    frame: pd.DataFrame,
    words: PaperWords,
    interaction: Mapping[tuple[str, str], float],
) -> Printed:
    """Rows of regions or variables, columns of groups and sessions."""
    groups, sizes, decimals = _shown_groups(frame), _sizes(frame), _decimals(frame)
    sessions = list(dict.fromkeys(frame["session_id"]))
    records = frame.to_dict("records")
    cells = {(_place(row), row["group"], row["session_id"]): row for row in records}
    places = list(dict.fromkeys(map(_place, records)))
    crossed = any(place in interaction for place in places)
    wide = 1 + len(groups) * (2 * len(sessions) - 1) + crossed
    tested = sessions[1:] if frame["p"].notna().any() and wide <= _WIDEST else []
    marks, rows = Marks(), []
    for place in places:
        shown = [PaperCell(place[1] or words.of(place[0]), "text")]
        for group in groups:
            of_group = [cells.get((place, group, session)) for session in sessions]
            shown += [_mean_cell(row, sizes[group], decimals[place[0]], marks) for row in of_group]
            shown += [_p_cell(row, marks) for row in of_group[1:] if tested]
        if crossed:
            shown.append(PaperCell(shown_p(interaction[place]) if place in interaction else ""))
        rows.append(shown)
    heads = _session_heads([_with_n(group, sizes) for group in groups], sessions, tested, crossed)
    by = ["region"] if frame["region"].notna().any() else []
    by += ["group"] if len(groups) > 1 else []
    by_what = " and ".join(filter(None, (", ".join(by), "session")))
    caption = Markup("{} by {}").format(about, by_what)
    return printed(caption, heads, rows, _means_notes(sessions, tested, crossed), marks)


def _session_heads(
    groups: list[str], sessions: list[str], tested: list[str], crossed: bool
) -> list[list[Head]]:
    above, below = [Head("", "text", down=2)], []
    for group in groups:
        above.append(Head(group, "over", span=len(sessions) + len(tested)))
        below += [Head(session) for session in sessions]
        below += [Head(P + (f", {session}" if len(tested) > 1 else "")) for session in tested]
    if crossed:
        above.append(Head(Markup("Group × time, {}").format(P), down=2))
    return [above, below]


def _means_notes(sessions: list[str], tested: list[str], crossed: bool) -> list[str]:
    notes: list[str] = [_MEAN_NOTE]
    if tested:
        text = Markup("{}: paired {} test against session {}.")
        notes.append(text.format(P, T, sessions[0]))
    if crossed:
        notes.append("Group × time: interaction in the mixed analysis of variance.")
    if tested or crossed:
        text = Markup("{} is two-sided and not adjusted for the number of tests.")
        notes.append(text.format(P))
    return notes


def _mean_cell(row: Row | None, size: int, decimals: int, marks: Marks) -> PaperCell:
    if row is None:
        return PaperCell(MISSING)
    text = shown_mean(row["mean"], row["sd"], decimals)
    return PaperCell(text, mark=marks.of(_fewer(row["n"], size)))


def _p_cell(row: Row | None, marks: Marks) -> PaperCell:
    if row is None:
        return PaperCell(MISSING)
    return PaperCell(shown_p(row["p"]), mark=marks.of(row["reason"]))


def _changes(
    about: str, frame: pd.DataFrame, words: PaperWords, decimals: Mapping[str, int]
) -> Printed:
    """A row per region or variable, group and later session."""
    first, later = frame["compared_with"].iloc[0], list(dict.fromkeys(frame["session_id"]))
    marks = Marks()

    def difference(row: Row) -> PaperCell:
        show = partial(shown_number, decimals=decimals[row["variable"]])
        interval = shown_interval(row["ci_low"], row["ci_high"], show)
        return PaperCell(show(row["mean_difference"]) + interval)

    columns = [
        _named_rows(frame, words),
        *([text_column("Group", "group")] if frame["group"].nunique() > 1 else []),
        *([text_column("Session", "session_id")] if len(later) > 1 else []),
        Column(N, lambda row: PaperCell(_whole(row["n_pairs"]))),
        Column(f"Difference [{CI}]", difference),
        _percent_column("Change of mean (%)", "percent_change_of_mean"),
        _percent_column("Mean change (%)", "mean_percent_change"),
    ]
    notes = [
        f"Against session {first}, over subjects with both sessions. Difference: mean. Change of "
        f"mean: mean difference in per cent of the mean of session {first}. Mean change: mean of "
        "the subjects' own changes in per cent."
    ]
    if frame["p"].notna().any() or frame["reason"].notna().any():
        columns += [
            Column(Markup("{} (df)").format(T), lambda row: _statistic(row["t"], row["df"])),
            *p_columns(frame, marks),
            _effect_column(_DZ, "dz", shown_number),
        ]
        text = Markup("{}: paired {} test. {}: mean difference over the SD of the differences.")
        notes += [text.format(P, T, _DZ), _CI_NOTE, *p_notes(frame, words)]
    span = f"{first} to {later[0]}" if len(later) == 1 else f"since {first}"
    return stacked(Markup("{}: change, {}").format(about, span), frame, columns, notes, marks)


def _named_rows(frame: pd.DataFrame, words: PaperWords) -> Column:
    """Regions where there are any, else variables."""
    if frame["region"].notna().any():
        return text_column("Region", "region")
    return variable_column("", "variable", words)


def _percent_column(head: str, name: str) -> Column:
    return Column(head, lambda row: PaperCell(shown_number(row[name], 1)))


def _effect_column(head: str, name: str, show: Callable[[float], str]) -> Column:
    """An estimate with its interval."""

    def cell(row: Row) -> PaperCell:
        interval = shown_interval(row[f"{name}_low"], row[f"{name}_high"], show)
        return PaperCell(show(row[name]) + interval)

    return Column(Markup("{} [{}]").format(head, CI), cell)


def _statistic(value: float, *degrees: float) -> PaperCell:
    if any(map(pd.isna, (value, *degrees))):
        return PaperCell(MISSING)
    return PaperCell(f"{shown_number(value)}{SPACE}{shown_degrees(*degrees)}")


def _whole(value: float) -> str:
    return shown_number(value, 0)


# interactions and correlations: a row for each


def _interactions(frame: pd.DataFrame, words: PaperWords) -> Iterator[Printed]:
    frame, marks = _with_corrected_p(frame), Marks()
    more, told = varying(frame, {"region": "Region", "groups": "Groups", "sessions": "Sessions"})
    columns = [variable_column("", "variable", words), *more, _n_column(frame)]
    if frame["difference"].notna().any():
        columns.append(_difference_of_changes())
    columns += [
        Column(
            Markup("{} (df)").format(F),
            lambda row: _statistic(row["F"], row["df_effect"], row["df_error"]),
        ),
        *p_columns(frame, marks, "corrected_p"),
        _effect_column(_ETA2, "partial_eta2", shown_share),
    ]
    notes = [*told, "Interaction in the mixed analysis of variance.", _CI_NOTE]
    if frame["difference"].notna().any():
        notes.insert(-1, "Difference: change of the first group minus that of the second.")
    if frame["p_greenhouse_geisser"].notna().any():
        text = Markup("{} is corrected for sphericity after Greenhouse and Geisser.")
        notes.append(text.format(P))
    notes += p_notes(frame, words, "corrected_p")
    yield stacked("Group × time interaction", frame, columns, notes, marks)


def _n_column(frame: pd.DataFrame) -> Column:
    """Subjects, by group where there are several."""
    by_group = frame["n_by_group"].notna().any()

    def cell(row: Row) -> PaperCell:
        text = (
            str(row["n_by_group"]).replace(" ", f"{SPACE}+{SPACE}")
            if by_group
            else _whole(row["n"])
        )
        return PaperCell(text)

    return Column(N, cell)


def _difference_of_changes() -> Column:
    def cell(row: Row) -> PaperCell:
        ends = (row["ci_low"], row["ci_high"])
        show = partial(shown_number, decimals=decimals_of([row["difference"], *ends]))
        return PaperCell(show(row["difference"]) + shown_interval(*ends, show))

    return Column(f"Difference [{CI}]", cell)


def _correlations(frame: pd.DataFrame, words: PaperWords) -> Iterator[Printed]:
    heads = {
        "region": "Region",
        "session_id": "Session",
        "group": "Group",
        "method": "Method",
        "family": "Family",
    }
    marks = Marks()
    more, told = varying(frame, heads)

    def coefficient(row: Row) -> PaperCell:
        interval = shown_interval(row["ci_low"], row["ci_high"], shown_share)
        return PaperCell(shown_share(row["r"]) + interval)

    columns = [
        variable_column("", "x", words),
        variable_column("With", "y", words),
        *more,
        Column(N, lambda row: PaperCell(_whole(row["n"]))),
        Column(Markup("<i>r</i> [{}]").format(CI), coefficient),
        *p_columns(frame, marks),
    ]
    notes = [*told, _CI_NOTE, *p_notes(frame, words)]
    yield stacked("Correlations", frame, columns, notes, marks)
