"""Conditions on the key of a flow: protocol, addresses, ports and id, by the names of REST's query parameters."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Any

from flowlane.core.flowkey import ETHERTYPE_NAMES, HEAD, HEAD_LENGTH, IPV4, IPV6, LAYER2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flowlane.core.state.flows import FlowTable
    from flowlane.northbound.paging import Condition

Network = IPv4Network | IPv6Network
Wildcard = bytes | Network
"""A MAC address, or the addresses of a prefix."""


def _select_protocol(protocol: int | str) -> Condition:
    def check(flows: FlowTable, row: int) -> bool:
        _, _, kind, number, ethertype, _ = HEAD.unpack_from(flows.keys[row] or b"")
        if kind == LAYER2:
            return ETHERTYPE_NAMES.get(ethertype, f"0x{ethertype:04x}") == protocol
        return bool(number == protocol)

    return check


def _select_layer4_port(place: int) -> Callable[[int], Condition]:
    def condition(number: int) -> Condition:
        def check(flows: FlowTable, row: int) -> bool:
            head = HEAD.unpack_from(flows.keys[row] or b"")
            return bool(head[2] != LAYER2 and head[place] == number)

        return check

    return condition


def _select_address(source: bool) -> Callable[[Wildcard], Condition]:
    def condition(addresses: Wildcard) -> Condition:
        if isinstance(addresses, bytes):
            kind, low, high = LAYER2, addresses, addresses
        else:
            kind = IPV4 if addresses.version == 4 else IPV6
            low, high = addresses.network_address.packed, addresses.broadcast_address.packed

        def check(flows: FlowTable, row: int) -> bool:
            key = flows.keys[row] or b""
            middle = (len(key) + HEAD_LENGTH) // 2
            address = key[HEAD_LENGTH:middle] if source else key[middle:]
            return key[6] == kind and low <= address <= high

        return check

    return condition


def _select_id(beginning: tuple[bytes, str]) -> Condition:
    whole, digit = beginning
    place, half = len(whole), int(digit or "0", 16)

    def check(flows: FlowTable, row: int) -> bool:
        key = flows.keys[row] or b""
        return key.startswith(whole) and (not digit or (len(key) > place and key[place] >> 4 == half))

    return check


def _select_either(
    one: Callable[[Any], Condition], other: Callable[[Any], Condition]
) -> Callable[[Any], Condition]:
    def condition(value: Any) -> Condition:
        first, second = one(value), other(value)
        return lambda flows, row: first(flows, row) or second(flows, row)

    return condition


KEY_CONDITIONS: Mapping[str, Callable[[Any], Condition]] = {
    "id": _select_id,
    "proto": _select_protocol,
    "address": _select_either(_select_address(source=True), _select_address(source=False)),
    "l4_port": _select_either(_select_layer4_port(4), _select_layer4_port(5)),
    "src": _select_address(source=True),
    "dst": _select_address(source=False),
    "src_port": _select_layer4_port(4),
    "dst_port": _select_layer4_port(5),
}
"""Query parameter -> what makes the condition of its value."""
