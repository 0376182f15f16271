"""What the queues of a port transmit of what they are offered, as Linux's HTB schedules classes (tc-htb(8)).

Each queue first gets its ``min-rate``. What is left of the port's rate goes to the queues that want more, up to their
``max-rate``, in parts by their quantum: a tenth of the guaranteed rate (``r2q`` is 10), at most 200,000 bytes, and at
least a packet, since HTB sends one of each class in a round whatever its quantum (net/sched/sch_htb.c). Open vSwitch
guarantees at least 1,500 bytes/s (lib/netdev-linux.c), so queues without rates get equal parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

R2Q = 10
LEAST_QUANTUM, MOST_QUANTUM = 1_500, 200_000
LEAST_GUARANTEE = 1_500 * 8
"""bit/s."""


class Rates(NamedTuple):
    """``min-rate`` and ``max-rate`` of a queue in bit/s; None: not set."""

    lowest: int | None = None
    highest: int | None = None


def transmitted(offered: Sequence[float], queues: Sequence[Rates], port_rate: float) -> list[float]:
    """Return what each queue transmits; all values are bit/s."""
    wanted = [
        min(offer, port_rate if rates.highest is None else rates.highest)
        for offer, rates in zip(offered, queues, strict=True)
    ]
    sent = [
        min(want, float(max(rates.lowest or 0, LEAST_GUARANTEE)))
        for want, rates in zip(wanted, queues, strict=True)
    ]
    total = sum(sent)
    if total > port_rate:
        return [value * port_rate / total for value in sent]
    _share(sent, wanted, [_quantum(rates) for rates in queues], port_rate - total)
    return sent


def _quantum(rates: Rates) -> float:
    guaranteed = max(rates.lowest or 0, LEAST_GUARANTEE) / 8 / R2Q
    return min(max(guaranteed, LEAST_QUANTUM), MOST_QUANTUM)


def _share(sent: list[float], wanted: Sequence[float], quanta: Sequence[float], left: float) -> None:
    """Give the rest to the queues that want more, by their quanta; ``sent`` is changed in place."""
    open_queues = [place for place, want in enumerate(wanted) if want > sent[place]]
    while open_queues and left > 0:
        unit = left / sum(quanta[place] for place in open_queues)
        filled = [place for place in open_queues if wanted[place] - sent[place] <= unit * quanta[place]]
        if not filled:
            for place in open_queues:
                sent[place] += unit * quanta[place]
            return
        for place in filled:
            left -= wanted[place] - sent[place]
            sent[place] = wanted[place]
        open_queues = [place for place in open_queues if place not in filled]
