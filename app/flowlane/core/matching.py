"""One match against one flow, part by part: for hints, and to explain why a rule did not take a flow.

The many rules of a policy go through :mod:`flowlane.core.classify` instead, which gives the same answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.flowkey import IPV4, IPV6, LAYER2, PORT_PROTOCOLS
from flowlane.core.vm_select import selects

if TYPE_CHECKING:
    from flowlane.core.flowkey import FlowParts
    from flowlane.core.model import Vm
    from flowlane.core.policy import Match

ETHERTYPES = {IPV4: 0x0800, IPV6: 0x86DD}
"""Ethertype of the flow kinds that have one of their own; a layer-2 flow carries its own in its key."""


class Facts(NamedTuple):
    """What is known of a flow. ``hint`` is the class index believed; ``opened`` the gates that are open."""

    vm: Vm | None
    parts: FlowParts
    dscp: int = 0
    pcp: int = 0
    hint: int | None = None
    opened: int = 0


def unmet(match: Match, facts: Facts) -> tuple[str, ...]:
    """Name the parts of a match that do not hold, in the words of the policy language; empty: it matches."""
    return tuple(name for name, holds in PARTS.items() if not holds(match, facts))


def _within(spans: tuple[tuple[int, int], ...], value: int) -> bool:
    return any(first <= value <= last for first, last in spans)


def _ports(spans: tuple[tuple[int, int], ...], parts: FlowParts, port: int) -> bool:
    has_ports = parts.kind != LAYER2 and parts.protocol in PORT_PROTOCOLS
    return not spans or (has_ports and _within(spans, port))


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
    "protocol": lambda m, f: not m.protocols or (_is_ip(f.parts) and f.parts.protocol in m.protocols),
    "src": lambda m, f: _address(m.src, f.parts, f.parts.src),
    "dst": lambda m, f: _address(m.dst, f.parts, f.parts.dst),
    "src-port": lambda m, f: _ports(m.src_ports, f.parts, f.parts.src_port),
    "dst-port": lambda m, f: _ports(m.dst_ports, f.parts, f.parts.dst_port),
    "dscp": lambda m, f: not m.dscp or (_is_ip(f.parts) and f.dscp in m.dscp),
    "pcp": lambda m, f: not m.pcp or (f.parts.vlan is not None and f.pcp in m.pcp),
    "hint": lambda m, f: not m.hint or f.hint in m.hint,
    "rate": lambda m, f: m.gate is None or bool(f.opened >> m.gate & 1),
}
"""Part of a match, as the policy language calls it -> whether it holds."""
