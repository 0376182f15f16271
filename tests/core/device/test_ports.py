"""Ports as the core has them: bonds as one port, and links that go down."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.engine.required import required
from support.engine.scenario import LEARNING, UPLINK, Scenario, small_policy

from flowlane.core import effects as fx
from flowlane.core import events as ev
from flowlane.core.device.vlans import UNTAGGED
from flowlane.core.engine import Engine
from flowlane.core.model import Capabilities, PortFacts, PortReport, PortRole, QueueFacts, QueueKind
from flowlane.core.state.device import Device

DPID = 7
VM, FIRST, SECOND, OTHER = 1, 11, 12, 20
NORMAL = Capabilities(max_meters=10, select_groups=True, learn=True, normal=True)
GIGABIT = 10**9
QUEUES = {number: QueueFacts(QueueKind.PHYSICAL, 100, GIGABIT) for number in range(3)}
HOST = 0x020000000099


class Bridge:
    """An engine with one bridge: a VM, and a bond of two interfaces."""

    def __init__(self, mode: str, caps: Capabilities = NORMAL, **others: Any) -> None:
        self.engine, self.now = Engine(small_policy()), 10.0
        bond = PortFacts(
            "e1", port="bond0", members=(FIRST, SECOND), bond_mode=mode, link_speed=GIGABIT, queues=QUEUES
        )
        self.facts = {
            VM: PortFacts("tap1", {"iface-id": "vm1"}),
            FIRST: bond,
            SECOND: replace(bond, name="e2"),
            **{int(number): facts for number, facts in others.get("ports", {}).items()},
        }
        self.describe()
        reports = tuple(PortReport(number, facts.name) for number, facts in self.facts.items())
        queues = others.get("queues", {FIRST: (0, 1, 2), SECOND: (0, 1, 2)})
        self.do(ev.DeviceUp(DPID, caps, reports, queues))

    def describe(self) -> None:
        self.do(ev.DeviceDescribed(DPID, "br0", None, {}, "system", dict(self.facts)))

    def do(self, event: ev.Event) -> list[fx.Effect]:
        return self.engine.step_and_catch_up(event, self.now)

    def link(self, number: int, up: bool) -> list[fx.Effect]:
        report = PortReport(number, self.facts[number].name, up=up)
        return self.do(ev.PortChanged(DPID, report))

    @property
    def device(self) -> Device:
        return self.engine.devices[DPID]

    @property
    def plan(self) -> fx.DevicePlan:
        assert self.device.plan is not None
        return self.device.plan

    def hears(self, in_port: int, mac: int = HOST) -> None:
        """Let a frame from an address come in by a port."""
        frame = b"\xff" * 6 + mac.to_bytes(6) + bytes.fromhex("0806") + bytes(46)
        self.do(ev.FlowSeen(DPID, in_port, frame))


def test_a_bond_is_one_uplink_with_the_queues_of_its_members() -> None:
    bridge = Bridge("balance-slb")
    ports = bridge.device.ports
    assert {number: port.role for number, port in ports.items()} == {
        VM: PortRole.VM,
        FIRST: PortRole.UPLINK,
        SECOND: PortRole.UPLINK,
    }
    assert (sorted(ports[FIRST].queues), ports[SECOND].queues) == ([0, 1, 2], {})
    assert (ports[FIRST].label, ports[SECOND].label) == ("bond0", "bond0")
    assert bridge.plan.unknown_port == FIRST
    assert {rule.egress_port for rule in bridge.plan.rules} == {0, VM, FIRST}
    assert [(port.port_no, port.queues) for port in bridge.plan.ports] == [
        (VM, ()),
        (FIRST, (0, 1, 2)),
        (SECOND, ()),
    ]


def test_only_queues_that_every_member_reports_are_the_bonds() -> None:
    bridge = Bridge("balance-slb", queues={FIRST: (0, 1, 2), SECOND: (0, 2)})
    assert sorted(bridge.device.ports[FIRST].queues) == [0, 2]


@pytest.mark.parametrize(
    ("mode", "all_up", "one_up"),
    [("balance-slb", 2, 1), ("balance-tcp", 2, 1), ("active-backup", 1, 1), ("", 1, 1)],
)
def test_the_rate_of_a_bond_is_that_of_its_members_that_carry_packets(
    mode: str, all_up: int, one_up: int
) -> None:
    bridge = Bridge(mode)
    port = bridge.device.ports[FIRST]

    def rates() -> tuple[int | None, int | None, int | None]:
        allocation = required(port.allocation)
        assert allocation.speed == port.rate, "the allocator counts on it"
        assert allocation.hardware[0].capacity == port.rate
        return port.rate, port.queues[1].min_rate, port.queues[1].max_rate

    assert rates() == (all_up * GIGABIT, all_up * 100, all_up * GIGABIT)
    bridge.link(SECOND, up=False)
    assert rates() == (one_up * GIGABIT, one_up * 100, one_up * GIGABIT)
    bridge.link(FIRST, up=False)
    assert not port.up
    bridge.link(FIRST, up=True)
    bridge.link(SECOND, up=True)
    assert rates() == (all_up * GIGABIT, all_up * 100, all_up * GIGABIT)


def test_an_address_learned_by_any_member_is_behind_the_bond() -> None:
    bridge = Bridge("active-backup")
    bridge.hears(SECOND)
    assert (HOST, FIRST) in bridge.plan.hosts
    bridge.hears(FIRST)
    assert bridge.device.hosts == {(HOST, UNTAGGED): FIRST}
    assert bridge.device.ports[FIRST].host_count == 1
    bridge.link(FIRST, up=False)
    assert (HOST, FIRST) in bridge.plan.hosts, "the other member carries it"
    bridge.link(SECOND, up=False)
    assert bridge.plan.hosts == ()


def test_ports_become_a_bond_and_part_again() -> None:
    bridge = Bridge("balance-slb")
    bonded = dict(bridge.facts)
    apart = {
        number: replace(bonded[number], members=(), port=bonded[number].name) for number in (FIRST, SECOND)
    }
    bridge.facts |= {
        number: replace(facts, external_ids={"flowlane-port": "uplink"}) for number, facts in apart.items()
    }
    bridge.describe()
    bridge.hears(SECOND)
    assert bridge.device.hosts == {(HOST, UNTAGGED): SECOND}
    assert [sorted(bridge.device.ports[number].queues) for number in (FIRST, SECOND)] == [[0, 1, 2]] * 2
    bridge.facts = bonded
    bridge.describe()
    assert bridge.device.hosts == {(HOST, UNTAGGED): FIRST}
    assert [bridge.device.ports[number].host_count for number in (FIRST, SECOND)] == [1, 0]
    assert bridge.device.ports[SECOND].allocation is None


def test_counters_of_the_members_are_added_up() -> None:
    bridge = Bridge("balance-slb")
    counters = {(FIRST, 1): (3, 300, 0), (SECOND, 1): (4, 400, 1), (VM, 0): (1, 10, 0)}
    bridge.do(ev.QueueCounters(DPID, counters))
    assert bridge.device.queue_counters == {(FIRST, 1): (7, 700, 1), (VM, 0): (1, 10, 0)}


def test_of_two_uplinks_the_one_that_is_up_is_predicted() -> None:
    uplink = PortFacts("e3", {"flowlane-port": "uplink"}, port="e3")
    bridge = Bridge("balance-slb", ports={OTHER: uplink})
    assert bridge.plan.unknown_port is None, "either may carry it"
    bridge.link(OTHER, up=False)
    assert bridge.plan.unknown_port == FIRST
    bridge.link(OTHER, up=True)
    bridge.link(FIRST, up=False)
    assert bridge.plan.unknown_port is None, "the bond has another member"
    bridge.link(SECOND, up=False)
    assert bridge.plan.unknown_port == OTHER


def test_addresses_behind_a_port_that_goes_down_are_not_predicted_there() -> None:
    bridge = Bridge("balance-slb", ports={OTHER: PortFacts("e3", {"flowlane-port": "uplink"}, port="e3")})
    bridge.hears(OTHER)
    assert (HOST, OTHER) in bridge.plan.hosts
    bridge.link(OTHER, up=False)
    assert bridge.plan.hosts == ()
    bridge.hears(SECOND)
    assert (HOST, FIRST) in bridge.plan.hosts
    bridge.link(OTHER, up=True)
    assert (HOST, FIRST) in bridge.plan.hosts


def test_a_port_that_goes_up_and_down_learns_as_many_addresses_as_before() -> None:
    bridge = Bridge("balance-slb", ports={OTHER: PortFacts("e3", {"flowlane-port": "uplink"}, port="e3")})
    for _ in range(3):
        bridge.hears(OTHER)
        assert bridge.device.ports[OTHER].host_count == 1
        bridge.link(OTHER, up=False)
        assert bridge.device.ports[OTHER].host_count == 0
        bridge.link(OTHER, up=True)


def test_the_only_uplink_is_predicted_whatever_its_link() -> None:
    bridge = Bridge("balance-slb")
    for member in (FIRST, SECOND):
        bridge.link(member, up=False)
    assert bridge.plan.unknown_port == FIRST


def test_with_forwarding_of_its_own_frames_leave_by_a_member_that_is_up() -> None:
    bridge = Bridge("active-backup", replace(NORMAL, normal=False))
    bridge.hears(SECOND)
    assert (HOST, FIRST) in bridge.plan.hosts
    bridge.link(FIRST, up=False)
    assert (HOST, SECOND) in bridge.plan.hosts
    assert bridge.plan.unknown_port == SECOND
    assert sorted(bridge.device.ports[SECOND].queues) == [0, 1, 2]


def test_a_bridge_without_an_uplink_reaches_the_network_by_its_link() -> None:
    engine = Engine(small_policy())
    facts = {1: PortFacts("tap", {"iface-id": "vm"}), 2: PortFacts("int-ex", interface_type="patch")}
    engine.step_and_catch_up(ev.DeviceDescribed(DPID, "br-int", None, {}, "system", facts), 1.0)
    reports = (PortReport(1, "tap"), PortReport(2, "int-ex"))
    engine.step_and_catch_up(ev.DeviceUp(DPID, NORMAL, reports, {}), 1.0)
    plan = engine.devices[DPID].plan
    assert plan is not None
    assert plan.unknown_port == 2


def test_an_ignored_port_has_no_queues_and_nothing_is_learned_from_it() -> None:
    ignored = PortFacts("tap9", {"flowlane-port": "ignore"}, queues=QUEUES)
    bridge = Bridge("balance-slb", ports={OTHER: ignored}, queues={FIRST: (0,), SECOND: (0,), OTHER: (0, 1)})
    bridge.hears(OTHER)
    assert (bridge.device.hosts, bridge.device.ports[OTHER].queues) == ({}, {})
    assert bridge.engine.state.vm_on(DPID, OTHER) is None


def test_the_address_of_a_vm_whose_link_was_down_is_known_again_when_its_flows_go_on() -> None:
    """Their packets have entries, and are not copied."""
    scenario = Scenario(small_policy(), caps=LEARNING)
    row = scenario.flow(1, 1000, queue_id=1)
    dpid, flows, place = scenario.device.dpid, scenario.device.flows, (0x020000000001, 1)
    assert place in scenario.plan.hosts

    def counted(packets: int) -> None:
        scenario.now += 1
        of_flow = ev.LearnedFlow(
            flows.keys[row] or b"", 1, UPLINK, place[0], 1, packets, packets * 60, 0, 0, 0
        )
        scenario.do(ev.LearnedCounters(dpid, (of_flow,)))

    counted(10)
    for is_up in (False, True, False, True):
        scenario.do(ev.PortChanged(dpid, PortReport(1, "pf0vf1", up=is_up)))
        assert place not in scenario.plan.hosts
    counted(20)
    assert place not in scenario.plan.hosts, "it may have sent before"
    counted(20)
    assert place not in scenario.plan.hosts
    counted(30)
    assert place in scenario.plan.hosts
    assert scenario.device.ports[1].host_count == 1
    assert not scenario.device.set_aside
    scenario.do(ev.PortChanged(dpid, PortReport(1, "pf0vf1", up=False)))
    scenario.do(ev.PortRemoved(dpid, 1))
    assert not scenario.device.set_aside
