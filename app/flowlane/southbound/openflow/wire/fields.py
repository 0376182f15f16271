"""Match fields: names, OXM numbers and widths; matches in a canonical form, and their bytes and text.

A match is a tuple of :class:`Term` in the order of the OXM field numbers, which also meets the prerequisites
(ethertype before addresses, OpenFlow 1.3.5 section 7.2.3.8). All values are integers, so that matches
compare, hash and sort. Two matches that select the same packets by the same fields are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType
from typing import NamedTuple

from flowlane.core.flowkey import ICMP, ICMPV6, SCTP, TCP, UDP
from flowlane.core.frame import ETH_IPV4, ETH_IPV6

OPENFLOW_BASIC = 0x8000
"""The OXM class of all fields of the specification (OpenFlow 1.3.5 section 7.2.3.3)."""

NICIRA_1 = 0x0001
"""The class of Open vSwitch's 32-bit registers, which it writes in OpenFlow 1.3 and 1.4 (ovs-fields(7))."""

PACKET_REGISTERS = 0x8001
"""OFPXMC_PACKET_REGS of 1.5: 64-bit registers, each two of Open vSwitch's 32-bit ones."""

VLAN_PRESENT = 0x1000
"""OFPVID_PRESENT: the bit of ``vlan_vid`` that is set for a frame with a tag (OpenFlow 1.3.5 section 7.2.3.8)."""


IS_FRAGMENT = (1, 1)
"""Match on ``ip_frag``: a fragment, be it the first or a later one (ovs-fields(7), ip_frag)."""


class Field(NamedTuple):
    """A match field: ``number`` in its OXM class, width in ``octets`` and ``bits``, name in ovs-ofctl's language.

    ``maskable``: whether the specification allows a mask; Open vSwitch also takes masks on transport ports.
    """

    number: int
    octets: int
    bits: int
    maskable: bool
    ofctl: str
    oxm_class: int = OPENFLOW_BASIC


class Term(NamedTuple):
    """One field of a match; ``mask`` None: exact."""

    field: str
    value: int
    mask: int | None = None


Match = tuple[Term, ...]

FIELDS: Mapping[str, Field] = MappingProxyType(
    {
        "in_port": Field(0, 4, 32, False, "in_port"),
        "metadata": Field(2, 8, 64, True, "metadata"),
        "eth_dst": Field(3, 6, 48, True, "dl_dst"),
        "eth_src": Field(4, 6, 48, True, "dl_src"),
        "eth_type": Field(5, 2, 16, False, "dl_type"),
        "vlan_vid": Field(6, 2, 13, True, "vlan_vid"),
        "vlan_pcp": Field(7, 1, 3, False, "vlan_pcp"),
        "ip_dscp": Field(8, 1, 6, False, "ip_dscp"),
        "ip_proto": Field(10, 1, 8, False, "nw_proto"),
        "ipv4_src": Field(11, 4, 32, True, "nw_src"),
        "ipv4_dst": Field(12, 4, 32, True, "nw_dst"),
        "tcp_src": Field(13, 2, 16, False, "tcp_src"),
        "tcp_dst": Field(14, 2, 16, False, "tcp_dst"),
        "udp_src": Field(15, 2, 16, False, "udp_src"),
        "udp_dst": Field(16, 2, 16, False, "udp_dst"),
        "sctp_src": Field(17, 2, 16, False, "sctp_src"),
        "sctp_dst": Field(18, 2, 16, False, "sctp_dst"),
        "icmpv4_type": Field(19, 1, 8, False, "icmp_type"),
        "icmpv4_code": Field(20, 1, 8, False, "icmp_code"),
        "ipv6_src": Field(26, 16, 128, True, "ipv6_src"),
        "ipv6_dst": Field(27, 16, 128, True, "ipv6_dst"),
        "icmpv6_type": Field(29, 1, 8, False, "icmpv6_type"),
        "icmpv6_code": Field(30, 1, 8, False, "icmpv6_code"),
        "ip_frag": Field(26, 1, 2, True, "ip_frag", NICIRA_1),
        **{f"reg{n}": Field(n, 4, 32, True, f"reg{n}", NICIRA_1) for n in range(7)},
        "ct_state": Field(105, 4, 32, True, "ct_state", NICIRA_1),
        "ct_mark": Field(107, 4, 32, True, "ct_mark", NICIRA_1),
        "ct_label": Field(108, 16, 128, True, "ct_label", NICIRA_1),
    }
)

PORT_FIELDS: Mapping[int, tuple[str, str]] = MappingProxyType(
    {
        TCP: ("tcp_src", "tcp_dst"),
        UDP: ("udp_src", "udp_dst"),
        SCTP: ("sctp_src", "sctp_dst"),
        ICMP: ("icmpv4_type", "icmpv4_code"),
        ICMPV6: ("icmpv6_type", "icmpv6_code"),
    }
)
"""IP protocol -> the fields of a flow's source and destination port; ICMP has type and code in their place."""

FAMILY_OF_ICMP: Mapping[int, int] = MappingProxyType({ICMP: ETH_IPV4, ICMPV6: ETH_IPV6})
"""IP protocol -> the only ethertype that it belongs to."""

_BY_NUMBER = {(field.oxm_class, field.number): name for name, field in FIELDS.items()}
_ORDER = {name: place for place, name in enumerate(FIELDS)}


def port_fields(eth_type: int, protocol: int) -> tuple[str, str] | None:
    """Return the fields of a flow's ports; None when it has none, such as ICMP in IPv6 packets."""
    return PORT_FIELDS.get(protocol) if FAMILY_OF_ICMP.get(protocol, eth_type) == eth_type else None


def full_mask(field: str) -> int:
    """Return the mask that makes a field exact."""
    return (1 << FIELDS[field].bits) - 1


def match(**values_by_field: int | tuple[int, int]) -> Match:
    """Make a match from ``field=value`` or ``field=(value, mask)``.

    A full mask becomes an exact term, an empty one drops out, bits outside a mask are cleared.

    Raises:
        KeyError: the field is not known.
        ValueError: the value is wider than the field.
    """
    return _match(tuple(values_by_field.items()))


@lru_cache(2048)
def _match(values_by_field: tuple[tuple[str, int | tuple[int, int]], ...]) -> Match:
    terms = (_term(name, value) for name, value in values_by_field)
    return tuple(sorted((t for t in terms if t.mask != 0), key=lambda term: _ORDER[term.field]))


def _term(name: str, value_and_mask: int | tuple[int, int]) -> Term:
    value, mask = value_and_mask if isinstance(value_and_mask, tuple) else (value_and_mask, None)
    full = full_mask(name)
    if value & ~full or (mask is not None and mask & ~full):
        raise ValueError(f"{name} has {FIELDS[name].bits} bits, 0x{value:x} does not fit")
    if mask is None or mask == full:
        return Term(name, value)
    return Term(name, value & mask, mask)


def values(terms: Match) -> dict[str, int]:
    """Return field -> value, without masks."""
    return {term.field: term.value for term in terms}


def pack(terms: Match) -> bytes:
    """Write a match as the list of OXM fields in an ``ofp_match``, without header and padding."""
    return b"".join(map(_pack_term, terms))


def _pack_term(term: Term) -> bytes:
    number, octets, *_, oxm_class = FIELDS[term.field]
    masked = term.mask is not None
    header = oxm_class << 16 | number << 9 | masked << 8 | (octets << masked)
    body = term.value.to_bytes(octets, "big")
    return (
        header.to_bytes(4, "big")
        + body
        + (term.mask.to_bytes(octets, "big") if term.mask is not None else b"")
    )


def name_of(oxm_class: int, number: int) -> str | None:
    """Return the name of the field with a number in an OXM class; None for a field that Flowlane never uses."""
    return _BY_NUMBER.get((oxm_class, number))


def unpack(data: bytes) -> Match | None:
    """Read a list of OXM fields; None when it has a field that Flowlane never uses, or is malformed."""
    values_by_field: dict[str, int | tuple[int, int]] = {}
    offset = 0
    while offset < len(data):
        header = int.from_bytes(data[offset : offset + 4], "big")
        masked, length = header >> 8 & 1, header & 0xFF
        name = name_of(header >> 16, header >> 9 & 0x7F)
        body = data[offset + 4 : offset + 4 + length]
        if header >> 16 == PACKET_REGISTERS and len(body) == 8 << masked:
            values_by_field |= _registers(header >> 9 & 0x7F, body)
            offset += 4 + length
            continue
        if name is None or len(body) != FIELDS[name].octets << masked:
            return None
        width = FIELDS[name].octets
        value = int.from_bytes(body[:width], "big")
        values_by_field[name] = (value, int.from_bytes(body[width:], "big")) if masked else value
        offset += 4 + length
    try:
        return match(**values_by_field)
    except ValueError:
        return None


def _registers(number: int, body: bytes) -> dict[str, tuple[int, int]]:
    """Split a 64-bit register of OpenFlow 1.5 into two of 32 bits; :func:`match` drops one whose mask is empty."""
    value, mask = body[:8], body[8:] or b"\xff" * 8
    return {
        name: (int.from_bytes(value[half : half + 4], "big"), int.from_bytes(mask[half : half + 4], "big"))
        for name, half in ((f"reg{2 * number}", 0), (f"reg{2 * number + 1}", 4))
        if name in FIELDS
    }


def text(terms: Match) -> str:
    """Write a match in ovs-ofctl's language, ready for ``ovs-ofctl add-flow``."""
    return ",".join(map(_text_term, terms))


def _text_term(term: Term) -> str:
    octets, ofctl = FIELDS[term.field].octets, FIELDS[term.field].ofctl
    write = _TEXT_OF_FIELD.get(term.field) or _TEXT_BY_WIDTH[octets]
    mask = "" if term.mask is None else f"/{write(term.mask)}"
    return f"{ofctl}={write(term.value)}{mask}"


def _mac(value: int) -> str:
    return value.to_bytes(6, "big").hex(":")


_TEXT_OF_FIELD: dict[str, Callable[[int], str]] = {
    "in_port": str,
    "metadata": hex,
    "eth_type": hex,
    "vlan_vid": hex,
    **{f"reg{n}": hex for n in range(7)},
    "ct_state": hex,
    "ct_mark": hex,
    "ct_label": hex,
}
_TEXT_BY_WIDTH: dict[int, Callable[[int], str]] = {
    1: str,
    2: str,
    4: lambda value: str(IPv4Address(value)),
    6: _mac,
    16: lambda value: str(IPv6Address(value)),
}
