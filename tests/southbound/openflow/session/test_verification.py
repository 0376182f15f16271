"""When the standing entries are read back, and how often the same repair is sent."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from support.engine.plans import ABLE, PORTS, plan
from support.openflow import messages
from support.openflow.memory_switch import MemorySwitch

from flowlane.core.model import MeterSpec
from flowlane.southbound.openflow.session import packing, readback, verification
from flowlane.southbound.openflow.session.programming import Programming
from flowlane.southbound.openflow.session.verification import AT_ONCE, EVERY, MOST_IN_VAIN, Verifier
from flowlane.southbound.openflow.tables.desired import meter_mark
from flowlane.southbound.openflow.tables.entries import Change, MeterEntry, Op
from flowlane.southbound.openflow.tables.layout import DEFAULT


class Device:
    """A session, its clock, and what a verifier sends by it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, version: int = 6) -> None:
        monkeypatch.setattr(packing, "request", lambda _datapath, kind, *values: (kind, values))
        self.now, self.idle = 100.0, True
        self.undeleted: Callable[[tuple[int, ...]], tuple[Change, ...]] = lambda _asked: ()
        self.sent: list[tuple[str, Any]] = []
        self.events: list[Any] = []
        self.changes: list[tuple[Change, ...]] = []
        present = SimpleNamespace(flows=(), groups=(), meters=())
        session: Any = SimpleNamespace(
            datapath=SimpleNamespace(id=7, ofproto=SimpleNamespace(OFP_VERSION=version)),
            programming=SimpleNamespace(
                present=present,
                pin_meters={},
                deleted_meters={},
                is_safe=lambda _change: True,
                undeleted=lambda asked, _found: self.undeleted(asked),
            ),
            layout=DEFAULT,
            traffic=SimpleNamespace(repairs=Counter()),
            is_idle=lambda: self.idle,
        )
        self.session = session
        self.verifier = Verifier(
            session,
            lambda name, _message, then: self.sent.append((name, then)),
            lambda: self.now,
            self.events.append,
            self.changes.append,
            lambda then: then(),
        )

    def answer(self, *entries: Any) -> list[str]:
        """Reply to all requests, with entries to the first one for these; return their names."""
        sent, self.sent = self.sent, []
        for name, then in sent:
            parts = tuple(entries) if name == "verification: entries 0" else ()
            then(SimpleNamespace(error=None, parts=parts))
        return [name for name, _ in sent]


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    return Device(monkeypatch)


def test_groups_and_meters_are_read_more_often_than_entries_that_are_monitored(device: Device) -> None:
    device.verifier.begin()
    assert len(device.answer()) == len(DEFAULT.numbers) - 2, (
        "tables with pins and learned entries are not monitored"
    )
    device.verifier.tick(device.now)
    assert len(device.answer()) == 2
    device.now += EVERY
    device.verifier.tick(device.now)
    assert len(device.answer()) == 4, "the first reading of all"
    device.now += EVERY
    device.verifier.tick(device.now)
    assert len(device.answer()) == 2


def test_a_connection_is_asked_for_its_monitors_once_whoever_leads_meanwhile(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Open vSwitch 3.1 answers a second request for the same monitor with bytes that are no message."""
    device.verifier.begin()
    asked = [name for name, _ in device.sent]
    refused, *rest = device.sent
    refused[1](SimpleNamespace(error="too many", parts=()))
    for _, then in rest:
        then(SimpleNamespace(error=None, parts=()))
    again = Device(monkeypatch)
    again.session.datapath = again.verifier._datapath = device.session.datapath
    again.verifier.begin()
    assert [name for name, _ in again.sent] == asked[:1], "what was refused is asked for again"
    assert len(again.verifier._monitored) == len(asked) - 1


def test_a_switch_without_a_monitor_is_asked_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch, version=4)
    device.verifier.begin()
    assert device.answer() == []


def test_nothing_is_compared_while_something_is_sent(device: Device) -> None:
    device.idle = False
    device.verifier.trigger()
    assert device.sent == []
    device.idle = True
    device.verifier.trigger()
    device.idle = False
    assert len(device.answer()) == 4
    device.idle, device.now = True, device.now + 1
    device.verifier.tick(device.now)
    assert len(device.answer()) == 4, "it is read again"


def test_a_meter_that_was_deleted_before_the_reading_and_is_still_there_is_deleted_again(
    device: Device,
) -> None:
    deletion = Change(Op.DELETE, MeterEntry(3, 1000, 100))
    device.undeleted = lambda asked: (deletion,) * (3 in asked)
    device.verifier.begin()
    device.answer()
    for _ in range(2):
        device.verifier.tick(device.now)
        device.session.programming.deleted_meters[3] = deletion.entry
        device.answer()
        assert device.changes == [], "it was deleted after the meters were requested"
        device.session.programming.deleted_meters.clear()
        device.now += EVERY
    device.session.programming.deleted_meters[3] = deletion.entry
    device.verifier.tick(device.now)
    assert len(device.answer()) == 2, "groups and meters, as they were"
    device.now += EVERY
    device.verifier.tick(device.now)
    device.answer()
    assert device.changes == [(deletion,)]


def test_the_same_repair_is_not_sent_for_ever(device: Device) -> None:
    change = Change(Op.ADD, MeterEntry(3, 1000, 100))
    for _ in range(MOST_IN_VAIN + 3):
        device.verifier._put_back((change,))
    assert len(device.changes) == MOST_IN_VAIN
    assert device.session.traffic.repairs == {"meter": MOST_IN_VAIN}


def test_repairs_that_others_undo_are_put_off(device: Device) -> None:
    for number in range(AT_ONCE + 3):
        device.verifier._put_back((Change(Op.ADD, MeterEntry(number + 1, 1000, 100)),))
    device.verifier.trigger()
    assert device.sent == []
    device.now += 60
    device.verifier.tick(device.now)
    assert len(device.sent) == 4


def test_what_should_be_there_has_changed_meanwhile(device: Device) -> None:
    change = Change(Op.ADD, meter_mark(3))
    device.verifier._put_back_if(("another",), (change,))
    assert device.changes == []
    device.verifier._put_back_if(device.verifier._desired()[:3], (change,))
    assert device.changes == [(change,)]


def test_meters_of_pins_that_have_changed_since_the_reading_are_not_put_back(device: Device) -> None:
    programming = device.session.programming = Programming(ABLE)
    for number in range(1, 5):
        programming.set_meter(MeterSpec(number, 1_000_000, 100_000))
    programming.delete_meter(4)
    found = {number: MeterEntry(number, 1000, 100) for number in range(1, 5)}
    deletions = programming.undeleted(dict(programming.deleted_meters), found)
    programming.set_meter(MeterSpec(1, 2_000_000, 100_000))
    programming.delete_meter(2)
    programming.set_meter(MeterSpec(4, 1_000_000, 100_000))
    changes = (*(Change(Op.MODIFY, found[number]) for number in (1, 2, 3)), *deletions)
    device.verifier._put_back_if(device.verifier._desired()[:3], changes)
    assert device.changes == [(Change(Op.MODIFY, found[3]),)]


class Readings:
    """What a switch in memory has is what is read, in place of the bytes of replies."""

    def __init__(self, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
        self.programming = device.session.programming = Programming(ABLE)
        self.switch, self._verifier = MemorySwitch(PORTS), device.verifier
        monkeypatch.setattr(readback, "flow_entries", lambda _parts, _layout: self.switch.standing().flows)
        monkeypatch.setattr(readback, "groups", lambda _parts, _layout: self.switch.standing().groups)
        monkeypatch.setattr(readback, "meters", lambda _parts: self.switch.standing().meters)
        monkeypatch.setattr(readback, "ids", lambda _parts, _name: ())

    def request(self) -> None:
        """Note what should be there, as with a request."""
        self._verifier._basis = self._verifier._desired()

    def changes(self) -> list[Change]:
        """Return what would be put back."""
        reply: Any = SimpleNamespace(error=None, parts=())
        changes = self._verifier._changes((reply,), reply, reply)
        return [change for change in changes if change.entry is not None]


@pytest.fixture
def readings(device: Device, monkeypatch: pytest.MonkeyPatch) -> Readings:
    return Readings(device, monkeypatch)


def test_the_mark_of_a_meter_that_no_rule_names_yet_is_compared_like_other_entries(
    readings: Readings,
) -> None:
    """A new policy gets its meters first, and its rules once all flows have their places."""
    programming, switch = readings.programming, readings.switch
    with_meter = replace(plan(), meters=(MeterSpec(7, 1_000_000, 100_000),))
    assert switch.apply(programming.program(with_meter, PORTS)) == []
    assert meter_mark(7) in programming.present.flows
    switch.apply(programming.set_meter(MeterSpec(3, 1_000_000, 100_000)))
    programming.mark_meters()
    switch.apply(programming.mark_meters())
    assert meter_mark(3) in switch.standing().flows
    readings.request()
    assert readings.changes() == []
    switch.apply((Change(Op.DELETE, meter_mark(7)),))
    assert readings.changes() == [Change(Op.ADD, meter_mark(7))]


def test_a_meter_of_pins_that_was_modified_after_it_was_read_is_right(readings: Readings) -> None:
    programming, switch = readings.programming, readings.switch
    switch.apply(programming.program(plan(), PORTS))
    switch.apply(programming.set_meter(MeterSpec(3, 1_000_000, 100_000)))
    readings.request()
    programming.set_meter(MeterSpec(3, 2_000_000, 100_000))
    assert readings.changes() == []
    readings.request()
    assert readings.changes() == [Change(Op.MODIFY, MeterEntry(3, 2000, 100))]


def test_a_meter_that_is_there_in_another_form_is_modified() -> None:
    add = Change(Op.ADD, MeterEntry(3, 1000, 100))
    assert verification._as_modify(add, (), {3}).op is Op.MODIFY
    assert verification._as_modify(add, {3}, ()) is add


def listing(order: tuple[int, ...], counted: int) -> Any:
    """Return a reply with entries that differ in their priority."""
    entries = (
        struct.pack("!HBxIIHHHH4xQQQHH4x", 56, 0, counted, 0, number, 0, 0, 0, 0xF10A << 48, counted, 0, 1, 4)
        for number in order
    )
    return SimpleNamespace(buf=messages.multipart(4, 1, b"".join(entries)))


def test_entries_that_were_right_are_not_read_again_until_their_bytes_differ(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    as_they_are: list[int] = []

    def changes(of_flows: Any, *_others: Any) -> tuple[Change, ...]:
        read.append(0 if of_flows is None else 1)
        return ()

    def raw_entries(parts: Any) -> Any:
        as_they_are.append(1)
        return before(parts)

    before = verification._raw_entries
    monkeypatch.setattr(verification, "_raw_entries", raw_entries)
    monkeypatch.setattr(device.verifier, "_changes", changes)

    def look(order: tuple[int, ...], counted: int) -> tuple[int, int]:
        device.now += EVERY
        device.verifier.trigger()
        device.answer(listing(order, counted))
        found = sum(read), len(as_they_are)
        read.clear()
        as_they_are.clear()
        return found

    assert look((1, 2, 3), 0) == (1, 2), "they are compared, and noted as right"
    assert look((1, 2, 3), 9) == (0, 0), "nothing but counters"
    assert look((3, 1, 2), 9) == (0, 2), "in another order, and noted so"
    assert look((3, 1, 2), 12) == (0, 0)
    assert look((3, 1), 12)[0] == 1, "one is missing"
    assert look((3, 1, 4), 12)[0] == 1, "one is another"
    device.session.programming.present = SimpleNamespace(flows=("another",), groups=(), meters=())
    assert look((3, 1, 4), 12)[0] == 1, "others should be there"
