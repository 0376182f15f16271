"""Flows come back from software queues, and do not go to and fro."""

from fakes.allocation import Port, hardware, software

from flowlane.core.model import Queue, Reason
from flowlane.core.policy import Balance, Road

FAST = Balance(moves_per_second=1.0, window=2.0)


def test_the_heaviest_comes_back_when_there_is_room():
    port = Port([Queue(0, max_rate=1000), *software(10)], FAST)
    for row, rate in enumerate((800, 300, 500, 90)):
        port.arrive(row, rate=rate)
    assert [port.place[row] for row in range(4)] == [0, 10, 10, 0]
    port.depart(0)
    moves = port.tick()
    assert [(move.row, move.reason) for move in moves] == [(2, Reason.PROMOTED), (1, Reason.PROMOTED)]


def test_a_flow_that_grows_changes_places_with_a_much_lighter_one():
    port = Port(hardware(0) + software(10), Balance(flows_per_queue=2, moves_per_second=1.0))
    for row in range(3):
        port.arrive(row, rate=100)
    port.measure(2, 150)
    assert port.tick() == [], "half as much again is not enough"
    port.measure(2, 900)
    assert {(move.row, move.reason) for move in port.tick()} == {
        (2, Reason.PROMOTED),
        (1, Reason.OVERFLOW_TO_SOFTWARE),
    } or port.place[2] == 0


def test_priority_comes_before_rate():
    port = Port(hardware(0) + software(10), Balance(flows_per_queue=1, moves_per_second=1.0))
    port.arrive(0, rate=1000)
    port.arrive(1, rate=1, priority=5, class_index=1, group=1)
    port.tick()
    assert port.place == {0: 10, 1: 0}


def test_a_load_about_the_limit_moves_nobody_to_and_fro():
    port = Port([Queue(0, max_rate=1000), *software(10)], FAST)
    for row in range(9):
        port.arrive(row, rate=100)
    moves = 0
    for second in range(60):
        port.measure(0, 100 + 50 * (second % 2))
        moves += len(port.tick())
    assert moves == 0, "between 90 % and 100 % nobody leaves or comes"
    for second in range(60):
        port.measure(0, 100 + 300 * (second % 2))
        moves += len(port.tick())
    assert moves <= 3


def test_a_flow_that_must_have_hardware_gets_it_when_it_comes():
    port = Port(software(10), FAST)
    port.arrive(0, rate=100, road=Road.HARDWARE)
    port.reshape(hardware(0) + software(10))
    assert [(move.row, move.new) for move in port.tick()] == [(0, 0)]


def test_a_vm_that_keeps_together_comes_back_whole():
    port = Port([Queue(0, max_rate=1000), *software(10)], FAST)
    port.arrive(99, rate=900)
    for row in range(4):
        port.arrive(row, rate=50, vm_number=1, keep_vm_together=True, class_index=1, group=1)
    assert {port.place[row] for row in range(4)} == {10}
    port.depart(99)
    port.tick()
    assert {port.place[row] for row in range(4)} == {0}
