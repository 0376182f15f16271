"""The leaf of each OpenFlow queue: the qdisc under its HTB class; pure functions.

Open vSwitch makes HTB class 1:(k+1) for queue k (lib/netdev-linux.c). What the class does with the packets inside it
is its leaf. Without one of its own it is a FIFO that ``tc qdisc show`` does not list (net/sched/sch_htb.c), in which
a small flow waits for all that heavy flows have put before it. fq_codel serves the flows of a queue in turn, new
ones first, and keeps their delay near 5 ms (RFC 8290, tc-fq_codel(8)).

Open vSwitch changes classes and never their leaves. A leaf goes with its class, and all go with the root qdisc.

A leaf of kind fq_codel under a queue of Flowlane's is Flowlane's, with whatever parameters. Leaves of other kinds
are left alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flowlane.hosttools.nic.tc import OVS_ROOT

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from flowlane.hosttools.nic.tc import Qdisc

FQ_CODEL = "fq_codel"
TARGET, INTERVAL = 5_000, 100_000
"""CoDel's target and interval in microseconds, where none are given (RFC 8289 section 4.2 and 4.3, tc-codel(8))."""
MOST_INTERVAL = 1_000_000
LARGEST = 65_536
"""Bytes of the largest packet that the kernel hands to a qdisc as one: a segment of TCP that the NIC is to cut."""
NO_LEAF = "none"
LEAVES = (FQ_CODEL, NO_LEAF)


class LeafPlan(NamedTuple):
    """Lines for ``tc -batch``, and sentences about what is left alone."""

    lines: tuple[str, ...] = ()
    left_alone: tuple[str, ...] = ()


def leaves_of(qdiscs: Sequence[Qdisc]) -> dict[int, str]:
    """Return the kind of each queue's leaf, by queue id; queues without one of their own are missing."""
    below = [(qdisc.parent.partition(":"), qdisc.kind) for qdisc in qdiscs if not qdisc.root]
    return {
        int(minor, 16) - 1: kind
        for (major, _, minor), kind in below
        if major == OVS_ROOT.rstrip(":") and minor not in ("", "0")
    }


def why_not_scheduled(qdiscs: Sequence[Qdisc]) -> str:
    """Return why Linux does not schedule the queues of a device, by its root qdisc; empty when it does."""
    root = next((qdisc for qdisc in qdiscs if qdisc.root), None)
    if root is None:
        return "it has no root qdisc, or tc could not read it"
    if root.offloaded:
        return "its HTB is offloaded, so the NIC schedules its queues"
    if (root.kind, root.handle) != ("htb", OVS_ROOT):
        return f"its root qdisc is {root.kind} {root.handle}, not the HTB of Open vSwitch"
    return ""


def plan_leaves(
    device: str,
    queue_ids: Collection[int],
    leaf: str,
    qdiscs: Sequence[Qdisc],
    existing: Collection[int],
    rate: int | None = None,
) -> LeafPlan:
    """Plan the leaves of a device's queues; nothing to do when they are as they should be.

    Args:
        leaf: ``fq_codel`` or ``none``.
        existing: ids of the queues that have a class.
        rate: of the whole port in bit/s; None when not known.
    """
    if reason := why_not_scheduled(qdiscs):
        return LeafPlan(left_alone=(f"{device}: {reason}; no leaf",) if leaf == FQ_CODEL else ())
    present = leaves_of(qdiscs)
    lines, left_alone = [], []
    for queue_id in sorted(queue_ids):
        kind = present.get(queue_id)
        if kind not in (None, FQ_CODEL):
            left_alone.append(f"{device}: queue {queue_id} has a leaf of kind {kind}, which is left alone")
        elif queue_id not in existing:
            if leaf == FQ_CODEL:
                left_alone.append(f"{device}: Open vSwitch has made no class for queue {queue_id}; no leaf")
        elif leaf == FQ_CODEL and kind is None:
            lines.append(_add(device, queue_id, timing(len(queue_ids), rate)))
        elif leaf == NO_LEAF and kind == FQ_CODEL:
            lines.append(_delete(device, queue_id))
    return LeafPlan(tuple(lines), tuple(left_alone))


def plan_first_leaves(
    device: str, queue_ids: Collection[int], leaf: str, rate: int | None = None
) -> LeafPlan:
    """Plan for queues that Open vSwitch has yet to make, as a dry run does."""
    if leaf != FQ_CODEL:
        return LeafPlan()
    words = timing(len(queue_ids), rate)
    return LeafPlan(tuple(_add(device, queue_id, words) for queue_id in sorted(queue_ids)))


def timing(queues: int, rate: int | None) -> str:
    """Return CoDel's target and interval for the leaves of a port as words for tc; empty where the usual ones suit.

    CoDel takes packets that wait longer than its target for those of a queue that is too long, and drops some. A
    packet of a leaf waits for the other queues' turns whatever it does, for each one packet at most.
    On a slow port that alone is longer than 5 ms, and small flows would lose packets for it. So the target is the time
    of one round there, and the interval keeps its ratio to it where that is within a second (RFC 8289 section 4.2).

    Args:
        rate: of the whole port in bit/s; None when not known.
    """
    target = round(queues * LARGEST * 8 * 1_000_000 / rate) if rate else 0
    if target <= TARGET:
        return ""
    interval = max(INTERVAL, min(target * INTERVAL // TARGET, MOST_INTERVAL), 2 * target)
    return f" target {target}us interval {interval}us"


def plan_removal(device: str, qdiscs: Sequence[Qdisc]) -> LeafPlan:
    """Plan the removal of every fq_codel leaf of a device."""
    if why_not_scheduled(qdiscs):
        return LeafPlan()
    kinds: Mapping[int, str] = leaves_of(qdiscs)
    return LeafPlan(tuple(_delete(device, key) for key, kind in sorted(kinds.items()) if kind == FQ_CODEL))


def _add(device: str, queue_id: int, words: str) -> str:
    return f"qdisc add dev {device} parent {OVS_ROOT}{queue_id + 1:x} {FQ_CODEL}{words}"


def _delete(device: str, queue_id: int) -> str:
    return f"qdisc del dev {device} parent {OVS_ROOT}{queue_id + 1:x}"
