"""New UDP flows into one device, caught at another, and how long the first packet of each took.

Both ends are in this process. A packet has left when it is given to the kernel, and has arrived when the kernel says
so (``SO_TIMESTAMPNS``), not when Python comes to read it. One that does not arrive within 2 s counts as lost.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from typing import NamedTuple

VM, UP = "flb-vm", "flb-up"
SOURCE, TARGET = bytes.fromhex("0a0000000001"), bytes.fromhex("0a00000000fe")
GAP = 0.010
PATIENCE = 2.0
WARM_UP = 1.0
"""Seconds that a run goes on before packets are timed."""

SO_TIMESTAMPNS = 35  # <asm-generic/socket.h>; a struct timespec of CLOCK_REALTIME with each packet


class Load(NamedTuple):
    """``rate`` new flows/s for so many seconds after WARM_UP, of so many packets each."""

    rate: int
    seconds: float
    packets: int


def checksum(header: bytes) -> int:
    """The internet checksum (RFC 1071); a connection tracker takes no packet whose own is wrong."""
    total = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def frame(number: int, packet: int) -> bytes:
    """A UDP packet of the flow with this number, which its payload tells again."""
    address, port = struct.pack("!I", 0x0A010000 + number // 60000), 1024 + number % 60000
    payload = struct.pack("!IB", number, packet) + bytes(59)
    target = bytes((10, 0, 0, 254))
    plain = struct.pack("!BBHHHBBH", 0x45, 0, 28 + len(payload), 0, 0, 64, 17, 0) + address + target
    ip = plain[:10] + struct.pack("!H", checksum(plain)) + plain[12:]
    return TARGET + SOURCE + b"\x08\x00" + ip + struct.pack("!HHHH", port, 9, 8 + len(payload), 0) + payload


def catch(sock: socket.socket, arrived: dict[int, float], done: threading.Event) -> None:
    """Note when the first packet of each flow arrived, by the kernel's stamp."""
    sock.settimeout(0.2)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    while not done.is_set():
        with contextlib.suppress(TimeoutError):
            data, notes, _, _ = sock.recvmsg(2048, 64)
            if data[:6] == TARGET and len(data) >= 47 and data[46] == 0:
                seconds, nanoseconds = struct.unpack("qq", notes[0][2])
                arrived.setdefault(int.from_bytes(data[42:46], "big"), seconds + nanoseconds / 1e9)


def drive(load: Load, first: int) -> tuple[dict[int, float], dict[int, float]]:
    """Start flows at a rate; returns when each flow's first packet left and arrived, by the flow's number."""
    sender, receiver = (socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) for _ in range(2))
    sender.bind((VM, 0))
    receiver.bind((UP, 0))
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
    sent: dict[int, float] = {}
    arrived: dict[int, float] = {}
    done = threading.Event()
    catcher = threading.Thread(target=catch, args=(receiver, arrived, done))
    catcher.start()
    due = sorted(
        (number / load.rate + packet * GAP, first + number, packet)
        for number in range(int(load.rate * (WARM_UP + load.seconds)))
        for packet in range(load.packets)
    )
    start = time.perf_counter()
    for when, number, packet in due:
        wait = start + when - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
        data = frame(number, packet)
        if packet == 0:
            sent[number] = time.time()
        sender.send(data)
    time.sleep(PATIENCE)
    done.set()
    catcher.join()
    sender.close()
    receiver.close()
    return sent, arrived
