"""Tables of time-activity curves, as BIDS derivatives and PETPrep write them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.core.errors import DataError
from pipeline.core.timing import FrameTiming
from pipeline.core.volume import FloatArray
from pipeline.io.tables import read_json, read_table

_FRAMES = ("frame_start", "frame_end")


@dataclass(frozen=True, eq=False)
class TacTable:
    """Curves of one scan."""

    path: Path
    timing: FrameTiming
    curves: dict[str, FloatArray]
    """Region to its curve (F,); NaN where the table has n/a."""
    sidecar: dict[str, Any] = field(default_factory=dict)
    """What the JSON file beside the table says; empty if there is none."""

    def curve(self, name: str) -> FloatArray:
        """Curve of a region.

        Raises
        ------
        DataError
            If the table has no such region.
        """
        if name not in self.curves:
            raise DataError(
                f"{self.path}: no curve named '{name}'; found {', '.join(self.curves)}"
            )
        return self.curves[name]


def read_tacs(path: str | Path) -> TacTable:
    """Read a table with columns ``frame_start`` and ``frame_end`` (s) and one per region.

    Raises
    ------
    DataError
        If the table cannot be read, a column is missing, twice there, without a name or not of
        numbers, or the frames overlap.
    """
    path = Path(path)
    table = read_table(path)
    _require_headings(path)
    missing = [name for name in _FRAMES if name not in table.columns]
    if missing:
        raise DataError(
            f"{path}: no column {' or '.join(missing)}; a table of curves starts with "
            f"frame_start and frame_end in seconds, separated by tabs (found "
            f"{', '.join(table.columns)})"
        )
    start, end = (_numbers(path, table, name) for name in _FRAMES)
    try:
        timing = FrameTiming(start, end - start)
    except ValueError as error:
        raise DataError(f"{path}: {error}; frame_start and frame_end are in seconds") from error
    regions = [name for name in table.columns if name not in _FRAMES]
    if not regions:
        raise DataError(f"{path}: no column with a curve")
    sidecar = path.with_suffix(".json")
    return TacTable(
        path,
        timing,
        {name: _numbers(path, table, name) for name in regions},
        read_json(sidecar) if sidecar.is_file() else {},
    )


def _require_headings(path: Path) -> None:
    """Every column has a name of its own; pandas would make names up."""
    with path.open(encoding="utf-8-sig") as lines:
        names = [name.strip() for name in lines.readline().rstrip("\r\n").split("\t")]
    if "" in names:
        raise DataError(
            f"{path}: column {names.index('') + 1} has no name; a row number is no curve: "
            "take the column out"
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: column {', '.join(twice)} is there twice; keep one")


def _numbers(path: Path, table: pd.DataFrame, name: str) -> FloatArray:
    values: FloatArray = pd.to_numeric(table[name], errors="coerce").to_numpy(float)
    wrong = np.isnan(values) & table[name].notna().to_numpy()
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"{path}: column {name}, row {row + 2}: '{table[name].iloc[row]}' is not a number; "
            "a missing value is n/a"
        )
    return values
