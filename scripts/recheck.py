"""Run tests, and those that failed once more by themselves, as RECHECK=yes of Open vSwitch's own tests does.

    python -m scripts.recheck --cache DIRECTORY --alone FILE [--most N] -- PYTEST ... -- PYTEST ...

The first command runs all tests, the second one those that failed, when they are few: no others run beside them then.
Tests that pass in the second run are named in ``FILE``, a line each, which whoever runs them shows. The exit status is
that of the last run. Tests of real switches wait for real time, and a machine of others stands still now and then
(docs/decisions/0074).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

TESTS_FAILED = 1
"""pytest's exit status when tests have failed, and nothing else went wrong."""

MOST = 4
"""Failed tests that are run once more; more of them are no chance."""


def last_failed(cache: Path) -> list[str]:
    """Return the ids of the tests that failed in the last run with this cache directory of pytest."""
    path = cache / "v" / "cache" / "lastfailed"
    return sorted(json.loads(path.read_text())) if path.exists() else []


def run(first: Sequence[str], again: Sequence[str], cache: Path, alone: Path, most: int = MOST) -> int:
    """Run both commands as needed; return the exit status.

    Args:
        first: pytest with all tests.
        again: pytest for those that failed; it is told which.
        cache: made anew.
        alone: gets the ids of tests that failed in the first run and passed in the second.
    """
    shutil.rmtree(cache, ignore_errors=True)
    keep = ("-o", f"cache_dir={cache}")
    status = subprocess.call([*first, *keep])
    failed = last_failed(cache)
    if status != TESTS_FAILED or not 0 < len(failed) <= most:
        return status
    print(f"\nonce more, alone: {', '.join(failed)}", flush=True)
    status = subprocess.call([*again, *keep, "--last-failed", "--last-failed-no-failures=none"])
    if status == 0:
        alone.parent.mkdir(parents=True, exist_ok=True)
        with alone.open("a") as file:
            file.writelines(f"{test}\n" for test in failed)
        print(f"passed; {len(failed)} of them when run alone: {', '.join(failed)}", flush=True)
    return status


def main(arguments: Sequence[str]) -> int:
    """Read the commands and run them."""
    words = list(arguments)
    at = words.index("--")
    parser = argparse.ArgumentParser(prog="recheck")
    parser.add_argument("--cache", type=Path, required=True, help="pytest's cache directory of this run")
    parser.add_argument("--alone", type=Path, required=True, help="file for the tests that passed alone only")
    parser.add_argument("--most", type=int, default=MOST, help="failed tests that are run once more at most")
    options = parser.parse_args(words[:at])
    commands = words[at + 1 :]
    between = commands.index("--")
    return run(commands[:between], commands[between + 1 :], options.cache, options.alone, options.most)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
