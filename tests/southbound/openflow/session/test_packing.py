"""Messages as bytes are those that os-ken makes, also when they were stored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from support.engine.plans import ABLE, PINS, PORTS, plan
from support.openflow.client import VERSIONS, datapath

from flowlane.core.effects import PinFlow
from flowlane.southbound.openflow.session import encode, handshake, packing, requests
from flowlane.southbound.openflow.tables import desired, pins
from flowlane.southbound.openflow.tables.entries import (
    BARRIER,
    Bucket,
    Change,
    Entry,
    GroupEntry,
    MeterEntry,
    Op,
)
from flowlane.southbound.openflow.tables.layout import DEFAULT, Layout, probing

STANDING = desired.compile_plan(replace(plan(), learned_idle=10), replace(ABLE, learn=True), PORTS).standing
OTHERS = (
    GroupEntry(7, (Bucket(1, 3, 5), Bucket(2, 0, 1, 4))),
    MeterEntry(3, 1000, 0),
    MeterEntry(4, 10, 2, True),
)
MOVED = Layout({table: number + 3 for table, number in DEFAULT.numbers.items()}, base=40)


def made_by_os_ken(peer: Any, message: Any, xid: int) -> bytes:
    message.set_xid(xid)
    message.serialize()
    return bytes(message.buf)


@pytest.mark.parametrize("layout", [DEFAULT, MOVED])
@pytest.mark.parametrize("version", VERSIONS)
def test_changes_are_what_os_ken_makes_of_them(version: str, layout: Layout) -> None:
    peer = datapath(version)
    entries: tuple[Entry, ...] = (*STANDING.flows, *STANDING.groups, *STANDING.meters, *OTHERS)
    assert len(STANDING.flows) > 20
    for xid, entry in enumerate(2 * entries, start=5):
        for op in (Op.ADD, Op.MODIFY, Op.DELETE):
            change = Change(op, entry)
            expected = made_by_os_ken(peer, encode.message(peer, change, layout), xid)
            assert packing.numbered(packing.change(peer, change, layout), xid) == expected
    barrier = made_by_os_ken(peer, encode.barrier(peer), 9)
    assert packing.numbered(packing.change(peer, BARRIER), 9) == barrier


@settings(max_examples=30)
@given(PINS)
def test_pins_are_what_os_ken_makes_of_them(wanted: PinFlow) -> None:
    for version in VERSIONS:
        peer, change = datapath(version), pins.change(wanted)
        expected = made_by_os_ken(peer, encode.message(peer, change), 1)
        assert packing.numbered(packing.change(peer, change), 1) == expected


@pytest.mark.parametrize("version", VERSIONS)
def test_probes_and_requests_are_what_os_ken_makes_of_them(version: str) -> None:
    peer = datapath(version)
    for probe in handshake.PROBES:
        expected = made_by_os_ken(peer, encode.message(peer, probe, probing(2)), 0xFFFFFFFF)
        assert packing.numbered(packing.change(peer, probe, probing(2)), 0xFFFFFFFF) == expected
    for make in (*handshake.REQUESTS.values(), requests.queue_stats_request, encode.echo_request):
        for _ in range(2):
            expected = made_by_os_ken(peer, make(peer), 3)
            assert packing.numbered(packing.request(peer, make), 3) == expected
    for group in (1, 2):
        expected = made_by_os_ken(peer, requests.learned_request(peer, group, 5), 3)
        assert packing.numbered(packing.request(peer, requests.learned_request, group, 5), 3) == expected


def test_no_more_is_stored_than_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "MOST_STORED", 100)
    monkeypatch.setattr(packing, "_stored", {})
    peer = datapath(VERSIONS[0])
    for group in range(1000):
        packing.request(peer, requests.learned_request, group, 5)
        assert len(packing._stored) <= 100
    expected = made_by_os_ken(peer, requests.learned_request(peer, 999, 5), 3)
    assert packing.numbered(packing.request(peer, requests.learned_request, 999, 5), 3) == expected
