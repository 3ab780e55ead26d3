"""The function behind `/redrive` in the api variant."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from handlers.api.causes import EventCauses
from handlers.shared.context import LambdaContext
from handlers.shared.redrive import EVENT_PARAMETERS, Redrive
from handlers.shared.settings import RedriveSettings


@cache
def _redrive() -> Redrive:
    settings = RedriveSettings.from_environment()
    return Redrive(settings, EventCauses(settings.table_name), EVENT_PARAMETERS)


def handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer a request of API Gateway. The Lambda entry point."""
    return _redrive().handle(event, context)
