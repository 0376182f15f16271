"""What a device refuses: the cause is found, and what it was for goes on in the next best way."""

from __future__ import annotations

from typing import Any

from support.engine.scenario import DPID, LEARNING, Scenario, small_policy

from flowlane.core import events as ev
from flowlane.core.device.refusals import RETRY
from flowlane.core.model import Refusal
from flowlane.core.policy import Balance, Pins
from flowlane.core.state.flows import PINNED, REFUSED

LIMITED = 5000
TABLE_FULL, NO_METER = Refusal.TABLE_FULL, Refusal.NO_SUCH_METER


def host(**pins: Any) -> Scenario:
    pins_of = Pins(idle_timeout=1000, **pins)
    return Scenario(small_policy(pins=pins_of, balance=Balance(interval=1e9)), caps=LEARNING)


def limited(there: Scenario, count: int, first: int = 1000) -> list[int]:
    return [there.flow(1, first + number, dport=LIMITED, queue_id=1) for number in range(count)]


def refuse_pin(there: Scenario, row: int, refusal: Refusal) -> None:
    there.pins.pop(row, None)
    there.do(ev.RuleRefused(DPID, "pin", refusal, f"<{refusal.name}>", there.device.flows.ref(row)))


def refuse_meter(there: Scenario, meter_id: int) -> None:
    """The device has neither the meter nor the pins that name it, which it refuses afterwards."""
    users = [row for row, pin in there.pins.items() if pin.meter_id == meter_id]
    for row in users:
        del there.pins[row]
    there.meters.pop(meter_id, None)
    there.do(ev.RuleRefused(DPID, "meter", Refusal.OTHER, "out of meters", meter_id=meter_id))
    for row in users:
        refuse_pin(there, row, NO_METER)


def end(there: Scenario, row: int) -> None:
    """The flow's pin idles out."""
    del there.pins[row]
    there.do(ev.PinEnded(DPID, there.device.flows.ref(row), 1, 100, idle=True))


def test_a_refused_meter_leaves_its_flow_without_a_limit_and_is_told() -> None:
    there = host()
    (row,) = limited(there, 1)
    refuse_meter(there, there.pins[row].meter_id)
    assert there.device.flows.meter_id[row] == 0
    assert there.device.meter_pool.specs == {}
    assert not there.device.flows.flags[row] & REFUSED
    assert all(pin.meter_id == 0 for pin in there.pins.values())
    assert [left.what for left in there.device.left_out] == ["limits of flows beyond 0 meters"]


def test_no_further_meter_is_asked_for_until_one_is_given_back() -> None:
    there = host()
    rows = limited(there, 3)
    refuse_meter(there, there.pins[rows[2]].meter_id)
    before = there.counts["SetMeter"]
    limited(there, 5, first=2000)
    assert there.counts["SetMeter"] == before
    assert len(there.device.meters) == 2
    end(there, rows[0])
    (row,) = limited(there, 1, first=3000)
    assert there.device.flows.meter_id[row]


def test_the_pins_of_a_full_table_are_its_budget_until_it_is_tried_again() -> None:
    there = host()
    small = [there.flow(1, 500 + number, dport=LIMITED, queue_id=1) for number in range(4)]
    refuse_pin(there, small[3], TABLE_FULL)
    assert (there.device.pinned, there.device.pin_budget) == (3, 3)
    assert any("(<TABLE_FULL>)" in left.why for left in there.device.left_out)
    before = there.counts["PinFlow"]
    limited(there, 20)
    assert there.counts["PinFlow"] == before
    assert all(there.device.flows.meter_id[row] == 0 for row in there.device.flows if row not in there.pins)
    there.tick(int(RETRY) + 1)
    assert there.device.pin_budget == there.device.policy.pins.budget
    limited(there, 1, first=4000)
    assert there.counts["PinFlow"] == before + 1


def test_in_a_full_table_what_is_worth_more_takes_the_place_of_what_is_worth_less() -> None:
    there = host()
    rows = limited(there, 2)
    refuse_pin(there, rows[1], TABLE_FULL)
    end(there, rows[0])
    assert there.device.pin_budget == 1
    (row,) = limited(there, 1, first=3000)
    assert there.device.flows.flags[row] & PINNED


def test_a_connection_makes_everything_new() -> None:
    there = host()
    rows = limited(there, 2)
    refuse_meter(there, there.pins[rows[0]].meter_id)
    refuse_pin(there, rows[1], TABLE_FULL)
    assert there.device.left_out
    there.do(ev.DeviceDown(DPID))
    there.connect(4, LEARNING)
    assert there.device.left_out == ()
    assert there.device.pin_budget == there.device.policy.pins.budget
    assert not there.device.meter_pool.is_full
