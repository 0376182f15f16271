"""The judges: what the driver, the kernel's scheduler and the switch counted. None of it is Flowlane's."""

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
    """Per hardware transmit queue, as the NIC's driver counts (``ethtool -S``); L2 bytes without FCS."""
    found: dict[int, dict[str, int]] = {}
    for queue, what, value in re.findall(r"tx_queue_(\d+)_(packets|bytes): (\d+)", run("ethtool", "-S", nic)):
        found.setdefault(int(queue), {})[what] = int(value)
    return {queue: Count(**values) for queue, values in found.items()}


def classes(nic: str = UPLINK) -> dict[int, Count]:
    """Per leaf class of the kernel's HTB; class 1:(k+1) is OpenFlow queue k, 1:fffe the root of all."""
    rows = re.findall(
        r"class htb 1:(\w+) parent.*\n Sent (\d+) bytes (\d+) pkt",
        run("tc", "-s", "class", "show", "dev", nic),
    )
    return {int(minor, 16) - 1: Count(int(packets), int(size)) for minor, size, packets in rows}


def openflow_queues(port: int = UPLINK_PORT) -> dict[int, Count]:
    """Per queue, as the switch says in its queue statistics."""
    rows = re.findall(r"queue (\d+): bytes=(\d+), pkts=(\d+)", ofctl("queue-stats", BRIDGE, str(port)))
    return {int(queue): Count(int(packets), int(size)) for queue, size, packets in rows}


Reading = dict[str, dict[int, Count]]


def read_all() -> Reading:
    """Ask all three judges."""
    return {"hardware": hardware_queues(), "class": classes(), "openflow": openflow_queues()}


def packets_since(before: Reading) -> dict[str, dict[int, int]]:
    """Packets of each queue since ``before``, by judge."""
    now = read_all()
    return {
        judge: {
            queue: count.packets - before[judge].get(queue, Count(0, 0)).packets
            for queue, count in rows.items()
        }
        for judge, rows in now.items()
    }


@contextmanager
def exactly() -> Iterator[dict[int, int]]:
    """Assert that all three judges count in the block what it puts into the dictionary, and nothing else.

    Packets by queue.
    """
    before, expected = read_all(), dict[int, int]()

    def counted() -> dict[str, dict[int, int]]:
        since = packets_since(before)
        return {judge: {queue: n for queue, n in rows.items() if n} for judge, rows in since.items()}

    yield expected
    wanted = dict.fromkeys(before, expected)
    settle(lambda: counted() == wanted)
    assert counted() == wanted


def settle(true: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Wait until ``true()``; the switch's own counters follow the kernel's by up to a second of an idle CPU."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
