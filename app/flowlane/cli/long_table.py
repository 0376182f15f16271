"""Tables of any number of rows, written line by line: they look as those of :mod:`flowlane.cli.tables` do.

rich lays a whole table out before it prints a line, which takes a minute and a gigabyte for 100,000 rows.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len, set_cell_size

from flowlane.cli.client import Answer, UnreachableError
from flowlane.cli.tables import GAP, UNLIMITED, fitting, line
from flowlane.escaping import escaped

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from rich.console import Console

    from flowlane.cli.tables import Column

LINES = 1000
"""Lines that are written at once."""


def write_table(out: Console, columns: Sequence[Column], items: Collection[Mapping[str, Any]]) -> None:
    """Write a table of items, no wider than the console."""
    if not items:
        out.print(line("none", "dim"))
        return
    readers = [column.read for column in columns]
    rows = [[escaped(read(item)) for read in readers] for item in items]
    widths = [
        max(cell_len(column.head), *(_cells(row[index]) for row in rows))
        for index, column in enumerate(columns)
    ]
    shown = fitting(columns, widths, out.width)
    _narrow(widths, shown, out.width)
    head = [_aligned(columns[index].head, widths[index], right=columns[index].right) for index in shown]
    out.print(line((" " * GAP).join(head).rstrip(), "bold"), soft_wrap=True)
    waiting: list[str] = []
    for text in _lines(columns, rows, widths, shown):
        waiting.append(text)
        if len(waiting) == LINES:
            print("\n".join(waiting))
            waiting.clear()
    print("\n".join(waiting), flush=True)


def write_pages(
    out: Console, columns: Sequence[Column], first: Sequence[Answer], others: Iterable[Sequence[Answer]]
) -> int:
    """Write a table whose other pages come while it is written; return the number of its rows.

    Columns are as wide as the first page needs. On a terminal longer texts of other pages are cut; else they make their
    line longer.
    """
    texts = [_texts(column, first) for column in columns]
    widths = [
        max(cell_len(column.head), *map(_cells, cells)) for column, cells in zip(columns, texts, strict=True)
    ]
    shown = fitting(columns, widths, out.width)
    _narrow(widths, shown, out.width)
    is_cut, gap, count = out.width < UNLIMITED, " " * GAP, 0
    head = [_aligned(columns[index].head, widths[index], right=columns[index].right) for index in shown]
    out.print(line(gap.join(head).rstrip(), "bold"), soft_wrap=True)
    pages = chain(
        ([texts[index] for index in shown],),
        ([_texts(columns[index], page) for index in shown] for page in others if page),
    )
    places = [(widths[index], columns[index].right) for index in shown]
    for page in pages:
        rows = [
            gap.join(
                [
                    _aligned(cell, width, right=right) if is_cut or len(cell) <= width else cell
                    for cell, (width, right) in zip(row, places, strict=True)
                ]
            ).rstrip()
            for row in zip(*page, strict=True)
        ]
        count += len(rows)
        print("\n".join(rows), flush=True)
    return count


def _texts(column: Column, items: Sequence[Answer]) -> list[str]:
    try:
        return [escaped(column.read(item)) for item in items]
    except (KeyError, TypeError) as error:
        raise UnreachableError(
            f"an answer of the controller lacks what column {column.head} shows ({error}): is --url a Flowlane "
            "controller of this version?"
        ) from error


def _lines(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    widths: Sequence[int],
    shown: Sequence[int],
) -> Iterator[str]:
    places = [(index, widths[index], columns[index].right) for index in shown]
    gap = " " * GAP
    for row in rows:
        yield gap.join([_aligned(row[index], width, right=right) for index, width, right in places]).rstrip()


def _narrow(widths: list[int], shown: Sequence[int], width: int) -> None:
    """Make the widest columns narrower until a line fits, or nothing is left to take away."""
    excess = sum(widths[index] for index in shown) + GAP * (len(shown) - 1) - width
    while excess > 0:
        widest = max(shown, key=lambda index: widths[index])
        if widths[widest] <= 1:
            return
        widths[widest] -= 1
        excess -= 1


def _cells(text: str) -> int:
    return len(text) if text.isascii() else cell_len(text)


def _aligned(text: str, width: int, *, right: bool) -> str:
    if text.isascii() and len(text) <= width:
        return text.rjust(width) if right else text.ljust(width)
    cells = cell_len(text)
    if cells > width:
        return set_cell_size(text, width - 1) + "…"
    return " " * (width - cells) + text if right else text + " " * (width - cells)
