"""``flowlane events``: what has happened, and what happens; it goes on where a connection or the controller ended."""

from __future__ import annotations

import json
import time
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING

from flowlane.cli.arguments import FORMATS, LARGEST_COUNT, add_output, format_of, whole_number
from flowlane.cli.client import (
    Client,
    RefusedError,
    ServerEvent,
    UnreachableError,
    client_of,
    events,
    get,
)
from flowlane.cli.output import yaml_text
from flowlane.escaping import escaped
from flowlane.stdio import print_error

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

RETRY = 2.0
"""Seconds before a broken connection is tried again."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_output(parser, watch=False, formats=tuple(FORMATS))
    parser.add_argument(
        "--kind",
        help="only these kinds, with commas: flow,assignment,move,device,vm,queue,policy,hint,link,error",
    )
    parser.add_argument(
        "--last", type=whole_number(1, LARGEST_COUNT), help="the last events, so many at most"
    )
    parser.add_argument("--since", help="events since then: a duration such as 5min, or an RFC 3339 time")
    parser.add_argument(
        "--follow",
        action="store_true",
        help="go on with events as they happen (default without --last and --since)",
    )
    parser.add_argument("--count", type=whole_number(1, LARGEST_COUNT), help="end after so many")


def run(args: argparse.Namespace) -> int:
    """Print events that are kept; then, with ``--follow``, others until Ctrl-C, or as many as ``--count``."""
    given = {"kind": args.kind, "last": args.last, "since": args.since}
    query = {name: str(value) for name, value in given.items() if value is not None}
    client = client_of(args)
    form = format_of(args)
    follows = args.follow or (args.last is None and args.since is None)
    found = _follow(client, query) if follows else _kept(client, query)
    for event in islice(found, args.count):
        print(_text(event, form), flush=True)
    return 0


def _text(event: ServerEvent, form: str | None) -> str:
    """Write an event: JSON is one object a line, YAML one document, a name the event's id."""
    if form == "name":
        return event.id
    if form in (None, "wide"):
        return _line(event)
    data = {"id": event.id, **event.data}
    return json.dumps(data) if form == "json" else f"---\n{yaml_text(data)}".rstrip("\n")


def _kept(client: Client, query: dict[str, str]) -> Iterator[ServerEvent]:
    for item in get(client, "/v1/events", query)["items"]:
        yield ServerEvent(item["id"], item["kind"], item)


def _follow(client: Client, query: dict[str, str]) -> Iterator[ServerEvent]:
    """Yield events; after a broken connection go on from the last event, as soon as a controller answers again.

    Raises:
        UnreachableError: no controller answers the first time.
    """
    last_id, is_lost = "", False
    while True:
        try:
            for event in events(client, query, last_id):
                last_id = event.id or last_id
                if is_lost:
                    is_lost = False
                    print_error(f"flowlane: controller at {client.place} answers again")
                if event.data:
                    yield event
        except (UnreachableError, RefusedError) as error:
            is_refused = isinstance(error, RefusedError) and error.status < 500
            if not last_id or is_refused:
                raise
            if not is_lost:
                is_lost = True
                print_error(f"flowlane: {error}; trying again every {RETRY:g} s")
        time.sleep(RETRY)


def _line(event: ServerEvent) -> str:
    """Write an event in one line: when, of what kind, on which device, of which VM, what, and why."""
    data = event.data
    moment = data.get("time")
    clock = datetime.fromisoformat(moment).astimezone().strftime("%H:%M:%S.%f")[:-3] if moment else "-"
    device = data.get("device_name") or data.get("device") or "-"
    vm = data.get("vm_name") or data.get("vm") or "-"
    why = f" ({data['why']})" if data.get("why") else ""
    return escaped(f"{clock:<12}  {event.kind:<10}  {device:<10}  {vm:<10}  {data['text']}{why}")
