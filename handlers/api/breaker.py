"""The function that looks after the circuit each minute: it finds out whether an outage is over, and ends the pause.

While the circuit is open, the worker takes no messages, so its probes are not received from the queue: they are the
messages that the worker put aside when it opened the circuit. A probe is run by the worker's own code, so its event is
done when it succeeds, and its message finds that when it is delivered.

Whatever dies halfway, the next minute compares the circuit with the worker's event source mapping and makes them agree.
"""

import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from handlers.api.circuit import Circuit, Pause, Probe, State
from handlers.api.decisions import Returned
from handlers.api.processing import Process, load_processor
from handlers.api.settings import WorkerSettings
from handlers.api.worker import Worker
from handlers.shared import metrics
from handlers.shared.context import LambdaContext

# A probe that failed so often may be failing for its own sake; the next message of the queue is the probe then.
PROBE_FAILURES = 3


class Breaker:
    """Runs once a minute. What it raises is botocore's; it is run again."""

    def __init__(self, settings: WorkerSettings, process: Process, service: str) -> None:
        # The pause is there already when a probe fails.
        self._circuit = Circuit(settings, service, lambda _probes: None)
        self._pause = Pause(settings)
        self._worker = Worker(settings, process, service, self._circuit)

    def run(self, context: LambdaContext) -> None:
        """Probes when it is time to, and switches the worker's event source mapping as the circuit then is."""
        # In this order: a worker writes the state before its probes, so who has seen these sees that it is open.
        probes = self._pause.probes()
        state = self._circuit.state()
        no_probe_left = False
        if state.due:
            # A probe can take a while, and a minute without a value would look like the end of the trouble.
            metrics.emit({"CircuitOpen": 1})
            state, no_probe_left = self._find_out(probes or [], context)
        metrics.emit({"CircuitOpen": 0 if state.closed else 1})
        if state.closed:
            if probes is not None:
                self._pause.end()
        elif no_probe_left:
            # The worker's next message is the probe then: it costs that one a receive.
            self._circuit.hand_over()
            self._pause.let_in()
        elif probes is None and self._pause.probes() is None:
            self._pause.begin([])
        else:
            self._pause.keep_up()

    def _find_out(self, probes: Sequence[Probe], context: LambdaContext) -> tuple[State, bool]:
        """Return the state after probing, and whether no probe is left that could tell.

        Probes are tried in any order, so that one event that never succeeds does not keep the circuit open for good. A
        probe that failed `PROBE_FAILURES` times is given up, so that a handful of poison events does not, either. An
        event that is done meanwhile, or that fails for a reason of its own, is inconclusive: the next one is tried.
        """
        kept = list(probes)
        for probe in random.sample(probes, len(probes)):
            outcome = self._worker.probe(probe, context)
            state = self._circuit.state()
            failed = isinstance(outcome, Returned) and outcome.reason == "probe"
            if failed:
                kept.remove(probe)
                if probe.failures + 1 < PROBE_FAILURES:
                    kept.append(replace(probe, failures=probe.failures + 1))
                self._pause.keep(kept)
            if isinstance(outcome, Returned) and outcome.reason == "circuit open":
                return state, False
            if not state.due:
                return state, not state.closed and not kept
        return self._circuit.state(), True


@cache
def _breaker() -> Breaker:
    settings = WorkerSettings.from_environment()
    return Breaker(settings, load_processor(settings.processor), os.environ["POWERTOOLS_SERVICE_NAME"])


def handler(_event: Mapping[str, Any], context: LambdaContext) -> None:
    """The Lambda entry point."""
    _breaker().run(context)
