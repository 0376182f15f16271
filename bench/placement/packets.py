"""Packets through one queue: a FIFO, or the fair queueing of an fq_codel leaf (RFC 8290).

A queue serves packets one after the other at its rate. What is computed is the time from a packet's arrival to the end
of its transmission.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import inf

BUFFER = 1_000 * 1_500 * 8
"""Bits that stand in a FIFO at most: Linux's default ``txqueuelen`` of packets of 1,500 bytes."""

QUANTUM = 1_514 * 8
"""Bits by which a flow's deficit grows in a round: fq_codel's default on Ethernet (tc-fq_codel(8))."""


Packet = tuple[float, int, float]
"""(when it arrives in s, number of its flow, its bits)"""


def fifo(packets: Sequence[Packet], rate: float, buffer: float = BUFFER) -> list[float]:
    """Return the delay of each packet (s) in a FIFO of ``rate`` bit/s; inf for one that is dropped since it is full."""
    free_at = 0.0
    delays = []
    for time, _, bits in packets:
        start = max(free_at, time)
        if (start - time) * rate + bits > max(buffer, bits):
            delays.append(inf)
            continue
        free_at = start + bits / rate
        delays.append(free_at - time)
    return delays


def fair(packets: Sequence[Packet], rate: float) -> list[float]:
    """Return the delay of each packet (s) with the scheduler of fq_codel: deficit round robin, new flows first.

    CoDel is left out: it drops packets of flows that have a standing queue, which are the heavy ones.
    """
    delays = [inf] * len(packets)
    waiting: dict[int, deque[int]] = {}
    deficits: dict[int, float] = {}
    new: deque[int] = deque()
    old: deque[int] = deque()
    listed: set[int] = set()
    now, upcoming, count = 0.0, 0, len(packets)
    while True:
        while upcoming < count and packets[upcoming][0] <= now:
            flow = packets[upcoming][1]
            waiting.setdefault(flow, deque()).append(upcoming)
            if flow not in listed:
                listed.add(flow)
                new.append(flow)
                deficits[flow] = QUANTUM
            upcoming += 1
        if not listed:
            if upcoming == count:
                return delays
            now = packets[upcoming][0]
            continue
        place = _next(new, old, waiting, deficits, listed)
        if place is not None:
            time, flow, bits = packets[place]
            now += bits / rate
            deficits[flow] -= bits
            delays[place] = now - time


def _next(
    new: deque[int],
    old: deque[int],
    waiting: dict[int, deque[int]],
    deficits: dict[int, float],
    listed: set[int],
) -> int | None:
    """Take the next packet out (RFC 8290, 4.2); None when the flow in turn had none or has had its round."""
    flows = new or old
    flow = flows[0]
    if deficits[flow] <= 0:
        deficits[flow] += QUANTUM
        old.append(flows.popleft())
        return None
    if not waiting[flow]:
        flows.popleft()
        if flows is new and old:
            old.append(flow)
        else:
            listed.discard(flow)
        return None
    return waiting[flow].popleft()
