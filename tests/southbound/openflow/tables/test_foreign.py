"""What is kept clear of others' entries, and which conflicts are named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowlane.southbound.openflow.tables import foreign
from flowlane.southbound.openflow.tables.foreign import ForeignEntry
from flowlane.southbound.openflow.tables.layout import START_PRIORITIES
from flowlane.southbound.openflow.wire import fields
from flowlane.southbound.openflow.wire.instructions import Leads

SIZE = len(START_PRIORITIES)
IP = fields.pack(fields.match(eth_type=0x800))
PRIORITIES = st.one_of(st.integers(0, 30), st.integers(0xFFF0, 0xFFFF), st.integers(0, 0xFFFF))
ENTRIES = st.lists(st.builds(ForeignEntry, st.just(0), PRIORITIES, st.sampled_from([b"", IP])), max_size=12)


def entry(priority: int, **match: int | tuple[int, int]) -> ForeignEntry:
    return ForeignEntry(0, priority, fields.pack(fields.match(**match)))


@pytest.mark.parametrize(
    ("there", "base"),
    [
        ([], 1),
        ([entry(0)], 1),
        ([entry(0), entry(500, eth_type=0x800)], 1),
        ([entry(3, eth_type=0x800)], 4),
        ([entry(32768)], 32769),
        ([entry(0xFFFF)], 0xFFFE - SIZE + 1),
    ],
    ids=["nobody", "NORMAL beneath", "a drop rule above", "in between", "default priority", "the very top"],
)
def test_base(there: list[ForeignEntry], base: int) -> None:
    assert foreign.base_for(there) == base


@given(ENTRIES)
def test_the_base_meets_no_foreign_priority_and_is_above_catch_alls_where_possible(
    there: list[ForeignEntry],
) -> None:
    base = foreign.base_for(there)
    assert not foreign.has_priority_of_ours(there, base)
    assert 0 <= base <= 0xFFFF - SIZE + 1
    highest = max((item.priority for item in there if item.matches_all), default=-1)
    if highest < 0xFF00:
        assert base > highest
        below = range(max(highest + 1, 1), base)
        assert not any(not foreign.has_priority_of_ours(there, lower) for lower in below), "the lowest"


def test_tables_that_others_use_or_lead_to_are_taken() -> None:
    entries = [
        ForeignEntry(0, 1, b"", Leads(frozenset({4, 7}))),
        ForeignEntry(9, 1),
    ]
    assert foreign.taken_tables(entries, (30,)) == {0, 4, 7, 9, 30}


def test_of_many_conflicts_those_that_packets_meet_first_are_named() -> None:
    above = foreign.conflicts(
        [entry(600 + port, in_port=port) for port in range(1, 30)], 0, 1, set(range(30))
    )
    assert "priority=629,in_port=29 of" in above[0]
    assert "packets from port 29 do not pass" in above[0]
    below = foreign.conflicts([entry(port, in_port=port) for port in range(1, 30)], 0, 40, set())
    assert "priority=29,in_port=29 of" in below[0]
    assert "priority=22,in_port=22 of" in below[foreign.MAX_LISTED - 1]


def test_a_match_of_more_than_a_port_takes_not_all_packets_of_it() -> None:
    assert foreign.conflicts([entry(600, in_port=1, eth_type=0x800)], 0, 1, {1}) == ()
    assert foreign.conflicts([entry(600, in_port=(1, 0xFFFF))], 0, 1, {1})


def test_conflicts_are_named_and_not_without_end() -> None:
    there = [entry(2, in_port=port) for port in range(1, 30)]
    texts = foreign.conflicts(there, 0, 10, {1})
    assert len(texts) == foreign.MAX_LISTED + 1
    assert "table=0,priority=2,in_port=1 of another controller is not met" in texts[0]
    assert "21 more" in texts[-1]
    assert foreign.conflicts([entry(600, eth_type=0x800)], 0, 1, {1}) == ()
    (text,) = foreign.conflicts([entry(600, in_port=1), entry(600, in_port=77)], 0, 1, {1})
    assert "packets from port 1 do not pass Flowlane" in text
    (text,) = foreign.conflicts([], 20, 1, {1}, is_led_to=False)
    assert "goto_table:20" in text
    (text,) = foreign.conflicts([], 0, 1, {1}, copies=True)
    assert "copy-rate" in text
