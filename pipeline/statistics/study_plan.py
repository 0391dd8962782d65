"""The analysis of a study as one value: what is read, derived, tested and shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pipeline.statistics.multiplicity import Adjustment
from pipeline.statistics.plan import (
    BetweenSessions,
    ColumnNames,
    Derived,
    Equals,
    PlannedInteraction,
    PlannedPairedT,
    PlannedTest,
    Responder,
    StudyLayout,
    needs_groups,
)
from pipeline.statistics.power import ALPHA, POWER

RADIOCHEMISTRY = {
    "injected_mbq": "Injected radioactivity (MBq)",
    "molar_activity_gbq_per_umol": "Molar activity (GBq/µmol)",
    "injected_mass_ug": "Injected mass (µg)",
    "reference_suv": "Reference region, SUV (g/mL)",
    "reference_suv_late": "Reference region, SUV of late frames (g/mL)",
    "reference_percent_per_litre": "Reference region, share of the injected dose (%/L)",
    "reference_percent_per_litre_late": "Reference region, the same of late frames (%/L)",
}
"""What a cohort's table knows of every scan, with the text that figures and tables show."""

MOTION = {
    "mean_fd_mm": "Framewise displacement, mean (mm)",
    "max_fd_mm": "Framewise displacement, largest (mm)",
}
"""What it knows of motion."""

OF_SCAN = RADIOCHEMISTRY | MOTION
"""Columns that need not be declared: one value per subject and session."""


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """A plan that was checked, with nothing left to choose."""

    outcome: str
    layout: StudyLayout
    columns: tuple[str, ...]
    """Columns of the table whose numbers are read, the outcome first."""
    words: tuple[Equals, ...]
    """Variables made of columns of words."""
    derived: tuple[Derived, ...]
    tests: tuple[PlannedTest, ...]
    covariates: tuple[str, ...]
    described: tuple[str, ...]
    """Variables and scores that are described, whether or not a test looks at them."""
    multiplicity: Adjustment
    alpha: float
    power: float
    """That `n_for_power` of the results is for."""
    labels: tuple[tuple[str, str], ...]
    """Variables with the text that figures and tables show."""

    @property
    def needs_groups(self) -> bool:
        """Whether a test compares groups, or looks within them."""
        return any(needs_groups(test) for test in self.tests)

    @property
    def shown(self) -> Mapping[str, str]:
        """`labels`, with those of what is known of every scan."""
        return OF_SCAN | dict(self.labels)

    @property
    def binary(self) -> tuple[str, ...]:
        """Variables that are 0 or 1."""
        return tuple(s.name for s in self.derived if isinstance(s, Responder | Equals))

    @property
    def clinical(self) -> tuple[str, ...]:
        """Scales with a value per subject and session."""
        declared = (n for n in self.layout.session_columns if n not in OF_SCAN)
        return tuple(name for name in declared if name in self.described)

    @property
    def responders(self) -> tuple[str, ...]:
        """Variables that say who responded."""
        return tuple(score.name for score in self.derived if isinstance(score, Responder))

    @property
    def demography(self) -> tuple[str, ...]:
        """What is told of every subject before treatment; scores between sessions are not."""
        later = {s.name for s in self.derived if isinstance(s, BetweenSessions | Responder)}
        of_region = {self.outcome, *(region.volume for region in self.layout.joined)}
        return tuple(name for name in self.described if name not in {*later, *of_region, *OF_SCAN})

    @property
    def without_groups(self) -> StudyPlan:
        """The plan as long as nobody may know who is in which group."""
        return replace(self, layout=replace(self.layout, groups=()))

    def with_columns_of_scan(self, names: tuple[str, ...]) -> StudyPlan:
        """The plan, describing these columns of `OF_SCAN` too."""
        new = tuple(name for name in names if name not in self.columns)
        known = {*self.layout.session_columns, *self.layout.subject_columns}
        declared = tuple(name for name in new if name not in known)
        layout = replace(self.layout, session_columns=(*self.layout.session_columns, *declared))
        return replace(
            self,
            layout=layout,
            columns=(*self.columns, *new),
            described=tuple(dict.fromkeys((*self.described, *names))),
        )


def usual_plan(
    regions: tuple[str, ...],
    sessions: tuple[str, ...],
    group_column: str | None,
    groups: tuple[str, ...],
    of_scan: tuple[str, ...],
    *,
    tested: bool = True,
) -> StudyPlan:
    """What is done where nothing was declared: exploratory tests of every region and scan.

    Parameters
    ----------
    regions, sessions, groups : tuple of str
        Those found; no groups where there is one only, or while the study is blinded.
    group_column : str, optional
        Column that holds the groups; None where there is one group.
    of_scan : tuple of str
        Columns of `OF_SCAN` that hold something.
    tested : bool
        Whether anything is tested at all.

    Returns
    -------
    StudyPlan
        Without tests while groups are not known that there are, and where there are not two
        sessions.
    """
    blinded = group_column is not None and not groups
    tests: list[PlannedTest] = []
    if tested and len(sessions) == 2 and not blinded:
        for name in ("", *of_scan):
            tests += _change_of(name, groups)
    return StudyPlan(
        outcome="BPND",
        layout=StudyLayout(
            columns=ColumnNames(group=group_column or "group"),
            sessions=sessions,
            regions=regions,
            joined=(),
            groups=groups,
            session_columns=tuple(OF_SCAN),
            subject_columns=(),
            leave_out_flagged=False,
        ),
        columns=("BPND", *of_scan),
        words=(),
        derived=(),
        tests=tuple(tests),
        covariates=(),
        described=("BPND", *of_scan),
        multiplicity="none",
        alpha=ALPHA,
        power=POWER,
        labels=(),
    )


def _change_of(name: str, groups: tuple[str, ...]) -> list[PlannedTest]:
    """Change of a variable, the outcome where it has no name, within groups and between them."""
    title = OF_SCAN.get(name, "BPND")
    tests: list[PlannedTest] = [
        PlannedPairedT(
            kind="paired_t",
            title=f"Change: {title}",
            confirmatory=False,
            of=name,
            by_group=bool(groups),
        )
    ]
    if len(groups) > 1:
        tests.append(
            PlannedInteraction(
                kind="interaction", title=f"Group x time: {title}", confirmatory=False, of=name
            )
        )
    return tests
