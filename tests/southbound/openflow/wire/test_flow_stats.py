"""Replies that differ in counters only are seen to be the same by their bytes, and no others are."""

from __future__ import annotations

import struct
from types import SimpleNamespace

import pytest
from support.openflow import messages

from flowlane.southbound.openflow.wire import flow_stats

FLOW_STATS = 1


def entry(priority: int = 5, fields: bytes = bytes(8), counted: int = 0, seconds: int = 0) -> bytes:
    """Return an entry of OpenFlow 1.3 with some bytes behind its fixed part."""
    head = struct.pack("!HBxIIHHHH4x", 48 + len(fields), 3, seconds, 17 * seconds, priority, 0, 0, 0)
    return head + struct.pack("!QQQ", 77, counted, 60 * counted) + fields


def reply(*entries: bytes, xid: int = 1, version: int = 4) -> SimpleNamespace:
    return SimpleNamespace(buf=messages.multipart(version, FLOW_STATS, b"".join(entries), xid))


RIGHT = (entry(), entry(6, bytes(24)), entry(7))


def kept(part: SimpleNamespace) -> tuple[bytes, ...]:
    shape = flow_stats.shape_of(reply(*RIGHT))
    assert shape is not None
    return flow_stats.shaped(getattr(part, "buf", None), shape)


def test_counters_durations_and_transaction_ids_do_not_count() -> None:
    later = (entry(counted=9, seconds=40), entry(6, bytes(24), 2**40, 41), entry(7, seconds=42))
    assert kept(reply(*later, xid=99)) == kept(reply(*RIGHT))


@pytest.mark.parametrize(
    "entries",
    [
        RIGHT[:2],
        (RIGHT[1], RIGHT[0], RIGHT[2]),
        (entry(8), *RIGHT[1:]),
        (entry(5, b"\1" + bytes(7)), *RIGHT[1:]),
        (*RIGHT[:2], entry(7, bytes(7) + b"\1")),
        (entry(5, bytes(24)), entry(6), RIGHT[2]),
    ],
)
def test_everything_else_counts(entries: tuple[bytes, ...]) -> None:
    assert kept(reply(*entries)) != kept(reply(*RIGHT))


def test_what_is_laid_out_in_another_way_has_no_shape() -> None:
    assert flow_stats.shape_of(reply(*RIGHT, version=6)) is None
    assert flow_stats.shape_of(SimpleNamespace()) is None
    assert flow_stats.shape_of(reply(entry()[:30])) is None
    short = b"\0\x20" + bytes(30)
    assert flow_stats.shape_of(reply(short, short)) is None
    shape = flow_stats.shape_of(reply(*RIGHT))
    assert shape is not None
    assert flow_stats.shaped(None, shape) == ()
