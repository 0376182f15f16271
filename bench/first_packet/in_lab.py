"""How long the first packets of new flows take on the kernel's datapath, in the lab (docs/engineers/first-packet.md).

    .venv/bin/python -m bench.first_packet.in_lab --out DIR [--rates 20,100] [--seconds 5] [--rounds 3]

What ``bench.first_packet`` measures, inside a guest; the controllers, one for each way, run on the machine outside,
so that the emulated CPU carries sender, switch and receiver only. Writes ``results.json`` and prints the table.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.first_packet.__main__ import PAUSED, POLICY, SETTINGS, WAYS, Place
from bench.first_packet.results import Result, table
from lab.outside import Ports, controller, free_ports, run_in_guest

if TYPE_CHECKING:
    from collections.abc import Mapping

GATEWAY = "10.0.2.2"
"""The machine outside, as a guest sees it."""


def measure_in_guest(
    program: str, ways: list[str], settings: Mapping[str, str], options: list[str], out: Path
) -> list[dict[str, Any]]:
    """Boot a guest, run a bench in it with a controller outside for each way that has settings; return its results."""
    guest, result = free_ports(), "results.json"
    words = [program, "--kernel", "--ways", *ways, *options]
    with contextlib.ExitStack() as stack:
        for number, way in enumerate(way for way in ways if way in settings):
            ports = Ports(*free_ports()[:2], *guest[2:])
            policy = out / f"policy-{number}.yaml"
            policy.write_text(f"{POLICY}{settings[way]}\n")
            stack.enter_context(controller(ports, policy, out / f"controller-{number}.log"))
            words += ["--outside", way, *map(str, Place(GATEWAY, ports.openflow, ports.rest))]
        run_in_guest(guest, out, [], [*words, "--json", result])
    rows: list[dict[str, Any]] = json.loads((out / result).read_text())
    return rows


def main() -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("first-packet-lab"))
    parser.add_argument("--rates", default="20,100")
    parser.add_argument("--seconds", default="5")
    parser.add_argument("--rounds", default="3")
    parser.add_argument("--packets", default="3")
    ways = [way for way in WAYS if way not in PAUSED]
    parser.add_argument("--ways", nargs="+", default=ways, choices=ways)
    given = parser.parse_args()
    out = given.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    numbers = ("rates", "seconds", "rounds", "packets")
    options = [word for name in numbers for word in (f"--{name}", getattr(given, name))]
    rows = measure_in_guest("bench.first_packet", given.ways, SETTINGS, options, out)
    print(table([Result(**row) for row in rows]))


if __name__ == "__main__":
    main()
