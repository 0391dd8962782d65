"""What a study declares before it looks: columns, derived scores and tests, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pipeline.statistics.permutation import DRAWS

_OPTIONS = {"extra": "forbid", "use_attribute_docstrings": True}


@dataclass(frozen=True, kw_only=True)
class ColumnNames:
    """Columns of a long table that say whose, when and where a value is."""

    __pydantic_config__: ClassVar = _OPTIONS

    subject: str = "participant_id"
    session: str = "session_id"
    region: str = "name"
    """Only read where the plan names regions."""
    group: str = "group"
    """Only read with `--unblind`."""
    flag: str = "flag"
    """What is wrong with a fit; need not be there."""


@dataclass(frozen=True, kw_only=True)
class JoinedRegion:
    """Mean of regions, weighted by their volumes, as of left and right."""

    __pydantic_config__: ClassVar = _OPTIONS

    name: str
    of: tuple[str, ...]
    """Regions of the table; where one has no value, neither has the mean."""
    volume: str
    """Column of the volumes, in any unit."""


@dataclass(frozen=True, kw_only=True)
class StudyLayout:
    """Axes of a study, each in the order of the plan."""

    columns: ColumnNames
    sessions: tuple[str, ...]
    regions: tuple[str, ...]
    """Empty: one value per subject and session."""
    joined: tuple[JoinedRegion, ...]
    """Those of the regions that are made of others."""
    groups: tuple[str, ...]
    session_columns: tuple[str, ...]
    """Columns that are the same in all regions."""
    subject_columns: tuple[str, ...]
    """Columns that are the same in all sessions too."""
    leave_out_flagged: bool
    """Leave out outcomes whose flag is not empty."""

    @property
    def regions_read(self) -> tuple[str, ...]:
        """Regions of the table that are needed, each once."""
        parts = {region.name: region.of for region in self.joined}
        found = [part for name in self.regions for part in parts.get(name, (name,))]
        return tuple(dict.fromkeys(found))


@dataclass(frozen=True, kw_only=True)
class BetweenSessions:
    """Change (second minus first), or reduction (first minus second), of every subject."""

    __pydantic_config__: ClassVar = _OPTIONS

    kind: Literal["change", "reduction", "percent_change", "percent_reduction"]
    """The percent are of the first session."""
    name: str
    of: str
    sessions: tuple[str, str]
    """First and second."""


@dataclass(frozen=True, kw_only=True)
class Responder:
    """1 where a value reaches a threshold, 0 where it does not."""

    __pydantic_config__: ClassVar = _OPTIONS

    kind: Literal["responder"]
    name: str
    of: str
    at_least: float


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A column minus others, as of a scale without some of its items."""

    __pydantic_config__: ClassVar = _OPTIONS

    kind: Literal["difference"]
    name: str
    of: str
    minus: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Equals:
    """1 where a column of words holds a certain one, 0 where it holds another."""

    __pydantic_config__: ClassVar = _OPTIONS

    kind: Literal["equals"]
    name: str
    of: str
    """Column of the table; its words are not read as numbers."""
    value: str


Derived = BetweenSessions | Responder | Difference | Equals


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What every test declares."""

    __pydantic_config__: ClassVar = _OPTIONS

    title: str
    confirmatory: bool
    """Whether the study stands or falls with it; exploratory otherwise."""
    regions: tuple[str, ...] = ()
    """Regions in which it is made; empty for all of the plan."""


@dataclass(frozen=True, kw_only=True)
class PlannedPairedT(Planned):
    """Paired t test of two sessions."""

    kind: Literal["paired_t"]
    of: str = ""
    """Column or derived score; empty for the outcome of the plan."""
    sessions: tuple[str, ...] = ()
    """Two, earlier first; empty for those of the plan."""
    by_group: bool = False
    """Within every group, not over all subjects together."""


@dataclass(frozen=True, kw_only=True)
class PlannedTwoSampleT(Planned):
    """t test of two groups."""

    kind: Literal["two_sample_t"]
    of: str = ""
    session: str = ""
    """For what varies between sessions."""
    groups: tuple[str, ...] = ()
    """Two; empty for those of the plan."""
    equal_var: bool = False
    """Student's test; Welch's otherwise."""


@dataclass(frozen=True, kw_only=True)
class PlannedInteraction(Planned):
    """Group x time interaction of the mixed analysis of variance."""

    kind: Literal["interaction"]
    of: str = ""
    sessions: tuple[str, ...] = ()
    """Two or more; empty for those of the plan."""
    groups: tuple[str, ...] = ()
    """Two or more; empty for those of the plan."""


@dataclass(frozen=True, kw_only=True)
class PlannedCorrelation(Planned):
    """Correlation of two columns or derived scores over subjects."""

    kind: Literal["correlation"]
    x: str
    y: str
    method: Literal["pearson", "spearman"] = "pearson"
    session: str = ""
    """For what varies between sessions."""
    by_group: bool = False


@dataclass(frozen=True, kw_only=True)
class PlannedFisher(Planned):
    """Fisher's exact test of a column of 0 and 1, such as a responder, in two groups."""

    kind: Literal["fisher"]
    of: str
    session: str = ""
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PlannedMixedModel(Planned):
    """Group x time of a linear mixed model with the covariates of the plan."""

    kind: Literal["mixed_model"]
    of: str = ""
    sessions: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PlannedPermutation(Planned):
    """Permutation p of the group x time interaction, or of a paired difference."""

    kind: Literal["permutation"]
    design: Literal["interaction", "paired"]
    seed: int
    draws: int = DRAWS
    """Random exchanges, where all of them are more."""
    of: str = ""
    sessions: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    """Of an interaction."""
    by_group: bool = False
    """Of a paired difference."""


@dataclass(frozen=True, kw_only=True)
class PlannedSampleSize(Planned):
    """Subjects of a trial of two groups for the interaction, from the change within one group.

    The change of the others is taken as zero. It tests nothing, and is not in any family.
    """

    kind: Literal["sample_size"]
    group: str
    """Whose change is taken."""
    power: float | None = None
    """Wanted power; without it that of the plan."""
    allocation: tuple[float, float] = (1.0, 1.0)
    """Treated subjects, and controls for them, as in [2, 1]."""
    of: str = ""
    sessions: tuple[str, ...] = ()
    """Two, earlier first; empty for those of the plan."""
    confirmatory: bool = False


PlannedTest = (
    PlannedPairedT
    | PlannedTwoSampleT
    | PlannedInteraction
    | PlannedCorrelation
    | PlannedFisher
    | PlannedMixedModel
    | PlannedPermutation
    | PlannedSampleSize
)


def variables_of(test: PlannedTest, outcome: str) -> tuple[str, ...]:
    """Columns and derived scores that a test looks at."""
    return (test.x, test.y) if isinstance(test, PlannedCorrelation) else (test.of or outcome,)


def needs_groups(test: PlannedTest) -> bool:
    """Whether a test must know who is in which group."""
    if isinstance(test, PlannedPairedT | PlannedCorrelation):
        return test.by_group
    if isinstance(test, PlannedPermutation):
        return test.by_group or test.design == "interaction"
    return True
