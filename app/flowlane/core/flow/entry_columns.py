"""Learned entries by columns: one sequence for each fact, in place of an object for each entry.

A device reports thousands of entries in a reading, and of most flows only the counters are new. Columns are compared,
and looked up in those of the flow table, a whole stretch at a time (:mod:`flowlane.core.flow.counting`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

from flowlane.core.events import LearnedFlow

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, eq=False)
class LearnedColumns(Collection[LearnedFlow]):
    """The fields of :class:`~flowlane.core.events.LearnedFlow`, each a sequence with one value for each entry.

    ``rest`` returns the fields of an entry that only new flows need: ``eth_src`` and ``seconds``. As a collection it is
    that of the flows, which are made when somebody asks for them.
    """

    key: Sequence[bytes]
    in_port: Sequence[int]
    egress_port: Sequence[int]
    queue_id: Sequence[int]
    packets: Sequence[int]
    octets: Sequence[int]
    dscp: Sequence[int]
    pcp: Sequence[int]
    meter_id: Sequence[int]
    group: Sequence[int]
    rest: Callable[[int], tuple[int, float]]

    def __len__(self) -> int:
        """Return how many entries there are."""
        return len(self.key)

    def __iter__(self) -> Iterator[LearnedFlow]:
        """Iterate over the flows in the order of their entries."""
        return map(self.flow, range(len(self)))

    def __contains__(self, flow: object) -> bool:
        """Whether there is such a flow, with the same counters."""
        return any(each == flow for each in self)

    def flow(self, index: int) -> LearnedFlow:
        """Return the flow of an entry."""
        eth_src, seconds = self.rest(index)
        return LearnedFlow(
            self.key[index],
            self.in_port[index],
            self.egress_port[index],
            eth_src,
            self.queue_id[index],
            self.packets[index],
            self.octets[index],
            self.dscp[index],
            self.pcp[index],
            self.meter_id[index],
            self.group[index],
            seconds,
        )

    def part(self, start: int, stop: int) -> LearnedColumns:
        """Return the entries from one to before another one."""
        return LearnedColumns(
            self.key[start:stop],
            self.in_port[start:stop],
            self.egress_port[start:stop],
            self.queue_id[start:stop],
            self.packets[start:stop],
            self.octets[start:stop],
            self.dscp[start:stop],
            self.pcp[start:stop],
            self.meter_id[start:stop],
            self.group[start:stop],
            lambda index: self.rest(start + index),
        )


def merged(parts: Sequence[LearnedColumns], order: Sequence[int]) -> LearnedColumns:
    """Return the entries of all parts in another order: that of their numbers, counted from part to part."""
    places = [(part, index) for part in parts for index in range(len(part))]

    def column(values: Callable[[LearnedColumns], Sequence[_T]]) -> tuple[_T, ...]:
        every = list(chain.from_iterable(map(values, parts)))
        return tuple([every[number] for number in order])

    def rest(index: int) -> tuple[int, float]:
        part, place = places[order[index]]
        return part.rest(place)

    return LearnedColumns(
        column(lambda part: part.key),
        column(lambda part: part.in_port),
        column(lambda part: part.egress_port),
        column(lambda part: part.queue_id),
        column(lambda part: part.packets),
        column(lambda part: part.octets),
        column(lambda part: part.dscp),
        column(lambda part: part.pcp),
        column(lambda part: part.meter_id),
        column(lambda part: part.group),
        rest,
    )


def columns_of(flows: Collection[LearnedFlow]) -> LearnedColumns:
    """Return flows by columns."""
    if isinstance(flows, LearnedColumns):
        return flows
    made = tuple(flows)
    key, in_port, egress_port, eth_src, queue_id, packets, octets, dscp, pcp, meter_id, group, seconds = (
        zip(*made, strict=True) if made else ((),) * len(LearnedFlow._fields)
    )
    return LearnedColumns(
        key,
        in_port,
        egress_port,
        queue_id,
        packets,
        octets,
        dscp,
        pcp,
        meter_id,
        group,
        lambda index: (eth_src[index], seconds[index]),
    )
