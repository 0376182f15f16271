"""Who waits for long work on a device, and who goes on in its pauses."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext

import pytest

from flowlane import garbage, hub, pauses
from flowlane.pauses import SLICE, ReadingSlice, Work

BIG, GOOD = 1, 2


@pytest.mark.parametrize(
    ("about", "reader", "waits"),
    [
        (BIG, "all", True),
        (BIG, BIG, True),
        (BIG, GOOD, False),
        (BIG, None, False),
        (None, GOOD, True),
        (None, None, False),
    ],
)
def test_who_reads_what_the_work_is_about_waits(
    about: int | None, reader: int | str | None, waits: bool
) -> None:
    work, goes_on = Work(), []

    def read() -> None:
        context: AbstractContextManager[None] = (
            nullcontext() if isinstance(reader, str) else work.reading(reader)
        )
        with context:
            work.wait()
            goes_on.append(True)

    work.begin(about)
    task = hub.spawn(read)
    hub.sleep(3 * SLICE)
    assert bool(goes_on) is not waits
    work.end()
    for _ in range(100):
        hub.sleep(SLICE)
        if goes_on:
            break
    task.kill()
    assert goes_on == [True]
    assert not work._readers, "the next request of this green thread may be about another device"


def test_a_reader_of_another_device_goes_on_within_its_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "give_way", hub.sleep)
    work = Work()
    monkeypatch.setattr(pauses, "WORK", work)
    goes_on: list[int] = []

    def read(dpid: int) -> None:
        with work.reading(dpid):
            ReadingSlice(0.0).check()
            goes_on.append(dpid)

    work.begin(BIG)
    tasks = [hub.spawn(read, dpid) for dpid in (BIG, GOOD)]
    hub.sleep(3 * SLICE)
    assert goes_on == [GOOD]
    work.end()
    for _ in range(100):
        hub.sleep(SLICE)
    for task in tasks:
        task.kill()
    assert goes_on == [GOOD, BIG]


def test_each_slice_collects_what_was_made_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The collector counts objects made less those freed, so that it may not notice what long work makes."""
    collected: list[str] = []
    monkeypatch.setattr(hub, "give_way", lambda: collected.append("others"))
    monkeypatch.setattr(garbage, "collect_new", lambda: collected.append("new"))
    work = Work()
    work.begin()
    work.pause()
    assert not collected, "the slice is not over"
    until = time.thread_time() + SLICE
    while time.thread_time() < until:
        pass
    work.pause()
    work.end()
    assert collected == ["others", "new"]
    ReadingSlice(0.0).check()
    assert collected == ["others", "new"] * 2
