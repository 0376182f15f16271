"""Addresses: learned from any copied packet, never stolen from a VM; other source addresses of a VM by the policy."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.engine.scenario import ABLE, DPID, UPLINK, Scenario, small_policy

from flowlane.core import effects as fx
from flowlane.core import events as ev
from flowlane.core.device.hosts import MAX_OTHER_MACS
from flowlane.core.device.vlans import ANY
from flowlane.core.model import PortReport
from flowlane.core.policy import ExtraAddresses, PortSecurity, VmSelector

OWN, OTHER, VRRP = 0x0200000000AA, 0x020000000001, 0x00005E000105
IDS = {
    1: {"iface-id": "vm1", "attached-mac": "02:00:00:00:00:aa"},
    2: {"iface-id": "vm2", "attached-mac": "02:00:00:00:00:bb"},
}
LOCAL = 0xFFFFFFFE


def host(mode: PortSecurity, *extra: ExtraAddresses) -> Scenario:
    scenario = Scenario(small_policy(port_security=mode, extra_addresses=extra))
    scenario.describe(4, ids=IDS)
    return scenario


def send(scenario: Scenario, mac: int, port_no: int = 1, sport: int = 1000) -> None:
    frame = scenario.frame(1, sport)
    scenario.do(ev.FlowSeen(DPID, port_no, frame[:6] + mac.to_bytes(6) + frame[12:], UPLINK))


def others(scenario: Scenario) -> list[int]:
    return list(scenario.device.ports[1].other_macs)


def about_addresses(scenario: Scenario) -> list[fx.Report]:
    return [report for report in scenario.reports if report.data.get("change") == "other-address"]


def test_report_is_the_default() -> None:
    assert small_policy().port_security is PortSecurity.REPORT


@pytest.mark.parametrize("mode", PortSecurity)
def test_a_vms_other_source_addresses(mode: PortSecurity) -> None:
    scenario = host(mode)
    for sport in (1000, 1001):
        send(scenario, OTHER, sport=sport)
    forwarded = mode is not PortSecurity.STRICT
    assert len(scenario.device.flows.rows) == (2 if forwarded else 0), "its flows, with class and limit"
    assert (scenario.device.hosts.get((OTHER, ANY)) == 1) is forwarded
    assert others(scenario) == ([] if mode is PortSecurity.OFF else [OTHER])
    assert len(about_addresses(scenario)) == (0 if mode is PortSecurity.OFF else 1), (
        "once, not for each packet"
    )
    planned = next(port for port in scenario.plan.ports if port.port_no == 1)
    assert planned.macs == ((OWN,) if mode is PortSecurity.STRICT else ())


@pytest.mark.parametrize("mode", PortSecurity)
def test_an_address_of_another_vm_is_never_learned(mode: PortSecurity) -> None:
    scenario = host(mode)
    send(scenario, 0x0200000000BB)
    assert (0x0200000000BB, ANY) not in scenario.device.hosts
    assert dict(scenario.plan.hosts)[0x0200000000BB] == 2


def test_extra_addresses_are_a_vms_own() -> None:
    scenario = host(PortSecurity.STRICT, ExtraAddresses(VmSelector(("vm*",)), (VRRP,)))
    send(scenario, VRRP)
    assert len(scenario.device.flows.rows) == 1
    assert (scenario.device.hosts[VRRP, ANY], others(scenario)) == (1, [])
    assert [port.macs for port in scenario.plan.ports if port.port_no == 1] == [(VRRP, OWN)]
    send(scenario, VRRP, port_no=2, sport=1001)
    assert scenario.device.hosts[VRRP, ANY] == 2, "the virtual router has moved to another VM"


def test_a_vm_without_addresses_may_use_any() -> None:
    scenario = Scenario(small_policy(port_security=PortSecurity.STRICT))
    send(scenario, OTHER)
    assert (len(scenario.device.flows.rows), others(scenario)) == (1, [])


def test_the_list_is_bounded_and_goes_with_the_vm() -> None:
    scenario = host(PortSecurity.REPORT)
    for number in range(MAX_OTHER_MACS + 9):
        send(scenario, 0x060000000000 + number)
    assert len(others(scenario)) == len(about_addresses(scenario)) == MAX_OTHER_MACS
    scenario.describe(4, ids={1: {"iface-id": "another", "attached-mac": "02:00:00:00:00:cc"}})
    assert others(scenario) == []


def test_another_policy_changes_what_a_port_may_send() -> None:
    scenario = host(PortSecurity.REPORT)
    scenario.do(ev.PolicyReplaced(small_policy(port_security=PortSecurity.STRICT)))
    assert [port.macs for port in scenario.plan.ports if port.port_no == 1] == [(OWN,)]


def test_an_address_follows_a_packet_of_any_kind() -> None:
    scenario = Scenario()
    rarp = bytes.fromhex("ffffffffffff0200000000018035") + bytes(46)
    send(scenario, OTHER)
    assert dict(scenario.plan.hosts)[OTHER] == 1
    scenario.do(ev.FlowSeen(DPID, UPLINK, rarp, None))
    assert dict(scenario.plan.hosts)[OTHER] == UPLINK, "it has moved to another host"
    scenario.do(ev.FlowSeen(DPID, 3, rarp, UPLINK))
    assert dict(scenario.plan.hosts)[OTHER] == 3, "and comes to another port"


def test_the_hosts_own_address_is_that_of_the_local_port() -> None:
    scenario = Scenario()
    scenario.do(ev.PortChanged(DPID, PortReport(LOCAL, "br-int", 0x0200000000EE, is_local=True)))
    assert dict(scenario.plan.hosts)[0x0200000000EE] == LOCAL
    assert LOCAL not in scenario.plan.flood_ports


def test_addresses_behind_uplinks_are_learned_where_there_are_several() -> None:
    for normal, uplinks, learning in ((True, 1, 0), (True, 2, 2), (False, 1, 1)):
        scenario = Scenario(caps=replace(ABLE, normal=normal))
        assert scenario.engine.devices[DPID].capabilities.normal is normal
        if uplinks == 2:
            scenario.describe(4, ids={8: {"flowlane-port": "uplink"}})
        assert len(scenario.plan.learning_ports) == learning
