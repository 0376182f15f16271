"""The last hour of every queue, in memory: load, flows, and moves to it and from it.

All queues are sampled at the same moments, :data:`STEP` seconds apart, and so share one column of moments. A queue has
one ring of numbers for each fact, made when it has flows for the first time: a queue that nobody uses costs nothing. A
ring has some 9 kB; so 1,000 queues take about 9 MB (``python -m bench.controller.history_memory``).
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowlane.core.effects import FlowReport
    from flowlane.core.state.device import Device

STEP = 5.0
"""Seconds between two samples."""

SAMPLES = 720
"""Samples that are kept: an hour."""

MOST_QUEUES = 4000
"""Queues with a history, of all devices together: 36 MB. Others are listed without samples."""

MOST_MOVES = 0xFFFF
"""Moves that a sample counts at most."""

Place = tuple[int, int, int]
"""dpid, port number, queue id."""


class Series(NamedTuple):
    """Samples of a queue, the oldest first: load in bit/s (mean, and highest), flows, moves to it and from it.

    A value stands for a step of time that ends at its moment.
    """

    load: list[int]
    peak: list[int]
    flows: list[int]
    moves_in: list[int]
    moves_out: list[int]


class Step(NamedTuple):
    """Samples that are given as one: the number of the first, the number behind the last, the moment of the last."""

    first: int
    last: int
    ended: float


class _Ring:
    """The rings of one queue."""

    __slots__ = ("came", "flows", "left", "load", "moves_in", "moves_out", "sampled")

    def __init__(self, samples: int) -> None:
        self.load: array[float] = array("f", bytes(4 * samples))
        self.flows: array[int] = array("I", bytes(4 * samples))
        self.moves_in: array[int] = array("H", bytes(2 * samples))
        self.moves_out: array[int] = array("H", bytes(2 * samples))
        self.came = self.left = 0
        """Moves to the queue and from it since the last sample."""
        self.sampled = 0
        """Number of the last sample with flows or moves."""

    def put(self, place: int, load: float, flows: int) -> None:
        self.load[place], self.flows[place] = load, flows
        self.moves_in[place] = min(self.came, MOST_MOVES)
        self.moves_out[place] = min(self.left, MOST_MOVES)
        self.came = self.left = 0


class QueueHistory:
    """Samples of all queues. Times are seconds of the engine's clock."""

    def __init__(self, samples: int = SAMPLES, step: float = STEP) -> None:
        self.step = step
        self._samples = samples
        self._moments: array[float] = array("d", bytes(8 * samples))
        self._rings: dict[Place, _Ring] = {}
        self._count = 0
        self._next = 0.0

    @property
    def queues(self) -> int:
        """Number of queues with a history."""
        return len(self._rings)

    def note_move(self, report: FlowReport) -> None:
        """Count a move, for the queue that the flow has left and for the one that it has now."""
        if report.change == "moved":
            for queue_id, is_new in ((report.queue_id, True), (report.old_queue_id, False)):
                ring = self._ring((report.dpid, report.port_no, queue_id))
                if ring is not None and is_new:
                    ring.came += 1
                elif ring is not None:
                    ring.left += 1

    def is_due(self, now: float) -> bool:
        """Return whether it is time for the next sample."""
        return now >= self._next

    def begin_sample(self, now: float) -> None:
        """Begin the sample of a moment; every device is to be sampled then by :meth:`sample`."""
        self._next = now + self.step if now - self._next >= self.step else self._next + self.step
        place = self._count % self._samples
        self._moments[place] = now
        self._count += 1
        for key, ring in list(self._rings.items()):
            ring.load[place] = ring.flows[place] = ring.moves_in[place] = ring.moves_out[place] = 0
            if self._count - ring.sampled > self._samples and not ring.came and not ring.left:
                del self._rings[key]

    def sample(self, device: Device) -> None:
        """Take the values of a device's queues as they are now into the sample that was begun last."""
        place = (self._count - 1) % self._samples
        for port_no, port in device.ports.items():
            if port.allocation is None:
                continue
            for slot in port.allocation.slots:
                key = device.dpid, port_no, slot.queue.queue_id
                ring = self._ring(key) if slot.count else self._rings.get(key)
                if ring is not None:
                    if slot.count or ring.came or ring.left:
                        ring.sampled = self._count
                    ring.put(place, slot.load, slot.count)

    def _ring(self, key: Place) -> _Ring | None:
        ring = self._rings.get(key)
        if ring is None and len(self._rings) < MOST_QUEUES:
            ring = self._rings[key] = _Ring(self._samples)
            ring.sampled = self._count
        return ring

    def steps(self, per: int, after: float) -> list[Step]:
        """Return the whole steps of so many samples that ended after a moment, the oldest first.

        A step begins at a multiple of ``per``, so that it is the same whenever it is read.
        """
        oldest = max(0, self._count - self._samples)
        firsts = range(-(-oldest // per) * per, self._count - per + 1, per)
        steps = (
            Step(first, first + per, self._moments[(first + per - 1) % self._samples]) for first in firsts
        )
        return [step for step in steps if step.ended > after]

    def read(self, key: Place, steps: Sequence[Step]) -> Series:
        """Return what is kept of a queue for some steps."""
        ring, series = self._rings.get(key), Series([], [], [], [], [])
        if ring is None:
            return Series(*([0] * len(steps) for _ in series))
        for first, last, _ in steps:
            places = [number % self._samples for number in range(first, last)]
            loads = [ring.load[place] for place in places]
            series.load.append(round(sum(loads) / len(loads)))
            series.peak.append(round(max(loads)))
            series.flows.append(ring.flows[places[-1]])
            series.moves_in.append(sum(ring.moves_in[place] for place in places))
            series.moves_out.append(sum(ring.moves_out[place] for place in places))
        return series
