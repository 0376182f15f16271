"""Which queues of an interface are real on this host, as counters show it when packets are sent to one queue; pure.

A packet-out with ``set_queue`` sends marked packets by one queue at a time. The switch's, the kernel's and the
driver's counters are read before and after. What has grown by at least the packets sent is where they went.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowlane.core.model import QueueKind

Key = TypeVar("Key", int, str)

PACKETS = 10
"""Packets sent by each queue: enough to be told from a stray packet, and nothing to a link."""

DESTINATION = "0180c200000e"
"""Nearest bridge group address: no bridge forwards it (IEEE 802.1Q-2018, table 8-1)."""

SOURCE = "02f10a000000"
"""A locally administered address (IEEE 802-2014, 8.2), with the first digits of Flowlane's cookies."""

ETHERTYPE = "88b5"
"""IEEE 802 local experimental ethertype 1 (IEEE 802-2014, 9.2.4): receivers that do not know it drop it."""

_LENGTH = 60
"""Bytes of the shortest Ethernet frame, without frame check sequence."""

_ROOT_CLASS = "1:fffe"
"""The class above those of the queues in Open vSwitch's HTB and HFSC (lib/netdev-linux.c); it counts all packets."""

_STATISTICS = re.compile(r"\bqueue (\d+): bytes=\S+ pkts=(\d+)", re.MULTILINE)


class Verdict(StrEnum):
    """Whether a queue is one on this host."""

    REAL = "real"
    NOT_REAL = "not real"
    UNCLEAR = "unclear"


class Counters(NamedTuple):
    """Packets counted so far: by queue id in the switch, by class in the kernel, by transmit queue in the driver.

    ``driver``: None where it does not count by queue. ``at``: when they were read, in seconds.
    """

    switch: Mapping[int, int]
    kernel: Mapping[str, int]
    driver: Mapping[int, int] | None
    at: float


class Proof(NamedTuple):
    """What became of the packets that were sent by a queue.

    Attributes:
        switch: packets that the switch counted for the queue; None: it has no counter for it.
        kernel: packets that reached the queue's class; None: the kernel has no such class.
        elsewhere: other classes that have counted them.
        driver: transmit queues that have counted them; None: the driver does not count by queue.
    """

    queue_id: int
    kind: QueueKind | None
    sent: int
    switch: int | None
    kernel: int | None
    elsewhere: tuple[str, ...]
    driver: tuple[int, ...] | None
    verdict: Verdict
    why: str


def frame() -> str:
    """Return the marked packet, in hex."""
    head = DESTINATION + SOURCE + ETHERTYPE
    text = b"flowlane doctor --prove".hex()
    return (head + text).ljust(2 * _LENGTH, "0")


def actions(queue_id: int, port: int) -> str:
    """Return the actions of the packet-out, in the language of ovs-ofctl(8)."""
    return ",".join([f"set_queue:{queue_id}", *[f"output:{port}"] * PACKETS])


def parse_queue_statistics(text: str) -> dict[int, int]:
    """Read the output of ``ovs-ofctl queue-stats BRIDGE PORT``: queue id -> packets."""
    return {int(queue_id): int(packets) for queue_id, packets in _STATISTICS.findall(text)}


def class_of(queue_id: int) -> str:
    """Return the class of an OpenFlow queue: 1:(k+1), in hex (lib/netdev-linux.c)."""
    return f"1:{queue_id + 1:x}"


def has_arrived(queue_id: int, before: Counters, after: Counters) -> bool:
    """Whether all packets have been counted: where a real queue counts them, or by another class where it has none."""
    switch, own = _grown(before.switch, after.switch, queue_id), class_of(queue_id)
    kernel = _grown(before.kernel, after.kernel, own)
    in_kernel = bool(_elsewhere(own, before, after)) if kernel is None else kernel >= PACKETS
    in_driver = after.driver is None or bool(_counting(before.driver or {}, after.driver))
    return in_kernel and in_driver and (switch is None or switch >= PACKETS)


def _elsewhere(own: str, before: Counters, after: Counters) -> tuple[str, ...]:
    """Return the other classes that have counted the packets."""
    return tuple(name for name in _counting(before.kernel, after.kernel) if name not in (own, _ROOT_CLASS))


def prove(
    queue_id: int,
    kind: QueueKind | None,
    before: Counters,
    after: Counters,
    idle: tuple[Counters, Counters],
    *,
    mapped: bool = False,
    scheduled: bool = True,
) -> Proof:
    """Find what became of the packets that were sent by a queue.

    Args:
        idle: counters before and after a pause in which nothing was sent, which show the packets of others.
        mapped: whether a filter makes the queue leave by the transmit queue of the same number.
        scheduled: whether the datapath schedules queues (the kernel's does).
    """
    own = class_of(queue_id)
    switch, kernel = _grown(before.switch, after.switch, queue_id), _grown(before.kernel, after.kernel, own)
    elsewhere = _elsewhere(own, before, after)
    driver = None if after.driver is None else _counting(before.driver or {}, after.driver)
    others = (_grown(idle[0].kernel, idle[1].kernel, own) or 0) / max(0.001, idle[1].at - idle[0].at)
    noise = round(others * (after.at - before.at))
    judged = _judge(queue_id, switch, kernel, elsewhere, driver, noise, mapped, scheduled)
    return Proof(queue_id, kind, PACKETS, switch, kernel, elsewhere, driver, *judged)


def _judge(
    queue_id: int,
    switch: int | None,
    kernel: int | None,
    elsewhere: tuple[str, ...],
    driver: tuple[int, ...] | None,
    noise: int,
    mapped: bool,
    scheduled: bool,
) -> tuple[Verdict, str]:
    own = class_of(queue_id)
    if fault := _fault(own, kernel, scheduled):
        went = f"; they went by {', '.join(elsewhere)}" if elsewhere else ""
        return Verdict.NOT_REAL, f"{fault}{went}"
    if 2 * noise >= PACKETS:
        why = f"{noise} packets of others came by class {own} in as much time; repeat it later"
        return Verdict.UNCLEAR, why
    if mapped and driver is not None and queue_id not in driver:
        left = f"they left by transmit queue {_list(driver)}" if driver else "no transmit queue did"
        return Verdict.NOT_REAL, f"class {own} counted them, but {left}, and the filter says {queue_id}"
    if switch is not None and switch < PACKETS:
        return Verdict.REAL, f"class {own}; the switch counted {switch} of {PACKETS}"
    return Verdict.REAL, _way(own, driver, mapped)


def _fault(own: str, kernel: int | None, scheduled: bool) -> str:
    """Return why the packets were not in the queue's class, nothing where they were."""
    if not scheduled:
        return "the userspace datapath does not schedule queues"
    if kernel is None:
        return f"the kernel has no class {own}"
    return f"class {own} counted {kernel} of {PACKETS}" if kernel < PACKETS else ""


def _way(own: str, driver: tuple[int, ...] | None, mapped: bool) -> str:
    if driver is None:
        return f"class {own}; the driver does not count by queue"
    if not driver:
        return f"class {own}; no transmit queue has counted them yet"
    how = "as mapped" if mapped else "by a hash"
    return f"class {own}; transmit queue {_list(driver)} {how}"


def _list(queues: tuple[int, ...]) -> str:
    return ", ".join(map(str, queues))


def _grown(before: Mapping[Key, int], after: Mapping[Key, int], key: Key) -> int | None:
    return after[key] - before.get(key, 0) if key in after else None


def _counting(before: Mapping[Key, int], after: Mapping[Key, int]) -> tuple[Key, ...]:
    """Return what has counted at least the packets sent, in order of the keys."""
    return tuple(key for key in sorted(after) if after[key] - before.get(key, 0) >= PACKETS)
