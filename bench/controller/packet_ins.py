"""What a packet-in costs: Flowlane, the C test controller of Open vSwitch, and an os-ken application by the textbook.

All ways get the same load on the same machine in one run, from :mod:`bench.controller.packet_in_load`: the first
packets of new TCP flows, on switches that replay a real Open vSwitch. The processor time of the controller for each
packet-in is the steady figure; the rate depends on what else the machine does.

Ways: ``copies`` (Flowlane as it is by default: the switch places new flows and sends copies), ``reactive`` (Flowlane
answers each flow), ``textbook`` (:mod:`bench.controller.textbook_app`), ``testcontroller`` (ovs-testcontroller).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from bench.controller import packet_in_load as load_of
from bench.controller import recording
from bench.controller.packet_in_load import Load, Running, Seen
from bench.controller.scale import resident_bytes
from bench.controller.waits import processor_seconds
from lab.inside.manager import Launched, free_port, launched, wait_for

SWITCHES = 4
REACTIVE = (
    "version: 1\ndefault: small\nclasses: {small: {}}\nrules: []\npins: {which: reactive, budget: 1000000}\n"
)
WAYS = ("copies", "reactive", "textbook", "testcontroller")
PATIENCE = 60.0
ADOPTION_TIME = 6.0
"""Seconds after a connection until the controller takes no flow for one that it had before a restart."""

_ECHO_WINDOW = 256
_MOST_A_SECOND = {"copies": 150_000, "reactive": 60_000, "textbook": 20_000, "testcontroller": 120_000}
"""Flows that are made for each second of a closed loop; a way that is faster stops when they are used up."""


class Row(NamedTuple):
    """Figures of a way under a load; times in the units of their names.

    ``known``: new flows that REST lists afterwards, of Flowlane only. ``wrong``: flow-mods for no flow that was sent;
    ``moved``: flow-mods for a flow that had been answered, as when it is moved to another queue.
    """

    way: str
    load: str
    sent: int
    per_s: float
    busy_us: float
    median_ms: float
    p99_ms: float
    unanswered: int
    wrong: int
    moved: int
    dropped: int
    known: int
    megabytes: int


class Way(NamedTuple):
    """A running controller with its load generator."""

    name: str
    pid: int
    load: Running
    manager: Launched | None


def _known(manager: Launched | None) -> int:
    if manager is None:
        return 0
    return sum(item["flows"] for item in manager.rest("/v1/devices?limit=1000")["items"])


@lru_cache
def _recording(policy: str) -> recording.Recording:
    return recording.record(policy)


@contextmanager
def _flowlane(name: str, policy: str, adoption_time: float) -> Iterator[Way]:
    record = _recording(policy)
    with launched() as manager:
        if policy:
            manager.put("/v1/policy", policy.encode(), "application/yaml")
        with load_of.started(record, SWITCHES, manager.openflow_port) as load:
            wait_for(lambda: bool(load.ask("programmed")), PATIENCE)
            time.sleep(adoption_time)
            yield Way(name, manager.process.pid, load, manager)


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def _peer(name: str, command: list[str], port: int, environment: dict[str, str]) -> Iterator[Way]:
    record = _recording("")
    with subprocess.Popen(
        command, env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            wait_for(lambda: _listens(port), PATIENCE)
            with load_of.started(record, SWITCHES, port) as load:
                time.sleep(1.0)
                load.ask("announce")
                time.sleep(0.5)
                yield Way(name, process.pid, load, None)
        finally:
            process.kill()


@contextmanager
def running(name: str, testcontroller: str, adoption_time: float = ADOPTION_TIME) -> Iterator[Way]:
    """Run a controller and its load generator for the duration of the block."""
    port = free_port()
    if name in ("copies", "reactive"):
        with _flowlane(name, REACTIVE if name == "reactive" else "", adoption_time) as way:
            yield way
    elif name == "textbook":
        command = [sys.executable, "-m", "bench.controller.textbook_app", str(port)]
        with _peer(name, command, port, {"OSKEN_HUB_TYPE": "eventlet"}) as way:
            yield way
    else:
        with _peer(name, [testcontroller, f"ptcp:{port}:127.0.0.1"], port, {}) as way:
            yield way


def measure(way: Way, load: Load) -> Row:
    """Send one load; return its figures."""
    per_s = load.rate or _MOST_A_SECOND[way.name]
    way.load.ask("prepare", int(per_s * load.seconds / SWITCHES) + 1, load)
    known, used = _known(way.manager), processor_seconds(way.pid)
    seen: Seen = way.load.ask("run", load)
    used = processor_seconds(way.pid) - used
    if load.by_echo:
        time.sleep(0.5)  # News of new flows are worked off within this time.
    return Row(
        way.name,
        f"{load.rate:,}/s" if load.rate else "closed loop",
        seen.sent,
        round(seen.answered / seen.seconds),
        round(1e6 * used / max(seen.answered, 1), 1),
        round(1000 * seen.median_s, 2),
        round(1000 * seen.p99_s, 2),
        seen.sent - seen.answered if load.rate else 0,
        seen.wrong,
        seen.moved,
        seen.dropped,
        _known(way.manager) - known if way.manager else 0,
        round(resident_bytes(way.pid) / 1e6),
    )


def loads_of(name: str, seconds: float, rates: list[int]) -> list[Load]:
    """Return the loads of a way: the closed loop, and what is sent on schedule."""
    by_echo, plain = name == "copies", name in ("textbook", "testcontroller")
    window = _ECHO_WINDOW if by_echo else 32
    loads = [Load(seconds, 0, window, by_echo, plain)]
    if name in ("copies", "reactive"):
        loads += [Load(seconds, rate, window, by_echo, plain) for rate in rates]
    return loads


def overload(rate: int, seconds: float) -> str:
    """Send more copies than a controller can take, with a light load before and after; return a table."""
    light = Load(2.0, 1_000, _ECHO_WINDOW, by_echo=True)
    heavy = light._replace(seconds=seconds, rate=rate)
    lines = [
        "| load | sent | not sent | taken in | p99, ms | all taken in after, s | MB |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    with running("copies", "") as way:
        for name, load in (("before", light), (f"{rate:,}/s", heavy), ("1 s later", light)):
            way.load.ask("prepare", int(load.rate * load.seconds / SWITCHES) + 1, load)
            seen: Seen = way.load.ask("run", load)
            megabytes = resident_bytes(way.pid) / 1e6
            lines.append(
                f"| {name} | {seen.sent:,} | {seen.dropped:,} | {seen.answered:,} | {1000 * seen.p99_s:.2f} "
                f"| {seen.after_s:.2f} | {megabytes:.0f} |"
            )
            time.sleep(1.0)
    return "\n".join(lines)


HEAD = (
    "| way | load | sent | answered/s | processor, us each | wait, ms | p99 | unanswered | wrong | moved | not sent "
    "| in REST | MB |\n|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
)


def line(row: Row) -> str:
    """Return a row of the table."""
    return (
        f"| {row.way} | {row.load} | {row.sent:,.0f} | {row.per_s:,.0f} | {row.busy_us:.1f} | {row.median_ms:.2f} "
        f"| {row.p99_ms:.2f} | {row.unanswered:,.0f} | {row.wrong:,.0f} | {row.moved:,.0f} | {row.dropped:,.0f} "
        f"| {row.known:,.0f} | {row.megabytes:,.0f} |"
    )


def _medians(rows: list[Row]) -> Row:
    columns = zip(*(row[2:] for row in rows), strict=True)
    return Row(rows[0].way, rows[0].load, *(statistics.median(column) for column in columns))


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ways", nargs="*", choices=[*WAYS, []], help="which; all by default")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load")
    parser.add_argument(
        "--rounds", type=int, default=3, help="each with all ways; medians are printed at the end"
    )
    parser.add_argument("--rates", default="20000,80000", help="packet-ins a second on schedule, in all")
    parser.add_argument("--testcontroller", default=shutil.which("ovs-testcontroller") or "", metavar="PATH")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--overload", type=int, default=0, metavar="RATE", help="this instead, for 10 s")
    parser.add_argument("--quick", action="store_true", help="see that all of it runs, in half a minute")
    arguments = parser.parse_args(argv)
    if arguments.quick:
        arguments.seconds, arguments.rounds, arguments.rates = 0.5, 1, "500"
    if arguments.overload:
        print(overload(arguments.overload, 1.0 if arguments.quick else 10.0))
        return
    rates = [int(rate) for rate in arguments.rates.split(",") if rate]
    ways = [way for way in arguments.ways or WAYS if way != "testcontroller" or arguments.testcontroller]
    if len(ways) < len(arguments.ways or WAYS):
        print("no ovs-testcontroller is installed (./run bench fetches it): it is left out", file=sys.stderr)
    rows: dict[tuple[str, str], list[Row]] = {}
    print(HEAD, flush=True)
    for _ in range(arguments.rounds):
        for name in ways:
            for load in loads_of(name, arguments.seconds, rates):
                with running(
                    name, arguments.testcontroller, 0.0 if arguments.quick else ADOPTION_TIME
                ) as way:
                    row = measure(way, load)
                rows.setdefault((name, row.load), []).append(row)
                print(line(row), flush=True)
    medians = [_medians(of) for of in rows.values()]
    print("\nMedians:\n" + HEAD + "\n" + "\n".join(line(row) for row in medians))
    if arguments.json:
        arguments.json.write_text(json.dumps([row._asdict() for row in medians], indent=2) + "\n")


if __name__ == "__main__":
    main()
