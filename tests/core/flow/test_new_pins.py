"""A flow that is moved while it is being measured is measured on, and its pin is read by itself."""

from __future__ import annotations

from dataclasses import replace

from pytest import approx
from support.engine.scenario import DPID, LEARNING, UPLINK, Scenario, small_policy

from flowlane.core import effects as fx
from flowlane.core import events as ev
from flowlane.core.flow.new_pins import FOR
from flowlane.core.flowkey import IPV4, TCP, FlowParts, pack
from flowlane.core.model import NO_QUEUE, PinRef
from flowlane.core.policy import Balance, RateGate

RATE = 20_000_000
GATE = RateGate(at_least=10_000_000, hold=1.0, below=5_000_000)


def host() -> Scenario:
    return Scenario(small_policy(balance=Balance(interval=1e9), gates=(GATE,)), caps=LEARNING)


def learned(there: Scenario, octets: int, queue_id: int = 2) -> ev.LearnedCounters:
    source, destination = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 254))
    key = pack(FlowParts(there.device.port_vm[1], None, IPV4, TCP, 1000, 80, source, destination))
    flow = ev.LearnedFlow(key, 1, UPLINK, 0x0200_0000_0001, queue_id, octets // 1000, octets)
    return ev.LearnedCounters(DPID, (flow,))


def octets(seconds: float) -> int:
    return int(RATE * seconds / 8)


def pinned(there: Scenario, after: float) -> int:
    """A flow begins, and gets a pin after so many seconds, since the device reports a queue that the port lacks."""
    row = there.flow(1, 1000, queue_id=2)
    there.now += after
    there.do(ev.FlowSeen(DPID, 1, there.frame(1, 1000), UPLINK, NO_QUEUE))
    assert row in there.pins
    return row


def requested(there: Scenario, seconds: float) -> list[tuple[float, tuple[PinRef, ...]]]:
    """Let time pass; return when which pins were requested one by one."""
    found: list[tuple[float, tuple[PinRef, ...]]] = []
    end = there.now + seconds
    while there.now < end:
        there.now += 0.1
        requests = [effect for effect in there.do(ev.Poll()) if isinstance(effect, fx.ReadCounters)]
        found += [(there.now, request.single) for request in requests if request.single]
    return found


def counted(there: Scenario, row: int, count: int) -> None:
    generation = there.device.flows.generation[row]
    there.do(ev.PinCounters(DPID, ((row, generation, count // 1000, count),)))


def test_what_a_flow_sent_before_it_was_moved_counts() -> None:
    there = host()
    row = pinned(there, 0.6)
    there.now += 0.4
    there.do(learned(there, octets(0.6)))
    counted(there, row, octets(0.4))
    assert there.device.flows.rate[row] == approx(RATE, rel=0.01)
    assert there.class_of(row) == "heavy"
    assert there.device.flows.octets[row] == octets(1.0)


def test_without_a_reading_of_its_learned_entry_it_is_measured_from_its_pin_on() -> None:
    there = host()
    row = there.flow(1, 1000, queue_id=2)
    there.now += 1.0
    there.do(learned(there, octets(1.0) // 100))
    there.now += 20.0
    there.do(ev.FlowSeen(DPID, 1, there.frame(1, 1000), UPLINK, NO_QUEUE))
    there.now += 1.0
    counted(there, row, octets(1.0))
    assert there.device.flows.rate[row] == approx(RATE * 0.64, rel=0.05), "smoothed, over the last second"


def test_the_pin_of_a_young_flow_is_read_by_itself_until_its_rate_is_known() -> None:
    there = host()
    row = pinned(there, 0.3)
    ref = there.device.flows.ref(row)
    asked = requested(there, 1.15)
    assert [refs for _, refs in asked] == [(ref,), (ref,)]
    counted(there, row, octets(1.0))
    assert there.device.flows.rate[row] > GATE.at_least * 0.5
    assert requested(there, 0.6), "it is near the gate"
    requested(there, FOR)
    assert not there.device.new_pins


def test_the_pin_of_a_flow_that_sends_little_is_not() -> None:
    there = host()
    row = pinned(there, 0.3)
    there.now += 1.0
    counted(there, row, 1000)
    assert not requested(there, 1.0)
    assert not there.device.new_pins


def test_a_flow_that_ends_is_not_read_any_more() -> None:
    there = host()
    row = pinned(there, 0.3)
    there.end(row)
    assert not there.device.new_pins
    assert not requested(there, 1.0)


def test_no_more_than_the_devices_time_allows_is_read() -> None:
    there = Scenario(small_policy(balance=Balance(interval=1e9)), caps=replace(LEARNING, pin_room=None))
    rows = [there.flow(1, 2000 + number, queue_id=NO_QUEUE) for number in range(3000)]
    assert len(there.device.new_pins) == len(rows)
    asked = [len(refs) for _, refs in requested(there, FOR)]
    assert 0 < sum(asked) * 70e-6 <= 0.02 * (FOR + 0.6)
