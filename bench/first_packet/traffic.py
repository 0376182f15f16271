"""New UDP flows from a VM to an application on a far host, and how long the first packet of each took.

A packet has left when the VM's kernel gives it to the device, and has arrived when the far host's kernel has it for the
application (``far_host.py``); both kernels stamp it (``SO_TIMESTAMPNS``), so Python's own delays do not count.
One that has not arrived when the host is asked counts as lost.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import socket
import struct
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE, TARGET = bytes.fromhex("0a0000000001"), bytes.fromhex("0a00000000fe")
ADDRESS, PORT = "10.0.0.254", 9
RECORD = struct.Struct("!IQ")
"""Number of a flow, and when its first packet arrived (ns)."""

GAP = 0.010
WARM_UP = 1.0
"""Seconds that a turn goes on before packets are timed: the switch makes its cache entries then."""

CLONE_NEWNET = 0x40000000  # <linux/sched.h>
PR_SET_TIMERSLACK = 29  # <linux/prctl.h>
SO_TIMESTAMPNS = 35  # <asm-generic/socket.h>; a struct timespec of CLOCK_REALTIME with each packet
SO_RCVBUFFORCE = 33


class Load(NamedTuple):
    """``rate`` new flows/s for so many seconds after WARM_UP, of so many packets each.

    ``arrivals``: ``even`` has a flow begin every 1/rate s, ``random`` at any time (a Poisson process).
    """

    rate: int
    seconds: float
    packets: int
    arrivals: str


class Wire(NamedTuple):
    """A VM and a far host with a switch between them.

    ``sender``: out of the VM's interface; ``leaving``: sees what leaves there, with the kernel's stamps.
    """

    sender: socket.socket
    leaving: socket.socket
    host: subprocess.Popen[bytes]


def network_of_its_own() -> None:
    """Move this thread, and what it starts from now on, to a new network namespace (unshare(2)); needs root."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET)")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def stamped(sock: socket.socket) -> socket.socket:
    """Have the kernel stamp what a socket receives, keep all of it, and never wait for it; needs root."""
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 28)
    sock.setblocking(False)
    return sock


def stamp(notes: list[tuple[int, int, bytes]]) -> int:
    """When the kernel had a packet (ns since the epoch), from the notes that recvmsg gave with it."""
    seconds, nanoseconds = struct.unpack("qq", notes[0][2])
    return int(seconds * 10**9 + nanoseconds)


def checksum(header: bytes) -> int:
    """The internet checksum (RFC 1071); a connection tracker takes no packet whose own is wrong."""
    total: int = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def frame(number: int, packet: int) -> bytes:
    """A UDP packet of the flow with this number, which its payload carries too."""
    address, port = struct.pack("!I", 0x0A010000 + number // 60000), 1024 + number % 60000
    payload = struct.pack("!IB", number, packet) + bytes(59)
    target = socket.inet_aton(ADDRESS)
    plain = struct.pack("!BBHHHBBH", 0x45, 0, 28 + len(payload), 0, 0, 64, 17, 0) + address + target
    ip = plain[:10] + struct.pack("!H", checksum(plain)) + plain[12:]
    udp = struct.pack("!HHHH", port, PORT, 8 + len(payload), 0)
    return TARGET + SOURCE + b"\x08\x00" + ip + udp + payload


def schedule(load: Load, first: int) -> list[tuple[float, int, int]]:
    """What is sent when: seconds from the start, number of the flow (from ``first`` on), number of the packet."""
    span = WARM_UP + load.seconds
    flows = range(int(load.rate * span))
    if load.arrivals == "random":
        chance = random.Random(first)
        begins = sorted(chance.uniform(0, span) for _ in flows)
    else:
        begins = [flow / load.rate for flow in flows]
    return sorted(
        (begins[flow] + packet * GAP, first + flow, packet)
        for flow in flows
        for packet in range(load.packets)
    )


@contextlib.contextmanager
def wire(vm: str, uplink: str) -> Iterator[Wire]:
    """Devices for a bridge with a VM behind the one and a far host behind the other, for the length of a block."""
    own, far = f"{vm}-in", f"{uplink}-in"
    command = [sys.executable, "-m", "bench.first_packet.far_host"]
    with contextlib.ExitStack() as stack:
        host = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        )
        stack.callback(host.kill)
        assert host.stdin is not None
        assert host.stdout is not None
        namespace = host.stdout.readline().decode().strip()
        for words in (
            f"link add {vm} type veth peer name {own}",
            f"link add {uplink} type veth peer name {far}",
            f"link set {far} netns {namespace} address {TARGET.hex(':')}",
            *(f"link set {name} up" for name in (vm, own, uplink)),
        ):
            subprocess.run(["ip", *words.split()], check=True)
        for name in (vm, uplink):
            stack.callback(
                subprocess.run, ["ip", "link", "del", name], check=False, stderr=subprocess.DEVNULL
            )
        host.stdin.write(f"{far}\n".encode())
        if host.stdout.readline() != b"ready\n":
            raise SystemExit("the far host does not answer")
        sender, leaving = (
            stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW)) for _ in range(2)
        )
        sender.bind((own, 0))
        stamped(leaving).bind((own, 3))  # ETH_P_ALL
        yield Wire(sender, leaving, host)


def send_command(ends: Wire, command: str) -> None:
    """Send a command to the far host."""
    assert ends.host.stdin is not None
    ends.host.stdin.write(f"{command}\n".encode())


def drive(ends: Wire, load: Load, first: int, patience: float) -> tuple[dict[int, int], dict[int, int]]:
    """Start flows at a rate; when (ns) each flow's first packet left and arrived, by the flow's number.

    Args:
        patience: seconds that packets may still arrive after the last was sent.
    """
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)  # else a sleep may take 50 us more than it should
    send_command(ends, "announce")
    due = [(when, frame(number, packet)) for when, number, packet in schedule(load, first)]
    _left(ends.leaving)
    start = time.perf_counter()
    for when, data in due:
        wait = start + when - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
        ends.sender.send(data)
    time.sleep(patience)
    send_command(ends, "stop")
    return _left(ends.leaving), _arrived(ends.host)


def _left(leaving: socket.socket) -> dict[int, int]:
    """What has left since the last time, and when."""
    found: dict[int, int] = {}
    with contextlib.suppress(BlockingIOError):
        while True:
            data, notes, _, address = leaving.recvmsg(64, 64)
            if (
                address[2] == socket.PACKET_OUTGOING
                and data[:6] == TARGET
                and len(data) >= 47
                and data[46] == 0
            ):
                found.setdefault(int.from_bytes(data[42:46], "big"), stamp(notes))
    return found


def _arrived(host: subprocess.Popen[bytes]) -> dict[int, int]:
    """What the far host has received since the last time, and when."""
    assert host.stdout is not None
    pipe = host.stdout
    (length,) = struct.unpack("!I", _exactly(pipe.fileno(), 4))
    found: dict[int, int] = {}
    for number, arrived in RECORD.iter_unpack(_exactly(pipe.fileno(), length)):
        found.setdefault(number, arrived)
    return found


def _exactly(pipe: int, length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = os.read(pipe, length - len(data))
        if not more:
            raise SystemExit("the far host has ended")
        data += more
    return data
