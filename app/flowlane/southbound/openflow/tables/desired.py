"""A device's plan as the entries that carry it out: the whole of what stands there beside its pins.

The same plan gives the same entries, so that two compilations can be compared (see :mod:`.diff`). What the
device cannot do is replaced by the next best or left out, and both are said.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowlane.core.flowkey import ICMPV6, TCP
from flowlane.core.frame import ETH_ARP, ETH_IPV4, ETH_IPV6
from flowlane.core.model import NOT_A_VM, UNRESOLVED_VM, PortRole
from flowlane.southbound.openflow.tables import matches, pipeline, standing, young
from flowlane.southbound.openflow.tables.entries import (
    FlowEntry,
    Goto,
    MeterEntry,
    Output,
    SetQueue,
    Standing,
    Step,
    WriteMetadata,
    flow,
    learn,
)
from flowlane.southbound.openflow.tables.pipeline import Act, Priority, TableId
from flowlane.southbound.openflow.wire import cookies, nicira
from flowlane.southbound.openflow.wire.constants import ALL_PORTS, CONTROLLER_METER, CONTROLLER_PORT
from flowlane.southbound.openflow.wire.fields import match
from flowlane.southbound.openflow.wire.nicira import Resubmit

if TYPE_CHECKING:
    from flowlane.core.effects import DevicePlan, PlannedPort
    from flowlane.core.model import Capabilities, LeftOut, MeterSpec
    from flowlane.southbound.openflow.wire.fields import Match

_COOKIE = cookies.pack(cookies.Kind.INFRASTRUCTURE)
_TO_OUTPUT = Goto(TableId.OUTPUT)
_GROUP_BIT = 1 << 40
_MULTICAST = (_GROUP_BIT, _GROUP_BIT)
_RESERVED = (0x0180C2000000, 0xFFFFFFFFFFF0)
"""IEEE 802.1Q-2018 table 8-1: frames for a bridge itself, LLDP among them, which bridges never forward."""

NEIGHBOUR_MATCHES = (
    {"eth_type": ETH_ARP},
    {"eth_type": ETH_IPV6, "ip_proto": ICMPV6, "icmpv6_type": 135},
    {"eth_type": ETH_IPV6, "ip_proto": ICMPV6, "icmpv6_type": 136},
)
"""ARP, and IPv6 neighbour solicitation and advertisement (RFC 4861): who is where."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """What should stand in a device, and which rules it does not get as they were given."""

    standing: Standing
    left_out: tuple[LeftOut, ...] = ()


def compile_plan(
    plan: DevicePlan, capabilities: Capabilities, ports: Mapping[int, Collection[int]]
) -> Compiled:
    """Make all entries of a plan.

    Args:
        ports: the ports that the device has, each with the ids of the queues that it reports on it. Nothing
            is made for other ports, and no ``set_queue`` for other queues: a device may accept such an entry
            and lose its packets.
    """
    meters = _meters(plan, capabilities)
    groups, spread_flows, left_out = standing.compile_rules(
        plan, capabilities, ports, frozenset(meter.meter_id for meter in meters)
    )
    learns, gated = standing.learns_itself(plan, capabilities), young.gated(plan, capabilities)
    known = [port for port in plan.ports if port.port_no in ports]
    flows = (
        *_declared_misses(learns, gated),
        *_ingress(known),
        *_forward(plan, known, ports, _after_forward(plan, capabilities)),
        *(_gate(plan, known) if gated else ()),
        *_assign(plan.copy_bytes, learns),
        *spread_flows,
        *(_learning(plan) if learns else ()),
        *_output(plan, ports, learns, gated),
    )
    return Compiled(Standing(flows, groups, meters), left_out)


def meter_entry(meter: MeterSpec, capabilities: Capabilities) -> MeterEntry | None:
    """A meter in the device's units, rounded up to whole kbit; None when the device has no such meters."""
    if capabilities.max_meters < 1 or not capabilities.meter_kbps:
        return None
    burst = -(-meter.burst // 1000) if capabilities.meter_burst else 0
    return MeterEntry(meter.meter_id, max(1, -(-meter.rate // 1000)), burst)


def controller_meter(copy_rate: int) -> MeterEntry:
    """The virtual meter of all packet-ins: ``copy_rate`` packets/s, a quarter of a second's worth at once."""
    return MeterEntry(CONTROLLER_METER, copy_rate, max(1, copy_rate // 4), packets=True)


def port_mask_probe() -> FlowEntry:
    """An entry that a device accepts only when it takes masks on transport ports; it matches nothing real."""
    wanted = match(metadata=(1 << 63, 1 << 63), eth_type=ETH_IPV4, ip_proto=TCP, tcp_dst=(0, 1))
    return flow(TableId.SPREAD, Priority.MISS + 1, wanted, (Goto(TableId.OUTPUT),), _COOKIE)


def learn_probe() -> FlowEntry:
    """A learn entry as devices get it, for packets that there are none of: an error means that it cannot."""
    wanted = match(metadata=pipeline.SENDER_MASK | pipeline.EGRESS_MASK)
    steps = (learn(nicira.Family(), 1), _TO_OUTPUT)
    return flow(TableId.LEARN, Priority.MISS + 1, wanted, steps, _COOKIE)


def _meters(plan: DevicePlan, capabilities: Capabilities) -> tuple[MeterEntry, ...]:
    made = [entry for meter in plan.meters if (entry := meter_entry(meter, capabilities)) is not None]
    if capabilities.controller_meter and plan.copy_rate > 0:
        made.append(controller_meter(plan.copy_rate))
    return tuple(made)


def _infrastructure(table: TableId, priority: int, wanted: Match, *steps: Step) -> FlowEntry:
    return flow(table, priority, wanted, steps, _COOKIE)


def _declared_misses(learns: bool, gated: bool) -> Iterator[FlowEntry]:
    there = {None: True, Act.LEARN: learns, Act.TRACK: gated}
    for table in pipeline.TABLES:
        if not table.miss_is_planned and there[table.extension]:
            steps = () if table.miss is None else (Goto(table.miss),)
            yield _infrastructure(table.table_id, Priority.MISS, (), *steps)


def _ingress(ports: Collection[PlannedPort]) -> Iterator[FlowEntry]:
    yield _infrastructure(TableId.INGRESS, Priority.RESERVED, match(eth_dst=_RESERVED))
    for port in ports:
        yield from _ingress_of(port)


def _ingress_of(port: PlannedPort) -> Iterator[FlowEntry]:
    """Where a port's frames go on; from a VM whose addresses are known, frames of no others."""
    enter = _enter(port)
    if port.role is not PortRole.VM or not port.macs:
        yield _infrastructure(TableId.INGRESS, Priority.PORT, match(in_port=port.port_no), *enter)
        return
    for mac in port.macs:
        wanted = match(in_port=port.port_no, eth_src=mac)
        yield _infrastructure(TableId.INGRESS, Priority.SOURCE, wanted, *enter)
    yield _infrastructure(TableId.INGRESS, Priority.PORT, match(in_port=port.port_no))


def _enter(port: PlannedPort) -> tuple[Step, ...]:
    onward = Goto(TableId.FORWARD)
    number = {PortRole.VM: port.vm_number, PortRole.LINK: UNRESOLVED_VM}.get(port.role, NOT_A_VM)
    return (onward,) if number == NOT_A_VM else (WriteMetadata(*pipeline.sender(number)), onward)


def _gate(plan: DevicePlan, ports: Collection[PlannedPort]) -> Iterator[FlowEntry]:
    yield from young.track(plan.dpid, ports)
    yield from young.young(plan.learn_after)
    yield from young.count(plan)


def _forward(
    plan: DevicePlan, known: Collection[PlannedPort], ports: Collection[int], onward: TableId
) -> Iterator[FlowEntry]:
    for neighbour in NEIGHBOUR_MATCHES:
        wanted = match(eth_dst=_MULTICAST, **neighbour)
        copy = Output(CONTROLLER_PORT, plan.copy_bytes)
        yield _infrastructure(TableId.FORWARD, Priority.NEIGHBOUR, wanted, copy, Output(ALL_PORTS))
    yield _infrastructure(TableId.FORWARD, Priority.MULTICAST, match(eth_dst=_MULTICAST), Output(ALL_PORTS))
    yield from _hosts(plan.hosts, ports, onward).values()
    for port in known:
        if port.role is PortRole.UPLINK:
            wanted = match(in_port=port.port_no)
            yield _infrastructure(TableId.FORWARD, Priority.UNKNOWN_FROM_UPLINK, wanted, Output(ALL_PORTS))
    unknown = plan.unknown_port if plan.unknown_port in ports else None
    also = tuple(Output(port_no) for port_no in plan.flood_ports if port_no in ports)
    rest = (Output(ALL_PORTS),) if unknown is None else (*also, *_leave_by(unknown, onward))
    yield _infrastructure(TableId.FORWARD, Priority.MISS, (), *rest)


def host_entries(
    plan: DevicePlan, hosts: Iterable[tuple[int, int]], capabilities: Capabilities, ports: Collection[int]
) -> dict[int, FlowEntry]:
    """Make the entries of some destinations of a plan, (MAC address, port number) each: MAC address -> entry."""
    return _hosts(hosts, ports, _after_forward(plan, capabilities))


def _after_forward(plan: DevicePlan, capabilities: Capabilities) -> TableId:
    return TableId.TRACK if young.gated(plan, capabilities) else TableId.ASSIGN


def _hosts(hosts: Iterable[tuple[int, int]], ports: Collection[int], onward: TableId) -> dict[int, FlowEntry]:
    return {
        mac: _infrastructure(TableId.FORWARD, Priority.HOST, match(eth_dst=mac), *_leave_by(port_no, onward))
        for mac, port_no in hosts
        if port_no in ports
    }


def _leave_by(port_no: int, onward: TableId) -> tuple[Step, ...]:
    return WriteMetadata(*pipeline.egress(port_no)), Goto(onward)


ENTRIES_BESIDE_PINS = 1 + len(NEIGHBOUR_MATCHES)
"""Entries of the plan in the table of pins (see :func:`_assign`)."""


def _assign(copy_bytes: int, learns: bool) -> Iterator[FlowEntry]:
    """Neighbour discovery to one host is no flow: it is copied, and needs no queue of its own."""
    look_up = (Resubmit(TableId.SEEN),) if learns else ()
    yield _infrastructure(TableId.ASSIGN, Priority.MISS, (), *look_up, Goto(TableId.SPREAD))
    for neighbour in NEIGHBOUR_MATCHES:
        copy = Output(CONTROLLER_PORT, copy_bytes)
        yield _infrastructure(
            TableId.ASSIGN, Priority.NEIGHBOUR, match(**neighbour), copy, Goto(TableId.OUTPUT)
        )


def _learning(plan: DevicePlan) -> Iterator[FlowEntry]:
    """A flow's first packet: the device notes the flow and its queue, and shows the packet to the controller."""
    copy = Output(CONTROLLER_PORT, plan.copy_bytes)
    for family in nicira.FAMILIES:
        priority, wanted = _learn_priority(family), nicira.match_of(family)
        steps = (learn(family, plan.learned_idle), copy, _TO_OUTPUT)
        yield _infrastructure(TableId.LEARN, priority, wanted, *steps)


def _learn_priority(family: nicira.Family) -> int:
    """Return a higher priority for a family that matches more: any packet, an ethertype, an IP protocol."""
    return Priority.STANDING + sum(part is not None for part in family)


def _output(
    plan: DevicePlan, ports: Mapping[int, Collection[int]], learns: bool, gated: bool
) -> Iterator[FlowEntry]:
    """To the port; by the queue in the packet's register where the port has it, and is to use it."""
    queues = {port.port_no: port.queues for port in plan.ports}
    zones = {port.port_no for port in plan.ports if gated and young.has_zone(port)}
    for port_no, queue_ids in sorted(ports.items()):
        used = sorted({*queue_ids}.intersection(queues.get(port_no, ()))) if learns else ()
        for priority, onto, steps in _ways_out(port_no, used):
            yield _infrastructure(TableId.OUTPUT, priority, match(**onto), *steps)
            if port_no in zones:
                yield from young.deliver(plan.dpid, port_no, priority + young.DELIVER, onto, *steps)


def _ways_out(
    port_no: int, queue_ids: Iterable[int]
) -> Iterator[tuple[int, matches.Fields, tuple[Step, ...]]]:
    """(priority, match, steps): the port's default queue, and each queue that a packet's register may name."""
    metadata = pipeline.egress(port_no)
    yield Priority.OUTPUT, {"metadata": metadata}, (Output(port_no),)
    for queue_id in queue_ids:
        onto: matches.Fields = {"metadata": metadata, "reg1": queue_id + 1}
        yield Priority.QUEUE, onto, (SetQueue(queue_id), Output(port_no))
