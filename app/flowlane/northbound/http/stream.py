"""``GET /v1/events``: as server-sent events (WHATWG HTML, 9.2) that go on, or as a list of those that are kept.

The id of an event is the controller's start and a number. A reader that reconnects with ``Last-Event-ID``
gets the events that it missed. When they are no longer kept, or the controller was restarted, an event
``lost`` comes first. A reader that falls behind the ring buffer is disconnected; so its next connection begins
with ``lost``. The stream begins with the id of the event before, so that a reader to whom none was sent can say, too,
where it goes on.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from webob import Response

from flowlane import hub, pauses
from flowlane.northbound.feed import Entries
from flowlane.northbound.http.problems import JSON, ProblemError, bad_field
from flowlane.northbound.http.slices import json_list
from flowlane.northbound.views.events import Names, event_view

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowlane.northbound.controller import Controller
    from flowlane.northbound.feed import Entry, Feed
    from flowlane.northbound.http.routing import Call

MEDIA_TYPE = "text/event-stream"
HEARTBEAT = 15.0
"""Seconds without an event after which a comment is sent: a write shows whether the reader is gone."""

GATHER = 0.05
"""Seconds between two writes to a reader: what happens within is sent together."""

CHUNK = 50
"""Events that are encoded before others are served."""

MANY = 1000
"""Events of a list from which it is sent as it is made: all that are kept would be an answer of 25 MB."""

MAX_READERS = 64
"""Readers at a time: each takes a connection of the server."""


class _Start(NamedTuple):
    """Where a reader begins: with these events, which come after a number; ``lost``: others are gone."""

    entries: Entries
    after: int
    lost: bool = False


def events(call: Call) -> Response:
    """Answer with the events that are kept, as a list, or as a stream that goes on."""
    best, _quality = call.request.accept.acceptable_offers([MEDIA_TYPE, JSON])[0]
    start = _start(call)
    if best == JSON:
        return _list(call.controller, start.entries)
    feed = call.controller.feed
    if feed.readers >= MAX_READERS:
        raise ProblemError(
            503,
            f"{MAX_READERS} readers are connected already, which is the limit; try again later",
            headers={"Retry-After": "30"},
        )
    call.request.environ["eventlet.minimum_write_chunk_size"] = 1
    lines = _lines(call, start, call.query.get("kind"))
    response = Response(app_iter=_Reader(feed, lines))
    response.headers.update(
        {"Content-Type": MEDIA_TYPE, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )
    return response


def _list(controller: Controller, entries: Entries) -> Response:
    """Answer with a list of events; a long one has no length and no validator."""
    if len(entries) <= MANY:
        run, names = _run(controller), Names(controller.state)
        return json_list(event_view(names, run, entry) for entry in entries)
    response = Response(app_iter=_list_pieces(controller, entries))
    response.headers.update({"Content-Type": JSON, "Cache-Control": "no-store"})
    return response


def _list_pieces(controller: Controller, entries: Entries) -> Iterator[bytes]:
    """Make the text of a list of events in pieces; others are served in between."""
    names, run = Names(controller.state), _run(controller)
    for first in range(0, len(entries), CHUNK):
        views = (event_view(names, run, entry) for entry in entries[first : first + CHUNK])
        text = ", ".join(json.dumps(view, allow_nan=False, default=str) for view in views)
        yield ((", " if first else '{"items": [') + text).encode()
        pauses.give_way()
    yield b'], "next": null}\n'


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


def _start(call: Call) -> _Start:
    """Find where a reader begins: behind ``Last-Event-ID``, else with ``last`` and ``since``, else now."""
    feed, kinds = call.controller.feed, call.query.get("kind")
    last, since = call.query.get("last"), call.query.get("since")
    text = call.request.headers.get("Last-Event-ID")
    if text is not None:
        return _resume(call, text.strip())
    if (
        last is None
        and since is None
        and call.request.accept.acceptable_offers([MEDIA_TYPE, JSON])[0][0] != JSON
    ):
        return _Start(Entries([]), feed.last)
    entries = feed.since(0, kinds)
    if since is not None:
        earliest = since.unix(call.clock.wall)
        entries = entries.not_before(earliest)
    return _Start(entries if last is None else entries[-last:], feed.last)


def _resume(call: Call, text: str) -> _Start:
    feed, kinds = call.controller.feed, call.query.get("kind")
    run, _, digits = text.partition("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        raise bad_field("Last-Event-ID", f"{text!r} is no id of an event of this controller")
    number = int(digits)
    if run != _run(call.controller) or number > feed.last:
        return _Start(feed.since(0, kinds), feed.last, lost=True)
    return _Start(feed.since(number, kinds), feed.last, feed.missed(number, kinds))


def _run(controller: Controller) -> str:
    return f"{int(controller.started * 1000):x}"


def _lines(call: Call, start: _Start, kinds: frozenset[str] | None) -> Iterator[bytes]:
    controller = call.controller
    feed, run = controller.feed, _run(controller)
    entries, after, lost = start
    before = entries[0].number - 1 if entries else after
    yield f": flowlane events\nretry: 2000\nid: {run}-{before}\n\n".encode()
    if lost:
        yield b'event: lost\ndata: {"text": "the events before the next one are lost"}\n\n'
    while True:
        yield from _chunks(controller, entries)
        if feed.closed or feed.missed(after, kinds) or not call.caller.is_admitted():
            return
        if entries:
            hub.sleep(GATHER)
        elif not feed.wait(after, HEARTBEAT) and not feed.closed:
            yield b": heartbeat\n\n"
        entries, after = feed.since(after, kinds), feed.last


def _chunks(controller: Controller, entries: Entries) -> Iterator[bytes]:
    """Encode events, :data:`CHUNK` at a time; others are served in between."""
    names, run = Names(controller.state), _run(controller)
    for first in range(0, len(entries), CHUNK):
        if first:
            pauses.give_way()
        yield b"".join(_event(names, run, entry) for entry in entries[first : first + CHUNK])


def _event(names: Names, run: str, entry: Entry) -> bytes:
    view = event_view(names, run, entry)
    body = json.dumps(view, default=str)
    return f"id: {view['id']}\nevent: {view['kind']}\ndata: {body}\n\n".encode()
