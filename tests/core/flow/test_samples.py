"""Sampled packets in the engine: which flow they are of, what they open, and that counters have the last word."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.engine.scenario import ABLE, DPID, HEAVY_GATE, LEARNING, UPLINK, Scenario, small_policy

from flowlane.core import events as ev
from flowlane.core.effects import Sampling
from flowlane.core.flow.estimates import UNSETTLED
from flowlane.core.model import Capabilities, PortFacts, PortReport
from flowlane.core.policy import Balance, DeviceRules, DeviceSelector, Pins, Policy

SAMPLING = replace(LEARNING, sample=True)
SIZE, ONE_IN = 1400, 64
AT_ONCE = small_policy(balance=Balance(interval=1e9), sampling=ONE_IN, gates=(replace(HEAVY_GATE, hold=0.0),))


def host(policy: Policy = AT_ONCE, caps: Capabilities = SAMPLING, collects: bool = True) -> Scenario:
    there = Scenario(policy, caps=caps)
    there.engine.state.collects_samples = collects
    there.do(ev.PolicyReplaced(policy))
    return there


def sampled(there: Scenario, row: int, at: float, port_name: str = "pf0vf1") -> ev.SampledPacket:
    key = there.device.flows.keys[row]
    assert key is not None
    return ev.SampledPacket(key[4:], 0x0200_0000_0001, port_name, SIZE, at)


def send(there: Scenario, row: int, rate: float, seconds: float, port_name: str = "pf0vf1") -> float | None:
    """Samples of a steady flow; return after how many seconds the flow was heavy."""
    gap, begin = SIZE * 8 * ONE_IN / rate, there.now
    while there.now < begin + seconds:
        there.now += gap
        there.do(ev.PacketsSampled(DPID, (sampled(there, row, there.now, port_name),)))
        if there.class_of(row) == "heavy":
            return there.now - begin
    return None


def test_a_device_samples_what_leaves_by_ports_with_queues() -> None:
    there = host()
    assert there.plan.sampling == Sampling(ONE_IN, (UPLINK,))
    assert host(small_policy()).plan.sampling is None
    assert host(replace(AT_ONCE, gates=(), rules=())).plan.sampling is None, "no class depends on a rate"


@pytest.mark.parametrize(
    ("policy", "caps", "collects", "why"),
    [
        (AT_ONCE, LEARNING, True, "no sample action"),
        (AT_ONCE, replace(ABLE, sample=True), True, "has a pin"),
        (replace(AT_ONCE, pins=Pins("all")), SAMPLING, True, "has a pin"),
        (AT_ONCE, SAMPLING, False, "receives no samples"),
    ],
)
def test_sampling_that_cannot_be_is_left_out_with_the_reason(
    policy: Policy, caps: Capabilities, collects: bool, why: str
) -> None:
    there = host(policy, caps, collects)
    assert there.plan.sampling is None
    assert any(item.what == "sampling" and why in item.why for item in there.device.left_out)


def test_an_entry_for_a_device_turns_sampling_off_there() -> None:
    for name, wanted in (("br-int", None), ("br-other", Sampling(ONE_IN, (UPLINK,)))):
        entry = DeviceRules(DeviceSelector(names=(name,)), sampling=0)
        there = host(replace(AT_ONCE, devices=(entry,)))
        assert there.plan.sampling == wanted
        assert not any(item.what == "sampling" for item in there.device.left_out)


def test_a_heavy_flow_is_on_its_own_queue_by_samples_before_any_counter() -> None:
    there = host(replace(AT_ONCE, balance=Balance()))
    rows = [there.flow(1, 1000 + number, queue_id=2) for number in range(3)]
    there.send(dict.fromkeys(rows[1:], 200_000), 2)
    took = send(there, rows[0], 40_000_000, 1.0)
    assert took is not None and took < 0.3
    assert there.device.samples.noticed == 1
    assert there.device.flows.rate[rows[0]] == pytest.approx(40_000_000, rel=0.3)
    there.tick(3)
    alone = [row for row in rows if there.queue_of(row) == there.queue_of(rows[0])]
    assert alone == [rows[0]]


def test_a_flow_of_half_the_low_rate_stays_what_it_is() -> None:
    there = host()
    row = there.flow(1, 1000, queue_id=2)
    assert send(there, row, HEAVY_GATE.below / 2, 20.0) is None


def test_the_hold_of_the_condition_counts() -> None:
    there = host(replace(AT_ONCE, gates=(replace(HEAVY_GATE, hold=1.0),)))
    row = there.flow(1, 1000, queue_id=2)
    took = send(there, row, 40_000_000, 3.0)
    assert took is not None and 0.85 <= took < 1.3


def test_samples_of_unknown_flows_and_of_flows_with_a_pin_show_nothing() -> None:
    there = host()
    limited = there.flow(1, 1000, dport=5000, queue_id=2)
    assert limited in there.pins
    other = there.flow(1, 1001, queue_id=2)
    assert send(there, limited, 90_000_000, 1.0) is None
    unknown = sampled(there, other, there.now)._replace(tail=bytes(22))
    there.do(ev.PacketsSampled(DPID, (unknown,)))
    there.do(ev.PacketsSampled(DPID + 1, (unknown,)))
    assert send(there, other, 90_000_000, 1.0, port_name="pf0vf2") is None, "another VM's port"
    assert not there.device.samples.flows


def test_samples_without_sampling_in_the_plan_show_nothing() -> None:
    there = host(small_policy(gates=AT_ONCE.gates))
    row = there.flow(1, 1000, queue_id=2)
    assert send(there, row, 90_000_000, 1.0) is None
    assert there.device.samples.taken == 0


def read(there: Scenario, row: int, octets: float) -> None:
    """A reading of the flow's entry, whichever it has."""
    flows = there.device.flows
    count = int(octets)
    if row in there.pins:
        there.do(ev.PinCounters(DPID, ((row, flows.generation[row], count // SIZE, count),)))
    else:
        key = flows.keys[row]
        assert key is not None
        found = ev.LearnedFlow(
            key, 1, UPLINK, 0x0200_0000_0001, flows.device_queue[row], count // SIZE, count
        )
        there.do(ev.LearnedCounters(DPID, (found,)))


@pytest.mark.parametrize(
    ("rate", "class_name"), [(40_000_000, "heavy"), (8_000_000, "small"), (1_000_000, "small")]
)
def test_a_settled_reading_decides(rate: float, class_name: str) -> None:
    """Also one between the condition's two rates closes it: counters would not have opened it."""
    there = host()
    row = there.flow(1, 1000, queue_id=2)
    assert send(there, row, max(rate, 11_000_000), 5.0) is not None
    opened = there.now
    while there.now < opened + 6.0:
        there.now += 1.0
        read(there, row, rate / 8 * max(0.0, there.now - opened - 0.5))
        if there.now - opened < UNSETTLED:
            assert there.class_of(row) == "heavy", "the first readings show less than has passed"
    assert there.class_of(row) == class_name


def test_a_steady_flow_below_the_threshold_is_not_heavy_by_samples_once_it_was_measured() -> None:
    there = host()
    row = there.flow(1, 1000, queue_id=2)
    rate = 0.9 * HEAVY_GATE.at_least
    for number in range(1, 4):
        there.now += 1.0
        read(there, row, rate / 8 * number)
    assert there.device.flows.rate[row] == pytest.approx(rate)
    assert send(there, row, rate, 30.0) is None


def test_a_flow_from_a_link_is_found_by_its_senders_address() -> None:
    there = host()
    there.now += 1
    facts = PortFacts("vx0", {"flowlane-port": "link"})
    there.do(ev.PortChanged(DPID, PortReport(50, "vx0")))
    described = there.engine.state.described.get(DPID) or there.device.described
    assert described is not None
    there.do(replace(described, ports={**described.ports, 50: facts}))
    number = there.device.port_vm[1]
    there.device.ports[50].senders[0x0200_0000_0001, None] = number
    row = there.flow(1, 1000, queue_id=2)
    assert send(there, row, 40_000_000, 1.0, port_name="") is not None
