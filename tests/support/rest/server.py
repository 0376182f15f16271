"""Starts ``serve.py`` and stops it."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = Path(__file__).parents[2]


class Running(NamedTuple):
    url: str
    process: subprocess.Popen[str]

    def stop(self) -> str:
        """Stop it; return what it printed last."""
        return self.process.communicate(timeout=10)[0]


@contextmanager
def running(*arguments: str) -> Iterator[Running]:
    """Run a server for one test or module."""
    process = subprocess.Popen(
        [sys.executable, "-m", "support.rest.serve", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=TESTS,
        env={**os.environ, "PYTHONPATH": f"{TESTS}:{os.environ.get('PYTHONPATH', '')}"},
    )
    assert process.stdout is not None
    try:
        yield Running(process.stdout.readline().strip(), process)
    finally:
        process.kill()
        process.communicate()
