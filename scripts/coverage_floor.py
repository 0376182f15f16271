"""Compare the branches that tests have run with the floors; ``python -m scripts.coverage_floor COVERAGE.json``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

FLOORS = {"app/flowlane/core/": 95.0, "app/flowlane/": 90.0}
"""Folder -> percent of its branches, of those that ``coverage json`` lists."""


def branch_coverage(files: dict[str, Any], folder: str) -> float:
    """Return the percentage of the branches in a folder that were run."""
    summaries = [data["summary"] for path, data in files.items() if path.startswith(folder)]
    count = sum(summary["num_branches"] for summary in summaries)
    return 100.0 * sum(summary["covered_branches"] for summary in summaries) / count if count else 0.0


def main() -> int:
    """Print the figures; return 1 when one is below its floor."""
    files = json.loads(Path(sys.argv[1]).read_text())["files"]
    figures = {folder: branch_coverage(files, folder) for folder in FLOORS}
    words = [
        f"{folder} {figure:.1f} % of branches (floor {FLOORS[folder]:g} %)"
        for folder, figure in figures.items()
    ]
    print("; ".join(words))
    return int(any(figure < FLOORS[folder] for folder, figure in figures.items()))


if __name__ == "__main__":
    sys.exit(main())
