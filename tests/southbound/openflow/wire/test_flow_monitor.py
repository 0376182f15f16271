"""Updates of flow monitors, as Open vSwitch writes them."""

from __future__ import annotations

from struct import pack
from types import SimpleNamespace

import pytest

from flowlane.southbound.openflow.wire import flow_monitor
from flowlane.southbound.openflow.wire.flow_monitor import Update

ABBREVIATED = pack("!HHI", 8, 4, 7)


def full(event: int, table_id: int, cookie: int) -> bytes:
    return pack("!HHBBHHH4xQHH4x", 32, event, table_id, 0, 0, 0, 1000, cookie, 1, 4)


def reply(body: bytes, version: int = 6, kind: int = 16) -> SimpleNamespace:
    return SimpleNamespace(buf=pack("!BBHIHH4x", version, 19, 16 + len(body), 0, kind, 0) + body)


def test_changes_of_others_are_read_and_own_ones_are_not() -> None:
    message = reply(full(1, 6, 5) + ABBREVIATED + full(2, 1, 0xF10A << 48))
    assert flow_monitor.is_reply(message)
    assert list(flow_monitor.updates(message)) == [
        Update(flow_monitor.ADDED, 6, 5),
        Update(flow_monitor.REMOVED, 1, 0xF10A << 48),
    ]


@pytest.mark.parametrize("body", [b"\0", bytes(4), pack("!HH", 99, 1), pack("!HH", 4, 1), full(3, 1, 1)[:20]])
def test_what_is_malformed_ends_the_updates(body: bytes) -> None:
    assert list(flow_monitor.updates(reply(body))) == []


@pytest.mark.parametrize(
    "message", [reply(b"", kind=1), reply(b"", version=4), SimpleNamespace(), SimpleNamespace(buf=b"x")]
)
def test_other_messages_are_none(message: SimpleNamespace) -> None:
    assert not flow_monitor.is_reply(message)
