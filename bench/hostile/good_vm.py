"""The good VM beside a hostile one: an old flow, new flows, and when their packets leave and arrive.

A packet has left when the VM's kernel gives it to the device, and has arrived when the far host's kernel has it; both
kernels stamp it, so Python's own delays do not count.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
import time
from typing import TYPE_CHECKING, NamedTuple

from bench.first_packet.traffic import PR_SET_TIMERSLACK, stamp, stamped
from bench.hostile.attacks import EF, FAR_MAC, GOOD_IP, GOOD_MAC, UDP, arp, ipv4, udp

if TYPE_CHECKING:
    from collections.abc import Iterator

OLD, VOICE = 5000, 5001
"""Source ports of the old flow, and of the flow whose mark is trusted."""

FIRST_NEW = 20000
ALWAYS = 0.01
"""Seconds between two packets of the old flow."""

NEW_EACH, NEW_PACKETS = 0.05, 3
"""Seconds between two new flows, and the packets of one, which are 10 ms apart."""

_SO_ATTACH_FILTER = 26
"""<asm-generic/socket.h>"""


class Packet(NamedTuple):
    """One packet: source port of its flow, number in the flow, when it left (ns) and arrived (None: it did not)."""

    port: int
    number: int
    left: int
    arrived: int | None


class Sent(NamedTuple):
    """What the VM has sent in one turn, and the source ports of the flows that were new."""

    packets: list[Packet]
    new: range


def _only_from_good(sock: socket.socket) -> None:
    """Let a socket receive only what the good VM sends: its address ends in 1 (classic BPF, <linux/filter.h>)."""
    program = (
        (0x28, 0, 0, 10),
        (0x15, 0, 1, int.from_bytes(GOOD_MAC[4:])),
        (0x06, 0, 0, 0xFFFF),
        (0x06, 0, 0, 0),
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    sock.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(program), ctypes.addressof(code))
    )


class GoodVm:
    """The VM behind one device and the far host behind another, as this process plays them."""

    def __init__(self, own: str, far: str, stack: contextlib.ExitStack) -> None:
        self._sender, self._leaving, self._arriving, self._far = (
            stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW)) for _ in range(4)
        )
        self._sender.bind((own, 0))
        self._far.bind((far, 0))
        for sock, device in ((self._leaving, own), (self._arriving, far)):
            _only_from_good(sock)
            stamped(sock).bind((device, 3))  # ETH_P_ALL
        self._next = FIRST_NEW
        ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)

    def announce(self) -> None:
        """Let the bridge learn where both are."""
        self._far.send(arp(1, FAR_MAC, bytes((10, 9, 0, 254)), bytes((10, 9, 0, 254))))
        self._sender.send(arp(1, GOOD_MAC, GOOD_IP, GOOD_IP))

    def _due(self, seconds: float) -> Iterator[tuple[float, int, int, int]]:
        """Yield when to send which packet: seconds, source port, number, DSCP."""
        for step in range(int(seconds / ALWAYS)):
            yield step * ALWAYS, OLD, step, 0
            yield step * ALWAYS + 0.003, VOICE, step, EF
        for flow in range(int(seconds / NEW_EACH)):
            for packet in range(NEW_PACKETS):
                yield flow * NEW_EACH + packet * 0.01 + 0.006, self._next + flow, packet, 0

    def send(self, seconds: float) -> Sent:
        """Send for so long; return every packet with its times."""
        due = sorted(self._due(seconds))
        new = range(self._next, self._next + int(seconds / NEW_EACH))
        self._next = new.stop if new.stop < 60000 else FIRST_NEW
        for sock in (self._leaving, self._arriving):
            _read(sock)
        begin = time.perf_counter()
        for when, port, number, dscp in due:
            data = ipv4(
                GOOD_IP,
                UDP,
                udp(port, 9, struct.pack("!HI", port, number) + bytes(16)),
                mac=GOOD_MAC,
                dscp=dscp,
            )
            wait = begin + when - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            self._sender.send(data)
        time.sleep(0.5)
        left, arrived = _read(self._leaving), _read(self._arriving)
        return Sent([Packet(*place, when, arrived.get(place)) for place, when in left.items()], new)


def _read(sock: socket.socket) -> dict[tuple[int, int], int]:
    found: dict[tuple[int, int], int] = {}
    with contextlib.suppress(BlockingIOError):
        while True:
            data, notes, _, _ = sock.recvmsg(64, 64)
            if data[12:14] == b"\x08\x00" and data[23] == UDP and len(data) >= 48:
                found.setdefault(struct.unpack_from("!HI", data, 42), stamp(notes))
    return found
