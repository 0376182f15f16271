"""``flowlane events``: what changes, as it happens; a broken connection is taken up where it broke."""

from __future__ import annotations

import json
import time
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING

from flowlane.cli.client import Client, ServerEvent, UnreachableError, connect, events
from flowlane.cli.listing import add_output

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

RETRY = 2.0
"""Seconds before a broken connection is tried again."""

TRIES = 5
"""Attempts in a row that may fail before the command gives up."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_output(parser, watch=False)
    parser.add_argument(
        "--kind", help="only these kinds, with commas: flow,assignment,move,device,vm,queue,policy,hint,error"
    )
    parser.add_argument("--count", type=int, help="end after so many")


def run(args: argparse.Namespace) -> int:
    """Print events until Ctrl-C, or as many as asked for."""
    found = _follow(connect(args.url), {"kind": args.kind} if args.kind else {})
    for event in islice(found, args.count):
        print(json.dumps({"id": event.id, **event.data}) if args.json else _line(event), flush=True)
    return 0


def _follow(client: Client, query: dict[str, str]) -> Iterator[ServerEvent]:
    last, failed = "", 0
    while True:
        try:
            for event in events(client, query, last):
                last, failed = event.id or last, 0
                yield event
        except UnreachableError:
            failed += 1
            if failed >= TRIES or not last:
                raise
        time.sleep(RETRY)


def _line(event: ServerEvent) -> str:
    moment = event.data.get("time")
    clock = datetime.fromisoformat(moment).astimezone().strftime("%H:%M:%S.%f")[:-3] if moment else "-"
    return f"{clock:<12}  {event.kind:<10}  {event.data['text']}"
