"""What every section of the settings is made of."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen group of settings."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True
    )


def check_pattern(value: str, without_subject: str) -> None:
    """Refuse a file name whose places nobody fills, or that is the same for everyone."""
    try:
        value.format(subject="", session="")
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError("only {subject} and {session} are filled in") from error
    if "{subject}" not in value:
        raise ValueError(without_subject)


def check_sessions(names: Iterable[str]) -> None:
    """Refuse what is not written as a subject, or a session of one."""
    for name in names:
        if not re.fullmatch(r"sub-[A-Za-z0-9]+(_[a-z]+-[A-Za-z0-9]+)*", name):
            raise ValueError(f"'{name}' is no session; write sub-01 or sub-01_ses-pre")
