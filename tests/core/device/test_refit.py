"""Flows follow the rate of their port, as OVSDB describes it, and a new policy, some at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.engine.required import required
from support.engine.scenario import ABLE, DPID, LEARNING, UPLINK, Scenario, small_policy

from flowlane.core import effects as fx
from flowlane.core import events as ev
from flowlane.core.device.refresh import MOST_REFITTED
from flowlane.core.model import Capabilities, PortFacts, QueueFacts, QueueKind
from flowlane.core.policy import LimitScope, Match, Policy, Rule, TrafficClass

if TYPE_CHECKING:
    from collections.abc import Iterator

MBIT = 1_000_000


def describe_rate(host: Scenario, max_rate: int) -> None:
    """OVSDB: two hardware queues that may each send 100 Mbit/s, a software queue, and the QoS row's own rate."""
    queues = {number: QueueFacts(QueueKind.PHYSICAL, max_rate=100 * MBIT) for number in range(2)}
    queues[2] = QueueFacts(QueueKind.SOFTWARE)
    facts = required(host.device.described)
    port = PortFacts("pf0", {"flowlane-port": "uplink"}, qos_max_rate=max_rate, queues=queues)
    host.do(replace(facts, ports={**facts.ports, UPLINK: port}))
    host.do(ev.QueuesReported(1, {UPLINK: (0, 1, 2)}))


def in_software(host: Scenario, rows: list[int]) -> int:
    return sum(host.queue_of(row) == 2 for row in rows)


def test_a_port_that_may_carry_less_sends_flows_to_software_and_takes_them_back() -> None:
    host = Scenario(small_policy(rules=()))
    describe_rate(host, 200 * MBIT)
    rows = [host.flow(1 + number % 8, 1000 + number) for number in range(12)]
    host.send(dict.fromkeys(rows, 8 * MBIT), 20)
    assert in_software(host, rows) == 0
    describe_rate(host, 50 * MBIT)
    host.send(dict.fromkeys(rows, 8 * MBIT), 60)
    assert in_software(host, rows) == 6, "six of 8 Mbit/s fit 50"
    describe_rate(host, 200 * MBIT)
    host.send(dict.fromkeys(rows, 8 * MBIT), 60)
    assert in_software(host, rows) == 0


def replaced_slowly(scenario: Scenario, policy: Policy) -> Iterator[list[fx.Effect]]:
    """Replace the policy, and carry out one catch-up after the other; the effects of each are checked."""

    def step(event: ev.Event) -> list[fx.Effect]:
        effects = scenario.engine.step(event, scenario.now)
        for effect in effects:
            scenario.apply(effect)
        return effects

    yield step(ev.PolicyReplaced(policy))
    while scenario.engine.is_behind:
        yield step(ev.CatchUp())


def limited(rate: int, scope: LimitScope, *, first: bool) -> Policy:
    """A class for flows to port 6000, with a limit; its number is another one where it is not ``first``."""
    index = 1 if first else 2
    capped = TrafficClass("capped", index, rate_limit=rate, limit_scope=scope)
    spare = TrafficClass("spare", 3 - index)
    classes = (
        TrafficClass("other", 0, priority=int(first)),
        *((capped, spare) if first else (spare, capped)),
    )
    rule = Rule("bulk", 0, Match(dst_ports=((6000, 6000),)), index)
    return small_policy(classes=classes, rules=(rule,), gates=(), trust=())


@pytest.mark.parametrize("scope", LimitScope)
@pytest.mark.parametrize("caps", [ABLE, LEARNING], ids=["all pinned", "learning"])
def test_a_policy_is_worked_off_some_flows_at_a_time(caps: Capabilities, scope: LimitScope) -> None:
    """In between each flow has a class by its name, its queue and its meter, and others are placed as they come."""
    scenario = Scenario(limited(10_000_000, LimitScope.FLOW, first=True), caps=caps)
    count = 3 * MOST_REFITTED + 5
    rows = [scenario.flow(1 + n % 8, 1000 + n, 6000 if n % 2 else 5000, queue_id=n % 4) for n in range(count)]
    names = [scenario.class_of(row) for row in rows]
    queues = [scenario.queue_of(row) for row in rows]
    steps, plan, seen = 0, scenario.plan, []
    new = limited(20_000_000, scope, first=False)
    for effects in replaced_slowly(scenario, new):
        steps += 1
        touched = {effect.key for effect in effects if isinstance(effect, fx.FlowReport)}
        assert len(touched) <= MOST_REFITTED
        assert [scenario.class_of(row) for row in rows] == names
        if scenario.engine.state.policy_awaited:
            assert scenario.plan.rules == plan.rules, "the rules follow when all flows are placed"
        if steps == 3:
            frame = scenario.frame(3, 9, 6000)
            for effect in scenario.engine.step(ev.FlowSeen(DPID, 3, frame, UPLINK, 1), scenario.now):
                scenario.apply(effect)
            seen.append(scenario.row(3, 9, 6000))
            assert scenario.class_of(seen[0]) == "capped"
    assert steps >= count // MOST_REFITTED
    assert scenario.device.refit_from is None and not scenario.engine.state.policy_awaited
    assert [scenario.queue_of(row) for row in rows] == queues, "what the policy does not change stays"
    flows = scenario.device.flows
    for row in [*(row for row, name in zip(rows, names, strict=True) if name == "capped"), *seen]:
        assert scenario.device.meters[flows.meter_id[row]].rate == 20_000_000
    assert all(not flows.meter_id[row] for row, name in zip(rows, names, strict=True) if name == "other")


def test_a_second_policy_takes_over_from_one_that_is_being_worked_off() -> None:
    scenario = Scenario(limited(10_000_000, LimitScope.FLOW, first=True))
    rows = [scenario.flow(1 + n % 8, 1000 + n, 6000) for n in range(3 * MOST_REFITTED)]
    steps = replaced_slowly(scenario, limited(20_000_000, LimitScope.FLOW, first=False))
    for _ in range(3):
        next(steps)
    assert scenario.device.refit_from is not None
    for _ in replaced_slowly(scenario, limited(30_000_000, LimitScope.VM, first=True)):
        pass
    meters = {scenario.device.meters[scenario.device.flows.meter_id[row]].rate for row in rows}
    assert (meters, {scenario.class_of(row) for row in rows}) == ({30_000_000}, {"capped"})
