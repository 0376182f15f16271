"""Which queues a group of flows gets: those that the scheduler serves first are for the highest priority."""

from __future__ import annotations

from support.engine.allocation import Port, check_state

from flowlane.core.model import Queue
from flowlane.core.policy import Balance

FAST = Balance(window=2.0, moves_per_second=1.0)
VOICE = {"class_index": 1, "group": 1, "priority": 5}
BULK = {"class_index": 2, "group": 2, "priority": 1}


def queues(*priorities: int | None) -> list[Queue]:
    return [Queue(number, priority=priority) for number, priority in enumerate(priorities)]


def filled(*priorities: int | None) -> Port:
    """Two classes with as much load each; that of the lower priority comes first."""
    port = Port(queues(*priorities), FAST)
    for row in range(20):
        port.arrive(row, rate=1000, **BULK)
    for row in range(100, 120):
        port.arrive(row, rate=1000, **VOICE)
    port.run_until_quiet()
    check_state(port)
    return port


def queues_of(port: Port, rows: range) -> set[int]:
    return {port.queue_of[row] for row in rows}


def test_the_queues_that_are_served_first_are_for_the_highest_priority() -> None:
    port = filled(7, 0, 7, 0)
    assert queues_of(port, range(100, 120)) == {1, 3}
    assert queues_of(port, range(20)) == {0, 2}


def test_what_is_served_first_goes_to_it_also_where_that_is_not_enough() -> None:
    port = filled(7, 7, 7, 0)
    assert 3 in queues_of(port, range(100, 120)) and len(queues_of(port, range(100, 120))) == 2


def test_priorities_that_change_are_followed() -> None:
    port = filled(0, 0, 7, 7)
    assert queues_of(port, range(100, 120)) == {0, 1}
    port.update_queues(queues(7, 7, 0, 0))
    port.run_until_quiet()
    assert queues_of(port, range(100, 120)) == {2, 3}


def test_queues_of_one_priority_stay_with_those_that_have_flows_there() -> None:
    port = filled(None, 0, None, 0)
    before = dict(port.queue_of)
    port.run_until_quiet()
    assert port.queue_of == before
