"""Long lists of REST, made and encoded an item at a time, so that switches are served in between.

An item is made and encoded in one turn, so each is consistent in itself; the state may change from one to the next.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from flowlane import hub, pauses
from flowlane.northbound.http.problems import JSON, respond

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from webob import Response


def _encode(item: object) -> str:
    return json.dumps(item, allow_nan=False, default=str)


def json_list(
    items: Iterable[object],
    before: Mapping[str, object] | None = None,
    after: Callable[[], Mapping[str, object]] = lambda: {"next": None},
    time_slice: hub.TimeSlice | None = None,
    encode: Callable[[Any], str] = _encode,
) -> Response:
    """Make a JSON response with the field ``items``.

    Args:
        items: made one at a time.
        before: fields before the items.
        after: returns the fields behind them, when all were made.
        time_slice: the one that the maker of the items checks, too.
        encode: makes JSON text of an item.
    """
    time_slice = time_slice or pauses.ReadingSlice()
    encoded = []
    for item in items:
        encoded.append(encode(item))
        time_slice.check()
    head = json.dumps(before)[:-1] + ", " if before else "{"
    rest = after()
    tail = "], " + json.dumps(rest)[1:] if rest else "]}"
    body = f'{head}"items": [{", ".join(encoded)}{tail}\n'
    return respond(body.encode(), JSON)
