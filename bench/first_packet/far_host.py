"""The far host of ``bench.first_packet``: an application's UDP socket, in a network namespace of its own.

Started by ``traffic.wire``; prints its process id, and joins the network by the device that it is given
then. It reads commands from its standard input: ``announce`` (an ARP of its own, so that switches learn its port) and
``stop``, which has it read what has arrived since the last time, and write the length of it as four bytes and then for
each first packet of a flow the flow's number and the time (ns) at which the kernel had it for the application: RECORD.
It reads no earlier, so that it takes no processor from the switch while packets are timed.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

from bench.first_packet.traffic import ADDRESS, PORT, RECORD, TARGET, network_of_its_own, stamp, stamped


def join(device: str) -> socket.socket:
    """Bring the host's device up; the application's socket."""
    for name in ("all", "default"):
        Path(f"/proc/sys/net/ipv4/conf/{name}/rp_filter").write_text("0")
    for words in (f"addr add {ADDRESS}/8 dev {device}", f"link set {device} up"):
        subprocess.run(["ip", *words.split()], check=True)
    receiver = stamped(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    receiver.bind(("", PORT))
    return receiver


def announce(device: str) -> None:
    """Announce by ARP who has the address (a request for one's own, RFC 5227 section 2.3)."""
    address = socket.inet_aton(ADDRESS)
    head = b"\xff" * 6 + TARGET + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((device, 0))
        sender.send(head + TARGET + address + bytes(6) + address)


def received(receiver: socket.socket) -> bytes:
    """The first packets that have arrived since the last time, as records."""
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            data, notes, _, _ = receiver.recvmsg(64, 64)
            if data[4] == 0:
                found.append(RECORD.pack(int.from_bytes(data[:4], "big"), stamp(notes)))
    return b"".join(found)


def main() -> None:
    """Be the host until standard input ends."""
    network_of_its_own()
    print(os.getpid(), flush=True)
    device = sys.stdin.readline().strip()
    receiver = join(device)
    print("ready", flush=True)
    for word in sys.stdin:
        if word.strip() == "announce":
            announce(device)
        else:
            records = received(receiver)
            sys.stdout.buffer.write(struct.pack("!I", len(records)) + records)
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
