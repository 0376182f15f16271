"""Views of flows, assignments and explanations: JSON-ready objects made from the flow tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from flowlane.core.explain import explain
from flowlane.core.flow.limits import passed_rate
from flowlane.core.flow.pins import WORTHY, mode
from flowlane.core.flow.track import is_young
from flowlane.core.flowkey import (
    ETHERTYPE_NAMES,
    IPV4,
    IPV6,
    LAYER2,
    PORT_PROTOCOLS,
    PROTOCOL_NAMES,
    FlowParts,
    flow_id,
    format_address,
    unpack,
)
from flowlane.core.model import NO_QUEUE, Reason
from flowlane.core.state.flows import PINNED
from flowlane.core.topology.adjacency import device_name, port_names
from flowlane.northbound.paging import FlowRow
from flowlane.northbound.views import HINT_WORDS, KIND_WORDS, dpid_text, limit_of, moment
from flowlane.northbound.views.operators import manual_pin_mark

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowlane.core.allocate.state import Alternative
    from flowlane.core.policy import TrafficClass
    from flowlane.core.state.claims import Origin
    from flowlane.core.state.device import Device, State
    from flowlane.core.topology.way import Hop
    from flowlane.northbound.controller import Clock
    from flowlane.northbound.types import (
        AssignmentView,
        DeviceExplanation,
        Endpoints,
        Family,
        FlowView,
        HintMark,
        HopView,
        MeterView,
        Placement,
        QueueConsidered,
    )
    from flowlane.northbound.types.paths import CameFrom

_FAMILIES: Mapping[int, Family] = {IPV4: "ipv4", IPV6: "ipv6", LAYER2: "ethernet"}
_ICMP = frozenset(number for number, name in PROTOCOL_NAMES.items() if name.startswith("icmp"))


def rows_of(state: State, key: bytes) -> list[FlowRow]:
    """Find a flow's row on every device that has it, in order of dpid."""
    return [
        FlowRow(device, row)
        for _, device in sorted(state.devices.items())
        if (row := device.flows.rows.get(key)) is not None
    ]


def flow_view(state: State, clock: Clock, places: list[FlowRow]) -> FlowView:
    """Make the view of a flow from its rows (at least one)."""
    device, row = places[0]
    flows, key = device.flows, _key(device, row)
    traffic_class = _class_of(device, row)
    return {
        "id": flow_id(key),
        **endpoints(state, unpack(key)),
        "class": traffic_class.name,
        "rate": round(flows.rate[row]),
        "passed_rate": passed_rate(device, row),
        "limit": limit_of(device, row, traffic_class),
        "priority": traffic_class.priority,
        "hint": flow_hint(device, row),
        "dscp": flows.dscp[row],
        "pcp": flows.pcp[row],
        "packets": flows.packets[row],
        "bytes": flows.octets[row],
        "first_seen": moment(clock, flows.first_seen[row]),
        "last_active": moment(clock, flows.last_active[row]),
        "assignments": [placement(clock, *place) for place in places],
    }


def assignment_view(state: State, clock: Clock, device: Device, row: int) -> AssignmentView:
    """Make the view of a flow's queue on one device."""
    key = _key(device, row)
    return {
        "flow": flow_id(key),
        **endpoints(state, unpack(key)),
        "class": _class_of(device, row).name,
        "rate": round(device.flows.rate[row]),
        "passed_rate": passed_rate(device, row),
        **placement(clock, device, row),
    }


def placement(clock: Clock, device: Device, row: int) -> Placement:
    """Make the view of where one device has a flow."""
    flows = device.flows
    port_no, queue_id = flows.egress_port[row], flows.queue_id[row]
    port = device.ports.get(port_no)
    return {
        "device": dpid_text(device.dpid),
        "device_name": device.name,
        "port": port.label if port else "",
        "port_no": port_no,
        "queue_id": None if queue_id == NO_QUEUE else queue_id,
        "kind": KIND_WORDS[flows.kind[row]],
        "meter": meter_view(device, flows.meter_id[row]),
        "reason": reason_word(flows.reason[row]),
        "since": moment(clock, flows.assigned_since[row]),
        "pinned": bool(flows.flags[row] & PINNED),
        "manual_pin": manual_pin_mark(device, row, clock),
        "entry": _entry(device, row),
    }


def _entry(device: Device, row: int) -> Literal["pin", "learned", "standing"]:
    if device.flows.flags[row] & PINNED:
        return "pin"
    return "learned" if mode(device) == WORTHY and not is_young(device, row) else "standing"


def endpoints(state: State, parts: FlowParts) -> Endpoints:
    """Make the view of a flow's addresses and ports from its key."""
    vm = state.vms.get(parts.vm_number)
    with_ports = parts.kind != LAYER2 and (parts.protocol in PORT_PROTOCOLS or parts.protocol in _ICMP)
    return {
        "family": _FAMILIES[parts.kind],
        "protocol": protocol_text(parts),
        "src": format_address(parts.kind, parts.src),
        "dst": format_address(parts.kind, parts.dst),
        "src_port": parts.src_port if with_ports else None,
        "dst_port": parts.dst_port if with_ports else None,
        "vlan": parts.vlan,
        "vm": vm.id if vm else None,
        "vm_name": vm.name if vm else None,
    }


def protocol_text(parts: FlowParts) -> str:
    """Write the protocol's name or number; for a layer-2 flow those of its ethertype."""
    if parts.kind == LAYER2:
        return ETHERTYPE_NAMES.get(parts.src_port, f"0x{parts.src_port:04x}")
    return PROTOCOL_NAMES.get(parts.protocol, str(parts.protocol))


def reason_word(number: int) -> str:
    """Return the word of a reason in REST."""
    return Reason(number).name.lower().replace("_", "-")


def _key(device: Device, row: int) -> bytes:
    key = device.flows.keys[row]
    assert key is not None
    return key


def _class_of(device: Device, row: int) -> TrafficClass:
    return device.policy.classes[device.flows.class_index[row]]


def meter_view(device: Device, meter_id: int) -> MeterView | None:
    """Make the view of a meter; None where the device has none of that id."""
    spec = device.meters.get(meter_id)
    return {"id": meter_id, "rate": spec.rate, "burst": spec.burst} if spec else None


def flow_hint(device: Device, row: int) -> HintMark | None:
    """Make the view of the hint that gave a flow its class; None where there is none."""
    flows = device.flows
    source, index = HINT_WORDS.get(flows.hint_source[row]), flows.hint_class[row] - 1
    if source is None or index < 0:
        return None
    return {"source": source, "class": device.policy.classes[index].name}


def explanation_view(state: State, clock: Clock, device: Device, row: int) -> DeviceExplanation:
    """Make the view of why one device has a flow on its queue."""
    why = explain(state, device, row)
    port = device.ports.get(device.flows.egress_port[row])
    return {
        "device": dpid_text(device.dpid),
        "device_name": why.device,
        "class": why.class_name,
        "rule": why.rule,
        "rules_before": [{"rule": item.rule, "unmet": list(item.unmet)} for item in why.rules_before],
        "hint": why.hint,
        "port": port.label if port else "",
        "queue_id": None if why.queue_id == NO_QUEUE else why.queue_id,
        "kind": KIND_WORDS[why.kind],
        "reason": why.reason,
        "since": moment(clock, why.since),
        "considered": [_considered(item) for item in why.alternatives],
        "not_hardware": why.not_hardware,
        "meter": why.meter,
        "entry": why.entry,
        "would_change": list(why.would_change),
        "manual_pin": manual_pin_mark(device, row, clock),
        "came_from": None if why.origin is None else _came_from(state, clock, _key(device, row), why.origin),
        "other_paths": [
            {
                "vm": path.vm,
                "device": dpid_text(path.dpid),
                "device_name": path.device,
                "port": path.port,
                "up": path.up,
                "has_room": path.has_room,
                "note": path.note,
            }
            for path in why.other_paths
        ],
    }


def _came_from(state: State, clock: Clock, key: bytes, origin: Origin) -> CameFrom:
    names = port_names(state, origin.dpid)
    why = "the VM sends it by its other interface" if origin.by_path else "the VM has moved"
    if origin.by_path and origin.link_down:
        why = f"{why}, since the link of {names.get(origin.in_port, 'the first one')} is down"
    return {
        "device": dpid_text(origin.dpid),
        "device_name": device_name(state, origin.dpid),
        "in_port": names.get(origin.in_port, str(origin.in_port)),
        "port": _label(state.devices.get(origin.dpid), origin.egress_port, names),
        "queue_id": None if origin.queue_id == NO_QUEUE else origin.queue_id,
        "flow": flow_id(origin.vm.to_bytes(4) + key[4:]),
        "at": moment(clock, origin.at),
        "why": why,
    }


def hop_view(state: State, hop: Hop) -> HopView:
    """Make the view of a device on the way of a flow."""
    dpid, device = hop.dpid, state.devices.get(hop.dpid) if hop.dpid is not None else None
    names = port_names(state, dpid) if dpid is not None else {}
    queue_id = NO_QUEUE if device is None or hop.row is None else device.flows.queue_id[hop.row]
    return {
        "device": None if dpid is None else dpid_text(dpid),
        "device_name": "" if dpid is None else device_name(state, dpid),
        "in_port": None if hop.in_port is None else names.get(hop.in_port, str(hop.in_port)),
        "out_port": None if hop.out_port is None else _label(device, hop.out_port, names),
        "queue_id": None if queue_id == NO_QUEUE else queue_id,
        "assigned": hop.row is not None,
        "note": hop.note,
    }


def _label(device: Device | None, port_no: int, names: Mapping[int, str]) -> str:
    """Name a port by which a flow leaves: by its bond where it is a member of one."""
    port = device.ports.get(port_no) if device is not None else None
    return port.label if port is not None else names.get(port_no, str(port_no))


def _considered(item: Alternative) -> QueueConsidered:
    return {
        "queue_id": item.queue_id,
        "kind": KIND_WORDS[item.kind],
        "load": item.load,
        "flows": item.flows,
        "why": item.why,
    }
