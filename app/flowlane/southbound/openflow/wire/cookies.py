"""The cookie of every entry that Flowlane makes: owner, kind, generation and object.

::

     63            48 47   44 43          32 31                             0
    +----------------+-------+--------------+--------------------------------+
    |  0xF10A        | kind  |  generation  |  object                        |
    +----------------+-------+--------------+--------------------------------+

Entries of one kind can be read or deleted by mask (OpenFlow 1.3.5 section 6.4), and the cookie in counters
and flow-removed messages identifies the flow without its match. The object of a pin is the flow's row; that
of a learned entry is its group, by which it is read, and that of an entry that counts a group is the group; that of a
standing rule is made by :func:`standing_object`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

OWNER = 0xF10A
OWNER_MASK = 0xFFFF << 48
KIND_MASK = OWNER_MASK | 0xF << 44
FULL_MASK = 0xFFFFFFFFFFFFFFFF

GENERATION_BITS = 12
_GENERATIONS = 1 << GENERATION_BITS
_NO_QUEUE = 0xFFFF


class Kind(IntEnum):
    """What an entry is for."""

    INFRASTRUCTURE = 1
    STANDING = 2
    PIN = 3
    LEARNED = 4
    GROUP = 5


_KINDS = {int(kind): kind for kind in Kind}


class Cookie(NamedTuple):
    """A cookie's parts: ``generation`` has 12 bits, ``object_id`` 32."""

    kind: Kind
    generation: int
    object_id: int


def pack(kind: Kind, generation: int = 0, object_id: int = 0) -> int:
    """Make a cookie.

    Raises:
        ValueError: a part does not fit its bits; cut to them it would identify another flow.
    """
    if not 0 <= generation < _GENERATIONS or not 0 <= object_id <= 0xFFFFFFFF:
        raise ValueError(f"generation {generation} or object {object_id} does not fit a cookie")
    return OWNER << 48 | kind << 44 | generation << 32 | object_id


def unpack(cookie: int) -> Cookie | None:
    """Read a cookie's parts; None when it is not Flowlane's."""
    kind = _KINDS.get(cookie >> 44 & 0xF)
    if cookie >> 48 != OWNER or kind is None:
        return None
    return Cookie(kind, cookie >> 32 & _GENERATIONS - 1, cookie & 0xFFFFFFFF)


def of_kind(kind: Kind) -> tuple[int, int]:
    """Return (cookie, mask) that select all entries of one kind."""
    return pack(kind), KIND_MASK


def beside_flows() -> tuple[tuple[int, int], ...]:
    """Return the (cookie, mask) pairs that select all entries but pins and learned ones: those that stand.

    The kinds 1 and 5 differ by one bit, so that one mask selects both.
    """
    either = KIND_MASK & ~((Kind.INFRASTRUCTURE ^ Kind.GROUP) << 44)
    return (pack(Kind.INFRASTRUCTURE), either), of_kind(Kind.STANDING)


def standing_object(order: int, queue_id: int | None) -> int:
    """Make the object of a standing rule: its order, and its queue where it has exactly one.

    A copied packet carries the cookie of the entry that copied it. So the controller learns the queue that
    the device chose without reading the device's tables. A queue id above 65534 is left out.
    """
    has_queue = queue_id is not None and 0 <= queue_id < _NO_QUEUE
    return (order & 0xFFFF) << 16 | (queue_id if has_queue and queue_id is not None else _NO_QUEUE)


def learned(group: int) -> int:
    """Make the cookie of the learned entries of a group."""
    return pack(Kind.LEARNED, 0, group & 0xFFFFFFFF)


def group_of(cookie: int) -> int:
    """Return the group in a learned entry's cookie."""
    return cookie & 0xFFFFFFFF


_WAITS = 1
"""Generation of a standing rule in reactive mode."""


def standing(order: int, queue_id: int | None, *, waits: bool = False) -> int:
    """Make the cookie of a standing rule.

    Args:
        waits: whether it sends packets to the controller and does not forward them.
    """
    return pack(Kind.STANDING, _WAITS if waits else 0, standing_object(order, queue_id))


def waits(cookie: int) -> bool:
    """Return whether a packet with this cookie was not forwarded, and waits in the controller."""
    parts = unpack(cookie)
    return parts is not None and parts.kind is Kind.STANDING and parts.generation == _WAITS


def standing_order(cookie: int) -> int:
    """Return the order in a standing rule's cookie."""
    return cookie >> 16 & 0xFFFF


def standing_queue(cookie: int) -> int | None:
    """Return the queue id in a standing rule's cookie; None when it has none, or for another cookie."""
    parts = unpack(cookie)
    if parts is None or parts.kind is not Kind.STANDING:
        return None
    queue_id = parts.object_id & 0xFFFF
    return None if queue_id == _NO_QUEUE else queue_id
