"""Tests of a cohort, region by region, as tables with the sidecars that explain them."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import asdict
from typing import Any

import pandas as pd

from pipeline.statistics.interaction import group_by_time
from pipeline.statistics.paired import paired_t

_NOT_DIVIDING = ("group", "participant_id", "region", "first", "second", "change")


def paired_table(pairs: pd.DataFrame) -> pd.DataFrame:
    """Paired t of the second session against the first, one row per group and region.

    Parameters
    ----------
    pairs : data frame
        `GroupTables.pairs`.
    """
    rows = []
    for where, block in _blocks(pairs, ("region", "group")):
        test = paired_t(block["first"].to_numpy(float), block["second"].to_numpy(float))
        rows.append(where | _cells(asdict(test)))
    return pd.DataFrame(rows, columns=None if rows else ["region", "group"])


def interaction_table(pairs: pd.DataFrame) -> pd.DataFrame:
    """Group x time interaction, one row per region.

    Parameters
    ----------
    pairs : data frame
        `GroupTables.pairs`.

    Returns
    -------
    data frame
        Empty unless there are exactly two groups.
    """
    groups = sorted(pairs["group"].unique())
    rows = []
    for where, block in _blocks(pairs, ("region",)):
        if len(groups) != 2:
            break
        a, b = (block.loc[block["group"] == name, "change"].to_numpy(float) for name in groups)
        names = {"group_a": groups[0], "group_b": groups[1]}
        rows.append(where | names | _cells(asdict(group_by_time(a, b))))
    return pd.DataFrame(rows, columns=None if rows else ["region", "group_a", "group_b"])


def _blocks(
    pairs: pd.DataFrame, within: tuple[str, ...]
) -> Iterator[tuple[dict[Hashable, Any], pd.DataFrame]]:
    divide = [name for name in pairs.columns if name not in _NOT_DIVIDING]
    keys = [*divide, *within]
    for labels, block in pairs.groupby(keys, dropna=False, sort=False):
        yield dict(zip(keys, labels, strict=True)), block


def _cells(test: dict[str, Any]) -> dict[Hashable, Any]:
    """Values of a test as cells: no reason is ``n/a``, as is a test without degrees of freedom."""
    names = {"f": "F"}
    cells: dict[Hashable, Any] = {names.get(key, key): value for key, value in test.items()}
    if test["reason"]:
        cells |= {key: float("nan") for key in cells if str(key).startswith("df")}
    return cells | {"reason": test["reason"] or None}


_UNITLESS = "BPND is unitless"


def _described(texts: dict[str, str]) -> dict[str, dict[str, str]]:
    return {name: {"Description": text} for name, text in texts.items()}


PAIRED_COLUMNS = _described(
    {
        "group": "Group of the subjects, from participants.tsv",
        "region": "Region of interest",
        "n": "Subjects with both sessions",
        "n_missing": "Subjects left out because one session or both have no value",
        "mean_first": f"Mean of the first session ({_UNITLESS})",
        "mean_second": "Mean of the second session",
        "mean_difference": "Mean of second minus first session",
        "sd_difference": "Standard deviation of the differences (n - 1)",
        "ci_low": "Lower end of the 95 % confidence interval of mean_difference",
        "ci_high": "Upper end of that interval",
        "percent_change": "mean_difference in per cent of mean_first",
        "t": "Student's t of the differences",
        "df": "Degrees of freedom",
        "p": "Two-sided p, not corrected for the number of regions",
        "dz": "Cohen's dz: mean_difference / sd_difference",
        "dz_low": "Lower end of the 95 % confidence interval of dz (noncentral t)",
        "dz_high": "Upper end of that interval",
        "shapiro_w": "Shapiro-Wilk W of the differences",
        "shapiro_p": "p of W; small where they are not normal",
        "reason": "Why there is no test",
    }
)
INTERACTION_COLUMNS = _described(
    {
        "region": "Region of interest",
        "group_a": "First group",
        "group_b": "Second group",
        "n_a": "Subjects of group_a with both sessions",
        "n_b": "Subjects of group_b with both sessions",
        "n_missing": "Subjects left out because one session or both have no value",
        "mean_change_a": f"Mean of second minus first session in group_a ({_UNITLESS})",
        "mean_change_b": "The same in group_b",
        "difference": "mean_change_a - mean_change_b",
        "ci_low": "Lower end of the 95 % confidence interval of difference",
        "ci_high": "Upper end of that interval",
        "F": "F of the group x time interaction, 2 x 2 mixed analysis of variance",
        "df_effect": "Degrees of freedom of the effect",
        "df_error": "Degrees of freedom of the error",
        "p": "p of F, not corrected for the number of regions",
        "partial_eta2": "Partial eta squared",
        "partial_eta2_low": "Lower end of its 95 % confidence interval (noncentral F)",
        "partial_eta2_high": "Upper end of that interval",
        "hedges_g": "Hedges' g of the changes, group_a minus group_b",
        "hedges_g_low": "Lower end of its 95 % confidence interval (noncentral t)",
        "hedges_g_high": "Upper end of that interval",
        "shapiro_w": "Shapiro-Wilk W of the changes about the mean of their group",
        "shapiro_p": "p of W; small where they are not normal",
        "brown_forsythe_f": "Brown-Forsythe F of the variances of the changes",
        "brown_forsythe_p": "p of that F; small where the variances differ",
        "reason": "Why there is no test",
    }
)
EXCLUSION_COLUMNS = _described(
    {
        "participant_id": "Subject",
        "session_id": "Session",
        "region": "Region that is left out; 'all' for the whole session",
        "reason": "Why",
    }
)
PAIR_COLUMNS = _described(
    {
        "group": "Group of the subject, from participants.tsv",
        "participant_id": "Subject",
        "region": "Region of interest",
        "first": f"BPND of the first session, mean over its runs ({_UNITLESS})",
        "second": "BPND of the second session, mean over its runs",
        "change": "second - first",
    }
)
_UPTAKE_TEXTS = _described(
    {
        "measure": "How the dose is taken into account, and over which frames: the whole scan, or "
        "the late window of the settings",
        "region": "Reference region",
        "mean_first": "Mean of the first session, unit of the measure",
        "mean_change_a": "Mean of second minus first session in group_a, unit of the measure",
        "first": "Uptake in the first session, mean over its runs, unit of the measure",
        "second": "Uptake in the second session, mean over its runs",
    }
)


def _of_uptake(columns: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """Columns of a table of the uptake, where those of a table of BPND are known."""
    own = {name: text for name, text in _UPTAKE_TEXTS.items() if name in (*columns, "measure")}
    return columns | own


UPTAKE_PAIR_COLUMNS = _of_uptake(PAIR_COLUMNS)
UPTAKE_PAIRED_COLUMNS = _of_uptake(PAIRED_COLUMNS)
UPTAKE_INTERACTION_COLUMNS = _of_uptake(INTERACTION_COLUMNS)
REGION_COLUMNS = _described(
    {
        "participant_id": "Subject",
        "session_id": "Session",
        "group": "Group of the subject, from participants.tsv",
        "region": "Region of interest",
        "BPND": f"Non-displaceable binding potential ({_UNITLESS})",
        "BPND-se": "Standard error of BPND, per cent of its value",
        "flag": "What is wrong with the fit; n/a where nothing is",
    }
)
