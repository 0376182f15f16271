"""Which addresses are behind which port: found at once, or only those that ports which have changed may touch."""

from __future__ import annotations

from support.engine.required import required
from support.engine.two_hosts import MAC, OTHER_PORT, PORT, UPLINK, A, Hosts, udp

from flowlane.core import events as ev
from flowlane.core.device import destinations
from flowlane.core.effects import DevicePlan
from flowlane.core.model import PortReport

LOCAL = 0xFFFFFFFE
OTHER_MAC = 0x020000000002
OTHER = {"iface-id": "other", "attached-mac": "02:00:00:00:00:02"}


def plan_of(hosts: Hosts) -> DevicePlan:
    return required(hosts.device(A).plan)


def test_addresses_of_ovsdb_come_before_those_that_were_learned() -> None:
    hosts = Hosts()
    hosts.plug(A, PORT)
    hosts.plug(A, OTHER_PORT, OTHER)
    hosts.send(A, udp(mac=0x0200000000AA), OTHER_PORT)
    found, in_vlans = destinations.find(hosts.engine.state, hosts.device(A))
    assert found == ((MAC, PORT), (OTHER_MAC, OTHER_PORT), (0x0200000000AA, OTHER_PORT))
    assert in_vlans == ()


def test_a_port_that_has_changed_has_its_addresses_found_anew_and_no_others() -> None:
    hosts = Hosts()
    hosts.plug(A, PORT)
    hosts.plug(A, OTHER_PORT, OTHER)
    state, device, plan = hosts.engine.state, hosts.device(A), plan_of(hosts)
    kept = next(host for host in plan.hosts if host[1] == PORT)
    hosts.plug(A, OTHER_PORT, {"iface-id": "other", "attached-mac": "02:00:00:00:00:03"})
    found, _ = destinations.with_ports(state, device, plan, {OTHER_PORT}, {OTHER_MAC, OTHER_MAC + 1})
    assert found == destinations.find(state, device)[0] == ((MAC, PORT), (OTHER_MAC + 1, OTHER_PORT))
    assert found[0] is kept


def test_an_address_in_two_vlans_has_all_destinations_found() -> None:
    hosts = Hosts()
    hosts.plug(A, PORT, tag=5)
    plan = plan_of(hosts)
    hosts.plug(A, OTHER_PORT, {**OTHER, "attached-mac": "02:00:00:00:00:01"}, tag=6)
    state, device = hosts.engine.state, hosts.device(A)
    patched = destinations.with_ports(state, device, plan, {OTHER_PORT}, {MAC})
    assert patched == destinations.find(state, device)
    assert {(host.tag, host.port_no) for host in patched[1]} == {
        (0, PORT),
        (0, OTHER_PORT),
        (5, PORT),
        (6, OTHER_PORT),
    }


def test_a_port_of_the_host_itself_has_the_address_that_the_switch_reports() -> None:
    hosts = Hosts()
    assert not destinations.has_own_address(hosts.device(A).ports[UPLINK])
    hosts.do(ev.PortChanged(A, PortReport(LOCAL, "br", 0x02AA, is_local=True)))
    state, device = hosts.engine.state, hosts.device(A)
    assert destinations.has_own_address(device.ports[LOCAL])
    assert destinations.find(state, device)[0] == ((0x02AA, LOCAL),)
