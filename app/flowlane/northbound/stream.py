"""``GET /v1/events``: the feed as server-sent events (WHATWG HTML, 9.2).

The id of an event is the controller's start and a number. A reader that reconnects with ``Last-Event-ID``
gets the events that it missed. When they are no longer kept, or the controller was restarted, an event
``lost`` comes first. A reader that falls behind the ring buffer is disconnected; so its next connection begins
with ``lost``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from webob import Response

from flowlane.northbound.problems import ProblemError, bad_field
from flowlane.northbound.views import unix_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowlane.northbound.controller import Controller
    from flowlane.northbound.feed import Entry, Feed
    from flowlane.northbound.routing import Call
    from flowlane.northbound.types import EventView

MEDIA_TYPE = "text/event-stream"
HEARTBEAT = 15.0
"""Seconds without an event after which a comment is sent: a write shows whether the reader is gone."""

MAX_READERS = 64
"""Readers at a time: each takes a connection of the server."""


def events(call: Call) -> Response:
    """Answer with the events from now on, or from the last one that the reader got."""
    feed = call.controller.feed
    after, lost = _start(call)
    if feed.readers >= MAX_READERS:
        raise ProblemError(
            503,
            f"{MAX_READERS} readers are connected already, which is the limit; try again later",
            headers={"Retry-After": "30"},
        )
    call.request.environ["eventlet.minimum_write_chunk_size"] = 1
    lines = _lines(call, after, lost, call.query.get("kind"))
    response = Response(app_iter=_Reader(feed, lines))
    response.headers.update(
        {"Content-Type": MEDIA_TYPE, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )
    return response


class _Reader:
    """The lines for a reader, who is counted in the feed until the server closes them (PEP 3333)."""

    def __init__(self, feed: Feed, lines: Iterator[bytes]) -> None:
        self._feed = feed
        self._lines = lines
        feed.readers += 1

    def __iter__(self) -> Iterator[bytes]:
        return self._lines

    def close(self) -> None:
        """Count the reader no longer."""
        self._feed.readers -= 1


def _start(call: Call) -> tuple[int, bool]:
    """Find where a reader goes on: (number of its last report, whether reports were lost)."""
    feed, text = call.controller.feed, call.request.headers.get("Last-Event-ID", "").strip()
    if not text:
        return feed.last, False
    run, _, digits = text.partition("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        raise bad_field("Last-Event-ID", f"{text!r} is no id of an event of this controller")
    number = int(digits)
    if run != _run(call.controller) or number > feed.last or feed.missed(number):
        return feed.first - 1, True
    return number, False


def _run(controller: Controller) -> str:
    return f"{int(controller.started * 1000):x}"


def _lines(call: Call, after: int, lost: bool, kinds: frozenset[str] | None) -> Iterator[bytes]:
    controller = call.controller
    feed = controller.feed
    yield b": flowlane events\nretry: 2000\n\n"
    if lost:
        yield b'event: lost\ndata: {"text": "the events before the next one are lost"}\n\n'
    while not feed.closed and not feed.missed(after) and call.caller.is_admitted():
        entries = feed.since(after)
        after += len(entries)
        chunk = b"".join(_event(controller, e) for e in entries if kinds is None or e.report.kind in kinds)
        if chunk:
            yield chunk
        elif not entries and not feed.wait(after, HEARTBEAT):
            yield b": heartbeat\n\n"


def _event(controller: Controller, entry: Entry) -> bytes:
    report = entry.report
    data: EventView = {
        "time": unix_text(entry.time),
        "kind": report.kind,
        "text": report.text,
        "data": dict(report.data),
    }
    body = json.dumps(data, default=str)
    return f"id: {_run(controller)}-{entry.number}\nevent: {report.kind}\ndata: {body}\n\n".encode()
