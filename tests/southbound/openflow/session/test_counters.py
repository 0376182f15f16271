"""Learned entries are asked for a part at a time where there are many, of many VMs."""

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
from flowlane.southbound.openflow.session.counters import MOST_BITS, SMALL, Slices, bits_for
from flowlane.southbound.openflow.session.requests import NO_ANSWER, Answer


class Device:
    """Answers at once with the entries of the VMs that are asked for: VM number -> entries."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, entries: dict[int, int]) -> None:
        self.entries, self.asked, self.told = entries, [], Counter()
        self.later: list[tuple[float, Any]] = []
        self.silent = False
        monkeypatch.setattr(counters, "learned_counters", self._read)
        monkeypatch.setattr(requests, "learned_request", lambda _datapath, part, bits: (part, bits))
        self.slices = Slices(
            SimpleNamespace(id=7), self._ask, lambda seconds, do: self.later.append((seconds, do)), self._tell
        )

    def _ask(self, _name: str, question: tuple[int, int], end: Any, each: Any) -> None:
        part, bits = question
        self.asked.append((part, bits))
        if self.silent:
            end(Answer(refused=NO_ANSWER))
            return
        each({number: n for number, n in self.entries.items() if number & (1 << bits) - 1 == part})
        end(Answer())

    def _read(self, dpid: int, messages: Any) -> LearnedCounters:
        flows = [
            LearnedFlow(number.to_bytes(4) + bytes(16), 1, 2, 3, 0, 0, 0)
            for message in messages
            for number, count in message.items()
            for _ in range(count)
        ]
        return LearnedCounters(dpid, tuple(flows))

    def _tell(self, read: LearnedCounters) -> None:
        self.told.update(int.from_bytes(flow.key[:4]) for flow in read.flows)

    def read(self) -> list[tuple[int, int]]:
        """One reading with all its parts; returns what was asked."""
        self.asked.clear()
        self.told.clear()
        self.later.clear()
        self.slices.begin()
        for _, do in self.later:
            do()
        return self.asked


def test_few_entries_are_asked_for_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch, dict.fromkeys(range(20), 10))
    assert [device.read(), device.read()] == [[(0, 0)], [(0, 0)]]


def test_many_entries_of_many_vms_are_divided_and_each_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch, {0x1000 * number + number: 100 for number in range(64)})
    device.read()
    assert device.read() == [(part, 5) for part in range(32)]
    assert device.told == device.entries
    times = [seconds for seconds, _ in device.later]
    assert times == sorted(times)
    assert 0 < times[0] <= 0.1
    assert times[-1] < 2.0, "before the next reading is due"


def test_the_entries_of_one_vm_cannot_be_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch, {77: 10_000})
    assert [len(device.read()) for _ in range(3)] == [1, 1, 1]


def test_a_reading_begins_when_the_last_one_is_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch, dict.fromkeys(range(64), 100))
    device.read()
    device.asked.clear()
    device.slices.begin()
    device.slices.begin()
    assert len(device.asked) == 1


def test_parts_without_an_answer_do_not_end_the_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch, dict.fromkeys(range(64), 100))
    device.read()
    device.silent = True
    assert len(device.read()) == 32
    device.silent = False
    assert len(device.read()) == 1
    assert device.told == device.entries


@given(st.dictionaries(st.integers(0, 0xFFFFFFFF), st.integers(1, 5000), max_size=40))
def test_no_other_division_has_a_smaller_largest_part(found: dict[int, int]) -> None:
    def largest(bits: int) -> int:
        parts: Counter[int] = Counter()
        for number, count in found.items():
            parts[number % (1 << bits)] += count
        return max(parts.values(), default=0)

    bits = bits_for(Counter(found))
    assert all(largest(bits) <= max(SMALL, largest(other)) for other in range(MOST_BITS + 1))
    assert all(largest(fewer) > max(SMALL, largest(bits)) for fewer in range(bits))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_part_is_asked_for_by_the_upper_half_of_the_metadata(version: int) -> None:
    ofproto, parser = ofproto_protocol._versions[version]
    datapath = SimpleNamespace(ofproto=ofproto, ofproto_parser=parser, id=1)
    request = requests.learned_request(datapath, 3, 2)
    request.set_xid(1)
    request.serialize()
    assert (3 << 32).to_bytes(8) + (3 << 32).to_bytes(8) in bytes(request.buf)
    assert requests.learned_request(datapath).match.items() == []
