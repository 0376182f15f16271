"""Moves are few, have a reason, and stop."""

from __future__ import annotations

from typing import Any

from support.engine.allocation import Port, hardware

from flowlane.core.allocate import set_speed
from flowlane.core.model import Reason
from flowlane.core.policy import Balance


def uneven(flows: int = 100, **balance: Any) -> Port:
    """Two queues, all load on one of them."""
    port = Port(hardware(0, 1), Balance(**balance))
    for row in range(flows):
        port.arrive(row, rate=100)
    for row in range(flows):
        port.measure(row, 1000 if port.queue_of[row] == 0 else 10)
    return port


def test_nothing_moves_while_the_load_is_even() -> None:
    port = Port(hardware(0, 1, 2, 3))
    for row in range(200):
        port.arrive(row, rate=100)
    assert [port.tick() for _ in range(30)] == [[]] * 30


def test_at_most_so_many_a_second() -> None:
    port = uneven(moves_per_second=0.02)
    counts = [len(port.tick()) for _ in range(40)]
    assert max(counts) <= 2 and sum(counts) > 10
    assert len(uneven(moves_per_second=0.10).tick()) == 10


def test_a_small_port_saves_for_a_move() -> None:
    port = uneven(flows=10, moves_per_second=0.02)
    counts = [len(port.tick()) for _ in range(101)]
    assert 1 <= sum(counts) <= 3 and max(counts) == 1


def test_never_the_same_flow_twice_in_a_window() -> None:
    port = uneven(moves_per_second=1.0, window=10.0)
    last: dict[int, float] = {}
    for second in range(100):
        for row in range(100):
            port.measure(row, 1000 if (row + second) % 2 else 10)
        for move in port.tick():
            assert port.now - last.get(move.row, -100.0) >= 10.0
            last[move.row] = port.now
    assert last


def test_a_load_that_crosses_the_threshold_every_second_does_not_flap() -> None:
    port = Port(hardware(0, 1), Balance(imbalance=0.02))
    for row in range(100):
        port.arrive(row, rate=1000)
    moves = 0
    for second in range(120):
        port.measure(0, 1000 + 4000 * (second % 2))
        moves += len(port.tick())
    assert moves <= 6


def test_quiet_flows_move_first() -> None:
    port = uneven(moves_per_second=0.05)
    candidates = [row for row in port.queue_of if port.queue_of[row] == 0]
    last_active = [100.0] * 100
    for row in candidates[::2]:
        last_active[row] = 40.0 + row / 100
    moved = [move.row for move in port.tick(last_active=last_active)]
    assert len(moved) == 5 and set(moved) <= set(candidates[::2])


def test_one_good_move_rather_than_many_small_ones() -> None:
    port = Port(hardware(0, 1), Balance(moves_per_second=1.0))
    for row, rate in enumerate((500, 500, *[1] * 100)):
        port.arrive(row, rate=rate)
    slots = port.rows_by_queue()
    assert {0, 1} & slots[0] and {0, 1} & slots[1]
    port.measure(0, 1500)
    heavier = port.queue_of[0]
    assert len(port.tick()) <= 50
    assert port.queue_of[0] == heavier, "a flow heavier than the gap stays"


def test_two_flows_change_places_when_neither_move_alone_helps() -> None:
    port = Port(hardware(0, 1), Balance(moves_per_second=1.0, imbalance=0.02))
    for row, rate in enumerate((60, 40, 50, 30)):
        port.arrive(row, rate=rate)
    for row, rate in enumerate((60, 30, 50, 40)):
        port.measure(row, rate)
    # one queue now has 60 + 40, the other 50 + 30: 60 and 50 change places
    assert sorted(port.loads().values()) == [80, 100]
    moves = port.tick()
    assert len(moves) == 2 and {move.reason for move in moves} == {Reason.REBALANCED}
    assert set(port.loads().values()) == {90}


def test_strategies_that_do_not_move_flows_do_not() -> None:
    for strategy in ("hash", "round-robin", "least-loaded", "one-vm-one-queue"):
        port = uneven(strategy=strategy)
        assert port.tick() == []


def test_a_class_in_a_pool_of_others_is_not_spread_beyond_its_maximum() -> None:
    """Heavy flows change their class while no queue is idle: one queue with the next rebalance, and for good."""
    port = Port(hardware(0, 1, 2, 3), Balance(window=2.0, moves_per_second=1.0, imbalance=0.5))
    for row in range(24):
        port.arrive(row, rate=1000 if row < 8 else 10)
    for row in range(8):
        port.change(row, class_index=1, group=1, max_queues=1, rate=1000)
    queue_counts = []
    for _ in range(20):
        port.tick()
        queue_counts.append(len({port.queue_of[row] for row in range(8)}))
    assert queue_counts == [1] * 20


def test_a_port_that_carries_next_to_nothing_is_left_as_it_is() -> None:
    """On 1 Gbit/s no packet waits in a queue of 5 Mbit/s; the same flows on 10 Mbit/s are rebalanced."""
    for speed, rebalanced in ((1_000_000_000, False), (10_000_000, True)):
        port = uneven(moves_per_second=1.0)
        set_speed(port.state, speed)
        for row in range(100):
            port.measure(row, 100_000 if port.queue_of[row] == 0 else 1_000)
        assert bool([move for _ in range(5) for move in port.tick()]) == rebalanced
