"""Entries of single ports: what is patched is what is compiled from nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from bench.controller.added_vm import OVS
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engine.changing_hosts import IDENTITIES, LEARNING, STEPS, ChangingHosts, Step
from support.engine.two_hosts import A

from flowlane.core import events as ev
from flowlane.core.effects import DevicePlan, PlannedPort, Program, StandingMatch, StandingRule, VlanHost
from flowlane.core.engine import Engine
from flowlane.core.model import Capabilities, PortRole
from flowlane.southbound.openflow.session.programming import Programming
from flowlane.southbound.openflow.tables.entries import Change, Entry, FlowEntry, Op, Standing
from flowlane.southbound.openflow.tables.patching import Side, differing_ports

ABLE = {
    "Open vSwitch": OVS,
    "no forwarding of its own": replace(OVS, normal=False),
    "no registers": replace(OVS, learn=False, conntrack=False, sample=False),
}


class Switch:
    """A switch that is programmed with each plan, and takes the changes that are sent."""

    def __init__(self, caps: Capabilities) -> None:
        self.programming = Programming(caps, Standing())
        self.caps = caps
        self.entries: set[Entry] = set()

    def program(self, plan: DevicePlan, ports: dict[int, tuple[int, ...]]) -> tuple[Change, ...]:
        changes = self.programming.program(plan, ports)
        for change in changes:
            self._take(change)
        anew = Programming(self.caps, Standing())
        anew.program(plan, ports)
        present, other = self.programming.present, anew.present
        assert len(present.flows) == len(other.flows)
        assert set(present.flows) == set(other.flows)
        assert (set(present.groups), set(present.meters)) == (set(other.groups), set(other.meters))
        assert self.programming.left_out == anew.left_out
        assert self.entries == {*other.flows, *other.groups, *other.meters}
        return changes

    def _take(self, change: Change) -> None:
        if change.op is Op.BARRIER or change.entry is None:
            return
        place = _place(change.entry)
        self.entries = {entry for entry in self.entries if _place(entry) != place}
        if change.op is not Op.DELETE:
            self.entries.add(change.entry)


def _place(entry: Entry) -> object:
    if isinstance(entry, FlowEntry):
        return entry.table_id, entry.priority, entry.match
    return type(entry), getattr(entry, "group_id", getattr(entry, "meter_id", None))


class Programmed:
    """An engine with changing hosts, whose first one is programmed with its plans."""

    def __init__(self, caps: Capabilities) -> None:
        self.hosts = ChangingHosts()
        self.hosts.caps = caps
        self.engine, self.switch = Engine(LEARNING), Switch(caps)
        self.do([*self.hosts.first(), *self.hosts.events(("wait", A, 0, 60, 0))])

    def do(self, events: list[ev.Event]) -> list[Change]:
        out = [effect for event in events for effect in self.engine.step(event, self.hosts.now)]
        while self.engine.is_behind:
            out += self.engine.step(ev.CatchUp(), self.hosts.now)
        ports = {port_no: self.hosts.queues[A].get(port_no, ()) for port_no in self.hosts.reports[A]}
        plans = [effect.plan for effect in out if isinstance(effect, Program) and effect.plan.dpid == A]
        return [change for plan in plans for change in self.switch.program(plan, ports)]


@settings(max_examples=60)
@given(STEPS, st.sampled_from(sorted(ABLE)))
def test_patched_entries_are_those_compiled_from_nothing(steps: list[Step], able: str) -> None:
    programmed = Programmed(ABLE[able])
    for step in steps:
        programmed.do(programmed.hosts.events(step))


def test_a_vm_more_sends_its_own_entries_and_compiles_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    programmed = Programmed(OVS)
    monkeypatch.setattr(Programming, "_compiled", None)
    changes = programmed_without_check(programmed, ("plug", A, 12, 0, 0))
    assert {change.op for change in changes} == {Op.ADD, Op.BARRIER}
    assert len(changes) == 6
    changes = programmed_without_check(programmed, ("unplug", A, 12, 0, 0))
    assert {change.op for change in changes} == {Op.DELETE, Op.BARRIER}
    assert IDENTITIES[0]["attached-mac"] == "02:00:00:00:00:01"
    assert sum("02:00:00:00:00:01" in str(change) for change in changes) == 1


def programmed_without_check(programmed: Programmed, step: Step) -> tuple[Change, ...]:
    for event in programmed.hosts.events(step):
        programmed.engine.step(event, programmed.hosts.now)
    out = programmed.engine.step(ev.CatchUp(), programmed.hosts.now)
    (plan,) = (effect.plan for effect in out if isinstance(effect, Program) and effect.plan.dpid == A)
    ports = {port_no: programmed.hosts.queues[A].get(port_no, ()) for port_no in programmed.hosts.reports[A]}
    return programmed.switch.programming.program(plan, ports)


PORTS = {1: (), 2: (), 9: (0, 1)}
PLAN = DevicePlan(
    1,
    (
        PlannedPort(1, PortRole.VM, 11),
        PlannedPort(2, PortRole.VM, 12),
        PlannedPort(9, PortRole.UPLINK, 0, queues=(0, 1)),
    ),
    ((5, 1), (6, 2)),
    9,
    (),
    learned_idle=10,
)


def with_port(port: PlannedPort) -> DevicePlan:
    ports = {**{old.port_no: old for old in PLAN.ports}, port.port_no: port}
    return replace(PLAN, ports=tuple(ports.values()))


def with_rules(**fields: Any) -> DevicePlan:
    """Return the plan with another VM on port 2, and a rule for it."""
    rule = StandingRule(0, StandingMatch(), 2, "small", ())._replace(**fields)
    return replace(with_port(PlannedPort(2, PortRole.VM, 13)), rules=(rule,))


@pytest.mark.parametrize(
    ("plan", "numbers"),
    [
        (PLAN, frozenset()),
        (replace(PLAN, hosts=((5, 2),)), frozenset()),
        (with_port(PlannedPort(2, PortRole.VM, 13)), frozenset((2,))),
        (with_port(PlannedPort(2, PortRole.VM, 12, macs=(6,))), frozenset((2,))),
        (replace(PLAN, flood_ports=(1,)), frozenset()),
        (with_port(PlannedPort(2, PortRole.HOST, 0)), None),
        (with_port(PlannedPort(2, PortRole.VM, 12, queues=(0,))), None),
        (with_port(PlannedPort(9, PortRole.UPLINK, 0, queues=(0,))), None),
        (with_port(PlannedPort(3, PortRole.VM, 13)), None),
        (with_rules(), frozenset((2,))),
        (with_rules(meter_id=7), None),
        (with_rules(queues=((0, 1),)), None),
        (replace(PLAN, copy_rate=10), None),
        (replace(PLAN, over_quota=(11,)), None),
        (replace(with_port(PlannedPort(2, PortRole.VM, 13)), vlan_hosts=(VlanHost(5, 2, 1, 1),)), None),
    ],
)
def test_only_ports_of_vms_without_queues_differ_alone(
    plan: DevicePlan, numbers: frozenset[int] | None
) -> None:
    assert differing_ports(Side(PLAN, PORTS), Side(plan, PORTS), OVS) == numbers
    assert differing_ports(Side(plan, PORTS), Side(PLAN, PORTS), OVS) == numbers


def test_the_ports_to_flood_are_in_an_entry_where_the_device_does_not_forward_itself() -> None:
    other = replace(PLAN, flood_ports=(1,))
    assert differing_ports(Side(PLAN, PORTS), Side(other, PORTS), replace(OVS, normal=False)) is None


def test_a_port_beyond_its_quota_is_not_patched() -> None:
    over = replace(PLAN, over_quota=(12,))
    changed = replace(
        over, ports=tuple(port._replace(vm_number=port.vm_number and 12) for port in PLAN.ports)
    )
    assert differing_ports(Side(over, PORTS), Side(changed, PORTS), OVS) is None


def test_young_flows_of_a_port_are_counted_or_no_longer() -> None:
    programmed = Programmed(OVS)
    programmed.do(programmed.hosts.events(("policy", A, 0, 2, 0)))
    added = programmed.do(programmed.hosts.events(("plug", A, 12, 0, 0)))
    deleted = programmed.do(programmed.hosts.events(("unplug", A, 12, 0, 0)))
    counts = [
        [change.op for change in changes].count(op) for changes, op in ((added, Op.ADD), (deleted, Op.DELETE))
    ]
    assert counts[0] == counts[1] > 4
    tracked = replace(PLAN, learn_after=3, tracked_ports=(1, 2))
    no_longer = replace(tracked, tracked_ports=(1,))
    assert differing_ports(Side(tracked, PORTS), Side(no_longer, PORTS), OVS) == frozenset((2,))
    assert differing_ports(Side(no_longer, PORTS), Side(replace(PLAN, learn_after=3), PORTS), OVS) is None


def test_a_host_leaves_with_its_port_and_comes_back_with_it() -> None:
    switch = Switch(OVS)
    switch.program(PLAN, PORTS)
    without = replace(PLAN, ports=(PLAN.ports[0], PLAN.ports[2]))
    fewer = {number: queues for number, queues in PORTS.items() if number != 2}
    gone = switch.program(without, fewer)
    back = switch.program(PLAN, PORTS)
    assert sum(change.op is Op.DELETE for change in gone) == sum(change.op is Op.ADD for change in back) > 1
