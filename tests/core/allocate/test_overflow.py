"""Hardware that is full sends flows to software queues (M8)."""

from fakes.allocation import Port, check, hardware, software

from flowlane.core.model import Queue, Reason
from flowlane.core.policy import Balance, Road

FAST = Balance(moves_per_second=1.0, window=2.0)


def test_the_least_important_leave_first_and_no_more_than_needed():
    port = Port([Queue(0, max_rate=1000), *software(10)], FAST)
    for row in range(9):
        port.arrive(row, rate=100, priority=row % 3, class_index=row % 3, group=row % 3)
    for row in range(9):
        port.measure(row, 130)
    moves = port.tick()
    assert [move.reason for move in moves] == [Reason.OVERFLOW_TO_SOFTWARE] * 2
    assert all(port.demand[move.row].priority == 0 for move in moves)
    check(port)


def test_flows_that_must_have_hardware_stay():
    port = Port([Queue(0, max_rate=100), *software(10)], FAST)
    port.arrive(0, rate=80, road=Road.HARDWARE, class_index=1, group=1)
    port.measure(0, 500)
    assert port.tick() == []


def test_without_software_everybody_stays():
    port = Port([Queue(0, max_rate=100)], FAST)
    for row in range(5):
        port.arrive(row, rate=100)
    assert port.tick() == []


def test_flows_above_the_number_leave_when_queues_go():
    port = Port(hardware(0, 1) + software(10), Balance(flows_per_queue=4, moves_per_second=1.0))
    for row in range(8):
        port.arrive(row, rate=10 if row < 4 else 1000)
    port.reshape(hardware(0) + software(10))
    port.settle()
    assert len(port.members()[0]) == 4
    assert port.members()[0] == {4, 5, 6, 7}, "the heaviest have the hardware"


def test_a_vm_that_keeps_together_leaves_whole():
    port = Port([Queue(0, max_rate=1000), *software(10)], FAST)
    for row in range(8):
        port.arrive(row, rate=100, vm_number=1 + row % 2, keep_vm_together=True)
    for row in range(8):
        port.measure(row, 200)
    port.settle()
    assert {frozenset(rows) for rows in port.members().values()} == {
        frozenset((0, 2, 4, 6)),
        frozenset((1, 3, 5, 7)),
    }


def test_no_queue_is_left_idle_by_rates_however_high():
    port = Port([Queue(0, max_rate=1000), Queue(1, max_rate=1000), *software(10)], FAST)
    for row in range(4):
        port.arrive(row, rate=100)
    for row in range(4):
        port.measure(row, 5000)
    port.settle()
    assert sorted(len(port.members()[queue]) for queue in (0, 1)) == [1, 1]
    before = len(port.moves)
    port.settle()
    assert port.moves[before:] == [], "and nobody is sent to and fro"


def test_queues_that_become_idle_are_used_whatever_the_rate():
    port = Port([Queue(0, max_rate=1000), Queue(1, max_rate=1000), *software(10)], FAST)
    for row in range(4):
        port.arrive(row, rate=5000)
    assert len(port.members()[10]) == 2, "those that found more flows than queues"
    port.depart(0)
    port.settle()
    assert sorted(len(port.members()[queue]) for queue in (0, 1, 10)) == [1, 1, 1]


def test_a_vm_that_is_all_the_hardware_has_stays():
    port = Port([Queue(0, max_rate=1000), *software(10)], FAST)
    for row in range(3):
        port.arrive(row, rate=100, vm_number=1, keep_vm_together=True)
    for row in range(3):
        port.measure(row, 2000)
    port.settle()
    assert port.moves == []
