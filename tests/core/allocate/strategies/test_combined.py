"""The default strategy: the queue of a new flow, and the reason."""

import pytest
from support.engine.allocation import Port, hardware, software

from flowlane.core.model import Queue, Reason
from flowlane.core.policy import Balance, PathPreference

HW, SW, BOTH = hardware(0, 1), software(10, 11), hardware(0, 1) + software(10, 11)


@pytest.mark.parametrize(
    ("queues", "path", "expected", "reason"),
    [
        (HW, PathPreference.SOFTWARE, {0, 1}, Reason.SHARED),
        (HW, PathPreference.PREFER_HARDWARE, {0, 1}, Reason.SHARED),
        (SW, PathPreference.HARDWARE, {10, 11}, Reason.OVERFLOW_TO_SOFTWARE),
        (SW, PathPreference.SOFTWARE, {10, 11}, Reason.SOFTWARE_BY_RULE),
        (BOTH, PathPreference.HARDWARE, {0, 1}, Reason.SHARED),
        (BOTH, PathPreference.PREFER_HARDWARE, {0, 1}, Reason.SHARED),
        (BOTH, PathPreference.SOFTWARE, {10, 11}, Reason.SOFTWARE_BY_RULE),
    ],
)
def test_the_path_decides_among_kinds(
    queues: list[Queue], path: PathPreference, expected: set[int], reason: Reason
) -> None:
    placement = Port(queues).arrive(0, rate=1, path=path)
    assert placement.queue_id in expected
    assert placement.reason is reason


def test_what_does_not_fit_goes_to_software() -> None:
    port = Port([Queue(0, max_rate=100), *software(10)])
    assert port.arrive(0, rate=80).queue_id == 0
    assert port.arrive(1, rate=20).reason is Reason.OVERFLOW_TO_SOFTWARE
    assert port.arrive(2, rate=20, path=PathPreference.HARDWARE).reason is Reason.HARDWARE_ONLY_FULL
    assert port.queue_of == {0: 0, 1: 10, 2: 0}


def test_the_number_of_flows_can_fill_the_hardware_too() -> None:
    port = Port(hardware(0, 1) + software(10), Balance(flows_per_queue=3))
    for row in range(8):
        port.arrive(row, rate=5)
    assert sorted(len(rows) for rows in port.rows_by_queue().values()) == [2, 3, 3]
    assert len(port.rows_by_queue()[10]) == 2


def test_exclusive_flows_get_queues_while_queues_last() -> None:
    port = Port(hardware(0, 1, 2, 3))
    reasons = [port.arrive(row, rate=9, exclusive=True).reason for row in range(5)]
    assert reasons[:3] == [Reason.EXCLUSIVE] * 3
    assert reasons[3:] == [Reason.EXCLUSIVE_UNAVAILABLE] * 2
    assert sorted(len(rows) for rows in port.rows_by_queue().values()) == [1, 1, 1, 2]


def test_a_class_takes_no_more_queues_than_it_may() -> None:
    port = Port(hardware(0, 1, 2, 3))
    for row in range(6):
        port.arrive(row, rate=9, exclusive=True, max_queues=1, class_index=1, group=1)
    for row in range(6, 12):
        port.arrive(row, rate=9, max_queues=2, class_index=2, group=2)
    assert sum(slot.exclusive_row >= 0 for slot in port.state.slots) == 1
    port.run_until_quiet()
    assert len({port.queue_of[row] for row in range(6, 12)}) == 2


def test_the_min_queues_of_others_do_not_become_exclusive() -> None:
    port = Port(hardware(0, 1, 2, 3))
    port.arrive(0, rate=1, class_index=2, group=2, min_queues=3)
    reasons = [port.arrive(row, rate=9, exclusive=True, class_index=1, group=1).reason for row in (1, 2)]
    assert reasons == [Reason.EXCLUSIVE, Reason.EXCLUSIVE_UNAVAILABLE]


def test_the_flows_of_a_vm_keep_together() -> None:
    port = Port(hardware(0, 1, 2, 3))
    for row in range(30):
        placement = port.arrive(row, rate=10 + row, vm_number=1 + row % 3, keep_vm_together=True)
        assert placement.reason is Reason.VM_TOGETHER
        assert placement.queue_id == port.queue_of[row % 3]
    port.run_until_quiet()
    for vm in range(3):
        assert len({port.queue_of[row] for row in range(30) if row % 3 == vm}) == 1
    assert len(set(port.queue_of.values())) == 3


@pytest.mark.parametrize("heavier", [1, 10, 1000])
def test_flows_that_are_not_alike_get_different_queues_while_there_are_enough(heavier: int) -> None:
    port = Port(hardware(0, 1, 2, 3), Balance(moves_per_second=1.0))
    for row in range(40):
        port.arrive(row, rate=100 * heavier ** (row % 4), group=row % 4)
    port.run_until_quiet()
    for queue, rows in port.rows_by_queue().items():
        assert len({row % 4 for row in rows}) == 1, queue


def test_more_groups_than_queues_are_merged_nearest_in_priority_first() -> None:
    port = Port(hardware(0, 1))
    for row in range(40):
        kind = row % 4
        port.arrive(row, rate=100, group=kind, class_index=kind, priority=(0, 0, 7, 7)[kind])
    port.run_until_quiet()
    for rows in port.rows_by_queue().values():
        assert {row % 4 for row in rows} in ({0, 1}, {2, 3})
    assert port.arrive(99, rate=1, group=0, class_index=0).reason is Reason.GROUPED
