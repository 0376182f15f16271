from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest

from flowlane.core.device.roles import (
    Evidence,
    PortView,
    ambiguities,
    infer_device_role,
    port_roles,
)
from flowlane.core.model import PortFacts, PortRole, QueueFacts, QueueKind, Role

VM, UPLINK, HOST, LINK, IGNORE = PortRole.VM, PortRole.UPLINK, PortRole.HOST, PortRole.LINK, PortRole.IGNORE
QUEUES = {0: QueueFacts(), 1: QueueFacts()}
ONE_QUEUE = {0: QueueFacts()}


def port(name: str = "p", local: bool = False, **facts: Any) -> PortView:
    queues = facts.get("queues", {})
    return PortView(name, PortFacts(name, **facts), tuple(queues), local)


def roles_of(*ports: PortView, role: Role = Role.NIC, uplinks: tuple[str, ...] = ()) -> list[PortRole]:
    roles = port_roles(dict(enumerate(ports, 1)), role, uplinks)
    return [roles[number].role for number in sorted(roles)]


def guesses(*ports: PortView, role: Role = Role.NIC) -> list[tuple[tuple[str, ...], PortRole]]:
    numbered = dict(enumerate(ports, 1))
    found = ambiguities(numbered, port_roles(numbered, role, ()))
    return [(ambiguity.ports, ambiguity.role) for ambiguity in found]


@pytest.mark.parametrize(
    ("view", "expected", "evidence"),
    [
        (port(external_ids={"flowlane-port": "uplink", "iface-id": "x"}), UPLINK, Evidence.OPERATOR),
        (port(external_ids={"flowlane-port": "ignore"}, members=(1, 2)), IGNORE, Evidence.OPERATOR),
        (port(external_ids={"flowlane-port": "vm"}, local=True), VM, Evidence.OPERATOR),
        (port("eth0", external_ids={"iface-id": "x"}), UPLINK, Evidence.POLICY),
        (port("eth1", port="bond7"), UPLINK, Evidence.POLICY),
        (port(local=True, external_ids={"iface-id": "x"}), HOST, Evidence.LOCAL),
        (port(external_ids={"iface-id": "x"}, interface_type="patch"), VM, Evidence.IDENTITY),
        (port(external_ids={"vm-uuid": "x"}, driver="mlx5_core"), VM, Evidence.IDENTITY),
        (port(external_ids={"attached-mac": "x"}, queues=QUEUES), VM, Evidence.IDENTITY),
        (port(interface_type="patch", options={"peer": "q"}, queues=QUEUES), LINK, Evidence.TYPE),
        (port(interface_type="vxlan"), UPLINK, Evidence.TYPE),
        (port(interface_type="geneve"), UPLINK, Evidence.TYPE),
        (port(interface_type="gre"), UPLINK, Evidence.TYPE),
        (port(interface_type="dpdk"), UPLINK, Evidence.TYPE),
        (port(interface_type="dpdk", options={"dpdk-devargs": "0000:03:00.0,representor=[1]"}), VM, Evidence.TYPE),
        (port(interface_type="dpdkvhostuserclient", queues=QUEUES), VM, Evidence.TYPE),
        (port(members=(1, 2), port="bond0"), UPLINK, Evidence.BOND),
        (port(driver="ixgbe"), UPLINK, Evidence.DRIVER),
        (port(driver="bonding"), UPLINK, Evidence.DRIVER),
        (port(driver="tun"), VM, Evidence.NOTHING),
        (port(driver="veth"), VM, Evidence.NOTHING),
        (port(driver="mlx5e_rep"), VM, Evidence.NOTHING),
        (port("enp3s0f0npf0vf1", driver="mlx5_core"), VM, Evidence.NOTHING),
        (port(), VM, Evidence.NOTHING),
        (port(external_ids={"flowlane-port": "nonsense"}), VM, Evidence.NOTHING),
        (PortView("p"), VM, Evidence.NOTHING),
    ],
)  # fmt: skip
def test_the_strongest_evidence_decides(view: PortView, expected: PortRole, evidence: Evidence) -> None:
    role = port_roles({1: view}, Role.NIC, ("eth0", "bond7"))[1]
    assert (role.role, role.evidence) == (expected, evidence)
    assert role.reason


def test_a_port_with_queues_is_the_uplink_where_others_have_none_even_with_one_queue() -> None:
    for queues in (QUEUES, ONE_QUEUE):
        assert roles_of(port("a"), port("b"), port("c", queues=queues)) == [VM, VM, UPLINK]
        assert guesses(port("a"), port("c", queues=queues)) == [(("c",), UPLINK)]


def test_queues_on_every_port_make_no_uplink() -> None:
    every = [port(name, queues=QUEUES) for name in ("a", "b", "c")]
    assert roles_of(*every) == [VM] * 3
    assert guesses(*every) == [(("a", "b", "c"), VM)]


def test_the_only_port_with_queues_is_the_uplink_though_it_is_the_only_port() -> None:
    assert roles_of(port(local=True), port(queues=QUEUES)) == [HOST, UPLINK]


def test_where_vms_are_known_by_their_ids_another_port_with_queues_is_the_uplink() -> None:
    vm = port(external_ids={"iface-id": "x"}, queues=QUEUES)
    assert roles_of(vm, vm, port(queues=QUEUES)) == [VM, VM, UPLINK]


def test_queues_towards_a_vm_make_no_second_uplink_beside_a_known_one() -> None:
    known = (
        port(driver="ixgbe"),
        port("bond", members=(1, 2)),
        port(external_ids={"flowlane-port": "uplink"}),
    )
    for uplink in known:
        assert roles_of(uplink, port(), port(queues=QUEUES)) == [UPLINK, VM, VM]
    assert roles_of(known[2], port(), port(queues=QUEUES), role=Role.SWITCH) == [UPLINK, VM, LINK]


def test_on_a_switch_ports_with_queues_are_links() -> None:
    assert roles_of(port(), port(queues=QUEUES), role=Role.SWITCH) == [VM, LINK]


def test_a_queue_0_that_nobody_has_made_counts_for_nothing() -> None:
    """Dummy devices of Open vSwitch report it without a QoS row (lib/netdev-dummy.c)."""
    made, default = port("a", queues=ONE_QUEUE), PortView("b", PortFacts("b"), (0,))
    assert roles_of(made, default, default) == [UPLINK, VM, VM]
    undescribed = PortView("a", None, (0,))
    assert roles_of(undescribed, PortView("b"), PortView("c")) == [UPLINK, VM, VM]


def test_a_bridge_between_a_patch_port_and_vms_has_no_guess() -> None:
    assert guesses(port("a"), port("b"), port(interface_type="patch")) == []
    assert guesses(port("a"), port("b")) == [(("a", "b"), VM)]
    assert guesses(port("a")) == []


def test_two_uplinks_by_their_driver_alone_are_a_guess() -> None:
    assert guesses(port("a", driver="ice"), port("b", driver="ice")) == [(("a", "b"), UPLINK)]
    assert guesses(port("a", driver="ice"), port("b", driver="tun")) == []


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        ([port()], Role.SWITCH),
        ([port(external_ids={"iface-id": "x"})], Role.NIC),
        ([port(queues=ONE_QUEUE)], Role.NIC),
        ([port(queues={0: QueueFacts(QueueKind.SOFTWARE)}), port()], Role.VSWITCH),
        ([port(queues={0: QueueFacts(QueueKind.SOFTWARE), 1: QueueFacts(QueueKind.PHYSICAL)})], Role.NIC),
        ([PortView("p", None, (0, 1))], Role.NIC),
        ([PortView("p", None, (0,))], Role.SWITCH),
    ],
)
def test_roles_of_devices(ports: list[PortView], expected: Role) -> None:
    assert infer_device_role(ports) is expected


def test_reasons_name_what_decided() -> None:
    views = {
        1: port(interface_type="patch", options=MappingProxyType({"peer": "int-ex"})),
        2: port("m", members=(2, 3), port="bond0"),
        3: port(external_ids={"iface-id": "x"}),
    }
    reasons = [role.reason for role in port_roles(views, Role.NIC, ()).values()]
    assert reasons == [
        "it is a patch port to int-ex",
        "it is a member of bond bond0",
        "external_ids:iface-id names a VM",
    ]
