"""Comparison of the placement of flows in the switch's tables, as ovs-ofctl prints them, and in REST."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from flowlane.core.flowkey import ETHERTYPE_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lab.inside.dump_flows import Entry

ASSIGN_TABLE, SPREAD_TABLE = 4, 6
"""The tables of pins and of standing rules on a device that learns; on others they have other numbers."""

PIN, LEARNED = 3, 4
"""Kinds of entries, in the bits 44 to 47 of their cookies."""

NAMES = {"tcp6": "tcp", "udp6": "udp", "sctp6": "sctp", "icmp6": "icmpv6"}
PROTOCOLS = ("tcp", "udp", "sctp", "icmp", "tcp6", "udp6", "sctp6", "icmp6")
ETHERTYPES = {"arp": "arp", "rarp": "rarp", "mpls": "mpls", "mplsm": "0x8848"}
"""Ethertypes that ovs-ofctl prints as words, as REST has them."""

FRAGMENTS = "44"
NO_PORT = -1


class Key(NamedTuple):
    """A flow on one egress port. For ICMP the ports are type and code, for other ethertypes there are none."""

    protocol: str
    src: str
    src_port: int
    dst: str
    dst_port: int
    vlan: int | None
    egress_port: int


class Placement(NamedTuple):
    """The queue of a flow, and its meter."""

    queue: int | None
    meter: int | None


def _number(match: dict[str, str], *names: str) -> int:
    return next((int(match[name], 0) for name in names if name in match), NO_PORT)


def _kind(entry: Entry) -> int:
    return entry.cookie >> 44 & 0xF


def _protocol(match: dict[str, str]) -> str | None:
    """Return the name, or the number, of the IP protocol or the ethertype that an entry matches."""
    for name in PROTOCOLS:
        if name in match:
            return NAMES.get(name, name)
    if "nw_proto" in match:
        return match["nw_proto"]
    if "ipv6" in match and match.get("nw_frag") == "yes":
        return FRAGMENTS
    if "dl_type" in match:
        number = int(match["dl_type"], 16)
        return ETHERTYPE_NAMES.get(number, f"0x{number:04x}")
    return next((number for word, number in ETHERTYPES.items() if word in match), None)


def key_of_entry(entry: Entry) -> Key | None:
    """Return the flow of a pin or of a learned entry; None for an entry that is not of a single flow."""
    match = entry.match
    protocol = _protocol(match)
    src = match.get("nw_src") or match.get("ipv6_src") or match.get("dl_src")
    dst = match.get("nw_dst") or match.get("ipv6_dst") or match.get("dl_dst")
    if _kind(entry) not in (PIN, LEARNED) or protocol is None or src is None or dst is None:
        return None
    vlan = _number(match, "dl_vlan")
    return Key(
        protocol,
        src,
        _number(match, "tp_src", "icmp_type"),
        dst,
        _number(match, "tp_dst", "icmp_code"),
        None if vlan == NO_PORT else vlan,
        int(match["metadata"].partition("/")[0], 0) & 0xFFFFFFFF,
    )


def placements_in_switch(entries: Iterable[Entry]) -> dict[Key, Placement]:
    """Return the placement of every flow that has an entry of its own; a pin counts before a learned entry.

    Packets meet table assign first. A learned entry has the queue that table output then sets, and the number
    of the meter that table spread then applies.
    """
    entries = list(entries)
    meters = {
        int(entry.match["reg4"], 0): entry.meter
        for entry in entries
        if "reg4" in entry.match and entry.meter is not None
    }
    of_flows = [(key, entry) for entry in entries if (key := key_of_entry(entry)) is not None]
    learned = {
        key: Placement(entry.learned_queue, meters.get(entry.learned_meter or 0))
        for key, entry in of_flows
        if _kind(entry) == LEARNED
    }
    pinned = {key: Placement(entry.queue, entry.meter) for key, entry in of_flows if _kind(entry) == PIN}
    return learned | pinned


def placements_in_rest(items: Iterable[dict[str, Any]]) -> dict[Key, Placement]:
    """Return the placement of every flow in the items of GET /v1/assignments."""
    placements = {}
    for item in items:
        ports = (NO_PORT if item[name] is None else item[name] for name in ("src_port", "dst_port"))
        src_port, dst_port = ports
        key = Key(
            item["protocol"], item["src"], src_port, item["dst"], dst_port, item["vlan"], item["port_no"]
        )
        placements[key] = Placement(item["queue_id"], item["meter"]["id"] if item["meter"] else None)
    return placements


def differences(switch: dict[Key, Placement], rest: dict[Key, Placement]) -> list[str]:
    """List the flows that are missing on one side or placed differently; empty when both sides agree."""
    only_switch = [f"only in the switch: {key} {switch[key]}" for key in switch.keys() - rest.keys()]
    only_rest = [f"only in REST: {key} {rest[key]}" for key in rest.keys() - switch.keys()]
    both = switch.keys() & rest.keys()
    return (
        only_switch
        + only_rest
        + [f"{key}: {switch[key]} {rest[key]}" for key in both if switch[key] != rest[key]]
    )
