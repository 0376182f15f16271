"""Queues are divided again as load shifts, and strays return to their groups' queues."""

import pytest
from support.engine.allocation import Port, check_state, hardware

from flowlane.core.policy import Balance


def two_kinds(balance: Balance) -> Port:
    port = Port(hardware(0, 1, 2, 3), balance)
    for row in range(80):
        port.arrive(row, rate=100, group=row % 2, class_index=row % 2)
    port.run_until_quiet()
    return port


def queues_of(port: Port, kind: int) -> set[int]:
    return {port.queue_of[row] for row in port.queue_of if row % 2 == kind}


def test_equal_load_gets_equal_parts() -> None:
    port = two_kinds(Balance(moves_per_second=0.2))
    assert len(queues_of(port, 0)) == len(queues_of(port, 1)) == 2
    assert not queues_of(port, 0) & queues_of(port, 1)


def test_queues_follow_load_that_shifts_for_good() -> None:
    port = two_kinds(Balance(moves_per_second=0.2))
    for row in range(0, 80, 2):
        port.measure(row, 900)
    port.run_until_quiet()
    check_state(port)
    assert (len(queues_of(port, 0)), len(queues_of(port, 1))) == (3, 1)


def test_load_that_shifts_back_and_forth_moves_no_flow() -> None:
    port = two_kinds(Balance(moves_per_second=0.2))
    moves = 0
    for second in range(60):
        for row in range(0, 80, 2):
            port.measure(row, 130 if second % 2 else 100)
        moves += len(port.tick())
    assert moves == 0


def test_a_group_that_comes_and_goes_every_second_does_not_move_the_others() -> None:
    port = Port(hardware(0, 1, 2, 3), Balance(moves_per_second=0.2))
    for row in range(80):
        port.arrive(row, rate=100)
    moves = 0
    for second in range(60):
        if second % 2:
            port.depart(999)
        else:
            port.arrive(999, rate=100, group=1, class_index=1)
        moves += len(port.tick())
    assert moves <= 60


def test_strays_return_within_the_tokens() -> None:
    port = Port(hardware(0, 1, 2, 3), Balance(moves_per_second=0.05))
    for row in range(100):
        port.arrive(row, rate=100)
    for row in range(100, 200):
        port.arrive(row, rate=100, group=1, class_index=1)
    counts = [len(port.tick()) for _ in range(30)]
    assert max(counts) <= 10
    groups = [{row >= 100 for row in rows} for rows in port.rows_by_queue().values()]
    assert all(len(kinds) == 1 for kinds in groups)


def class_of_one_queue(small: int = 26, limited: int = 6) -> Port:
    """Four queues, small flows, and heavier ones of a class that is to be on one queue."""
    port = Port(hardware(0, 1, 2, 3))
    for row in range(small):
        port.arrive(row, rate=100_000 + row)
    for row in range(small, small + limited):
        port.arrive(row, class_index=1, group=1, max_queues=1, rate=4_000_000)
    port.run_until_quiet()
    return port


def queues_of_class(port: Port, class_index: int) -> set[int]:
    return {port.queue_of[row] for row, demand in port.demands.items() if demand.class_index == class_index}


@pytest.mark.parametrize("seconds", [1, 5, 12, 40])
@pytest.mark.parametrize("lost", [0, 1, 2, 3])
def test_a_queue_that_comes_back_is_used_within_a_reading_and_no_class_spreads(
    seconds: int, lost: int
) -> None:
    port = class_of_one_queue()
    port.update_queues(hardware(*({0, 1, 2, 3} - {lost})))
    for _ in range(seconds):
        port.tick()
        assert len(queues_of_class(port, 1)) == 1
    port.update_queues(hardware(0, 1, 2, 3))
    port.tick()
    port.tick()
    assert lost in port.queue_of.values()
    for _ in range(30):
        assert len(queues_of_class(port, 1)) == 1
        port.tick()
    assert queues_of_class(port, 1).isdisjoint(queues_of_class(port, 0)), "it has its queue to itself again"


def test_a_class_whose_queue_comes_back_leaves_those_of_others_with_the_next_rebalance() -> None:
    """Two queues for two classes; while there is one they share."""
    port = Port(hardware(0, 1))
    for row in range(20):
        port.arrive(row, class_index=row % 2, group=row % 2, max_queues=1, rate=100_000)
    port.run_until_quiet()
    port.update_queues(hardware(0))
    for _ in range(20):
        port.tick()
    port.update_queues(hardware(0, 1))
    port.tick()
    assert queues_of_class(port, 0) | queues_of_class(port, 1) == {0, 1}
    assert queues_of_class(port, 0).isdisjoint(queues_of_class(port, 1))


def test_an_exclusive_flow_has_a_queue_that_comes_back_with_the_next_rebalance() -> None:
    port = Port(hardware(0, 1))
    for row in range(10):
        port.arrive(row, rate=100_000)
    port.arrive(10, rate=9_000_000, class_index=1, group=1, exclusive=True)
    port.run_until_quiet()
    exclusive = port.queue_of[10]
    port.update_queues(hardware(1 - exclusive))
    for _ in range(20):
        port.tick()
    port.update_queues(hardware(0, 1))
    port.tick()
    assert port.exclusive_row(port.queue_of[10]) == 10


@pytest.mark.parametrize("wrong", [[3], [1, 2, 3]])
def test_what_the_device_put_on_other_queues_comes_to_the_one_of_its_class_at_once(wrong: list[int]) -> None:
    """New flows are placed by the device, by rules that may be older than the division."""
    port = class_of_one_queue(small=40)
    for row, queue_id in enumerate(wrong * 2, start=100):
        port.place_on(row, queue_id, class_index=1, group=1, max_queues=1, rate=4_000_000)
    port.tick()
    assert len(queues_of_class(port, 1)) == 1


def test_a_class_in_a_pool_of_others_is_on_the_first_queues_of_the_pool_alone() -> None:
    port = Port(hardware(0, 1))
    for row in range(10):
        port.arrive(row, rate=1000)
    for row in range(10, 20):
        port.place_on(row, row % 2, class_index=1, group=1, max_queues=1, rate=1000)
    port.tick()
    assert len(queues_of_class(port, 1)) == 1


@pytest.mark.parametrize("flows", [4, 6, 24])
@pytest.mark.parametrize("seconds", [1, 8, 30])
def test_all_queues_that_come_back_at_once_are_used_within_a_reading(flows: int, seconds: int) -> None:
    port = Port(hardware(0, 1, 2, 3))
    for row in range(flows):
        port.arrive(row, rate=100_000 + row)
    port.run_until_quiet()
    port.update_queues(hardware(0, 1))
    for _ in range(seconds):
        port.tick()
    port.update_queues(hardware(0, 1, 2, 3))
    port.tick()
    port.tick()
    assert set(port.queue_of.values()) == {0, 1, 2, 3}


PRIORITIES = ((1, 4), (2, 4), (1, 10), (1, 20), (3, 34), (2, 20))
"""Priority of each group, and its load in tenths of a Gbit/s."""


def loads_by_priority(port: Port) -> dict[int, float]:
    """Return the mean load (Gbit/s) of the queues that the groups of each priority use."""
    loads: dict[int, list[int]] = {}
    for slot in port.state.slots:
        loads.setdefault(
            max(cell.group.demand.priority for cell in slot.cells.values()),
            [],
        ).append(slot.load)
    return {priority: sum(found) / len(found) / 1e9 for priority, found in loads.items()}


def carry(port: Port, factor: dict[int, float]) -> None:
    for row, demand in port.demands.items():
        port.measure(row, int(PRIORITIES[demand.group][1] * 5_000_000 * factor.get(demand.priority, 1.0)))


def test_queues_of_a_higher_priority_do_not_carry_clearly_more() -> None:
    """With as many queues as load alone asks for, those of priority 3 carried 1.7 and those of priority 1 0.8."""
    port = Port(hardware(*range(8)), Balance(moves_per_second=0.1))
    for row in range(120):
        group = row % 6
        port.arrive(row, group=group, class_index=group, priority=PRIORITIES[group][0])
    port.tick()
    carry(port, {})
    for _ in range(90):
        port.tick()
    check_state(port)
    loads = loads_by_priority(port)
    assert loads[3] <= 1.25 * loads[2] and loads[3] <= 1.25 * loads[1] and loads[2] <= 1.25 * loads[1]


def test_a_load_about_the_threshold_does_not_divide_the_queues_again_and_again() -> None:
    port = Port(hardware(0, 1, 2), Balance(moves_per_second=0.1))
    for row in range(60):
        port.arrive(row, group=row % 2, class_index=row % 2, priority=row % 2)
    port.tick()
    divided: set[float] = set()
    for second in range(400):
        swing = 1.07 if second // 15 % 2 else 0.93
        for row in range(60):
            port.measure(row, int(1_000_000 * swing) if row % 2 else 1_650_000)
        port.tick()
        divided.add(port.state.hardware[0].divided_at)
    assert len(divided) <= 4
