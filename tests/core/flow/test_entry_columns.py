"""Learned entries by columns are the same flows."""

from __future__ import annotations

from flowlane.core.events import LearnedFlow
from flowlane.core.flow.entry_columns import columns_of, merged

FLOWS = tuple(
    LearnedFlow(bytes((number,)), 1, 2, 3 * number, 4, 5, 6 * number, 7, 8, 9, 10, 0.5 * number)
    for number in range(6)
)


def test_columns_are_the_flows_that_they_were_made_of() -> None:
    columns = columns_of(FLOWS)
    assert tuple(columns) == FLOWS
    assert (len(columns), columns.flow(4), columns.octets[5]) == (6, FLOWS[4], 30)
    assert columns_of(columns) is columns
    assert FLOWS[2] in columns
    assert FLOWS[2]._replace(octets=1) not in columns
    assert tuple(columns_of(())) == ()


def test_a_part_is_some_of_them() -> None:
    part = columns_of(FLOWS).part(2, 5)
    assert tuple(part) == FLOWS[2:5]
    assert tuple(part.part(1, 9)) == FLOWS[3:5]


def test_parts_are_merged_in_an_order() -> None:
    odd, even = columns_of(FLOWS[1::2]), columns_of(FLOWS[::2])
    assert tuple(merged([odd, even], [3, 0, 4, 1, 5, 2])) == FLOWS
    assert tuple(merged([even.part(1, 3)], [1, 0])) == (FLOWS[4], FLOWS[2])
    assert tuple(merged([], [])) == ()
