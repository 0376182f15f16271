"""``./run demo --lab``: the lab guest, with the controller and the far end outside, and the demo in it."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from lab.outside import ROOT, OutsideError, controller, far_end, free_ports, run_in_guest

BOOT = (
    "--layout",
    "sriov",
    "--vms",
    "3",
    "--queues",
    "4",
    "--cpus",
    "1",
    "--rate",
    "20Mbit/s",
    "--min-rate",
    "4Mbit/s",
)


def main() -> int:
    """Run the demo; return 0, or the exit code of what failed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--logs", type=Path, required=True)
    parser.add_argument("--seconds", type=int, default=12, help="of each of the three parts")
    parser.add_argument("--policy", type=Path, default=ROOT / "docs/policies/demo-lab.yaml")
    arguments = parser.parse_args()
    arguments.logs.mkdir(parents=True, exist_ok=True)
    ports = free_ports()
    print(f"==> flowlane-manager, REST at {ports.url}", flush=True)
    print(
        "==> a guest with real VFs, a NIC with 4 transmit queues, and an uplink of 20 Mbit/s boots",
        flush=True,
    )
    first = ROOT / "docs/policies/one-queue.yaml"
    program = [
        "scripts.demo_lab_guest",
        str(arguments.seconds),
        str(arguments.policy.resolve()),
    ]
    try:
        with (
            far_end(ports, arguments.logs / "iperf3.log"),
            controller(ports, first, arguments.logs / "controller.log"),
        ):
            run_in_guest(ports, arguments.logs, BOOT, program)
    except subprocess.CalledProcessError as failure:
        return failure.returncode
    except OutsideError as failure:
        print(f"failed: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print("\n==> everything has ended; logs of each program are in", arguments.logs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
