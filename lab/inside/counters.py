"""Counters of packets that are not Flowlane's: of the NIC's driver, the kernel's scheduler and the switch."""

from __future__ import annotations

import re
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BRIDGE, UPLINK, UPLINK_PORT = "br0", "pf0", 100


class Count(NamedTuple):
    packets: int
    bytes: int


def run(*command: str, given: str = "") -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def ofctl(*words: str, given: str = "") -> str:
    return run("ovs-ofctl", "-O", "OpenFlow13", *words, given=given)


def hardware_queues(nic: str = UPLINK) -> dict[int, Count]:
    """Return the count of each hardware transmit queue (``ethtool -S``); bytes are layer 2 without FCS."""
    counts: dict[int, dict[str, int]] = {}
    for queue, what, value in re.findall(r"tx_queue_(\d+)_(packets|bytes): (\d+)", run("ethtool", "-S", nic)):
        counts.setdefault(int(queue), {})[what] = int(value)
    return {queue: Count(**values) for queue, values in counts.items()}


def classes(nic: str = UPLINK) -> dict[int, Count]:
    """Return the count of each leaf class of HTB; class 1:(k+1) is OpenFlow queue k, 1:fffe the root."""
    rows = re.findall(
        r"class htb 1:(\w+) parent.*\n Sent (\d+) bytes (\d+) pkt",
        run("tc", "-s", "class", "show", "dev", nic),
    )
    return {int(minor, 16) - 1: Count(int(packets), int(size)) for minor, size, packets in rows}


def openflow_queues(port: int = UPLINK_PORT) -> dict[int, Count]:
    """Return the count of each queue in the switch's queue statistics."""
    rows = re.findall(r"queue (\d+): bytes=(\d+), pkts=(\d+)", ofctl("queue-stats", BRIDGE, str(port)))
    return {int(queue): Count(int(packets), int(size)) for queue, size, packets in rows}


Reading = dict[str, dict[int, Count]]


def read_all() -> Reading:
    """Read all three counters."""
    return {"hardware": hardware_queues(), "class": classes(), "openflow": openflow_queues()}


def packets_since(before: Reading) -> dict[str, dict[int, int]]:
    """Return the packets of each queue since ``before``, for each counter."""
    now = read_all()
    return {
        counter: {
            queue: count.packets - before[counter].get(queue, Count(0, 0)).packets
            for queue, count in rows.items()
        }
        for counter, rows in now.items()
    }


@contextmanager
def exactly() -> Iterator[dict[int, int]]:
    """Assert that all three counters count, in the block, the packets by queue that it puts into the dictionary."""
    before, expected = read_all(), dict[int, int]()

    def counts() -> dict[str, dict[int, int]]:
        since = packets_since(before)
        return {counter: {queue: n for queue, n in rows.items() if n} for counter, rows in since.items()}

    yield expected
    of_each = dict.fromkeys(before, expected)
    wait_until(lambda: counts() == of_each)
    assert counts() == of_each


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Wait until a condition holds; return whether it does in time.

    The switch's own counters follow the kernel's by up to a second of an idle CPU.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
