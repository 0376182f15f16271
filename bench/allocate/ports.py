"""Ports under measurement: the default strategy through the real allocator, the others as their rule says.

The other strategies place a flow once and never move it, so their loads are computed directly, which takes
seconds where a million calls would take minutes; tests hold the two against each other.
"""

from __future__ import annotations

from heapq import heapreplace

from flowlane.core.allocate import Demand, arrive, measure, new_port, rebalance
from flowlane.core.allocate.state import Columns, PortState
from flowlane.core.allocate.strategies.rss import ENTRIES, rss_input, toeplitz
from flowlane.core.model import Queue
from flowlane.core.policy import Balance

PLAIN = Demand()


def fill(rates: list[int], queues: int, balance: Balance | None = None) -> PortState:
    """A port where flows came one by one, each measured before the next came."""
    state = new_port(Columns(), [Queue(number) for number in range(queues)], balance or Balance())
    for row, rate in enumerate(rates):
        arrive(state, row, PLAIN)
        measure(state, row, rate)
    return state


def settle(state: PortState, limit: int = 120) -> tuple[int, int]:
    """Rebalance once a second until nothing moved for a window; returns (moves, seconds until the last)."""
    moves = last = 0
    for second in range(1, limit):
        made = len(rebalance(state, float(second)))
        moves += made
        last = second if made else last
        if second - last > state.balance.window + 1:
            break
    return moves, last


def busiest(state: PortState) -> int:
    """The load of the busiest queue in bit/s."""
    return max(slot.load for slot in state.slots)


def hashes(keys: list[bytes]) -> list[int]:
    """The RSS hash of each flow."""
    return [toeplitz(rss_input(key)) for key in keys]


def hashed(rates: list[int], flow_hashes: list[int], queues: int) -> list[int]:
    """Loads per queue when RSS places the flows."""
    loads = [0] * queues
    for rate, value in zip(rates, flow_hashes, strict=True):
        loads[value % ENTRIES % queues] += rate
    return loads


def round_robin(rates: list[int], queues: int) -> list[int]:
    """Loads per queue when each flow goes to the next queue."""
    return [sum(rates[first::queues]) for first in range(queues)]


def least_loaded(rates: list[int], queues: int) -> list[int]:
    """Loads per queue when each flow, its rate unknown, goes to the queue with the least load then."""
    heap = [(0, number) for number in range(queues)]
    loads = [0] * queues
    for rate in rates:
        load, number = heap[0]
        loads[number] = load + rate
        heapreplace(heap, (load + rate, number))
    return loads
