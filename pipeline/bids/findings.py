"""What was found odd or wrong in a data set, said so that a person can mend it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One oddity.

    Parameters
    ----------
    severity : {"error", "warning", "note"}
        An error keeps the scan from running; a warning may change results; a note does not.
    where : str
        File, relative to the data set.
    key : str or None
        Sidecar key or table column, where there is one.
    message : str
        What is wrong, with the values concerned.
    next_step : str
        What to do about it.
    """

    severity: Severity
    where: str
    key: str | None
    message: str
    next_step: str

    @property
    def is_error(self) -> bool:
        """Whether the scan it belongs to cannot run."""
        return self.severity == "error"

    def __str__(self) -> str:
        place = self.where if self.key is None else f"{self.where} [{self.key}]"
        step = self.next_step[:1].upper() + self.next_step[1:]
        return f"{self.severity}: {place}: {self.message}. {step}."
