"""VMs behind links: their addresses and VLANs as they come in, and the VLAN of a flow's key."""

from __future__ import annotations

from typing import Any

import pytest
from support.engine.scenario import small_policy

from flowlane.core import effects as fx
from flowlane.core import events as ev
from flowlane.core.device.links import origin
from flowlane.core.device.vlans import ANY, UNTAGGED
from flowlane.core.engine import Engine
from flowlane.core.flowkey import flow_id
from flowlane.core.model import NOT_A_VM, UNRESOLVED_VM, Capabilities, PortFacts, PortReport
from flowlane.core.state.device import Device, Port

INT, EX, TOR = 1, 2, 3
ABLE = Capabilities(max_meters=10, select_groups=True, learn=True, normal=True)
MAC, OTHER = 0x020000000001, 0x020000000002
TEXT = "02:00:00:00:00:01"
UPLINK_IDS = {"flowlane-port": "uplink"}


def vm(name: str, mac: str = TEXT, **settings: Any) -> PortFacts:
    return PortFacts(
        name, {"iface-id": name, **({"attached-mac": mac} if mac else {})}, port=name, **settings
    )


def patch(name: str, peer: str, **settings: Any) -> PortFacts:
    return PortFacts(name, interface_type="patch", options={"peer": peer}, port=name, **settings)


class Hosts:
    """An engine with several bridges; each is the facts of its ports by number."""

    def __init__(self, **bridges: dict[int, PortFacts]) -> None:
        self.engine = Engine(small_policy())
        self.dpids = {name: number for number, name in enumerate(bridges, 1)}
        for name, facts in bridges.items():
            self.describe(name, facts)
            reports = tuple(PortReport(number, port.name) for number, port in facts.items())
            self.do(ev.DeviceUp(self.dpids[name], ABLE, reports, {}))

    def describe(self, name: str, facts: dict[int, PortFacts]) -> None:
        self.do(ev.DeviceDescribed(self.dpids[name], name, "nic", {}, "system", facts))

    def do(self, event: ev.Event) -> list[fx.Effect]:
        return self.engine.step_and_catch_up(event, 10.0)

    def device(self, name: str) -> Device:
        return self.engine.devices[self.dpids[name]]

    def senders(self, name: str, number: int) -> dict[tuple[int, int | None], str]:
        senders = self.device(name).ports[number].senders
        return {place: self.engine.state.vms[vm_number].id for place, vm_number in senders.items()}

    def send(self, name: str, in_port: int, egress: int, tag: int | None = None, mac: int = MAC) -> None:
        head = bytes.fromhex("020000000099") + mac.to_bytes(6)
        tagged = b"" if tag is None else b"\x81\x00" + tag.to_bytes(2)
        ip = bytes.fromhex("0800450000200000000040110000") + bytes((10, 0, 0, 1, 10, 0, 0, 9))
        frame = head + tagged + ip + bytes.fromhex("03e907d9000c0000") + bytes(20)
        self.do(ev.FlowSeen(self.dpids[name], in_port, frame, egress))


def pair(
    inside: dict[int, PortFacts], int_end: dict[str, Any] | None = None, ex_end: dict[str, Any] | None = None
) -> Hosts:
    """br-int with some VMs and its patch port 9, br-ex with its patch port 8 and an uplink."""
    return Hosts(
        br_int={**inside, 9: patch("int-ex", "ex-int", **(int_end or {}))},
        br_ex={8: patch("ex-int", "int-ex", **(ex_end or {})), 10: PortFacts("eth0", UPLINK_IDS)},
    )


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        ({}, {ANY}),
        ({"tag": 100}, {100}),
        ({"trunks": (5, 6)}, {ANY}),
        ({"tag": 100, "vlan_mode": "native-untagged"}, {100, ANY}),
        ({"tag": 100, "vlan_mode": "native-tagged"}, {100, ANY}),
        ({"tag": 100, "vlan_mode": "dot1q-tunnel"}, {100}),
    ],
)
def test_the_vlan_behind_a_trunk_follows_from_the_vms_port(
    port: dict[str, Any], expected: set[int | None]
) -> None:
    hosts = pair({1: vm("a", **port)})
    assert hosts.senders("br_ex", 8) == {(MAC, vlan): "a" for vlan in expected}


@pytest.mark.parametrize(
    ("int_end", "expected"),
    [
        ({"tag": 100}, {UNTAGGED}),
        ({"tag": 200}, set()),
        ({"trunks": (100, 200)}, {100}),
        ({"trunks": (200,)}, set()),
        ({"tag": 100, "vlan_mode": "native-untagged"}, {UNTAGGED}),
        ({"tag": 100, "vlan_mode": "native-tagged"}, {100}),
    ],
)
def test_the_vlan_settings_of_the_patch_port_count(
    int_end: dict[str, Any], expected: set[int | None]
) -> None:
    hosts = pair({1: vm("a", tag=100)}, int_end)
    assert hosts.senders("br_ex", 8) == {(MAC, vlan): "a" for vlan in expected}


def test_equal_addresses_in_two_vlans_are_two_vms() -> None:
    hosts = pair({1: vm("a", tag=100), 2: vm("b", tag=200)})
    assert hosts.senders("br_ex", 8) == {(MAC, 100): "a", (MAC, 200): "b"}
    plan = hosts.device("br_ex").plan
    assert plan is not None
    (link,) = [port for port in plan.ports if port.port_no == 8]
    assert [(mac, vlan) for mac, vlan, _ in link.senders] == [(MAC, 100), (MAC, 200)]
    assert link.vm_number == NOT_A_VM, "OVSDB knows all VMs behind it"
    assert (MAC, 8) in plan.hosts


def test_a_flow_has_one_id_on_both_bridges_and_its_own_tag_on_each() -> None:
    hosts = pair({1: vm("a", tag=100), 2: vm("b", tag=200)})
    hosts.send("br_int", 1, 9)
    hosts.send("br_ex", 8, 10, tag=100)
    hosts.send("br_ex", 8, 10, tag=200)
    inside, outside = hosts.device("br_int").flows, hosts.device("br_ex").flows
    (key,) = inside.rows
    assert key in outside.rows
    assert [outside.tag[row] for row in outside] == [101, 201]
    assert outside.parts(outside.rows[key]).vlan == 100
    assert len({flow_id(key) for key in outside.rows}) == 2
    assert {hosts.engine.state.vms[outside.vm_number[row]].id for row in outside} == {"a", "b"}


def test_a_tag_of_the_vm_itself_is_in_the_key() -> None:
    hosts = pair({1: vm("a")})
    hosts.send("br_int", 1, 9, tag=7)
    hosts.send("br_ex", 8, 10, tag=7)
    assert list(hosts.device("br_int").flows.rows) == list(hosts.device("br_ex").flows.rows)


def test_addresses_that_packets_show_are_looked_for_behind_the_patch_port() -> None:
    hosts = pair({1: vm("a", "", tag=100)})
    assert hosts.senders("br_ex", 8) == {}
    hosts.send("br_int", 1, 9)
    assert hosts.senders("br_ex", 8) == {(MAC, 100): "a"}


def test_what_a_vm_may_send_comes_before_what_another_one_has_sent() -> None:
    hosts = pair({1: vm("a", "", tag=100), 2: vm("b", tag=100)})
    hosts.device("br_int").hosts[MAC, 100] = 1
    hosts.send("br_int", 1, 9, mac=OTHER)
    assert hosts.senders("br_ex", 8) == {(MAC, 100): "b", (OTHER, 100): "a"}


def test_a_vm_that_leaves_is_behind_no_link() -> None:
    hosts = pair({1: vm("a", tag=100)})
    hosts.send("br_ex", 8, 10, tag=100)
    assert len(hosts.device("br_ex").flows) == 1
    hosts.do(ev.PortRemoved(hosts.dpids["br_int"], 1))
    assert hosts.senders("br_ex", 8) == {}
    assert len(hosts.device("br_ex").flows) == 0


def test_a_vm_two_bridges_away_is_behind_the_link_too() -> None:
    hosts = Hosts(
        first={1: vm("a", tag=100), 2: patch("one", "two")},
        middle={
            3: patch("two", "one"),
            4: patch("three", "four", tag=100),
            7: vm("b", "02:00:00:00:00:02", tag=5),
        },
        last={5: patch("four", "three"), 6: PortFacts("eth0", UPLINK_IDS)},
    )
    assert hosts.senders("middle", 3) == {(MAC, 100): "a"}
    assert hosts.senders("last", 5) == {(MAC, UNTAGGED): "a"}
    assert hosts.senders("first", 2) == {(OTHER, 5): "b"}


def test_patch_ports_in_a_circle_end() -> None:
    hosts = Hosts(
        first={1: vm("a"), 2: patch("ab", "ba"), 3: patch("ac", "ca")},
        second={2: patch("ba", "ab"), 3: patch("bc", "cb")},
        third={2: patch("ca", "ac"), 3: patch("cb", "bc")},
    )
    assert hosts.senders("second", 2) == {(MAC, ANY): "a"}
    assert hosts.senders("second", 3) == {(MAC, ANY): "a"}


def test_behind_another_link_are_vms_whose_address_was_learned_there() -> None:
    hosts = Hosts(
        host={1: vm("a", tag=100), 2: PortFacts("eth0", UPLINK_IDS)},
        tor={3: PortFacts("down", {"flowlane-port": "link"}), 4: PortFacts("up", UPLINK_IDS)},
    )
    plan = hosts.device("tor").plan
    assert plan is not None
    assert [port.vm_number for port in plan.ports if port.port_no == 3] == [UNRESOLVED_VM]
    assert hosts.senders("tor", 3) == {}
    hosts.send("tor", 3, 4, tag=100)
    assert hosts.senders("tor", 3) == {(MAC, 100): "a", (MAC, ANY): "a"}
    (row,) = hosts.device("tor").flows
    assert hosts.device("tor").flows.parts(row).vlan == 100
    hosts.send("host", 1, 2)
    assert list(hosts.device("host").flows.rows) == list(hosts.device("tor").flows.rows)


def test_behind_a_patch_port_to_a_bridge_that_is_not_ours_anybody_may_be() -> None:
    hosts = Hosts(br_ex={8: patch("ex-int", "int-ex"), 10: PortFacts("eth0", UPLINK_IDS)})
    plan = hosts.device("br_ex").plan
    assert plan is not None
    assert plan.ports[0].vm_number == UNRESOLVED_VM


def test_an_unknown_address_behind_a_link_is_nobodys() -> None:
    hosts = pair({1: vm("a", tag=100)})
    port: Port = hosts.device("br_ex").ports[8]
    assert origin(hosts.engine.state, hosts.device("br_ex"), port, OTHER, 100) is None
    assert origin(hosts.engine.state, hosts.device("br_ex"), port, MAC, 300) is None


def test_pins_of_a_link_wait_for_their_vm_and_go_when_it_does_not_come() -> None:
    hosts = pair({1: vm("a", tag=100)})
    hosts.send("br_ex", 8, 10, tag=100)
    flows = hosts.device("br_ex").flows
    (row,) = flows
    pin = ev.FoundPin(flows.ref(row), flows.device_key(row), 8, 10, -1, 0, 3, 300, True)
    ports = (PortReport(8, "ex-int"), PortReport(10, "eth0"))
    ex = {8: patch("ex-int", "int-ex"), 10: PortFacts("eth0", UPLINK_IDS)}
    inside = {1: vm("a", tag=100), 9: patch("int-ex", "ex-int")}
    for comes in (True, False):
        again = Engine(small_policy())
        again.step_and_catch_up(ev.DeviceDescribed(2, "br_ex", "nic", {}, "system", ex), 10.0)
        out = again.step_and_catch_up(ev.DeviceUp(2, ABLE, ports, {}, (pin,)), 10.0)
        assert not [effect for effect in out if isinstance(effect, fx.UnpinFlow)]
        if comes:
            again.step_and_catch_up(ev.DeviceDescribed(1, "br_int", "nic", {}, "system", inside), 11.0)
            found = again.devices[2].flows
            assert [(found.keys[row], found.tag[row]) for row in found] == [(flows.keys[row], 101)]
        out = again.step_and_catch_up(ev.Tick(), 20.0)
        gone = [effect for effect in out if isinstance(effect, fx.UnpinFlow)]
        assert [(effect.key, effect.by_vm) for effect in gone] == ([] if comes else [(pin.key, True)])


def test_vms_of_a_bridge_that_is_not_attached_are_known_by_ovsdb() -> None:
    inside = {1: vm("a", tag=100), 2: PortFacts("tap", port="tap"), 9: patch("int-ex", "ex-int")}
    outside = {8: patch("ex-int", "int-ex"), 10: PortFacts("eth0", UPLINK_IDS)}
    hosts = Hosts(br_ex=outside)
    hosts.dpids["br_int"] = 2
    hosts.describe("br_int", inside)
    assert hosts.senders("br_ex", 8) == {(MAC, 100): "a"}
    assert [vm.id for vm in hosts.engine.state.vms.values()] == ["a"], "a port without an identity is no VM"
    hosts.send("br_ex", 8, 10, tag=100)
    flows = hosts.device("br_ex").flows
    (row,) = flows
    assert hosts.engine.state.vms[flows.vm_number[row]].id == "a"
    # It connects: the VM and its flow stay.
    reports = tuple(PortReport(number, port.name) for number, port in inside.items())
    hosts.do(ev.DeviceUp(2, ABLE, reports, {}))
    assert hosts.senders("br_ex", 8) == {(MAC, 100): "a"}
    assert list(flows) == [row]
    assert hosts.device("br_int").port_vm[1] == flows.vm_number[row]
    assert not hosts.engine.state.unattached


def test_vms_of_an_unattached_bridge_come_change_and_go() -> None:
    hosts = Hosts(br_ex={8: patch("ex-int", "int-ex"), 10: PortFacts("eth0", UPLINK_IDS)})
    hosts.dpids["br_int"] = 2
    link = patch("int-ex", "ex-int")
    hosts.describe("br_int", {9: link})
    assert hosts.senders("br_ex", 8) == {}
    hosts.describe("br_int", {1: vm("a", tag=100), 9: link})
    hosts.send("br_ex", 8, 10, tag=100)
    assert len(hosts.device("br_ex").flows) == 1
    hosts.describe("br_int", {1: vm("a", tag=200), 9: link})
    assert hosts.senders("br_ex", 8) == {(MAC, 200): "a"}
    hosts.describe("br_int", {9: link})
    assert (hosts.senders("br_ex", 8), len(hosts.device("br_ex").flows), len(hosts.engine.state.vms)) == (
        {},
        0,
        0,
    )
    hosts.describe("br_int", {1: vm("a", tag=100), 9: link})
    hosts.do(ev.DescriptionRemoved(2))
    assert (hosts.senders("br_ex", 8), hosts.engine.state.vms, hosts.engine.state.unattached) == ({}, {}, {})


def test_a_vm_that_left_while_its_bridge_connected_is_gone() -> None:
    hosts = Hosts(br_ex={8: patch("ex-int", "int-ex"), 10: PortFacts("eth0", UPLINK_IDS)})
    hosts.dpids["br_int"] = 2
    hosts.describe("br_int", {1: vm("a"), 9: patch("int-ex", "ex-int")})
    hosts.do(ev.DeviceUp(2, ABLE, (PortReport(9, "int-ex"),), {}))
    assert (hosts.senders("br_ex", 8), hosts.engine.state.vms) == ({}, {})


def test_patch_ports_of_one_name_on_two_machines_are_not_mistaken_for_each_other() -> None:
    hosts = pair({1: vm("a", tag=100)})
    bridges = {
        11: {1: vm("b", "02:00:00:00:00:02"), 9: patch("int-ex", "ex-int")},
        12: {8: patch("ex-int", "int-ex"), 10: PortFacts("eth0", UPLINK_IDS)},
    }
    for dpid, facts in bridges.items():
        described = ev.DeviceDescribed(dpid, f"br-{dpid}", "nic", {}, "system", facts, host="other machine")
        hosts.do(described)
        reports = tuple(PortReport(number, port.name) for number, port in facts.items())
        hosts.do(ev.DeviceUp(dpid, ABLE, reports, {}))
    assert set(hosts.senders("br_ex", 8).values()) == {"a"}
    hosts.dpids["other"] = 12
    assert set(hosts.senders("other", 8).values()) == {"b"}
