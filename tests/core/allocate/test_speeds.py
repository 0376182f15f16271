"""Queues of unequal speed: what each carries, and loads that are compared by it."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.engine.allocation import Port, check_state

from flowlane.core.allocate import set_speed
from flowlane.core.allocate.speeds import carried_rates, fill
from flowlane.core.model import Queue
from flowlane.core.policy import Balance
from flowlane.simulation.workload import KINDS

G = 10**9
FREE = Balance(moves_per_second=1.0, window=2.0)

Rates = list[tuple[int | None, int | None]]
"""min-rate and max-rate of each queue, in Gbit/s; None: not set."""


def queues_of(rates: Rates) -> list[Queue]:
    return [
        Queue(number, min_rate=low and low * G, max_rate=top and top * G)
        for number, (low, top) in enumerate(rates)
    ]


@pytest.mark.parametrize(
    ("rates", "speed", "carried"),
    [
        ([(None, 2), (None, 8)], 10, [2, 8]),
        ([(None, 2), (None, 8)], None, [2, 8]),
        ([(None, 2), (None, None)], None, None),
        ([(None, 2), (None, None), (None, None)], 10, [2, 4, 4]),
        ([(None, 10), (None, 10)], 10, [5, 5]),
        ([(6, None), (None, None), (None, None), (None, None)], 10, [7, 1, 1, 1]),
        ([(6, 6), (None, None), (None, 1)], 10, [6, 3, 1]),
        ([(8, None), (8, None), (1, None)], 10, [4.5, 4.5, 1]),
        ([(4, 2), (None, None)], 10, [2, 8]),
    ],
)
def test_a_queue_carries_its_guarantee_and_its_part_of_what_is_left(
    rates: Rates, speed: int | None, carried: Sequence[float] | None
) -> None:
    found = carried_rates(queues_of(rates), speed and speed * G)
    assert found == (carried and [int(rate * G) for rate in carried])


LIMITS = st.lists(st.floats(0, 1e12), min_size=1, max_size=40)


@given(st.floats(0, 1e13), LIMITS)
def test_nothing_is_divided_above_a_limit_and_nothing_is_left_below_all(
    amount: float, limits: list[float]
) -> None:
    parts = fill(amount, limits)
    assert all(part <= limit for part, limit in zip(parts, limits, strict=True))
    assert sum(parts) == pytest.approx(min(amount, sum(limits)))
    highest = max(parts)
    assert all(part in (highest, limit) for part, limit in zip(parts, limits, strict=True)), (
        "no part is smaller than another without need"
    )


def settled(port: Port, rates: list[int]) -> float:
    """Let flows of these rates settle; return the fullest queue over the least load possible, per speed."""
    for row in range(len(rates)):
        port.arrive(row)
    port.tick()
    for row, rate in enumerate(rates):
        port.measure(row, rate)
    for _ in range(120):
        port.tick()
    check_state(port)
    return over_bound(port, rates)


def over_bound(port: Port, rates: list[int]) -> float:
    slots = port.state.slots
    weights = [slot.weight for slot in slots]
    bound = max(sum(rates) / sum(weights), max(rates) / max(weights))
    return max(slot.load / slot.weight for slot in slots) / bound


def longest_first(rates: list[int], weights: list[int]) -> float:
    """Return the same of LPT, which sees all rates and may place every flow anew: the heaviest first."""
    loads = [0] * len(weights)
    for rate in sorted(rates, reverse=True):
        place = min(range(len(weights)), key=lambda place: (loads[place] + rate) / weights[place])
        loads[place] += rate
    bound = max(sum(rates) / sum(weights), max(rates) / max(weights))
    return max(load / weight for load, weight in zip(loads, weights, strict=True)) / bound


def drawn(kind: str, flows: int, total: int, seed: int) -> list[int]:
    random = Random(seed)
    weights = KINDS[kind](flows, random)
    random.shuffle(weights)
    unit = total / sum(weights)
    return [max(1, int(weight * unit)) for weight in weights]


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize(
    "rates",
    [
        [(None, 2), (None, 8)],
        [(None, 2)] * 4 + [(None, 8)] * 4,
        [(None, number) for number in range(1, 7)],
        [(16, None), *[(None, None)] * 3],
    ],
    ids=["2 and 8", "four of each", "1 to 6", "one guarantee"],
)
def test_the_busiest_queue_for_its_speed_is_near_the_bound(kind: str, rates: Rates) -> None:
    speed = 20 * G if rates[0][0] else sum((top or 0) * G for _, top in rates)
    for seed in (1, 2):
        port, flows = Port(queues_of(rates), speed=speed), drawn(kind, 300, speed * 8 // 10, seed)
        found = settled(port, flows)
        assert found <= max(1.05, 1.01 * longest_first(flows, [slot.weight for slot in port.state.slots]))


def test_a_heavy_flow_leaves_a_slow_queue_for_a_fast_one() -> None:
    port = Port(queues_of([(None, 1), (None, 1), (None, 8)]), FREE)
    for row in range(20):
        port.arrive(row, rate=1)
    heavy = next(row for row, queue_id in port.queue_of.items() if queue_id == 0)
    for row in range(20):
        port.measure(row, 4 * G if row == heavy else 200_000_000)
    for _ in range(30):
        port.tick()
    assert port.queue_of[heavy] == 2
    assert over_bound(port, [4 * G] + [200_000_000] * 19) <= 1.05


def test_idle_flows_are_spread_by_speed_and_the_fastest_is_first() -> None:
    port = Port(queues_of([(None, 2), (None, 8)]))
    assert port.arrive(0, rate=1).queue_id == 1
    for row in range(1, 100):
        port.arrive(row, rate=1000)
    assert len(port.rows_by_queue()[1]) == 80


def test_fast_queues_go_to_the_groups_with_more_load() -> None:
    port = Port(queues_of([(None, 1), (None, 1), (None, 4), (None, 4)]), FREE)
    for row in range(40):
        port.arrive(row, rate=10_000_000 if row % 2 else 150_000_000, group=row % 2, class_index=row % 2)
    for _ in range(60):
        port.tick()
    heavy = {port.queue_of[row] for row in range(0, 40, 2)}
    assert {2, 3} <= heavy
    light = {port.queue_of[row] for row in range(1, 40, 2)}
    assert not heavy & light
    rows = port.rows_by_queue()
    for _ in range(60):
        port.tick()
    assert port.rows_by_queue() == rows, "and there they stay"


def test_a_new_rate_of_a_queue_and_a_new_speed_of_the_port_count_at_once() -> None:
    """As of a bond, whose speed is the sum of the members that are up."""
    port = Port(queues_of([(None, None), (None, 6)]), FREE)
    for row in range(100):
        port.arrive(row, rate=100_000_000)
    set_speed(port.state, 20 * G)
    assert [slot.weight for slot in port.state.slots] == [7, 3]
    check_state(port)
    for _ in range(40):
        port.tick()
    assert 2.2 <= port.loads()[0] / port.loads()[1] <= 2.45
    set_speed(port.state, 10 * G)
    assert [slot.weight for slot in port.state.slots] == [1, 1], "each carries a half"
    check_state(port)
    for _ in range(40):
        port.tick()
    assert max(port.loads().values()) <= 1.05 * min(port.loads().values())
    port.update_queues(queues_of([(None, None), (None, 2)]))
    assert [slot.weight for slot in port.state.slots] == [4, 1]
    check_state(port)
