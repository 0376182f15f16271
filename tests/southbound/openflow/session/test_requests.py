from __future__ import annotations

import weakref
from types import SimpleNamespace

import pytest

from flowlane.southbound.openflow.session import requests
from flowlane.southbound.openflow.session.requests import (
    MOST_PATIENCE,
    NO_REPLY,
    PARSED,
    QUIET,
    TOO_LONG,
    PendingRequests,
    Reply,
)


@pytest.fixture
def replies() -> list[Reply]:
    return []


def test_parts_make_one_reply(replies: list[Reply]) -> None:
    pending = PendingRequests()
    pending.add(7, "ports", 5.0, replies.append)
    assert pending.is_pending("ports")
    assert pending.take_part(7, "a", more=True)
    assert replies == []
    assert pending.take_part(7, "b")
    assert replies == [Reply(("a", "b"))]
    assert not pending.is_pending("ports")
    assert not pending.take_part(7, "c")


def test_a_known_reply_ends_its_request_and_no_other(replies: list[Reply]) -> None:
    pending = PendingRequests()
    for xid, known in ((7, b"known".__eq__), (8, None), (9, lambda data: data.endswith(b"known"))):
        pending.add(xid, "entries", 5.0, replies.append, known=known)
    for data in (
        bytes(7) + b"\x07other",
        bytes(4) + b"\x00\x00\x00\x08known",
        bytes(7) + b"\x0aknown",
        b"",
        b"known",
    ):
        assert not pending.take_known(data)
    pending.take_part(9, "a", more=True)
    assert not pending.take_known(bytes(4) + b"\x00\x00\x00\x09known"), "it is the second part of a reply"
    assert replies == []
    pending.add(10, "entries", 5.0, replies.append, known=lambda data: data.endswith(b"known"))
    assert pending.take_known(bytes(4) + b"\x00\x00\x00\x0aknown")
    assert replies == [Reply(is_known=True)]
    assert not pending.take_known(bytes(4) + b"\x00\x00\x00\x0aknown")


def test_replies_that_were_read_are_freed_part_by_part() -> None:
    class Part:
        """A part of a reply."""

    parts = [Part() for _ in range(3)]
    replies = {"flows": Reply((*parts[:2],)), "ports": Reply((parts[2],))}
    there = [weakref.ref(part) for part in parts]
    parts.clear()
    left: list[int] = []
    requests.free(replies, lambda: left.append(sum(part() is not None for part in there)))
    assert left == [2, 1, 0]
    assert not replies


def test_an_error_ends_a_request(replies: list[Reply]) -> None:
    pending = PendingRequests()
    pending.add(7, "meters", 5.0, replies.append)
    assert pending.fail(7, "OFPBRC_BAD_TYPE")
    assert replies == [Reply(error="OFPBRC_BAD_TYPE")]
    assert not pending.fail(7, "again")


def test_the_deadline_ends_a_request(replies: list[Reply]) -> None:
    pending = PendingRequests()
    pending.add(7, "meters", 5.0, replies.append)
    pending.add(8, "ports", 6.0, replies.append)
    pending.expire(4.9)
    assert replies == []
    pending.expire(5.0)
    assert replies == [Reply(error=NO_REPLY)]
    assert pending.is_pending("ports")


def test_a_patient_request_waits_longer_while_other_replies_come(replies: list[Reply]) -> None:
    pending = PendingRequests()
    pending.add(7, "meters", 5.0, replies.append, patient=True)
    pending.add(8, "flows", 5.0, lambda _reply: None, patient=True)
    for second in range(3, 9):
        pending.take_part(8, "a", more=True)
        pending.expire(second)
    assert replies == [], "others came"
    pending.expire(8 + QUIET - 0.1)
    assert replies == []
    pending.expire(8 + QUIET)
    assert replies == [Reply(error=NO_REPLY)]
    pending.add(10, "groups", 5.0, replies.append, patient=True)
    pending.expire(19.0, has_unread=lambda: True)
    assert len(replies) == 1, "it may be among what was not read"
    pending.expire(23.0)
    assert len(replies) == 2
    pending.add(9, "ports", 5.0, replies.append, patient=True)
    for second in (20, 24, 25):
        pending.add(8, "flows", 99.0, lambda _reply: None)
        pending.take_part(8, "a")
        pending.expire(second)
    assert len(replies) == 3, "not for ever"


def test_a_part_of_a_reply_is_no_reply(replies: list[Reply]) -> None:
    pending = PendingRequests()
    pending.add(7, "flows", 5.0, replies.append)
    pending.take_part(7, "a", more=True)
    pending.expire(5.0)
    assert replies == [Reply(error=NO_REPLY)]


def test_parts_can_be_taken_one_by_one(replies: list[Reply]) -> None:
    seen: list[object] = []
    pending = PendingRequests()
    pending.add(7, "counters", 5.0, replies.append, seen.append)
    pending.take_part(7, "a", more=True)
    assert seen == ["a"]
    pending.take_part(7, "b")
    assert (seen, replies) == (["a", "b"], [Reply(())])


def part(octets: int, *, parsed: bool = False) -> SimpleNamespace:
    """A part of a reply, as a message that os-ken has read; its body is made of it at once, or later."""
    return SimpleNamespace(buf=bytes(octets), **({"body": []} if parsed else {}))


@pytest.mark.parametrize(("parsed", "room"), [(False, 1000), (True, 1000 // PARSED)])
def test_replies_that_take_too_much_memory_end_the_connection(
    replies: list[Reply], monkeypatch: pytest.MonkeyPatch, parsed: bool, room: int
) -> None:
    monkeypatch.setattr(requests, "MAX_SIZE", 1000)
    reasons: list[str] = []
    pending = PendingRequests(reasons.append)
    for again in range(2):  # What has ended takes nothing any more.
        pending.add(again, "flows", 5.0, replies.append)
        pending.add(8, "ports", 5.0, lambda _reply: None)
        pending.take_part(again, part(room // 2, parsed=parsed), more=True)
        pending.take_part(8, part(room // 2, parsed=parsed), more=True)
        assert (replies, reasons) == ([], [])
        pending.fail(again, "no")
        pending.fail(8, "no")
        replies.clear()
    pending.add(7, "flows", 5.0, replies.append)
    pending.take_part(7, part(room, parsed=parsed), more=True)
    assert (replies, reasons) == ([], [])
    pending.take_part(7, part(room, parsed=parsed), more=True)
    assert (replies, reasons) == ([Reply(error=TOO_LONG)], [TOO_LONG])


def test_a_request_may_be_added_from_within_a_reply() -> None:
    pending = PendingRequests()
    seen: list[Reply] = []
    pending.add(1, "queues", 5.0, lambda _: pending.add(2, "queues", 5.0, seen.append))
    pending.take_part(1, "a")
    pending.take_part(2, "b")
    assert seen == [Reply(("b",))]


def test_a_reply_that_may_be_among_unread_bytes_is_waited_for(replies: list[Reply]) -> None:
    pending = PendingRequests()
    pending.add(7, "counters", 5.0, replies.append)
    pending.expire(4.9, has_unread=lambda: pytest.fail("asked for nothing"))
    pending.expire(5.0, has_unread=lambda: True)
    pending.expire(5.0 + MOST_PATIENCE - 0.1, has_unread=lambda: True)
    assert replies == []
    pending.expire(5.0 + MOST_PATIENCE, has_unread=lambda: True)
    assert replies == [Reply(error=NO_REPLY)], "and not for ever"
