"""Tables of any number of rows: as those that rich lays out, and quickly."""

from __future__ import annotations

import sys
from io import StringIO

import pytest
from rich.console import Console

from flowlane.cli import client
from flowlane.cli import main as cli
from flowlane.cli.client import Answer, UnreachableError
from flowlane.cli.long_table import write_pages, write_table
from flowlane.cli.tables import UNLIMITED, Column, emit, table

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


def plain(width: int) -> Console:
    return Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)


PAGED = (
    Column("NAME", lambda item: item["name"]),
    Column("SIZE", lambda item: str(item["size"]), right=True),
    Column("MORE", lambda item: item["more"]["text"], 3),
)


def item(name: str, size: int, more: str = "-") -> Answer:
    return Answer(name=name, size=size, more={"text": more})


FIRST = [item("a", 1), item("bbb", 22222, "x")]
LATER = [[item("a long name", 3)], [], [item("ü\x1b", 4, "été")]]


def test_pages_follow_each_other_under_one_head(capsys: pytest.CaptureFixture[str]) -> None:
    assert write_pages(plain(UNLIMITED), PAGED, FIRST, LATER) == 4
    assert capsys.readouterr().out.splitlines() == [
        "NAME   SIZE  MORE",
        "a         1  -",
        "bbb   22222  x",
        "a long name      3  -",
        "ü\\x1b      4  été",
    ]


def test_lines_fit_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    write_pages(plain(12), PAGED, FIRST, LATER)
    assert capsys.readouterr().out.splitlines() == [
        "NAME   SIZE",
        "a         1",
        "bbb   22222",
        "a l…      3",
        "ü\\x…      4",
    ]


def test_an_answer_of_another_program_is_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnreachableError, match="what column MORE shows"):
        write_pages(plain(UNLIMITED), PAGED, [Answer(name="a", size=1, more=None)], [])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("command", ["flows", "assignments"])
def test_a_list_of_many_pages_has_the_rows_of_one_of_a_single_page(
    controller_url: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    def rows(*options: str) -> list[list[str]]:
        assert cli.main([command, "--url", controller_url, *options]) == 0
        return [line.split() for line in capsys.readouterr().out.splitlines()]

    whole = rows("--limit", "0", "--sort-by", "id")
    assert len(whole) > 5
    monkeypatch.setattr(client, "PAGE", 2)
    many = rows("--limit", "0")
    assert many[0] == whole[0]
    # What changes with time is left out: how long ago.
    assert sorted(row[-1] for row in many) == sorted(row[-1] for row in whole)
    some = rows("--limit", "3")
    assert [row[-1] for row in some[1:4]] == [row[-1] for row in many[1:4]]
    assert " ".join(some[-1]) == "3 shown, there may be more: --limit 0 shows all"
