"""Matches of rules and hints: parsing, VM selectors, and the check of one match against one flow.

Policy files and hints over REST share one table of parsers (:data:`READERS`), so both have the same keys and values.
A parser raises :class:`MatchError` with a text for people.

One match is checked part by part, for hints and to explain why a rule did not match a flow. The rules of a policy are
compiled by :mod:`flowlane.core.classify.classifier` instead, which gives the same answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from fnmatch import fnmatchcase
from ipaddress import ip_network
from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.flowkey import (
    ETHERTYPE_NAMES,
    FRAGMENT,
    ICMP,
    IPV4,
    IPV6,
    LAYER2,
    PORT_PROTOCOLS,
    PROTOCOL_NAMES,
    is_of_fragments,
)
from flowlane.core.policy import Match
from flowlane.errors import FlowlaneError

if TYPE_CHECKING:
    from flowlane.core.flowkey import FlowParts
    from flowlane.core.model import Vm
    from flowlane.core.policy import VmSelector


def selects(selector: VmSelector | None, vm: Vm | None) -> bool:
    """Check whether a selector selects a VM; traffic of no known VM is selected by an empty selector only.

    One of the names must fit the VM's id, name or ``vm-uuid``. The VM must have every external id, with a value that
    fits.
    """
    if selector is None or not (selector.names or selector.external_ids):
        return True
    if vm is None:
        return False
    return names_fit(selector.names, vm) and all(
        key in vm.external_ids and fnmatchcase(vm.external_ids[key], glob)
        for key, glob in selector.external_ids
    )


def names_fit(globs: tuple[str, ...], vm: Vm) -> bool:
    """Check whether one of the globs fits the VM's id, its name or its ``vm-uuid``; no globs fit every VM."""
    return not globs or any(
        fnmatchcase(vm.id, glob)
        or fnmatchcase(vm.name, glob)
        or (vm.uuid != "" and fnmatchcase(vm.uuid, glob))
        for glob in globs
    )


ETHERTYPE_NUMBERS = {
    "ipv4": 0x0800,
    "ipv6": 0x86DD,
    **{name: number for number, name in ETHERTYPE_NAMES.items()},
}
"""IEEE 802 numbers (IANA registry) of the ethertypes that have a name in the policy language."""

PROTOCOL_NUMBERS = {
    **{name: number for number, name in PROTOCOL_NAMES.items()},
    "igmp": 2,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "ospf": 89,
    "vrrp": 112,
}
"""IANA protocol numbers of the protocols that have a name in the policy language."""

DSCP_NAMES = {
    "be": 0,
    "le": 1,
    "ef": 46,
    "va": 44,
    **{f"cs{n}": 8 * n for n in range(8)},
    **{f"af{n}{drop}": 8 * n + 2 * drop for n in range(1, 5) for drop in range(1, 4)},
}
"""Code points by name: RFC 2474 (cs), 2597 (af), 3246 (ef), 5865 (va), 8622 (le)."""

_SPAN = re.compile(r"\s*(\d{1,10})\s*-\s*(\d{1,10})\s*\Z", re.ASCII)


class MatchError(FlowlaneError):
    """A value of a match is wrong. ``place`` is the index of the item in a list, None outside lists."""

    def __init__(self, text: str, remedy: str, place: int | None = None) -> None:
        super().__init__(text)
        self.remedy = remedy
        self.place = place


def read_match(given: Mapping[str, object]) -> Match:
    """Parse the packet part of a match.

    Args:
        given: keys of :data:`READERS` with their values, as in a policy file or a hint.

    Raises:
        MatchError: a key is unknown or a value is wrong.
    """
    unknown = sorted(set(given) - set(READERS))
    if unknown:
        raise MatchError(f"{unknown[0]!r} cannot be matched", f"one of {', '.join(READERS)}")
    return Match(**{READERS[key][0]: READERS[key][1](value) for key, value in given.items()})  # type: ignore[arg-type]


def items(value: object) -> Iterator[tuple[int | None, object]]:
    """Iterate over a value or a list of values: (index in the list or None, value)."""
    if isinstance(value, list | tuple):
        yield from enumerate(value)
    else:
        yield None, value


def _each(read: Callable[[object], object]) -> Callable[[object], tuple[object, ...]]:
    """Make a parser of lists; an error has the index of the item, and equal items count once."""

    def reader(value: object) -> tuple[object, ...]:
        values: dict[object, None] = {}
        for place, item in items(value):
            try:
                values[read(item)] = None
            except MatchError as error:
                error.place = place
                raise
        return tuple(values)

    return reader


def _number(value: object, what: str, names: Mapping[str, int], highest: int) -> int:
    number = names.get(value.lower()) if isinstance(value, str) else value
    if isinstance(value, str) and number is None and re.fullmatch(r"0x[0-9a-fA-F]{1,8}", value):
        number = int(value, 16)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= highest:
        listed = f" or one of {', '.join(sorted(names))}" if names else ""
        raise MatchError(f"{value!r} is not {what}", f"a number from 0 to {highest}{listed}")
    return number


def _span(value: object, what: str, highest: int) -> tuple[int, int]:
    match = _SPAN.match(value) if isinstance(value, str) else None
    if match is None:
        if isinstance(value, str):
            raise MatchError(
                f"{value!r} is not {what}", f"a number from 0 to {highest} or a range such as 1000-2000"
            )
        number = _number(value, what, {}, highest)
        return number, number
    first, last = int(match[1]), int(match[2])
    if last > highest:
        raise MatchError(f"{value!r} is not {what}", f"the highest is {highest}")
    if first > last:
        raise MatchError(f"the range {value!r} is reversed", f"write {last}-{first}")
    return first, last


def _prefix(value: object) -> tuple[bytes, int]:
    try:
        network = ip_network(value if isinstance(value, str) else "", strict=False)
    except ValueError:
        remedy = "an IPv4 or IPv6 address or prefix, such as 10.1.0.0/16 or 2001:db8::/32"
        raise MatchError(f"{value!r} is not an address prefix", remedy) from None
    if isinstance(value, str) and "/" in value and value.partition("/")[0] != str(network.network_address):
        host = ip_network(value.partition("/")[0]).network_address
        if host != network.network_address:
            remedy = f"write {network}, or {host} for the one address"
            raise MatchError(f"{value!r} has bits set after its prefix", remedy)
    return network.network_address.packed, network.prefixlen


def _small(value: object, what: str, names: Mapping[str, int], highest: int) -> tuple[int, ...]:
    """Parse a value or a range of a small field into all of its values."""
    if isinstance(value, str) and _SPAN.match(value):
        first, last = _span(value, what, highest)
        return tuple(range(first, last + 1))
    return (_number(value, what, names, highest),)


def _each_small(what: str, names: Mapping[str, int], highest: int) -> Callable[[object], tuple[object, ...]]:
    spread = _each(lambda value: _small(value, what, names, highest))
    return lambda value: tuple(dict.fromkeys(number for numbers in spread(value) for number in numbers))  # type: ignore[attr-defined]


READERS: dict[str, tuple[str, Callable[[object], tuple[object, ...]]]] = {
    "ethertype": (
        "eth_types",
        _each(lambda value: _number(value, "an ethertype", ETHERTYPE_NUMBERS, 0xFFFF)),
    ),
    "vlan": ("vlans", _each(lambda value: _span(value, "a VLAN id", 4095))),
    "protocol": (
        "protocols",
        _each(lambda value: _number(value, "an IP protocol", PROTOCOL_NUMBERS, 255)),
    ),
    "src": ("src", _each(_prefix)),
    "dst": ("dst", _each(_prefix)),
    "src-port": ("src_ports", _each(lambda value: _span(value, "a port", 65535))),
    "dst-port": ("dst_ports", _each(lambda value: _span(value, "a port", 65535))),
    "dscp": ("dscp", _each_small("a DSCP", DSCP_NAMES, 63)),
    "pcp": ("pcp", _each_small("a PCP", {}, 7)),
}
"""Key in the policy language -> (field of :class:`~flowlane.core.policy.Match`, parser of its value or list)."""

NOT_ICMP = frozenset(range(256)) - {ICMP}

ETHERTYPES = {IPV4: 0x0800, IPV6: 0x86DD}
"""Kind of a flow -> its ethertype; a layer-2 flow has its ethertype in its key."""


class Facts(NamedTuple):
    """Facts about a flow that a match is checked against; ``hint`` is the class index of its trusted hint."""

    vm: Vm | None
    parts: FlowParts
    dscp: int = 0
    pcp: int = 0
    hint: int | None = None
    opened: int = 0


def holds(match: Match, facts: Facts) -> bool:
    """Check whether all parts of a match hold for a flow."""
    return all(check(match, facts) for check in PARTS.values())


def specificity(match: Match) -> int:
    """Count the parts that a match asks for; of two hints the one that asks for more comes first."""
    return sum(value not in ((), None) for value in (getattr(match, item.name) for item in fields(match)))


def unmet(match: Match, facts: Facts) -> tuple[str, ...]:
    """Name the parts of a match that do not hold, by their keys in the policy language; none: it matches."""
    return tuple(name for name, check in PARTS.items() if not check(match, facts))


def _within(spans: tuple[tuple[int, int], ...], value: int) -> bool:
    return any(first <= value <= last for first, last in spans)


def fits_fragments(match: Match) -> bool:
    """Check whether protocols and ports of a match may be those of IPv6 fragments, which show neither.

    Fragments match as if their ports matched, and in IPv6 as if their protocol did, so that no fragment is free of
    a limit. ICMP does not exist in IPv6, and other protocols without ports never match a rule with ports.
    """
    if not match.protocols:
        return True
    with_ports = bool(match.src_ports or match.dst_ports)
    possible = PORT_PROTOCOLS if with_ports else NOT_ICMP
    return any(protocol in possible for protocol in match.protocols)


def _protocol(match: Match, parts: FlowParts) -> bool:
    if not match.protocols or parts.kind == LAYER2:
        return not match.protocols
    if parts.kind == IPV6 and parts.protocol == FRAGMENT:
        return fits_fragments(match)
    return parts.protocol in match.protocols


def _ports(match: Match, spans: tuple[tuple[int, int], ...], parts: FlowParts, port: int) -> bool:
    if not spans:
        return True
    if is_of_fragments(parts):
        return parts.kind == IPV4 or fits_fragments(match)
    return parts.kind != LAYER2 and parts.protocol in PORT_PROTOCOLS and _within(spans, port)


def _address(prefixes: tuple[tuple[bytes, int], ...], parts: FlowParts, address: bytes) -> bool:
    return not prefixes or (parts.kind != LAYER2 and any(_covers(prefix, address) for prefix in prefixes))


def _covers(prefix: tuple[bytes, int], address: bytes) -> bool:
    network, length = prefix
    if len(network) != len(address):
        return False
    shift = 8 * len(address) - length
    return int.from_bytes(network, "big") >> shift == int.from_bytes(address, "big") >> shift


def _is_ip(parts: FlowParts) -> bool:
    return parts.kind != LAYER2


PARTS: dict[str, Callable[[Match, Facts], bool]] = {
    "vm": lambda m, f: selects(m.vms, f.vm),
    "ethertype": lambda m, f: (
        not m.eth_types or ETHERTYPES.get(f.parts.kind, f.parts.src_port) in m.eth_types
    ),
    "vlan": lambda m, f: not m.vlans or (f.parts.vlan is not None and _within(m.vlans, f.parts.vlan)),
    "protocol": lambda m, f: _protocol(m, f.parts),
    "src": lambda m, f: _address(m.src, f.parts, f.parts.src),
    "dst": lambda m, f: _address(m.dst, f.parts, f.parts.dst),
    "src-port": lambda m, f: _ports(m, m.src_ports, f.parts, f.parts.src_port),
    "dst-port": lambda m, f: _ports(m, m.dst_ports, f.parts, f.parts.dst_port),
    "dscp": lambda m, f: not m.dscp or (_is_ip(f.parts) and f.dscp in m.dscp),
    "pcp": lambda m, f: not m.pcp or (f.parts.vlan is not None and f.pcp in m.pcp),
    "hint": lambda m, f: not m.hint or f.hint in m.hint,
    "rate": lambda m, f: m.gate is None or bool(f.opened >> m.gate & 1),
}
"""Key of a part of a match in the policy language -> check of that part."""
