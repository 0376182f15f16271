"""The measurements of the bench: functions from sizes to rows (dicts) for the tables and the JSON."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from time import process_time

import numpy as np
from bench.allocate.flows import KINDS, draw, keys
from bench.allocate.ports import (
    PLAIN,
    busiest_load,
    fill,
    hashed,
    hashes,
    least_loaded,
    round_robin,
    run_until_quiet,
)

from flowlane.core.allocate import Demand, arrive, depart, new_port, rebalance
from flowlane.core.allocate.state import Columns, PortState
from flowlane.core.model import Queue
from flowlane.core.policy import Balance
from flowlane.simulation.measures import lower_bound, lpt, optimum

Row = dict[str, object]
UNBOUNDED = Balance(moves_per_second=1e9, window=0.0)


def settled(sizes: Sequence[int], queues: Sequence[int]) -> Iterator[Row]:
    """Yield the load of the busiest queue over the lower bound, once nothing moves any more."""
    for size in sizes:
        flow_hashes = hashes(keys(size, np.random.default_rng(size)))
        for kind in KINDS:
            rates = draw(kind, size, np.random.default_rng(size + 1))
            for count in queues:
                bound = lower_bound(rates, count)
                state = fill(rates, count)
                at_once = busiest_load(state) / bound
                moves, seconds = run_until_quiet(state)
                yield {
                    "rates": kind,
                    "flows": size,
                    "queues": count,
                    "hash": max(hashed(rates, flow_hashes, count)) / bound,
                    "round-robin": max(round_robin(rates, count)) / bound,
                    "least-loaded": max(least_loaded(rates, count)) / bound,
                    "combined, unmoved": at_once,
                    "combined": busiest_load(state) / bound,
                    "LPT": lpt(rates, count) / bound,
                    "moved": moves / size,
                    "seconds": seconds,
                    "met": busiest_load(state) <= 1.05 * bound,
                }


def exact(sizes: Sequence[int], queues: Sequence[int]) -> Iterator[Row]:
    """Yield small cases over the true optimum, often above the lower bound; median and worst of 20 draws."""
    for kind in KINDS:
        for size in sizes:
            for count in queues:
                ratios = []
                for seed in range(20):
                    rates = draw(kind, size, np.random.default_rng(seed))
                    best = optimum(rates, count)
                    state = fill(rates, count)
                    run_until_quiet(state)
                    ratios.append(
                        (
                            busiest_load(state) / best,
                            lpt(rates, count) / best,
                            best / lower_bound(rates, count),
                        )
                    )
                mine, longest, bound = (sorted(column) for column in zip(*ratios, strict=True))
                yield {
                    "rates": kind,
                    "flows": size,
                    "queues": count,
                    "combined / optimum, median": median(mine),
                    "combined / optimum, worst": mine[-1],
                    "LPT / optimum, worst": longest[-1],
                    "optimum / bound, worst": bound[-1],
                }


def cost(sizes: Sequence[int], queues: Sequence[int]) -> Iterator[Row]:
    """Yield the processor time of one arrival and one departure among so many flows, in microseconds."""
    for count in queues:
        states = [fill(draw("hadoop", size, np.random.default_rng(size)), count) for size in sizes]
        times = _time_batches(states, sizes)
        for size, (arrival, departure) in zip(sizes, times, strict=True):
            grown = (arrival + departure) / sum(times[0])
            yield {
                "flows": size,
                "queues": count,
                "arrival us": arrival,
                "departure us": departure,
                "over smallest": grown,
                "met": max(arrival, departure) <= 20 and grown <= 1.5,
            }


def _time_batches(states: list[PortState], sizes: Sequence[int]) -> list[tuple[float, float]]:
    """Return (arrival, departure) in us of each state: the lower quartile of many batches.

    The sizes take turns, so that all meet the same other load of the machine.
    """
    rng = np.random.default_rng(1)
    arrivals: list[list[float]] = [[] for _ in states]
    departures: list[list[float]] = [[] for _ in states]
    gc.collect()
    for _ in range(60):
        for place, (state, size) in enumerate(zip(states, sizes, strict=True)):
            rows = [int(row) for row in rng.choice(size, 500, replace=False)]
            start = process_time()
            for row in rows:
                depart(state, row)
            middle = process_time()
            for row in rows:
                arrive(state, row, PLAIN)
            departures[place].append((middle - start) / len(rows) * 1e6)
            arrivals[place].append((process_time() - middle) / len(rows) * 1e6)
    return [
        (sorted(of_arrivals)[15], sorted(of_departures)[15])
        for of_arrivals, of_departures in zip(arrivals, departures, strict=True)
    ]


def full(cases: Sequence[tuple[int, int]]) -> Iterator[Row]:
    """Yield the time and moves of one rebalance without a limit on moves, of flows that a hash placed."""
    for kind in KINDS:
        for size, count in cases:
            rng = np.random.default_rng(size)
            rates, flow_keys = draw(kind, size, rng), keys(size, rng)
            times, moves, after = [], 0, 0.0
            for _ in range(5):
                state = _hash_placed(rates, flow_keys, count)
                start = process_time()
                moves = len(rebalance(state, 1.0))
                times.append((process_time() - start) * 1e3)
                after = busiest_load(state) / lower_bound(rates, count)
            yield {
                "rates": kind,
                "flows": size,
                "queues": count,
                "ms, median": median(times),
                "moves": moves,
                "after": after,
                "met": median(times) < 50,
            }


def _hash_placed(rates: list[int], flow_keys: list[bytes], count: int) -> PortState:
    state = new_port(Columns(), [Queue(number) for number in range(count)], Balance(strategy="hash"))
    for row, (rate, key) in enumerate(zip(rates, flow_keys, strict=True)):
        arrive(state, row, Demand(rate=rate), key)
    state.balance = UNBOUNDED
    return state


def memory(sizes: Sequence[int]) -> Iterator[Row]:
    """Yield the bytes per tracked flow, by which a new process grows: flow table and allocator."""
    script = Path(__file__).with_name("memory.py")
    for size in sizes:
        done = subprocess.run(
            [sys.executable, str(script), str(size)], capture_output=True, text=True, check=True
        )
        table, allocator = (float(word) for word in done.stdout.split())
        yield {
            "flows": size,
            "flow table": table,
            "allocator": allocator,
            "bytes per flow": table + allocator,
            "met": table + allocator <= 400,
        }
