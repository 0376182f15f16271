"""Pins: the exact entries of single flows, from a flow key to an entry and back.

The way back serves adoption after a restart. An entry does not hold the number of the flow's VM (the
in_port says it), so that has to be given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flowlane.core import flowkey
from flowlane.core.effects import PinFlow, UnpinFlow
from flowlane.core.events import FoundPin
from flowlane.core.flowkey import IPV4, IPV6, LAYER2, FlowParts
from flowlane.core.frame import ETH_IPV4, ETH_IPV6
from flowlane.core.model import NO_QUEUE, NOT_A_VM, PinRef
from flowlane.southbound.openflow.tables import pipeline
from flowlane.southbound.openflow.tables.entries import (
    Change,
    FlowEntry,
    Goto,
    Meter,
    Op,
    SetQueue,
    Step,
    flow,
)
from flowlane.southbound.openflow.tables.pipeline import Priority, TableId
from flowlane.southbound.openflow.wire import cookies, fields
from flowlane.southbound.openflow.wire.constants import SEND_FLOW_REMOVED
from flowlane.southbound.openflow.wire.fields import VLAN_PRESENT, match, port_fields

if TYPE_CHECKING:
    from flowlane.southbound.openflow.wire.fields import Match

_TO_OUTPUT = Goto(TableId.OUTPUT)
_UNTAGGED = 0
_FAMILIES = {IPV4: (ETH_IPV4, "ipv4_src", "ipv4_dst"), IPV6: (ETH_IPV6, "ipv6_src", "ipv6_dst")}
_KINDS = {ETH_IPV4: IPV4, ETH_IPV6: IPV6}


class Place(NamedTuple):
    """What a pin's match says: the flow, where it comes in and where it goes out."""

    key: bytes
    in_port: int
    egress_port: int


def entry(pin: PinFlow) -> FlowEntry:
    """The exact entry of a flow; the device says when it has been idle for ``idle_timeout`` s and is gone."""
    cookie = cookies.pack(cookies.Kind.PIN, pin.ref.generation, pin.ref.row)
    steps: list[Step] = []
    if pin.meter_id:
        steps.append(Meter(pin.meter_id))
    if pin.queue_id != NO_QUEUE:
        steps.append(SetQueue(pin.queue_id))
    steps.append(_TO_OUTPUT)
    wanted = match_of(pin.key, pin.in_port, pin.egress_port)
    return flow(TableId.ASSIGN, Priority.PIN, wanted, steps, cookie, pin.idle_timeout, SEND_FLOW_REMOVED)


def change(pin: PinFlow | UnpinFlow) -> Change:
    """The message that an effect wants.

    A moved flow's entry is modified: unlike an add that keeps its counters (OpenFlow 1.3.5 section 6.4).
    An entry goes only while it carries the flow's own cookie, so a late removal cannot hit its successor.
    """
    if isinstance(pin, PinFlow):
        return Change(Op.MODIFY if pin.moved else Op.ADD, entry(pin))
    cookie = cookies.pack(cookies.Kind.PIN, pin.ref.generation, pin.ref.row)
    wanted = match_of(pin.key, pin.in_port, pin.egress_port)
    return Change(Op.DELETE, flow(TableId.ASSIGN, Priority.PIN, wanted, (), cookie))


def match_of(key: bytes, in_port: int, egress_port: int) -> Match:
    """The match of a flow that comes in by one port and leaves by another.

    Raises:
        ValueError: the bytes are not a flow key.
    """
    parts = flowkey.unpack(key)
    tag = _UNTAGGED if parts.vlan is None else VLAN_PRESENT | parts.vlan
    source, destination = int.from_bytes(parts.src, "big"), int.from_bytes(parts.dst, "big")
    wanted: dict[str, int | tuple[int, int]] = {
        "in_port": in_port,
        "metadata": pipeline.egress(egress_port),
        "vlan_vid": tag,
    }
    if parts.kind == LAYER2:
        wanted |= {"eth_type": parts.src_port, "eth_src": source, "eth_dst": destination}
        return match(**wanted)
    eth_type, source_field, destination_field = _FAMILIES[parts.kind]
    wanted |= {"eth_type": eth_type, "ip_proto": parts.protocol}
    wanted |= {source_field: source, destination_field: destination}
    ports = port_fields(eth_type, parts.protocol)
    if ports is not None:
        wanted |= {ports[0]: parts.src_port, ports[1]: parts.dst_port}
    return match(**wanted)


def place_of(wanted: Match, vm_number: int = NOT_A_VM) -> Place | None:
    """Read a pin's match back; None when it is not one that :func:`match_of` makes."""
    there = fields.values(wanted)
    try:
        key = flowkey.pack(_parts(there, vm_number))
        place = Place(key, there["in_port"], pipeline.egress_of(there["metadata"]))
        return place if match_of(*place) == wanted else None
    except (KeyError, ValueError):
        return None


def _parts(there: dict[str, int], vm_number: int) -> FlowParts:
    tag = there["vlan_vid"]
    vlan = tag & ~VLAN_PRESENT if tag & VLAN_PRESENT else None
    kind = _KINDS.get(there["eth_type"], LAYER2)
    if kind == LAYER2 or "eth_src" in there:
        source, destination = (there[name].to_bytes(6, "big") for name in ("eth_src", "eth_dst"))
        return FlowParts(vm_number, vlan, LAYER2, 0, there["eth_type"], 0, source, destination)
    _, source_field, destination_field = _FAMILIES[kind]
    length = 4 if kind == IPV4 else 16
    source, destination = (there[name].to_bytes(length, "big") for name in (source_field, destination_field))
    protocol = there["ip_proto"]
    first, second = port_fields(there["eth_type"], protocol) or ("", "")
    return FlowParts(
        vm_number, vlan, kind, protocol, there.get(first, 0), there.get(second, 0), source, destination
    )


class Learned(NamedTuple):
    """What a learned entry's match says: as a pin's, and the sender's address."""

    key: bytes
    in_port: int
    egress_port: int
    eth_src: int


def read_learned(wanted: Match) -> Learned | None:
    """Read a learned entry's match; None when it is not one that our learn actions make.

    Its metadata hold the number of the VM as well.
    """
    there = fields.values(wanted)
    try:
        metadata, eth_src = there["metadata"], there["eth_src"]
        there.setdefault("vlan_vid", _UNTAGGED)
        if "ip_proto" in there:
            del there["eth_src"]
        key = flowkey.pack(_parts(there, pipeline.sender_of(metadata)))
        return Learned(key, there["in_port"], pipeline.egress_of(metadata), eth_src)
    except (KeyError, ValueError):
        return None


def found_pin(present: FlowEntry, vm_number: int, packets: int, octets: int) -> FoundPin | None:
    """Read a pin back from a device; None when the entry is not a pin of ours."""
    parts = cookies.unpack(present.cookie)
    place = place_of(present.match, vm_number)
    if parts is None or parts.kind is not cookies.Kind.PIN or place is None:
        return None
    queue_id = next((step.queue_id for step in present.steps if isinstance(step, SetQueue)), NO_QUEUE)
    meter_id = next((step.meter_id for step in present.steps if isinstance(step, Meter)), 0)
    return FoundPin(
        PinRef(parts.object_id, parts.generation),
        place.key,
        place.in_port,
        place.egress_port,
        queue_id,
        meter_id,
        packets,
        octets,
    )
