"""The audit: pins that differ from their flows in two readings, and numbers that are not those of the flows."""

from __future__ import annotations

import pytest
from support.engine.scenario import DPID, LEARNING, UPLINK, Scenario, small_policy

from flowlane.core import effects as fx
from flowlane.core import events as ev
from flowlane.core.device.audit import AGAIN, COUNT, MOST_IN_VAIN, PIN
from flowlane.core.flow.pins import FREE, put_pin, remove_pin, worth_of
from flowlane.core.policy import Balance, Pins
from flowlane.core.state.audit import AUDIT_EVERY, LATEST
from flowlane.core.state.flows import PINNED

LIMITED = 5000


def found(scenario: Scenario) -> dict[int, ev.FoundPin]:
    """The pins as the device has them, by row."""
    return {
        row: ev.FoundPin(
            pin.ref, bytes(4) + pin.key[4:], pin.in_port, pin.egress_port, pin.queue_id, pin.meter_id, 1, 60
        )
        for row, pin in scenario.pins.items()
    }


def requested(scenario: Scenario) -> int:
    """Let an audit be due; return the number of the reading that it requests, 0: it requests none."""
    scenario.device.audit.due = scenario.now
    effects = scenario.do(ev.Tick())
    return max((effect.whole_pins for effect in effects if isinstance(effect, fx.ReadCounters)), default=0)


def sent_again(effects: list[fx.Effect]) -> list[fx.Effect]:
    return [effect for effect in effects if isinstance(effect, fx.PinFlow | fx.UnpinFlow)]


def looks(scenario: Scenario, *readings: dict[int, ev.FoundPin]) -> list[fx.Effect]:
    """Let the device be read, once for each; return what follows but for reports."""
    out: list[fx.Effect] = []
    for reading in readings:
        number = requested(scenario)
        assert number
        out += scenario.do(ev.PinsRead(DPID, number, tuple(reading.values())))
        scenario.now += AGAIN
    return [effect for effect in out if not isinstance(effect, fx.Report)]


@pytest.fixture
def scenario() -> Scenario:
    """Two flows with pins, one of them without need of a meter."""
    made = Scenario(small_policy(pins=Pins(idle_timeout=1000), balance=Balance(interval=1e9)), caps=LEARNING)
    made.tick(6)
    begin_flows(made)
    return made


def begin_flows(scenario: Scenario) -> None:
    for number in range(2):
        scenario.flow(1, 1000 + number, dport=LIMITED, queue_id=1)
    assert len(scenario.pins) == 2


def test_pins_as_they_are_to_be_need_nothing(scenario: Scenario) -> None:
    assert looks(scenario, found(scenario), found(scenario)) == []
    assert scenario.device.audit.counts == {}
    assert scenario.device.audit.due - scenario.now == pytest.approx(AUDIT_EVERY - AGAIN)


def test_a_pin_that_is_not_there_is_sent_again_when_it_was_missing_twice(scenario: Scenario) -> None:
    row = next(iter(scenario.pins))
    there = found(scenario)
    del there[row]
    assert looks(scenario, there) == []
    assert scenario.device.audit.due == scenario.now, "it is looked at again soon"
    (pin,) = looks(scenario, there)
    assert isinstance(pin, fx.PinFlow)
    assert (pin.ref.row, pin.moved) == (row, False)
    assert scenario.device.audit.counts == {PIN: 1}
    assert scenario.device.pinned == 2
    assert "was not there" in scenario.reports[-1].text
    assert scenario.reports[-1].data["repaired"] == {PIN: 1}


def test_a_pin_with_another_queue_is_modified(scenario: Scenario) -> None:
    row = next(iter(scenario.pins))
    there = found(scenario)
    there[row] = there[row]._replace(queue_id=3 - there[row].queue_id)
    (pin,) = looks(scenario, there, there)
    assert isinstance(pin, fx.PinFlow)
    assert pin.moved
    assert "queue" in scenario.reports[-1].text


def test_a_pin_of_no_flow_is_deleted_and_one_with_another_match_replaced(scenario: Scenario) -> None:
    row = next(iter(scenario.pins))
    there = found(scenario)
    there[7] = there[row]._replace(ref=there[row].ref._replace(row=7))
    there[row] = there[row]._replace(in_port=2)
    out = looks(scenario, there, there)
    assert {effect.ref.row for effect in out if isinstance(effect, fx.UnpinFlow)} == {row, 7}
    assert [effect.ref.row for effect in out if isinstance(effect, fx.PinFlow)] == [row]


def test_another_difference_than_before_counts_as_a_first_one(scenario: Scenario) -> None:
    rows = list(scenario.pins)
    first, second = found(scenario), found(scenario)
    del first[rows[0]], second[rows[1]]
    assert looks(scenario, first, second) == []


def test_no_reading_is_requested_before_the_reply_to_the_last_one_which_may_take_minutes(
    scenario: Scenario,
) -> None:
    old = tuple(found(scenario).values())
    first = requested(scenario)
    scenario.now += AUDIT_EVERY
    second = requested(scenario)
    row = scenario.flow(1, 2000, dport=LIMITED, queue_id=1)
    assert row in scenario.pins
    out = scenario.do(ev.PinsRead(DPID, first, old))
    scenario.now += AGAIN
    third = requested(scenario)
    if second:
        out += scenario.do(ev.PinsRead(DPID, second, old))
    assert sent_again(out) == [], "both are of the time before the pin"
    assert sent_again(scenario.do(ev.PinsRead(DPID, third, tuple(found(scenario).values())))) == []
    assert scenario.device.audit.counts == {}


@pytest.mark.parametrize("is_lost", [True, False])
def test_a_reading_without_a_reply_is_requested_again_and_counts_no_more(
    scenario: Scenario, is_lost: bool
) -> None:
    first = requested(scenario)
    if is_lost:
        scenario.now += LATEST - 1
        assert not requested(scenario)
        scenario.now += 1
    else:
        scenario.do(ev.DeviceDown(DPID))
        scenario.pins.clear()
        scenario.connect(4, LEARNING)
        begin_flows(scenario)
        scenario.tick(10)
        assert not scenario.device.in_adoption
    second = requested(scenario)
    assert second > first
    scenario.do(ev.PinsRead(DPID, first, ()))
    assert not scenario.device.audit.suspects
    scenario.do(ev.PinsRead(DPID, second, ()))
    assert len(scenario.device.audit.suspects) == 2
    scenario.do(ev.PinsRead(DPID, second, ()))
    assert scenario.device.audit.counts == {}, "a reply counts once"


def test_a_pin_that_was_changed_after_the_request_is_not_compared(scenario: Scenario) -> None:
    device = scenario.device
    row = next(iter(scenario.pins))
    old = found(scenario)
    now, other = device.flows.queue_id[row], 3 - device.flows.queue_id[row]
    old[row] = old[row]._replace(queue_id=other)
    assert looks(scenario, old) == [], "it differs a first time, as if it had just been moved here"
    number = requested(scenario)
    put_pin(device, row, worth_of(device, row), FREE, [])
    assert device.flows.queue_id[row] == now
    assert sent_again(scenario.do(ev.PinsRead(DPID, number, tuple(old.values())))) == []
    out: list[fx.Effect] = []
    number = requested(scenario)
    remove_pin(device, row, out)
    scenario.do(ev.PinsRead(DPID, number, tuple(found(scenario).values())))
    assert device.audit.suspects == {}
    assert device.audit.counts == {}


def test_a_repair_in_vain_is_given_up(scenario: Scenario) -> None:
    row = next(iter(scenario.pins))
    there = found(scenario)
    there[row] = there[row]._replace(queue_id=3 - there[row].queue_id)
    sent = looks(scenario, *[there] * (2 * MOST_IN_VAIN + 4))
    assert len(sent) == MOST_IN_VAIN
    assert scenario.device.audit.counts == {PIN: MOST_IN_VAIN}


def test_numbers_that_are_not_those_of_the_flows_are_counted_anew(scenario: Scenario) -> None:
    device = scenario.device
    device.pinned, number = 5, next(iter(device.flows_of_vm))
    device.flows_of_vm[number] += 3
    device.audit.due = scenario.now
    scenario.do(ev.Tick())
    assert (device.pinned, device.flows_of_vm) == (2, {number: 2})
    assert device.audit.counts == {COUNT: 2}
    row = next(iter(scenario.pins))
    del scenario.pins[row]
    scenario.do(ev.PinEnded(DPID, device.flows.ref(row), 1, 1, idle=True))
    assert device.pinned == 1


def test_a_flow_that_the_allocator_counts_elsewhere_is_placed_anew(scenario: Scenario) -> None:
    device = scenario.device
    row = next(iter(scenario.pins))
    before = device.flows.queue_id[row]
    device.flows.queue_id[row] = 3 - before
    device.audit.due = scenario.now
    scenario.do(ev.Tick())
    assert device.audit.counts[COUNT]
    port = device.ports[UPLINK]
    assert port.allocation is not None
    counts = {slot.queue.queue_id: slot.count for slot in port.allocation.all_slots}
    assert sum(counts.values()) == 2
    of_flows = [device.flows.queue_id[at] for at in device.flows]
    assert all(counts[queue_id] == of_flows.count(queue_id) for queue_id in counts)
    assert device.flows.flags[row] & PINNED
    device.audit.due = scenario.now
    counted = dict(device.audit.counts)
    scenario.do(ev.Tick())
    assert device.audit.counts == counted, "nothing is left to put right"
