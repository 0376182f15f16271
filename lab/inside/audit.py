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
from lab.inside.tap_host import DPID

if TYPE_CHECKING:
    from lab.inside.manager import Launched
    from lab.inside.tap_host import TapHost

OF_TRAFFIC = (3, 4, 5)
"""Kinds of entries that come and go with flows: pins, learned entries, counters of groups (in their cookies)."""

NUMBERS = re.compile(r"group:\d+|meter:\d+|meter=\d+|0x[0-9a-f]+->NXM_NX_REG[45]\[\]")
"""What is chosen anew after a restart of the switch: numbers of groups and meters."""

CHANGING = re.compile(r"learn\(|\bct\(|\bct_")
"""Entries that learn name the group of the time, and tracked ports have theirs for as long as it pays."""

COUNTERS = re.compile(r"(?:cookie|duration|n_packets|n_bytes|idle_age|hard_age)=[^, ]+, ?")
MARK = re.compile(r"metadata=0x[0-9a-f]+ffffffff(?= actions=meter)")
"""The match of an entry by which a pin's meter is known as Flowlane's: it has the meter's number."""

PLACES = re.compile(r"(?:set_field:0x[0-9a-f]+->reg1,goto_table:\d+|group:N)$")
"""What a standing rule with queues does: one queue, or a group of several, as many as its class has at the time."""

BUCKET = re.compile(
    r"bucket=(?:bucket_id:\d+,)?(?:weight:(\d+),)?actions=(?:set_field:(0x[0-9a-f]+)->reg1,resubmit)?"
)
"""A bucket: its weight, and its queue and 1, which table output reads from register 1 (docs/engineers/pipeline.md)."""


def standing(host: TapHost) -> Counter[str]:
    """Return what the switch has beside the entries of flows, without counters and chosen numbers.

    Which queues standing rules and groups offer to new flows changes with the load: see :func:`audit`.
    """
    lines = [line for line in host.dump() if read_entry(line).cookie >> 44 & 0xF not in OF_TRAFFIC]
    kept = [_text(line) for line in lines if not CHANGING.search(line)]
    if host.groups():
        kept.append("groups divide new flows")
    meters = re.split(r"meter=(?=\w)", " ".join(host.meters().split()))[1:]
    kept += [f"meter={re.sub(r'^[0-9]+', 'N', meter)}" for meter in meters]
    return Counter(kept)


def _text(line: str) -> str:
    """Return an entry of ovs-ofctl's without what changes."""
    text = NUMBERS.sub(lambda found: f"{found[0][:5]}:N", MARK.sub("metadata=N", COUNTERS.sub("", line)))
    return PLACES.sub("a queue", text) if f"table={SPREAD_TABLE}," in text else text


def groups_wrong(host: TapHost, queues: set[int], exclusive: set[int]) -> list[str]:
    """List what is wrong with the groups: each is named, and divides new flows among queues that are there for all."""
    found = []
    there: dict[int, str] = {}
    for line in host.groups():
        number = int(re.findall(r"group_id=(\d+)", line)[0])
        there[number] = line
        buckets = [(int(weight or 1), int(queue or "0", 16) - 1) for weight, queue in BUCKET.findall(line)]
        offered = [queue for _, queue in buckets]
        if "type=select" not in line or len(offered) < 2 or len(set(offered)) < len(offered):
            found.append(f"a group divides nothing: {line}")
        found += [f"a group offers queue {queue}, which is not there" for queue in set(offered) - queues]
        found += [
            f"a group offers queue {queue}, which a flow has alone" for queue in set(offered) & exclusive
        ]
        if any(weight <= 0 for weight, _ in buckets):
            found.append(f"a bucket has no weight: {line}")
    named = {int(number) for line in host.dump() for number in re.findall(r"group:(\d+)", line)}
    found += [f"no entry names group {number}" for number in sorted(there.keys() - named)]
    found += [f"there is no group {number}, which an entry names" for number in sorted(named - there.keys())]
    return found


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
    items = host.manager.rest(f"/v1/devices/{DPID:016x}/queues")["items"]
    queues = {queue for port in host.device()["ports"] for queue in port["queues"]}
    if {item["queue_id"] for item in items} != queues:
        found.append("REST lists other queues of ports than of the device")
    placed = compare.placements_in_switch(host.entries())
    found += [
        f"a flow is on queue {at.queue}, which is not there"
        for at in placed.values()
        if at.queue not in queues
    ]
    uplinks = {item["port_no"] for item in items}
    on_queues = Counter(at.queue for key, at in placed.items() if key.egress_port in uplinks)
    found += [
        f"REST counts {item['flows']} flows on queue {item['queue_id']}, the switch has {on_queues[item['queue_id']]}"
        for item in items
        if item["flows"] != on_queues[item["queue_id"]]
    ]
    found += groups_wrong(host, queues, {item["queue_id"] for item in items if item["exclusive"]})
    if before is not None:
        now = standing(host)
        found += [f"gone: {line}" for line in (before - now).elements()]
        found += [f"new: {line}" for line in (now - before).elements()]
    return found
