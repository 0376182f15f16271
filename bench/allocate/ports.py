"""Ports under measurement: the strategy ``combined`` by the allocator, the loads of the others computed directly.

The other strategies place a flow once and do not move it. Computing their loads takes seconds where a million
calls would take minutes; tests compare the two ways.
"""

from __future__ import annotations

from heapq import heapreplace

from flowlane.core.allocate import Demand, arrive, measure, new_port, rebalance
from flowlane.core.allocate.state import Columns, PortState
from flowlane.core.allocate.strategies.rss import ENTRIES, rss_hash
from flowlane.core.model import Queue
from flowlane.core.policy import Balance

PLAIN = Demand()


def fill(rates: list[int], queues: int, balance: Balance | None = None) -> PortState:
    """Return a port to which flows came one by one, each measured before the next."""
    state = new_port(Columns(), [Queue(number) for number in range(queues)], balance or Balance())
    for row, rate in enumerate(rates):
        arrive(state, row, PLAIN)
        measure(state, row, rate)
    return state


def run_until_quiet(state: PortState, limit: int = 120) -> tuple[int, int]:
    """Rebalance once a second until nothing moved for a window; return the moves, and the seconds until the last."""
    moves = last = 0
    for second in range(1, limit):
        count = len(rebalance(state, float(second)))
        moves += count
        last = second if count else last
        if second - last > state.balance.window + 1:
            break
    return moves, last


def busiest_load(state: PortState) -> int:
    """Return the load of the busiest queue in bit/s."""
    return max(slot.load for slot in state.slots)


def hashes(keys: list[bytes]) -> list[int]:
    """Return the RSS hash of each flow."""
    return [rss_hash(key) for key in keys]


def hashed(rates: list[int], flow_hashes: list[int], queues: int) -> list[int]:
    """Return the load of each queue (bit/s) when RSS places the flows."""
    loads = [0] * queues
    for rate, value in zip(rates, flow_hashes, strict=True):
        loads[value % ENTRIES % queues] += rate
    return loads


def round_robin(rates: list[int], queues: int) -> list[int]:
    """Return the load of each queue (bit/s) when each flow goes to the next queue."""
    return [sum(rates[first::queues]) for first in range(queues)]


def least_loaded(rates: list[int], queues: int) -> list[int]:
    """Return the load of each queue (bit/s) when each flow goes to the queue with the least load at that time."""
    heap = [(0, number) for number in range(queues)]
    loads = [0] * queues
    for rate in rates:
        load, number = heap[0]
        loads[number] = load + rate
        heapreplace(heap, (load + rate, number))
    return loads
