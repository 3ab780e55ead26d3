"""Settings of the functions, read from environment variables.

The field `queue_url` is read from QUEUE_URL. tests/test_contract.py asserts that these variables are deployed.
"""

import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Self


class SettingsError(Exception):
    """A variable is missing or has the wrong type: code and environment are not of the same deployment."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base class: a frozen dataclass of str, int and bool (`true` or `false`)."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Return the settings in an environment. Raises SettingsError."""
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
class AlertSettings(Settings):
    """Settings of functions that alert people (handlers/shared/alerts.py)."""

    alerts_topic_arn: str
    alerts_runbook: str
    """The address of docs/alarms.md, or of a copy."""


@dataclass(frozen=True, kw_only=True)
class RedriveSettings(Settings):
    """Settings of the redrive function."""

    table_name: str
    queue_url: str
    dead_letter_queue_url: str
