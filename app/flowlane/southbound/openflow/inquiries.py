"""Questions to a device that wait for their answer: matched by transaction id, each with a time limit.

An answer may come in many parts (multipart replies), may be an error, or may never come. No clock and no
connection here: the time is given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

MAX_PARTS = 4096
"""Parts of one answer: 64 KiB each at most, so that an endless answer is given up and not kept."""

NO_ANSWER = "no answer"
TOO_LONG = "an answer without end"


class Answer(NamedTuple):
    """What came of a question: the messages of the reply in order, or why there is none (``refused``)."""

    parts: tuple[Any, ...] = ()
    refused: str = ""


Done = Callable[[Answer], None]


@dataclass(slots=True)
class _Inquiry:
    name: str
    deadline: float
    done: Done
    each: Callable[[Any], None] | None
    parts: list[Any] = field(default_factory=list)


class Inquiries:
    """The open questions of one device."""

    def __init__(self) -> None:
        self._open: dict[int, _Inquiry] = {}

    def asks(self, name: str) -> bool:
        """Whether a question of this name is open."""
        return any(inquiry.name == name for inquiry in self._open.values())

    def ask(
        self, xid: int, name: str, deadline: float, done: Done, each: Callable[[Any], None] | None = None
    ) -> None:
        """Note a question that was sent; ``done`` is called once, with its answer.

        With ``each``, every part is handed over when it comes and is not kept for ``done``.
        """
        self._open[xid] = _Inquiry(name, deadline, done, each)

    def part(self, xid: int, message: Any, *, more: bool = False) -> bool:
        """Take a part of an answer; ``more`` says that others follow. False when nobody asked."""
        inquiry = self._open.get(xid)
        if inquiry is None:
            return False
        if inquiry.each is None:
            inquiry.parts.append(message)
        else:
            inquiry.each(message)
        if len(inquiry.parts) > MAX_PARTS:
            self._close(xid, Answer(refused=TOO_LONG))
        elif not more:
            self._close(xid, Answer(tuple(inquiry.parts)))
        return True

    def refuse(self, xid: int, why: str) -> bool:
        """Take an error for an answer. False when nobody asked."""
        if xid not in self._open:
            return False
        self._close(xid, Answer(refused=why))
        return True

    def expire(self, now: float) -> None:
        """Give up what should have been answered by now."""
        for xid in [xid for xid, inquiry in self._open.items() if inquiry.deadline <= now]:
            self._close(xid, Answer(refused=NO_ANSWER))

    def _close(self, xid: int, answer: Answer) -> None:
        self._open.pop(xid).done(answer)
