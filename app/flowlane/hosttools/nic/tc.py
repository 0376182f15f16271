"""Queueing disciplines, HTB classes and egress filters of a device, read through ``tc``, and batches of tc commands.

All are read as text. The JSON of iproute2 cannot be relied on: up to 6.1 and later it prints the options of hfsc
(tc/q_hfsc.c) and the ematches of a ``basic`` filter (tc/em_meta.c) by fprintf into the middle of it, and 6.1 has no
JSON for classes (tc/tc_class.c).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from flowlane.errors import FlowlaneError

if TYPE_CHECKING:
    from collections.abc import Sequence

_HEAD = re.compile(
    r"filter (?:parent \S+ )?protocol (\S+) pref (\d+) (\S+)(?: chain \d+)?"
    r"(?: handle (0x[0-9a-f]+)| fh (\S+[^:\s]) )?"
)
_PRIORITY = re.compile(r"^\s*meta\(priority eq (\d+)\)\s*$", re.MULTILINE)
_MAPPING = re.compile(r"skbedit\s+queue_mapping (\d+)")
_QDISC = re.compile(r"^qdisc (\S+) (\S+:\S*) (root|parent \S+)(?=\s)(?:.*\s(offload)(?=\s|$))?", re.MULTILINE)
_QUEUE_CLASS = re.compile(r"^class htb 1:([0-9a-f]+) parent 1:fffe (?:leaf \S+ )?prio (\d+) ", re.MULTILINE)
"""A class of an OpenFlow queue, as Open vSwitch makes them (lib/netdev-linux.c): 1:(k+1) below 1:fffe, in hex."""

OVS_ROOT = "1:"
"""Handle of the root qdisc that Open vSwitch makes for linux-htb and linux-hfsc (lib/netdev-linux.c)."""


class Qdisc(NamedTuple):
    """A queueing discipline; ``parent`` is empty for the root.

    ``offloaded``: an HTB whose classes are queues that the NIC schedules (``tc qdisc ... htb offload``, tc-htb(8)).
    """

    kind: str
    handle: str
    root: bool
    parent: str
    offloaded: bool = False


class QueueClass(NamedTuple):
    """The HTB class of an OpenFlow queue; ``prio`` 0 is served first (tc-htb(8))."""

    queue_id: int
    prio: int


class Filter(NamedTuple):
    """A filter. ``priority`` and ``queue`` are what it matches and sets if it has the form of Flowlane's, else None.

    ``handle`` is 0 where the kernel names a filter otherwise (u32).
    """

    pref: int
    kind: str
    handle: int
    protocol: str = "all"
    priority: int | None = None
    queue: int | None = None


def parse_qdiscs(text: str) -> tuple[Qdisc, ...]:
    """Read the output of ``tc qdisc show dev X``."""
    return tuple(
        Qdisc(
            kind,
            handle,
            parent == "root",
            "" if parent == "root" else parent.partition(" ")[2],
            bool(offload),
        )
        for kind, handle, parent, offload in _QDISC.findall(text)
    )


def parse_classes(text: str) -> tuple[QueueClass, ...]:
    """Read the output of ``tc class show dev X``; only the classes of OpenFlow queues."""
    classes = [QueueClass(int(minor, 16) - 1, int(prio)) for minor, prio in _QUEUE_CLASS.findall(text)]
    return tuple(sorted(classes))


def parse_filters(text: str) -> tuple[Filter, ...]:
    """Read the output of ``tc filter show dev X egress``; entries without a handle are only headings."""
    filters = []
    for block in re.split(r"^(?=filter )", text, flags=re.MULTILINE):
        head = _HEAD.match(block)
        if head is None or not (head[4] or head[5]):
            continue
        priority, queue = _PRIORITY.findall(block), _MAPPING.findall(block)
        filters.append(
            Filter(
                int(head[2]),
                head[3],
                int(head[4] or "0", 16),
                head[1],
                int(priority[0]) if len(priority) == 1 else None,
                int(queue[0]) if len(queue) == 1 else None,
            )
        )
    return tuple(filters)


def read_qdiscs(device: str) -> tuple[Qdisc, ...]:
    """Read the queueing disciplines of a device.

    Raises:
        FlowlaneError: ``tc`` is missing or fails.
    """
    return parse_qdiscs(run_tc(["qdisc", "show", "dev", device]))


def read_classes(device: str, qdiscs: Sequence[Qdisc]) -> tuple[QueueClass, ...]:
    """Read the HTB classes of OpenFlow queues; none where the root is not HTB."""
    if not any(qdisc.root and qdisc.kind == "htb" for qdisc in qdiscs):
        return ()
    return parse_classes(run_tc(["class", "show", "dev", device]))


def read_filters(device: str, qdiscs: Sequence[Qdisc]) -> tuple[Filter, ...]:
    """Read the egress filters of a device; none without a clsact qdisc."""
    if not any(qdisc.kind == "clsact" for qdisc in qdiscs):
        return ()
    return parse_filters(run_tc(["filter", "show", "dev", device, "egress"]))


def has_no_such_kind(error: FlowlaneError) -> bool:
    """Return whether tc failed because the kernel has no qdisc of that kind (net/sched/sch_api.c, qdisc_create)."""
    return "qdisc kind is unknown" in str(error)


def run_batch(commands: Sequence[str]) -> None:
    """Run commands with ``tc -batch``, which stops at the first that fails.

    Raises:
        FlowlaneError: ``tc`` is missing, or the kernel refused a command; the text is tc's.
    """
    if commands:
        run_tc(["-batch", "-"], "\n".join(commands) + "\n")


def run_tc(words: list[str], given: str = "") -> str:
    """Run tc, and return what it prints.

    Raises:
        FlowlaneError: ``tc`` is missing or fails.
    """
    tool = shutil.which("tc") or shutil.which("tc", path="/usr/sbin:/sbin")
    if tool is None:
        raise FlowlaneError("tc is missing: apt-get install iproute2")
    command = [tool, *words]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=30)  # noqa: S603
    if done.returncode != 0:
        raise FlowlaneError(f"tc {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
