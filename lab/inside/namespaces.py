"""Sockets in the network namespaces of the lab's VMs, without starting a program in each.

Python takes a second to start on an emulated CPU.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CLONE_NEWNET = 0x40000000
FAR_END = "10.0.0.254"
FIRST_PORT = 7000
"""First destination port of ``send_by_queue``; queue k has the k-th after it."""


@contextmanager
def inside(name: str) -> Iterator[None]:
    """Enter a network namespace with this thread; sockets that are opened in the block stay in it."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptors = [os.open(path, os.O_RDONLY) for path in (f"/run/netns/{name}", "/proc/thread-self/ns/net")]
    try:
        _enter(libc, descriptors[0])
        yield
    finally:
        _enter(libc, descriptors[1])
        for descriptor in descriptors:
            os.close(descriptor)


def _enter(libc: ctypes.CDLL, descriptor: int) -> None:
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def udp_socket(name: str, port: int = 0) -> socket.socket:
    """Open a UDP socket in a namespace, bound to ``port`` (0: any)."""
    with inside(name):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("", port))
    sock.settimeout(2)
    return sock


def send_counts(
    name: str, counts: Iterable[tuple[int, int]], *, size: int = 200, gap_s: float = 0.0005
) -> None:
    """Send UDP packets from a namespace to the far end.

    Args:
        counts: (destination port, number of packets) pairs.
        gap_s: seconds between two packets.
    """
    with udp_socket(name) as sender:
        for port, count in counts:
            for _ in range(count):
                sender.sendto(b"x" * size, (FAR_END, port))
                time.sleep(gap_s)


def send_by_queue(name: str, queues: int) -> dict[int, int]:
    """Send 10, 20, 30 .. packets to the ports of so many queues; return the number for each queue."""
    sent = {queue: 10 * (queue + 1) for queue in range(queues)}
    send_counts(name, [(FIRST_PORT + queue, packets) for queue, packets in sent.items()])
    return sent


@contextmanager
def network_of_its_own() -> Iterator[None]:
    """Keep this thread, and what it starts, in a new network namespace for the block (unshare(2)); needs root.

    Two Open vSwitches with userspace datapaths cannot share a namespace: both make a device ``ovs-netdev``.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if libc.unshare(CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            yield
        finally:
            _enter(libc, before)
    finally:
        os.close(before)


def add_veth_pairs(names: Iterable[str]) -> None:
    """Add a pair of devices for each name, ``NAME`` and ``NAME-in``; both are up and send nothing by themselves."""
    for name in names:
        for words in (
            f"link add {name} type veth peer name {name}-in",
            f"link set {name} up",
            f"link set {name}-in up",
        ):
            subprocess.run(["ip", *words.split()], check=True)
        for end in (name, f"{name}-in"):
            Path(f"/proc/sys/net/ipv6/conf/{end}/disable_ipv6").write_text("1")
