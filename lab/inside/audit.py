"""An auditor that reads the switch's tables and REST by themselves, and says where they differ from each other.

It uses nothing of the controller but its REST: entries, groups and meters are read by ``ovs-ofctl``.
"""

from __future__ import annotations

import re
import urllib.request
from collections import Counter
from typing import TYPE_CHECKING

from lab.inside import compare
from lab.inside.compare import SPREAD_TABLE
from lab.inside.dump_flows import read_entry

if TYPE_CHECKING:
    from lab.inside.manager import Launched
    from lab.inside.tap_host import TapHost

OF_TRAFFIC = (3, 4, 5)
"""Kinds of entries that come and go with flows: pins, learned entries, counters of groups (in their cookies)."""

NUMBERS = re.compile(
    r"group:\d+|meter:\d+|(?:group_id|meter|watch_group)=\d+|0x[0-9a-f]+->NXM_NX_REG[45]\[\]"
)
"""What is chosen anew after a restart of the switch: numbers of groups and meters."""


NUMBER_OF_METER = re.compile(r"^\d+")
CHANGING = re.compile(r"learn\(|\bct\(|\bct_")
COUNTERS = re.compile(r"(?:cookie|duration|n_packets|n_bytes|idle_age|hard_age)=[^, ]+, ?")
OFFERED = re.compile(r"set_field:(0x[0-9a-f]+)->reg1,resubmit")
"""The queue of a bucket, and 1, which table output reads from register 1 (docs/engineers/pipeline.md)."""


def standing(host: TapHost) -> Counter[str]:
    """Return what the switch has beside the entries of flows and groups, without counters and chosen numbers.

    How many groups there are, and which queues they offer to new flows, changes with the load: see :func:`audit`.
    """
    lines = [line for line in host.dump() if read_entry(line).cookie >> 44 & 0xF not in OF_TRAFFIC]
    without = (COUNTERS.sub("", line) for line in lines)
    # Which standing rules of classes there are, and what they offer, changes with the load.
    without = (line for line in without if f"table={SPREAD_TABLE}," not in line)
    # Entries that learn name the group of the time; tracked ports have theirs for as long as it pays.
    kept = [NUMBERS.sub("N", line) for line in without if not CHANGING.search(line)]
    meters = re.split(r"meter=(?=\w)", " ".join(host.meters().split()))[1:]
    kept += [f"meter={re.sub(NUMBER_OF_METER, 'N', meter)}" for meter in meters]
    return Counter(kept)


def faults(manager: Launched) -> int:
    """Return how many faults of its own the controller has counted (``flowlane_faults_total``)."""
    with urllib.request.urlopen(f"http://127.0.0.1:{manager.rest_port}/metrics", timeout=30) as answer:
        found = re.findall(
            r"^flowlane_faults_total(?:\{.*\})? ([\d.e+]+)$", answer.read().decode(), re.MULTILINE
        )
    return int(sum(map(float, found)))


def audit(host: TapHost, flows: int, before: Counter[str] | None = None) -> list[str]:
    """List what is not as it must be; empty when all is well.

    Args:
        flows: flows that there must be, in REST and in the switch.
        before: what must stand in the switch; None: what stands is not compared.
    """
    found = host.differences(flows)
    if not host.device()["connected"]:
        found.append("the switch is not connected")
    if number := faults(host.manager):
        found.append(f"the controller has counted {number} faults")
    queues = {queue for port in host.device()["ports"] for queue in port["queues"]}
    on_queues = compare.placements_in_switch(host.entries()).values()
    found += [
        f"a flow is on queue {at.queue}, which is not there" for at in on_queues if at.queue not in queues
    ]
    offered = {int(number, 16) - 1 for line in host.groups() for number in OFFERED.findall(line)}
    found += [f"a group offers queue {queue}, which is not there" for queue in sorted(offered - queues)]
    there = {int(number) for line in host.groups() for number in re.findall(r"group_id=(\d+)", line)}
    named = {int(number) for line in host.dump() for number in re.findall(r"group:(\d+)", line)}
    found += [f"no entry names group {number}" for number in sorted(there - named)]
    if before is not None:
        now = standing(host)
        found += [f"gone: {line}" for line in (before - now).elements()]
        found += [f"new: {line}" for line in (now - before).elements()]
    return found
