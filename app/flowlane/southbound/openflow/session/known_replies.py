"""Replies that are as before, recognized by their bytes where they are read: nobody checks or parses them again.

Of an idle device the same entries, groups and meters are read every few seconds. All that differs are the transaction
id, and how old entries are and what they have counted. What is left of a reply that was right is stored as a hash.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING

from flowlane.southbound.openflow.wire import flow_stats

if TYPE_CHECKING:
    from struct import Struct

    from flowlane.southbound.openflow.session.requests import Reply

MOST_MISSES = 3
"""Readings in a row with an unknown reply from which on none is expected: the device answers in another way each time,
and each of those readings is made twice."""

Check = Callable[[bytes], bool]
"""Whether a reply, which has come as a single message, is known."""


class KnownReplies:
    """The last replies of a device that were right."""

    def __init__(self) -> None:
        self._basis: object = None
        self._checks: dict[str, Check] = {}
        self._misses = 0

    def note(self, basis: object, replies: Mapping[str, Reply]) -> None:
        """Store replies that are right.

        Args:
            basis: what the device should have: the replies are right as long as that is the same.
            replies: name of the request -> reply.
        """
        if basis != self._basis:
            self._basis, self._checks = basis, {}
        for name, reply in replies.items():
            self._checks.pop(name, None)
            if (check := _check_of(reply)) is not None:
                self._checks[name] = check

    def expected(self, basis: object, names: Collection[str]) -> Mapping[str, Check]:
        """Return name of a request -> what knows its reply; nothing where that is not so of all of them.

        Args:
            basis: what the device should have now.
            names: the requests of a reading.
        """
        are_known = self._misses < MOST_MISSES and basis == self._basis and self._checks.keys() >= set(names)
        return self._checks if are_known else {}

    def count(self, *, missed: bool) -> None:
        """Count a reading for which replies were expected: whether there was another one among them."""
        self._misses = self._misses + 1 if missed else 0


def _check_of(reply: Reply) -> Check | None:
    """Return what knows a reply again; None where it did not come as one message whose form is known."""
    data = getattr(reply.parts[0], "buf", None) if len(reply.parts) == 1 else None
    if not isinstance(data, bytes):
        return None
    if not flow_stats.is_of_flows(data):
        return partial(_is_same, _hash(data))
    shape = flow_stats.shape_of(reply.parts[0])
    return None if shape is None else partial(_is_same_form, shape, hash(flow_stats.shaped(data, shape)))


def _is_same(known: int, data: bytes) -> bool:
    return _hash(data) == known


def _hash(data: bytes) -> int:
    """Return a hash of a message without its transaction id."""
    return hash(data[:4] + data[8:])


def _is_same_form(shape: Struct, known: int, data: bytes) -> bool:
    return hash(flow_stats.shaped(data, shape)) == known
