"""What is gone is forgotten after a stated time: silent addresses, flows and devices without a connection, VMs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.engine.scenario import DPID, LEARNING, UPLINK, Scenario, small_policy

from flowlane.core import events as ev
from flowlane.core.device import forget
from flowlane.core.device.forget import (
    AGING,
    AGING_INTERVAL,
    DEVICE_KEPT,
    FLOWS_KEPT,
    MOST_AGED,
    MOST_FLOWS,
    VM_NUMBER_KEPT,
)
from flowlane.core.device.vlans import ANY
from flowlane.core.model import PortFacts, PortReport
from flowlane.core.policy import Pins

MAC = 0x020000000001
IDLE = 10


def let_pass(scenario: Scenario, seconds: float) -> None:
    """Let time pass in steps that are as long as the looks at addresses are apart."""
    end = scenario.now + seconds
    while scenario.now < end:
        scenario.now = min(end, scenario.now + AGING_INTERVAL)
        scenario.do(ev.Tick())


def with_address() -> Scenario:
    scenario = Scenario(small_policy(pins=Pins(idle_timeout=IDLE)), caps=replace(LEARNING, normal=True))
    scenario.flow(1, 1000, queue_id=1)
    assert scenario.device.hosts == {(MAC, 0): 1}
    return scenario


def test_an_address_ages() -> None:
    scenario = with_address()
    let_pass(scenario, AGING)
    assert (MAC, 0) in scenario.device.hosts
    assert dict(scenario.plan.hosts)[MAC] == 1
    let_pass(scenario, 3 * AGING_INTERVAL)
    assert not scenario.device.hosts
    assert not scenario.device.host_seen
    assert (scenario.device.ports[1].host_count, dict(scenario.plan.hosts)) == (0, {})


@pytest.mark.parametrize("sign", ["copy", "learned entry", "pin"])
def test_an_address_that_sends_stays(sign: str) -> None:
    scenario = with_address()
    scenario.flow(1, 1001, dport=5000, queue_id=1)
    rows = {sport: scenario.row(1, sport, dport) for sport, dport in ((1000, 80), (1001, 5000))}
    flows = scenario.device.flows
    keys = {sport: flows.device_key(row) for sport, row in rows.items()}
    for step in range(1, 60):
        let_pass(scenario, AGING_INTERVAL - 1)
        if sign == "copy" and step % 10 == 0:
            scenario.flow(1, 1000, queue_id=1)
        elif sign == "learned entry":
            learned = ev.LearnedFlow(keys[1000], 1, UPLINK, MAC, 1, step * 100, step * 10_000)
            scenario.do(ev.LearnedCounters(DPID, (learned,)))
        elif sign == "pin":
            row = rows[1001]
            scenario.do(ev.PinCounters(DPID, ((row, flows.generation[row], step * 100, step * 10_000),)))
    assert scenario.now > 400 + AGING
    assert scenario.device.hosts == {(MAC, 0): 1}


def test_many_addresses_do_not_age_all_at_once() -> None:
    scenario = with_address()
    for number in range(MOST_AGED + 9):
        frame = scenario.frame(1, 1000)
        frame = frame[:6] + (0x060000000000 + number).to_bytes(6) + frame[12:]
        scenario.do(ev.FlowSeen(DPID, 1 + number % 2, frame, UPLINK, 1))
    let_pass(scenario, AGING + 2 * AGING_INTERVAL)
    left = len(scenario.device.hosts)
    assert left == 10
    let_pass(scenario, AGING_INTERVAL)
    assert not scenario.device.hosts


def test_flows_of_a_device_that_is_gone_are_forgotten() -> None:
    scenario = Scenario(small_policy(pins=Pins(idle_timeout=IDLE)), caps=LEARNING)
    for number in range(MOST_FLOWS + 9):
        scenario.flow(1 + number % 8, 1000 + number, queue_id=1)
    limited = scenario.flow(1, 1000, dport=5000, queue_id=1)
    assert scenario.device.flows.meter_id[limited]
    scenario.do(ev.DeviceDown(DPID))
    scenario.tick(int(FLOWS_KEPT) - 1)
    assert len(scenario.device.flows) == MOST_FLOWS + 10
    scenario.tick()
    assert len(scenario.device.flows) == 10, "not all at once"
    scenario.tick()
    assert len(scenario.device.flows) == 0
    allocation = scenario.device.ports[UPLINK].allocation
    assert allocation is not None
    assert sum(slot.count for slot in allocation.slots) == 0


def test_a_device_that_comes_back_after_that_shows_its_flows() -> None:
    scenario = Scenario(small_policy(pins=Pins(idle_timeout=IDLE)), caps=LEARNING)
    row = scenario.flow(1, 1000, dport=5000, queue_id=1)
    pin, flows = scenario.pins[row], scenario.device.flows
    scenario.do(ev.DeviceDown(DPID))
    scenario.tick(int(FLOWS_KEPT) + 1)
    assert len(flows) == 0
    meter = pin.meter_id
    found = ev.FoundPin(
        pin.ref, pin.key, pin.in_port, pin.egress_port, pin.queue_id, meter, 5, 500, pin.by_vm
    )
    scenario.meters.clear()
    scenario.connect(4, LEARNING, (found,))
    (again,) = scenario.device.flows
    assert scenario.device.flows.meter_id[again]


def test_a_device_that_nobody_lists_is_forgotten_with_its_vms() -> None:
    scenario = Scenario(small_policy(), caps=LEARNING)
    far = DPID + 1
    reports = (PortReport(1, "tap1"), PortReport(2, "up"))
    scenario.do(ev.DeviceUp(far, LEARNING, reports, {2: (0, 1)}))
    assert {vm.dpid for vm in scenario.engine.vms.values()} == {DPID, far}
    for dpid in (DPID, far):
        scenario.do(ev.DeviceDown(dpid))
    scenario.tick(int(DEVICE_KEPT) - 1)
    assert set(scenario.engine.devices) == {DPID, far}
    scenario.tick(2)
    assert set(scenario.engine.devices) == {DPID}, "OVSDB lists the other one"
    assert {vm.dpid for vm in scenario.engine.vms.values()} == {DPID}
    assert [r.data["change"] for r in scenario.reports if r.kind == "device"][-1] == "forgotten"
    scenario.do(ev.DescriptionRemoved(DPID))
    scenario.tick()
    assert not scenario.engine.devices
    assert not scenario.engine.vms
    assert not scenario.engine.state.claims
    scenario.connect(4, LEARNING)
    assert set(scenario.engine.devices) == {DPID}


@pytest.mark.parametrize(("devices", "ports"), [(3, 1000), (1000, 6)])
def test_of_many_devices_that_are_gone_the_last_ones_are_kept(
    devices: int, ports: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A switch may connect with another datapath id each time; what a database lists does not count."""
    monkeypatch.setattr(forget, "MOST_GONE", devices)
    monkeypatch.setattr(forget, "MOST_GONE_PORTS", ports)
    scenario = Scenario(small_policy(), caps=LEARNING)
    scenario.do(ev.DeviceDown(DPID))
    for far in range(DPID + 1, DPID + 6):
        scenario.do(ev.DeviceUp(far, LEARNING, (PortReport(1, "tap1"), PortReport(2, "up")), {2: (0, 1)}))
        scenario.do(ev.DeviceDown(far))
        scenario.now += 1.0
    scenario.tick(int(FLOWS_KEPT) - 7)
    assert len(scenario.engine.devices) == 6
    scenario.tick(9)
    assert set(scenario.engine.devices) == {DPID, DPID + 3, DPID + 4, DPID + 5}
    assert {vm.dpid for vm in scenario.engine.vms.values()} == set(scenario.engine.devices)


def test_numbers_of_vms_that_are_gone_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forget, "MOST_NUMBERS", 2)
    scenario = Scenario(small_policy(), caps=LEARNING)
    for port_no in (1, 2, 3, 4):
        scenario.do(ev.PortRemoved(DPID, port_no))
        scenario.now += 1.0
    scenario.tick()
    state = scenario.engine.state
    assert list(state.gone_vms) == ["vm3", "vm4"]
    assert {"vm1", "vm2"}.isdisjoint(state.vm_numbers)


def test_the_number_of_a_vm_that_is_gone_is_kept_for_a_while() -> None:
    scenario = Scenario(small_policy(), caps=LEARNING)
    state = scenario.engine.state
    number = state.vm_numbers["vm1"]
    scenario.do(ev.PortRemoved(DPID, 1))
    scenario.tick()
    assert state.vm_numbers["vm1"] == number
    scenario.now += VM_NUMBER_KEPT
    scenario.tick()
    assert "vm1" not in state.vm_numbers
    assert number not in state.numbers_taken
    facts = PortFacts("pf0vf1", {"iface-id": "vm1"})
    described = state.described[DPID]
    scenario.do(replace(described, ports={**described.ports, 1: facts}))
    scenario.do(ev.PortChanged(DPID, PortReport(1, "pf0vf1")))
    assert state.vm_numbers["vm1"] == number


def test_an_address_is_found_again_after_a_restart_and_ages() -> None:
    scenario = Scenario(small_policy(), caps=replace(LEARNING, normal=True))
    reports = [PortReport(1, "pf0vf1"), PortReport(UPLINK, "pf0")]
    scenario.do(ev.DeviceUp(DPID, LEARNING, tuple(reports), {UPLINK: (0, 1)}, hosts=((MAC, UPLINK),)))
    assert scenario.device.hosts == {(MAC, ANY): UPLINK}
    let_pass(scenario, AGING + 3 * AGING_INTERVAL)
    assert not scenario.device.hosts
