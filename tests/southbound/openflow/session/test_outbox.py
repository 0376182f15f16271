from __future__ import annotations

import pytest

from flowlane import hub
from flowlane.southbound.openflow.session import outbox
from flowlane.southbound.openflow.session.outbox import Ledger, Outbox
from flowlane.southbound.openflow.tables.entries import Change, MeterEntry, Op


def test_messages_go_out_in_order_and_in_one_piece() -> None:
    written: list[bytes] = []
    box = Outbox(written.append, lambda: None)
    for number in range(1000):
        box.put(b"%03d" % number)
    hub.sleep()
    assert b"".join(written) == b"".join(b"%03d" % number for number in range(1000))
    assert len(written) == 1
    box.put(b"later")
    hub.sleep()
    assert written[-1] == b"later"
    box.close()


def test_putting_never_waits_for_a_device_that_does_not_read() -> None:
    gate = hub.Flag()
    written: list[bytes] = []

    def write(piece: bytes) -> None:
        gate.wait()
        written.append(piece)

    box = Outbox(write, lambda: None)
    for _ in range(100):
        box.put(b"x")
    hub.sleep()
    box.put(b"y")
    assert written == []
    gate.set()
    hub.sleep()
    hub.sleep()
    gate.set()
    hub.sleep()
    hub.sleep()
    assert b"".join(written) == b"x" * 100 + b"y"
    box.close()


def test_device_that_falls_too_far_behind_is_given_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "LIMIT", 10)
    given_up: list[str] = []
    written: list[bytes] = []
    box = Outbox(written.append, lambda: given_up.append("overrun"))
    for _ in range(20):
        box.put(b"abc")
    hub.sleep()
    assert given_up == ["overrun"]
    assert written == []


def test_large_backlogs_go_out_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "PIECE", 10)
    written: list[bytes] = []
    box = Outbox(written.append, lambda: None)
    for _ in range(7):
        box.put(b"abcd")
    hub.sleep()
    assert [len(piece) for piece in written] == [12, 12, 4]
    box.close()


def test_nothing_is_sent_after_the_connection_has_gone() -> None:
    written: list[bytes] = []

    def write(piece: bytes) -> bool:
        written.append(piece)
        return False

    box = Outbox(write, lambda: None)
    box.put(b"a")
    hub.sleep()
    box.put(b"b")
    hub.sleep()
    assert written == [b"a"]


ONE, TWO, THREE = (Change(Op.ADD, MeterEntry(number, 1000, 0)) for number in (1, 2, 3))


def test_error_leads_to_its_change_once() -> None:
    ledger = Ledger()
    ledger.add(1, ONE)
    ledger.add(2, TWO)
    assert ledger.refused(2) == TWO
    assert ledger.refused(2) is None
    assert ledger.refused(1) == ONE


def test_barrier_reply_confirms_what_was_sent_before_it_only() -> None:
    ledger = Ledger()
    ledger.add(0xFFFFFFFF, ONE)
    ledger.add_barrier(0)
    ledger.add(1, TWO)
    assert ledger.unconfirmed == 1
    ledger.confirm(0)
    assert ledger.refused(0xFFFFFFFF) is None
    assert ledger.refused(1) == TWO


def test_later_barrier_confirms_all_earlier_ones() -> None:
    ledger = Ledger()
    for xid, change in enumerate((ONE, TWO, THREE)):
        ledger.add(10 * xid, change)
        ledger.add_barrier(10 * xid + 1)
    ledger.confirm(11)
    assert len(ledger) == 2
    ledger.confirm(99)
    assert len(ledger) == 2
    ledger.confirm(21)
    assert len(ledger) == 0
