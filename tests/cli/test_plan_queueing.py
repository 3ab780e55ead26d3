"""The simulated queue of `pipeline plan`, against known waiting times and limits that it must keep."""

import math
import random
from itertools import pairwise

import pytest

from cli.plan.queueing import Sample, Servers, drained_at, poisson, simulate


def waiting_time(servers: int, rate: float, run_seconds: float) -> float:
    """The mean wait in a queue M/D/c, by Crommelin (1932): its series converges for a load below one."""

    def at_least(events: int, mean: float) -> float:
        term = math.exp(-mean + events * math.log(mean) - math.lgamma(events + 1))
        total = 0.0
        while term > 1e-18 or events < mean:
            total, events = total + term, events + 1
            term *= mean / events
        return total

    load, total = rate * run_seconds, 0.0
    for turn in range(1, 2_000):
        share = at_least(turn * servers, turn * load) - servers / load * at_least(turn * servers + 1, turn * load)
        total += share
        if turn > 5 and abs(share) < 1e-9:
            break
    return total * run_seconds


@pytest.mark.parametrize("load", [0.3, 0.5, 0.8, 0.9])
def test_the_formula_is_that_of_pollaczek_and_khinchine_for_one_server(load: float) -> None:
    assert waiting_time(1, load, 1) == pytest.approx(load / (2 * (1 - load)), rel=1e-6)


@pytest.mark.parametrize(
    ("servers", "load", "step", "seconds"),
    [
        (1, 0.5, 0.05, 10_000),
        (1, 0.8, 0.05, 20_000),
        (2, 0.8, 0.02, 20_000),
        (5, 0.8, 0.01, 4_000),
        (10, 0.8, 0.01, 4_000),
    ],
)
def test_waits_are_those_of_the_queue_m_d_c(servers: int, load: float, step: float, seconds: float) -> None:
    rate = load * servers
    simulated = Servers(batch=1, run_seconds=1, event_seconds=0, first=servers, most=servers)
    samples = simulate(simulated, lambda _: rate, seconds=seconds, step_seconds=step)[2_000:]
    # By Little's law.
    waited = sum(each.waiting for each in samples) / len(samples) / rate
    assert waited == pytest.approx(waiting_time(servers, rate, 1), rel=0.1)


def run(servers: Servers, rate: float, seconds: float, step: float = 0.05) -> list[Sample]:
    return simulate(servers, lambda _: rate, seconds=seconds, step_seconds=step)


def test_pollers_start_with_few_batches_and_add_more_by_the_minute_while_events_wait() -> None:
    servers = Servers(batch=10, run_seconds=1, event_seconds=0, first=5, most=1_000, added_a_minute=300)
    samples = run(servers, 100_000, 120)
    assert samples[0].runs == 5
    at = {round(each.seconds, 2): each.runs for each in samples}
    assert at[60.0] == pytest.approx(305, abs=6)
    assert at[118.0] == pytest.approx(595, abs=6)
    few = run(Servers(batch=10, run_seconds=1, event_seconds=0, first=5, most=7, added_a_minute=300), 1_000, 60)
    assert max(each.runs for each in few) == 7


def test_a_queue_without_a_backlog_adds_no_pollers() -> None:
    servers = Servers(batch=10, run_seconds=0.05, event_seconds=0.005, first=5, most=100, added_a_minute=300)
    samples = run(servers, 20, 120)
    assert max(each.runs for each in samples) <= 5
    assert max(each.age_seconds for each in samples) == 0


def test_an_overloaded_queue_grows_by_what_it_does_not_take() -> None:
    # 100 batches of 10 in 0.1 seconds.
    servers = Servers(batch=10, run_seconds=0.05, event_seconds=0.005, first=100, most=100)
    samples = run(servers, 12_000, 100)
    assert samples[-1].waiting == pytest.approx(200_000, rel=0.02)
    # Oldest first, so the oldest one arrived when 10,000 a second had been taken so far.
    assert samples[-1].age_seconds == pytest.approx(200_000 / 12_000, rel=0.03)


def test_a_small_batch_waits_for_its_window_and_a_full_one_does_not() -> None:
    def oldest(rate: float) -> float:
        servers = Servers(batch=100, run_seconds=0.05, event_seconds=0, first=50, most=50, window_seconds=5)
        return max(each.age_seconds for each in run(servers, rate, 100))

    assert oldest(1) == pytest.approx(5, abs=0.06)
    assert oldest(1_000) < 0.3


def test_services_behind_the_worker_and_messages_in_flight_bound_it() -> None:
    fast = {"batch": 10, "run_seconds": 0.1, "event_seconds": 0.0, "first": 1_000, "most": 1_000}
    assert run(Servers(**fast, events_a_second=300), 1_000, 100)[-1].waiting == pytest.approx(70_000, rel=0.02)  # type: ignore[arg-type]
    bound = run(Servers(**fast, in_flight=50), 10_000, 10)  # type: ignore[arg-type]
    assert max(each.runs for each in bound) == 5


def test_a_step_longer_than_a_run_takes_as_much() -> None:
    servers = Servers(batch=10, run_seconds=0.05, event_seconds=0.005, first=100, most=100)
    fine, coarse = run(servers, 12_000, 100), run(servers, 12_000, 100, step=1.0)
    assert coarse[-1].waiting == pytest.approx(fine[-1].waiting, rel=0.1)


def test_the_same_seed_gives_the_same_course() -> None:
    servers = Servers(batch=10, run_seconds=1, event_seconds=0, first=5, most=5)
    again = [simulate(servers, lambda _: 40, seconds=60, step_seconds=0.1, seed=seed) for seed in (1, 1, 2)]
    assert again[0] == again[1] != again[2]


@pytest.mark.parametrize("mean", [0.5, 20, 5_000])
def test_draws_have_the_mean_and_the_variance_of_poisson(mean: float) -> None:
    draw = random.Random(5)  # noqa: S311  a simulation
    drawn = [poisson(draw, mean) for _ in range(20_000)]
    average = sum(drawn) / len(drawn)
    assert average == pytest.approx(mean, rel=0.03)
    assert sum((each - average) ** 2 for each in drawn) / len(drawn) == pytest.approx(mean, rel=0.05)


def test_without_a_seed_exactly_what_is_said_arrives() -> None:
    servers = Servers(batch=10, run_seconds=1, event_seconds=0, first=2, most=2)
    samples = simulate(servers, lambda now: 1_000 if now == 0 else 0, seconds=4, step_seconds=0.1, seed=None)
    assert [each.waiting for each in samples[::10]] == [80, 60, 40, 20]


def test_a_queue_is_drained_when_no_more_wait_than_usual_after_the_burst() -> None:
    samples = [Sample(float(second), waiting, 0, 0) for second, waiting in enumerate([1, 9, 9, 5, 2, 1])]
    assert [earlier.seconds < later.seconds for earlier, later in pairwise(samples)] == [True] * 5
    assert drained_at(samples, 1, 2) == 4
    assert drained_at(samples, 1, 0) is None
