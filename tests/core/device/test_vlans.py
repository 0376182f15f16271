"""Addresses by VLAN: hosts with equal addresses in different VLANs are different hosts."""

from __future__ import annotations

from typing import Any

import pytest
from core.device.test_links import MAC, OTHER, Hosts, patch, vm

from flowlane.core.device.vlans import ANY, UNTAGGED, Vlan, entering, sent_by, tags
from flowlane.core.effects import DevicePlan
from flowlane.core.model import PortFacts

OUT = {"flowlane-port": "uplink"}
HERE = "02:00:00:00:00:01"


def facts(**settings: Any) -> PortFacts:
    return PortFacts("p", port="p", **settings)


@pytest.mark.parametrize(
    ("settings", "vlan", "expected"),
    [
        ({}, 100, (100,)),
        ({}, UNTAGGED, (UNTAGGED,)),
        ({"trunks": (100,)}, 100, (100,)),
        ({"trunks": (100,)}, 200, ()),
        ({"tag": 100}, 100, (UNTAGGED,)),
        ({"tag": 100}, 200, ()),
        ({"tag": 100, "vlan_mode": "native-untagged"}, 100, (UNTAGGED, 100)),
        ({"tag": 100, "vlan_mode": "native-untagged"}, 200, (200,)),
        ({"tag": 100, "vlan_mode": "dot1q-tunnel"}, 100, (ANY,)),
        ({"tag": 100, "vlan_mode": "dot1q-tunnel"}, 200, ()),
        ({"tag": 100}, ANY, (ANY,)),
    ],
)
def test_tags_are_those_that_enter_the_vlan(
    settings: dict[str, Any], vlan: Vlan, expected: tuple[Vlan, ...]
) -> None:
    port = facts(**settings)
    assert tags(port, vlan) == expected
    for tag in (*expected, UNTAGGED, 100, 200) if vlan is not ANY and expected != (ANY,) else ():
        assert (tag in expected) == (vlan in entering(port, tag))


def test_what_a_vm_sends_by_a_trunk_may_be_in_any_vlan() -> None:
    assert (sent_by(None), sent_by(facts()), sent_by(facts(tag=7))) == ((ANY,), (ANY,), (7,))


def bridge(**more: PortFacts) -> Hosts:
    """VMs a and b with one address in two VLANs, c and d in the same VLANs, and an uplink."""
    return Hosts(
        br={
            1: vm("a", tag=100),
            2: vm("b", tag=200),
            3: vm("c", "", tag=100),
            4: vm("d", "", tag=200),
            10: PortFacts("eth0", OUT, port="eth0"),
        }
    )


def plan_of(hosts: Hosts, name: str) -> DevicePlan:
    plan = hosts.device(name).plan
    assert plan is not None
    return plan


def ways(hosts: Hosts, name: str, mac: int = MAC) -> dict[tuple[int, Vlan], int]:
    """(ingress port, tag) -> where frames to an address are predicted to go."""
    return {(in_port, tag): to for of, in_port, tag, to in plan_of(hosts, name).vlan_hosts if of == mac}


def test_two_vms_with_one_address_on_one_bridge() -> None:
    hosts = bridge()
    assert MAC not in dict(plan_of(hosts, "br").hosts)
    assert ways(hosts, "br") == {
        (1, UNTAGGED): 1,
        (2, UNTAGGED): 2,
        (3, UNTAGGED): 1,
        (4, UNTAGGED): 2,
        (10, 100): 1,
        (10, 200): 2,
    }


def test_learned_addresses_are_kept_by_vlan() -> None:
    hosts = bridge()
    hosts.send("br", 3, 10, mac=OTHER)
    assert dict(plan_of(hosts, "br").hosts)[OTHER] == 3
    hosts.send("br", 10, 0, tag=200, mac=OTHER)
    assert hosts.device("br").hosts == {(OTHER, 100): 3, (OTHER, 200): 10}
    assert ways(hosts, "br", OTHER) == {
        (1, UNTAGGED): 3,
        (2, UNTAGGED): 10,
        (3, UNTAGGED): 3,
        (4, UNTAGGED): 10,
        (10, 100): 3,
        (10, 200): 10,
    }
    hosts.send("br", 10, 0, tag=100, mac=OTHER)
    assert dict(plan_of(hosts, "br").hosts)[OTHER] == 10, "it has moved away in its VLAN"
    assert [port.host_count for port in hosts.device("br").ports.values()] == [0, 0, 0, 0, 2]


def test_the_address_of_a_vm_may_be_somebody_elses_in_another_vlan() -> None:
    hosts = bridge()
    hosts.send("br", 10, 0, tag=100)
    assert hosts.device("br").hosts == {}, "not in the VM's own"
    hosts.send("br", 10, 0, tag=300)
    assert hosts.device("br").hosts == {(MAC, 300): 10}
    assert ways(hosts, "br")[10, 300] == 10


def test_what_the_bridge_drops_shows_no_address() -> None:
    hosts = bridge()
    hosts.send("br", 3, 10, tag=200, mac=OTHER)
    assert hosts.device("br").hosts == {}


def test_one_vm_on_each_of_two_bridges_with_one_address() -> None:
    hosts = Hosts(
        br_int={1: vm("a", tag=100), 9: patch("int-ex", "ex-int")},
        br_ex={
            2: vm("b", tag=200),
            8: patch("ex-int", "int-ex"),
            10: PortFacts("eth0", OUT, port="eth0"),
        },
    )
    assert ways(hosts, "br_ex") == {(2, UNTAGGED): 2, (8, 100): 8, (8, 200): 2, (10, 100): 8, (10, 200): 2}
    hosts.send("br_int", 1, 9)
    hosts.send("br_ex", 8, 10, tag=100)
    hosts.send("br_ex", 2, 10)
    vms = hosts.engine.state.vms
    senders = [vms[flows.vm_number[row]].id for flows in (hosts.device("br_ex").flows,) for row in flows]
    assert senders == ["a", "b"]


def test_addresses_found_after_a_restart_are_of_any_vlan_until_they_send() -> None:
    hosts = bridge()
    device = hosts.device("br")
    device.hosts[OTHER, ANY] = 10
    device.ports[10].host_count = 1
    hosts.send("br", 3, 10, mac=OTHER)
    assert device.hosts == {(OTHER, 100): 3}
    assert (device.ports[3].host_count, device.ports[10].host_count) == (1, 0)


@pytest.mark.parametrize("name", ["a"])
def test_an_address_that_is_alone_needs_one_entry(name: str) -> None:
    hosts = Hosts(br={1: vm(name, HERE, tag=100), 10: PortFacts("eth0", OUT, port="eth0")})
    assert (dict(plan_of(hosts, "br").hosts)[MAC], plan_of(hosts, "br").vlan_hosts) == (1, ())
