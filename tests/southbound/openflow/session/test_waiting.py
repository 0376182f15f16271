"""Devices with entries of ours that wait until the database has been read that describes them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from support.engine.plans import ABLE, PORTS, UPLINK, VM, plan

from flowlane.core import events as ev
from flowlane.core.device.vms import vm_number
from flowlane.core.effects import PlannedPort
from flowlane.core.model import NO_QUEUE, NOT_A_VM, PortReport, PortRole
from flowlane.southbound.openflow.session.programming import Programming
from flowlane.southbound.openflow.session.waiting import Waiting, shows_identities
from flowlane.southbound.openflow.tables.desired import compile_plan
from flowlane.southbound.openflow.tables.entries import EMPTY, FlowEntry, Standing

DPID = 1


def present(number: int) -> Standing:
    """What stands in a device whose port VM belongs to a VM of this number."""
    ports = (PlannedPort(VM, PortRole.VM, number), PlannedPort(UPLINK, PortRole.UPLINK, NOT_A_VM))
    return compile_plan(plan(ports=ports), ABLE, PORTS).standing


def flows_of(vm_id: str) -> tuple[FlowEntry, ...]:
    return present(vm_number(vm_id, ())).flows


REPORTS = (PortReport(VM, "tap1"), PortReport(UPLINK, "eth0"))


@pytest.mark.parametrize(
    ("vm_id", "is_described"), [("vm-of-the-database", True), ("tap1", False), (f"{DPID:016x}/tap1", False)]
)
def test_whether_a_database_described_a_device_is_seen_in_its_entries(vm_id: str, is_described: bool) -> None:
    assert shows_identities(DPID, REPORTS, flows_of(vm_id)) is is_described


class World:
    """Devices that wait, the events of that, and what the database says: nothing yet."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.waiting = Waiting(self.events.append)
        self.must_wait = True
        self.asked: list[tuple[int, bool]] = []
        self.waiting.follow(self.ask)
        self.sent: list[Any] = []

    def ask(self, dpid: int, is_described: bool) -> bool:
        self.asked.append((dpid, is_described))
        return self.must_wait

    def session(self, standing: Standing) -> Any:
        programming = Programming(ABLE, standing)
        return SimpleNamespace(dpid=DPID, up=True, programming=programming, send_packet=self.sent.append)


UP = ev.DeviceUp(DPID, ABLE, REPORTS, {}, peer="192.0.2.1:5")


def test_a_device_with_entries_waits_until_it_may_go_on() -> None:
    world = World()
    session = world.session(Standing(flows_of("vm1")))
    assert world.waiting.holds(session, UP)
    assert (session.up, world.asked) == (False, [(DPID, True)])
    assert world.events == [ev.DeviceWaits(DPID, UP.peer)]
    assert world.waiting.is_held(session)
    assert not world.waiting.is_held(object())
    assert list(world.waiting.released()) == []
    world.must_wait = False
    assert list(world.waiting.released()) == [session]
    assert list(world.waiting.released()) == []


def test_a_device_without_entries_or_that_cannot_be_used_does_not_wait() -> None:
    world = World()
    assert not world.waiting.holds(world.session(EMPTY), UP)
    unusable = ev.DeviceUp(DPID, ABLE, REPORTS, {}, unusable="it has two tables")
    assert not world.waiting.holds(world.session(Standing(flows_of("vm1"))), unusable)
    assert world.events == []


def test_a_device_that_is_gone_does_not_come_back() -> None:
    world = World()
    assert world.waiting.holds(world.session(Standing(flows_of("vm1"))), UP)
    world.waiting.drop(DPID)
    world.must_wait = False
    assert list(world.waiting.released()) == []


def test_another_connection_takes_the_place_of_one_that_waits() -> None:
    world = World()
    assert world.waiting.holds(world.session(Standing(flows_of("vm1"))), UP)
    world.must_wait = False
    assert not world.waiting.holds(world.session(Standing(flows_of("vm1"))), UP)
    assert list(world.waiting.released()) == []


def test_packets_that_wait_in_the_controller_go_on() -> None:
    world = World()
    session = world.session(EMPTY)
    for waits, port_no in ((True, None), (True, UPLINK), (False, None)):
        world.waiting.send_back(session, ev.FlowSeen(DPID, VM, b"frame", port_no, waits=waits))
    world.waiting.send_back(session, None)
    assert [(sent.egress_port, sent.queue_id, sent.frame) for sent in world.sent] == [
        (0, NO_QUEUE, b"frame"),
        (UPLINK, NO_QUEUE, b"frame"),
    ]
