"""Every link of every Markdown page leads somewhere: to a file that is there, and to a heading that is in it.

Links to other sites are checked for their form only: tests need no network.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
)
FENCE = re.compile(r"^ *(```|~~~)")
INLINE = re.compile(r"\]\(\s*<?([^()\s<>]*(?:\([^()\s]*\)[^()\s<>]*)*)>?(?:\s+\"[^\"]*\")?\s*\)")
REFERENCE = re.compile(r"^ {0,3}\[[^\]]+\]:\s+<?(\S+?)>?(?:\s|$)")
HEADING = re.compile(r"^ {0,3}#{1,6}\s+(.*?)\s*#*\s*$")
ANCHOR = re.compile(r"<a\s+(?:id|name)=\"([^\"]+)\"")
HOST = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*(:\d+)?\Z")


class Link(NamedTuple):
    line: int
    target: str


def prose(page: str) -> Iterator[tuple[int, str]]:
    """Lines of a page with their numbers, without its blocks of code."""
    fenced = False
    before = ""
    for number, line in enumerate((ROOT / page).read_text().splitlines(), start=1):
        if FENCE.match(line):
            fenced = not fenced
        elif not fenced and not (line.startswith("    ") and not before.strip()):
            yield number, line
            before = line


def links(page: str) -> list[Link]:
    found = []
    for number, line in prose(page):
        text = re.sub(r"`[^`]*`", "", line)
        found += [Link(number, match[1]) for match in INLINE.finditer(text)]
        found += [Link(number, match[1]) for match in REFERENCE.finditer(text)]
    return found


@cache
def anchors(page: str) -> frozenset[str]:
    """The names of a page's headings, as GitHub makes them, and those that the page gives itself."""
    seen: Counter[str] = Counter()
    names = set()
    for _, line in prose(page):
        names |= set(ANCHOR.findall(line))
        if heading := HEADING.match(line):
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1])
            name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            names.add(f"{name}-{seen[name]}" if seen[name] else name)
            seen[name] += 1
    return frozenset(names)


def wrong(page: str, target: str) -> str:
    """What is wrong with a link; empty when nothing is."""
    parts = urlsplit(target)
    if parts.scheme in ("http", "https"):
        return "" if HOST.match(parts.netloc.lower()) else "no host"
    if parts.scheme:
        return "" if parts.scheme == "mailto" else f"unknown scheme {parts.scheme}"
    file = (ROOT / page).parent / unquote(parts.path) if parts.path else ROOT / page
    if not file.exists():
        return "no such file"
    resolved = file.resolve()
    if not resolved.is_relative_to(ROOT):
        return "leaves the repository"
    if not parts.fragment:
        return ""
    if resolved.suffix != ".md":
        return "an anchor in what is no page"
    return "" if parts.fragment in anchors(str(resolved.relative_to(ROOT))) else "no such heading"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    found = {f"{page}:{line}: {target}": wrong(page, target) for line, target in links(page)}
    assert {link: words for link, words in found.items() if words} == {}


def test_no_link_is_overlooked() -> None:
    assert sum(len(links(page)) for page in PAGES) > 50


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("docs/README.md", ""),
        ("docs/", ""),
        ("https://www.openvswitch.org/support/", ""),
        ("https://", "no host"),
        ("htps://example.org", "unknown scheme htps"),
        ("docs/none.md", "no such file"),
        ("../elsewhere", "no such file"),
        ("..", "leaves the repository"),
        ("topologies/README.md#format", ""),
        ("topologies/README.md#formats", "no such heading"),
        ("run#anchor", "an anchor in what is no page"),
    ],
)
def test_wrong_links_are_found(target: str, words: str) -> None:
    assert wrong("README.md", target) == words
