"""Traffic of the lab's experiments, in the guest: small requests, heavy transfers, and their times.

Small flows are UDP requests of a fixed size at a fixed rate, with a reply from the far end. A request's time
is measured from before its ``send`` to after the ``recv`` of its reply. Heavy flows are iperf3's TCP.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import struct
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from lab.inside.namespaces import FAR_END, udp_socket

STAMP = struct.Struct("!d")
REQUEST_BYTES = 96
LOST_S = 2.0
"""Seconds that a request without a reply counts as."""

VMS = [f"vm{number}" for number in range(1, int(os.environ.get("LAB_VMS", "1")) + 1)]
"""Unless an experiment says otherwise, the first VM sends the heavy flows and the others send the small ones."""


class Reply(NamedTuple):
    """When a request was sent (s, monotonic clock), and how long its reply took (s)."""

    sent_at: float
    took: float


class RequestSender:
    """Small flows in one thread, as an open loop: slow replies do not reduce the rate of requests.

    Args:
        flows: number of flows, spread over ``senders``; each sends a request every ``interval`` s.
        size: bytes of a request, UDP payload.
    """

    def __init__(self, flows: int, interval: float, senders: list[str], size: int = REQUEST_BYTES) -> None:
        self.size = size
        self.sockets = [udp_socket(senders[number % len(senders)]) for number in range(flows)]
        self.gap = interval / flows
        self.poll = select.poll()
        self.by_descriptor: dict[int, socket.socket] = {}
        for sender in self.sockets:
            sender.setblocking(False)
            sender.connect((FAR_END, int(os.environ["BENCH_ECHO"])))
            self.poll.register(sender, select.POLLIN)
            self.by_descriptor[sender.fileno()] = sender
        self.replies: list[Reply] = []
        self.sent: list[float] = []
        self.due = time.monotonic()

    def send_for(self, seconds: float) -> None:
        """Send requests for so long, and take the replies that come meanwhile."""
        end = time.monotonic() + seconds
        self.due = max(self.due, time.monotonic() - self.gap)
        while (now := time.monotonic()) < end:
            if now >= self.due:
                self._send_request(now)
            self._collect(max(0.0, self.due - time.monotonic()))

    def wait_for_replies(self) -> None:
        """Wait until all requests have a reply or are lost."""
        end = time.monotonic() + LOST_S
        while len(self.replies) < len(self.sent) and time.monotonic() < end:
            self._collect(0.1)

    def times(self, begin: float, end: float) -> list[float]:
        """Return the times (s) of the requests that were sent from ``begin`` to ``end``; a lost one has LOST_S."""
        return [reply.took for reply in self.timeline(begin, end)]

    def timeline(self, begin: float, end: float) -> list[Reply]:
        """Return the requests that were sent from ``begin`` to ``end``, in that order; a lost one took LOST_S."""
        took = {reply.sent_at: min(LOST_S, reply.took) for reply in self.replies}
        return [Reply(sent_at, took.get(sent_at, LOST_S)) for sent_at in self.sent if begin <= sent_at < end]

    def close(self) -> None:
        """Close all sockets."""
        for sender in self.sockets:
            sender.close()

    def _send_request(self, now: float) -> None:
        sender = self.sockets[len(self.sent) % len(self.sockets)]
        self.sent.append(now)
        self.due += self.gap
        with contextlib.suppress(BlockingIOError):
            sender.send(STAMP.pack(now).ljust(self.size, b"."))

    def _collect(self, seconds: float) -> None:
        for descriptor, _ in self.poll.poll(seconds * 1000):
            with contextlib.suppress(OSError):
                (sent_at,) = STAMP.unpack_from(self.by_descriptor[descriptor].recv(2048))
                self.replies.append(Reply(sent_at, time.monotonic() - sent_at))


def all_vms_reach_the_far_end() -> bool:
    """Return whether every VM gets a ping's reply; the switch also learns the far end's port by it."""
    pings = [["ip", "netns", "exec", vm, "ping", "-c", "1", "-W", "2", FAR_END] for vm in VMS]
    return all(subprocess.run(ping, stdout=subprocess.DEVNULL, check=False).returncode == 0 for ping in pings)


def start_heavy(
    flows: int, seconds: float, *words: str, vm: str = VMS[0], port: int | None = None
) -> subprocess.Popen[str]:
    """Start heavy flows of one VM.

    Args:
        words: further options of iperf3.
        port: where the far end's iperf3 listens, which serves one client at a time; None: $BENCH_HEAVY.
    """
    server = str(port) if port is not None else os.environ["BENCH_HEAVY"]
    options = ["-c", FAR_END, "-p", server, "-t", str(int(seconds)), "-P", str(flows), "-J"]
    command = ["ip", "netns", "exec", vm, "iperf3", *options, *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def heavy_rates(client: subprocess.Popen[str]) -> list[float]:
    """Return the mean rate of each heavy flow in bit/s of received payload."""
    out, _ = client.communicate(timeout=120)
    return [stream["receiver"]["bits_per_second"] for stream in json.loads(out)["end"]["streams"]]


def busy_seconds() -> tuple[float, float]:
    """Return the CPU seconds used and elapsed since boot, of all CPUs (proc(5), /proc/stat)."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    idle = ticks[3] + ticks[4]
    return (sum(ticks) - idle) / os.sysconf("SC_CLK_TCK"), sum(ticks) / os.sysconf("SC_CLK_TCK")


def use_realtime_priority(priority: int = 5) -> None:
    """Run before other processes, those started from here included (sched(7))."""
    os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(priority))


@contextlib.contextmanager
def first_on_the_machine(processes: Iterable[int], wanted: bool) -> Iterator[None]:
    """Have some processes, and this one, run before all else for the block, where that is wanted (sched(7))."""
    if not wanted:
        yield
        return
    for process in processes:
        subprocess.run(["chrt", "--all-tasks", "--fifo", "--pid", "1", str(process)], check=True)
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
