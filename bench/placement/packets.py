"""Packets through queues: a FIFO, the fair queueing of an fq_codel leaf (RFC 8290), several FIFOs on one link.

A queue, or the link of several, serves packets one after the other at its rate. What is computed is the time from a
packet's arrival to the end of its transmission.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
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


def fair(packets: Sequence[Packet], rate: float, buffer: float = inf) -> list[float]:
    """Return the delay of each packet (s) with the scheduler of fq_codel: deficit round robin, new flows first.

    CoDel is left out: it drops packets of flows that have a standing queue, which are the heavy ones.

    Args:
        packets: those that arrive, in their order.
        rate: bit/s.
        buffer: bits of one flow that stand in the queue at most.
    """
    delays = [inf] * len(packets)
    waiting: dict[int, deque[int]] = {}
    deficits: dict[int, float] = {}
    standing: dict[int, float] = {}
    new: deque[int] = deque()
    old: deque[int] = deque()
    listed: set[int] = set()
    now, upcoming, count = 0.0, 0, len(packets)
    while True:
        while upcoming < count and packets[upcoming][0] <= now:
            _, flow, bits = packets[upcoming]
            if standing.setdefault(flow, 0.0) + bits > buffer:
                upcoming += 1
                continue
            standing[flow] += bits
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
            standing[flow] -= bits
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


def in_turn(queues: Sequence[Sequence[Packet]], rate: float) -> list[list[float]]:
    """Return the delays of FIFOs on one link of ``rate`` bit/s, which serves a quantum of each in turn."""
    return _together(queues, lambda packets: fair(packets, rate, BUFFER))


def by_priority(queues: Sequence[Sequence[Packet]], rate: float) -> list[list[float]]:
    """Return the delays of FIFOs on one link, which always serves the first that has packets; none is interrupted."""
    return _together(queues, lambda packets: _first_served(packets, rate))


def _together(
    queues: Sequence[Sequence[Packet]], serve: Callable[[Sequence[Packet]], list[float]]
) -> list[list[float]]:
    """Serve the packets of all queues in the order of their arrival, each as one of its queue."""
    merged = sorted(
        (time, number, place, bits)
        for number, packets in enumerate(queues)
        for place, (time, _, bits) in enumerate(packets)
    )
    delays = [[inf] * len(packets) for packets in queues]
    served = serve([(time, number, bits) for time, number, _, bits in merged])
    for (_, number, place, _), delay in zip(merged, served, strict=True):
        delays[number][place] = delay
    return delays


def _first_served(packets: Sequence[Packet], rate: float) -> list[float]:
    """Return the delays where a packet's number is its priority, the lowest first."""
    delays = [inf] * len(packets)
    waiting: list[tuple[int, int]] = []
    standing: dict[int, float] = {}
    now, upcoming = 0.0, 0
    while waiting or upcoming < len(packets):
        if not waiting:
            now = max(now, packets[upcoming][0])
        while upcoming < len(packets) and packets[upcoming][0] <= now:
            _, number, bits = packets[upcoming]
            if standing.setdefault(number, 0.0) + bits <= BUFFER:
                standing[number] += bits
                heappush(waiting, (number, upcoming))
            upcoming += 1
        if not waiting:
            continue
        number, place = heappop(waiting)
        time, _, bits = packets[place]
        now += bits / rate
        standing[number] -= bits
        delays[place] = now - time
    return delays
