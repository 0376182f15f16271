"""What the documentation shows of commands is what they print: each is run, where a reader would run it."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.shown import Shown, agrees, commands

from flowlane.cli.main import main

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {"operators/trying-policies.md": DOCS / "policies"}
"""Page -> the folder in which its commands are run."""

CASES = [
    pytest.param(page, shown, id=shown.command)
    for page in PAGES
    for shown in commands((DOCS / page).read_text(), "$ ")
]


def test_there_are_commands() -> None:
    assert len(CASES) >= 3


@pytest.mark.parametrize(("page", "shown"), CASES)
def test_a_command_prints_what_the_page_shows(
    page: str, shown: Shown, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PAGES[page])
    monkeypatch.setenv("COLUMNS", "160")
    assert main(shlex.split(shown.command)[1:]) == 0
    printed = capsys.readouterr().out
    assert agrees(shown, printed), printed


PACKAGE = Path(__file__).parents[1] / "app" / "flowlane"
PLACE = re.compile(r"`([\w/]+\.py):([\w.]+)`")
"""A function, class, method or table named in a page: its file below app/flowlane, and its name."""

PLACES = [
    pytest.param(file, name, id=f"{page}-{file}:{name}")
    for page in ("architecture.md", "where-is-what.md")
    for file, name in dict.fromkeys(PLACE.findall((DOCS / "engineers" / page).read_text()))
]


def test_there_are_places() -> None:
    assert len(PLACES) >= 50


def defined_in(body: list[ast.stmt]) -> Iterator[tuple[str, list[ast.stmt]]]:
    """Each function, class and variable of a module or class, with what stands in it."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.body
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from ((target.id, []) for target in targets if isinstance(target, ast.Name))


@pytest.mark.parametrize(("file", "name"), PLACES)
def test_a_place_that_a_page_names_exists(file: str, name: str) -> None:
    body: list[ast.stmt] = ast.parse((PACKAGE / file).read_text()).body
    for part in name.split("."):
        definitions = dict(defined_in(body))
        assert part in definitions, f"{file} has no {name}"
        body = definitions[part]


FIGURES = {
    "with Flowlane": ("flowlane", 1),
    "in one queue": ("one queue", 1),
    "with nothing heavy": ("nothing heavy", 1),
    "with leaves": ("flowlane, fq_codel", 2),
}
"""Words behind a latency in the README -> the row and column of the first table that has it."""


@pytest.mark.parametrize("words", FIGURES)
def test_a_latency_of_the_readme_is_the_one_of_the_page(words: str) -> None:
    placement, column = FIGURES[words]
    readme = " ".join((DOCS.parent / "README.md").read_text().split())
    shown = re.search(rf"([\d.]+) ms {words}", readme)
    rows = (line.split("|") for line in (DOCS / "engineers" / "latency.md").read_text().splitlines())
    measured = next(float(row[column + 1]) for row in rows if len(row) > 9 and row[1].strip() == placement)
    assert shown is not None
    decimals = len(shown[1].partition(".")[2])
    assert shown[1] == f"{measured:.{decimals}f}"
