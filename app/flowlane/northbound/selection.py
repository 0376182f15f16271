"""Filters over flow tables: a query becomes, per device, one function of a row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowlane.core.flowkey import HEAD, HEAD_LENGTH, IPV4, IPV6, LAYER2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from flowlane.core.flows import FlowTable
    from flowlane.core.state import Device, State
    from flowlane.northbound.parameters import Wildcard

    Wanted = Callable[[FlowTable, int], bool]


def selections(state: State, query: Mapping[str, Any]) -> list[tuple[Device, Wanted]]:
    """The devices that a query is about, in order of dpid, each with what is wanted of its rows."""
    return [
        (device, wanted)
        for device in devices_named(state, query.get("device"))
        if (wanted := _wanted(state, device, query)) is not None
    ]


def devices_named(state: State, name: str | None) -> list[Device]:
    """The devices whose dpid (16 hex digits) or name this is; all for None. In order of dpid."""
    return [
        device
        for dpid, device in sorted(state.devices.items())
        if name is None or f"{dpid:016x}" == name.lower() or device.name == name
    ]


def _wanted(state: State, device: Device, query: Mapping[str, Any]) -> Wanted | None:
    """All conditions of a query as one function; None when no row of the device can meet them."""
    conditions: list[Wanted] = []
    for column, values in _column_values(state, device, query).items():
        if not values:
            return None
        conditions.append(_in_column(column, values))
    conditions.extend(_KEY_CONDITIONS[name](query[name]) for name in _KEY_CONDITIONS if name in query)
    return lambda flows, row: all(condition(flows, row) for condition in conditions)


def _column_values(state: State, device: Device, query: Mapping[str, Any]) -> dict[str, frozenset[int]]:
    """What some columns have to hold: column -> values."""
    values: dict[str, frozenset[int]] = {}
    if "vm" in query:
        values["vm_number"] = frozenset(n for n, vm in state.vms.items() if query["vm"] in (vm.id, vm.name))
    if "class" in query:
        values["class_index"] = frozenset(c.index for c in device.policy.classes if c.name == query["class"])
    if "port" in query:
        values["egress_port"] = frozenset(ports_named(device, query["port"]))
    for name, column in (("queue", "queue_id"), ("kind", "kind"), ("reason", "reason")):
        if name in query:
            values[column] = frozenset((query[name],))
    return values


def ports_named(device: Device, name: str) -> list[int]:
    """Numbers of the device's ports that have this name or number."""
    return [number for number, port in device.ports.items() if name in (port.name, str(number))]


def _in_column(column: str, values: frozenset[int]) -> Wanted:
    return lambda flows, row: getattr(flows, column)[row] in values


def _protocol(wanted: int | str) -> Wanted:
    def check(flows: FlowTable, row: int) -> bool:
        _, _, kind, protocol, ethertype, _ = HEAD.unpack_from(flows.keys[row] or b"")
        return (f"0x{ethertype:04x}" if kind == LAYER2 else protocol) == wanted

    return check


def _layer4_port(place: int) -> Callable[[int], Wanted]:
    def condition(wanted: int) -> Wanted:
        def check(flows: FlowTable, row: int) -> bool:
            head = HEAD.unpack_from(flows.keys[row] or b"")
            return bool(head[2] != LAYER2 and head[place] == wanted)

        return check

    return condition


def _address(source: bool) -> Callable[[Wildcard], Wanted]:
    def condition(wanted: Wildcard) -> Wanted:
        if isinstance(wanted, bytes):
            kind, low, high = LAYER2, wanted, wanted
        else:
            kind = IPV4 if wanted.version == 4 else IPV6
            low, high = wanted.network_address.packed, wanted.broadcast_address.packed

        def check(flows: FlowTable, row: int) -> bool:
            key = flows.keys[row] or b""
            middle = (len(key) + HEAD_LENGTH) // 2
            address = key[HEAD_LENGTH:middle] if source else key[middle:]
            return key[6] == kind and low <= address <= high

        return check

    return condition


_KEY_CONDITIONS: Mapping[str, Callable[[Any], Wanted]] = {
    "proto": _protocol,
    "src": _address(source=True),
    "dst": _address(source=False),
    "src_port": _layer4_port(4),
    "dst_port": _layer4_port(5),
}


def listed_here(devices: Sequence[Device], device: Device, as_of: float) -> Wanted:
    """Whether a flow is listed under this device: the lowest dpid of those that had it at a moment.

    ``devices`` are the devices that are listed. A flow that crosses several of them comes once.
    """
    lower = [other.flows for other in devices if other.dpid < device.dpid]

    def check(flows: FlowTable, row: int) -> bool:
        key = flows.keys[row]
        assert key is not None
        return not any(
            (there := table.rows.get(key)) is not None and table.first_seen[there] <= as_of for table in lower
        )

    return check
