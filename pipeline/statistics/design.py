"""What a cohort compares: which scans, which sessions in which order, and which groups."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.statistics.study_plan import StudyPlan


@dataclass(frozen=True, kw_only=True)
class ScansChosen:
    """Labels that tables of a cohort are chosen by; empty where there is one kind only."""

    tracer: str = ""
    task: str = ""
    reconstruction: str = ""
    model: str = ""
    pvc: str = ""
    """Of the partial-volume correction; empty for tables without one."""


@dataclass(frozen=True, kw_only=True)
class GroupDesign:
    """Sessions within subjects, and groups between them."""

    group_column: str | None = "group"
    """Column of ``participants.tsv`` that holds the group; without one, all subjects are one."""
    sessions: tuple[str, ...] = ("pre", "post")
    """Labels without ``ses-``, in order; empty for those that are there, without tests."""
    scans: ScansChosen = field(default_factory=ScansChosen)
    plan: StudyPlan | None = None
    """What was declared; without, every region is tested, exploratively."""
    unblind: bool = False
    """Whether the groups are read."""

    @property
    def outcome(self) -> str:
        """Parameter that the study is about."""
        return "BPND" if self.plan is None else self.plan.outcome

    @property
    def blinded(self) -> bool:
        """Whether there are groups that must not be read."""
        if self.unblind:
            return False
        return self.group_column is not None if self.plan is None else self.plan.needs_groups
