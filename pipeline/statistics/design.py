"""What a cohort compares: which sessions, in which order, and which column names the groups."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.core.errors import ConfigError


@dataclass(frozen=True)
class GroupDesign:
    """Two sessions within subjects, and groups between them.

    Parameters
    ----------
    group_column : str, optional
        Column of ``participants.tsv`` that holds the group; without one, all subjects are one
        group.
    sessions : tuple of str
        The earlier and the later session, with or without ``ses-``. Empty: no tests, tables only.
    pvc : str
        Label of the partial-volume correction whose tables are taken; empty for those without.

    Raises
    ------
    ConfigError
        If there are not two different sessions.
    """

    group_column: str | None = "group"
    sessions: tuple[str, ...] = ("pre", "post")
    pvc: str = ""

    def __post_init__(self) -> None:
        labels = tuple(f"ses-{label.removeprefix('ses-')}" for label in self.sessions)
        if labels and (len(labels) != 2 or len(set(labels)) != 2):
            found = ", ".join(self.sessions)
            raise ConfigError(
                f"group.sessions: two different sessions expected, earlier first, not {found}"
            )
        object.__setattr__(self, "sessions", labels)
