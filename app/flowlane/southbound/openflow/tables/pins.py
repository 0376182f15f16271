"""Pins and learned entries: from a flow's key to its exact entry, and back.

The way back is for the adoption of entries after a restart. A pin's match has the VM's in_port and not the
VM's number, so the number is an argument.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flowlane.core import flowkey, marks
from flowlane.core.effects import PinFlow, UnpinFlow
from flowlane.core.events import FoundPin
from flowlane.core.flowkey import FRAGMENT, IPV4, IPV6, LAYER2, FlowParts
from flowlane.core.frame import ETH_IPV4, ETH_IPV6
from flowlane.core.marks import NO_MARK
from flowlane.core.model import NO_QUEUE, NOT_A_VM, PinRef
from flowlane.southbound.openflow.tables import pipeline
from flowlane.southbound.openflow.tables.entries import (
    Change,
    FlowEntry,
    Goto,
    Meter,
    Op,
    SetMark,
    SetQueue,
    Step,
    flow,
)
from flowlane.southbound.openflow.tables.pipeline import Priority, TableId
from flowlane.southbound.openflow.wire import cookies, fields
from flowlane.southbound.openflow.wire.constants import SEND_FLOW_REMOVED
from flowlane.southbound.openflow.wire.fields import IS_FRAGMENT, VLAN_PRESENT, match, port_fields
from flowlane.southbound.openflow.wire.nicira import QUEUE, Load

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from flowlane.southbound.openflow.wire.fields import Match

_TO_OUTPUT = Goto(TableId.OUTPUT)
_UNTAGGED = 0
_FAMILIES = {IPV4: (ETH_IPV4, "ipv4_src", "ipv4_dst"), IPV6: (ETH_IPV6, "ipv6_src", "ipv6_dst")}
_KINDS = {ETH_IPV4: IPV4, ETH_IPV6: IPV6}


class PinMatch(NamedTuple):
    """What a pin matches: the flow, its ingress port and its egress port."""

    key: bytes
    in_port: int
    egress_port: int
    by_vm: bool = False


def entry(pin: PinFlow, nicira: bool = True) -> FlowEntry:
    """Make the exact entry of a flow; the device reports when it has removed the entry after ``idle_timeout`` s.

    Args:
        nicira: whether the device has Open vSwitch's registers, and its field for fragments.
    """
    cookie = cookies.pack(cookies.Kind.PIN, pin.ref.generation, pin.ref.row)
    steps: list[Step] = []
    if pin.meter_id:
        steps.append(Meter(pin.meter_id))
    terms = match_of(pin.key, pin.in_port, pin.egress_port, nicira, pin.by_vm)
    if pin.queue_id != NO_QUEUE:
        steps += _choose(pin.queue_id, terms, nicira)
    steps.append(_TO_OUTPUT)
    return flow(TableId.ASSIGN, Priority.PIN, terms, steps, cookie, pin.idle_timeout, SEND_FLOW_REMOVED)


def _choose(choice: int, terms: Match, nicira: bool) -> Iterator[Step]:
    """Yield the steps for a choice; table output writes the mark, where the device has registers to lead there.

    Otherwise the pin writes it, where what it matches has such a field.
    """
    queue_id, mark = marks.split(choice)
    if mark != NO_MARK and nicira:
        yield Load(QUEUE, choice + 1)
        return
    values = fields.values(terms)
    if mark != NO_MARK and (
        values["vlan_vid"] != _UNTAGGED if marks.is_pcp(mark) else values["eth_type"] in _KINDS
    ):
        yield SetMark(mark)
    if queue_id != NO_QUEUE:
        yield SetQueue(queue_id)


def with_queue_of(pin: PinFlow, queue_ids: Collection[int]) -> PinFlow:
    """Return the pin, without ``set_queue`` where its egress port, with these queues, does not have that queue."""
    queue_id, mark = marks.split(pin.queue_id)
    return pin if queue_id in queue_ids else pin._replace(queue_id=marks.join(NO_QUEUE, mark))


def change(pin: PinFlow | UnpinFlow, nicira: bool = True) -> Change:
    """Make the change of an effect.

    The entry of a flow that has moved is modified: unlike an add, that keeps its counters (OpenFlow 1.3.5
    section 6.4). An entry is deleted only if it has the flow's own cookie, so a late deletion cannot affect
    another flow's entry.
    """
    if isinstance(pin, PinFlow):
        return Change(Op.MODIFY if pin.moved else Op.ADD, entry(pin, nicira))
    cookie = cookies.pack(cookies.Kind.PIN, pin.ref.generation, pin.ref.row)
    terms = match_of(pin.key, pin.in_port, pin.egress_port, nicira, pin.by_vm)
    return Change(Op.DELETE, flow(TableId.ASSIGN, Priority.PIN, terms, (), cookie))


def match_of(key: bytes, in_port: int, egress_port: int, ip_frag: bool = True, by_vm: bool = False) -> Match:
    """Make the match of a flow that comes in by one port and leaves by another.

    Without ``ip_frag`` that of IPv6 fragments covers all but the first ones, whose protocol the device shows.
    With ``by_vm`` it includes the number of the VM.

    Raises:
        ValueError: the bytes are not a flow key.
    """
    parts = flowkey.unpack(key)
    tag = _UNTAGGED if parts.vlan is None else VLAN_PRESENT | parts.vlan
    source, destination = int.from_bytes(parts.src, "big"), int.from_bytes(parts.dst, "big")
    values: dict[str, int | tuple[int, int]] = {
        "in_port": in_port,
        "metadata": pipeline.egress_and_sender(egress_port, parts.vm_number if by_vm else None),
        "vlan_vid": tag,
    }
    if parts.kind == LAYER2:
        values |= {"eth_type": parts.src_port, "eth_src": source, "eth_dst": destination}
        return match(**values)
    eth_type, source_field, destination_field = _FAMILIES[parts.kind]
    values["eth_type"] = eth_type
    if parts.kind == IPV6 and parts.protocol == FRAGMENT and ip_frag:
        values["ip_frag"] = IS_FRAGMENT
    else:
        values["ip_proto"] = parts.protocol
    values |= {source_field: source, destination_field: destination}
    ports = port_fields(eth_type, parts.protocol)
    if ports is not None:
        values |= {ports[0]: parts.src_port, ports[1]: parts.dst_port}
    return match(**values)


def read_match(terms: Match, vm_number: int = NOT_A_VM) -> PinMatch | None:
    """Read a pin's match back; None when it is not one that :func:`match_of` makes."""
    values = fields.values(terms)
    try:
        own_number = pipeline.sender_of(values["metadata"])
        key = flowkey.pack(_parts(values, own_number or vm_number))
        egress_port = pipeline.egress_of(values["metadata"])
        pin_match = PinMatch(key, values["in_port"], egress_port, bool(own_number))
        there = match_of(*pin_match[:3], "ip_frag" in values, pin_match.by_vm)
        return pin_match if there == terms else None
    except (KeyError, ValueError):
        return None


def _parts(values: dict[str, int], vm_number: int) -> FlowParts:
    tag = values["vlan_vid"]
    vlan = tag & ~VLAN_PRESENT if tag & VLAN_PRESENT else None
    kind = _KINDS.get(values["eth_type"], LAYER2)
    if kind == LAYER2 or "eth_src" in values:
        source, destination = (values[name].to_bytes(6, "big") for name in ("eth_src", "eth_dst"))
        return FlowParts(vm_number, vlan, LAYER2, 0, values["eth_type"], 0, source, destination)
    _, source_field, destination_field = _FAMILIES[kind]
    length = 4 if kind == IPV4 else 16
    source, destination = (values[name].to_bytes(length, "big") for name in (source_field, destination_field))
    protocol = values["ip_proto"] if "ip_frag" not in values else FRAGMENT
    first, second = port_fields(values["eth_type"], protocol) or ("", "")
    return FlowParts(
        vm_number, vlan, kind, protocol, values.get(first, 0), values.get(second, 0), source, destination
    )


class Learned(NamedTuple):
    """What a learned entry matches: as a pin, and the sender's MAC address."""

    key: bytes
    in_port: int
    egress_port: int
    eth_src: int


def read_learned(terms: Match) -> Learned | None:
    """Read a learned entry's match; None when it is not one that our learn actions make.

    Its metadata has the number of the VM as well.
    """
    values = fields.values(terms)
    try:
        metadata, eth_src = values["metadata"], values["eth_src"]
        values.setdefault("vlan_vid", _UNTAGGED)
        if "ip_proto" in values or "ip_frag" in values:
            del values["eth_src"]
        key = flowkey.pack(_parts(values, pipeline.sender_of(metadata)))
        return Learned(key, values["in_port"], pipeline.egress_of(metadata), eth_src)
    except (KeyError, ValueError):
        return None


def found_pin(present: FlowEntry, vm_number: int, packets: int, octets: int) -> FoundPin | None:
    """Read a pin back from a device; None when the entry is not a pin of ours."""
    cookie = cookies.unpack(present.cookie)
    pin_match = read_match(present.match, vm_number)
    if cookie is None or cookie.kind is not cookies.Kind.PIN or pin_match is None:
        return None
    queue_id = _chosen(present.steps)
    meter_id = next((step.meter_id for step in present.steps if isinstance(step, Meter)), 0)
    return FoundPin(
        PinRef(cookie.object_id, cookie.generation),
        pin_match.key,
        pin_match.in_port,
        pin_match.egress_port,
        queue_id,
        meter_id,
        packets,
        octets,
        pin_match.by_vm,
    )


def _chosen(steps: tuple[Step, ...]) -> int:
    """Return the choice of a pin's steps."""
    choice = next((step.value - 1 for step in steps if isinstance(step, Load)), None)
    if choice is not None:
        return choice
    queue_id = next((step.queue_id for step in steps if isinstance(step, SetQueue)), NO_QUEUE)
    return marks.join(queue_id, next((step.mark for step in steps if isinstance(step, SetMark)), NO_MARK))
