"""Every command line of Flowlane in a page is one that the program takes: subcommands, options, forms of values."""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from flowlane.cli import main as command_line
from flowlane.manual import commands as programs

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "topologies/README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROMPTS = re.compile(r"^((\$|#|mininet>( (sh|[a-z]+\d*|remote))?|sudo|nohup|[A-Z_]+=\S+) +)*")
FENCE = re.compile(r"^ *(```|~~~)(\w*)")
LANGUAGES = ("", "sh", "bash", "console")
ENDS = {"|", ">", ">>", "<", "&", "&&", ";", "||", "2>"}


class Line(NamedTuple):
    """A command line, and where it is."""

    place: str
    words: tuple[str, ...]


def code(page: Path) -> Iterator[tuple[int, str]]:
    """Lines of a page's blocks of code with their numbers; a line that goes on after a backslash is one."""
    language: str | None = None
    begun, number_begun = "", 0
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        if fence := FENCE.match(line):
            language = None if language is not None else fence[2]
        elif (language in LANGUAGES) if language is not None else line.startswith("    "):
            text = begun + line.strip()
            number_begun = number_begun if begun else number
            begun = text[:-1] if text.endswith("\\") else ""
            if not begun:
                yield number_begun, text


def command_lines() -> Iterator[Line]:
    for page in PAGES:
        for number, typed in code(page):
            text = re.sub(r"^\.venv/bin/", "", PROMPTS.sub("", typed))
            if re.match(r"flowlane(-manager)? +[a-z-]", text):
                lexer = shlex.shlex(text, posix=True, punctuation_chars="|&;<>")
                lexer.whitespace_split, lexer.commenters = True, "#"
                words = []
                for word in lexer:
                    if word in ENDS:
                        break
                    words.append(word)
                yield Line(f"{page.relative_to(ROOT)}:{number}", tuple(words))


LINES = list(command_lines())


def test_there_are_command_lines() -> None:
    assert len(LINES) > 80
    assert {line.words[0] for line in LINES} == {"flowlane", "flowlane-manager"}


@cache
def parser(program: str) -> argparse.ArgumentParser:
    if program == "flowlane":
        return command_line.parser(*command_line.COMMANDS)
    programs.manager()  # It chooses os-ken's hub, before os-ken is imported.
    from flowlane import option_help  # noqa: PLC0415

    return option_help.parser()


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"{line.place} {' '.join(line.words)}")
def test_a_command_line_is_taken(line: Line) -> None:
    program, *words = line.words
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            parser(program).parse_args(words)
        except SystemExit as end:
            assert not end.code, f"{line.place}: {' '.join(line.words)}\n{said.getvalue()}"


SPAN = re.compile(r"`(flowlane(?:-manager)? [^`]+)`")
SPANS = [
    (str(page.relative_to(ROOT)), text)
    for page in PAGES
    for text in dict.fromkeys(SPAN.findall(re.sub(r"\n(?! *\n)", " ", page.read_text())))
]


@cache
def known() -> dict[tuple[str, ...], programs.Command]:
    """Every command and subcommand, by the words that lead to it."""
    found = {}
    left = [programs.flowlane(), programs.manager()]
    while left:
        command = left.pop()
        found[command.words] = command
        left += command.subcommands
    return found


@pytest.mark.parametrize(("page", "text"), SPANS, ids=lambda value: value)
def test_what_a_sentence_names_is_there(page: str, text: str) -> None:
    """A sentence may leave out arguments, and name several subcommands: ``flowlane pin|unpin``."""
    programs_known = known()
    words = text.split()
    at: tuple[str, ...] = (words[0],)
    for word in words[1:]:
        if (*at, word.partition("|")[0]) not in programs_known:
            break
        assert all((*at, name) in programs_known for name in word.split("|")), f"{page}: {text}"
        at = (*at, word.partition("|")[0])
    command = programs_known[at]
    assert len(at) > 1 or not command.subcommands or not re.match(r"[a-z]", words[1]), f"{page}: {text}"
    flags = {flag for option in command.options for flag in option.flags}
    named = [word.partition("=")[0] for word in words if word.startswith("--")]
    assert [name for name in named if name.rstrip(".,") not in flags] == [], f"{page}: {text}"
