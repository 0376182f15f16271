"""Fuzzing itself: a short run of every target finds nothing, and what there is to find would be found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
TELL_TALE = """
import sys
from fuzz import session
from pathlib import Path

def loop(data):
    total = 0
    for number in range(40_000_000 if data[:2] == b"sl" else 0):
        total += number

def fail(data):
    assert data[:3] != b"bad", "found"

left = []
def leak(data):
    left.extend([object(), object()])

def crash(data):
    if data[:1] == b"c":
        import ctypes
        ctypes.string_at(0)

for read, seed in ((loop, b"sl"), (fail, b"bad"), (leak, b"x"), (crash, b"c")):
    target = session.Target(read, 8)
    result = session.run(target, [seed], Path(sys.argv[1]) / read.__name__, 20_000, 0)
    print(read.__name__, result.findings, flush=True)
import os
os._exit(0)
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(map(str, (ROOT / "app", ROOT / "tests", ROOT)))
    return subprocess.run(
        [sys.executable, "-W", "ignore", *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        timeout=300,
    )


def test_a_short_run_of_every_target_finds_nothing() -> None:
    done = run("-m", "fuzz", "--inputs", "200", "--quick")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {line.split()[0]: int(line.split()[1]) for line in done.stdout.splitlines()[1:]}
    assert set(rows) == set(TARGETS)
    assert min(rows.values()) >= 199


def test_what_is_slow_raises_leaks_or_ends_the_process_is_found(tmp_path: Path) -> None:
    done = run("-c", TELL_TALE, str(tmp_path))
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["loop", "1"], ["fail", "1"], ["leak", "1"], ["crash", "1"]
    ], done.stderr  # fmt: skip
    assert (tmp_path / "fail" / "finding-1").read_bytes()[:3] == b"bad"
