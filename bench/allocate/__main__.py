"""Bench of the allocator: how evenly and how fast flows get queues.

``python -m bench.allocate [PART ...] [--quick]`` prints a table for each part, and writes all of them as JSON. How
flows are placed over time, and what that is worth, is measured by :mod:`bench.placement`.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.allocate import parts
from rich.console import Console
from rich.table import Table

QUEUES = (4, 8, 16, 64, 256)
ROOT = Path(__file__).parents[2]

PARTS: dict[str, Callable[[bool], Iterator[parts.Row]]] = {
    "settled": lambda quick: parts.settled(
        *(((100, 1000), (4, 16)) if quick else ((10**2, 10**3, 10**4, 10**5, 10**6), QUEUES))
    ),
    "exact": lambda quick: parts.exact((12,) if quick else (12, 16), (3, 4)),
    "cost": lambda quick: parts.cost((10**3, 10**4) if quick else (10**3, 10**4, 10**5, 10**6), (4, 64, 256)),
    "full": lambda quick: parts.full(((1000, 16),) if quick else ((1000, 16), (10**4, 256))),
    "memory": lambda quick: parts.memory((10**4,) if quick else (10**5, 10**6)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="small sizes: takes some seconds")
    parser.add_argument("--json", type=Path, default=ROOT / "bench" / "results" / "allocate.json")
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    console = Console(width=None if sys.stdout.isatty() else 140)
    results: dict[str, list[parts.Row]] = {}
    if options.json.exists() and not options.quick:
        results = json.loads(options.json.read_text())["results"]
    for name in options.parts or PARTS:
        with console.status(f"measuring {name}"):
            results[name] = list(PARTS[name](options.quick))
        console.print(table_of(name, results[name]))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    about = {"python": platform.python_version(), "machine": platform.machine(), "quick": options.quick}
    options.json.write_text(json.dumps({"about": about, "results": results}, indent=1) + "\n")
    console.print(f"written: {options.json}")


def table_of(name: str, rows: list[parts.Row]) -> Table:
    """Return one part as a table."""
    table = Table(title=name)
    names = list(rows[0])
    for key in names:
        table.add_column(key, justify="left" if isinstance(rows[0][key], str) else "right")
    for row in rows:
        table.add_row(*(show(row[key]) for key in names))
    return table


def show(value: object) -> str:
    """Return the text of a table's field: yes or no, whole numbers in full, others in four digits."""
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
