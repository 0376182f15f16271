"""A pytest plugin that notes which branches of the package the tests run; ``pytest -p scripts.branch_coverage``.

SlipCover changes the byte code where it is loaded (Python 3.11) or uses sys.monitoring (3.12 on), and takes a probe
away once its branch was run. A trace function, which coverage.py needs on 3.11, takes four times the processor time
of the tests. Each process writes a file of its own; :mod:`scripts.coverage_floor` reads them together.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import slipcover

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "app" / "flowlane"
RESULTS = ROOT / ".run" / "branches"
NOT_COUNTED = [r"class .*\(Protocol\):", r"if __name__ == .__main__.:", r"\.\.\.$"]
"""Lines that nothing runs, besides ``if TYPE_CHECKING:``; a line that begins a block stands for all of it."""


def branches_of(folder: Path) -> Any:
    """Return the branches of every file below a folder of the package, as those that nothing has run."""
    instance = slipcover.Slipcover(branch=True, source=[str(folder)], exclude_also=NOT_COUNTED)
    return instance.get_coverage()["files"]


_instrumented: list[Any] = []


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Begin before conftest.py imports the package."""
    instance = slipcover.Slipcover(
        branch=True, immediate=True, source=[str(PACKAGE)], exclude_also=NOT_COUNTED
    )
    slipcover.ImportManager(instance, slipcover.FileMatcher(sources=[PACKAGE])).__enter__()
    _instrumented.append(instance)


def pytest_sessionfinish() -> None:
    """Write what was run of the files that this process imported."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    for instance in _instrumented:
        files = instance.get_coverage()["files"]
        # A worker of xdist may have the process id of one of another tier.
        name = f"{os.environ.get('PYTEST_XDIST_TESTRUNUID', 'alone')}-{os.getpid()}.json"
        (RESULTS / name).write_text(json.dumps(files))
