"""Histories of events that are redriven when their items expire: each is processed once, and found afterwards."""

import pytest

from tests.simulation.world import Message, World, check, edges

SEEDS = range(600)
DAY = 86_400.0


def redrive(world: World) -> int:
    """Redrive the failed events, whose cause is fixed. Return their number. From here on the world has no others."""
    failed = {each: event for each, event in world.events.items() if world.items[each]["status"] == "failed"}
    world.events = failed
    world.dead.clear()
    for message in [each for each in world.messages if each.event.id in failed]:
        event = message.event
        event.kind, event.runs, event.deaths, event.troubles, event.cuts = "fine", 0, 0, 0, 0
        world.messages.append(Message(f"{message.id}-again", event, message.body))
    return len(failed)


def histories(*, kept_seconds: float, later_seconds: float) -> int:
    """Play histories with a redrive that long after their end, and check them. Return the number of redriven events."""
    redriven = 0
    with edges() as enter:
        for seed in SEEDS:
            world = enter(World(seed, fifo=bool(seed % 2)))
            world.play()
            redriven += redrive(world)
            world.expire_seconds = kept_seconds
            world.expires = dict.fromkeys(world.items, world.now + DAY)
            world.now += later_seconds
            world.play()
            check(world)
    return redriven


@pytest.mark.parametrize("later_seconds", [2 * DAY, DAY - 1])
def test_an_event_that_is_redriven_after_or_just_before_its_item_expires_is_processed_once(
    later_seconds: float,
) -> None:
    assert histories(kept_seconds=DAY, later_seconds=later_seconds) > len(SEEDS)


def test_it_finds_items_that_expire_before_a_second_delivery() -> None:
    with pytest.raises(AssertionError, match=r"lost|ran too often"):
        histories(kept_seconds=1, later_seconds=2 * DAY)
