"""A command that lists what a controller has: its options, its formats, and the rows in order.

The commands themselves are in :mod:`flowlane.cli.lists`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Group, RenderableType

from flowlane.cli.arguments import FORMATS, LARGEST_COUNT, add_output, format_of, whole_number
from flowlane.cli.client import Answer, Client, client_of, pages, stream_pages
from flowlane.cli.long_table import write_pages
from flowlane.cli.output import add_sorting, in_order, show_data, show_names
from flowlane.cli.tables import UNLIMITED, Column, console, line, show, table, turns
from flowlane.errors import RequestError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

ROWS = 1000
"""Rows of a table without ``--limit``."""

FILTERS = {
    "device": "on this device: its dpid or name",
    "vm": "of this VM: its id or name",
    "class": "of this class",
    "proto": "of this protocol: tcp, udp, sctp, icmp, icmpv6, a number, or an ethertype (arp, 0x88f7)",
    "src": "from this address or prefix",
    "dst": "to this address or prefix",
    "src-port": "from this port",
    "dst-port": "to this port",
    "port": "out of this port: its name or number",
    "queue": "on this queue id, or none",
    "kind": "on this kind of queue: physical, software or none",
    "reason": "placed for this reason, such as exclusive or overflow-to-software",
}
"""Filter -> help. As a query parameter it has an underscore for its hyphen."""


class ListCommand(NamedTuple):
    """A command that lists what a REST path gives.

    ``names`` lists the names of items, for ``--output name``. ``read`` gets the client, ``path``, the query and the
    number of items at most (None: all); it returns the list as REST does, with ``items`` and ``next``. A list that is
    not ``paged`` has no ``--limit``. ``sorts``: columns by which the controller sorts, with the value of ``sort`` for
    what the command lists first; by others the whole list is sorted here.
    """

    path: str
    columns: tuple[Column, ...]
    names: Callable[[Sequence[Answer]], list[str]]
    filters: tuple[str, ...] = ()
    read: Callable[[Client, str, Mapping[str, Any], int | None], Answer] = pages
    paged: bool = True
    sorts: Mapping[str, str] = MappingProxyType({})

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        add_output(parser, formats=tuple(FORMATS))
        add_sorting(parser, self.columns)
        for name in self.filters:
            parser.add_argument(f"--{name}", dest=f"filter_{name}", metavar=name.upper(), help=FILTERS[name])
        if self.paged:
            parser.add_argument(
                "--limit",
                type=whole_number(0, LARGEST_COUNT),
                help=f"items at most; 0: all (default: all with --json, else {ROWS})",
            )

    def run(self, args: argparse.Namespace) -> int:
        """Print the list, once or again and again."""
        client, form = client_of(args), format_of(args)
        options = {name: getattr(args, f"filter_{name}") for name in self.filters}
        query = {name.replace("-", "_"): value for name, value in options.items() if value is not None}
        limit = args.limit if self.paged else None
        at_most = (limit if limit is not None or form not in (None, "wide") else ROWS) or None
        if args.reverse and args.sort_by is None:
            raise RequestError("--reverse turns the order of --sort-by around; give --sort-by COLUMN too")

        at_controller = self.sorts.get(args.sort_by.head) if args.sort_by is not None else None
        if at_controller is not None:
            query["sort"] = _turned(at_controller) if args.reverse else at_controller

        def read() -> Answer:
            if args.sort_by is None or at_controller is not None:
                return self.read(client, self.path, query, at_most)
            items = self.read(client, self.path, query, None)["items"]
            ordered = in_order(items, args.sort_by, reverse=args.reverse)
            return Answer(items=ordered[:at_most], next=None, total=len(items))

        if form == "name":
            for _ in turns(args.watch):
                show_names(self.names(read()["items"]))
        elif form in ("json", "yaml"):
            show_data(lambda: _without_total(read()), form, args.watch)
        elif (
            self.read is pages and args.watch is None and (args.sort_by is None or at_controller is not None)
        ):
            self._print(client, query, at_most, wide=form == "wide")
        else:
            wide = UNLIMITED if form == "wide" else None
            show(lambda width: _table(read(), self.columns, wide or width), args.watch, wide=wide is not None)
        return 0

    def _print(self, client: Client, query: Mapping[str, Any], at_most: int | None, *, wide: bool) -> None:
        """Print a table of a list that may be long, a page at a time."""
        found = stream_pages(client, self.path, query, at_most)
        items, cursor = next(found)
        if cursor is None or not items or (at_most is not None and len(items) >= at_most):
            answer = _joined(items, cursor, found)
            show(lambda width: _table(answer, self.columns, UNLIMITED if wide else width), None, wide=wide)
            return
        last: list[str | None] = [cursor]
        count = write_pages(console(wide=wide), self.columns, items, _noting(found, last))
        if last[0] is not None:
            print(f"{count} shown, there may be more: --limit 0 shows all")


def _noting(
    pages: Iterable[tuple[list[Answer], str | None]], last: list[str | None]
) -> Iterator[list[Answer]]:
    """Yield the items of pages, and note the cursor of what is left in the place of the last one."""
    for items, cursor in pages:
        last[0] = cursor
        yield items


def _joined(
    items: list[Answer], cursor: str | None, others: Iterable[tuple[list[Answer], str | None]]
) -> Answer:
    """Put pages together."""
    for more, following in others:
        items, cursor = items + more, following
    return Answer(items=items, next=cursor)


def _turned(sort: str) -> str:
    return sort.removeprefix("-") if sort.startswith("-") else f"-{sort}"


def _without_total(answer: Answer) -> Answer:
    return Answer(items=answer["items"], next=answer["next"])


def _table(answer: Answer, columns: Sequence[Column], width: int) -> RenderableType:
    """Make a table of a list; a last line says where more may follow."""
    items = answer["items"]
    rows = table(columns, items, width)
    notes = [line(note, "yellow") for item in items for note in _notes(item)]
    if answer["next"] is not None:
        notes.append(line(f"{len(items)} shown, there may be more: --limit 0 shows all", "dim"))
    elif answer.get("total", 0) > len(items):
        notes.append(line(f"{len(items)} of {answer['total']} shown: --limit 0 shows all", "dim"))
    return Group(rows, *notes) if notes else rows


def _notes(item: Answer) -> list[str]:
    """Write why a device is unusable, where others' entries conflict with ours there; conflicts and quota of a VM."""
    if "target" in item:
        return []
    if "claims" in item:
        return [
            *(
                f"{item['name']}: {one['key']} is claimed by {', '.join(one['others'])}, too; {one['holder']} has it"
                for one in item["conflicts"]
            ),
            *(
                f"{item['name']} is beyond its quota of {one['excess']} on {one['device']}; its flows are not followed "
                f"until {one['until']} at least (times so far: {one['times']})"
                for one in item.get("quota", ())
                if one["excess"]
            ),
        ]
    texts = [f"unusable: {item['unusable']}"] if item.get("unusable") else []
    return [f"{item['name']}: {text}" for text in (*texts, *item.get("conflicts", ()))]
