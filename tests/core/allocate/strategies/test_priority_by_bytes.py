"""Priority by bytes: flows begin on the highest level and sink as they send.

Faults that were planted, one at a time, and found here: levels by number where priorities are known; the highest
number first; a flow that sinks one level at a time; a flow that rises; flows that sink without tokens, or within their
window; no order of those that sink; a device that sends new flows to every queue.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from support.engine.allocation import Port, check_state, hardware, software
from support.engine.scenario import UPLINK, Scenario, small_policy

from flowlane.core.allocate import queues_for_new_flows
from flowlane.core.allocate.strategies.priority_by_bytes import SIZES, thresholds
from flowlane.core.model import Queue, Reason
from flowlane.core.policy import Balance, PathPreference, TrafficClass

BALANCE = Balance(strategy="priority-by-bytes", moves_per_second=1e6, window=0.0)
LIMITED = Balance(strategy="priority-by-bytes")


def prioritized(*priorities: int | None) -> list[Queue]:
    return [replace(Queue(number), priority=priority) for number, priority in enumerate(priorities)]


def port_with(queues: list[Queue], octets: dict[int, int], balance: Balance = BALANCE) -> Port:
    port = Port(queues, balance)
    for row, sent in octets.items():
        port.arrive(row, rate=1000)
        port.octets[row] = sent
    return port


def test_thresholds_split_the_flows_of_web_search_equally() -> None:
    assert thresholds(1) == () and thresholds(4) == (25_000, round(50_000 + 30_000 * 10 / 13), 1_500_000)
    for count in (2, 8, 64):
        bounds = thresholds(count)
        assert len(bounds) == count - 1 and list(bounds) == sorted(set(bounds))
        assert bounds[0] > 0 and bounds[-1] < SIZES[-1][0]


def test_a_flow_begins_at_the_top_and_sinks_to_where_its_bytes_belong() -> None:
    port = port_with(hardware(0, 1, 2, 3), {0: 0, 1: 24_999, 2: 25_000, 3: 100_000, 4: 10**9})
    assert set(port.queue_of.values()) == {0}
    moves = port.tick()
    assert port.queue_of == {0: 0, 1: 0, 2: 1, 3: 2, 4: 3}
    assert [(move.row, move.old, move.new, move.reason) for move in moves] == [
        (4, 0, 3, Reason.DEMOTED),
        (3, 0, 2, Reason.DEMOTED),
        (2, 0, 1, Reason.DEMOTED),
    ]
    port.octets[1] = 2_000_000
    assert [(move.row, move.old, move.new) for move in port.tick()] == [(1, 0, 3)]
    assert not port.tick()
    check_state(port)


def test_the_order_is_that_of_the_priorities_where_they_differ() -> None:
    port = port_with(prioritized(2, 1, None, 1), {0: 0, 1: 10**9})
    assert port.queue_of == {0: 2, 1: 2}, "none is 0, which is served first"
    port.tick()
    assert port.queue_of == {0: 2, 1: 0}
    port.octets[0] = 100_000
    assert [move.new for move in port.tick()] == [1]
    same = port_with(prioritized(3, 3), {0: 0})
    assert same.queue_of == {0: 0}, "by number where they are all the same"


def test_a_level_of_several_queues_is_filled_by_load() -> None:
    port = port_with(prioritized(0, 1, 1, 1), dict.fromkeys(range(12), 10**6))
    port.tick()
    assert {queue_id: len(rows) for queue_id, rows in port.rows_by_queue().items()} == {
        0: 0,
        1: 4,
        2: 4,
        3: 4,
    }


def test_flows_sink_within_the_budget_of_moves() -> None:
    port = port_with(hardware(0, 1), dict.fromkeys(range(400), 10**6), LIMITED)
    assert [len(port.tick()) for _ in range(51)] == [8] * 50 + [0]


def test_no_flow_sinks_twice_within_the_window() -> None:
    port = port_with(hardware(0, 1, 2), {0: 100_000}, LIMITED)
    assert [move.new for move in port.tick()] == [1]
    port.octets[0] = 10**9
    assert [len(port.tick()) for _ in range(5)] == [0, 0, 0, 0, 1]


def test_those_that_have_sent_most_sink_first() -> None:
    port = port_with(hardware(0, 1), {row: 10**6 - row for row in range(400)}, LIMITED)
    assert {move.row for move in port.tick()} == set(range(8))


def test_a_flow_does_not_rise() -> None:
    port = port_with(hardware(0, 1, 2, 3), {0: 30_000})
    port.tick()
    assert port.queue_of == {0: 1}
    port.update_queues(hardware(0, 1))
    assert thresholds(2)[0] > 30_000 and not port.tick() and port.queue_of == {0: 1}


def test_software_queues_are_levels_of_their_own() -> None:
    port = Port(hardware(0, 1) + software(10, 11), BALANCE)
    for row in range(4):
        port.arrive(row, rate=10, path=PathPreference.SOFTWARE if row % 2 else PathPreference.HARDWARE)
        port.octets[row] = 10**9 if row > 1 else 0
    assert port.queue_of == {0: 0, 1: 10, 2: 0, 3: 10}
    port.tick()
    assert port.queue_of == {0: 0, 1: 10, 2: 1, 3: 11}


def test_a_device_sends_new_flows_to_the_highest_level() -> None:
    for queues, top in ((hardware(4, 5, 6), (4,)), (prioritized(1, 0, 0), (1, 2))):
        assert queues_for_new_flows(Port(queues, BALANCE).state, PathPreference.PREFER_HARDWARE) == top


def test_the_engine_counts_bytes_and_reports_the_moves() -> None:
    host = Scenario(small_policy(classes=(TrafficClass("all", 0),), rules=(), gates=(), balance=BALANCE))
    queues = len(host.device.ports[UPLINK].queues)
    row = host.flow(1, 1000)
    other = host.flow(1, 1001)
    assert host.queue_of(row) == host.queue_of(other) == 0
    host.send({row: 400_000_000, other: 1000}, 4)
    host.tick(2)
    assert (host.queue_of(row), host.queue_of(other)) == (queues - 1, 0)
    moves = [report for report in host.flow_reports if report.kind == "move"]
    assert [Reason(move.reason) for move in moves] == [Reason.DEMOTED]


@given(
    st.lists(st.tuples(st.integers(0, 40_000_000), st.integers(0, 10**9)), max_size=60),
    st.lists(st.one_of(st.none(), st.integers(0, 3)), min_size=1, max_size=6),
)
def test_at_rest_every_flow_is_where_its_bytes_belong(
    flows: list[tuple[int, int]], priorities: list[int | None]
) -> None:
    port = port_with(prioritized(*priorities), {row: sent for row, (sent, _) in enumerate(flows)})
    for row, (_, rate) in enumerate(flows):
        port.measure(row, rate)
    port.run_until_quiet()
    check_state(port)
    ranks = [(priority or 0) for priority in priorities]
    order = sorted(set(ranks)) if len(set(ranks)) > 1 else list(range(len(ranks)))
    level_of = {n: order.index(rank if len(set(ranks)) > 1 else n) for n, rank in enumerate(ranks)}
    for row, (sent, _) in enumerate(flows):
        wanted = sum(sent >= bound for bound in thresholds(len(order)))
        assert level_of[port.queue_of[row]] == wanted
