from __future__ import annotations

import eventlet

from flowlane.core.effects import Report
from flowlane.northbound.feed import Entry, Feed


def publish(feed: Feed, *texts: str) -> None:
    for text in texts:
        feed.publish(Report("flow", text, {}), 1.0)


def texts(entries: list[Entry]) -> list[str]:
    return [entry.report.text for entry in entries if isinstance(entry.report, Report)]


def test_a_reader_gets_what_came_since() -> None:
    feed = Feed()
    publish(feed, "a", "b", "c")
    assert texts(feed.since(0)) == ["a", "b", "c"]
    assert texts(feed.since(2)) == ["c"]
    assert feed.since(3) == feed.since(99) == []
    assert [entry.number for entry in feed.since(1)] == [2, 3]


def test_the_ring_forgets_and_says_so() -> None:
    feed = Feed(capacity=2)
    assert (feed.last, feed.missed(0)) == (0, False)
    publish(feed, "a", "b", "c")
    assert texts(feed.since(0)) == ["b", "c"]
    assert feed.missed(0)
    assert not feed.missed(1)


def test_waiting_ends_with_a_report_with_time_or_with_the_feed() -> None:
    feed = Feed()
    assert feed.wait(0, 0.01) is False
    eventlet.spawn_after(0.01, publish, feed, "a")
    assert feed.wait(0, 5) is True
    assert feed.wait(0, 0) is True
    eventlet.spawn_after(0.01, feed.close)
    assert feed.wait(1, 5) is False
    assert feed.wait(1, 5) is False
