"""Targets: what is decided for a flow follows from what is known of it, and deciding changes nothing."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

from support.engine.scenario import ABLE, LEARNING, Scenario, small_policy

from flowlane.core.allocate.state import Placement
from flowlane.core.flow.pins import FREE, Worth
from flowlane.core.flow.target import Target, decide
from flowlane.core.model import Capabilities, QueueKind, Reason
from flowlane.core.policy import Balance, Pins
from flowlane.core.state.flows import REFUSED

LIMITED = 5000
ON_3 = Placement(3, QueueKind.PHYSICAL, Reason.SHARED)


def host(budget: int = 100, caps: Capabilities = LEARNING) -> Scenario:
    return Scenario(small_policy(pins=Pins("worthy", budget), balance=Balance(interval=1e9)), caps=caps)


def test_a_flow_on_the_devices_own_queue_needs_no_pin() -> None:
    there = host()
    row = there.flow(1, 1000, queue_id=3)
    assert decide(there.engine.state, there.device, row, ON_3) == Target(ON_3)


def test_a_flow_that_the_allocator_wants_elsewhere_gets_one() -> None:
    there = host()
    row = there.flow(1, 1000, queue_id=1)
    assert decide(there.engine.state, there.device, row, ON_3) == Target(
        ON_3, pin=Worth.CORRECTED, evicted=FREE
    )


def test_a_limit_needs_a_meter_and_a_pin() -> None:
    there = host()
    row = there.flow(1, 1000, dport=LIMITED, queue_id=3)
    target = decide(there.engine.state, there.device, row, ON_3)
    assert target.owner == there.device.meter_owner[row]
    assert target.pin is Worth.LIMITED


def test_what_the_device_cannot_give_is_named() -> None:
    there = host(caps=replace(LEARNING, max_meters=1))
    rows = [there.flow(vm, 1000, dport=LIMITED, queue_id=3) for vm in (1, 2)]
    target = decide(there.engine.state, there.device, rows[-1], ON_3)
    assert target.owner is None
    assert target.lacks == (("meter", "the device has no meter left"),)


def test_a_meter_that_the_flow_itself_gives_back_is_there_for_it() -> None:
    there = host(caps=replace(LEARNING, max_meters=1))
    row = there.flow(1, 1000, dport=LIMITED, queue_id=3)
    other = next(iter(there.device.meter_pool.ids))
    assert there.device.meter_pool.has_meter_for(("another", 1, row), other)
    assert not there.device.meter_pool.has_meter_for(("another", 1, row), None)


def test_a_pin_of_more_worth_takes_the_place_of_one_of_less() -> None:
    there = host(budget=1)
    corrected = there.flow(1, 1000, queue_id=9)
    limited = there.flow(2, 1000, dport=LIMITED, queue_id=3)
    assert there.device.flows.meter_id[limited]
    assert list(there.pins) == [limited]
    assert there.device.flows.device_queue[corrected] != 9, "its next packet shows where the device puts it"


def test_without_a_pin_a_flow_is_where_the_device_puts_it_and_has_no_limit() -> None:
    there = host(budget=1)
    there.flow(2, 1, dport=LIMITED, queue_id=0)
    row = there.flow(1, 1000, dport=LIMITED, queue_id=2)
    target = decide(there.engine.state, there.device, row, ON_3)
    assert target.placement == Placement(2, QueueKind.PHYSICAL, Reason.DEVICE_CHOSE)
    assert target.yields
    assert (target.owner, target.pin) == (None, None)
    assert target.lacks == (("limit", "no pin is to be had for it"),)


def test_a_flow_whose_entry_was_refused_gets_none_again() -> None:
    there = host()
    row = there.flow(1, 1000, queue_id=1)
    there.device.flows.flags[row] |= REFUSED
    assert decide(there.engine.state, there.device, row, ON_3).pin is None


def test_where_nothing_is_learned_every_flow_is_pinned() -> None:
    there = host(caps=ABLE)
    row = there.flow(1, 1000)
    assert decide(there.engine.state, there.device, row, ON_3).pin is not None


def test_deciding_changes_nothing() -> None:
    there = host(budget=2)
    rows = [
        there.flow(vm, 1000 + n, dport=port, queue_id=n % 4)
        for n, (vm, port) in enumerate([(1, 80), (1, LIMITED), (2, LIMITED), (3, 80)])
    ]
    before = deepcopy((there.device.meter_pool, there.device.pins_by_worth, there.device.refusals))
    columns = [
        list(getattr(there.device.flows, name)) for name in ("queue_id", "meter_id", "flags", "reason")
    ]
    for row in rows:
        first, second = (decide(there.engine.state, there.device, row, ON_3) for _ in range(2))
        assert first == second
    assert (there.device.meter_pool, there.device.pins_by_worth, there.device.refusals) == before
    assert columns == [
        list(getattr(there.device.flows, name)) for name in ("queue_id", "meter_id", "flags", "reason")
    ]
