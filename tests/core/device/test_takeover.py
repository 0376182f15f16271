"""What a reconnected device has is reconciled with what the controller knows."""

from __future__ import annotations

from dataclasses import replace

from support.engine.scenario import ABLE, DPID, Scenario, small_policy

from flowlane.core import effects as fx
from flowlane.core import events as ev
from flowlane.core.policy import LimitScope, Policy, TrafficClass


def test_a_flow_whose_pin_is_gone_leaves_no_entry_where_the_queues_have_changed_meanwhile() -> None:
    """The flows that are left move to another queue as the device connects; a flow that has ended gets no entry."""
    host = Scenario(queues=4)
    rows = [host.flow(1, 1000 + number) for number in range(8)]
    kept = host.pins[rows[0]]
    found = ev.FoundPin(kept.ref, kept.key, kept.in_port, kept.egress_port, kept.queue_id, 0, 5, 500)
    host.do(ev.DeviceDown(DPID))
    host.pins = {rows[0]: kept}
    host.connect(0, pins=(found,))
    assert list(host.device.flows) == [rows[0]]
    assert list(host.pins) == [rows[0]], "no entry of a flow that has ended"


def limited(scope: LimitScope) -> Policy:
    return small_policy(
        classes=(TrafficClass("limited", 0, rate_limit=2_000_000, limit_scope=scope),), rules=(), gates=()
    )


def test_a_pin_gets_the_id_of_a_meter_that_stood_with_the_rules_once_the_device_has_its_new_plan() -> None:
    """The old plan, which the device has still, names that meter for other flows."""
    host = Scenario(limited(LimitScope.CLASS), caps=replace(ABLE, max_meters=2))
    standing = {meter.meter_id for meter in host.plan.meters}
    for number in range(2):
        host.flow(1, 1000 + number)
    found = tuple(
        ev.FoundPin(pin.ref, pin.key, pin.in_port, pin.egress_port, pin.queue_id, pin.meter_id, 5, 500)
        for pin in host.pins.values()
    )
    ports, queues = tuple(host.device.reported_ports.values()), dict(host.device.reported_queues)
    host.do(ev.DeviceDown(DPID))
    host.do(ev.PolicyReplaced(small_policy()))
    host.do(ev.PolicyReplaced(limited(LimitScope.FLOW)))
    up = ev.DeviceUp(DPID, host.device.capabilities, ports, queues, found)
    effects = [
        effect
        for effect in host.engine.step_and_catch_up(up, host.now)
        if isinstance(effect, fx.Program | fx.SetMeter)
    ]
    assert isinstance(effects[0], fx.Program)
    meter_ids = {effect.meter.meter_id for effect in effects if isinstance(effect, fx.SetMeter)}
    assert standing < meter_ids
