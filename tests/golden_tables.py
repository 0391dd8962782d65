"""Tables of `tests/golden`: the data of a design, and what R found in them."""

import csv
from functools import cache
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parent / "golden"


def _rows(name):
    with (FOLDER / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


@cache
def expected(design):
    """Quantity to value."""
    rows = _rows("group_statistics_expected.tsv")
    return {row["quantity"]: float(row["value"]) for row in rows if row["design"] == design}


@cache
def long(design):
    """Columns of a design, one row per subject and session."""
    rows = [row for row in _rows("group_statistics_data.tsv") if row["design"] == design]
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    for name in ("age", "value"):
        columns[name] = np.where(columns[name] == "n/a", "nan", columns[name]).astype(float)
    return columns


def wide(design):
    """Values (N, M) with a row per subject, and the group of each."""
    columns = long(design)
    sessions = len(np.unique(columns["session"]))
    return columns["value"].reshape(-1, sessions), columns["group"][::sessions]
