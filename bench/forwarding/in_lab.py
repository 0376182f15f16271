"""What a bridge forwards on the kernel's datapath, in the lab (docs/engineers/forwarding.md).

    .venv/bin/python -m bench.forwarding.in_lab --out DIR [--rounds 3] [--seconds 2]

What ``bench.forwarding`` measures, inside a guest; the controllers, one for each way, run on the machine outside.
Writes ``results.json`` and prints the table.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.first_packet.in_lab import measure_in_guest
from bench.forwarding.__main__ import POLICIES, WAYS, Result, table


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
    rows = measure_in_guest("bench.forwarding", given.ways, POLICIES, options, out)
    print(table([Result(**row) for row in rows]))


if __name__ == "__main__":
    main()
