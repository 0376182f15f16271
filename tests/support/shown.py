"""Commands in Markdown pages, with what the page shows of their output."""

from __future__ import annotations

import re
from typing import NamedTuple

BLOCK = re.compile(r"(?:^    .*\n|^\n(?=    ))+", re.MULTILINE)
ANYTHING = "..."


class Shown(NamedTuple):
    """A command and what the page shows of its output, line by line."""

    command: str
    output: tuple[str, ...]


def commands(text: str, prompt: str) -> list[Shown]:
    """List the commands of the indented blocks that begin with a prompt; an empty line may be inside of one."""
    found: list[Shown] = []
    for block in BLOCK.findall(text):
        lines = [line[4:].rstrip() for line in block.strip("\n").splitlines()]
        if not lines[0].startswith(prompt):
            continue
        for line in lines:
            if line.startswith(prompt):
                found.append(Shown(line.removeprefix(prompt), ()))
            else:
                found[-1] = found[-1]._replace(output=(*found[-1].output, line))
    return found


def pattern(lines: tuple[str, ...]) -> str:
    """A line that is only dots stands for any lines, dots inside of one for any words of it."""
    parts = []
    for line in lines:
        if line == ANYTHING:
            parts.append("(?:.*\n)*?")
        elif line:
            text = ".*".join(re.escape(" ".join(part.split())) for part in line.split(ANYTHING))
            parts.append(text.replace(".*", " ?.* ?") + "\n")
    return "".join(parts)


def words(text: str) -> str:
    """Without the widths of columns, which follow from what stands in them, and without empty lines."""
    return "".join(" ".join(line.split()) + "\n" for line in text.splitlines() if line.strip())


def agrees(shown: Shown, printed: str) -> bool:
    """Return whether a command printed what the page shows; a page that shows nothing asks for nothing."""
    return not shown.output or re.fullmatch(pattern(shown.output), words(printed)) is not None
