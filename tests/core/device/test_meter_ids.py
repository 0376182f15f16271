"""Meters of others in a device: their ids are left alone, whether found at connect or later."""

from __future__ import annotations

from dataclasses import replace

from support.engine.scenario import DPID, LEARNING, Scenario, small_policy

from flowlane.core import events as ev
from flowlane.core.model import MeterSpec, Refusal
from flowlane.core.policy import Balance, LimitScope, Pins, TrafficClass

LIMITED = 5000


def host(max_meters: int = 1000, scope: LimitScope = LimitScope.FLOW) -> Scenario:
    classes = (
        TrafficClass("small", 0),
        TrafficClass("heavy", 1),
        TrafficClass("limited", 2, rate_limit=2_000_000, limit_scope=scope),
    )
    policy = small_policy(classes=classes, pins=Pins(idle_timeout=1000), balance=Balance(interval=1e9))
    return Scenario(policy, caps=replace(LEARNING, max_meters=max_meters))


def limited(scenario: Scenario, count: int) -> list[int]:
    return [scenario.flow(1, 1000 + number, dport=LIMITED, queue_id=1) for number in range(count)]


def reconnect(scenario: Scenario, *others: MeterSpec) -> None:
    scenario.do(ev.DeviceDown(DPID))
    pins = tuple(
        ev.FoundPin(
            pin.ref, bytes(4) + pin.key[4:], pin.in_port, pin.egress_port, pin.queue_id, pin.meter_id, 1, 100
        )
        for pin in scenario.pins.values()
    )
    ports = tuple(scenario.device.reported_ports.values())
    queues = dict(scenario.device.reported_queues)
    capabilities = scenario.device.capabilities
    ours = {meter.meter_id: (meter.rate, meter.burst) for meter in others}.items() & scenario.meters.items()
    scenario.meters = dict(ours)
    scenario.do(ev.DeviceUp(DPID, capabilities, ports, queues, pins, other_meters=others))


def test_a_meter_that_turns_out_to_be_anothers_is_left_and_the_flow_gets_the_next() -> None:
    scenario = host()
    first, second = limited(scenario, 2)
    taken = scenario.pins[first].meter_id
    scenario.meters.pop(taken)
    scenario.do(ev.RuleRefused(DPID, "meter", Refusal.ID_TAKEN, "OFPMMFC_METER_EXISTS", meter_id=taken))
    assert {scenario.pins[first].meter_id, scenario.pins[second].meter_id} == scenario.meters.keys()
    assert taken not in scenario.meters
    assert [spec.meter_id for spec in scenario.device.meters.values()] == sorted(scenario.meters)


def test_a_device_without_another_id_has_one_limit_less() -> None:
    scenario = host(max_meters=2)
    first, second = limited(scenario, 2)
    taken = scenario.pins[first].meter_id
    scenario.meters.pop(taken)
    scenario.do(ev.RuleRefused(DPID, "meter", Refusal.ID_TAKEN, "OFPMMFC_METER_EXISTS", meter_id=taken))
    assert scenario.device.flows.meter_id[first] == 0
    assert scenario.pins[second].meter_id == 3 - taken
    assert "meter" in scenario.device.refused_left_out


def test_a_class_gets_another_meter_too() -> None:
    scenario = host(max_meters=9, scope=LimitScope.CLASS)
    (meter,) = scenario.plan.meters
    scenario.do(
        ev.RuleRefused(DPID, "meter", Refusal.ID_TAKEN, "OFPMMFC_METER_EXISTS", meter_id=meter.meter_id)
    )
    assert [spec.meter_id for spec in scenario.plan.meters] == [meter.meter_id - 1]


def test_ids_of_meters_found_at_connect_are_not_used() -> None:
    scenario = host()
    reconnect(scenario, MeterSpec(1, 50_000_000, 5_000_000), MeterSpec(2, 0, 0))
    limited(scenario, 2)
    assert scenario.meters.keys() == {3, 4}
    assert scenario.device.meter_pool.capacity == 998


def test_a_meter_of_ours_that_no_entry_uses_after_a_pause_is_still_ours() -> None:
    scenario = host()
    (row,) = limited(scenario, 1)
    meter_id = scenario.pins[row].meter_id
    ours = scenario.device.meters[meter_id]
    scenario.pins.clear()
    reconnect(scenario, ours)
    assert scenario.device.meter_pool.reserved == set()
    assert not scenario.meters, "its flow has ended while the device was away"
    reconnect(scenario, ours._replace(rate=50_000_000))
    assert scenario.device.meter_pool.reserved == {meter_id}


def test_an_adopted_meter_gets_the_rate_of_the_policy_and_is_written_only_where_it_has_another() -> None:
    scenario = host()
    same, other = limited(scenario, 2)
    right = MeterSpec(scenario.pins[same].meter_id, *scenario.meters[scenario.pins[same].meter_id])
    wrong = MeterSpec(scenario.pins[other].meter_id, 1_000_000, 300_000)
    pins = tuple(
        ev.FoundPin(
            pin.ref, bytes(4) + pin.key[4:], pin.in_port, pin.egress_port, pin.queue_id, pin.meter_id, 1, 100
        )
        for pin in scenario.pins.values()
    )
    restarted = host()
    restarted.meters = {meter.meter_id: (meter.rate, meter.burst) for meter in (right, wrong)}
    restarted.pins = dict(scenario.pins)
    ports = tuple(restarted.device.reported_ports.values())
    queues, capabilities = dict(restarted.device.reported_queues), restarted.device.capabilities
    restarted.do(ev.DeviceUp(DPID, capabilities, ports, queues, pins, pin_meters=(right, wrong)))
    assert restarted.meters == scenario.meters
    assert list(restarted.meter_writes) == [wrong.meter_id]
