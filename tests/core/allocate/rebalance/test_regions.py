"""Queues change shares: for VMs without a share while they have flows, and the odd queue by demand."""

from __future__ import annotations

from support.engine.allocation import Port, check_state, hardware, software

from flowlane.core.model import Reason
from flowlane.core.policy import Balance

SLOW = Balance(moves_per_second=0.05, window=10.0)


def counts(port: Port) -> dict[int, int]:
    return {region.key: len(region.slots) for region in port.state.hardware}


def with_flows(port: Port, flows: dict[int, int], rate: int = 1_000_000) -> Port:
    """Let VMs of each share begin so many flows, and settle."""
    row = max(port.queue_of, default=-1) + 1
    for share, number in flows.items():
        for _ in range(number):
            port.arrive(row, rate=rate, share=share, vm_number=share + 2)
            row += 1
    return port


def queues_of(port: Port, share: int) -> set[int]:
    return {port.queue_of[row] for row, demand in port.demands.items() if demand.share == share}


def test_without_flows_of_others_no_queue_is_idle() -> None:
    port = with_flows(Port(hardware(*range(10)), shares=(5.0, 3.0, 2.0)), {0: 50, 1: 30, 2: 20})
    for _ in range(30):
        port.tick()
    assert counts(port) == {0: 5, 1: 3, 2: 2}
    assert all(slot.count for slot in port.state.slots)
    assert len(set(port.loads().values())) == 1


def test_vms_without_a_share_get_a_queue_while_they_have_flows() -> None:
    port = with_flows(Port(hardware(*range(10)) + software(20), SLOW, (5.0, 3.0, 2.0)), {0: 50, 1: 30, 2: 20})
    port.run_until_quiet()
    with_flows(port, {-1: 10})
    assert queues_of(port, -1) == {20}
    port.tick()
    assert counts(port) == {0: 4, 1: 3, 2: 2, -1: 1}
    port.run_until_quiet()
    check_state(port)
    groups = [queues_of(port, share) for share in (-1, 0, 1, 2)]
    assert [len(queues) for queues in groups] == [1, 4, 3, 2]
    assert len(set.union(*groups)) == 10 and 20 not in set.union(*groups)
    for row in [row for row, demand in port.demands.items() if demand.share == -1]:
        port.depart(row)
    for _ in range(9):
        port.tick()
    assert -1 in counts(port), "not while they may come back within the window"
    port.run_until_quiet()
    assert counts(port) == {0: 5, 1: 3, 2: 2}
    assert all(slot.count for slot in port.state.slots[:10])
    check_state(port)


def test_where_there_is_no_software_they_are_on_the_largest_share_at_first() -> None:
    port = with_flows(Port(hardware(*range(10)), SLOW, (5.0, 3.0, 2.0)), {0: 50, 1: 30, 2: 20, -1: 10})
    assert queues_of(port, -1) <= queues_of(port, 0)
    port.run_until_quiet()
    check_state(port)
    assert counts(port) == {0: 4, 1: 3, 2: 2, -1: 1}
    assert not queues_of(port, -1) & (queues_of(port, 0) | queues_of(port, 1) | queues_of(port, 2))


def test_the_flows_of_a_queue_that_changes_shares_leave_by_the_ordinary_limits() -> None:
    port = with_flows(Port(hardware(*range(4)), SLOW, (3.0, 1.0)), {0: 300, 1: 100})
    port.run_until_quiet()
    with_flows(port, {-1: 100})
    port.moves.clear()
    for _ in range(60):
        moved = [move for move in port.tick() if move.old != move.new]
        assert len(moved) <= 0.05 * 500 + 1
    assert counts(port) == {0: 2, 1: 1, -1: 1}
    rows = [move.row for move in port.moves if move.old != move.new]
    assert len(rows) == len(set(rows)) or max(rows.count(row) for row in rows) <= 6, "once in a window"
    assert not queues_of(port, -1) & queues_of(port, 0)


def test_the_odd_queue_follows_the_demand_once_in_a_window_and_where_it_helps_by_a_quarter() -> None:
    port = with_flows(Port(hardware(*range(4)), SLOW, (1.0, 1.0, 1.0)), {0: 20, 1: 20, 2: 20})
    port.run_until_quiet()
    first = counts(port)
    odd = next(share for share, number in first.items() if number == 2)
    other = (odd + 1) % 3
    rows = [row for row, demand in port.demands.items() if demand.share == other]

    def carry(rate: int) -> None:
        for row in rows:
            port.measure(row, rate)

    carry(1_100_000)
    for _ in range(40):
        port.tick()
    assert counts(port) == first, "a tenth more is not worth the moves"
    carry(4_000_000)
    changes = []
    before = counts(port)
    for second in range(60):
        port.tick()
        if counts(port) != before:
            changes.append(second)
            before = counts(port)
        check_state(port)
    assert counts(port)[other] == 2 and len(changes) == 1
    port.run_until_quiet()
    groups = [queues_of(port, share) for share in (0, 1, 2)]
    assert sum(len(queues) for queues in groups) == 4 == len(set.union(*groups))


def test_an_exclusive_flow_on_a_queue_that_changes_shares_waits() -> None:
    port = Port(hardware(*range(3)), SLOW, (2.0, 1.0))
    port.arrive(0, rate=10**9, share=0, exclusive=True, class_index=1, group=1)
    with_flows(port, {0: 1, 1: 20})
    port.run_until_quiet()
    with_flows(port, {-1: 20})
    port.run_until_quiet()
    check_state(port)
    assert counts(port) == {0: 1, 1: 1, -1: 1}
    assert queues_of(port, 0) == {port.state.hardware[0].slots[0].queue.queue_id}
    assert {move.reason for move in port.moves} <= {*Reason}
