"""When the standing entries are read back, and how often the same repair is sent."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from support.openflow import messages

from flowlane.southbound.openflow.session import packing, verification
from flowlane.southbound.openflow.session.verification import AT_ONCE, EVERY, MOST_IN_VAIN, Verifier
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
    change = Change(Op.ADD, MeterEntry(3, 1000, 100))
    device.verifier._put_back_if(("another",), (change,))
    assert device.changes == []
    device.verifier._put_back_if(device.verifier._desired()[:3], (change,))
    assert device.changes == [(change,)]


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
