"""Counters of learned entries are requested a part at a time where there are many, of many VMs."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from os_ken.ofproto import ofproto_protocol
from support.openflow.messages import VERSIONS

from flowlane.core.events import LearnedCounters, LearnedFlow
from flowlane.southbound.openflow.session import counters, requests
from flowlane.southbound.openflow.session.counters import MAX_BITS, SMALL_PART, LearnedPolling, bits_for
from flowlane.southbound.openflow.session.requests import NO_REPLY, Reply


class Device:
    """Replies at once with the entries of the VMs that are requested: VM number -> entries."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, entries: dict[int, int]) -> None:
        self.entries = entries
        self.requested: list[tuple[int, int]] = []
        self.emitted: Counter[int] = Counter()
        self.later: list[tuple[float, Any]] = []
        self.silent = False
        monkeypatch.setattr(counters, "learned_counters", self._read)
        monkeypatch.setattr(
            requests, "learned_request", lambda _datapath, part, bits, _table_id: (part, bits)
        )
        self.polling = LearnedPolling(
            SimpleNamespace(id=7),
            self._send,
            lambda seconds, do: self.later.append((seconds, do)),
            self._emit,
        )

    def _send(self, _name: str, message: tuple[int, int], done: Any, on_part: Any) -> None:
        part, bits = message
        self.requested.append((part, bits))
        if self.silent:
            done(Reply(error=NO_REPLY))
            return
        on_part({number: n for number, n in self.entries.items() if number & (1 << bits) - 1 == part})
        done(Reply())

    def _read(self, dpid: int, messages: Any) -> LearnedCounters:
        flows = [
            LearnedFlow(number.to_bytes(4) + bytes(16), 1, 2, 3, 0, 0, 0)
            for message in messages
            for number, count in message.items()
            for _ in range(count)
        ]
        return LearnedCounters(dpid, tuple(flows))

    def _emit(self, read: LearnedCounters) -> None:
        self.emitted.update(int.from_bytes(flow.key[:4]) for flow in read.flows)

    def read(self) -> list[tuple[int, int]]:
        """One reading with all its parts; returns what was requested."""
        self.requested.clear()
        self.emitted.clear()
        self.later.clear()
        self.polling.start()
        for _, do in self.later:
            do()
        return self.requested


def test_few_entries_are_requested_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch, dict.fromkeys(range(20), 10))
    assert [device.read(), device.read()] == [[(0, 0)], [(0, 0)]]


def test_many_entries_of_many_vms_are_divided_and_each_is_emitted_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = Device(monkeypatch, {0x1000 * number + number: 100 for number in range(64)})
    device.read()
    assert device.read() == [(part, 5) for part in range(32)]
    assert device.emitted == device.entries
    times = [seconds for seconds, _ in device.later]
    assert times == sorted(times)
    assert 0 < times[0] <= 0.1
    assert times[-1] < 2.0, "before the next reading is due"


def test_the_entries_of_one_vm_cannot_be_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch, {77: 10_000})
    assert [len(device.read()) for _ in range(3)] == [1, 1, 1]


def test_a_reading_starts_after_the_end_of_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch, dict.fromkeys(range(64), 100))
    device.read()
    device.requested.clear()
    device.polling.start()
    device.polling.start()
    assert len(device.requested) == 1


def test_parts_without_a_reply_do_not_end_the_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch, dict.fromkeys(range(64), 100))
    device.read()
    device.silent = True
    assert len(device.read()) == 32
    device.silent = False
    assert len(device.read()) == 1
    assert device.emitted == device.entries


@given(st.dictionaries(st.integers(0, 0xFFFFFFFF), st.integers(1, 5000), max_size=40))
def test_no_other_division_has_a_smaller_largest_part(entries_of_vm: dict[int, int]) -> None:
    def largest(bits: int) -> int:
        parts: Counter[int] = Counter()
        for number, count in entries_of_vm.items():
            parts[number % (1 << bits)] += count
        return max(parts.values(), default=0)

    bits = bits_for(Counter(entries_of_vm))
    assert all(largest(bits) <= max(SMALL_PART, largest(other)) for other in range(MAX_BITS + 1))
    assert all(largest(fewer) > max(SMALL_PART, largest(bits)) for fewer in range(bits))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_part_is_requested_by_the_upper_half_of_the_metadata(version: int) -> None:
    ofproto, parser = ofproto_protocol._versions[version]
    datapath = SimpleNamespace(ofproto=ofproto, ofproto_parser=parser, id=1)
    request = requests.learned_request(datapath, 3, 2)
    request.set_xid(1)
    request.serialize()
    assert (3 << 32).to_bytes(8) + (3 << 32).to_bytes(8) in bytes(request.buf)
    assert requests.learned_request(datapath).match.items() == []
