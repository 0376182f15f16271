"""What a bridge forwards: packets/s of old flows, and what a new flow costs, by who fills the tables.

Usage: ``python -m bench.forwarding [--rounds 5] [--seconds 2] [--ways ...] [--json FILE]`` (root).
Each way has a private Open vSwitch on the userspace datapath in a network namespace of its own, a VM's port and an
uplink with four queues; they take turns. A generator in the kernel sends more than the switch forwards, so what
leaves by the uplink is what the switch can do. Columns:

- *old flows*: packets per second of ovs-vswitchd's CPU, of one flow and of 1,000 that are older than ``learn-after``
  (with ``--kernel`` packets/s);
- *upcalls per new flow*: packets that the datapath passed to ovs-vswitchd, of flows with twelve packets each;
- *first packet*: median of what the first packet of a new flow takes beyond NORMAL's (``bench.first_packet``'s clock);
- *lost*: packets of a new flow that begins at the generator's rate, of its first 1,008, beyond what old flows lose.

``--kernel`` takes the machine's own Open vSwitch and its kernel datapath: for the lab, see ``in_lab.py``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import socket
import statistics
import struct
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

from bench.first_packet.__main__ import (
    CATCH_UP,
    ENTRIES,
    HERE,
    SETTINGS,
    Place,
    Way,
    at_work,
    controller,
    programmed,
    switch,
)
from bench.first_packet.traffic import TARGET, Load, drive, frame
from bench.forwarding.generator import RING, Generator, generator

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lab.inside.private_ovs import PrivateOvs

NORMAL, BY_HAND, EACH = "NORMAL", "set_queue by hand", "set_queue by hand for each flow"
BARE: Mapping[str, tuple[str, ...]] = {
    NORMAL: ENTRIES[NORMAL],
    BY_HAND: ("priority=1,actions=NORMAL", "priority=2,in_port=1,actions=set_queue:1,NORMAL"),
    EACH: ("priority=1,actions=NORMAL",),
}
"""``EACH`` also has an entry for each flow (see :func:`_place_by_hand`), as every way has that places single flows."""

MOST_FLOWS = 20_000
"""Flows with an entry by hand: those of a dozen rounds."""

TRACKED: Mapping[str, str] = {
    f"tracked, learn-after: {count}": f"{SETTINGS['Flowlane']}\nlearn-after: {count}\ntrack-above: 0"
    for count in (8, 64)
}
"""Ways in which all young flows pass the connection tracker, however few flows begin."""

POLICIES: Mapping[str, str] = {
    "Flowlane": SETTINGS["Flowlane"],
    "learn-after: 0": SETTINGS["learn-after: 0"],
    **TRACKED,
    "reactive": SETTINGS["reactive"],
}
WAYS = (*BARE, *POLICIES)

OLD = 80
"""Packets of a flow after which it is old: more than every ``learn-after`` here."""

PASSED_BY = bytes.fromhex("0a0000000afd")
"""An address behind the uplink that is not the far host's: what it is sent costs the far host nothing."""

NEW_FLOWS, NEW_PACKETS = 200, 12
PACE = 100
"""New flows a second; ``in_lab`` has fewer, for an emulated CPU."""

BURSTS = 10


class Result(NamedTuple):
    """One turn of a way. Rates are packets/s, times microseconds."""

    way: str
    one: float
    thousand: float
    upcalls: float
    first_packet: float
    lost: float


def _passed_by(number: int) -> bytes:
    """A packet of a flow to the address that the far host does not have."""
    return PASSED_BY + frame(number, 1)[len(PASSED_BY) :]


def missed(way: Way) -> int:
    """Packets for which the datapath had no entry."""
    found = re.search(r"missed:(\d+)", way.ovs.appctl("dpctl/show"))
    assert found is not None
    return int(found[1])


def _process(argument: str) -> int:
    """Return the process that has an argument on its command line."""
    wanted = argument.encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if wanted in path.read_bytes().split(b"\0"):
                return int(path.parent.name)
    raise SystemExit(f"there is no process with {argument}")


class Bench:
    """The measurements of one way; flows are numbered from ``first`` and no number is used twice."""

    def __init__(
        self, way: Way, uplink: str, generator: Generator, counters: TextIO, vswitchd: int | None, pace: int
    ) -> None:
        self.way, self._uplink, self._generator, self._counters = way, uplink, generator, counters
        self._vswitchd = vswitchd
        self.pace = pace
        self.first = 0

    def _sent(self) -> int:
        """Packets that the uplink has sent (/proc/net/dev)."""
        self._counters.seek(0)
        line = next(line for line in self._counters if line.strip().startswith(f"{self._uplink}:"))
        return int(line.split(":")[1].split()[9])

    def _flows(self, count: int) -> range:
        self.first += count
        return range(self.first - count, self.first)

    def old_flows(self, count: int, seconds: float) -> float:
        """Packets that leave per second of the switch's CPU while so many old flows send more than it forwards."""
        frames = [_passed_by(number) for number in self._flows(count)]
        for _ in range(OLD):
            for data in frames:
                self.way.ends.sender.send(data)
            time.sleep(0.005)
        time.sleep(CATCH_UP)
        self._generator.load(frames)
        self._generator.send_for(seconds / 2)
        before, begin = self._sent(), self._spent()
        self._generator.send_for(seconds)
        return (self._sent() - before) / (self._spent() - begin)

    def _spent(self) -> float:
        """Seconds of CPU that ovs-vswitchd has used, where it forwards; else of time: a kernel uses everybody's."""
        if self._vswitchd is None:
            return time.monotonic()
        fields = Path(f"/proc/{self._vswitchd}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def upcalls(self) -> float:
        """Upcalls per new flow of a few packets, which are a fifth as far apart as the flows."""
        before = missed(self.way)
        due = sorted(
            (place / self.pace + packet / self.pace / 5, number, packet)
            for place, number in enumerate(self._flows(NEW_FLOWS))
            for packet in range(NEW_PACKETS)
        )
        start = time.monotonic()
        for when, number, packet in due:
            time.sleep(max(0.0, start + when - time.monotonic()))
            self.way.ends.sender.send(frame(number, packet))
        time.sleep(0.5)
        return (missed(self.way) - before) / NEW_FLOWS

    def first_packet(self) -> float:
        """Median time (us) of the first packets of new flows."""
        load = Load(self.pace, 2.0, 3, "even")
        span = self._flows(int(load.rate * (1 + load.seconds)))
        sent, arrived = drive(self.way.ends, load, span.start, 1.0)
        waits = [(arrived[number] - left) / 1e3 for number, left in sent.items() if number in arrived]
        return statistics.median(waits) if waits else float("nan")

    def _lost(self, data: bytes) -> int:
        self._generator.load([data])
        before = self._sent()
        sent = self._generator.send_once()
        time.sleep(0.3)
        return max(0, sent - (self._sent() - before))

    def lost(self) -> float:
        """Packets lost of a new flow's first ring, beyond what the same flow loses when it is old."""
        counts = []
        for number in self._flows(BURSTS):
            data = _passed_by(number)
            new = self._lost(data)
            counts.append(max(0, new - self._lost(data)))
        return statistics.median(counts)


def take_turn(bench: Bench, seconds: float) -> Result:
    """Measure a way once."""
    way = bench.way
    with at_work(way.process, False):
        one, thousand = (bench.old_flows(count, seconds) for count in (1, RING))
        return Result(way.name, one, thousand, bench.upcalls(), bench.first_packet(), bench.lost())


@contextlib.contextmanager
def ready(name: str, number: int, kernel: bool, outside: Mapping[str, Place], pace: int) -> Iterator[Bench]:
    """A way with its switch: entries written by hand, or a controller here or elsewhere."""
    with contextlib.ExitStack() as stack:
        ovs, bridge, ends = stack.enter_context(switch(number, kernel))
        process = None
        if name in BARE:
            for entry in BARE[name]:
                ovs.ofctl("add-flow", bridge, entry)
            if name == EACH:
                _place_by_hand(ovs, bridge)
        elif name in outside:
            if not programmed(ovs, bridge, outside[name]):
                raise SystemExit(f"the controller at {outside[name]} has not programmed the switch")
        else:
            place = Place(HERE.host, HERE.openflow + number, HERE.rest + number)
            process = stack.enter_context(controller(ovs, bridge, place, POLICIES[name]))
        _teach(ovs, bridge)
        sender = stack.enter_context(generator(f"flb-vm{number}-in"))
        # Both belong to the network namespace in which they are opened.
        counters = stack.enter_context(Path("/proc/thread-self/net/dev").open())
        vswitchd = None if kernel else _process(f"--unixctl={ovs.directory}/vswitchd.ctl")
        yield Bench(
            Way(name, ovs, bridge, ends, process), f"flb-up{number}", sender, counters, vswitchd, pace
        )


def _place_by_hand(ovs: PrivateOvs, bridge: str) -> None:
    """Add an exact entry for each of the flows to come, with one of four queues."""
    path, lines = ovs.directory / "flows", []
    for number in range(MOST_FLOWS):
        packet = _passed_by(number)
        source, target = (socket.inet_ntoa(packet[at : at + 4]) for at in (26, 30))
        ports = struct.unpack_from("!HH", packet, 34)
        match = f"udp,in_port=1,nw_src={source},nw_dst={target},tp_src={ports[0]},tp_dst={ports[1]}"
        lines.append(f"priority=3,{match},actions=set_queue:{number % 4},NORMAL\n")
    path.write_text("".join(lines))
    ovs.ofctl("add-flows", bridge, str(path))


def _teach(ovs: PrivateOvs, bridge: str) -> None:
    """Let the bridge learn what is behind the uplink, so that it floods nothing."""
    for address in (TARGET, PASSED_BY):
        ovs.appctl("fdb/add", bridge, bridge.replace("br", "up"), "0", address.hex(":"))


def run(
    names: list[str], rounds: int, seconds: float, kernel: bool, outside: Mapping[str, Place], pace: int
) -> list[Result]:
    """All ways in turn, and so again for each round, every other one backwards."""
    results = []
    with contextlib.ExitStack() as stack:
        benches = [
            stack.enter_context(ready(name, number, kernel, outside, pace))
            for number, name in enumerate(names)
        ]
        for turn in range(rounds):
            for bench in reversed(benches) if turn % 2 else benches:
                results.append(take_turn(bench, seconds))
                print(results[-1], file=sys.stderr, flush=True)
    return results


def table(results: list[Result]) -> str:
    """Medians over the rounds as a Markdown table; ratios are those of the same round."""
    names = list(dict.fromkeys(row.way for row in results))
    rows = {name: [row for row in results if row.way == name] for name in names}
    base = rows.get(BY_HAND, rows[names[0]])
    ratio = f"of {base[0].way}"
    lines = [
        f"| way | one old flow, packets/s | {ratio} | {RING:,} old flows, packets/s | {ratio} "
        "| upcalls per new flow | first packet, us | lost at its beginning |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, taken in rows.items():
        cells = [name]
        for column in ("one", "thousand"):
            values = [getattr(row, column) for row in taken]
            ratios = [value / getattr(row, column) for value, row in zip(values, base, strict=True)]
            cells += [f"{statistics.median(values):,.0f}", f"{statistics.median(ratios):.2f}"]
        cells += [f"{statistics.median(row.upcalls for row in taken):.2f}"]
        cells += [f"{statistics.median(row.first_packet for row in taken):.0f}"]
        cells += [f"{statistics.median(row.lost for row in taken):.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run, print the table, write JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement of old flows")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--pace", type=int, default=PACE, help="new flows a second")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--kernel", action="store_true")
    parser.add_argument(
        "--outside", nargs=4, action="append", default=[], metavar=("WAY", "HOST", "OPENFLOW", "REST")
    )
    given = parser.parse_args()
    outside = {way: Place(host, int(of), int(rest)) for way, host, of, rest in given.outside}
    results = run(given.ways, given.rounds, given.seconds, given.kernel, outside, given.pace)
    print(table(results))
    if given.json:
        target = Path(os.environ.get("LAB_OUT", ""), given.json)
        target.write_text(json.dumps([result._asdict() for result in results], indent=1))


if __name__ == "__main__":
    main()
