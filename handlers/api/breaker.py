"""The function that looks after the circuit each minute: it finds out whether an outage is over, and ends the pause.

While the circuit is open, the worker takes no messages, so its probes are not received from the queue: they are the
messages that the worker put aside when it opened the circuit. A probe is run by the worker's own code, so its event is
done when it succeeds, and its message finds that when it is delivered.

Whatever dies halfway, the next minute compares the circuit with the worker's event source mapping and makes them agree.
"""

import os
import random
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from handlers.api.circuit import Circuit, Pause, Probe, State
from handlers.api.processing import Process, load_processor
from handlers.api.settings import WorkerSettings
from handlers.api.worker import Context, Worker
from handlers.shared import metrics


class Breaker:
    """Runs once a minute. What it raises is botocore's; it is run again."""

    def __init__(self, settings: WorkerSettings, process: Process, service: str) -> None:
        # The pause is there already when a probe fails.
        self._circuit = Circuit(settings, service, lambda _probes: None)
        self._pause = Pause(settings)
        self._worker = Worker(settings, process, service, self._circuit)

    def run(self, context: Context) -> None:
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

    def _find_out(self, probes: Sequence[Probe], context: Context) -> tuple[State, bool]:
        """The state after probing, and whether no probe could tell.

        In any order, so that one event that never succeeds does not keep the circuit open for good. An event that is
        done meanwhile, or that fails for a reason of its own, tells nothing: the next one is tried.
        """
        for probe in random.sample(probes, len(probes)):
            outcome = self._worker.probe(probe, context)
            state = self._circuit.state()
            if outcome == "refused" or not state.due:
                return state, False
        return self._circuit.state(), True


@cache
def _breaker() -> Breaker:
    settings = WorkerSettings.from_environment()
    return Breaker(settings, load_processor(settings.processor), os.environ["POWERTOOLS_SERVICE_NAME"])


def handler(_event: Mapping[str, Any], context: Context) -> None:
    """The Lambda entry point."""
    _breaker().run(context)
