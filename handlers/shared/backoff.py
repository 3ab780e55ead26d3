"""Exponential back-off with jitter."""

import random

# Environments that start from one snapshot (SnapStart) share the state of `random`; the system's generator has none.
_jitter = random.SystemRandom()
MAXIMUM_DOUBLINGS = 16
# What does not count as an attempt is tried until SQS deletes the message, after 13 days at the latest. A queue's
# `maxReceiveCount` of 1,000 must not end it before: with these two, a message is received some 900 times in 13 days.
PATIENT_GROWTH = 1.2
PATIENT_MAXIMUM_SECONDS = 1_800


def backoff(attempt: int, base: float, maximum: float) -> float:
    """Return the seconds to wait after a failed attempt, counted from 1: `base`, doubled for each attempt before it.

    Jitter takes off up to half, so that callers that failed together do not come back together.
    """
    doubled: float = base * 2 ** min(attempt - 1, MAXIMUM_DOUBLINGS)
    return min(doubled, maximum) * _jitter.uniform(0.5, 1)


def patient(receives: int, base: float) -> float:
    """Return the seconds to wait after a failure that is no attempt, for a message that was received so often.

    They grow slowly, to about a sixth of the time that the failure lasts.
    """
    grown = base * PATIENT_GROWTH ** min(receives - 1, 100)
    return min(grown, PATIENT_MAXIMUM_SECONDS) * _jitter.uniform(0.5, 1)
