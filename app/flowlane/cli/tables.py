"""Readable tables: columns that fit the terminal, the least important ones left out first."""

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

from flowlane.units import format_rate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

GAP = 2
"""Blanks between columns."""

UNLIMITED = 10_000
"""Width of what is not a terminal: a pipe or a file gets every column whole."""


class Column(NamedTuple):
    """A column: its head, its text for an item, how important it is (1 is never left out), and its side."""

    head: str
    read: Callable[[Any], str]
    rank: int = 1
    right: bool = False


def console() -> Console:
    """The console of standard output."""
    return Console(
        width=None if sys.stdout.isatty() else UNLIMITED, highlight=False, markup=False, emoji=False
    )


def table(columns: Sequence[Column], items: Sequence[Mapping[str, Any]], width: int) -> RenderableType:
    """A table of items, no wider than ``width`` as far as leaving columns out can do it."""
    if not items:
        return Text("none", style="dim")
    texts = [[column.read(item) for item in items] for column in columns]
    chosen = _fitting(columns, texts, width)
    made = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for index in chosen:
        made.add_column(
            columns[index].head,
            justify="right" if columns[index].right else "left",
            overflow="ellipsis",
            no_wrap=True,
        )
    for row in zip(*(texts[index] for index in chosen), strict=True):
        made.add_row(*(Text(text) for text in row))
    return made


def _fitting(columns: Sequence[Column], texts: Sequence[Sequence[str]], width: int) -> list[int]:
    """Indices of the columns to show: the highest ranks go first, the later ones before the earlier ones."""
    widths = [
        max(cell_len(column.head), *map(cell_len, cells))
        for column, cells in zip(columns, texts, strict=True)
    ]
    chosen = list(range(len(columns)))
    while sum(widths[i] for i in chosen) + GAP * (len(chosen) - 1) > width:
        worst = max(chosen, key=lambda i: (columns[i].rank, i))
        if columns[worst].rank <= 1:
            break
        chosen.remove(worst)
    return chosen


def emit(out: Console, made: RenderableType) -> None:
    """Print; into a pipe or a file without the blanks that fill lines up."""
    if out.is_terminal:
        out.print(made)
        return
    with out.capture() as capture:
        out.print(made)
    print("\n".join(line.rstrip() for line in capture.get().splitlines()))


def show(render: Callable[[int], RenderableType], every: float | None) -> None:
    """Print once, or again and again until Ctrl-C; ``render`` gets the width to fit."""
    out = console()
    if every is None:
        emit(out, render(out.width))
        return
    with Live(console=out, auto_refresh=False, screen=out.is_terminal, vertical_overflow="crop") as live:
        while True:
            live.update(Group(Text(time.strftime("%H:%M:%S"), style="dim"), render(out.width)), refresh=True)
            time.sleep(every)


def show_json(value: object) -> None:
    """Print as JSON."""
    print(json.dumps(value, indent=2))


def rate(value: float | None) -> str:
    """A rate for people."""
    return format_rate(value)


def age(moment: str | None) -> str:
    """How long ago an RFC 3339 moment was."""
    if moment is None:
        return "-"
    seconds = max(0, int((datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()))
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days}d{hours:02}h"
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{seconds % 60:02}s" if minutes else f"{seconds}s"


def text(value: object) -> str:
    """A value, or a dash where there is none."""
    return "-" if value is None or value == "" else str(value)


def flow_text(item: Mapping[str, Any]) -> str:
    """Who talks to whom: ``tcp 10.0.0.1:1234 > 192.0.2.1:80``."""
    is_icmp = item["protocol"].startswith("icmp")
    ends = (item["src"], item["dst"])
    if item["src_port"] is not None and not is_icmp:
        ports = (item["src_port"], item["dst_port"])
        ends = tuple(f"[{a}]:{p}" if ":" in a else f"{a}:{p}" for a, p in zip(ends, ports, strict=True))  # type: ignore[assignment]
    kind = f" type {item['src_port']}" if is_icmp else ""
    vlan = "" if item["vlan"] is None else f" vlan {item['vlan']}"
    return f"{item['protocol']} {ends[0]} > {ends[1]}{kind}{vlan}"
