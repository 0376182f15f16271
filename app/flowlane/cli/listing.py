"""What the commands that list something have in common: filters, pages, ``--json``, ``--watch``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from flowlane.cli.client import Client, add_url, connect, pages
from flowlane.cli.tables import Column, show, show_json, table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping, Sequence

ROWS = 1000
"""Rows that a table shows unless told otherwise."""

WATCH = 2.0
"""Seconds between two looks: what changes faster cannot be read."""

FILTERS = {
    "device": "on this device: its dpid or name",
    "vm": "of this VM: its id or name",
    "class": "of this class",
    "proto": "of this protocol: tcp, udp, sctp, icmp, icmpv6, a number, or an ethertype (0x88f7)",
    "src": "from this address or prefix",
    "dst": "to this address or prefix",
    "src-port": "from this port",
    "dst-port": "to this port",
    "port": "out of this port: its name or number",
    "queue": "on this queue id, or none",
    "kind": "on this kind of queue: physical, software or none",
    "reason": "that are where they are for this reason, such as exclusive or overflow-to-software",
}


def add_output(parser: argparse.ArgumentParser, *, watch: bool = True) -> None:
    """Add ``--url``, ``--json`` and ``--watch``."""
    add_url(parser)
    parser.add_argument("--json", action="store_true", help="print what REST answers")
    if watch:
        parser.add_argument(
            "--watch",
            type=float,
            nargs="?",
            const=WATCH,
            metavar="SECONDS",
            help="look again and again (2 s)",
        )


def add_filters(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    """Add filters as options, and ``--limit``."""
    for name in names:
        parser.add_argument(f"--{name}", dest=f"filter_{name}", metavar=name.upper(), help=FILTERS[name])
    parser.add_argument("--limit", type=int, help=f"at most this many (0: all; tables: {ROWS})")


def filters(args: argparse.Namespace) -> dict[str, Any]:
    """The filters that were given, as query parameters."""
    given = {name: getattr(args, f"filter_{name}", None) for name in FILTERS}
    return {name.replace("-", "_"): value for name, value in given.items() if value is not None}


def run_list(args: argparse.Namespace, path: str, columns: Sequence[Column]) -> int:
    """List what a path gives."""
    return show_lists(args, lambda client, at_most: pages(client, path, filters(args), at_most), columns)


def show_lists(
    args: argparse.Namespace,
    read: Callable[[Client, int | None], Mapping[str, Any]],
    columns: Sequence[Column],
) -> int:
    """Show a list that is read by a function, in the way the options say."""
    client = connect(args.url)
    limit = getattr(args, "limit", None)
    if args.json:
        show_json(read(client, limit or None))
        return 0
    at_most = (ROWS if limit is None else limit) or None
    show(lambda width: _with_foot(read(client, at_most), columns, width), args.watch)
    return 0


def _with_foot(found: Mapping[str, Any], columns: Sequence[Column], width: int) -> RenderableType:
    made = table(columns, found["items"], width)
    if found["next"] is None:
        return made
    foot = f"{len(found['items'])} shown, there may be more: --limit 0 shows all"
    return Group(made, Text(foot, style="dim"))
