"""Flows with known packet counts, and floods at a known rate."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from lab.inside.namespaces import FAR_END, udp_socket

if TYPE_CHECKING:
    from collections.abc import Iterator


SO_SNDBUFFORCE = 32  # <asm-generic/socket.h>; beyond net.core.wmem_max


class UdpFlow(NamedTuple):
    """A UDP flow from a VM to a port of the far end; ``key`` is that of ``Controller.assignments``."""

    vm: str
    sender: socket.socket
    dst_port: int

    @property
    def key(self) -> tuple[str, int]:
        return f"10.0.0.{self.vm.removeprefix('vm')}", self.sender.getsockname()[1]

    def send(self, count: int, *, size: int = 200, gap_s: float = 0.001) -> None:
        """Send ``count`` datagrams of ``size`` bytes of payload."""
        for _ in range(count):
            self.sender.sendto(b"x" * size, (FAR_END, self.dst_port))
            time.sleep(gap_s)


@contextmanager
def udp_flows(
    vms: tuple[str, ...], per_vm: int, dst_port: int, *, unlimited_buffer: bool = False
) -> Iterator[list[UdpFlow]]:
    """Open flows for the duration of the block; they send nothing by themselves.

    Args:
        unlimited_buffer: whether senders go on when the uplink's queue is full, as a VM behind a VF does. A
            packet in the queue counts against its socket's buffer, so by default a full queue slows the
            sender down.
    """
    flows = [UdpFlow(vm, udp_socket(vm), dst_port) for vm in vms for _ in range(per_vm)]
    if unlimited_buffer:
        for flow in flows:
            flow.sender.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 1 << 24)
    try:
        yield flows
    finally:
        for flow in flows:
            flow.sender.close()


@contextmanager
def far_end_server(port: int) -> Iterator[None]:
    """Run an iperf3 server at the far end."""
    server = subprocess.Popen(
        ["ip", "netns", "exec", "wire", "iperf3", "-s", "-p", str(port)], stdout=subprocess.DEVNULL
    )
    try:
        time.sleep(1)
        yield
    finally:
        server.kill()
        server.wait()


def start_iperf(vm: str, port: int, *words: str) -> subprocess.Popen[str]:
    """Start an iperf3 client in a VM.

    Args:
        words: further options of iperf3.
    """
    command = ["ip", "netns", "exec", vm, "iperf3", "-c", FAR_END, "-p", str(port), "-J", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class PacedSender:
    """Sends on several flows at a constant rate in a thread; ``sent`` is the count of each flow."""

    def __init__(self, flows: list[UdpFlow], packets_per_second: float, *, size: int = 200) -> None:
        self.sent = dict.fromkeys(flows, 0)
        self.active = set(flows)
        self._gap = 1 / packets_per_second
        self._size = size
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def keep(self, flow: UdpFlow) -> None:
        """Stop all other flows."""
        self.active.intersection_update({flow})

    def __enter__(self) -> PacedSender:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + self._gap, time.monotonic() - 1)
            for flow in list(self.active):
                flow.sender.sendto(b"x" * self._size, (FAR_END, flow.dst_port))
                self.sent[flow] += 1
