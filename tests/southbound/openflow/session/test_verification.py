"""When the standing entries are read back, and how often the same repair is sent."""

from __future__ import annotations

import gc
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest
from support.engine.plans import ABLE, PORTS, plan
from support.openflow import messages
from support.openflow.memory_switch import MemorySwitch

from flowlane import hub
from flowlane.core.model import MeterSpec
from flowlane.southbound.openflow.session import packing, readback, verification
from flowlane.southbound.openflow.session.programming import Programming
from flowlane.southbound.openflow.session.requests import Reply
from flowlane.southbound.openflow.session.verification import AT_ONCE, EVERY, MOST_IN_VAIN, Verifier
from flowlane.southbound.openflow.tables.desired import meter_mark
from flowlane.southbound.openflow.tables.entries import Change, FlowEntry, Goto, MeterEntry, Op, Standing
from flowlane.southbound.openflow.tables.layout import DEFAULT
from flowlane.southbound.openflow.wire import cookies


class Device:
    """A session, its clock, and what a verifier sends by it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, version: int = 6) -> None:
        monkeypatch.setattr(packing, "request", lambda _datapath, kind, *values: (kind, values))
        self.now, self.idle = 100.0, True
        self.undeleted: Callable[[tuple[int, ...]], tuple[Change, ...]] = lambda _asked: ()
        self.sent: list[tuple[str, Any]] = []
        self.known: dict[str, Callable[[bytes], bool] | None] = {}
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
            self.send,
            lambda: self.now,
            self.events.append,
            self.changes.append,
            lambda then: then(),
        )

    def send(
        self,
        name: str,
        _message: Any,
        then: Callable[[Reply], None],
        known: Callable[[bytes], bool] | None = None,
    ) -> None:
        self.sent.append((name, then))
        self.known[name] = known

    def answer(self, *entries: Any) -> list[str]:
        """Reply to all requests, with entries to the first one for these; return their names."""
        sent, self.sent = self.sent, []
        for name, then in sent:
            parts = tuple(entries) if name == "verification: entries 0" else ()
            then(Reply(parts))
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
    refused[1](Reply(error="too many"))
    for _, then in rest:
        then(Reply())
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
        device.verifier._put_back(repair(change))
    assert len(device.changes) == MOST_IN_VAIN
    assert device.session.traffic.repairs == {"meter": MOST_IN_VAIN}


def test_repairs_that_others_undo_are_put_off(device: Device) -> None:
    for number in range(AT_ONCE + 3):
        device.verifier._put_back(repair(Change(Op.ADD, MeterEntry(number + 1, 1000, 100))))
    device.verifier.trigger()
    assert device.sent == []
    device.now += 60
    device.verifier.tick(device.now)
    assert len(device.sent) == 4


def test_what_should_be_there_has_changed_meanwhile(device: Device) -> None:
    change = Change(Op.ADD, meter_mark(3))
    device.verifier._put_back_if(("another",), repair(change))
    assert device.changes == []
    device.verifier._put_back_if(device.verifier._desired()[:3], repair(change))
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
    device.verifier._put_back_if(device.verifier._desired()[:3], repair(*changes))
    assert device.changes == [(Change(Op.MODIFY, found[3]),)]


def repair(*changes: Change) -> verification._Repair:
    return verification._Repair(changes, frozenset(changes))


class Readings:
    """What a switch in memory has is what is read, in place of the bytes of replies."""

    def __init__(self, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
        self.programming = device.session.programming = Programming(ABLE)
        self.switch, self._verifier = MemorySwitch(PORTS), device.verifier
        monkeypatch.setattr(readback, "flow_entries_of", lambda *_: self.switch.standing().flows)
        monkeypatch.setattr(readback, "groups", lambda _parts, _layout: self.switch.standing().groups)
        monkeypatch.setattr(readback, "meters", lambda _parts: self.switch.standing().meters)
        monkeypatch.setattr(readback, "ids", lambda _parts, _name: ())

    def request(self) -> None:
        """Note what should be there, as with a request."""
        self._verifier._basis = self._verifier._desired()

    def changes(self) -> list[Change]:
        """Return what would be put back."""
        reply: Any = Reply()
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
    assert look((5, 3, 1), 12)[0] == 1, "again, and in another order"
    assert look((3, 1, 4), 12)[0] == 1
    device.session.programming.present = SimpleNamespace(flows=("another",), groups=(), meters=())
    assert look((3, 1, 4), 12)[0] == 1, "others should be there"


KINDS = {"groups": 7, "meters": 10, "entries 0": 1, "entries 1": 1}
"""Name of a request -> type of its reply."""


def whole_reply(name: str, xid: int, *, changed: bool = False, counted: int = 0) -> bytes:
    """Return a reply with something in it."""
    if name.startswith("entries"):
        (part,) = replies_of(range(2 if changed else 3))
        data = bytearray(part.buf)
        data[48:56] = counted.to_bytes(8)
    else:
        data = bytearray(messages.multipart(4, KINDS[name], bytes(8) + bytes((changed,)) * 8))
    data[4:8] = xid.to_bytes(4)
    return bytes(data)


def read_all(device: Device, number: int, changed: str = "") -> list[str]:
    """Make a reading that is due, and answer as the session does: by what is known; return what was parsed."""
    device.now += EVERY
    device.verifier.tick(device.now)
    sent, device.sent, parsed = device.sent, [], []
    for place, (name, then) in enumerate(sent):
        short = name.removeprefix("verification: ")
        data = whole_reply(short, 100 * number + place, changed=short == changed, counted=number)
        known = device.known[name]
        if known is not None and known(data):
            then(Reply(is_known=True))
        else:
            parsed.append(short)
            then(Reply((SimpleNamespace(version=4, buf=data),)))
    return parsed


@pytest.fixture
def compared(device: Device, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the entries were among what was compared, for each comparison."""
    made: list[bool] = []

    def changes(of_flows: Any, *_others: Any) -> tuple[Change, ...]:
        made.append(of_flows is not None)
        return ()

    monkeypatch.setattr(device.verifier, "_changes", changes)
    return made


def test_replies_that_are_as_before_are_known_by_their_bytes(device: Device, compared: list[bool]) -> None:
    assert read_all(device, 1) == list(KINDS)
    for number in (2, 3):
        assert read_all(device, number) == []
    assert compared == [True]
    assert device.sent == [], "nothing is read again"


@pytest.mark.parametrize("changed", KINDS)
def test_one_reply_that_is_not_as_before_has_all_read_again_at_once(
    device: Device, compared: list[bool], changed: str
) -> None:
    read_all(device, 1)
    assert read_all(device, 2, changed) == [changed]
    assert compared == [True], "not all was parsed"
    assert len(device.sent) == len(KINDS), "all is read again, though nothing is due"
    device.now -= EVERY
    assert read_all(device, 3, changed) == list(KINDS)
    assert len(compared) == 2
    assert read_all(device, 4, changed) == [], "it was right"


def test_replies_that_were_wrong_are_not_known(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    meter = MeterEntry(5, 1000, 1000)
    device.session.programming.present.meters = (meter,)
    found = [Change(Op.ADD, meter)]
    monkeypatch.setattr(device.verifier, "_changes", lambda *_replies: tuple(found))
    for number in (1, 2):
        assert read_all(device, number) == list(KINDS)
        assert len(device.changes) == number
    found.clear()
    assert read_all(device, 3) == list(KINDS)
    assert read_all(device, 4) == [], "now they were right"


def test_a_device_that_never_answers_as_before_is_read_once_each_time(
    device: Device, compared: list[bool]
) -> None:
    read_all(device, 1)
    for number, changed in ((2, "entries 1"), (4, "groups"), (6, "entries 1")):
        assert len(read_all(device, number, changed)) < len(KINDS)
        device.now -= EVERY
        assert read_all(device, number + 1, changed) == list(KINDS)
    assert read_all(device, 8) == list(KINDS)
    assert device.sent == []
    assert len(compared) == 5


def test_replies_are_known_only_while_the_same_should_be_there(device: Device, compared: list[bool]) -> None:
    read_all(device, 1)
    device.session.programming.pin_meters = {5: MeterEntry(5, 1000, 1000)}
    assert read_all(device, 2) == list(KINDS), "a meter that the device may not have"
    assert compared == [True, False]
    device.session.programming.present = SimpleNamespace(flows=("another",), groups=(), meters=())
    assert read_all(device, 3) == list(KINDS)
    device.session.programming.deleted_meters = {6: MeterEntry(6, 1000, 1000)}
    assert read_all(device, 4) == list(KINDS)
    assert read_all(device, 5) == list(KINDS), "a meter whose deletion may have been refused"


def replies_of(numbers: Iterable[int]) -> tuple[Any, ...]:
    """Return parts of a reply with standing entries, one for each IPv4 address, that go on in table 9."""
    cookie, goto, parts = cookies.pack(cookies.Kind.STANDING), struct.pack("!HHB3x", 1, 8, 9), []
    readback._STEPS_OF[4, goto] = (Goto(9),)
    rest = iter(numbers)
    while some := list(islice(rest, 500)):
        entries = b"".join(
            struct.pack("!HBxIIHHHH4xQQQ", 80, 5, 0, 0, 1000, 0, 0, 0, cookie, 0, 0)
            + struct.pack("!HHHBBHHBBI6x", 1, 18, 0x8000, 5 << 1, 2, 0x0800, 0x8000, 12 << 1, 4, number)
            + goto
            for number in some
        )
        parts.append(SimpleNamespace(version=4, buf=bytes(messages.multipart(4, 1, entries))))
    return tuple(parts)


class Slices:
    """Notes the processor time of each piece of work between two places for a pause."""

    def __init__(self) -> None:
        self.pieces: list[float] = []
        self.in_pause: Callable[[], object] = int
        self._since = 0.0

    def begin(self) -> None:
        """Begin a piece."""
        self._since = time.thread_time()

    def check(self) -> None:
        """End a piece, and begin the next one."""
        self.pieces.append(time.thread_time() - self._since)
        self.in_pause()
        self.begin()


@pytest.fixture
def slices(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slices]:
    """Pieces without collections of garbage, which look at the objects of other tests."""
    made = Slices()
    monkeypatch.setattr(hub, "TimeSlice", lambda: made)
    gc.disable()
    yield made
    gc.enable()


def lists(device: Device, numbers: Iterable[int]) -> tuple[Any, ...]:
    """Have the device be meant to have entries; return the parts that list them."""
    device.session.programming = Programming(ABLE)
    flows = readback.flow_entries(replies_of(numbers))
    device.session.programming.present = Standing(flows, (), ())
    return replies_of(numbers)


@pytest.mark.parametrize("there", [range(8000), range(8000, -1, -1), range(0, 8000, 2)])
def test_many_entries_are_compared_in_slices(device: Device, slices: Slices, there: Iterable[int]) -> None:
    parts = lists(device, range(8000))
    for listed, count in ((parts, 0), (parts, 0), (replies_of(there), len({*range(8000)} ^ {*there}))):
        device.now += EVERY
        device.verifier.trigger()
        slices.begin()
        device.answer(*listed)
        slices.check()
        assert sum(change.entry is not None for sent in device.changes for change in sent) == count
    assert max(slices.pieces) < 0.03
    assert len(slices.pieces) > 100


def test_what_changes_in_a_pause_is_read_again_and_nothing_is_put_back(
    device: Device, slices: Slices
) -> None:
    lists(device, range(2000))
    device.verifier.trigger()

    def change() -> None:
        device.session.programming.present = Standing((), (), ())
        device.verifier.trigger()
        device.verifier.tick(device.now + EVERY)
        assert device.sent == [], "nothing is read while something is compared"

    slices.in_pause = change
    device.answer(*replies_of(range(1000)))
    assert slices.pieces
    assert device.changes == []
    device.now += EVERY
    device.verifier.tick(device.now)
    assert len(device.sent) == 4


def test_a_meter_of_pins_that_is_deleted_in_a_pause_is_not_put_back(
    device: Device, slices: Slices, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists(device, range(1000))
    programming = device.session.programming
    programming.set_meter(MeterSpec(3, 1_000_000, 100_000))
    device.verifier.trigger()
    before = verification._as_modify

    def found(change: Change, *others: Any) -> Change:
        if isinstance(change.entry, MeterEntry):
            slices.in_pause = partial(programming.delete_meter, 3)
        return before(change, *others)

    monkeypatch.setattr(verification, "_as_modify", found)
    device.answer(*replies_of(range(900)))
    assert 3 not in programming.pin_meters
    (sent,) = device.changes
    assert {type(change.entry) for change in sent if change.entry is not None} == {FlowEntry}
