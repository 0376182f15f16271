"""Exchanging a heavy flow for several lighter ones of another queue, where moving flows one by one would not do.

A flow that is a large part of a queue's load fits nowhere as it is: moved alone it only makes the next queue the
fullest. And flows that moved lately, which may not move again, can hold a queue above its part. Then the heavy flow
goes to a queue of flows that may leave, and these come back in its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.allocate import guarantees
from flowlane.core.allocate.candidates import movable

if TYPE_CHECKING:
    from flowlane.core.allocate.candidates import Candidate
    from flowlane.core.allocate.state import Pool, PortState, Slot

LUMP = 0.4
"""Part of the mean load of a queue from which a flow is a lump."""

MOST = 8
"""Flows that come back for a lump, at most."""

LUMPS = 3
"""Lumps of a queue that are looked at."""

TRIES = 16
"""Queues that are looked at as the new place of a lump, those with least load first."""


class Exchange(NamedTuple):
    """A lump, its new queue, and what comes back for it; ``load`` is that of the fuller of both queues then."""

    load: int
    lump: Candidate
    target: Slot
    back: tuple[Candidate, ...]


def best_exchange(
    state: PortState, source: Slot, pool: Pool, roof: float, most: int, now: float
) -> Exchange | None:
    """The exchange of a lump of ``source`` for up to ``most`` flows that leaves the fuller queue with least.

    No queue is emptied below what brings the other to ``roof`` (bit/s). None where there is no lump that may move.
    """
    least = LUMP * sum(pool.loads) / len(pool.loads)
    lumps = [each for each in movable(state, source, LUMPS, source.load + 1, now) if each.gain >= least]
    targets = sorted(
        (slot for slot in pool.slots if slot is not source), key=lambda slot: (slot.load, slot.place)
    )
    found = [
        _exchange(state, source, lump, target, roof, most, now)
        for lump in lumps
        for target in targets[:TRIES]
        if guarantees.may_go(lump.cell.group, source, target)
    ]
    return min(found, key=lambda each: (each.load, len(each.back)), default=None)


def _exchange(
    state: PortState, source: Slot, lump: Candidate, target: Slot, roof: float, most: int, now: float
) -> Exchange:
    """The lump to the target, and of the target's flows the heaviest back while that makes the fuller queue emptier."""
    here, there = source.load - lump.gain, target.load + lump.gain
    back: list[Candidate] = []
    for each in movable(state, target, most, lump.gain, now) if there > roof else ():
        if there <= roof:
            break
        if here + each.gain < there and guarantees.may_go(each.cell.group, target, source):
            here, there = here + each.gain, there - each.gain
            back.append(each)
    return Exchange(max(here, there), lump, target, tuple(back))
