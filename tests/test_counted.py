"""Numbers of things in messages: one is singular."""

from __future__ import annotations

import pytest

from flowlane.units import counted


@pytest.mark.parametrize(
    ("count", "words", "text"),
    [
        (0, ("bridge",), "0 bridges"),
        (1, ("bridge",), "1 bridge"),
        (2, ("bridge",), "2 bridges"),
        (1, ("entry", "entries"), "1 entry"),
        (3, ("entry", "entries"), "3 entries"),
    ],
)
def test_one_thing_is_singular(count: int, words: tuple[str, ...], text: str) -> None:
    assert counted(count, *words) == text
