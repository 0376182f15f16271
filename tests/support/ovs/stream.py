"""A steady stream of numbered packets through a bridge: from one port to another, and which of them did not arrive.

The ports are dummy devices connected to Unix sockets (``options:pstream``, lib/netdev-dummy.c), which carry each
frame behind its length of two bytes.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lab.inside.manager import wait_for
from lab.inside.private_ovs import PrivateOvs
from support.ovs.frames import ether, hello, ipv4, mac, udp

RATE = 500
"""Packets per second."""


@dataclass
class Stream:
    """Packets from VM 1 to VM 2, numbered from 0."""

    sender: socket.socket
    receiver: socket.socket
    gap: float = 1 / RATE
    sent: int = 0
    received: set[int] = field(default_factory=set)
    last: int = -1
    """The number of the packet that arrived last."""
    _stopped: threading.Event = field(default_factory=threading.Event)

    def send(self) -> None:
        due = time.monotonic()
        while not self._stopped.wait(max(0.0, due - time.monotonic())):
            due += self.gap
            data = ether(mac(2), mac(1), 0x800, ipv4(1, 2, 17, udp(1000, 2000, b"no.%08x" % self.sent)))
            self.sender.sendall(struct.pack("!H", len(data)) + data)
            self.sent += 1

    def receive(self) -> None:
        buffer = b""
        while part := self.receiver.recv(65536):
            buffer += part
            while len(buffer) >= 2 and len(buffer) >= (size := 2 + int.from_bytes(buffer[:2], "big")):
                if (at := buffer.find(b"no.", 2, size)) >= 0:
                    self.last = int(buffer[at + 3 : at + 11], 16)
                    self.received.add(self.last)
                buffer = buffer[size:]

    def lost(self) -> int:
        """Packets that were sent since the last call and have not arrived, once those on their way have."""
        sent = self.sent
        wait_for(lambda: self.last >= sent, 10, "nothing arrives any more")
        lost = set(range(sent)) - self.received.copy()
        self.received |= lost
        return len(lost)

    def stop(self) -> None:
        self._stopped.set()


def open_port(ovs: PrivateOvs, name: str) -> socket.socket:
    """Connect to a dummy port of a switch."""
    path = str(ovs.directory / f"{name}.stream")
    ovs.vsctl("set", "Interface", name, f"options:pstream=punix:{path}")
    end = socket.socket(socket.AF_UNIX)
    deadline = time.monotonic() + 5
    while True:
        try:
            end.connect(path)
            return end
        except OSError:
            assert time.monotonic() < deadline, path
            time.sleep(0.02)


@contextmanager
def stream(ovs: PrivateOvs, from_port: str, to_port: str) -> Iterator[Stream]:
    """Send from one port of a bridge to another, for the duration of the block."""
    made = Stream(open_port(ovs, from_port), open_port(ovs, to_port))
    made.receiver.sendall(struct.pack("!H", len(hello(2))) + hello(2))
    threads = [threading.Thread(target=work, daemon=True) for work in (made.send, made.receive)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: len(made.received) > 10, 10, "nothing arrives")
        made.received.update(range(made.sent))
        yield made
    finally:
        made.stop()
        threads[0].join()
        made.receiver.shutdown(socket.SHUT_RDWR)
        threads[1].join()
        made.sender.close()
        made.receiver.close()
