"""Readers of ``marks`` (which DSCP or PCP chooses which queue) and ``keep-marks``."""

from __future__ import annotations

from typing import Any

from flowlane.core.classify.matching import READERS, MatchError
from flowlane.core.policy import QueuesBy
from flowlane.policy.context import Context
from flowlane.policy.document import Path


def read_marks(
    context: Context, path: Path, entry: dict[str, Any], by: QueuesBy | None
) -> tuple[tuple[int, int], ...]:
    """Read (value, queue id), as they are listed; a value that is listed twice is reported."""
    queue_of: dict[int, int] = {}
    for word, queue_id in entry.get("marks", {}).items():
        for value in _values(context, (*path, "marks"), word, by, word):
            if value in queue_of:
                message = f"{word} overlaps with another key: both contain {value}"
                context.report((*path, "marks"), message, "remove one", word)
            else:
                queue_of[value] = queue_id
    return tuple(queue_of.items())


def read_keep_marks(
    context: Context, path: Path, entry: dict[str, Any], by: QueuesBy | None
) -> tuple[int, ...]:
    """Read the values that are not written over."""
    given = entry.get("keep-marks", [])
    kept: dict[int, None] = {}
    for word in given if isinstance(given, list) else [given]:
        for value in _values(context, (*path, "keep-marks"), word, by):
            if value == 0:
                message = "0 means that a packet is not marked, so there is no mark to keep"
                context.report((*path, "keep-marks"), message, "remove it")
            else:
                kept[value] = None
    return tuple(kept)


def _values(
    context: Context, path: Path, word: str | int, by: QueuesBy | None, key: str | None = None
) -> tuple[int, ...]:
    read = READERS["pcp" if by is QueuesBy.PCP else "dscp"][1]
    is_number = isinstance(word, str) and word.isascii() and word.isdigit() and len(word) < 4
    try:
        return read(int(word) if is_number else word)  # type: ignore[return-value]
    except MatchError as error:
        context.report(path, str(error), error.remedy, key)
        return ()
