from __future__ import annotations

import eventlet

from flowlane.core.effects import Report
from flowlane.northbound.feed import Entries, Feed


def publish(feed: Feed, *texts: str) -> None:
    for text in texts:
        feed.publish(Report("flow", text, {}), 1.0)


def texts(entries: Entries) -> list[str]:
    return [entry.report.text for entry in entries if isinstance(entry.report, Report)]


def test_a_reader_gets_what_came_since() -> None:
    feed = Feed()
    publish(feed, "a", "b", "c")
    assert texts(feed.since(0)) == ["a", "b", "c"]
    assert texts(feed.since(2)) == ["c"]
    assert not feed.since(3)
    assert not feed.since(99)
    assert [entry.number for entry in feed.since(1)] == [2, 3]


def test_the_ring_forgets_and_says_so() -> None:
    feed = Feed(capacity=2)
    assert (feed.last, feed.missed(0)) == (0, False)
    publish(feed, "a", "b", "c")
    assert texts(feed.since(0)) == ["b", "c"]
    assert feed.missed(0)
    assert not feed.missed(1)


def test_events_of_all_kinds_come_in_their_order() -> None:
    feed = Feed()
    for kind, time in (("b", 1.0), ("a", 2.0), ("b", 3.0), ("a", 4.0)):
        feed.publish(Report(kind, f"{kind} {time:.0f}", {}), time)
    entries = feed.since(0)
    assert texts(entries) == ["b 1", "a 2", "b 3", "a 4"]
    assert (len(entries), texts(entries[1:3]), entries[-1].number) == (4, ["a 2", "b 3"], 4)
    assert texts(entries.not_before(2.5)) == ["b 3", "a 4"]
    assert texts(feed.since(1, frozenset("b"))) == ["b 3"]


def test_waiting_ends_with_a_report_with_time_or_with_the_feed() -> None:
    feed = Feed()
    assert feed.wait(0, 0.01) is False
    eventlet.spawn_after(0.01, publish, feed, "a")
    assert feed.wait(0, 5) is True
    assert feed.wait(0, 0) is True
    eventlet.spawn_after(0.01, feed.close)
    assert feed.wait(1, 5) is False
    assert feed.wait(1, 5) is False
