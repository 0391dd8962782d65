"""Settings of the anatomy, a class per backend."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import field_validator

from pipeline.config.section import Section


class EmbeddedAnatomy(Section):
    """Tissues and MNI transform by the packages that come with petbind."""

    backend: Literal["embedded"] = "embedded"
    t1w: str = "session"
    """Whose T1w a session takes: `session` (its own, else the subject's only one, else the
    first), `first`, or `ses-<label>`."""
    brain: Literal["registration", "deepbet"] = "registration"
    """What finds the brain in the head: registration of the template, or the neural network
    deepbet (`pip install petbind[deepbet]`, needs torch); either mask then follows the tissue."""

    @field_validator("t1w")
    @classmethod
    def _known_rule(cls, value: str) -> str:
        if value not in ("session", "first") and not re.fullmatch(r"ses-[A-Za-z0-9]+", value):
            raise ValueError("must be 'session', 'first' or 'ses-<label>'")
        return value
