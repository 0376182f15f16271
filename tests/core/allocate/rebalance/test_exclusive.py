"""Exclusive queues: which flows get one, and which lose it."""

from __future__ import annotations

from typing import Any

from support.engine.allocation import Port, hardware

from flowlane.core.model import Reason
from flowlane.core.policy import Balance

HEAVY = {"exclusive": True, "class_index": 1, "group": 1}
CAPPED = {"exclusive": True, "class_index": 2, "group": 2, "max_queues": 1}


def full_port(*rates: int, **more: Any) -> Port:
    """Four queues: three are exclusive to flows 0 to 2, the other flows share the last."""
    port = Port(hardware(0, 1, 2, 3), Balance(window=10.0))
    for row, rate in enumerate(rates):
        port.arrive(row, rate=rate, **HEAVY, **more)
    return port


def test_a_queue_that_becomes_free_goes_to_the_heaviest_waiting_flow() -> None:
    port = full_port(100, 100, 100, 50, 90, 20)
    port.depart(1)
    moves = port.tick()
    assert [(move.row, move.reason) for move in moves] == [(4, Reason.EXCLUSIVE)]
    assert port.exclusive_row(port.queue_of[4]) == 4


def test_a_much_heavier_flow_preempts_and_is_not_preempted_soon() -> None:
    port = full_port(100, 200, 300, 110)
    assert port.tick() == [], "10 % heavier is not enough"
    port.measure(3, 1000)
    moves = port.tick()
    assert {(move.row, move.reason) for move in moves} == {
        (3, Reason.EXCLUSIVE),
        (0, Reason.EXCLUSIVE_UNAVAILABLE),
    }
    for second in range(8):
        port.measure(0, 5000 if second % 2 else 1)
        port.measure(3, 1 if second % 2 else 5000)
        assert port.tick() == []


def test_priority_counts_before_rate() -> None:
    port = full_port(100, 200, 300)
    port.arrive(9, rate=1, exclusive=True, class_index=2, group=2, priority=7)
    port.tick()
    assert port.exclusive_row(port.queue_of[9]) == 9
    assert port.exclusive_row(port.queue_of[0]) != 0


def short_port() -> Port:
    """Four queues, five light flows of an exclusive class, and load that shares: too few queues."""
    port = Port(hardware(0, 1, 2, 3), Balance(window=5.0, moves_per_second=0.5))
    for row in range(100, 140):
        port.arrive(row, rate=1000)
    for row in range(5):
        port.arrive(row, rate=10, **HEAVY)
    port.run_until_quiet()
    assert len(exclusive_rows(port)) < 3
    return port


def exclusive_rows(port: Port) -> set[int]:
    return {slot.exclusive_row for slot in port.state.slots} - {-1}


def test_all_are_exclusive_as_soon_as_queues_suffice_however_light_they_are() -> None:
    port = short_port()
    for row in (1, 3):
        port.depart(row)
    port.run_until_quiet()
    assert exclusive_rows(port) == {0, 2, 4}
    assert len({port.queue_of[row] for row in range(100, 140)}) == 1


def test_a_flow_whose_class_has_its_maximum_does_not_keep_the_others_waiting() -> None:
    port = short_port()
    for row in range(4):
        port.depart(row)
    for row in (10, 11, 12):
        port.arrive(row, rate=10, **CAPPED)
    port.run_until_quiet()
    assert 4 in exclusive_rows(port) and len(exclusive_rows(port)) == 2
    waiting = {10, 11, 12} - exclusive_rows(port)
    assert port.rows_by_queue()[port.queue_of[waiting.pop()]] >= waiting
    assert len(port.rows_by_queue()[port.queue_of[100]]) == 40, "apart from the flows of classes that share"


def test_waiting_flows_are_apart_from_those_that_share_even_if_that_takes_a_queue() -> None:
    port = Port(hardware(0, 1, 2, 3), Balance(window=5.0, moves_per_second=0.5))
    for row in (0, 1):
        port.arrive(row, rate=10_000, **HEAVY)
    for row in (10, 11):
        port.arrive(row, rate=10_000, **CAPPED)
    for row in range(100, 110):
        port.arrive(row, rate=1000)
    port.run_until_quiet()
    assert len(port.rows_by_queue()[port.queue_of[100]]) == 10
    assert sorted(len(rows) for rows in port.rows_by_queue().values()) == [1, 1, 2, 10]


def test_one_flow_too_many_that_comes_and_goes_does_not_move_the_others() -> None:
    port = short_port()
    for row in (3, 4):
        port.depart(row)
    before = len(port.moves)
    for second in range(60):
        if second % 4 == 0:
            port.arrive(9, rate=10, **HEAVY)
        elif second % 4 == 2:
            port.depart(9)
        port.tick()
    assert len(port.moves) - before <= 60, "forty flows that share would have moved back and forth"
    port.run_until_quiet()
    assert exclusive_rows(port) == {0, 1, 2}


def test_an_exclusive_queue_is_emptied_for_its_flow_within_a_second() -> None:
    port = Port(hardware(0, 1, 2, 3))
    for row in range(64):
        port.arrive(row, rate=10)
    port.arrive(99, rate=10**6, **HEAVY)
    port.tick()
    assert port.rows_by_queue()[port.queue_of[99]] == {99}


def test_a_huge_queue_is_emptied_bit_by_bit() -> None:
    port = Port(hardware(0, 1))
    for row in range(2000):
        port.arrive(row, rate=10)
    queue = port.arrive(9999, rate=10**6, **HEAVY).queue_id
    counts = [len(port.tick()) for _ in range(6)]
    assert counts == [200, 200, 200, 200, 200, 0]
    assert port.rows_by_queue()[queue] == {9999}
