"""What the functions are told by their environment, read once.

A field `queue_url` is the variable QUEUE_URL. tests/test_contract.py asserts that these are the variables deployed.
"""

import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Self


class SettingsError(Exception):
    """A variable is missing or not of its type: the function was deployed with another environment than it reads."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base: a frozen dataclass of str, int and bool (`true`/`false`) that reads itself from environment variables."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """The settings. Raises SettingsError."""
        values: dict[str, str | int | bool] = {}
        for field in fields(cls):
            variable = field.name.upper()
            if variable not in environment:
                if field.default is MISSING:
                    raise SettingsError(f"the environment variable {variable} is missing")
                continue
            values[field.name] = _converted(variable, environment[variable], field.type)
        return cls(**values)


def _converted(variable: str, text: str, kind: object) -> str | int | bool:
    if kind is bool:
        if text not in ("true", "false"):
            raise SettingsError(f"{variable} is {text!r}; it must be true or false")
        return text == "true"
    if kind is int:
        try:
            return int(text)
        except ValueError as error:
            raise SettingsError(f"{variable} is {text!r}; it must be a whole number") from error
    return text


@dataclass(frozen=True, kw_only=True)
class RedriveSettings(Settings):
    """Of handlers/shared/redrive.py."""

    table_name: str
    queue_url: str
    dead_letter_queue_url: str
