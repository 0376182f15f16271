"""Queueing disciplines and egress filters of a device, read through ``tc``, and batches of tc commands.

Qdiscs are read as JSON. Filters are read as text: iproute2 (6.1 to 6.15 at least) prints the ematches of a
``basic`` filter by fprintf into the middle of its JSON, which makes it unreadable (tc/em_meta.c).
"""

from __future__ import annotations

import json
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


class Qdisc(NamedTuple):
    """A queueing discipline; ``parent`` is empty for the root."""

    kind: str
    handle: str
    root: bool
    parent: str


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
    """Read the output of ``tc -j qdisc show dev X``."""
    return tuple(
        Qdisc(row["kind"], row.get("handle", ""), bool(row.get("root")), row.get("parent", ""))
        for row in json.loads(text or "[]")
    )


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
    return parse_qdiscs(_tc(["-j", "qdisc", "show", "dev", device]))


def read_filters(device: str, qdiscs: Sequence[Qdisc]) -> tuple[Filter, ...]:
    """Read the egress filters of a device; none without a clsact qdisc."""
    if not any(qdisc.kind == "clsact" for qdisc in qdiscs):
        return ()
    return parse_filters(_tc(["filter", "show", "dev", device, "egress"]))


def run_batch(commands: Sequence[str]) -> None:
    """Run commands with ``tc -batch``, which stops at the first that fails.

    Raises:
        FlowlaneError: ``tc`` is missing, or the kernel refused a command; the text is tc's.
    """
    if commands:
        _tc(["-batch", "-"], "\n".join(commands) + "\n")


def _tc(words: list[str], given: str = "") -> str:
    tool = shutil.which("tc") or shutil.which("tc", path="/usr/sbin:/sbin")
    if tool is None:
        raise FlowlaneError("tc is missing: apt-get install iproute2")
    command = [tool, *words]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=30)  # noqa: S603
    if done.returncode != 0:
        raise FlowlaneError(f"tc {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
