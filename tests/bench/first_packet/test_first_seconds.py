"""What the bench says of a flow follows from what the switch's tables showed."""

from __future__ import annotations

import pytest
from bench.first_packet import first_seconds as bench


def test_a_flow_is_on_the_queue_of_its_learned_entry_until_its_pin_stands() -> None:
    flow = bench.Flow(60_000, "heavy", 0.0, 1000)
    looks = [
        bench.Look(101.0, {60_000: (3, 0.0)}, {"small": {3, 4}}),
        bench.Look(104.0, {60_000: (7, 103.2)}, {"small": {3, 4}}),
    ]
    assert [bench.queue_at(flow, 100.0 + after, looks, {}) for after in (0.01, 1.5, 3.5, 5.0)] == [3, 3, 3, 7]
    assert [bench.is_right(flow, 100.0 + after, looks, {}) for after in (0.01, 5.0)] == [False, True]


def test_a_flow_too_short_for_an_entry_is_where_its_copy_told() -> None:
    flow = bench.Flow(2000, "small", 0.0, 1000)
    looks = [bench.Look(101.0, {}, {"small": {3, 4}, "bulk": {5}})]
    assert bench.is_right(flow, 100.0, looks, {2000: 4})
    assert not bench.is_right(flow, 100.0, looks, {2000: 5})
    assert not bench.is_right(flow, 100.0, looks, {})
    assert bench.is_right(flow._replace(kind="bulk"), 100.0, looks, {2000: 5})


def test_shares_are_of_flows_and_of_bytes() -> None:
    flows = [
        bench.Flow(2000, "small", 0.0, 100),
        bench.Flow(2001, "small", 0.0, 300),
        bench.Flow(1, "bulk", 0.0, 1),
    ]
    flows.append(bench.Flow(60_000, "heavy", 0.0, 600))
    looks = [bench.Look(101.0, {60_000: (7, 100.5)}, {"small": {3}, "bulk": {5}})]
    told = {2000: 3, 2001: 5, 1: 5, 60_000: 3}
    rows = {row["class"]: row for row in bench.shares(flows, 100.0, looks, told)}
    assert (rows["small"]["flows 0.01 s"], rows["small"]["bytes 0.01 s"]) == (0.5, 0.25)
    assert (rows["heavy"]["flows 0.01 s"], rows["heavy"]["flows 1 s"]) == (0.0, 1.0)
    assert rows["all"]["bytes 1 s"] == pytest.approx(701 / 1001)
