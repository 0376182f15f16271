"""Tables of any number of rows: as those that rich lays out, and quickly."""

from __future__ import annotations

import sys
from io import StringIO
from typing import TYPE_CHECKING

from rich.console import Console

from flowlane.cli.long_table import write_table
from flowlane.cli.tables import Column, emit, table

if TYPE_CHECKING:
    import pytest

COLUMNS = (
    Column("NAME", lambda item: item["name"]),
    Column("NUMBER", lambda item: str(item["number"]), 2, right=True),
    Column("WHY", lambda item: item["why"], 3),
)
ITEMS = [
    {"name": "vm-1", "number": 1, "why": "because"},
    {"name": "客户", "number": 4711, "why": ""},
    {"name": "\x1b[31mred", "number": 20, "why": "it is told so\nby nobody"},
    {"name": "a name that is longer than the others are", "number": 0, "why": "-"},
]


def text_of(width: int, capsys: pytest.CaptureFixture[str], *, long: bool) -> str:
    out = Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)
    if long:
        write_table(out, COLUMNS, ITEMS)
    else:
        emit(out, table(COLUMNS, ITEMS, width))
    return capsys.readouterr().out


def test_it_is_the_table_that_rich_makes(capsys: pytest.CaptureFixture[str]) -> None:
    """At every width at which rich cuts one column only."""
    for width in (200, 70, 60, 51, 41, 30):
        assert text_of(width, capsys, long=True) == text_of(width, capsys, long=False), width


def test_no_rows_are_none(capsys: pytest.CaptureFixture[str]) -> None:
    write_table(Console(file=sys.stdout, width=80), COLUMNS, [])
    assert capsys.readouterr().out == "none\n"


def test_the_head_is_bold_on_a_terminal() -> None:
    file = StringIO()
    out = Console(file=file, force_terminal=True, width=80, color_system="standard")
    write_table(out, COLUMNS[:1], ITEMS[:1])
    assert file.getvalue() == "\x1b[1mNAME\x1b[0m\n"
