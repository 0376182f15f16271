"""What it costs a real Open vSwitch to report counters: by cookie, by masked cookie, by match, and as sums.

Usage: ``python -m bench.detection.reading_cost [--entries 100000] [--group 512]``; needs Open vSwitch.
A private Open vSwitch has so many entries like learned ones in table 5, in groups with a cookie each. Each request is
sent over its management socket, and timed is the CPU that ovs-vswitchd takes for it.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from lab.inside import private_ovs

COOKIE, KIND = 0xF10A_4000_0000_0000, 0xFFFF_F000_0000_0000
COUNTING = 0xF10A_5000_0000_0000
ALL, ANY = 0xFFFF_FFFF_FFFF_FFFF, 0xFFFF_FFFF
FLOW, AGGREGATE = 1, 2
CHUNK = 10_000
"""Entries that are added at a time."""

_HEADER = struct.Struct("!BBHI")
_MULTIPART = struct.Struct("!HH4x")
_REQUEST = struct.Struct("!B3xII4xQQ")


class Reply(NamedTuple):
    """What a request took: milliseconds until the end of the reply, and of the CPU of ovs-vswitchd; bytes of it."""

    elapsed: float
    cpu: float
    octets: int


def entry(number: int, group: int) -> str:
    """An entry like a learned one, in ovs-ofctl's language."""
    source = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    match = f"udp,in_port=1,metadata=0x{(1 << 32) + 3:x},vlan_tci=0/0x1fff,dl_src=02:00:00:00:00:01"
    ports = f"nw_src={source},nw_dst=10.9.255.254,tp_src={number & 0xFFFF},tp_dst=80"
    loads = "load:1->NXM_NX_REG0[],load:3->NXM_NX_REG1[],load:0->NXM_NX_REG4[]"
    cookie = COOKIE + (number // group << 8)
    return f"table=5,priority=1000,cookie=0x{cookie:x},idle_timeout=60000,{match},{ports},actions={loads}"


def counting_entry(number: int) -> str:
    """An entry like those of table learn that count a group, in ovs-ofctl's language."""
    return f"table=7,priority=65002,cookie=0x{COUNTING + number:x},reg6=0x{number + 1:x},actions=NORMAL"


def match_of_sender(number: int) -> bytes:
    """A match of one VM's entries (metadata, upper half)."""
    oxm = struct.pack("!HBBQQ", 0x8000, 2 << 1 | 1, 16, number << 32, 0xFFFF_FFFF << 32)
    return struct.pack("!HH", 1, 4 + len(oxm)) + oxm


def request(kind: int, cookie: int, mask: int, match: bytes = b"\x00\x01\x00\x04", table: int = 5) -> bytes:
    """A multipart request of OpenFlow 1.3 (7.3.5.2 and 7.3.5.3)."""
    body = _REQUEST.pack(table, ANY, ANY, cookie, mask) + match + bytes(-len(match) % 8)
    return (
        _HEADER.pack(4, 18, _HEADER.size + _MULTIPART.size + len(body), 7) + _MULTIPART.pack(kind, 0) + body
    )


def cpu_of(pid: int) -> float:
    """CPU (ms) that the main thread of a process has used so far."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e6


class Connection:
    """An OpenFlow connection to the switch's management socket."""

    def __init__(self, path: str, pid: int) -> None:
        self._pid = pid
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect(path)
        self._socket.sendall(_HEADER.pack(4, 0, 8, 1))

    def _message(self) -> bytes:
        head = self._exactly(8)
        return head + self._exactly(_HEADER.unpack(head)[2] - 8)

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            data += self._socket.recv(count - len(data))
        return bytes(data)

    def ask(self, message: bytes) -> Reply:
        """Send a request, and read its reply to the end."""
        cpu, begin, octets = cpu_of(self._pid), time.perf_counter(), 0
        self._socket.sendall(message)
        while True:
            data = self._message()
            if data[1] == 2:
                self._socket.sendall(_HEADER.pack(4, 3, len(data), _HEADER.unpack(data[:8])[3]) + data[8:])
            elif data[1] == 19:
                octets += len(data)
                if not data[11] & 1:
                    break
        elapsed = (time.perf_counter() - begin) * 1e3
        return Reply(elapsed, cpu_of(self._pid) - cpu, octets)


def requests_of(entries: int, group: int) -> dict[str, tuple[int, Callable[[int], bytes]]]:
    """What is requested: name -> entries found, and the message of the n-th time."""
    groups = max(1, entries // group)
    bits = (groups - 1).bit_length()
    low = KIND | ((1 << bits) - 1) << 8
    return {
        "one group, by its cookie": (
            group,
            lambda turn: request(FLOW, COOKIE + (turn % groups << 8), ALL),
        ),
        "no entry, by a cookie": (0, lambda _turn: request(FLOW, COOKIE + 0xFFFF00, ALL)),
        "one group, by a masked cookie": (
            group,
            lambda turn: request(FLOW, COOKIE + (turn % groups << 8), low),
        ),
        "no entry, by a match": (0, lambda _turn: request(FLOW, COOKIE, KIND, match_of_sender(99))),
        "no entry, by a masked cookie, any table": (
            0,
            lambda _turn: request(FLOW, COOKIE | 0x2000_0000_0000, KIND, table=255),
        ),
        "all entries": (entries, lambda _turn: request(FLOW, COOKIE, KIND)),
        "sums of all groups, by the entries that count them": (
            groups,
            lambda _turn: request(FLOW, COUNTING, KIND, table=7),
        ),
        "sum of one group, by its cookie": (
            group,
            lambda turn: request(AGGREGATE, COOKIE + (turn % groups << 8), ALL),
        ),
        "sum of all entries": (entries, lambda _turn: request(AGGREGATE, COOKIE, KIND)),
    }


def main() -> None:
    """Run, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--group", type=int, default=512)
    parser.add_argument("--times", type=int, default=20)
    given = parser.parse_args()
    with private_ovs.running() as ovs:
        ovs.add_bridge()
        flows = ovs.directory / "flows"
        for first in range(0, given.entries, CHUNK):
            numbers = range(first, min(given.entries, first + CHUNK))
            flows.write_text("\n".join(entry(number, given.group) for number in numbers))
            ovs.ofctl("add-flows", "br0", str(flows), version="OpenFlow13")
        flows.write_text("\n".join(map(counting_entry, range(given.entries // given.group))))
        ovs.ofctl("add-flows", "br0", str(flows), version="OpenFlow13")
        pid = int((ovs.directory / "ovs-vswitchd.pid").read_text())
        connection = Connection(ovs.management("br0"), pid)
        print(
            "| requested | entries | CPU of the switch (ms) | until the end of the reply (ms) | reply (kB) |"
        )
        print("|---|---|---|---|---|")
        for name, (found, make) in requests_of(given.entries, given.group).items():
            replies = [connection.ask(make(turn)) for turn in range(given.times)]
            cpu = statistics.median(reply.cpu for reply in replies)
            elapsed = statistics.median(reply.elapsed for reply in replies)
            print(f"| {name} | {found} | {cpu:.2f} | {elapsed:.2f} | {replies[0].octets / 1e3:.0f} |")


if __name__ == "__main__":
    main()
