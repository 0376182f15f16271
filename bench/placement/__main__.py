"""Bench of placement: the whole engine on traffic that nobody tuned it for, beside other ways to place flows.

``python -m bench.placement [--quick]`` prints tables in Markdown, ready for docs/engineers/strategies.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from time import monotonic
from typing import Any

from bench.placement import delay, tables
from bench.placement.figures import Figures, figures, mean
from bench.placement.plot import draw_picture
from bench.placement.ways import POLICIES, Way, ways
from bench.placement.workloads import WORKLOADS, flows_of

SECONDS, QUICK_SECONDS = 60, 20
LONG = {"diurnal": 100}
"""Workloads that need more seconds than others."""

QUICK_WAYS = ("built-in", "one-class", "hash", "LPT, measured")
PARTS = ("load", "delay")
STATES = {"settled": False, "churn": True}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)} (default: both)")
    parser.add_argument("--quick", action="store_true", help="one seed, 20 s, four ways: within a minute")
    parser.add_argument(
        "--workload", action="append", choices=WORKLOADS, metavar="W", help=", ".join(WORKLOADS)
    )
    parser.add_argument(
        "--policy",
        action="append",
        metavar="P",
        help="built-in, one-class or a file (default: the first two)",
    )
    parser.add_argument("--way", action="append", metavar="WAY", help="only these ways (default: all)")
    parser.add_argument("--seeds", type=int, default=3, help="runs with other random numbers (default 3)")
    parser.add_argument("--seconds", type=int, help="simulated seconds of a run (default 60)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw both parts, as .svg or .png")
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if options.picture and set(options.parts or PARTS) != set(PARTS):
        parser.error("--picture: it shows both parts; name none, or both")
    named = {name: _policy_text(name) for name in options.policy or POLICIES}
    options.seeds = 1 if options.quick else options.seeds
    results: dict[str, list[dict[str, Any]]] = {}
    if "load" in (options.parts or PARTS):
        results["load"] = _load(named, options)
    if "delay" in (options.parts or PARTS):
        results["delay"] = _delay(named, options)
    if options.picture:
        draw_picture(results, options.picture)
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n")


def _load(named: dict[str, str], options: argparse.Namespace) -> list[dict[str, Any]]:
    chosen = _choose(ways(named), options.way or (QUICK_WAYS if options.quick else ()), named)
    rows: list[tables.Row] = []
    for workload in options.workload or WORKLOADS:
        for state in STATES:
            begin = monotonic()
            rows += _measure(workload, state, chosen, options)
            print(f"{workload}, {state}: {monotonic() - begin:.1f} s", file=sys.stderr, flush=True)
    print(tables.whole(rows, next(iter(named))))
    return [row.as_dict() for row in rows]


def _delay(named: dict[str, str], options: argparse.Namespace) -> list[dict[str, Any]]:
    begin, first = monotonic(), next(iter(named))
    others = [name for name in options.way or () if name in delay.STRATEGIES]
    rows = list(delay.rows({first: named[first]}, options.seeds, others))
    print(f"delay: {monotonic() - begin:.1f} s", file=sys.stderr, flush=True)
    print("\n".join(("", *tables.delays(rows))))
    return [row._asdict() for row in rows]


def _choose(all_ways: dict[str, Way], names: tuple[str, ...], named: dict[str, str]) -> dict[str, Way]:
    return {name: way for name, way in all_ways.items() if not names or name in names or name in named}


def _policy_text(name: str) -> str:
    text = POLICIES.get(name)
    return Path(name).read_text("utf-8") if text is None else text


def _measure(name: str, state: str, chosen: dict[str, Way], options: argparse.Namespace) -> list[tables.Row]:
    workload = WORKLOADS[name]
    short = QUICK_SECONDS if options.quick else SECONDS
    seconds = options.seconds or LONG.get(name, short)
    found: dict[str, list[Figures]] = {way: [] for way in chosen}
    for seed in range(1, options.seeds + 1):
        flows = flows_of(workload, seconds, STATES[state], seed)
        for way, run in chosen.items():
            found[way].append(figures(run(workload, flows, seconds), workload.low))
    return [tables.Row(name, state, way, mean(of_seeds)) for way, of_seeds in found.items()]


if __name__ == "__main__":
    main()
