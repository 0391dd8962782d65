"""Settings of the parcellation, a class per backend."""

from __future__ import annotations

import re
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


class FreeSurferParcellation(Section):
    """recon-all of FreeSurfer: results that are there are taken, others are made."""

    backend: Literal["freesurfer"] = "freesurfer"
    subjects_dir: str = ""
    """Folder of FreeSurfer's subjects, relative to the folder of the settings file; by default
    `derivatives/freesurfer` of the data set if it is there, else `$SUBJECTS_DIR` unless that is
    FreeSurfer's own, else `sourcedata/freesurfer` of the output."""
    subject: str = ""
    """Name of the subject of a T1w, with its `{subject}` and `{session}`; by default
    `sub-{subject}_ses-{session}`, or `sub-{subject}` where there is only that and it was made of
    this T1w."""
    run: bool = True
    """Whether recon-all makes what is missing and goes on with what it did not finish, which takes
    hours; otherwise sessions without a finished subject do not run. A finished subject is never
    touched."""
    threads: int = Field(default=1, ge=1)
    """Threads of each recon-all (`-parallel -openmp`), of `resources.n_procs` at most. Several
    subjects at a time with one each are done sooner, and only with one is it certain that the last
    digit does not depend on them."""

    @field_validator("subject")
    @classmethod
    def _known_places(cls, value: str) -> str:
        if value:
            check_pattern(value, "without {subject} everyone would get the same labels")
            if not re.fullmatch(r"[\w.{}-]+", value, re.ASCII):
                raise ValueError("only letters, digits and _ . - name a subject")
        return value


ParcellationOptions = Annotated[
    EmbeddedParcellation | GivenParcellation | FreeSurferParcellation,
    Field(discriminator="backend"),
]
