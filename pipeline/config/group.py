"""Settings of the group level."""

from __future__ import annotations

from typing import Self

from pydantic import Field, field_validator, model_validator

from pipeline.config.plan import Plan
from pipeline.config.section import Section
from pipeline.config.voxelwise import Voxelwise
from pipeline.statistics.plan import ColumnNames

_LABEL = "^[A-Za-z0-9+]*$"


class Group(Section):
    """Which scans the cohort is made of, and what is asked of it."""

    plan: Plan | None = None
    """The declared analysis; without one, every region is tested, exploratively."""
    group_column: str = "group"
    """Column of participants.tsv with the treatment group; empty for a study of one group. A plan
    names its own."""
    sessions: tuple[str, ...] = ("pre", "post")
    """Labels of the sessions before and after treatment; empty for tables without tests. A plan
    names its own."""
    tracer: str = Field(default="", pattern=_LABEL)
    """Label of the tracer (`trc-`), where a data set holds several."""
    task: str = Field(default="", pattern=_LABEL)
    """Label of the task, where there are several."""
    reconstruction: str = Field(default="", pattern=_LABEL)
    """Label of the reconstruction (`rec-`), where there are several."""
    model: str = Field(default="", pattern=_LABEL)
    """Label of the model in the names of the tables, such as `SRTM`, where there are several."""
    voxelwise: Voxelwise = Voxelwise()
    """How maps are compared."""
    pvc: str = Field(default="", pattern=_LABEL)
    """Which tables the cohort is made of: empty for curves without partial-volume correction, or
    the label of a correction in their names, such as `GTM`."""

    @field_validator("sessions")
    @classmethod
    def _two_or_none(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        plain = tuple(label.removeprefix("ses-") for label in value)
        if len(set(plain)) not in (0, 2) or len(plain) not in (0, 2):
            raise ValueError("name two different sessions, or none")
        return plain

    @model_validator(mode="after")
    def _plan_says_it(self) -> Self:
        """The plan's sessions and column of groups, which nothing else may contradict."""
        if self.plan is None:
            return self
        own = {
            "sessions": self.plan.sessions,
            "group_column": self.plan.columns.group if self.plan.needs_groups else "",
        }
        for name, value in own.items():
            if name in self.model_fields_set and getattr(self, name) != value:
                raise ValueError(f"{name}: group.plan says {value!r}; leave it out here")
            object.__setattr__(self, name, value)
        usual = ColumnNames(group=self.plan.columns.group)
        if self.plan.columns != usual:
            raise ValueError("plan.columns: only group can be named; the others are BIDS names")
        if not self.plan.regions:
            raise ValueError("plan.regions: name those that are tested")
        return self
