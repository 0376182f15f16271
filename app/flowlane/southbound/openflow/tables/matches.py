"""A standing rule's match as the OpenFlow matches that say the same together.

OpenFlow has no ranges and no "or": port ranges become masked ports where the device takes masks on them
(the specification allows none, Open vSwitch does), else one match per port; VMs, address families and
protocols become one match each.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING

from flowlane.core.flowkey import SCTP, TCP, UDP
from flowlane.core.frame import ETH_IPV4, ETH_IPV6
from flowlane.southbound.openflow.tables import pipeline
from flowlane.southbound.openflow.wire import fields
from flowlane.southbound.openflow.wire.fields import FAMILY_OF_ICMP, PORT_FIELDS

if TYPE_CHECKING:
    from flowlane.core.effects import StandingMatch
    from flowlane.southbound.openflow.wire.fields import Match

BOUND = 512
"""Matches that one rule may become; a rule that needs more is left out, so that it cannot fill a table."""

Fields = dict[str, int | tuple[int, int]]

_FAMILY_BY_LENGTH = {4: ETH_IPV4, 16: ETH_IPV6}
_ADDRESS_FIELDS = {ETH_IPV4: ("ipv4_src", "ipv4_dst", 32), ETH_IPV6: ("ipv6_src", "ipv6_dst", 128)}
_ALL_PORTS = (0, 0)


class CannotExpressError(ValueError):
    """No set of OpenFlow matches says the same; the text says why."""


def range_masks(first: int, last: int) -> list[tuple[int, int]]:
    """Split a range of 16-bit numbers into the fewest (value, mask) pairs, in rising order."""
    found = []
    while first <= last:
        size = first & -first or 0x10000
        while first + size - 1 > last:
            size >>= 1
        found.append((first, 0xFFFF & ~(size - 1)))
        first += size
    return found


def matches(wanted: StandingMatch, egress_port: int, port_masks: bool) -> tuple[Match, ...]:
    """All matches of a standing rule on one egress port.

    Raises:
        CannotExpressError: it would take more than ``BOUND`` matches, or its parts exclude each other.
    """
    families = _families(wanted)
    found = []
    for vm_number, family in product(wanted.vm_numbers or (None,), families):
        base = _base(wanted, egress_port, vm_number, family)
        for ports in _transport(wanted, port_masks):
            found.append(fields.match(**base, **ports))
            if len(found) > BOUND:
                raise CannotExpressError(f"it takes more than {BOUND} entries")
    if not found:
        raise CannotExpressError("its protocol and addresses are of different families")
    return tuple(found)


def _families(wanted: StandingMatch) -> tuple[int | None, ...]:
    """Ethertypes to match; (None,) when any will do. Families that the parts exclude are not there."""
    needed = {wanted.eth_type} if wanted.eth_type is not None else set()
    needed |= {_FAMILY_BY_LENGTH[len(prefix[0])] for prefix in (wanted.src, wanted.dst) if prefix is not None}
    if wanted.ip_proto is not None and wanted.ip_proto in FAMILY_OF_ICMP:
        needed.add(FAMILY_OF_ICMP[wanted.ip_proto])
    of_ip = wanted.ip_proto is not None or wanted.dscp is not None or wanted.src_ports or wanted.dst_ports
    if len(needed) > 1 or (of_ip and needed - {ETH_IPV4, ETH_IPV6}):
        return ()
    if needed:
        return tuple(needed)
    return (ETH_IPV4, ETH_IPV6) if of_ip else (None,)


def _base(wanted: StandingMatch, egress_port: int, vm_number: int | None, family: int | None) -> Fields:
    base: Fields = {"metadata": pipeline.egress_and_sender(egress_port, vm_number)}
    if family is not None:
        base["eth_type"] = family
    if family in _ADDRESS_FIELDS:
        source, destination, bits = _ADDRESS_FIELDS[family]
        for name, prefix in ((source, wanted.src), (destination, wanted.dst)):
            if prefix is not None:
                mask = (1 << bits) - (1 << bits - prefix[1])
                base[name] = (int.from_bytes(prefix[0], "big") & mask, mask)
    if wanted.dscp is not None:
        base["ip_dscp"] = wanted.dscp
    return base | _tag(wanted)


def _tag(wanted: StandingMatch) -> Fields:
    tag: Fields = {}
    if wanted.vlan is not None:
        tag["vlan_vid"] = fields.VLAN_PRESENT | wanted.vlan
    if wanted.pcp is not None:
        tag.setdefault("vlan_vid", (fields.VLAN_PRESENT, fields.VLAN_PRESENT))
        tag["vlan_pcp"] = wanted.pcp
    return tag


def _transport(wanted: StandingMatch, port_masks: bool) -> Iterator[Fields]:
    """Protocol and ports; without a protocol, ports are those of TCP, UDP and SCTP."""
    if not wanted.src_ports and not wanted.dst_ports:
        yield {} if wanted.ip_proto is None else {"ip_proto": wanted.ip_proto}
        return
    for protocol in (wanted.ip_proto,) if wanted.ip_proto is not None else (TCP, UDP, SCTP):
        if protocol not in PORT_FIELDS:
            raise CannotExpressError(f"IP protocol {protocol} has no ports")
        names = PORT_FIELDS[protocol]
        masked = port_masks and protocol in (TCP, UDP, SCTP)
        sources, destinations = (_numbers(ranges, masked) for ranges in (wanted.src_ports, wanted.dst_ports))
        for source, destination in product(sources, destinations):
            yield {"ip_proto": protocol, names[0]: source, names[1]: destination}


def _numbers(ranges: tuple[tuple[int, int], ...], masked: bool) -> list[int | tuple[int, int]]:
    """The terms of some ranges. A term (0, 0) matches all, and :func:`fields.match` leaves it out.

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
