"""Fair: as many flows on each queue, and nothing moves."""

from __future__ import annotations

from dataclasses import replace

from support.engine.allocation import Port, check_state, hardware, software

from flowlane.core.model import Reason
from flowlane.core.policy import Balance, PathPreference

FAIR = Balance(strategy="fair")


def numbers(port: Port) -> dict[int, int]:
    return {queue_id: len(rows) for queue_id, rows in port.rows_by_queue().items()}


def test_queues_have_as_many_flows_whatever_these_send() -> None:
    port = Port(hardware(0, 1, 2, 3), FAIR)
    for row in range(80):
        placement = port.arrive(row, rate=10**9 if row % 4 == 0 else 1000)
        assert placement.reason is Reason.STRATEGY
    assert set(numbers(port).values()) == {20}
    left = sorted(port.queue_of[row] for row in (0, 4, 8))
    for row in (0, 4, 8):
        port.depart(row)
    assert sorted(port.arrive(100 + n, rate=5).queue_id for n in range(3)) == left, "they fill what was left"
    assert not port.tick() and not port.tick(60)
    check_state(port)


def test_of_queues_with_as_many_flows_it_is_the_one_with_least_load() -> None:
    port = Port(hardware(0, 1), FAIR)
    port.arrive(0, rate=100)
    port.arrive(1, rate=10)
    assert port.arrive(2, rate=1).queue_id == 1


def test_a_fast_queue_gets_more_flows() -> None:
    queues = [
        replace(queue, max_rate=rate) for queue, rate in zip(hardware(0, 1), (10**9, 3 * 10**9), strict=True)
    ]
    port = Port(queues, FAIR)
    for row in range(40):
        port.arrive(row, rate=1000)
    assert numbers(port) == {0: 10, 1: 30}


def test_paths_are_kept_and_removed_queues_are_spread() -> None:
    port = Port(hardware(0, 1, 2) + software(10), FAIR)
    for row in range(36):
        port.arrive(row, rate=10, path=PathPreference.SOFTWARE if row % 6 == 0 else PathPreference.HARDWARE)
    assert numbers(port) == {0: 10, 1: 10, 2: 10, 10: 6}
    port.update_queues(hardware(0, 1) + software(10))
    assert numbers(port) == {0: 15, 1: 15, 10: 6}
    check_state(port)
