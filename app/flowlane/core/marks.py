"""Marks: how a device that chooses its queue by DSCP or PCP is asked for one.

A *mark* is one number for both kinds: a DSCP is 0 to 63 (RFC 2474), a PCP (IEEE 802.1Q, 6.9.3) 64 + 0 to 7.

A *choice* is what entries of a device name in the place of a queue: a queue for ``set_queue``, a mark, or both. Without
a mark it is the queue's id, so that nothing differs on devices that are not asked by mark. It fits a 32-bit register::

     31            23        16 15                    0
    +----------------+---------+------------------------+
    |       0        | mark+1  |  queue id, 0xffff: none |
    +----------------+---------+------------------------+
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.model import NO_QUEUE
from flowlane.core.policy import QueuesBy

if TYPE_CHECKING:
    from collections.abc import Iterable

NO_MARK = -1
"""No mark is written."""

FIRST_PCP = 64
"""The mark of PCP 0."""

_SHIFT = 16
_WITHOUT_QUEUE = 0xFFFF
"""No queue of Open vSwitch has this id (lib/netdev-linux.c: HTB and HFSC have 0 to 0xefff)."""


def join(queue_id: int, mark: int) -> int:
    """Make a choice of a queue for ``set_queue`` (NO_QUEUE: none) and a mark (NO_MARK: none)."""
    if mark == NO_MARK:
        return queue_id
    return (mark + 1) << _SHIFT | (_WITHOUT_QUEUE if queue_id == NO_QUEUE else queue_id)


def split(choice: int) -> tuple[int, int]:
    """Return the queue and the mark of a choice."""
    if choice < 1 << _SHIFT:
        return choice, NO_MARK
    queue_id = choice & _WITHOUT_QUEUE
    return NO_QUEUE if queue_id == _WITHOUT_QUEUE else queue_id, (choice >> _SHIFT) - 1


def is_pcp(mark: int) -> bool:
    """Whether a mark is a PCP."""
    return mark >= FIRST_PCP


def value_of(mark: int) -> int:
    """Return the DSCP or PCP of a mark."""
    return mark - FIRST_PCP if is_pcp(mark) else mark


class Marking(NamedTuple):
    """How a device chooses its queue by mark: (mark, queue id), and the marks of senders that are not written over."""

    by: QueuesBy
    queues: tuple[tuple[int, int], ...]
    keep: tuple[int, ...] = ()

    def mark_of(self, queue_id: int) -> int:
        """Return the mark to write for a queue, the first of several; NO_MARK when it has none."""
        return next((mark for mark, of_mark in self.queues if of_mark == queue_id), NO_MARK)

    def queue_of(self, mark: int) -> int:
        """Return the queue of a mark; NO_QUEUE when it has none."""
        return dict(self.queues).get(mark, NO_QUEUE)

    def kept(self, dscp: int, pcp: int) -> bool:
        """Whether a packet's own mark is one that stays."""
        return (pcp + FIRST_PCP if self.by is QueuesBy.PCP else dscp) in self.keep


def marking(by: QueuesBy, queues: Iterable[tuple[int, int]], keep: Iterable[int]) -> Marking:
    """Make a marking of DSCP or PCP values as a policy has them.

    Without a map it is the usual one: DSCP 8k (class selector k, RFC 2474 4.2.2), or PCP k, for queue k.
    """
    offset, step = (FIRST_PCP, 1) if by is QueuesBy.PCP else (0, 8)
    usual = ((number * step, number) for number in range(8))
    pairs = tuple(queues) or tuple(usual)
    return Marking(
        by,
        tuple((value + offset, queue_id) for value, queue_id in pairs),
        tuple(value + offset for value in keep),
    )
