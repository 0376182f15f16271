"""Traffic of the lab's experiments, run inside the guest: small requests, heavy transfers, and what they cost.

Small flows: UDP requests of fixed size at a fixed pace, answered at the far end; a request's time runs from
before its ``send`` to after its answer's ``recv``. Heavy flows: iperf3's TCP.
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
from pathlib import Path
from typing import NamedTuple

from lab.inside.namespaces import FAR_END, udp_socket

STAMP = struct.Struct("!d")
REQUEST_BYTES = 96
LOST_S = 2.0
"""A request that was not answered within it counts as this long."""

VMS = [f"vm{number}" for number in range(1, int(os.environ.get("LAB_VMS", "1")) + 1)]
"""The first sends the heavy flows, the others the small ones."""


class Answer(NamedTuple):
    """When a request was sent (s, monotonic clock), and how long its answer took (s)."""

    sent_at: float
    took: float


class Asker:
    """Small flows in one thread: an open loop, so that slow answers do not thin the requests out.

    ``flows`` in all, spread over ``senders``; each asks every ``interval`` s.
    """

    def __init__(self, flows: int, interval: float, senders: list[str]) -> None:
        self.sockets = [udp_socket(senders[number % len(senders)]) for number in range(flows)]
        self.gap = interval / flows
        self.poll = select.poll()
        self.by_descriptor: dict[int, socket.socket] = {}
        for sender in self.sockets:
            sender.setblocking(False)
            sender.connect((FAR_END, int(os.environ["BENCH_ECHO"])))
            self.poll.register(sender, select.POLLIN)
            self.by_descriptor[sender.fileno()] = sender
        self.answers: list[Answer] = []
        self.sent: list[float] = []
        self.due = time.monotonic()

    def ask(self, seconds: float) -> None:
        """Ask for so long, and take the answers that come meanwhile."""
        end = time.monotonic() + seconds
        self.due = max(self.due, time.monotonic() - self.gap)
        while (now := time.monotonic()) < end:
            if now >= self.due:
                self._ask(now)
            self._collect(max(0.0, self.due - time.monotonic()))

    def wait_for_answers(self) -> None:
        """Wait until all requests are answered or lost."""
        end = time.monotonic() + LOST_S
        while len(self.answers) < len(self.sent) and time.monotonic() < end:
            self._collect(0.1)

    def times(self, begin: float, end: float) -> list[float]:
        """How long (s) the answers took to what was asked from ``begin`` to ``end``; a lost one took LOST_S."""
        asked = sum(begin <= sent_at < end for sent_at in self.sent)
        found = [min(LOST_S, answer.took) for answer in self.answers if begin <= answer.sent_at < end]
        return found + [LOST_S] * (asked - len(found))

    def close(self) -> None:
        """Close all sockets."""
        for sender in self.sockets:
            sender.close()

    def _ask(self, now: float) -> None:
        sender = self.sockets[len(self.sent) % len(self.sockets)]
        self.sent.append(now)
        self.due += self.gap
        with contextlib.suppress(BlockingIOError):
            sender.send(STAMP.pack(now).ljust(REQUEST_BYTES, b"."))

    def _collect(self, seconds: float) -> None:
        for descriptor, _ in self.poll.poll(seconds * 1000):
            with contextlib.suppress(OSError):
                (sent_at,) = STAMP.unpack_from(self.by_descriptor[descriptor].recv(2048))
                self.answers.append(Answer(sent_at, time.monotonic() - sent_at))


def everybody_reaches_the_far_end() -> bool:
    """Whether the switch forwards for every VM; it also learns where the far end is."""
    pings = [["ip", "netns", "exec", vm, "ping", "-c", "1", "-W", "2", FAR_END] for vm in VMS]
    return all(subprocess.run(ping, stdout=subprocess.DEVNULL, check=False).returncode == 0 for ping in pings)


def start_heavy(flows: int, seconds: float, *words: str) -> subprocess.Popen[str]:
    """Start the heavy flows, all of one VM; ``words`` are further options of iperf3."""
    options = [
        "-c",
        FAR_END,
        "-p",
        os.environ["BENCH_HEAVY"],
        "-t",
        str(int(seconds)),
        "-P",
        str(flows),
        "-J",
    ]
    command = ["ip", "netns", "exec", VMS[0], "iperf3", *options, *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def heavy_rates(client: subprocess.Popen[str]) -> list[float]:
    """Mean rate of each heavy flow in bit/s of payload received."""
    out, _ = client.communicate(timeout=120)
    return [stream["receiver"]["bits_per_second"] for stream in json.loads(out)["end"]["streams"]]


def busy_seconds() -> tuple[float, float]:
    """CPU seconds used and passed since boot, over all CPUs (proc(5), /proc/stat)."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    idle = ticks[3] + ticks[4]
    return (sum(ticks) - idle) / os.sysconf("SC_CLK_TCK"), sum(ticks) / os.sysconf("SC_CLK_TCK")


def be_first(priority: int = 5) -> None:
    """Run before the emulated CPU's other work, and before programs started from here (sched(7))."""
    os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(priority))
