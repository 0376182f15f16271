"""Which flows get a pin: where it pays, within the budget, the most valuable first."""

from __future__ import annotations

from dataclasses import replace

from support.engine.scenario import ABLE, DPID, LEARNING, UPLINK, Scenario, small_policy

from flowlane.core import effects as fx
from flowlane.core import events as ev
from flowlane.core.flow.pins import ALL, REACTIVE, WORTHY, mode
from flowlane.core.model import NO_PORT, NO_QUEUE, Capabilities, Reason, Refusal
from flowlane.core.policy import Balance, Pins
from flowlane.core.state.flows import PINNED, REFUSED

LIMITED = 5000
STILL = Balance(interval=1e9)


def host(budget: int = 100, which: str = "worthy", caps: Capabilities = LEARNING) -> Scenario:
    return Scenario(small_policy(pins=Pins(which, budget), balance=STILL), caps=caps)


def test_a_flow_is_where_its_device_put_it() -> None:
    there = host()
    rows = [there.flow(1, 1000 + n, queue_id=n % 4) for n in range(8)]
    assert there.pins == {}
    assert [there.queue_of(row) for row in rows] == [0, 1, 2, 3] * 2
    assert {there.device.flows.reason[row] for row in rows} == {Reason.DEVICE_CHOSE}


def test_a_queue_that_the_port_lacks_is_not_taken_for_the_devices_choice() -> None:
    there = host()
    row = there.flow(1, 1000, queue_id=9)
    assert there.pins[row].queue_id in range(4)


def test_limited_flows_are_pinned_on_the_queue_of_their_class() -> None:
    there = host()
    row = there.flow(1, 1000, dport=LIMITED, queue_id=0)
    assert there.pins[row].meter_id


def test_the_budget_is_held_and_the_most_valuable_flows_have_it() -> None:
    there = host(budget=3)
    corrected = [there.flow(1, 1000 + n, queue_id=NO_QUEUE) for n in range(5)]
    assert sorted(there.pins) == corrected[:3]
    limited = [there.flow(1, 2000 + n, dport=LIMITED, queue_id=0) for n in range(5)]
    assert sorted(there.pins) == limited[:3]
    assert there.device.pinned == 3
    assert all(not there.device.flows.flags[row] & PINNED for row in (*corrected, *limited[3:]))


def test_a_flow_without_its_pin_is_where_the_device_says() -> None:
    there = host(budget=1)
    there.flow(2, 1, dport=LIMITED, queue_id=0)
    row = there.flow(1, 1000, queue_id=2)
    assert there.queue_of(row) == 2
    there.do(ev.FlowSeen(DPID, 1, there.frame(1, 1000), UPLINK, 3))
    assert there.queue_of(row) == 3
    assert len(there.pins) == 1


def test_a_refused_pin_is_not_tried_again() -> None:
    there = host()
    row = there.flow(1, 1000, dport=LIMITED, queue_id=1)
    flows = there.device.flows
    del there.pins[row]
    there.do(ev.RuleRefused(DPID, "pin", Refusal.TABLE_FULL, "full", flows.ref(row)))
    assert flows.flags[row] & REFUSED
    before = there.counts["PinFlow"]
    there.do(ev.FlowSeen(DPID, 1, there.frame(1, 1000, LIMITED), UPLINK, 1))
    there.tick(5)
    assert there.counts["PinFlow"] == before
    assert there.queue_of(row) == 1
    assert there.device.refusals["pin"] == 1


def test_a_device_that_does_not_learn_gets_a_pin_for_every_flow() -> None:
    there = host(caps=ABLE)
    assert mode(there.device) == ALL
    assert there.plan.learned_idle == 0
    rows = [there.flow(1, 1000 + n) for n in range(5)]
    assert sorted(there.pins) == rows


def test_reactive_mode_sends_each_packet_itself() -> None:
    there = host(which=REACTIVE)
    assert there.plan.reactive
    out = there.do(ev.FlowSeen(DPID, 1, there.frame(1, 1000), UPLINK, waits=True))
    sent = [effect for effect in out if isinstance(effect, fx.SendPacket)]
    (pin,) = [effect for effect in out if isinstance(effect, fx.PinFlow)]
    assert [(one.egress_port, one.queue_id, one.frame) for one in sent] == [
        (UPLINK, pin.queue_id, there.frame(1, 1000))
    ]
    assert out.index(pin) < out.index(sent[0])


def test_in_reactive_mode_what_is_nobodys_flow_is_sent_back_too() -> None:
    """From the uplink, from a port that is not known, and what is no frame."""
    there = host(which=REACTIVE)
    for in_port, frame in ((UPLINK, there.frame(1, 1000)), (77, there.frame(1, 1000)), (1, b"\2")):
        for waits in (True, False):
            out = there.do(ev.FlowSeen(DPID, in_port, frame, None, waits=waits))
            sent = [fx.SendPacket(DPID, in_port, NO_PORT, NO_QUEUE, frame)] if waits else []
            assert [effect for effect in out if isinstance(effect, fx.SendPacket)] == sent


def test_the_plan_tells_how_long_a_device_remembers() -> None:
    there = host()
    assert (mode(there.device), there.plan.learned_idle) == (WORTHY, 10)
    assert replace(LEARNING, learn=False) == ABLE


def test_a_policy_with_a_lower_budget_takes_the_least_valuable_pins() -> None:
    there = host(which="all", caps=ABLE)
    rows = [there.flow(1, 1000 + n) for n in range(4)]
    limited = [there.flow(2, 1000 + n, dport=LIMITED) for n in range(2)]
    assert sorted(there.pins) == rows + limited
    there.do(ev.PolicyReplaced(small_policy(pins=Pins("all", 3), balance=STILL)))
    assert there.device.pinned == 3
    assert set(limited) < there.pins.keys() and len(there.pins) == 3
    there.do(ev.PolicyReplaced(small_policy(pins=Pins("all", 1), balance=STILL)))
    assert set(there.pins) < set(limited) and there.device.pinned == 1
    assert [bool(there.device.flows.meter_id[row]) for row in limited].count(True) == 1, (
        "no limit without the pin that enforces it"
    )


def test_of_the_pins_found_after_a_lower_budget_only_so_many_are_kept() -> None:
    there = host(which="all", caps=ABLE)
    rows = [there.flow(1, 1000 + n) for n in range(4)]
    found = tuple(
        ev.FoundPin(pin.ref, bytes(4) + pin.key[4:], pin.in_port, pin.egress_port, pin.queue_id, 0, 5, 500)
        for pin in there.pins.values()
    )
    in_device = dict(there.pins)
    there.do(ev.DeviceDown(DPID))
    there.do(ev.PolicyReplaced(small_policy(pins=Pins("all", 2), balance=STILL)))
    there.pins = in_device
    there.connect(4, pins=found)
    assert there.device.pinned == len(there.pins) == 2
    assert there.pins.keys() < set(rows)
