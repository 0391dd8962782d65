"""The tables that a paper prints, in numbers: who took part, what changed, what goes together.

Means, counts and percentages are taken from the values; whatever a test gives is taken from the
results of the plan, and nothing is tested here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import permutations
from typing import Any

import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from pipeline.bids.paper_columns import (
    BINDING_COLUMNS,
    CORRELATION_COLUMNS,
    DEMOGRAPHY_COLUMNS,
    INTERACTION_COLUMNS,
    RESPONDER_COLUMNS,
    SESSION_COLUMNS,
)
from pipeline.core.errors import DataError
from pipeline.statistics.study_plan import MOTION, RADIOCHEMISTRY, StudyPlan

ALL_SUBJECTS = "all"
"""Group of all subjects together, those of no group too."""

_COMPARISONS = ("two_sample_t", "fisher")
_VERSUS = " v "
_OTHER_EFFECTS = ("group", "time")
_READ = (
    "kind", "family", "variable", "with_variable", "region", "sessions", "groups", "n",
    "n_by_group", "n_missing", "test_name", "statistic", "df1", "df2", "p",
    "p_greenhouse_geisser", "p_adjusted", "estimate", "ci_low", "ci_high", "effect", "effect_low",
    "effect_high", "reason",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PaperContents:
    """What the tables are about, in the order of their rows and columns."""

    outcome: str
    """Variable with a value per session and region, such as BPND."""
    sessions: tuple[str, ...]
    """Without ``ses-``; changes are against the first."""
    groups: tuple[str, ...] = ()
    demography: tuple[str, ...] = ()
    """Variables that say who took part; of the first session where they vary."""
    clinical: tuple[str, ...] = ()
    """Scales with a value per session."""
    responders: tuple[str, ...] = ()
    """Variables of 0 and 1."""
    radiochemistry: tuple[str, ...] = ()
    motion: tuple[str, ...] = ()
    binary: tuple[str, ...] = ()
    """Those of the demography that are 0 or 1, and are counted."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Variable to its name with unit, for the data dictionary."""

    @classmethod
    def of(cls, plan: StudyPlan) -> PaperContents:
        """What a plan describes, each in its table."""
        return cls(
            outcome=plan.outcome,
            sessions=plan.layout.sessions,
            groups=plan.layout.groups,
            demography=plan.demography,
            clinical=plan.clinical,
            responders=plan.responders,
            radiochemistry=tuple(RADIOCHEMISTRY),
            motion=tuple(MOTION),
            binary=plan.binary,
            labels=dict(plan.shown),
        )


@dataclass(frozen=True, eq=False)
class PaperTable:
    """A table, and what its columns hold."""

    frame: pd.DataFrame
    columns: Mapping[str, Mapping[str, Any]]
    """Column to `Description`, `Units` and `Levels`, as in a BIDS sidecar."""


def paper_tables(
    values: pd.DataFrame, results: pd.DataFrame, contents: PaperContents
) -> dict[str, PaperTable]:
    """Tables by name; one that would have no rows is left out.

    Parameters
    ----------
    values : data frame
        A row per variable, subject, session and region: `variable`, `participant_id`, `group`,
        `session_id`, `region`, `value`. Regions are shown in the order they have here.
    results : data frame
        Of `planned_tests.result_table`; may be empty.
    contents : PaperContents
        What is shown. While no subject has a group, all are shown together, and nothing that
        compares groups.

    Raises
    ------
    DataError
        If something is to be counted that is neither 0 nor 1, or if anything but the outcome has
        values by region.
    """
    _require_no_regions(values, contents)
    study = _Study(values, results.reindex(columns=list(_READ)), contents)

    def of_sessions(names: tuple[str, ...]) -> list[dict[str, Any]]:
        return [row for name in names for row in _session_rows(study, name)]

    made = {
        "demography": (_demography(study), DEMOGRAPHY_COLUMNS),
        "binding": (of_sessions((contents.outcome,)), BINDING_COLUMNS),
        "interaction": (_interactions(study), INTERACTION_COLUMNS),
        "correlations": (_correlations(study), CORRELATION_COLUMNS),
        "responders": (_responders(study), RESPONDER_COLUMNS),
        "clinical": (of_sessions(contents.clinical), SESSION_COLUMNS),
        "radiochemistry": (of_sessions(contents.radiochemistry), SESSION_COLUMNS),
        "motion": (of_sessions(contents.motion), SESSION_COLUMNS),
    }
    return {
        name: PaperTable(
            pd.DataFrame(rows, columns=list(columns)), _with_labels(columns, rows, contents.labels)
        )
        for name, (rows, columns) in made.items()
        if rows
    }


def _require_no_regions(values: pd.DataFrame, contents: PaperContents) -> None:
    others = (
        *contents.demography, *contents.clinical, *contents.responders,
        *contents.radiochemistry, *contents.motion,
    )  # fmt: skip
    regional = values[values["variable"].isin(others) & values["region"].notna()]
    if len(regional):
        row = regional.iloc[0]
        raise DataError(
            f"paper tables: {row['variable']} has a value for every region, such as "
            f"{row['region']}; only the outcome is shown by region, so leave it out"
        )


@dataclass(frozen=True, eq=False)
class _Study:
    """Values and results, and who is looked at together."""

    values: pd.DataFrame
    results: pd.DataFrame
    contents: PaperContents

    @cached_property
    def sets(self) -> dict[str, list[str]]:
        """Subjects of every group, then all."""
        subjects = self.values.drop_duplicates("participant_id")
        who = {
            group: list(subjects.loc[subjects["group"] == group, "participant_id"])
            for group in self.groups
        }
        return who | {ALL_SUBJECTS: list(subjects["participant_id"])}

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """Groups of the plan; none while nobody's group is known."""
        return self.contents.groups if self.values["group"].notna().any() else ()

    def regions(self, name: str) -> Iterator[tuple[str | None, pd.DataFrame]]:
        """Values of a variable region by region; nothing where nobody has one."""
        rows = self.values[self.values["variable"] == name]
        if rows["value"].notna().any():
            for region, block in rows.groupby("region", dropna=False, sort=False):
                yield (None if pd.isna(region) else str(region)), block

    def sessions(self, block: pd.DataFrame) -> tuple[str | None, ...]:
        """Sessions of a block in order; None where it has one value per subject."""
        there = tuple(s for s in self.contents.sessions if (block["session_id"] == s).any())
        return there or (None,)

    def result(self, kinds: tuple[str, ...], **where: str | None) -> dict[str, Any]:
        """First result with these cells; empty where there is none."""
        found = self.results["kind"].isin(kinds)
        for column, cell in where.items():
            known = self.results[column]
            found &= known.isna() if cell is None else known == cell
        return next(iter(self.results[found].to_dict("records")), {})

    def comparisons(self, name: str, session: str | None) -> dict[str, dict[str, Any]]:
        """Tests of a variable between two groups, by who is in them together."""
        found = {}
        for pair in permutations(self.groups, 2):
            row = self.result(
                _COMPARISONS, variable=name, region=None, sessions=session, groups=" ".join(pair)
            )
            if row:
                label = ALL_SUBJECTS if len(self.groups) == 2 else _VERSUS.join(pair)
                found[label] = row | {"groups": _VERSUS.join(pair)}
        return found

    def members(self, label: str) -> list[str]:
        """Subjects of a set, or of two groups that are compared."""
        if label in self.sets:
            return self.sets[label]
        pair = next(p for p in permutations(self.groups, 2) if _VERSUS.join(p) == label)
        return [subject for group in pair for subject in self.sets[group]]


def _of_session(block: pd.DataFrame, session: str | None) -> pd.Series[float]:
    """Value of every subject that has a row; None for those without a session."""
    at = block["session_id"].isna() if session is None else block["session_id"] == session
    return block[at].set_index("participant_id")["value"].astype(float)


def _cells(row: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Cells of a result under the names of a table; NaN where there is no result."""
    return {name: row.get(key, math.nan) for name, key in names.items()}


def _described(values: pd.Series[float]) -> dict[str, Any]:
    return {
        "n": int(values.count()),
        "n_missing": int(values.isna().sum()),
        "mean": values.mean(),
        "sd": values.std(),
    }


def _demography(study: _Study) -> list[dict[str, Any]]:
    rows = []
    for name in study.contents.demography:
        counted = name in study.contents.binary
        for _, block in study.regions(name):
            session = study.sessions(block)[0]
            values = _of_session(block, session)
            tests = study.comparisons(name, session)
            for label in dict.fromkeys([*study.sets, *tests]):
                inside = values.reindex(study.members(label))
                about = {"variable": name, "session_id": session, "group": label}
                about["kind"] = "binary" if counted else "continuous"
                shown = _counted(name, inside) if counted else _spread(inside)
                rows.append(about | shown | _cells(tests.get(label, {}), _COMPARED))
    return rows


_COMPARED = {
    "groups_compared": "groups",
    "test_name": "test_name",
    "p": "p",
    "p_adjusted": "p_adjusted",
    "reason": "reason",
}


def _spread(values: pd.Series[float]) -> dict[str, Any]:
    return _described(values) | {
        "median": values.median(),
        "min": values.min(),
        "max": values.max(),
    }


def _counted(name: str, values: pd.Series[float]) -> dict[str, Any]:
    """Number and share of ones among those that are known."""
    known = values.dropna()
    strange = known[~known.isin((0, 1))]
    if len(strange):
        raise DataError(
            f"paper tables: {name}: {strange.iloc[0]:g} of subject {strange.index[0]} is neither "
            "0 nor 1, so it cannot be counted; derive a responder, or do not declare it binary"
        )
    count = int(known.sum())
    return {
        "n": len(known),
        "n_missing": len(values) - len(known),
        "count": count,
        "percent": 100 * count / len(known) if len(known) else math.nan,
    }


def _session_rows(study: _Study, name: str) -> Iterator[dict[str, Any]]:
    """Every region, group and session of a variable, with the change since the first."""
    for region, block in study.regions(name):
        sessions = [session for session in study.sessions(block) if session is not None]
        table = pd.DataFrame({session: _of_session(block, session) for session in sessions})
        for group, members in study.sets.items():
            inside = table.reindex(members)
            complete = int(inside.notna().all(axis=1).sum())
            for session in sessions:
                row: dict[str, Any] = {"variable": name, "region": region, "group": group}
                row |= {"session_id": session, "n_all_sessions": complete}
                row |= _described(inside[session])
                if session != sessions[0]:
                    row |= {"compared_with": sessions[0]}
                    row |= _change(inside[sessions[0]], inside[session])
                    test = study.result(
                        ("paired_t",), variable=name, region=region,
                        sessions=f"{sessions[0]} {session}",
                        groups=None if group == ALL_SUBJECTS else group,
                    )  # fmt: skip
                    row |= _cells(test, _PAIRED)
                yield row


_PAIRED = {
    "ci_low": "ci_low",
    "ci_high": "ci_high",
    "t": "statistic",
    "df": "df1",
    "p": "p",
    "p_adjusted": "p_adjusted",
    "dz": "effect",
    "dz_low": "effect_low",
    "dz_high": "effect_high",
    "reason": "reason",
}


def _change(first: pd.Series[float], later: pd.Series[float]) -> dict[str, Any]:
    """Change of subjects with both sessions; what is 0 at first has no percentage."""
    difference = (later - first).dropna()
    base = first[difference.index]
    percent = 100 * difference[base != 0] / base[base != 0]
    mean = base.mean()
    return {
        "n_pairs": len(difference),
        "mean_difference": difference.mean(),
        "sd_difference": difference.std(),
        "percent_change_of_mean": 100 * difference.mean() / mean if mean else math.nan,
        "mean_percent_change": percent.mean(),
        "sd_percent_change": percent.std(),
    }


def _interactions(study: _Study) -> list[dict[str, Any]]:
    if not study.groups:
        return []
    results = study.results
    effect = (results["kind"] == "interaction") & ~results["test_name"].isin(_OTHER_EFFECTS)
    return [_cells(row, _INTERACTION) for row in results[effect].to_dict("records")]


_INTERACTION = {
    **{name: name for name in ("variable", "region", "groups", "sessions", "n", "n_by_group")},
    "difference": "estimate",
    "ci_low": "ci_low",
    "ci_high": "ci_high",
    "F": "statistic",
    "df_effect": "df1",
    "df_error": "df2",
    "p": "p",
    "p_greenhouse_geisser": "p_greenhouse_geisser",
    "p_adjusted": "p_adjusted",
    "partial_eta2": "effect",
    "partial_eta2_low": "effect_low",
    "partial_eta2_high": "effect_high",
    "reason": "reason",
}


def _correlations(study: _Study) -> list[dict[str, Any]]:
    rows = study.results[study.results["kind"] == "correlation"]
    shown = []
    for row in rows.to_dict("records"):
        if pd.isna(row["groups"]):
            row["groups"] = ALL_SUBJECTS
        elif not study.groups:
            continue
        shown.append(_cells(row, _CORRELATION))
    return shown


_CORRELATION = {
    "x": "variable",
    "y": "with_variable",
    "region": "region",
    "session_id": "sessions",
    "group": "groups",
    "n": "n",
    "n_missing": "n_missing",
    "method": "test_name",
    "r": "estimate",
    "ci_low": "ci_low",
    "ci_high": "ci_high",
    "p": "p",
    "p_adjusted": "p_adjusted",
    "family": "family",
    "reason": "reason",
}


def _responders(study: _Study) -> list[dict[str, Any]]:
    rows = []
    for name in study.contents.responders:
        for _, block in study.regions(name):
            for session in study.sessions(block):
                values = _of_session(block, session)
                tests = study.comparisons(name, session)
                for label in dict.fromkeys([*study.sets, *tests]):
                    counted = _counted(name, values.reindex(study.members(label)))
                    low, high = _wilson(counted["count"], counted["n"])
                    row = {"variable": name, "session_id": session, "group": label, **counted}
                    row |= {"responders": counted["count"], "ci_low": low, "ci_high": high}
                    rows.append(row | _cells(tests.get(label, {}), _ODDS))
    return rows


_ODDS = {
    "odds_ratio": "estimate",
    "odds_ratio_low": "ci_low",
    "odds_ratio_high": "ci_high",
    **_COMPARED,
}


def _wilson(count: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion, per cent."""
    if not n:
        return math.nan, math.nan
    low, high = proportion_confint(count, n, alpha=0.05, method="wilson")
    return 100 * float(low), 100 * float(high)


def _with_labels(
    columns: Mapping[str, Mapping[str, str]],
    rows: list[dict[str, Any]],
    labels: Mapping[str, str],
) -> dict[str, dict[str, Any]]:
    """Columns with the names and units of the variables that are in them."""
    told: dict[str, dict[str, Any]] = {name: dict(text) for name, text in columns.items()}
    for column in {"variable", "x", "y"} & told.keys():
        there = dict.fromkeys(row[column] for row in rows)
        if levels := {name: labels[name] for name in there if name in labels}:
            told[column]["Levels"] = levels
    return told
