"""What is known of flows from before a restart: reasons, times, marks and gates are what they were."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from support.engine.scenario import DPID, LEARNING, UPLINK, Scenario

from flowlane.core import events as ev
from flowlane.core.device.standing import group_of_class
from flowlane.core.device.takeover import ADOPTION_TIME
from flowlane.core.flow.kept import KeptFlow, keep
from flowlane.core.flow.rates import SHORTEST_WINDOW
from flowlane.core.model import Reason


class Shown(NamedTuple):
    """What REST shows of a flow's place."""

    queue_id: int
    reason: Reason
    class_index: int
    first_seen: float
    since: float
    marks: tuple[int, int]


def shown(host: Scenario) -> dict[bytes, Shown]:
    flows = host.device.flows
    return {
        key: Shown(
            flows.queue_id[row],
            Reason(flows.reason[row]),
            flows.class_index[row],
            flows.first_seen[row],
            flows.assigned_since[row],
            (flows.dscp[row], flows.pcp[row]),
        )
        for key, row in flows.rows.items()
    }


def kept(host: Scenario) -> dict[bytes, KeptFlow]:
    return {key: keep(host.device, row) for key, row in host.device.flows.rows.items()}


def pins(host: Scenario) -> tuple[ev.FoundPin, ...]:
    return tuple(
        ev.FoundPin(pin.ref, pin.key, pin.in_port, pin.egress_port, pin.queue_id, pin.meter_id, 5, 500)
        for pin in host.pins.values()
    )


def busy_host() -> Scenario:
    """Flows of several reasons, one of which is heavy by what was measured."""
    host = Scenario(queues=6)
    rows = [host.flow(1 + number % 4, 1000 + number) for number in range(12)]
    for second in range(1, 8):
        host.now += max(1.0, SHORTEST_WINDOW)
        counters = [(row, host.device.flows.generation[row], second, second * 4_000_000) for row in rows[:1]]
        host.do(ev.PinCounters(DPID, tuple(counters)))
        host.do(ev.Tick())
    return host


def restarted(host: Scenario, known: dict[bytes, KeptFlow]) -> Scenario:
    again = Scenario(queues=6)
    again.do(ev.DeviceDown(DPID))
    again.now = host.now + 2.0
    again.engine.state.kept = {DPID: known}
    again.connect(6, pins=pins(host))
    return again


def test_flows_on_their_queues_have_the_reasons_and_times_of_before() -> None:
    host = busy_host()
    before = shown(host)
    assert {place.class_index for place in before.values()} == {0, 1}, "one is heavy"
    again = restarted(host, kept(host))
    assert shown(again) == before
    again.now += ADOPTION_TIME + 1.0
    again.do(ev.Tick())
    assert shown(again) == before
    assert again.engine.state.kept == {}


def test_without_what_was_kept_they_are_adopted() -> None:
    host = busy_host()
    again = restarted(host, {})
    reasons = {place.reason for place in shown(again).values()}
    assert reasons == {Reason.ADOPTED}


def test_a_reason_is_of_the_queue_where_the_flow_was() -> None:
    host = busy_host()
    known = {key: item._replace(queue_id=item.queue_id + 1) for key, item in kept(host).items()}
    again = restarted(host, known)
    small = [place for place in shown(again).values() if not place.class_index]
    assert {place.reason for place in small} == {Reason.ADOPTED}


def test_learned_flows_have_their_reasons_again() -> None:
    host = Scenario(queues=4, caps=LEARNING)
    row = host.flow(1, 1000)
    flows = host.device.flows
    key = flows.keys[row] or b""
    known = keep(host.device, row)._replace(queue_id=2, reason=Reason.GROUPED, first_seen=17.0, since=18.0)
    again = Scenario(queues=4, caps=LEARNING)
    again.do(ev.DeviceDown(DPID))
    again.engine.state.kept = {DPID: {key: known}}
    learned = ev.LearnedFlow(key, 1, UPLINK, 0x0A0000000001, 2, 5, 500, 0, 0, 0, 0, 4.0)
    up = ev.DeviceUp(
        DPID, LEARNING, tuple(again.device.reported_ports.values()), dict(again.device.reported_queues),
        learned=(learned,),
    )  # fmt: skip
    again.do(up)
    (place,) = shown(again).values()
    assert (place.queue_id, place.reason, place.first_seen, place.since) == (2, Reason.GROUPED, 17.0, 18.0)


def test_queues_have_the_weights_that_the_device_has_until_rates_are_known() -> None:
    host = Scenario(queues=4)
    name = host.device.policy.classes[0].name
    before = next(rule.queues for rule in host.plan.rules if rule.class_name == name and rule.queues)
    weights = tuple((queue_id, 1 + queue_id) for queue_id, _ in before)
    host.do(ev.DeviceDown(DPID))
    host.device.spreads.clear()
    up = ev.DeviceUp(
        DPID, host.device.capabilities, tuple(host.device.reported_ports.values()),
        dict(host.device.reported_queues), spreads=((group_of_class(UPLINK, name), weights),),
    )  # fmt: skip
    host.do(up)
    assert {rule.queues for rule in host.plan.rules if rule.class_name == name and rule.queues} == {weights}
    other = replace(up, spreads=((group_of_class(UPLINK, name), weights[:-1]),))
    host.do(ev.DeviceDown(DPID))
    host.device.spreads.clear()
    host.do(other)
    now = {rule.queues for rule in host.plan.rules if rule.class_name == name and rule.queues}
    assert now == {before}, "it had other queues"
