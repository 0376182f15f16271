"""Helping people who mistyped: which of the known words did they mean?"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Write a remedy for a word that is not known: the nearest ones, or all when they are few."""
    words = list(known)
    close = get_close_matches(word.lower().replace("_", "-"), words, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]}?"
    listed = ", ".join(sorted(words)[:12]) + (", ..." if len(words) > 12 else "")
    return f"known: {listed}" if words else "none is defined"
