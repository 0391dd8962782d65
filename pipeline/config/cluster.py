"""What a run asks of SLURM; shapes no result, so it is no part of a study's settings."""

from __future__ import annotations

import difflib
import shlex
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from pipeline.config.section import Section
from pipeline.core.errors import ConfigError


class SlurmOptions(Section):
    """What is asked of SLURM for every job, and how patient a run is with it."""

    partition: str = ""
    """Where jobs run; empty for the default of the cluster, or `$SBATCH_PARTITION`."""
    account: str = ""
    """Who pays; empty for the user's default, or `$SBATCH_ACCOUNT`."""
    time: str = Field(default="", pattern=r"^[0-9:-]*$")
    """Longest time of a job as sbatch takes it (`90`, `1:30:00`, `2-00:00`); empty for that of
    the partition."""
    sbatch: tuple[str, ...] = ()
    """Further options of sbatch, such as `--qos=long`; they come last, so that they prevail."""
    memory_factor: float = Field(default=1.25, ge=1)
    """Memory asked for is the node's estimate times this, and half a GB for Python itself."""
    max_jobs: int = Field(default=200, ge=1)
    """Jobs in the queue at the same time."""
    poll_s: float = Field(default=2, gt=0)
    """How often SLURM is asked what became of the jobs."""
    patience_s: float = Field(default=1800, ge=0)
    """How long SLURM may give no answer before a run gives up."""
    file_delay_s: float = Field(default=30, ge=0)
    """How long after the end of a job its files may take to be seen here."""

    @field_validator("sbatch")
    @classmethod
    def _as_words(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        words = tuple(word for option in value for word in shlex.split(option))
        if words and not words[0].startswith("-"):
            raise ValueError(f"'{words[0]}' is no option of sbatch; write it as --qos=long")
        return words

    @property
    def words(self) -> list[str]:
        """Options of sbatch that every job gets; what the user wrote comes last."""
        named = {"partition": self.partition, "account": self.account, "time": self.time}
        return [*(f"--{key}={value}" for key, value in named.items() if value), *self.sbatch]

    def memory_mb(self, mem_gb: float) -> int:
        """Memory to ask for, MiB, for work that is estimated at `mem_gb` GB.

        Examples
        --------
        >>> SlurmOptions().memory_mb(2.0)
        3072
        """
        return round(1024 * (mem_gb * self.memory_factor + 0.5))


def load_slurm_options(given: str | None = None) -> SlurmOptions:
    """The options in ``key=value`` words, or in a TOML file.

    Parameters
    ----------
    given : str, optional
        Path of a TOML file, or words as a shell splits them; `sbatch` may come more than once.

    Raises
    ------
    ConfigError
        Naming every wrong key at once, with the nearest known name.

    Examples
    --------
    >>> load_slurm_options("partition=long time=02:00:00 sbatch='--qos=a b'").words
    ['--partition=long', '--time=02:00:00', '--qos=a', 'b']
    """
    text = given or ""
    if text.endswith(".toml"):
        try:
            content: dict[str, Any] = tomllib.loads(Path(text).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{text}: not a readable TOML file ({error})") from error
    else:
        content = _content(_split(text))
    return checked_slurm_options(content, "--plugin-args")


def checked_slurm_options(content: dict[str, Any], source: str) -> SlurmOptions:
    """The options as they were given by `source`, which messages name.

    Raises
    ------
    ConfigError
        If a key is unknown or a value cannot be.
    """
    try:
        return SlurmOptions.model_validate(content)
    except ValidationError as error:
        told = [_told(problem) for problem in error.errors(include_url=False)]
        raise ConfigError(f"{source}: {'; '.join(told)}") from error


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"--plugin-args {text}: {error}") from error


def _content(words: Sequence[str]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for word in words:
        key, separator, value = word.partition("=")
        if not separator:
            raise ConfigError(f"--plugin-args: '{word}' is not key=value, nor a file *.toml")
        if key == "sbatch":
            content.setdefault(key, []).append(value)
        else:
            content[key] = value
    return content


def _told(problem: Any) -> str:
    key = str(problem["loc"][0])
    if problem["type"] != "extra_forbidden":
        return f"{key}: {problem['msg'].removeprefix('Value error, ')}"
    known = list(SlurmOptions.model_fields)
    near = difflib.get_close_matches(key, known, n=1)
    return f"no option '{key}'; " + (
        f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
    )
