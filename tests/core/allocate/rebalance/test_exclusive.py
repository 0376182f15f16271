"""Exclusive queues: which flows get one, which lose it, and that it costs no more moves than anything else."""

from __future__ import annotations

from typing import Any

import pytest
from support.engine.allocation import Port, check_state, hardware

from flowlane.core.allocate import new_port
from flowlane.core.allocate.budget import LEAVING, LEAVING_SAVED
from flowlane.core.allocate.state import Columns
from flowlane.core.model import Queue, QueueKind, Reason
from flowlane.core.policy import Balance, PathPreference

HEAVY = {"exclusive": True, "class_index": 1, "group": 1}
FAST = Balance(window=5.0, moves_per_second=0.5)


def full_port(*rates: int, **more: Any) -> Port:
    """Four queues: three are exclusive to flows 0 to 2, the other flows share the last."""
    port = Port(hardware(0, 1, 2, 3), Balance(window=10.0))
    for row, rate in enumerate(rates):
        port.arrive(row, rate=rate, **HEAVY, **more)
    return port


def exclusive_rows(port: Port) -> set[int]:
    return {slot.exclusive_row for slot in port.state.slots} - {-1}


def with_small(flows: int, rate: int, speed: int | None = None) -> Port:
    """Eight queues, and small flows 100 and on that share them."""
    port = Port(hardware(*range(8)), FAST)
    port.state = new_port(Columns(), port.queues, FAST, speed=speed)
    for row in range(100, 100 + flows):
        port.arrive(row, rate=rate)
    return port


def test_a_queue_that_becomes_free_goes_to_the_heaviest_waiting_flow() -> None:
    port = full_port(100, 100, 100, 50, 90, 20)
    port.depart(1)
    moves = port.tick()
    assert [(move.row, move.reason) for move in moves if move.reason is Reason.EXCLUSIVE] == [
        (4, Reason.EXCLUSIVE)
    ]
    assert port.exclusive_row(port.queue_of[4]) == 4


def test_a_much_heavier_flow_takes_over_a_queue_and_does_not_lose_it_soon() -> None:
    port = full_port(100, 200, 300, 110)
    port.tick()
    assert exclusive_rows(port) == {0, 1, 2}, "10 % heavier is not enough"
    port.measure(3, 1000)
    port.tick(20.0)
    assert exclusive_rows(port) == {1, 2, 3}
    moves = len(port.moves)
    for second in range(8):
        port.measure(0, 1500 if second % 2 else 1)
        port.tick()
    assert len(port.moves) == moves


def test_seven_light_exclusive_flows_leave_the_others_their_queues() -> None:
    """Seven flows of 300 kbit/s beside 190 others of 5.6 Gbit/s had seven of eight queues to themselves."""
    port = with_small(190, 29_000_000)
    for row in range(7):
        port.arrive(row, rate=300_000, **HEAVY)
    port.run_until_quiet()
    assert not exclusive_rows(port)
    assert max(port.loads().values()) <= 1.05 * port.state.load / 8


def test_light_flows_have_queues_that_nobody_misses() -> None:
    port = with_small(190, 29_000, speed=10**10)
    for row in range(7):
        port.arrive(row, rate=3_000, **HEAVY)
    port.run_until_quiet()
    assert exclusive_rows(port) == set(range(7)), "what shares the last queue is next to nothing for it"


@pytest.mark.parametrize("heavy", [1, 3, 5, 7])
def test_heavy_flows_are_alone_while_they_carry_more_than_the_queues_of_the_others(heavy: int) -> None:
    port = with_small(200, 1000)
    for row in range(heavy):
        port.arrive(row, rate=400_000, **HEAVY)
    port.run_until_quiet()
    assert exclusive_rows(port) == set(range(heavy))
    shared = [load for queue, load in port.loads().items() if port.exclusive_row(queue) < 0]
    assert max(shared) <= 1.05 * 200_000 / len(shared)


def test_too_many_heavy_flows_share_all_queues_evenly_with_the_others() -> None:
    port = with_small(100, 1000)
    for row in range(40):
        port.arrive(row, rate=400_000, **HEAVY)
    port.run_until_quiet()
    assert not exclusive_rows(port)
    assert max(port.loads().values()) <= 1.05 * port.state.load / 8


def test_queues_are_taken_back_when_the_others_need_them() -> None:
    port = with_small(200, 1000)
    for row in range(4):
        port.arrive(row, rate=60_000, **HEAVY)
    port.run_until_quiet()
    assert exclusive_rows(port) == set(range(4))
    for row in range(100, 300):
        port.measure(row, 4000)
    port.run_until_quiet()
    assert not exclusive_rows(port)
    assert max(port.loads().values()) <= 1.05 * port.state.load / 8


def test_a_load_that_swings_does_not_give_and_take_queues() -> None:
    port = with_small(200, 1000)
    for row in range(2):
        port.arrive(row, rate=60_000, **HEAVY)
    port.run_until_quiet()
    before = len(port.moves)
    for second in range(40):
        for row in range(2):
            port.measure(row, 32_500 if second % 2 else 60_000)
        port.tick()
    assert exclusive_rows(port) == {0, 1}
    assert len(port.moves) == before


def test_a_class_of_higher_priority_has_queues_that_it_does_not_fill() -> None:
    port = with_small(64, 100_000, speed=16_000_000)
    port.arrive(0, rate=1_000, **HEAVY, priority=5)
    port.run_until_quiet()
    assert exclusive_rows(port) == {0}


def test_not_even_a_higher_priority_starves_the_others() -> None:
    port = with_small(64, 100_000, speed=16_000_000)
    for row in range(7):
        port.arrive(row, rate=1_000, **HEAVY, priority=5)
    port.run_until_quiet()
    shared = [load for queue, load in port.loads().items() if port.exclusive_row(queue) < 0]
    assert exclusive_rows(port) and max(shared) <= 1.01 * 2_000_000


def test_flows_of_a_class_that_says_what_is_alike_wait_apart_from_the_others() -> None:
    port = Port(hardware(0, 1, 2, 3), FAST)
    for row in range(5):
        port.arrive(row, rate=10_000, **HEAVY, apart=True)
    for row in range(100, 110):
        port.arrive(row, rate=1000)
    port.run_until_quiet()
    waiting = set(range(5)) - exclusive_rows(port)
    assert waiting
    assert {port.queue_of[row] for row in waiting}.isdisjoint(port.queue_of[row] for row in range(100, 110))


def test_the_others_leave_an_exclusive_queue_by_the_ordinary_limits() -> None:
    port = Port(hardware(0, 1))
    for row in range(2000):
        port.arrive(row, rate=10)
    port.arrive(9999, rate=10**6, **HEAVY)
    counts = [sum(move.old != move.new for move in port.tick()) for _ in range(30)]
    assert max(counts) <= 41, "2 % of 2,001 flows"
    assert port.rows_by_queue()[port.queue_of[9999]] == {9999}


@pytest.mark.parametrize(("heavy", "seconds"), [(1, 2), (2, 7)])
def test_where_flows_are_few_the_others_leave_by_tokens_of_their_own(heavy: int, seconds: int) -> None:
    """60 flows on four queues: 2 % of them are a flow a second."""
    port = Port(hardware(0, 1, 2, 3))
    for row in range(60):
        port.arrive(row, rate=50_000 + row)
    port.run_until_quiet()
    rows = range(100, 100 + heavy)
    for row in rows:
        port.arrive(row, **HEAVY)
        port.measure(row, 20_000_000)
    for _ in range(seconds):
        moves = [move for move in port.tick() if move.old != move.new]
        assert len(moves) <= LEAVING_SAVED * LEAVING + 2
        assert {move.reason for move in moves} <= {Reason.VACATED, Reason.EXCLUSIVE, Reason.REBALANCED}
    assert all(port.rows_by_queue()[port.queue_of[row]] == {row} for row in rows)


def test_a_flow_that_has_moved_has_its_own_queue_made_exclusive() -> None:
    """It may not move again within the window; the other flows of its queue can."""
    port = Port(hardware(0, 1), Balance(window=30.0, moves_per_second=1.0))
    for row in range(6):
        port.arrive(row, rate=100)
    port.measure(0, 350)
    port.tick()
    (moved,) = {move.row for move in port.moves} or {0}
    port.change(moved, rate=5000, **HEAVY)
    here = port.queue_of[moved]
    port.run_until_quiet()
    assert port.exclusive_row(here) == moved


def test_flows_that_wait_use_more_queues_than_the_class_beside_them_may_have() -> None:
    """Only the class with ``max-queues`` is bound by it; seven equal flows that want a queue each share all four."""
    port = Port(hardware(0, 1, 2, 3), FAST)
    capped = range(6)
    for row in capped:
        port.arrive(row, rate=1_000, class_index=2, group=2, priority=3, max_queues=2)
    for row in range(6, 13):
        port.arrive(row, rate=1_000_000, **HEAVY)
    port.run_until_quiet()
    assert max(port.loads().values()) <= 2_100_000
    assert exclusive_rows(port) == set(), "the others would miss it"
    assert len({port.queue_of[row] for row in capped}) <= 2


def test_groups_whose_only_queue_becomes_exclusive_get_the_one_that_was_of_no_use_to_them() -> None:
    """A class with a minimum leaves the queue without a guarantee aside; then a flow takes the one with it."""
    speed = 10**13
    hardware_queues = [
        Queue(number, min_rate=500 if number == 2 else None, max_rate=speed * (1 + number % 3))
        for number in range(6)
    ]
    software_queues = [
        Queue(10, QueueKind.SOFTWARE, max_rate=3 * speed),
        Queue(11, QueueKind.SOFTWARE, min_rate=300, max_rate=3 * speed),
    ]
    port = Port(hardware_queues[:4], Balance(moves_per_second=1e6, window=3.0, flows_per_queue=6), (2.0, 1.0))
    for row in range(8):
        port.arrive(row, rate=33 + row, class_index=8, group=8, min_rate=300, priority=1, vm_number=1)
    port.arrive(
        8, rate=10**9, class_index=5, group=5, priority=5, path=PathPreference.HARDWARE, vm_number=2, share=0
    )
    port.arrive(9, rate=10**9, vm_number=1, **HEAVY)
    port.update_queues(software_queues[:1])
    port.update_queues(hardware_queues + software_queues)
    for _ in range(4):
        port.tick(0.1)
        check_state(port)
    assert 9 in exclusive_rows(port)


@pytest.mark.parametrize("priority", [0, 5])
def test_where_all_flows_are_heavy_none_is_alone_at_the_cost_of_the_others(priority: int) -> None:
    """24 flows of 320 to 400 on 8 queues of 1,250: three on each is even, and one alone leaves 1,183 to the others."""
    port = Port(hardware(*range(8)), FAST)
    port.state = new_port(Columns(), port.queues, FAST, speed=10_000)
    for row in range(24):
        port.arrive(row, rate=320 + row * 80 // 23, **HEAVY, priority=priority)
    port.run_until_quiet()
    assert not exclusive_rows(port)
    assert max(port.loads().values()) <= 1.05 * port.state.load / 8


def test_no_flow_is_alone_on_a_slow_queue_that_it_would_fill_more_than_the_others() -> None:
    """A flow of 1.4 on a queue of 2 fills 70 %, where all queues are 60 % full on average; one of 8 takes it easily."""
    speeds = (2, 2, 3, 4, 5, 6, 8, 8)
    port = Port([Queue(number, max_rate=speed * 1000) for number, speed in enumerate(speeds)], FAST)
    for row in range(100, 300):
        port.arrive(row, rate=100)
    for row in range(2):
        port.arrive(row, rate=1400, **HEAVY)
    port.run_until_quiet()
    full = [load / speed for load, speed in zip(port.loads().values(), speeds, strict=True)]
    assert max(full) <= 1.05 * port.state.load / sum(speeds)


def test_an_exclusive_flow_that_outgrows_a_slow_queue_leaves_it() -> None:
    port = Port([Queue(0, max_rate=1000), Queue(1, max_rate=8000), Queue(2, max_rate=8000)], FAST)
    for row in range(100, 140):
        port.arrive(row, rate=1)
    port.arrive(0, rate=100, **HEAVY)
    port.run_until_quiet()
    for row in range(100, 140):
        port.measure(row, 200)
    port.measure(0, 2000)
    port.run_until_quiet()
    assert port.queue_of[0] != 0
