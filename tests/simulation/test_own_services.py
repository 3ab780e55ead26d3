"""A service of the pipeline's own is out for days: no event uses an attempt, and SQS's last limit is not reached."""

from collections.abc import Callable

import pytest

from components.queue import MAXIMUM_RECEIVES
from tests.simulation.world import World, edges

DAYS = 12.9


def of_one_event(kind: str) -> World:
    world = World(1)
    world.harm = 0.0
    del world.messages[1:]
    world.messages[0].event.kind = kind
    return world


def table_is_out(world: World) -> None:
    world.table_back_at = world.now + DAYS * 86_400


def secrets_are_out(world: World) -> None:
    world.secrets_back_at = world.now + DAYS * 86_400


@pytest.mark.parametrize("goes_wrong", [table_is_out, secrets_are_out])
def test_an_event_waits_for_the_table_and_for_its_secrets_and_then_succeeds_at_its_first_attempt(
    goes_wrong: Callable[[World], None],
) -> None:
    with edges() as enter:
        world = enter(of_one_event("reads"))
        (message,) = world.messages
        goes_wrong(world)
        world.play(MAXIMUM_RECEIVES + 10)
    assert message.receives < MAXIMUM_RECEIVES
    item = world.items[message.event.id]
    assert (item["status"], item["attempts"], sum(world.dead.values())) == ("succeeded", 1, 0)


def test_a_short_fault_delays_an_event_by_seconds() -> None:
    with edges() as enter:
        world = enter(of_one_event("reads"))
        world.secrets_back_at = world.now + 10
        world.play()
    assert world.now < world.secrets_back_at + 30
