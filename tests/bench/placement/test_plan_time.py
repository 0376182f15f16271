"""The bench of ``flowlane plan`` with many flows, with few."""

from __future__ import annotations

from bench.placement.plan_time import measure


def test_every_flow_is_placed() -> None:
    run = measure(300, 20)
    assert 300 < run.lines < 320
    assert run.wall > 0 < run.memory
