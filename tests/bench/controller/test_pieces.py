"""Pieces of work are measured by processor time, with the place where they ended."""

from __future__ import annotations

import gc
import time

from bench.controller.pieces import Pieces

from flowlane import hub


def work(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
    hub.sleep(0)


def test_the_longest_pieces_are_found_with_what_ended_them() -> None:
    pieces = Pieces()
    try:
        for seconds in (0.002, 0.03, 0.001):
            task = hub.spawn(work, seconds)
            hub.sleep(0.05)
            task.kill()
        longest = pieces.longest()
        assert 30 <= longest[0].took < 60
        assert longest[1].took < 20
        hub.sleep(0)
        gc.collect()
        hub.sleep(0)
        collected = pieces.longest()[0]
        assert 0 < collected.collecting <= collected.took
    finally:
        pieces.stop()
    pieces.longest()
    work(0.001)
    assert pieces.longest() == [], "it measures no more"
