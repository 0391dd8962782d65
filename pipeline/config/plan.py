"""The declared analysis plan of `petbind stats`."""

from __future__ import annotations

import dataclasses
import difflib
import math
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, ValidationError, model_validator

from pipeline.config.section import Section
from pipeline.core.errors import ConfigError
from pipeline.statistics.multiplicity import Adjustment
from pipeline.statistics.plan import (
    BetweenSessions,
    ColumnNames,
    Derived,
    Equals,
    JoinedRegion,
    PlannedCorrelation,
    PlannedMixedModel,
    PlannedPermutation,
    PlannedSampleSize,
    PlannedTest,
    StudyLayout,
    needs_groups,
    variables_of,
)
from pipeline.statistics.power import POWER
from pipeline.statistics.study_plan import OF_SCAN, StudyPlan

_SESSIONS_OF_KIND = {"paired_t": 2, "permutation": 2, "sample_size": 2}
_GROUPS_OF_KIND = {"two_sample_t": 2, "fisher": 2, "permutation": 2}


class Plan(Section):
    """What a study declares before it looks at its data."""

    outcome: str
    """Column of the outcome, such as BPND."""
    columns: ColumnNames = ColumnNames()
    """Columns of subjects, sessions, regions, groups and flags."""
    sessions: tuple[str, ...] = Field(min_length=1)
    """Sessions in order, with or without `ses-`; rows of others are left out and listed."""
    regions: tuple[str, ...] = ()
    """Regions that are tested, one result each; empty where the table has none."""
    joined: tuple[JoinedRegion, ...] = ()
    """Regions that are means of others, weighted by volume, such as both sides; `regions` names
    them too."""
    groups: tuple[str, ...] = ()
    """Groups in order: differences are the first minus the second."""
    session_columns: tuple[str, ...] = ()
    """Columns with one value per subject and session, such as a clinical scale."""
    subject_columns: tuple[str, ...] = ()
    """Columns with one value per subject, such as age."""
    covariates: tuple[str, ...] = ()
    """Columns or derived scores that mixed models adjust for."""
    flagged: Literal["keep", "leave_out"] = "keep"
    """What is done with outcomes whose flag is not empty; they are listed in either case."""
    alpha: float = Field(default=0.05, gt=0, lt=1)
    """Level that adjusted p values are held against."""
    power: float = Field(default=POWER, gt=0, lt=1)
    """Power that `n_for_power` of the results, and sample sizes that name none, are for."""
    multiplicity: Adjustment = "none"
    """`holm`, `fdr` or `none`: over all confirmatory results, and apart from them over all
    exploratory ones."""
    derived: tuple[Annotated[Derived, Field(discriminator="kind")], ...] = ()
    """Scores made of columns, or of scores before them."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Columns and scores with the text that figures and tables show, unit included."""
    tests: tuple[Annotated[PlannedTest, Field(discriminator="kind")], ...] = Field(min_length=1)
    """The tests, in the order of the results."""

    @property
    def value(self) -> StudyPlan:
        """The plan as code below the settings takes it."""
        return StudyPlan(
            outcome=self.outcome,
            layout=self.layout,
            columns=self.numeric_columns,
            words=self.words,
            derived=self.derived,
            tests=self.tests,
            covariates=self.covariates,
            described=self.described,
            multiplicity=self.multiplicity,
            alpha=self.alpha,
            power=self.power,
            labels=tuple(self.labels.items()),
        )

    @property
    def layout(self) -> StudyLayout:
        """Axes of the study."""
        return StudyLayout(
            columns=self.columns,
            sessions=self.sessions,
            regions=self.regions,
            joined=self.joined,
            groups=self.groups if self.needs_groups else (),
            session_columns=(*self.session_columns, *self._of_scan),
            subject_columns=self.subject_columns,
            leave_out_flagged=self.flagged == "leave_out",
        )

    @property
    def _of_scan(self) -> tuple[str, ...]:
        """Columns that are known of every scan, and need not be declared."""
        declared = {*self.session_columns, *self.subject_columns}
        return tuple(n for n in self.columns_read if n in OF_SCAN and n not in declared)

    @property
    def needs_groups(self) -> bool:
        """Whether a test compares groups, or looks within them."""
        return any(needs_groups(test) for test in self.tests)

    @property
    def variables(self) -> tuple[str, ...]:
        """Outcome, covariates, and every column and score that a test looks at, once each."""
        named = [self.outcome]
        for test in self.tests:
            named += variables_of(test, self.outcome)
        return tuple(dict.fromkeys([*named, *self.covariates]))

    @property
    def described(self) -> tuple[str, ...]:
        """Variables, and columns and scores that no test looks at."""
        parts = {name for score in self.derived for name in getattr(score, "minus", ())}
        words = {score.of for score in self.words}
        declared = [
            name
            for name in (*self.subject_columns, *self.session_columns)
            if name not in parts | words
        ]
        scores = (score.name for score in self.derived)
        return tuple(dict.fromkeys([*self.variables, *declared, *scores]))

    @property
    def words(self) -> tuple[Equals, ...]:
        """Scores made of columns of words."""
        return tuple(score for score in self.derived if isinstance(score, Equals))

    @property
    def columns_read(self) -> tuple[str, ...]:
        """Columns of the table that hold values, the outcome first."""
        named = [*self.variables, *self.session_columns, *self.subject_columns]
        named += [region.volume for region in self.joined]
        for score in self.derived:
            named += [score.of, *getattr(score, "minus", ())]
        scores = {score.name for score in self.derived}
        return tuple(dict.fromkeys(name for name in named if name not in scores))

    @property
    def numeric_columns(self) -> tuple[str, ...]:
        """Columns of the table whose numbers are read, the outcome first."""
        words = {score.of for score in self.words}
        return tuple(name for name in self.columns_read if name not in words)

    @model_validator(mode="after")
    def _labels_once(self) -> Self:
        plain = tuple(label.removeprefix("ses-") for label in self.sessions)
        object.__setattr__(self, "sessions", plain)
        for what in ("sessions", "regions", "groups"):
            _require_once(what, getattr(self, what))
        _require_once("tests, title", tuple(test.title for test in self.tests))
        both = set(self.session_columns) & set(self.subject_columns)
        if both:
            raise ValueError(f"{min(both)} is in session_columns and in subject_columns")
        if self.columns.group in self.columns_read:
            raise ValueError(f"{self.columns.group} holds the groups, and cannot be tested itself")
        models = any(isinstance(test, PlannedMixedModel) for test in self.tests)
        if self.covariates and not models:
            raise ValueError("covariates are for a mixed_model, and no test is one")
        if self.groups and not self.needs_groups:
            raise ValueError("groups are given, and no test looks at them")
        if self.power <= self.alpha:
            raise ValueError(f"power: more than alpha, {self.alpha:g}, expected")
        return self

    @model_validator(mode="after")
    def _regions_can_be_joined(self) -> Self:
        _require_once("joined, name", tuple(region.name for region in self.joined))
        for region in self.joined:
            where = f"joined {region.name}"
            if region.name not in self.regions:
                raise ValueError(f"{where}: name it in regions too, or leave it out")
            if len(set(region.of)) < 2 or len(set(region.of)) < len(region.of):
                raise ValueError(f"{where}: of: two or more different regions expected")
            if set(region.of) & {other.name for other in self.joined}:
                raise ValueError(f"{where}: of: regions of the table are expected")
            if region.volume in (*self.session_columns, *self.subject_columns):
                raise ValueError(f"{where}: volume: {region.volume} is the same in all regions")
        return self

    @model_validator(mode="after")
    def _scores_can_be_made(self) -> Self:
        scores = tuple(score.name for score in self.derived)
        _require_once("derived, name", scores)
        if self.outcome in scores:
            raise ValueError(f"outcome: {self.outcome} is derived; a column is expected")
        self._check_words(scores)
        for i, score in enumerate(self.derived):
            later = {other.name for other in self.derived[i:]}
            if wrong := later & {score.of, *getattr(score, "minus", ())}:
                raise ValueError(f"derived {score.name}: {min(wrong)} must come before it")
            if isinstance(score, BetweenSessions):
                chosen = tuple(label.removeprefix("ses-") for label in score.sessions)
                self._check_labels(f"derived {score.name}", "sessions", chosen)
                if not self.varies(score.of):
                    raise ValueError(f"derived {score.name}: {score.of} has one value per subject")
        return self

    @model_validator(mode="after")
    def _tests_can_be_made(self) -> Self:
        for test in self.tests:
            where = f"tests, '{test.title}'"
            if hasattr(test, "sessions"):
                self._check_sessions(where, test)
            else:
                self._check_session(where, test)
            if strange := [name for name in test.regions if name not in self.regions]:
                raise ValueError(
                    f"{where}: regions: '{strange[0]}' is not among those of the plan"
                )
            _require_once(f"{where}: regions", test.regions)
            if isinstance(test, PlannedPermutation):
                _check_permutation(where, test)
            if isinstance(test, PlannedSampleSize):
                self._check_sample_size(where, test)
            if needs_groups(test):
                self._check_groups(where, test)
        return self

    def varies(self, name: str) -> bool:
        """Whether a column or score has a value for every session."""
        for score in self.derived:
            if score.name == name:
                parts = (score.of, *getattr(score, "minus", ()))
                return not isinstance(score, BetweenSessions) and any(map(self.varies, parts))
        return name not in self.subject_columns

    def _check_words(self, scores: tuple[str, ...]) -> None:
        """Columns of words are not reckoned with."""
        numbers = {*self.variables}
        for score in self.derived:
            if not isinstance(score, Equals):
                numbers |= {score.of, *getattr(score, "minus", ())}
        for score in self.words:
            if score.of in scores:
                raise ValueError(f"derived {score.name}: of: a column of the table is expected")
            if score.of in numbers:
                raise ValueError(
                    f"derived {score.name}: {score.of} is read as words here, as numbers elsewhere"
                )

    def _check_sessions(self, where: str, test: Any) -> None:
        chosen = tuple(label.removeprefix("ses-") for label in test.sessions) or self.sessions
        self._check_labels(where, "sessions", chosen, _SESSIONS_OF_KIND.get(test.kind))
        if not self.varies(test.of or self.outcome):
            raise ValueError(f"{where}: {test.of or self.outcome} has one value per subject")

    def _check_session(self, where: str, test: Any) -> None:
        names = variables_of(test, self.outcome)
        varying = [name for name in names if self.varies(name)]
        if varying and not test.session:
            raise ValueError(f"{where}: session: say in which session {varying[0]} is taken")
        if test.session and not varying:
            raise ValueError(f"{where}: session: {names[0]} has one value per subject")
        if test.session and test.session.removeprefix("ses-") not in self.sessions:
            raise ValueError(f"{where}: session '{test.session}' is not in the plan")

    def _check_sample_size(self, where: str, test: PlannedSampleSize) -> None:
        if test.group not in self.groups:
            raise ValueError(f"{where}: group '{test.group}' is not among those of the plan")
        if test.power is not None and not self.alpha < test.power < 1:
            raise ValueError(f"{where}: power: more than alpha, {self.alpha:g}, and less than 1")
        if min(test.allocation) <= 0 or not math.isfinite(sum(test.allocation)):
            raise ValueError(f"{where}: allocation: two numbers above 0 expected, as in [2, 1]")
        if test.confirmatory:
            raise ValueError(f"{where}: confirmatory: a sample size tests nothing; leave it out")

    def _check_groups(self, where: str, test: Any) -> None:
        if isinstance(test, PlannedSampleSize):
            return
        if isinstance(test, PlannedCorrelation) or getattr(test, "by_group", False):
            if not self.groups:
                raise ValueError(f"{where}: by_group: the plan names no groups")
            return
        chosen = getattr(test, "groups", ()) or self.groups
        self._check_labels(where, "groups", chosen, _GROUPS_OF_KIND.get(test.kind))

    def _check_labels(
        self, where: str, what: str, chosen: tuple[str, ...], count: int | None = None
    ) -> None:
        known = getattr(self, what)
        if strange := [label for label in chosen if label not in known]:
            raise ValueError(f"{where}: {what}: '{strange[0]}' is not among those of the plan")
        enough = len(chosen) == count if count else len(chosen) >= 2
        if not enough or len(set(chosen)) < len(chosen):
            wanted = "two" if count else "two or more"
            found = ", ".join(chosen) or "none"
            raise ValueError(f"{where}: {what}: {wanted} different ones expected, not {found}")


def _check_permutation(where: str, test: PlannedPermutation) -> None:
    if test.design == "interaction" and test.by_group:
        raise ValueError(f"{where}: by_group is for design = 'paired'")
    if test.design == "paired" and test.groups:
        raise ValueError(f"{where}: groups are for design = 'interaction'; set by_group")
    if test.draws < 1 or test.seed < 0:
        raise ValueError(f"{where}: draws of at least 1, and a seed of at least 0, expected")


def _require_once(what: str, labels: tuple[str, ...]) -> None:
    if twice := [label for label in labels if labels.count(label) > 1]:
        raise ValueError(f"{what}: '{twice[0]}' is given twice")
    if "" in labels:
        raise ValueError(f"{what}: an empty one is given")


def load_plan(path: Path) -> Plan:
    """A plan of a TOML file.

    Raises
    ------
    ConfigError
        Naming everything that is wrong in it.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: not a readable TOML file ({error})") from error
    try:
        return Plan.model_validate(content)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        lines = [f"{path}: {len(problems)} problem(s)"]
        raise ConfigError("\n".join([*lines, *map(told_problem, problems)])) from error


def told_problem(problem: Any) -> str:
    """One problem of a plan on a line; tests and scores are counted from 1."""
    place = list(problem["loc"])
    listed = len(place) > 1 and place[0] in ("tests", "derived", "joined")
    kind = str(place[0]) if place else ""
    if listed and kind != "joined":
        kind = str(place.pop(2)) if len(place) > 2 else ""
    if listed:
        place[:2] = [f"{place[0]} {place[1] + 1}"]
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "union_tag_invalid":
        told = problem["ctx"]
        message = f"kind '{told['tag']}' is not one of {told['expected_tags']}"
    if problem["type"] == "union_tag_not_found":
        message = "kind is missing"
    if problem["type"] == "tuple_type":
        message = f"a list is expected, as in ['pre', 'post'], not {problem['input']!r}"
    if problem["type"] == "model_attributes_type":
        message = f"a table with its kind is expected, as in [[{problem['loc'][0]}]]"
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        known = _options(kind, top=len(place) == 1 and not listed)
        near = difflib.get_close_matches(str(place[-1]), known, n=1)
        message = "no such option" + (f"; did you mean '{near[0]}'?" if near else "")
        message += "" if near else f"; known: {', '.join(known)}"
    if problem["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        message = "is missing"
    where = ", ".join(str(part) for part in place)
    return f"  {where}: {message}" if where else f"  {message}"


def _options(kind: str, *, top: bool = False) -> list[str]:
    """Options of a kind of test or score, of a part of the plan, or of the plan."""
    if top:
        return list(Plan.model_fields)
    if kind == "joined":
        return [field.name for field in dataclasses.fields(JoinedRegion)]
    for item in (*get_args(PlannedTest), *get_args(Derived)):
        names = [field.name for field in dataclasses.fields(item)]
        if kind in str(item.__annotations__["kind"]).replace('"', "'").split("'"):
            return names
    return [field.name for field in dataclasses.fields(ColumnNames)]
