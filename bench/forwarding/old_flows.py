"""Old flows only, with what the userspace datapath did with their packets: where ways differ.

Usage: ``python -m bench.forwarding.old_flows [--rounds 5] [--seconds 2] [--ways ...]`` (root). The ways are those of
``bench.forwarding`` and take turns. Beside the packets per second of ovs-vswitchd's CPU: how often a packet passed the
datapath, the share of look-ups that the exact-match cache answered, the subtables looked at for each of the others
(``dpif-netdev/pmd-stats-show``), and the megaflows that there were.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import statistics
from typing import NamedTuple

from bench.first_packet.__main__ import at_work
from bench.forwarding.__main__ import BY_HAND, EACH, NORMAL, PACE, WAYS, Bench, ready
from bench.forwarding.generator import RING


class Profile(NamedTuple):
    """One turn of a way."""

    rate: float
    passes: float
    cached: float
    subtables: float
    megaflows: int


def measure(bench: Bench, seconds: float) -> Profile:
    """Measure a way once."""
    switch = bench.way.ovs
    with at_work(bench.way.process, False):
        switch.appctl("dpif-netdev/pmd-stats-clear")
        rate = bench.old_flows(RING, seconds)
        text = switch.appctl("dpif-netdev/pmd-stats-show")
        megaflows = len(switch.appctl("dpctl/dump-flows").splitlines())
    cached, others = (_number(text, name) for name in ("emc hits", "megaflow hits"))
    return Profile(
        rate,
        1 + _number(text, "packet recirculations") / _number(text, "packets received"),
        cached / (cached + others),
        _number(text, "avg. subtable lookups per megaflow hit"),
        megaflows,
    )


def _number(text: str, name: str) -> float:
    """Return a number of the thread that forwards: the one that has received most packets."""
    found = [float(number) for number in re.findall(rf"{re.escape(name)}: ([\d.]+)", text)]
    if not found:
        raise SystemExit(f"Open vSwitch shows no {name!r}:\n{text}")
    return max(found)


def table(turns: dict[str, list[Profile]]) -> str:
    """Medians over the rounds as a Markdown table; ratios are those of the same round."""
    bases = [name for name in (BY_HAND, EACH) if name in turns]
    heads = ["way", f"{RING:,} old flows, packets/s", *(f"of {base}" for base in bases)]
    heads += ["passes", "from the exact-match cache", "subtables", "megaflows"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, rows in turns.items():
        cells = [name, f"{statistics.median(row.rate for row in rows):,.0f}"]
        for base in bases:
            ratios = [row.rate / other.rate for row, other in zip(rows, turns[base], strict=True)]
            cells.append(f"{statistics.median(ratios):.2f}")
        cells.append(f"{statistics.median(row.passes for row in rows):.2f}")
        cells.append(f"{statistics.median(row.cached for row in rows):.2f}")
        cells.append(f"{statistics.median(row.subtables for row in rows):.2f}")
        cells.append(f"{statistics.median(row.megaflows for row in rows):,.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    ways = [NORMAL, BY_HAND, EACH, "Flowlane"]
    parser.add_argument("--ways", nargs="+", default=ways, choices=WAYS)
    given = parser.parse_args()
    turns: dict[str, list[Profile]] = {name: [] for name in given.ways}
    with contextlib.ExitStack() as stack:
        benches = [
            stack.enter_context(ready(name, number, False, {}, PACE))
            for number, name in enumerate(given.ways)
        ]
        for turn in range(given.rounds):
            for bench in reversed(benches) if turn % 2 else benches:
                turns[bench.way.name].append(measure(bench, given.seconds))
    print(table(turns))


if __name__ == "__main__":
    main()
