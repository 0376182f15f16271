"""How long until a heavy flow is on a queue of its own, and where that time goes.

Usage: ``unshare --net python -m bench.detection [--flows 20] [--hold 1] [--background 200] [--max-revalidator 500]``,
with ``--sampling 64`` for flows of a quarter of a queue of 200 Mbit/s under the built-in policy, of which one packet in
64 is sampled (0: none, for comparison); needs root and Open vSwitch.
A private Open vSwitch on the userspace datapath. Heavy flows of twice the gate's rate begin one after another, at
random times, beside background flows that send little. The switch is the judge: the duration of the flow's exact entry
says since when the flow has been on its queue. A proxy between switch and controller notes when the parts happen.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import re
import statistics
import subprocess
import tempfile
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from lab.inside import samples, tap_host

from flowlane.southbound.openflow.session.learned_entries import places_of
from flowlane.southbound.openflow.wire import cookies, flow_stats

POLICY = """
version: 1
default: small
copy-rate: 100000
classes:
  small: {{}}
  heavy: {{queues: exclusive, priority: 1}}
rules:
  - {{name: heavy, match: {{rate: ">= 1Mbit/s for {hold}s until below 500kbit/s"}}, class: heavy}}
"""
QUEUES = 8
HEAVY_FROM = 50_000
"""Source port of the first heavy flow."""

SIZE, HEADERS = 1358, 42
"""Bytes of a heavy flow's payload, and of the headers before it."""


class Traffic(NamedTuple):
    """Heavy flows: their rate and the rate condition's, in bit/s, and how long each lasts, in seconds."""

    rate: float
    gate: float
    lasts: float

    @property
    def apart(self) -> float:
        """Seconds between two packets."""
        return (SIZE + HEADERS) * 8 / self.rate


SLOW = Traffic(2e6, 1e6, 6.0)
QUEUE_RATE = 200_000_000
QUARTER = Traffic(QUEUE_RATE / 4, QUEUE_RATE / 4, 2.0)
SAMPLED_POLICY = """
version: 1
default: small
copy-rate: 100000
sampling: "{sampling}"
classes:
  small: {{}}
  heavy: {{queues: exclusive, priority: 1}}
rules:
  - {{name: heavy, match: {{rate: ">= 25% of a queue for 0s until below 10% of a queue"}}, class: heavy}}
"""
PACKET_IN, FLOW_MOD, MULTIPART_REPLY = 10, 14, 19
UDP_SRC = bytes((0x80, 0, 15 << 1, 2))
"""Header of the match field udp_src (OXM 15 of the class of OpenFlow)."""

SENDER = bytes((10, 9, 0, 1)) + tap_host.FAR


@dataclass
class Noted:
    """What the proxy saw of the heavy flows: port -> times; of readings also the bytes that they showed."""

    copied: dict[int, float] = field(default_factory=dict)
    pinned: dict[int, float] = field(default_factory=dict)
    readings: defaultdict[int, list[tuple[float, int]]] = field(default_factory=lambda: defaultdict(list))
    octets: int = 0
    """Bytes of statistics replies."""

    def watch(self, from_controller: bool, message: bytes) -> None:
        """Take a message from the proxy."""
        now = time.monotonic()
        if message[1] == PACKET_IN:
            at = message.find(SENDER)
            port = int.from_bytes(message[at + 8 : at + 10], "big")
            if at > 0 and port >= HEAVY_FROM:
                self.copied.setdefault(port, now)
        elif message[1] == FLOW_MOD and from_controller and is_pin(message):
            at = message.find(UDP_SRC)
            port = int.from_bytes(message[at + 4 : at + 6], "big")
            if at > 0 and port >= HEAVY_FROM:
                self.pinned.setdefault(port, now)
        elif message[1] == MULTIPART_REPLY:
            self.octets += len(message)
            for raw in flow_stats.entries(SimpleNamespace(buf=message)) or ():
                parts, places = cookies.unpack(raw.cookie), places_of(raw.fields) or {}
                place = places.get("udp_src")
                if parts is not None and parts.kind == cookies.Kind.LEARNED and place is not None:
                    port = int.from_bytes(raw.fields[place.start : place.end], "big")
                    if port >= HEAVY_FROM:
                        self.readings[port].append((now, raw.octets))


def is_pin(message: bytes) -> bool:
    """Whether a flow-mod is of a pin."""
    parts = cookies.unpack(int.from_bytes(message[8:16], "big"))
    return parts is not None and parts.kind == cookies.Kind.PIN


def send(
    host: tap_host.TapHost,
    flows: int,
    background: int,
    seed: int,
    begun: dict[int, float],
    end: threading.Event,
    traffic: Traffic,
) -> None:
    """Send everything; note when each heavy flow begins."""
    rng = random.Random(seed)
    due = [(rng.random() * 3 + 3.0 * number + 3.0, HEAVY_FROM + number) for number in range(flows)]
    beats = [(rng.random() * 2.0, 2000 + number) for number in range(background)]
    start = time.monotonic()
    queue = [(start + when, port) for when, port in due + beats]
    heapq.heapify(queue)
    frames = {port: tap_host.frame(1, port, 80, bytes(SIZE)) for _, port in due}
    while queue and not end.is_set():
        when, port = heapq.heappop(queue)
        rest = when - time.monotonic()
        if rest > 0:
            time.sleep(rest)
        if port >= HEAVY_FROM:
            begin = begun.setdefault(port, time.monotonic())
            host.send_frame(1, frames[port])
            if when + traffic.apart < begin + traffic.lasts:
                heapq.heappush(queue, (when + traffic.apart, port))
        else:
            host.send(1, port, 80, b"background")
            heapq.heappush(queue, (when + 2.0, port))


def made(host: tap_host.TapHost) -> dict[int, float]:
    """When the pins that stand now were made: port -> monotonic time."""
    found: dict[int, float] = {}
    before = time.monotonic()
    lines = host.dump(f"cookie=0x{cookies.pack(cookies.Kind.PIN):x}/0x{cookies.KIND_MASK:x}")
    now = (before + time.monotonic()) / 2
    for line in lines:
        port, since = re.search(r"tp_src=(\d+)", line), re.search(r"duration=([\d.]+)s", line)
        if port and since and "set_queue" in line:
            found[int(port[1])] = now - float(since[1])
    return found


def run(
    host: tap_host.TapHost, flows: int, background: int, seed: int, traffic: Traffic = SLOW
) -> dict[str, Any]:
    """Send and watch; return the figures."""
    noted, begun, pins = Noted(), dict[int, float](), dict[int, float]()
    there: set[int] = set()
    end = threading.Event()
    host.proxy.watch = noted.watch
    sender = threading.Thread(target=send, args=(host, flows, background, seed, begun, end, traffic))
    sender.start()
    begin = time.monotonic()
    deadline = begin + 3.0 * flows + 3.0 + traffic.lasts + 5.0
    while time.monotonic() < deadline and sender.is_alive():
        time.sleep(min(1.0, traffic.lasts / 4))
        for port, when in made(host).items():
            pins.setdefault(port, when)
        there |= {item["src_port"] for item in host.assignments() if item["class"] == "heavy"} - pins.keys()
    end.set()
    sender.join()
    return figures(noted, begun, pins, there - pins.keys(), time.monotonic() - begin, traffic)


def figures(
    noted: Noted,
    begun: dict[int, float],
    pins: dict[int, float],
    there: set[int],
    seconds: float,
    traffic: Traffic = SLOW,
) -> dict[str, Any]:
    """Put together what the parts took, as lists of seconds since the flow's first packet."""
    heavy = sorted(begun)
    ages = [
        when - begun[port] - octets * 8 / traffic.rate
        for port in heavy
        for when, octets in noted.readings[port]
        if octets and when < noted.pinned.get(port, begun[port] + traffic.lasts)
    ]
    gaps = [later - earlier for port in heavy for (earlier, _), (later, _) in pairwise(noted.readings[port])]

    def first(port: int, least: float) -> float:
        return next(
            (
                when - begun[port]
                for when, octets in noted.readings[port]
                if octets * 8 >= least * (when - begun[port])
            ),
            float("nan"),
        )

    return {
        "its copy reaches the controller": [
            noted.copied[port] - begun[port] for port in heavy if port in noted.copied
        ],
        "first reading that shows bytes of it": [first(port, 1.0) for port in heavy],
        "first reading that shows the gate's rate": [first(port, traffic.gate) for port in heavy],
        "its exact entry is sent": [
            noted.pinned[port] - begun[port] for port in heavy if port in noted.pinned
        ],
        "its exact entry stands in the switch": [
            pins[port] - begun[port] if port in pins else traffic.lasts for port in heavy if port not in there
        ],
        "age of a reading's counters": ages,
        "time between two readings of it": gaps,
        "flows without an exact entry, not counting those that need none": len(
            [port for port in heavy if port not in pins and port not in there]
        ),
        "flows that were on their own queue by chance": len(there),
        "kB/s of statistics": noted.octets / seconds / 1e3,
    }


def show(found: dict[str, Any]) -> None:
    """Print the table."""
    print("| seconds after its first packet | median | p95 | most |\n|---|---|---|---|")
    for name, values in found.items():
        in_order = sorted(value for value in values if value == value) if isinstance(values, list) else []
        if in_order:
            p95 = in_order[min(len(in_order) - 1, int(0.95 * len(in_order)))]
            print(f"| {name} | {statistics.median(in_order):.2f} | {p95:.2f} | {in_order[-1]:.2f} |")
        elif not isinstance(values, list):
            print(f"| {name} | {values:.1f} | | |")


def main() -> None:
    """Run, print the table, write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flows", type=int, default=20)
    parser.add_argument("--hold", type=float, default=1)
    parser.add_argument("--background", type=int, default=200)
    parser.add_argument("--max-revalidator", type=int, default=500)
    parser.add_argument("--sampling", type=int, metavar="N", help="one packet in N; 0: none")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    policy, traffic = POLICY.format(hold=f"{given.hold:g}"), SLOW
    options: tuple[str, ...] = ()
    if given.sampling is not None:
        sampling = f"1/{given.sampling}" if given.sampling else "off"
        policy, traffic, options = SAMPLED_POLICY.format(sampling=sampling), QUARTER, (samples.LISTEN,)
    rate = QUEUES * QUEUE_RATE
    with (
        tempfile.TemporaryDirectory() as folder,
        tap_host.running(Path(folder), policy, *options, queues=QUEUES, rate=rate) as host,
    ):
        if given.sampling:
            samples.export(host.ovs, tap_host.BRIDGE, samples.port_of(host.manager))
        host.ovs.vsctl("set", "Open_vSwitch", ".", f"other_config:max-revalidator={given.max_revalidator}")
        found = run(host, given.flows, given.background, given.seed, traffic)
    show(found)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
