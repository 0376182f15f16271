"""Compare the branches that tests have run with the floors; ``python -m scripts.coverage_floor [--missing]``."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from scripts.branch_coverage import PACKAGE, RESULTS, branches_of

FLOORS = {"app/flowlane/core/": 95.0, "app/flowlane/": 90.0}
"""Folder -> percent of its branches that tests have to run."""

Branch = tuple[int, int]
"""The line that decides, and the line that comes next; 0 is the end of the function."""


def read(results: Iterable[Any]) -> dict[str, tuple[set[Branch], set[Branch]]]:
    """Return, for each file of the package, its branches that some test ran, and those that none did."""
    ran: dict[str, set[Branch]] = defaultdict(set)
    known: dict[str, set[Branch]] = defaultdict(set)
    for result in results:
        for path, found in result.items():
            executed = {(begin, end) for begin, end in found["executed_branches"]}
            ran[path] |= executed
            known[path] |= executed | {(begin, end) for begin, end in found["missing_branches"]}
    return {path: (ran[path], branches - ran[path]) for path, branches in sorted(known.items())}


def percentage(files: dict[str, tuple[set[Branch], set[Branch]]], folder: str) -> float:
    """Return the percentage of the branches in a folder that were run; 0 where there is none."""
    chosen = [branches for path, branches in files.items() if path.startswith(folder)]
    ran, not_run = (sum(len(branches[at]) for branches in chosen) for at in (0, 1))
    return 100.0 * ran / (ran + not_run) if ran + not_run else 0.0


def main(arguments: list[str]) -> int:
    """Print the figures, and with ``--missing`` each branch that was not run; return 1 below a floor."""
    results = (json.loads(path.read_text()) for path in RESULTS.glob("*.json"))
    files = read((*results, branches_of(PACKAGE)))
    if "--missing" in arguments:
        for path, (_, not_run) in files.items():
            if not_run:
                print(path, *(f"{begin}->{end}" for begin, end in sorted(not_run)))
    figures = {folder: percentage(files, folder) for folder in FLOORS}
    words = [
        f"{folder} {figure:.2f} % of branches (floor {FLOORS[folder]:g} %)"
        for folder, figure in figures.items()
    ]
    print("; ".join(words))
    return int(any(figure < FLOORS[folder] for folder, figure in figures.items()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
