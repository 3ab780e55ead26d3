"""Fault injection for game days. Imported only where `fault_injection` is on, which `prod` does not allow.

An SSM parameter selects the mode. It is read again every few seconds while functions run:

- `none`: nothing.
- `poison_payload`: one message in ten arrives unreadable, the same ones at each attempt. The queue's copy is intact.
- `slow_downstream`: each call of the processor takes 0.5 to 3 seconds longer.
- `random_fail_pNN` (01 to 99, or 100): NN percent of the calls of the processor fail, as in an outage downstream.
- `out_of_memory`: one event in a hundred kills the process that calls the processor, at each attempt.
- `duplicate_submit`: each accepted event is sent to the queue twice.
"""

import os
import random
import re
import signal
import time
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from handlers.api.processing import Process
from handlers.processor import Context
from handlers.shared import aws
from handlers.shared.log import logger

NONE, POISON, SLOW, DUPLICATE = "none", "poison_payload", "slow_downstream", "duplicate_submit"
KILL = "out_of_memory"
MODES = f"{NONE}, {POISON}, {SLOW}, random_fail_pNN (01 to 99, or 100), {KILL} or {DUPLICATE}"
CACHE_SECONDS = 5
# A call to SSM that hangs must not slow down every batch.
CACHE_SECONDS_AFTER_ERROR = 60
POISONED_ONE_OF = 10
KILLING_ONE_OF = 100
SLOW_SECONDS = (0.5, 3)

_random_fail = re.compile(r"random_fail_p(0[1-9]|[1-9][0-9]|100)").fullmatch


class InjectedFaultError(OSError):
    """Raised by `random_fail_pNN`. An OSError, so that it counts as an outage."""


def is_mode(text: str) -> bool:
    """Return True if a text is a mode."""
    return text in (NONE, POISON, SLOW, KILL, DUPLICATE) or _random_fail(text) is not None


def kills(event_id: str) -> bool:
    """Return True for the events that kill their process in the mode `out_of_memory`."""
    return zlib.crc32(event_id.encode()) % KILLING_ONE_OF == 0


class Faults:
    """The faults of the current mode. `chance` and `clock` are for tests."""

    def __init__(
        self,
        parameter_name: str,
        *,
        chance: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parameter_name = parameter_name
        self._chance = chance or random.Random()  # noqa: S311  no secret
        self._clock = clock
        self._mode = NONE
        self._good_until = float("-inf")

    @property
    def mode(self) -> str:
        """The mode, a few seconds old at most; `none` if the parameter cannot be read or is no mode."""
        if self._clock() >= self._good_until:
            self._mode, seconds = self._read()
            self._good_until = self._clock() + seconds
        return self._mode

    def _read(self) -> tuple[str, float]:
        try:
            answer = aws.client("ssm").get_parameter(Name=self._parameter_name)
        except aws.errors():
            logger.exception("the fault parameter could not be read; nothing is injected")
            return NONE, CACHE_SECONDS_AFTER_ERROR
        mode: str = answer["Parameter"]["Value"]
        if is_mode(mode):
            return mode, CACHE_SECONDS
        logger.error("the fault parameter is not a mode; nothing is injected", extra={"given": mode[:100]})
        return NONE, CACHE_SECONDS

    def received(self, message_id: str, body: str) -> str:
        """Return the body of a message as the worker sees it."""
        poisoned = self.mode == POISON and zlib.crc32(message_id.encode()) % POISONED_ONE_OF == 0
        return body[: len(body) // 2] if poisoned else body

    def around(self, process: Process) -> Process:
        """Return the user's function, slow, failing or deadly as the mode says."""

        def faulty(event: Mapping[str, Any], context: Context) -> Any:
            mode = self.mode
            if mode == SLOW:
                time.sleep(self._chance.uniform(*SLOW_SECONDS))
            if mode == KILL and kills(context.id):
                # As the kernel does it: nothing runs after this, no handler and no `finally`.
                os.kill(os.getpid(), signal.SIGKILL)
            if (share := _random_fail(mode)) and self._chance.random() * 100 < int(share[1]):
                raise InjectedFaultError(f"injected by {mode}")
            return process(event, context)

        return faulty

    @property
    def sends_twice(self) -> bool:
        """True if each accepted event is sent to the queue twice."""
        return self.mode == DUPLICATE
