"""How soon new flows are on a queue of their class: 10 ms, 1 s and 5 s after their first packet.

Usage: ``unshare --net python -m bench.first_packet.first_seconds [--rate 100] [--seconds 20] [--json FILE]``;
needs root and Open vSwitch.
A private Open vSwitch on the userspace datapath; flows of three classes go from one tap device to an uplink with
eight queues: *small* (most), *bulk* (classified by its port, so the device's standing rules place it) and *heavy*
(an exclusive queue for what carries 1 Mbit/s for 2 s, so nothing classifies it so at first).

Judged by the switch's own tables, read once a second with ovs-ofctl: an exact entry's queue, from when it was made
(computed from its duration); else the queue of the learned entry, which holds what the standing rules chose for the
first packet, and of flows too short for either the register that came with the packet's copy, as REST shows it. Right
is, for small and bulk, a queue that the standing rule of the class names then; for heavy, the exclusive queue that the
flow has in the end.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from lab.inside import tap_host
from lab.inside.dump_flows import read_entry

POLICY = """
version: 1
default: small
copy-rate: 100000
classes:
  small: {}
  bulk: {}
  heavy: {queues: exclusive, priority: 1}
rules:
  - {name: bulk, match: {protocol: udp, dst-port: 873}, class: bulk}
  - {name: heavy, match: {rate: ">= 1Mbit/s for 2s"}, class: heavy}
"""
QUEUES, BULK = 8, 873
AFTER = (0.010, 1.0, 5.0)
PACKETS, APART = 14, 0.4
"""Packets of a small or bulk flow, and seconds between them."""

BULK_SHARE, HEAVY_EVERY = 5, 4.0
"""One flow in so many is bulk; a heavy one begins every so many seconds."""

HEAVY_PACKETS, HEAVY_APART, HEAVY_SIZE = 1500, 0.006, 1400
PORT = re.compile(r"tp_src=(\d+)")
DURATION = re.compile(r"duration=([\d.]+)s")


class Flow(NamedTuple):
    """A flow as it is sent: its class by what it will have done, when it begins, how many bytes it has in all."""

    port: int
    kind: str
    begins: float
    octets: int


class Look(NamedTuple):
    """The switch at a time: port -> (queue, since when), class -> queues that its standing rule names."""

    when: float
    queues: dict[int, tuple[int | None, float]]
    rules: dict[str, set[int]]


def flows_of(rate: int, seconds: float) -> list[Flow]:
    """All flows, in the order in which they begin."""
    found = []
    for number in range(int(rate * seconds)):
        kind = "bulk" if number % BULK_SHARE == 0 else "small"
        found.append(Flow(2000 + number, kind, number / rate, PACKETS * 60))
    heavy = range(int(seconds / HEAVY_EVERY))
    found += [
        Flow(60_000 + number, "heavy", HEAVY_EVERY * number, HEAVY_PACKETS * HEAVY_SIZE) for number in heavy
    ]
    return found


def packets_of(flow: Flow) -> list[tuple[float, int, int, bytes]]:
    """When, source port, destination port, payload."""
    port = BULK if flow.kind == "bulk" else 80
    count, apart, size = (
        (HEAVY_PACKETS, HEAVY_APART, HEAVY_SIZE) if flow.kind == "heavy" else (PACKETS, APART, 18)
    )
    return [(flow.begins + apart * number, flow.port, port, bytes(size)) for number in range(count)]


def look(host: tap_host.TapHost) -> Look:
    """Read the switch's tables."""
    now, found = time.monotonic(), {}
    rules: defaultdict[str, set[int]] = defaultdict(set)
    groups = {}
    for line in host.groups():
        number = re.search(r"group_id=(\d+)", line)
        if number:
            groups[number[1]] = {int(value, 0) - 1 for value in re.findall(r"set_field:(\w+)->reg1", line)}
    for line in host.dump():
        entry = read_entry(line)
        kind = entry.cookie >> 44 & 0xF
        port, since = PORT.search(line), DURATION.search(line)
        if kind in (tap_host.PIN, tap_host.LEARNED) and port and since:
            queue = entry.queue if kind == tap_host.PIN else entry.learned_queue
            if kind == tap_host.PIN or int(port[1]) not in found:
                found[int(port[1])] = (queue, 0.0 if kind == tap_host.LEARNED else now - float(since[1]))
        elif kind == tap_host.STANDING and entry.match.get("metadata") == "0x2/0xffffffff":
            group = re.search(r"group:(\d+)", entry.actions)
            of_kind = rules["bulk" if "tp_dst" in entry.match else "small"]
            if group:
                of_kind |= groups.get(group[1], set())
            elif entry.learned_queue is not None:
                of_kind.add(entry.learned_queue)
    return Look(now, found, dict(rules))


def queue_at(flow: Flow, when: float, looks: list[Look], first_queues: dict[int, int]) -> int | None:
    """The queue by which the flow's packets left at a time."""
    seen = [one for one in looks if flow.port in one.queues]
    first = next((one.queues[flow.port] for one in seen), None)
    before = [one for one in seen if one.when <= when]
    if before:
        queue, since = before[-1].queues[flow.port]
        if since <= when:
            return queue
    if first is not None and first[1] <= when:
        return first[0]
    return first_queues.get(flow.port, first[0] if first else None)


def is_right(flow: Flow, when: float, looks: list[Look], first_queues: dict[int, int]) -> bool:
    """Whether it was a queue of its class."""
    queue = queue_at(flow, when, looks, first_queues)
    if flow.kind == "heavy":
        last = next(one.queues[flow.port][0] for one in reversed(looks) if flow.port in one.queues)
        return queue == last
    near = min(looks, key=lambda one: abs(one.when - when))
    return queue in near.rules.get(flow.kind, set())


def drive(host: tap_host.TapHost, flows: list[Flow]) -> tuple[float, list[Look], dict[int, int]]:
    """Send everything while looking; return when it began, the looks, and each flow's first queue in REST."""
    looks: list[Look] = []
    first_queues: dict[int, int] = {}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(1.0):
            looks.append(look(host))
            for item in tap_host.assignments(host.manager):
                first_queues.setdefault(item["src_port"], item["queue_id"])

    watcher = threading.Thread(target=watch)
    watcher.start()
    due = sorted(packet for flow in flows for packet in packets_of(flow))
    begin = time.monotonic()
    for when, src_port, dst_port, payload in due:
        rest = begin + when - time.monotonic()
        if rest > 0:
            time.sleep(rest)
        host.send(1, src_port, dst_port, payload)
    time.sleep(1.5)
    done.set()
    watcher.join()
    return begin, looks, first_queues


def shares(
    flows: list[Flow], begin: float, looks: list[Look], first_queues: dict[int, int]
) -> list[dict[str, Any]]:
    """For each class and for all: the share of flows, and of their bytes, that are right so long after the start."""
    rows = []
    for kind in ("small", "bulk", "heavy", "all"):
        mine = [flow for flow in flows if kind in (flow.kind, "all")]
        row: dict[str, Any] = {"class": kind, "flows": len(mine)}
        for after in AFTER:
            right = [
                flow for flow in mine if is_right(flow, begin + flow.begins + after, looks, first_queues)
            ]
            row[f"flows {after:g} s"] = len(right) / len(mine)
            row[f"bytes {after:g} s"] = sum(flow.octets for flow in right) / sum(flow.octets for flow in mine)
        rows.append(row)
    return rows


def main() -> None:
    """Run, print the table, write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    flows = flows_of(given.rate, given.seconds)
    with (
        tempfile.TemporaryDirectory() as folder,
        tap_host.running(Path(folder), POLICY, queues=QUEUES) as host,
    ):
        rows = shares(flows, *drive(host, flows))
    heads = [name for name in rows[0] if name not in ("class", "flows")]
    print("| class | flows |", " | ".join(heads), "|\n" + "|---" * (2 + len(heads)) + "|")
    for row in rows:
        print(
            "|", row["class"], "|", row["flows"], "|", " | ".join(f"{row[name]:.1%}" for name in heads), "|"
        )
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
