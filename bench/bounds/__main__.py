"""What a switch at fault costs the others: every case of :mod:`bench.bounds.cases`, beside a good switch.

``python -m bench.bounds [--case NAME ...] [--part 0.1] [--json FILE]`` (no root, no Open vSwitch).

For each case a controller is started. A good switch sends a packet every few milliseconds and waits until the
controller sends it on; the case runs meanwhile. Printed are the waits of the good switch, how much memory the
controller took and kept, for how long its processor was busy within one wait, and what became of the faulty
connection.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from bench.bounds.cases import CASES, Case, Site
from bench.bounds.good import Waits, beside
from lab.inside.manager import Launched, launched

SETTLE = 2.0
"""Seconds of quiet after a case, before memory is read."""

PATIENCE = 90.0


class Memory:
    """The resident memory of a process, looked at all the time; MB."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/statm")
        self.before = self.most = self.now()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def now(self) -> float:
        return int(self._status.read_text().split()[1]) * 4096 / 1e6

    def _look(self) -> None:
        while not self._over.wait(0.02):
            self.most = max(self.most, self.now())

    def stop(self) -> None:
        self._over.set()
        self._thread.join()


class Result(NamedTuple):
    """What a case did: see the columns that :func:`main` prints."""

    name: str
    times: int
    seconds: float
    waits: Waits
    took_mb: float
    kept_mb: float
    ended: bool | None
    told: bool
    faults: int


def faults_of(manager: Launched) -> int:
    """Count the exceptions that the controller did not expect."""
    log = manager.log
    return log.count("was not handled") + log.count("Traceback")


def run(name: str, case: Case, times: int, manager: Launched, patience: float = PATIENCE) -> Result:
    """Run a case against a controller."""
    pid = manager.process.pid
    with ExitStack() as stack:
        good = stack.enter_context(beside(manager.openflow_port, pid))
        time.sleep(0.3)
        good.look()
        memory = Memory(pid)
        stack.callback(memory.stop)
        begin = time.monotonic()
        switch = case.run(Site(manager.openflow_port, manager.rest_port, stack, patience), times)
        seconds = time.monotonic() - begin
        time.sleep(SETTLE)
        waits = good.look()
        ended = None if switch is None else switch.is_closed
        kept = memory.now() - memory.before
        told = case.ends is None or any(reason in manager.log for reason in case.ends.split("|"))
    return Result(
        name, times, seconds, waits, memory.most - memory.before, kept, ended, told, faults_of(manager)
    )


HEAD = (
    "| case | times | took, s | p99, ms | longest, ms | busy p99, ms | busiest, ms | packets | MB | MB kept "
    "| connection | exceptions |\n|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def row(result: Result) -> str:
    """Return the row of a case in the table."""
    waits = result.waits
    connection = {None: "-", True: "ended", False: "stays"}[result.ended] + (
        "" if result.told else ", no reason"
    )
    served = waits.asked if waits.served else f"{waits.asked}, then not served"
    return (
        f"| {result.name} | {result.times:,} | {result.seconds:.1f} | {waits.p99_ms:.1f} | {waits.longest_ms:.0f} "
        f"| {waits.busy_p99_ms:.1f} | {waits.busy_ms:.0f} | {served} | {result.took_mb:.0f} | {result.kept_mb:.0f} "
        f"| {connection} | {result.faults} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", action="append", choices=sorted(CASES))
    parser.add_argument("--part", type=float, default=1.0, help="how much of the full number of times")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--log", type=Path, help="folder for the logs of the controllers")
    arguments = parser.parse_args()
    results = []
    print(HEAD, flush=True)
    for name in arguments.case or CASES:
        case = CASES[name]
        with launched() as manager:
            result = run(name, case, max(1, int(arguments.part * case.full)), manager)
            if arguments.log:
                (arguments.log / f"{name}.log").write_text(manager.log)
        results.append(result)
        print(row(result), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps([one._asdict() for one in results]))
    bad = [one.name for one in results if not one.waits.served or not one.told]
    if bad:
        print(f"not as promised: {', '.join(bad)}", file=sys.stderr)


if __name__ == "__main__":
    main()
