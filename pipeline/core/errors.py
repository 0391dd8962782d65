"""Errors that are shown to people without a traceback."""

from __future__ import annotations


class PetbindError(Exception):
    """Something a user can mend; the text says what, where and what to do next."""


class ConfigError(PetbindError):
    """A setting that is wrong, unknown or contradicts another."""


class DataError(PetbindError):
    """Input that cannot be used as it is."""


class ToolError(PetbindError):
    """A program or package that is missing or did not do its work."""
