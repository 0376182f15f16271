"""Queues are added and removed while there are flows; the hardware is divided among VMs."""

from __future__ import annotations

from typing import Any

from support.engine.allocation import Port, check_state, hardware, software

from flowlane.core.allocate import new_port, set_speed
from flowlane.core.allocate.state import Columns
from flowlane.core.model import NO_QUEUE, Queue, QueueKind, Reason
from flowlane.core.policy import Balance, PathPreference


def filled(queues: list[Queue], flows: int = 40, **settings: Any) -> Port:
    port = Port(queues, **settings)
    for row in range(flows):
        port.arrive(row, rate=100 + row)
    return port


def test_only_the_flows_of_removed_queues_move() -> None:
    port = filled(hardware(0, 1, 2, 3))
    gone = port.rows_by_queue()[2] | port.rows_by_queue()[3]
    moves = port.update_queues(hardware(0, 1))
    assert {move.row for move in moves} == gone
    assert {move.reason for move in moves} == {Reason.QUEUE_GONE}
    assert max(port.loads().values()) < 1.02 * min(port.loads().values())
    check_state(port)


def test_a_queue_that_is_added_moves_no_flow_at_once_and_is_used() -> None:
    port = filled(hardware(0, 1), balance=Balance(moves_per_second=0.1))
    assert port.update_queues(hardware(0, 1, 2)) == []
    assert port.arrive(99, rate=1).queue_id == 2
    port.run_until_quiet()
    assert max(port.loads().values()) < 1.05 * min(port.loads().values())


def test_the_same_queues_again_change_nothing() -> None:
    port = filled(hardware(0, 1, 2))
    port.change(3, rate=9**9, exclusive=True, class_index=1, group=1)
    port.run_until_quiet()
    assert port.update_queues(hardware(0, 1, 2)) == []
    assert port.exclusive_row(port.queue_of[3]) == 3


def test_a_queue_that_changes_its_kind_is_left_by_flows_that_may_not_use_it() -> None:
    port = Port(hardware(0, 1))
    for row in range(10):
        port.arrive(row, rate=100, path=PathPreference.HARDWARE)
    moves = port.update_queues([Queue(0), Queue(1, QueueKind.SOFTWARE)])
    assert all(move.old == 1 and move.new == 0 for move in moves) and len(moves) == 5


def test_all_queues_are_removed_and_others_added() -> None:
    port = filled(hardware(0, 1))
    assert {move.new for move in port.update_queues([])} == {NO_QUEUE}
    assert {move.reason for move in port.update_queues(hardware(4, 5))} <= {Reason.SHARED}
    assert sorted(len(rows) for rows in port.rows_by_queue().values()) == [20, 20]


def test_exclusive_queues_are_revoked_when_too_few_queues_are_left() -> None:
    port = Port(hardware(0, 1, 2, 3))
    for row in range(3):
        port.arrive(row, rate=100 * (row + 1), exclusive=True, class_index=1, group=1)
    port.arrive(3, rate=1)
    port.update_queues(hardware(0, 1))
    port.run_until_quiet()
    check_state(port)
    assert not [slot for slot in port.state.slots if slot.exclusive_row >= 0]
    assert sorted(port.loads().values()) in ([300, 301], [301, 300]), "they share both queues evenly"


def test_vms_keep_to_their_share() -> None:
    port = Port(hardware(0, 1, 2, 3), shares=(0.5, 0.25))
    for row in range(30):
        port.arrive(row, rate=100, share=row % 3 - 1)
    port.run_until_quiet()
    queues_of_share = [{port.queue_of[row] for row in range(share, 30, 3)} for share in range(3)]
    assert [len(queues) for queues in queues_of_share] == [1, 2, 1]
    assert not (
        queues_of_share[0] & queues_of_share[1]
        or queues_of_share[1] & queues_of_share[2]
        or queues_of_share[0] & queues_of_share[2]
    )


def test_flows_find_their_share_when_queues_come() -> None:
    port = Port(hardware(0), shares=(0.5,))
    for row in range(20):
        port.arrive(row, rate=100, share=row % 2 - 1)
    port.update_queues(hardware(0, 1, 2, 3))
    port.run_until_quiet()
    queues_of_share = [{port.queue_of[row] for row in range(first, 20, 2)} for first in (0, 1)]
    assert [len(queues) for queues in queues_of_share] == [2, 2] and not queues_of_share[0] & queues_of_share[
        1
    ]


def test_a_vm_without_a_share_uses_software_when_all_hardware_is_divided() -> None:
    port = Port(hardware(0, 1) + software(9), shares=(0.5, 0.5))
    assert port.arrive(0, rate=1, share=-1).queue_id == 9
    port.update_queues(hardware(0, 1))
    assert port.queue_of[0] in (0, 1)


def test_the_port_may_carry_less_than_its_queues_together() -> None:
    queues = [Queue(number, max_rate=1000) for number in range(4)] + software(10)
    state = new_port(Columns(), queues, Balance(), speed=1000)
    assert [region.capacity for region in state.hardware] == [1000]
    set_speed(state, 400)
    assert [region.capacity for region in state.hardware] == [400]
    set_speed(state, 9000)
    assert [region.capacity for region in state.hardware] == [4000]
    state = new_port(Columns(), queues, Balance(), (0.5, 0.25), 1000)
    assert {region.key: region.capacity for region in state.hardware} == {0: 500, 1: 250, -1: 250}
    set_speed(state, None)
    assert {region.key: region.capacity for region in state.hardware} == {0: 2000, 1: 1000, -1: 1000}


def test_a_flow_on_an_exclusive_queue_keeps_a_pool_when_the_shared_queue_of_its_group_goes() -> None:
    """It was on its way off that queue; the queue that comes in the same change is for its group."""
    port = Port(hardware(0, 1), Balance(flows_per_queue=1))
    port.arrive(0, rate=100)
    port.arrive(1, rate=100)
    port.arrive(2, rate=1000, class_index=1, group=1, exclusive=True)
    stays = port.queue_of[2]
    assert port.exclusive_row(stays) == 2 and len(port.rows_by_queue()[stays]) == 2
    port.update_queues([*hardware(stays, 5), *software(1 - stays)])
    assert port.queue_of[2] == stays and port.rows_by_queue()[1 - stays], (
        "the hardware is full for the others"
    )
    check_state(port)
