"""The OpenFlow matches of a standing rule; together they match what the rule matches.

OpenFlow has no ranges and no "or". Port ranges become masked ports where the device takes such masks (Open
vSwitch does, the specification has none), otherwise one match for each port. VMs, address families and
protocols become one match each.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, product
from typing import TYPE_CHECKING

from flowlane.core.flowkey import FRAGMENT, ICMPV6, SCTP, TCP, UDP
from flowlane.core.frame import ETH_ARP, ETH_IPV4, ETH_IPV6, ETH_RARP
from flowlane.southbound.openflow.tables import pipeline
from flowlane.southbound.openflow.wire import fields
from flowlane.southbound.openflow.wire.fields import FAMILY_OF_ICMP, IS_FRAGMENT, PORT_FIELDS

if TYPE_CHECKING:
    from flowlane.core.effects import StandingMatch
    from flowlane.southbound.openflow.wire.fields import Match

BOUND = 512
"""Matches that one rule may become; a rule that needs more is left out, so that it cannot fill a table."""

Fields = dict[str, int | tuple[int, int]]

_FAMILY_BY_LENGTH = {4: ETH_IPV4, 16: ETH_IPV6}
_ADDRESS_FIELDS = {ETH_IPV4: ("ipv4_src", "ipv4_dst", 32), ETH_IPV6: ("ipv6_src", "ipv6_dst", 128)}
_ALL_PORTS = (0, 0)


NEIGHBOURS: tuple[dict[str, int], ...] = (
    {"eth_type": ETH_ARP},
    {"eth_type": ETH_RARP},
    {"eth_type": ETH_IPV6, "ip_proto": ICMPV6, "icmpv6_type": 135},
    {"eth_type": ETH_IPV6, "ip_proto": ICMPV6, "icmpv6_type": 136},
)
"""ARP, RARP, and IPv6 neighbour solicitation and advertisement (RFC 826, 903, 4861): who is where."""


_IGMP = 2
_MLD_TYPES = (130, 131, 132, 143)

MEMBERSHIP: tuple[dict[str, int], ...] = (
    {"eth_type": ETH_IPV4, "ip_proto": _IGMP},
    *({"eth_type": ETH_IPV6, "ip_proto": ICMPV6, "icmpv6_type": kind} for kind in _MLD_TYPES),
)
"""Queries and reports of IGMP and MLD (RFC 3376, 2710, 3810): who is in which multicast group."""


class CannotExpressError(ValueError):
    """A rule has no OpenFlow matches; the text says why."""


def range_masks(first: int, last: int) -> list[tuple[int, int]]:
    """Split a range of 16-bit numbers into the fewest (value, mask) pairs, in rising order."""
    pairs = []
    while first <= last:
        size = first & -first or 0x10000
        while first + size - 1 > last:
            size >>= 1
        pairs.append((first, 0xFFFF & ~(size - 1)))
        first += size
    return pairs


def matches(
    rule_match: StandingMatch, egress_port: int, port_masks: bool, ip_frag: bool = True
) -> tuple[Match, ...]:
    """Return all matches of a standing rule on one egress port.

    Args:
        port_masks: whether the device takes masks on transport ports.
        ip_frag: whether it has Open vSwitch's field for fragments.

    Raises:
        CannotExpressError: it would take more than ``BOUND`` matches, or its parts exclude each other.
    """
    families = _families(rule_match)
    all_matches: list[Match] = []
    for vm_number, family in product(rule_match.vm_numbers or (None,), families):
        base = _base(rule_match, egress_port, vm_number, family)
        for ports in chain(_transport(rule_match, port_masks), _fragments(rule_match, family, ip_frag)):
            all_matches.append(fields.match(**base, **ports))
            if len(all_matches) > BOUND:
                raise CannotExpressError(f"it takes more than {BOUND} entries")
    if not all_matches:
        raise CannotExpressError("its protocol and addresses are of different families")
    return tuple(all_matches)


def _families(rule_match: StandingMatch) -> tuple[int | None, ...]:
    """Return the ethertypes to match: (None,) for any, () when parts of the match exclude each other."""
    needed = {rule_match.eth_type} if rule_match.eth_type is not None else set()
    needed |= {
        _FAMILY_BY_LENGTH[len(prefix[0])] for prefix in (rule_match.src, rule_match.dst) if prefix is not None
    }
    if rule_match.ip_proto is not None and rule_match.ip_proto in FAMILY_OF_ICMP:
        needed.add(FAMILY_OF_ICMP[rule_match.ip_proto])
    of_ip = (
        rule_match.ip_proto is not None
        or rule_match.dscp is not None
        or rule_match.src_ports
        or rule_match.dst_ports
    )
    if len(needed) > 1 or (of_ip and needed - {ETH_IPV4, ETH_IPV6}):
        return ()
    if needed:
        return tuple(needed)
    return (ETH_IPV4, ETH_IPV6) if of_ip else (None,)


def _base(rule_match: StandingMatch, egress_port: int, vm_number: int | None, family: int | None) -> Fields:
    base: Fields = {"metadata": pipeline.egress_and_sender(egress_port, vm_number)}
    if family is not None:
        base["eth_type"] = family
    if family in _ADDRESS_FIELDS:
        source, destination, bits = _ADDRESS_FIELDS[family]
        for name, prefix in ((source, rule_match.src), (destination, rule_match.dst)):
            if prefix is not None:
                mask = (1 << bits) - (1 << bits - prefix[1])
                base[name] = (int.from_bytes(prefix[0], "big") & mask, mask)
    if rule_match.dscp is not None:
        base["ip_dscp"] = rule_match.dscp
    return base | _tag(rule_match)


def _tag(rule_match: StandingMatch) -> Fields:
    tag: Fields = {}
    if rule_match.vlan is not None:
        tag["vlan_vid"] = fields.VLAN_PRESENT | rule_match.vlan
    if rule_match.pcp is not None:
        tag.setdefault("vlan_vid", (fields.VLAN_PRESENT, fields.VLAN_PRESENT))
        tag["vlan_pcp"] = rule_match.pcp
    return tag


def _transport(rule_match: StandingMatch, port_masks: bool) -> Iterator[Fields]:
    """Yield the fields of protocol and ports; without a protocol, ports are those of TCP, UDP and SCTP."""
    if not rule_match.src_ports and not rule_match.dst_ports:
        yield {} if rule_match.ip_proto is None else {"ip_proto": rule_match.ip_proto}
        return
    for protocol in (rule_match.ip_proto,) if rule_match.ip_proto is not None else (TCP, UDP, SCTP):
        if protocol not in PORT_FIELDS:
            raise CannotExpressError(f"IP protocol {protocol} has no ports")
        names = PORT_FIELDS[protocol]
        masked = port_masks and protocol in (TCP, UDP, SCTP)
        sources, destinations = (
            _numbers(ranges, masked) for ranges in (rule_match.src_ports, rule_match.dst_ports)
        )
        for source, destination in product(sources, destinations):
            yield {"ip_proto": protocol, names[0]: source, names[1]: destination}


def _fragments(rule_match: StandingMatch, family: int | None, ip_frag: bool) -> Iterator[Fields]:
    """Yield the fields by which fragments match a rule as if their ports did, and in IPv6 as if their protocol did.

    A switch shows the ports of fragments as 0 (ovs-ofctl(8), set-frags normal), and the protocol of IPv6 fragments
    but for the first ones as 44 (ovs-fields(7), nw_proto).
    """
    has_ports = bool(rule_match.src_ports or rule_match.dst_ports)
    if family == ETH_IPV6 and (has_ports or rule_match.ip_proto is not None):
        yield {"ip_frag": IS_FRAGMENT} if ip_frag else {"ip_proto": FRAGMENT}
    if has_ports and not (family == ETH_IPV6 and ip_frag):
        for protocol in (rule_match.ip_proto,) if rule_match.ip_proto is not None else (TCP, UDP, SCTP):
            source, destination = PORT_FIELDS[protocol]
            yield {"ip_proto": protocol, source: 0, destination: 0}


def _numbers(ranges: tuple[tuple[int, int], ...], masked: bool) -> list[int | tuple[int, int]]:
    """Return the values of ranges of ports; (0, 0) matches all, and :func:`fields.match` leaves it out.

    Raises:
        CannotExpressError: one term per number would be more than ``BOUND``.
    """
    if not ranges:
        return [_ALL_PORTS]
    if masked:
        return [pair for first, last in ranges for pair in range_masks(first, last)]
    if sum(last - first + 1 for first, last in ranges) > BOUND:
        raise CannotExpressError(
            "the device takes no masks on ports, and the range is too wide for single ports"
        )
    return [number for first, last in ranges for number in range(first, last + 1)]
