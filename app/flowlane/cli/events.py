"""``flowlane events``: changes, as they happen; after a broken connection they go on where it broke."""

from __future__ import annotations

import json
import time
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING

from flowlane.cli.arguments import LARGEST_COUNT, add_output, whole_number
from flowlane.cli.client import Client, ServerEvent, UnreachableError, client_of, events

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

RETRY = 2.0
"""Seconds before a broken connection is tried again."""

TRIES = 5
"""Connections in a row that may fail before the command ends."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_output(parser, watch=False)
    parser.add_argument(
        "--kind",
        help="only these kinds, with commas: flow,assignment,move,device,vm,queue,policy,hint,link,error",
    )
    parser.add_argument("--count", type=whole_number(1, LARGEST_COUNT), help="end after so many")


def run(args: argparse.Namespace) -> int:
    """Print events until Ctrl-C, or as many as ``--count``."""
    query = {} if args.kind is None else {"kind": args.kind}
    for event in islice(_follow(client_of(args), query), args.count):
        print(json.dumps({"id": event.id, **event.data}) if args.json else _line(event), flush=True)
    return 0


def _follow(client: Client, query: dict[str, str]) -> Iterator[ServerEvent]:
    """Yield events; connect again after a broken connection, from the last event on."""
    last_id, failures = "", 0
    while True:
        try:
            for event in events(client, query, last_id):
                last_id, failures = event.id or last_id, 0
                yield event
        except UnreachableError:
            failures += 1
            if failures >= TRIES or not last_id:
                raise
        time.sleep(RETRY)


def _line(event: ServerEvent) -> str:
    moment = event.data.get("time")
    clock = datetime.fromisoformat(moment).astimezone().strftime("%H:%M:%S.%f")[:-3] if moment else "-"
    return f"{clock:<12}  {event.kind:<10}  {event.data['text']}"
