"""Overflow to software queues and promotion back (M8), without flows that move back and forth."""

from support.engine.allocation import Port, check_state, hardware, software

from flowlane.core.model import Queue, Reason
from flowlane.core.policy import Balance, PathPreference

FAST = Balance(moves_per_second=1.0, window=2.0)


def test_the_heaviest_is_promoted_first_when_there_is_room() -> None:
    port = Port([Queue(0, max_rate=1000), *software(10)], FAST)
    for row, rate in enumerate((800, 300, 500, 90)):
        port.arrive(row, rate=rate)
    assert [port.queue_of[row] for row in range(4)] == [0, 10, 10, 0]
    port.depart(0)
    moves = port.tick()
    assert [(move.row, move.reason) for move in moves] == [(2, Reason.PROMOTED), (1, Reason.PROMOTED)]


def test_a_flow_that_grows_changes_places_with_a_much_lighter_one() -> None:
    port = Port(hardware(0) + software(10), Balance(flows_per_queue=2, moves_per_second=1.0))
    for row in range(3):
        port.arrive(row, rate=100)
    port.measure(2, 150)
    assert port.tick() == [], "half as much again is not enough"
    port.measure(2, 900)
    assert {(move.row, move.reason) for move in port.tick()} == {
        (2, Reason.PROMOTED),
        (1, Reason.OVERFLOW_TO_SOFTWARE),
    } or port.queue_of[2] == 0


def test_priority_comes_before_rate() -> None:
    port = Port(hardware(0) + software(10), Balance(flows_per_queue=1, moves_per_second=1.0))
    port.arrive(0, rate=1000)
    port.arrive(1, rate=1, priority=5, class_index=1, group=1)
    port.tick()
    assert port.queue_of == {0: 10, 1: 0}


def test_a_load_about_the_limit_moves_no_flow_back_and_forth() -> None:
    port = Port([Queue(0, max_rate=1000), *software(10)], FAST)
    for row in range(9):
        port.arrive(row, rate=100)
    moves = 0
    for second in range(60):
        port.measure(0, 100 + 50 * (second % 2))
        moves += len(port.tick())
    assert moves == 0, "between 90 % and 100 % no flow leaves or comes"
    for second in range(60):
        port.measure(0, 100 + 300 * (second % 2))
        moves += len(port.tick())
    assert moves <= 3


def test_a_flow_that_must_have_hardware_gets_it_when_it_comes() -> None:
    port = Port(software(10), FAST)
    port.arrive(0, rate=100, path=PathPreference.HARDWARE)
    port.update_queues(hardware(0) + software(10))
    assert [(move.row, move.new) for move in port.tick()] == [(0, 0)]


def test_a_vm_that_keeps_together_is_promoted_whole() -> None:
    port = Port([Queue(0, max_rate=1000), *software(10)], FAST)
    port.arrive(99, rate=900)
    for row in range(4):
        port.arrive(row, rate=50, vm_number=1, keep_vm_together=True, class_index=1, group=1)
    assert {port.queue_of[row] for row in range(4)} == {10}
    port.depart(99)
    port.tick()
    assert {port.queue_of[row] for row in range(4)} == {0}


EXCLUSIVE = {"exclusive": True, "class_index": 1, "group": 1}


def exclusive_in_software() -> Port:
    """Return a port whose hardware is full by the rate of flow 0; software queue 10 is exclusive to flow 1."""
    port = Port(
        [Queue(0, max_rate=500), Queue(1, max_rate=500), Queue(2, max_rate=0), *software(10, 11)], FAST
    )
    for row, rate in ((0, 900), (50, 1), (51, 1)):
        port.arrive(row, rate=rate)
    port.arrive(1, rate=400, **EXCLUSIVE)
    assert port.exclusive_row(10) == 1
    return port


def test_an_exclusive_software_queue_is_left_for_an_exclusive_hardware_queue() -> None:
    port = exclusive_in_software()
    assert port.tick() == []
    port.depart(0)
    port.arrive(2, rate=100)
    moves = [move for _ in range(4) for move in port.tick()]
    assert [move.reason for move in moves if move.row == 1] == [Reason.EXCLUSIVE]
    assert port.exclusive_row(port.queue_of[1]) == 1 and port.queue_of[1] in (0, 1, 2)


def test_it_is_left_for_hardware_that_has_room_though_the_flow_has_to_share_there() -> None:
    port = Port([Queue(0, max_rate=1000), *software(10, 11)], FAST)
    port.arrive(0, rate=900)
    port.arrive(1, rate=400, **EXCLUSIVE)
    assert port.exclusive_row(10) == 1
    port.measure(0, 1)
    port.run_until_quiet()
    assert port.queue_of[1] == 0, "software queues are for what the hardware has no room for"


def test_a_class_that_uses_software_queues_from_now_on_leaves_the_hardware_by_the_ordinary_limits() -> None:
    port = Port([*hardware(0, 1), *software(10, 11)])
    for row in range(200):
        port.arrive(row, rate=10)
    for row in range(200):
        assert port.change(row, rate=10, path=PathPreference.SOFTWARE, class_index=1).queue_id in (0, 1)
    for second in range(60):
        moves = port.tick()
        assert second == 0 or len(moves) <= 5, "2 % of 200 flows"
        assert all(move.reason is Reason.SOFTWARE_BY_RULE for move in moves if move.old < 10 <= move.new)
    assert set(port.queue_of.values()) == {10, 11}


def test_a_load_that_swings_does_not_move_it_back_and_forth() -> None:
    port = exclusive_in_software()
    moves = 0
    for second in range(60):
        port.measure(0, 300 if second % 2 else 900)
        moves += len(port.tick())
    assert moves == 0, "it would not have fitted all through the last window"
    port.measure(0, 300)
    port.run_until_quiet()
    assert port.queue_of[1] != 10
    before = len(port.moves)
    for second in range(60):
        port.measure(0, 550 if second % 2 else 300)
        port.tick()
    assert port.moves[before:] == [] and port.exclusive_row(port.queue_of[1]) == 1


def test_a_much_heavier_one_takes_the_place_of_a_light_flow() -> None:
    port = Port(hardware(0, 1, 2) + software(10, 11), Balance(flows_per_queue=1, moves_per_second=1.0))
    for row in range(3):
        port.arrive(row, rate=100)
    port.arrive(9, rate=900, **EXCLUSIVE)
    assert port.exclusive_row(10) == 9
    port.run_until_quiet()
    assert port.exclusive_row(port.queue_of[9]) == 9 and port.queue_of[9] in (0, 1, 2)
    assert [port.queue_of[row] in (10, 11) for row in range(3)].count(True) == 1


def test_a_flow_that_must_have_hardware_leaves_even_an_exclusive_queue_for_it() -> None:
    port = Port(software(10, 11), FAST)
    port.arrive(0, rate=100, path=PathPreference.HARDWARE, **EXCLUSIVE)
    assert port.exclusive_row(port.queue_of[0]) == 0
    port.update_queues(hardware(0) + software(10, 11))
    port.tick()
    assert port.queue_of[0] == 0 and port.exclusive_row(0) < 0, "the last queue does not become exclusive"


def test_the_lowest_priority_overflows_first_and_no_more_than_needed() -> None:
    port = Port([Queue(0, max_rate=1000), *software(10)], FAST)
    for row in range(9):
        port.arrive(row, rate=100, priority=row % 3, class_index=row % 3, group=row % 3)
    for row in range(9):
        port.measure(row, 130)
    moves = port.tick()
    assert [move.reason for move in moves] == [Reason.OVERFLOW_TO_SOFTWARE] * 2
    assert all(port.demands[move.row].priority == 0 for move in moves)
    check_state(port)


def test_flows_that_must_have_hardware_stay() -> None:
    port = Port([Queue(0, max_rate=100), *software(10)], FAST)
    port.arrive(0, rate=80, path=PathPreference.HARDWARE, class_index=1, group=1)
    port.measure(0, 500)
    assert port.tick() == []


def test_without_software_queues_all_flows_stay() -> None:
    port = Port([Queue(0, max_rate=100)], FAST)
    for row in range(5):
        port.arrive(row, rate=100)
    assert port.tick() == []


def test_flows_above_the_number_overflow_when_queues_are_removed() -> None:
    port = Port(hardware(0, 1) + software(10), Balance(flows_per_queue=4, moves_per_second=1.0))
    for row in range(8):
        port.arrive(row, rate=10 if row < 4 else 1000)
    port.update_queues(hardware(0) + software(10))
    port.run_until_quiet()
    assert len(port.rows_by_queue()[0]) == 4
    assert port.rows_by_queue()[0] == {4, 5, 6, 7}, "the heaviest have the hardware"


def test_a_vm_that_keeps_together_overflows_whole() -> None:
    port = Port([Queue(0, max_rate=1000), *software(10)], FAST)
    for row in range(8):
        port.arrive(row, rate=100, vm_number=1 + row % 2, keep_vm_together=True)
    for row in range(8):
        port.measure(row, 200)
    port.run_until_quiet()
    assert {frozenset(rows) for rows in port.rows_by_queue().values()} == {
        frozenset((0, 2, 4, 6)),
        frozenset((1, 3, 5, 7)),
    }


def test_no_queue_is_left_idle_by_rates_however_high() -> None:
    port = Port([Queue(0, max_rate=1000), Queue(1, max_rate=1000), *software(10)], FAST)
    for row in range(4):
        port.arrive(row, rate=100)
    for row in range(4):
        port.measure(row, 5000)
    port.run_until_quiet()
    assert sorted(len(port.rows_by_queue()[queue]) for queue in (0, 1)) == [1, 1]
    before = len(port.moves)
    port.run_until_quiet()
    assert port.moves[before:] == [], "and no flow moves back and forth"


def test_queues_that_become_idle_are_used_whatever_the_rate() -> None:
    port = Port([Queue(0, max_rate=1000), Queue(1, max_rate=1000), *software(10)], FAST)
    for row in range(4):
        port.arrive(row, rate=5000)
    assert len(port.rows_by_queue()[10]) == 2, "those that found more flows than queues"
    port.depart(0)
    port.run_until_quiet()
    assert sorted(len(port.rows_by_queue()[queue]) for queue in (0, 1, 10)) == [1, 1, 1]


def test_a_vm_that_is_all_the_hardware_has_stays() -> None:
    port = Port([Queue(0, max_rate=1000), *software(10)], FAST)
    for row in range(3):
        port.arrive(row, rate=100, vm_number=1, keep_vm_together=True)
    for row in range(3):
        port.measure(row, 2000)
    port.run_until_quiet()
    assert port.moves == []


def test_a_flow_that_the_device_put_on_hardware_goes_to_the_software_queue_of_its_class() -> None:
    """Not to another hardware queue, though that would be the more even one."""
    port = Port(hardware(0, 1) + software(10), FAST)
    port.tick(), port.tick()
    for row in range(4):
        port.place_on(row, 0, rate=100, path=PathPreference.SOFTWARE)
    moves = port.tick()
    assert {(move.row, move.new, move.reason) for move in moves} == {
        (row, 10, Reason.SOFTWARE_BY_RULE) for row in range(4)
    }
    assert not port.state.misplaced
    check_state(port)


def test_a_misplaced_flow_that_has_gone_is_not_looked_for() -> None:
    port = Port(hardware(0, 1) + software(10), FAST)
    port.tick()
    port.place_on(0, 0, rate=100, path=PathPreference.SOFTWARE)
    port.depart(0)
    assert port.tick() == []
    check_state(port)


def test_nothing_stays_on_software_queues_once_the_load_has_fallen() -> None:
    """A heavy flow that had a software queue to itself stayed there, with 13 % of the bytes at a load of 20 %."""
    port = Port([*(Queue(number, max_rate=1000) for number in range(8)), *software(10, 11, 12, 13)], FAST)
    for row in range(60):
        port.arrive(row, rate=100)
    for row in range(60, 72):
        port.arrive(row, rate=400, **EXCLUSIVE)
    port.run_until_quiet()
    assert any(queue >= 10 for queue in port.queue_of.values())
    for row in port.queue_of:
        port.measure(row, 10 if row < 60 else 80)
    port.run_until_quiet()
    assert all(queue < 10 for queue in port.queue_of.values())
