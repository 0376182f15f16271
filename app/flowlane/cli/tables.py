"""Tables on standard output: columns that fit the terminal, the least important ones left out first."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from flowlane.escaping import escaped
from flowlane.units import format_rate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

GAP = 2
"""Blanks between columns."""

UNLIMITED = 10_000
"""Width of a pipe or a file: every column, and no text is cut."""


class Column(NamedTuple):
    """A column of a table.

    ``read`` makes an item's text. Columns of a high ``rank`` are left out first, those of rank 1 never.
    ``right``: aligned to the right. ``amount`` gives what the column measures, by which rows are sorted, the largest
    first (None: not known); without it they are sorted by their texts.
    """

    head: str
    read: Callable[[Any], str]
    rank: int = 1
    right: bool = False
    amount: Callable[[Any], float | None] | None = None


def is_terminal() -> bool:
    """Return whether standard output is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def console(*, wide: bool = False) -> Console:
    """Make the console of standard output; a ``wide`` one has lines of any length on a terminal, too."""
    width = None if is_terminal() and not wide else UNLIMITED
    return Console(width=width, highlight=False, markup=False, emoji=False)


def line(text: str, style: str = "") -> Text:
    """Make a line of a text, in which what others have chosen is escaped (:mod:`flowlane.escaping`)."""
    return Text(escaped(text), style=style)


def table(columns: Sequence[Column], items: Sequence[Mapping[str, Any]], width: int) -> RenderableType:
    """Make a table of items, no wider than ``width`` cells as far as leaving columns out can do it."""
    if not items:
        return line("none", "dim")
    texts = [[escaped(column.read(item)) for item in items] for column in columns]
    widths = [
        max(cell_len(column.head), *map(cell_len, cells))
        for column, cells in zip(columns, texts, strict=True)
    ]
    shown = fitting(columns, widths, width)
    grid = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for index in shown:
        grid.add_column(
            columns[index].head,
            justify="right" if columns[index].right else "left",
            overflow="ellipsis",
            no_wrap=True,
        )
    for row in zip(*(texts[index] for index in shown), strict=True):
        grid.add_row(*(Text(text) for text in row))
    return grid


def fitting(columns: Sequence[Column], widths: Sequence[int], width: int) -> list[int]:
    """Choose the columns to show, by index: the highest ranks go first, the later ones before the earlier ones."""
    shown = list(range(len(columns)))
    while sum(widths[i] for i in shown) + GAP * (len(shown) - 1) > width:
        least = max(shown, key=lambda i: (columns[i].rank, i))
        if columns[least].rank <= 1:
            break
        shown.remove(least)
    return shown


def emit(out: Console, renderable: RenderableType) -> None:
    """Print; into a pipe or a file without the blanks that fill lines up."""
    if out.is_terminal:
        out.print(renderable)
        return
    with out.capture() as capture:
        out.print(renderable)
    print("\n".join(line.rstrip() for line in capture.get().splitlines()), flush=True)


def turns(every: float | None) -> Iterator[None]:
    """Yield once; or, with ``every``, again and again, so many seconds apart."""
    yield
    while every is not None:
        time.sleep(every)
        yield


def show(render: Callable[[int], RenderableType], every: float | None, *, wide: bool = False) -> None:
    """Print once, or every so many seconds until Ctrl-C.

    On a terminal each table takes the place of the last one. Into a pipe or a file they follow each other,
    with a line of time in front of each, and without control codes.

    Args:
        render: gets the width to fit, in cells.
        every: seconds; None prints once.
        wide: whether lines may be longer than the terminal is wide, where they do not take the place of others.
    """
    out = console(wide=wide and every is None)
    if every is None or not is_terminal() or out.is_dumb_terminal:
        for _ in turns(every):
            renderable = render(out.width)
            if every is not None:
                print(time.strftime("%Y-%m-%d %H:%M:%S"))
            emit(out, renderable)
        return
    with Live(console=out, auto_refresh=False, screen=True, vertical_overflow="crop") as live:
        for _ in turns(every):
            live.update(Group(line(time.strftime("%H:%M:%S"), "dim"), render(out.width)), refresh=True)


def show_json(value: object) -> None:
    """Print as JSON."""
    print(json.dumps(value, indent=2), flush=True)


def rate(value: float | None) -> str:
    """Write a rate in bit/s."""
    return format_rate(value)


def seconds_since(moment: str | None) -> float | None:
    """Return how long ago an RFC 3339 moment was, in seconds; None for no moment."""
    return None if moment is None else (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()


def age(moment: str | None) -> str:
    """Write how long ago an RFC 3339 moment was."""
    ago = seconds_since(moment)
    if ago is None:
        return "-"
    seconds = max(0, int(ago))
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days}d{hours:02}h"
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{seconds % 60:02}s" if minutes else f"{seconds}s"


def text(value: object) -> str:
    """Write a value, or a dash where there is none."""
    return "-" if value is None or value == "" else str(value)


def flow_text(item: Mapping[str, Any]) -> str:
    """Write a flow's protocol and ends: ``tcp 10.0.0.1:1234 > 192.0.2.1:80``."""
    is_icmp = item["protocol"].startswith("icmp")
    ends = (item["src"], item["dst"])
    if item["src_port"] is not None and not is_icmp:
        ports = (item["src_port"], item["dst_port"])
        ends = tuple(f"[{a}]:{p}" if ":" in a else f"{a}:{p}" for a, p in zip(ends, ports, strict=True))  # type: ignore[assignment]
    kind = f" type {item['src_port']}" if is_icmp else ""
    vlan = "" if item["vlan"] is None else f" vlan {item['vlan']}"
    return f"{item['protocol']} {ends[0]} > {ends[1]}{kind}{vlan}"
