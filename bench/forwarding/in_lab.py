"""What a bridge forwards on the kernel's datapath, in the lab (docs/engineers/forwarding.md).

    .venv/bin/python -m bench.forwarding.in_lab --out DIR [--rounds 3] [--seconds 2]

What ``bench.forwarding`` measures, inside a guest; the controllers, one for each way, run on the machine outside.
Writes ``forwarding.json`` and prints the table.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path

from bench.first_packet.__main__ import POLICY
from bench.first_packet.in_lab import GATEWAY
from bench.forwarding.__main__ import POLICIES, WAYS, Result, table
from lab.outside import Ports, controller, free_ports, run_in_guest


def measure(ways: list[str], options: list[str], out: Path) -> list[Result]:
    """Boot, measure all ways in turn, read what the guest left in ``out``."""
    guest = free_ports()
    program = ["bench.forwarding", "--kernel", "--ways", *ways, *options]
    with contextlib.ExitStack() as stack:
        for number, way in enumerate(way for way in ways if way in POLICIES):
            ports = Ports(*free_ports()[:2], *guest[2:])
            policy = out / f"policy-{number}.yaml"
            policy.write_text(f"{POLICY}{POLICIES[way]}\n")
            stack.enter_context(controller(ports, policy, out / f"controller-{number}.log"))
            program += ["--outside", way, GATEWAY, str(ports.openflow), str(ports.rest)]
        run_in_guest(guest, out, [], [*program, "--json", "forwarding.json"])
    return [Result(**row) for row in json.loads((out / "forwarding.json").read_text())]


def main() -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("forwarding-lab"))
    parser.add_argument("--seconds", default="2")
    parser.add_argument("--rounds", default="3")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    given = parser.parse_args()
    out = given.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    options = ["--seconds", given.seconds, "--rounds", given.rounds, "--pace", "10"]
    print(table(measure(given.ways, options, out)))


if __name__ == "__main__":
    main()
