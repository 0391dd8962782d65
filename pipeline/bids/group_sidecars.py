"""What the columns of the group level's tables mean."""

from __future__ import annotations

from typing import Any

import pandas as pd

from pipeline.bids.group_table import GroupSources
from pipeline.core.errors import DataError
from pipeline.io.tables import read_json
from pipeline.statistics.study_plan import OF_SCAN, StudyPlan

_KEYS = {
    "participant_id": "Subject",
    "session_id": "Session",
    "task": "Label of the task",
    "tracer": "Label of the tracer",
    "reconstruction": "Label of the reconstruction",
    "run": "Label of the run",
    "model": "Label of the kinetic model",
    "pvc": "Label of the partial-volume correction",
    "index": "Number of the region in the table of its run",
    "region": "Region of interest",
    "name": "Region of interest",
    "flag": "What is wrong with the fit; n/a where nothing is",
    "volume-mm3": "Volume of the region inside the field of view of the PET (mm3)",
}


def column_texts(
    table: pd.DataFrame, sources: GroupSources, plan: StudyPlan
) -> dict[str, dict[str, Any]]:
    """A description of every column of a table of the cohort.

    Those of kinetic parameters are taken from the sidecar of the first run.
    """
    parameters = _of_parameters(sources)
    texts: dict[str, dict[str, Any]] = {}
    for column in map(str, table.columns):
        if column in _KEYS:
            texts[column] = {"Description": _KEYS[column]}
        elif column in OF_SCAN:
            texts[column] = {"Description": OF_SCAN[column]}
        elif column in parameters:
            texts[column] = parameters[column]
        elif column == plan.layout.columns.group:
            texts[column] = {"Description": "Group of the subject"}
        else:
            texts[column] = {"Description": plan.shown.get(column, "From the raw data set")}
    return texts


def wide_texts(
    table: pd.DataFrame, sources: GroupSources, plan: StudyPlan
) -> dict[str, dict[str, Any]]:
    """The same of a table with one column per region."""
    outcome = _of_parameters(sources).get(plan.outcome, {})
    return {
        str(column): {"Description": _KEYS[str(column)]}
        if column in _KEYS
        else {**outcome, "Description": f"{plan.outcome} of {column}"}
        for column in table.columns
    }


def _of_parameters(sources: GroupSources) -> dict[str, dict[str, Any]]:
    try:
        content = read_json(sources.kinpar_files[0].with_suffix(".json"))
    except DataError:
        return {}  # tables made elsewhere may come without
    return {key: value for key, value in content.items() if isinstance(value, dict)}
