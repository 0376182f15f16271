from __future__ import annotations

import pytest

from flowlane import hub
from flowlane.southbound.openflow import outbox
from flowlane.southbound.openflow.outbox import Outbox


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
