"""Time and memory of ``flowlane plan`` for a file with many flows.

``python -m bench.placement.plan_time [--flows 100000] [--vms 200] [--json]``

The command is run as an operator runs it, with its output into a pipe. The flows have Zipf rates.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

POLICY = "version: 1\ndefault: small\nclasses: {small: {}}\n"
PORTS = 60_000


class Run(NamedTuple):
    """What a run took: seconds by the clock and of the processor, the most memory in MB, lines of output."""

    wall: float
    processor: float
    memory: float
    lines: int


def write_flows(path: Path, flows: int, vms: int) -> None:
    """Write so many flows of so many VMs."""
    lines = ["vm,protocol,src,dst,src_port,dst_port,rate"]
    for number in range(flows):
        vm, sequence = number % vms, number // vms
        ends = f"10.0.{vm // 250}.{vm % 250 + 1},192.0.{2 + sequence // PORTS}.1"
        rate = 1000 + 1_000_000_000 // (number + 1)
        lines.append(f"vm-{vm},tcp,{ends},{1024 + sequence % PORTS},443,{rate}bit/s")
    path.write_text("\n".join(lines) + "\n")


def measure(flows: int, vms: int, *words: str) -> Run:
    """Run ``flowlane plan`` for so many flows."""
    with tempfile.TemporaryDirectory() as folder:
        policy, file = Path(folder, "policy.yaml"), Path(folder, "flows.csv")
        policy.write_text(POLICY)
        write_flows(file, flows, vms)
        command = [
            sys.executable,
            "-m",
            "flowlane.cli.main",
            "plan",
            str(policy),
            "--flows",
            str(file),
            *words,
        ]
        begin = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        with process.stdout as output:
            lines = sum(1 for _ in output)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - begin
    if process.returncode:
        raise SystemExit(process.returncode)
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flows", type=int, default=100_000)
    parser.add_argument("--vms", type=int, default=200)
    parser.add_argument("--json", action="store_true", help="have the plan printed as JSON")
    args = parser.parse_args()
    run = measure(args.flows, args.vms, *(["--json"] if args.json else []))
    print(f"{'flows':>8}  {'seconds':>8}  {'processor':>9}  {'MB':>6}")
    print(f"{args.flows:8}  {run.wall:8.1f}  {run.processor:9.1f}  {run.memory:6.0f}")


if __name__ == "__main__":
    main()
