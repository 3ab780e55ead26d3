"""What a circuit is told of events whose batch used the time."""

from collections.abc import Callable
from dataclasses import dataclass, field
from unittest.mock import patch

from handlers.api.decisions import Delivery
from handlers.api.processing import Answer, ProcessingTimeoutError
from tests.simulation.world import FUNCTION_SECONDS, Message, World, edges


def event_id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


@dataclass
class Listening:
    """A circuit that never opens, and keeps what it was told."""

    answers: list[Answer] = field(default_factory=list)

    def call(self, _delivery: Delivery, process: Callable[[], Answer], _seconds: float) -> Answer:
        self.answers.append(process())
        return self.answers[-1]


def test_an_event_that_its_batch_left_too_little_time_is_no_outage_and_succeeds_with_the_time_that_a_probe_has() -> (
    None
):
    with edges() as enter:
        world = enter(World(1))
        world.harm, world.circuit = 0.0, Listening()
        template = world.messages[0]
        world.messages = [
            Message(f"m{number}", template.event, template.body.replace(template.event.id, event_id(number)))
            for number in range(10)
        ]
        # Nine take a third of the time together; what is left is too short for the tenth, which needs most of a run.
        needs = {message.id: FUNCTION_SECONDS / 30 for message in world.messages[:9]} | {"m9": FUNCTION_SECONDS * 0.7}

        def call(_process: object, data: dict[str, str], _context: object, seconds: float) -> Answer:
            took = needs.get(f"m{int(data['id'][-1])}", 0.0)
            world.left -= min(took, seconds)
            late = took > seconds
            return Answer(seconds, error=ProcessingTimeoutError("no result")) if late else Answer(took, "1")

        world.events = {event_id(number): template.event for number in range(10)}
        with patch.object(world, "call", call):
            world.deliver(world.messages)
            cut_short = world.circuit.answers[-1]
            assert (cut_short.cut_short, cut_short.is_outage, cut_short.error is not None) == (True, False, True)
            assert world.items[event_id(9)]["attempts"] == 0
            world.deliver(world.messages[9:])
        assert world.items[event_id(9)]["status"] == "succeeded"
        assert not any(answer.is_outage for answer in world.circuit.answers)
