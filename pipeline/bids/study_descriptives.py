"""What a study holds and leaves out as tables, with the JSON that explains them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from pipeline.bids.result_rows import explained
from pipeline.bids.study_table import Study
from pipeline.core.volume import FloatArray


def descriptive_table(study: Study, names: tuple[str, ...]) -> pd.DataFrame:
    """Number, mean and standard deviation of every variable, session and region.

    Over all subjects together; then, where the study is not blinded, in each group.
    """
    everyone = np.ones(len(study.subjects), bool)
    who = {"all": everyone}
    for i, group in enumerate(study.groups):
        who[group] = study.group == i
    rows = []
    for name in names:
        values = study.variables[name]
        for r, t in np.ndindex(values.shape[2], values.shape[1]):
            _, of_sessions, of_regions = values.shape
            about = {
                "variable": name,
                "region": (study.regions[r] or None) if of_regions == len(study.regions) else None,
                "session_id": study.sessions[t] if of_sessions == len(study.sessions) else None,
            }
            for group, inside in who.items():
                rows.append(about | {"group": group} | _described(values[inside, t, r]))
    return pd.DataFrame(rows)


def _described(values: FloatArray) -> dict[str, Any]:
    present = values[np.isfinite(values)]
    return {
        "n": present.size,
        "n_missing": values.size - present.size,
        "mean": float(present.mean()) if present.size else math.nan,
        "sd": float(present.std(ddof=1)) if present.size > 1 else math.nan,
    }


DESCRIPTIVE_COLUMNS = explained(
    {
        "variable": "Column or derived score",
        "region": "Region; n/a where the variable has none",
        "session_id": "Session; n/a where there is one value per subject",
        "group": "Group of the plan; all for all subjects together",
        "n": "Subjects with a value",
        "n_missing": "Subjects without one",
        "mean": "Mean",
        "sd": "Standard deviation (n - 1)",
    }
)
STUDY_EXCLUSION_COLUMNS = explained(
    {
        "participant_id": "Subject; n/a for all",
        "session_id": "Session; n/a for all",
        "region": "Region; n/a for all",
        "column": "Column or derived score; n/a for the whole row",
        "value": "Its value, if any",
        "reason": "What is missing or odd",
        "action": "What was done about it",
    }
)
