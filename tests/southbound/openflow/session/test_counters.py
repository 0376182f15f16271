"""Counters of entries are emitted part by part as they come, and the end of the reading with what it took."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from os_ken.ofproto import ofproto_protocol
from support.openflow.messages import VERSIONS

from flowlane.core.events import LearnedCounters, LearnedFlow, PinCounters, ReadingEnded
from flowlane.core.flow.readings import PINS
from flowlane.southbound.openflow.session import counters, requests
from flowlane.southbound.openflow.session.requests import NO_REPLY, Reply

FLOW = LearnedFlow(bytes(20), 1, 2, 3, 0, 0, 0)


def test_a_reading_ends_with_its_entries_and_the_time_until_its_reply_began(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        counters, "learned_counters", lambda dpid, part: LearnedCounters(dpid, (FLOW,) * part)
    )
    times = iter((10.0, 10.25, 99.0))
    emitted: list[Any] = []
    reading = counters.EntryReading(7, 5, lambda: next(times), emitted.append)
    reading.on_part(3)
    reading.on_part(2)
    reading.on_end(Reply())
    assert [len(event.flows) for event in emitted[:2]] == [3, 2]
    assert emitted[2] == ReadingEnded(7, 5, 5, 0.25)


def test_pins_are_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        counters, "pin_counters", lambda dpid, parts: PinCounters(dpid, ((1, 2, 3, 4),) * parts[0])
    )
    emitted: list[Any] = []
    reading = counters.EntryReading(7, PINS, lambda: 10.0, emitted.append)
    reading.on_part(4)
    reading.on_end(Reply())
    assert emitted[1] == ReadingEnded(7, PINS, 4, 0.0)


def test_a_reading_without_a_reply_ends() -> None:
    times = iter((10.0, 15.0))
    emitted: list[Any] = []
    reading = counters.EntryReading(7, 5, lambda: next(times), emitted.append)
    reading.on_end(Reply(error=NO_REPLY))
    assert emitted == [ReadingEnded(7, 5, None, 5.0)]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_group_is_requested_by_its_whole_cookie_in_its_table(version: int) -> None:
    ofproto, parser = ofproto_protocol._versions[version]
    datapath = SimpleNamespace(ofproto=ofproto, ofproto_parser=parser, id=1)
    request = requests.learned_request(datapath, 3, 25)
    request.set_xid(1)
    request.serialize()
    assert (0xF10A_4000_0000_0003).to_bytes(8) + b"\xff" * 8 in bytes(request.buf)
    assert (request.table_id, request.match.items()) == (25, [])
    assert requests.pins_request(datapath, 24).table_id == 24
