"""A redrive or a purge of all dead letters that there are, also of those that others hide at first."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from handlers.shared.dead_letters import HIDDEN_SECONDS
from handlers.shared.passes import Control, Pass

# Letters that others hide come back within HIDDEN_SECONDS. SQS's counts are approximate for about a minute.
PATIENCE_SECONDS = 2 * HIDDEN_SECONDS
WAIT_SECONDS = 2


def whole(run: Callable[[Control], Pass], control: Control) -> Pass:
    """Repeat a pass until it has seen all letters that were there when the first one began.

    Returns the sum of the passes. It is not `complete` when a pass was stopped or held back, when a service failed, or
    when others hid letters for more than a minute.
    """
    total, waited = Pass({}), 0
    while True:
        done = run(replace(control, began_at=total.began_at, progress=partial(_tell, control, total)))
        total = _sum(total, done)
        waited = 0 if done.done else waited + WAIT_SECONDS
        if not done.hidden or done.failed or waited > PATIENCE_SECONDS or control.wait(WAIT_SECONDS):
            return total


def _tell(control: Control, before: Pass, now: Pass) -> None:
    control.progress(_sum(before, now))


def _sum(before: Pass, now: Pass) -> Pass:
    """Return two passes as one: the counts of both, and the state after the later one."""
    return replace(
        now,
        counts={name: before.counts.get(name, 0) + count for name, count in now.counts.items()},
        by_error={
            name: before.by_error.get(name, 0) + now.by_error.get(name, 0)
            for name in {**before.by_error, **now.by_error}
        },
    )
