"""Remedies for a word that is not known: the closest of the known words, or all of them when they are few."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from flowlane.escaping import escaped

if TYPE_CHECKING:
    from collections.abc import Iterable

SHOWN = 12
"""Known words that a remedy names where there are more; ``...`` never stands for a single word."""

COMPARED = 1000
"""Known words that are compared at most: a controller serves nobody else meanwhile (1,000 words: 4 ms)."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Write a remedy for a word that is not known: the closest known one, else the first ones."""
    words = list(dict.fromkeys(known))
    if len(words) > COMPARED:
        return f"{len(words)} are known"
    closest = get_close_matches(word.lower().replace("_", "-"), words, n=1, cutoff=0.6)
    if closest:
        return f"did you mean {escaped(closest[0])}?"
    if not words:
        return "none is defined"
    if len(words) <= SHOWN + 1:
        return f"known: {', '.join(map(escaped, sorted(words)))}"
    return f"known: {', '.join(map(escaped, sorted(words)[:SHOWN]))}, ..."
