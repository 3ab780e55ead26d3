"""Exponential back-off with jitter."""

import random

# Environments that start from one snapshot (SnapStart) share the state of `random`; the system's generator has none.
_jitter = random.SystemRandom()
MAXIMUM_DOUBLINGS = 16


def backoff(attempt: int, base: float, maximum: float) -> float:
    """Return the seconds to wait after a failed attempt, counted from 1: `base`, doubled for each attempt before it.

    Jitter takes off up to half, so that callers that failed together do not come back together.
    """
    doubled: float = base * 2 ** min(attempt - 1, MAXIMUM_DOUBLINGS)
    return min(doubled, maximum) * _jitter.uniform(0.5, 1)
