"""Tab-separated tables and JSON sidecars, as BIDS writes them: missing is ``n/a``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.core.errors import DataError


def read_table(path: str | Path, *, as_text: bool = False) -> pd.DataFrame:
    """A TSV as a data frame; ``n/a`` and empty cells are NaN.

    Parameters
    ----------
    path : str or path
        The table.
    as_text : bool
        Leave every cell as it is written, and keep empty lines, so that row i is line i + 2.

    Raises
    ------
    DataError
        If the file is missing or is not a table.
    """
    try:
        table = pd.read_csv(
            path,
            sep="\t",
            na_values=["n/a", ""],
            keep_default_na=False,
            dtype=str if as_text else None,
            skip_blank_lines=not as_text,
        )
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise DataError(f"{path}: is a folder; a table is needed") from error
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        told = " ".join(str(error).split())
        raise DataError(f"{path}: not a readable table ({told})") from error
    if as_text and not isinstance(table.index, pd.RangeIndex):
        # pandas would take the first column for an index, and shift the others
        raise DataError(f"{path}: line 2: more cells than line 1 has columns")
    return table


def write_table(path: str | Path, table: pd.DataFrame) -> Path:
    """Write a TSV without index; NaN as ``n/a``, ten significant digits."""
    table.to_csv(path, sep="\t", index=False, na_rep="n/a", float_format="%.10g")
    return Path(path)


def read_json(path: str | Path) -> dict[str, Any]:
    """A JSON object.

    Raises
    ------
    DataError
        If the file is missing, is not JSON, or holds something other than an object.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable JSON ({error})") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: a JSON object expected, not {type(content).__name__}")
    return content


def write_json(path: str | Path, content: Mapping[str, Any]) -> Path:
    """Write a JSON object, indented, keys in the order given; NaN and numpy values allowed."""
    text = json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    Path(path).write_text(text + "\n", encoding="utf-8")
    return Path(path)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return "n/a"
    if isinstance(value, Path):
        return value.as_posix()
    return value
