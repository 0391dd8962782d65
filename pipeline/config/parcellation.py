"""Settings of the parcellation, a class per backend."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from pipeline.config.section import Section, check_pattern


class EmbeddedParcellation(Section):
    """FreeSurfer-numbered labels by a Bayesian labelling with atlas priors."""

    backend: Literal["embedded"] = "embedded"


class GivenParcellation(Section):
    """Labels that another program or a person made of every T1w."""

    backend: Literal["given"] = "given"
    dseg: str
    """File of FreeSurfer-numbered labels in the space of the T1w, on any grid, with `{subject}`
    and `{session}` for the labels of the T1w; relative to the folder of the settings file."""

    @field_validator("dseg")
    @classmethod
    def _known_places(cls, value: str) -> str:
        check_pattern(value, "without {subject} everyone would get the same labels")
        return value


ParcellationOptions = Annotated[
    EmbeddedParcellation | GivenParcellation, Field(discriminator="backend")
]
