"""A limited flow loads its queue with what passes its meter, not with what it sends."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.engine.required import required
from support.engine.scenario import DPID, UPLINK, Scenario, small_policy

from flowlane.core import events as ev
from flowlane.core.model import Capabilities, QueueKind
from flowlane.core.policy import Alike, LimitScope, Match, Policy, Rule, TrafficClass

LIMIT = 1_000_000
OFFERED = 90_000_000
"""bit/s; nine tenths of what the uplink carries."""


def limited(scope: LimitScope, limit: int | None = LIMIT) -> Policy:
    return small_policy(
        classes=(
            TrafficClass("small", 0, alike=(Alike.QOS,)),
            TrafficClass("limited", 1, rate_limit=limit, limit_scope=scope, alike=(Alike.QOS,)),
        ),
        rules=(Rule("limit 5000", 0, Match(dst_ports=((5000, 5000),)), 1),),
        gates=(),
    )


def load_of(host: Scenario, *rows: int) -> int:
    allocation = required(host.device.ports[UPLINK].allocation)
    return sum(allocation.columns.rate[row] for row in rows)


def report_meter(host: Scenario, row: int, octets: int, dropped: int) -> None:
    """Report the counters of the flow's meter: bytes received, bytes dropped."""
    counters = {host.device.flows.meter_id[row]: (octets // 1000, octets, dropped // 1000, dropped)}
    host.do(ev.MeterCounters(DPID, counters))


def test_a_flow_with_a_meter_of_its_own_counts_with_its_limit() -> None:
    host = Scenario(limited(LimitScope.FLOW))
    fast, slow = host.flow(1, 1000, 5000), host.flow(1, 1001, 5000)
    host.send({fast: OFFERED, slow: LIMIT // 2}, 10)
    assert load_of(host, fast) == LIMIT
    assert load_of(host, slow) == pytest.approx(LIMIT // 2, rel=0.01)
    assert host.device.flows.rate[fast] == pytest.approx(OFFERED, rel=0.01), "what was measured stays"


def test_a_limited_flow_neither_holds_the_hardware_nor_pushes_others_out() -> None:
    """One flow offers nine tenths of the uplink, 1 Mbit/s of which pass, and 80 others share the rest."""
    host = Scenario(limited(LimitScope.FLOW), queues=4)
    host.describe(4, software=2)
    host.do(ev.QueuesReported(DPID, {UPLINK: tuple(range(6))}))
    flood = host.flow(1, 1000, 5000)
    others = [host.flow(2, 2000 + number) for number in range(80)]
    host.send({flood: OFFERED, **dict.fromkeys(others, 500_000)}, 60)
    kinds = {QueueKind(host.device.flows.kind[row]) for row in others}
    assert kinds == {QueueKind.PHYSICAL}
    allocation = required(host.device.ports[UPLINK].allocation)
    loads = [slot.load for slot in allocation.slots if slot.queue.kind is QueueKind.PHYSICAL]
    assert max(loads) <= 1.05 * sum(loads) / 4, "the queue of the flood has its part of the others"


@pytest.mark.parametrize("scope", [LimitScope.VM, LimitScope.CLASS])
def test_flows_under_one_meter_count_with_the_share_that_it_counts_as_passed(scope: LimitScope) -> None:
    host = Scenario(limited(scope, limit=10_000_000))
    first, second = host.flow(1, 1000, 5000), host.flow(1, 1001, 5000)
    host.send({first: 30_000_000, second: 10_000_000}, 10)
    report_meter(host, first, 40_000_000, 0)
    report_meter(host, first, 80_000_000, 30_000_000)
    assert load_of(host, first) == pytest.approx(7_500_000, rel=0.02)
    assert load_of(host, second) == pytest.approx(2_500_000, rel=0.02)
    report_meter(host, first, 120_000_000, 30_000_000)
    assert load_of(host, second) == pytest.approx(10_000_000, rel=0.02), "nothing was dropped since"


@pytest.mark.parametrize("scope", [LimitScope.VM, LimitScope.CLASS])
def test_where_a_meter_does_not_count_its_flows_divide_the_limit(scope: LimitScope) -> None:
    host = Scenario(limited(scope, limit=10_000_000))
    rows = [host.flow(1, 1000 + number, 5000) for number in range(8)]
    host.send(dict.fromkeys(rows, 10_000_000), 20)
    assert load_of(host, *rows) == pytest.approx(10_000_000, rel=0.02)


def test_a_meter_that_says_more_was_dropped_than_came_is_not_believed() -> None:
    """OpenFlow 1.3.5, A.3.5: a counter that a switch does not have is -1, all ones."""
    host = Scenario(limited(LimitScope.CLASS, limit=10_000_000))
    rows = [host.flow(1, 1000 + number, 5000) for number in range(2)]
    host.send(dict.fromkeys(rows, 20_000_000), 10)
    report_meter(host, rows[0], 40_000_000, 2**64 - 1)
    host.send(dict.fromkeys(rows, 20_000_000), 4)
    assert load_of(host, *rows) == pytest.approx(10_000_000, rel=0.02)


def test_without_meters_a_flow_counts_with_what_it_sends() -> None:
    host = Scenario(limited(LimitScope.FLOW), caps=Capabilities(select_groups=True, max_groups=1000))
    row = host.flow(1, 1000, 5000)
    host.send({row: 20_000_000}, 10)
    assert load_of(host, row) == pytest.approx(20_000_000, rel=0.01)


def test_a_new_limit_counts_at_once() -> None:
    host = Scenario(limited(LimitScope.FLOW))
    row = host.flow(1, 1000, 5000)
    host.send({row: OFFERED}, 10)
    host.do(ev.PolicyReplaced(limited(LimitScope.FLOW, limit=3 * LIMIT)))
    assert load_of(host, row) == 3 * LIMIT
    host.do(ev.PolicyReplaced(limited(LimitScope.FLOW, limit=None)))
    assert load_of(host, row) == pytest.approx(OFFERED, rel=0.01)
    host.do(ev.PolicyReplaced(limited(LimitScope.FLOW)))
    assert load_of(host, row) == LIMIT


def test_the_queue_of_a_flow_that_becomes_limited_is_chosen_by_what_will_pass() -> None:
    """It has no meter yet when its queue is chosen, and the hardware has room for its limit only."""
    host = Scenario(replace(limited(LimitScope.FLOW), rules=()), queues=2)
    host.describe(2, software=1)
    host.do(ev.QueuesReported(DPID, {UPLINK: tuple(range(3))}))
    others = [host.flow(2, 2000 + number) for number in range(4)]
    flood = host.flow(1, 1000, 5000)
    host.send({**dict.fromkeys(others, 20_000_000), flood: OFFERED}, 20)
    assert host.device.flows.kind[flood] == QueueKind.SOFTWARE
    host.do(ev.PolicyReplaced(limited(LimitScope.FLOW)))
    assert host.device.flows.kind[flood] == QueueKind.PHYSICAL


def test_a_flow_leaves_a_meter_that_lets_nothing_pass_and_counts_with_what_it_sends() -> None:
    """What passes at the time of the change is nothing, yet the flow has been measured."""
    host = Scenario(limited(LimitScope.CLASS))
    row = host.flow(1, 1000, 5000)
    host.send({row: OFFERED}, 10)
    report_meter(host, row, 40_000_000, 0)
    report_meter(host, row, 80_000_000, 40_000_000)
    assert load_of(host, row) <= 1
    host.do(ev.PolicyReplaced(replace(limited(LimitScope.CLASS), rules=())))
    assert load_of(host, row) == pytest.approx(OFFERED, rel=0.01)
