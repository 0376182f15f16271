from __future__ import annotations

import gc
import weakref

import pytest

from flowlane import hub
from flowlane.southbound.openflow.session import outbox
from flowlane.southbound.openflow.session.outbox import Outbox, UnconfirmedChanges
from flowlane.southbound.openflow.tables.entries import Change, MeterEntry, Op


def test_messages_are_sent_in_order_and_in_one_write() -> None:
    written: list[bytes] = []
    queue = Outbox(written.append, lambda: None)
    for number in range(1000):
        queue.put(b"%03d" % number)
    hub.sleep()
    assert b"".join(written) == b"".join(b"%03d" % number for number in range(1000))
    assert len(written) == 1
    queue.put(b"later")
    hub.sleep()
    assert written[-1] == b"later"
    queue.close()


def test_put_never_blocks_for_a_device_that_does_not_read() -> None:
    gate = hub.Flag()
    written: list[bytes] = []

    def write(data: bytes) -> None:
        gate.wait()
        written.append(data)

    queue = Outbox(write, lambda: None)
    for _ in range(100):
        queue.put(b"x")
    hub.sleep()
    queue.put(b"y")
    assert written == []
    gate.set()
    hub.sleep()
    hub.sleep()
    gate.set()
    hub.sleep()
    hub.sleep()
    assert b"".join(written) == b"x" * 100 + b"y"
    queue.close()


def test_device_that_falls_too_far_behind_is_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "LIMIT", 10)
    overruns: list[str] = []
    written: list[bytes] = []
    queue = Outbox(written.append, lambda: overruns.append("overrun"))
    for _ in range(20):
        queue.put(b"abc")
    hub.sleep()
    assert overruns == ["overrun"]
    assert written == []


def test_large_backlogs_are_sent_in_several_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MAX_WRITE", 10)
    written: list[bytes] = []
    queue = Outbox(written.append, lambda: None)
    for _ in range(7):
        queue.put(b"abcd")
    hub.sleep()
    assert [len(data) for data in written] == [12, 12, 4]
    queue.close()


def test_nothing_is_sent_after_the_connection_has_gone() -> None:
    written: list[bytes] = []

    def write(data: bytes) -> bool:
        written.append(data)
        return False

    queue = Outbox(write, lambda: None)
    queue.put(b"a")
    hub.sleep()
    queue.put(b"b")
    hub.sleep()
    assert written == [b"a"]


ONE, TWO, THREE = (Change(Op.ADD, MeterEntry(number, 1000, 0)) for number in (1, 2, 3))


class Connection:
    """What an outbox writes to."""

    def write(self, _data: bytes) -> int | None:
        return None

    def close(self) -> None:
        """Do nothing."""


def test_a_closed_outbox_keeps_no_connection() -> None:
    """A connection's socket refers to the outbox: they would be a cycle, which is left to the garbage collector."""
    connection = Connection()
    queue, known = Outbox(connection.write, connection.close, connection.write), weakref.ref(connection)
    hub.sleep()
    gc.disable()
    try:
        queue.close()
        queue.flush()
        del connection
        assert known() is None
    finally:
        gc.enable()


def test_error_leads_to_its_change_once() -> None:
    unconfirmed = UnconfirmedChanges()
    unconfirmed.add(1, ONE)
    unconfirmed.add(2, TWO)
    assert unconfirmed.pop_refused(2) == TWO
    assert unconfirmed.pop_refused(2) is None
    assert unconfirmed.pop_refused(1) == ONE


def test_barrier_reply_confirms_what_was_sent_before_it_only() -> None:
    unconfirmed = UnconfirmedChanges()
    unconfirmed.add(0xFFFFFFFF, ONE)
    unconfirmed.add_barrier(0)
    unconfirmed.add(1, TWO)
    assert unconfirmed.since_barrier == 1
    unconfirmed.confirm(0)
    assert unconfirmed.pop_refused(0xFFFFFFFF) is None
    assert unconfirmed.pop_refused(1) == TWO


def test_later_barrier_confirms_all_earlier_ones() -> None:
    unconfirmed = UnconfirmedChanges()
    for xid, change in enumerate((ONE, TWO, THREE)):
        unconfirmed.add(10 * xid, change)
        unconfirmed.add_barrier(10 * xid + 1)
    unconfirmed.confirm(11)
    assert len(unconfirmed) == 2
    unconfirmed.confirm(99)
    assert len(unconfirmed) == 2
    unconfirmed.confirm(21)
    assert len(unconfirmed) == 0


def test_what_waits_is_sent_at_once_and_not_again() -> None:
    written: list[bytes] = []
    at_once: list[bytes] = []

    def write_at_once(data: bytes) -> int:
        at_once.append(data)
        return 0

    queue = Outbox(written.append, lambda: None, write_at_once)
    queue.flush()
    queue.put(b"a")
    queue.put(b"b")
    queue.flush()
    queue.flush()
    hub.sleep()
    assert (at_once, written) == ([b"ab"], [])
    queue.close()


def test_what_is_not_sent_at_once_is_sent_by_the_next_write() -> None:
    written: list[bytes] = []
    queue = Outbox(written.append, lambda: None, lambda _data: None)
    queue.put(b"ab")
    queue.flush()
    queue.put(b"c")
    hub.sleep()
    assert written == [b"abc"]
    queue.close()


def test_the_write_before_which_a_rest_goes_comes_soon_also_when_nothing_else_is_to_be_sent() -> None:
    written: list[bytes] = []
    rests: list[int | None] = [1, None]
    queue = Outbox(written.append, lambda: None, lambda _data: rests.pop(0))
    queue.put(b"ab")
    queue.flush()
    hub.sleep()
    assert written == [b""]
    queue.close()


def test_nothing_is_sent_at_once_while_the_device_does_not_read() -> None:
    gate = hub.Flag()
    at_once: list[bytes] = []
    queue = Outbox(lambda _data: gate.wait(), lambda: None, at_once.append)
    queue.put(b"a")
    hub.sleep()
    queue.put(b"b")
    queue.flush()
    assert at_once == [b"a"]
    queue.close()
