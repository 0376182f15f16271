"""The compiler from a device's plan to its standing entries, which are all entries but pins and learned ones.

The same plan gives the same entries, so that two compilations can be compared (see :mod:`.diff`). What the
device cannot do gets a fallback or is left out, and both are reported.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

from flowlane.core import marks
from flowlane.core.marks import NO_MARK
from flowlane.core.model import NO_PORT, NOT_A_VM, PortRole
from flowlane.core.pacing import no_pause, paced
from flowlane.southbound.ipfix import observation
from flowlane.southbound.openflow.tables import matches, outputs, pipeline, standing, young
from flowlane.southbound.openflow.tables.entries import (
    FlowEntry,
    Goto,
    Meter,
    MeterEntry,
    Output,
    Standing,
    Step,
    WriteMetadata,
    flow,
    learn,
)
from flowlane.southbound.openflow.tables.pipeline import Act, Priority, TableId
from flowlane.southbound.openflow.wire import cookies, lldp, nicira
from flowlane.southbound.openflow.wire.constants import (
    ALL_PORTS,
    CONTROLLER_METER,
    CONTROLLER_PORT,
    NORMAL_PORT,
)
from flowlane.southbound.openflow.wire.fields import VLAN_PRESENT, match
from flowlane.southbound.openflow.wire.nicira import Resubmit, Sample

if TYPE_CHECKING:
    from flowlane.core.effects import DevicePlan, PlannedPort
    from flowlane.core.model import Capabilities, LeftOut, MeterSpec
    from flowlane.southbound.openflow.wire.fields import Match

_COOKIE = cookies.pack(cookies.Kind.INFRASTRUCTURE)
_TO_OUTPUT = Goto(TableId.OUTPUT)
_GROUP_BIT = 1 << 40
_MULTICAST = (_GROUP_BIT, _GROUP_BIT)
_RESERVED = (0x0180C2000000, 0xFFFFFFFFFFF0)
_MOST = 2**32 - 1
"""IEEE 802.1Q-2018 table 8-1: frames for a bridge itself, LLDP among them, which bridges never forward."""

_FORWARD_NORMALLY: tuple[Step, ...] = (Output(NORMAL_PORT),)
_ENDS = frozenset((TableId.INGRESS, TableId.OUTPUT))


@dataclass(frozen=True, slots=True)
class Compiled:
    """The desired standing entries of a device, and what of the plan it does not get as it was given."""

    standing: Standing
    left_out: tuple[LeftOut, ...] = ()


def compile_plan(
    plan: DevicePlan,
    capabilities: Capabilities,
    ports: Mapping[int, Collection[int]],
    foreign_groups: Collection[int] = (),
    pace: Callable[[], None] = no_pause,
) -> Compiled:
    """Make all entries of a plan.

    Args:
        foreign_groups: ids of groups that are not ours.
        pace: called now and then (see :mod:`flowlane.core.pacing`).
    """
    ports = {port_no: frozenset(queue_ids) for port_no, queue_ids in ports.items()}
    meters = _meters(plan, capabilities)
    groups, spread_flows, left_out = standing.compile_rules(
        plan, capabilities, ports, frozenset(meter.meter_id for meter in meters), foreign_groups, pace
    )
    learns, tracks = standing.learns_itself(plan, capabilities), young.tracks(plan, capabilities)
    normal = capabilities.normal
    ports_of_plan = [port for port in plan.ports if port.port_no in ports]
    parts = (
        _declared_misses(learns, young.can_track(capabilities), normal),
        _ingress(plan, ports_of_plan, normal),
        _forward(plan, ports_of_plan, ports, capabilities, pace),
        _gate(plan) if tracks else (),
        _assign(plan.copy_bytes, learns),
        _samples(plan, ports) if learns and capabilities.sample else (),
        spread_flows,
        _learning(plan) if learns else (),
        _output(plan, ports, capabilities),
    )
    flows = tuple(paced(chain.from_iterable(parts), pace))
    return Compiled(Standing((*flows, *_meter_marks(paced(flows, pace), meters)), groups, meters), left_out)


def port_entries(
    plan: DevicePlan,
    numbers: Collection[int],
    capabilities: Capabilities,
    ports: Mapping[int, Collection[int]],
) -> tuple[FlowEntry, ...]:
    """Make those entries of a plan that are of some of its ports, but for those of hosts.

    They are VM ports with neither queues nor meters nor learned addresses, and no other entry of the plan depends on
    them (see :mod:`.patching`).
    """
    tracks = young.tracks(plan, capabilities)
    planned = tuple(port for port in plan.ports if port.port_no in numbers)
    tracked = tuple(port_no for port_no in plan.tracked_ports if port_no in numbers)
    part = replace(plan, ports=planned, tracked_ports=tracked)
    of_ports = {port_no: ports[port_no] for port_no in numbers if port_no in ports}
    parts = (
        *(_ingress_of(port, plan, capabilities.normal) for port in planned),
        young.track_entries(part) if tracks else (),
        standing.entries_without_queues(
            (rule for rule in plan.rules if rule.egress_port in numbers), plan, capabilities
        ),
        _outputs(part, of_ports, capabilities, tracks=tracks),
    )
    return tuple(chain.from_iterable(parts))


def meter_entry(meter: MeterSpec, capabilities: Capabilities) -> MeterEntry | None:
    """Convert a meter to the device's units, rounded up to whole kbit/s; None when the device has no such meters.

    Rate and burst have 32 bits (OpenFlow 1.3.5, A.3.4.5); what is more does not limit anything.
    """
    if capabilities.max_meters < 1 or not capabilities.meter_kbps:
        return None
    burst = min(-(-meter.burst // 1000), _MOST) if capabilities.meter_burst else 0
    return MeterEntry(meter.meter_id, min(max(1, -(-meter.rate // 1000)), _MOST), burst)


def controller_meter(copy_rate: int) -> MeterEntry:
    """Make the virtual meter of all packet-ins.

    Args:
        copy_rate: packets/s; the burst is a quarter of a second's packets.
    """
    return MeterEntry(CONTROLLER_METER, copy_rate, max(1, copy_rate // 4), packets=True)


def _meter_marks(flows: Iterable[FlowEntry], meters: Iterable[MeterEntry]) -> Iterator[FlowEntry]:
    """Yield an entry for each meter that no other entry uses: by it the meter is known as ours after a restart.

    It matches no packet, since none leaves by port 0xffffffff (OFPP_ANY).
    """
    used = {step.meter_id for entry in flows for step in entry.steps if isinstance(step, Meter)}
    for meter in meters:
        if meter.meter_id not in used and meter.meter_id != CONTROLLER_METER:
            yield meter_mark(meter.meter_id)


def meter_mark(meter_id: int) -> FlowEntry:
    """Make the entry by which a meter is known as ours."""
    terms = match(metadata=pipeline.egress_and_sender(pipeline.EGRESS_MASK, meter_id))
    return _infrastructure(TableId.SPREAD, Priority.MARK, terms, Meter(meter_id))


def is_meter_mark(entry: object) -> bool:
    """Whether an entry is one of :func:`meter_mark`."""
    return isinstance(entry, FlowEntry) and (entry.table_id, entry.priority) == (
        TableId.SPREAD,
        Priority.MARK,
    )


def _meters(plan: DevicePlan, capabilities: Capabilities) -> tuple[MeterEntry, ...]:
    entries = [entry for meter in plan.meters if (entry := meter_entry(meter, capabilities)) is not None]
    if capabilities.controller_meter and plan.copy_rate > 0:
        entries.append(controller_meter(plan.copy_rate))
    return tuple(entries)


def _infrastructure(table: TableId, priority: int, terms: Match, *steps: Step) -> FlowEntry:
    return flow(table, priority, terms, steps, _COOKIE)


def _declared_misses(learns: bool, can_track: bool, normal: bool) -> Iterator[FlowEntry]:
    """Yield the table-miss entries; the device forwards by itself what the first and the last table do not match.

    Table gate has its own also while nothing is tracked, whatever the policy: packets may be on their way to it out of
    the tracker, and the switch's cached decision to drop them there would outlive them.
    """
    available = {None: True, Act.LEARN: learns, Act.TRACK: can_track}
    for table in pipeline.TABLES:
        if not table.miss_is_planned and available[table.extension]:
            dropped = _FORWARD_NORMALLY if normal and table.table_id in _ENDS else ()
            steps = dropped if table.miss is None else (Goto(table.miss),)
            yield _infrastructure(table.table_id, Priority.MISS, (), *steps)


def _ingress(plan: DevicePlan, ports: Collection[PlannedPort], normal: bool) -> Iterator[FlowEntry]:
    reserved = _FORWARD_NORMALLY if normal else ()
    yield _infrastructure(TableId.INGRESS, Priority.RESERVED, match(eth_dst=_RESERVED), *reserved)
    probe = match(eth_src=lldp.SOURCE, eth_dst=lldp.DESTINATION, eth_type=lldp.ETHERTYPE)
    yield _infrastructure(TableId.INGRESS, Priority.PROBE, probe, Output(CONTROLLER_PORT, plan.copy_bytes))
    learning = frozenset(port_no for port_no, _ in plan.learning_ports)
    for port in ports:
        if port.vm_number in plan.over_quota:
            terms = match(in_port=port.port_no, eth_dst=lldp.DESTINATION, eth_type=lldp.ETHERTYPE)
            yield _infrastructure(TableId.INGRESS, Priority.FORGED_PROBE, terms, *reserved)
        yield from _ingress_of(port, plan, normal, learns=port.port_no in learning)


def _ingress_of(
    port: PlannedPort, plan: DevicePlan, normal: bool, *, learns: bool = False
) -> Iterator[FlowEntry]:
    """Yield the entries for frames from a port; those from a port that is not to be served are forwarded at once.

    From a VM with stated addresses, frames with other ones are dropped. From a port whose addresses are to be
    learned, frames with unknown ones are copied (for the known ones see :func:`_hosts`).
    """
    copy = Output(CONTROLLER_PORT, plan.copy_bytes)
    steps = _FORWARD_NORMALLY if normal and port.role is PortRole.IGNORE else _enter(port)
    for mac, vlan, number in port.senders:
        terms = match(in_port=port.port_no, eth_src=mac, **_tag(vlan))
        priority = Priority.SOURCE if vlan is None else Priority.SOURCE_IN_VLAN
        sender = WriteMetadata(*pipeline.sender(number))
        yield _infrastructure(TableId.INGRESS, priority, terms, sender, Goto(TableId.FORWARD))
    for mac in port.macs:
        terms = match(in_port=port.port_no, eth_src=mac)
        yield _infrastructure(TableId.INGRESS, Priority.SOURCE, terms, *steps)
    over_quota = port.vm_number in plan.over_quota
    others = (() if over_quota else (copy,)) if port.macs else steps
    if learns:
        others = (copy, *steps)
    yield _infrastructure(TableId.INGRESS, Priority.PORT, match(in_port=port.port_no), *others)


def _enter(port: PlannedPort) -> tuple[Step, ...]:
    goto = Goto(TableId.FORWARD)
    number = port.vm_number if port.role in (PortRole.VM, PortRole.LINK) else NOT_A_VM
    return (goto,) if number == NOT_A_VM else (WriteMetadata(*pipeline.sender(number)), goto)


def _gate(plan: DevicePlan) -> Iterator[FlowEntry]:
    yield from young.track_entries(plan)
    yield from young.gate_entries(plan.learn_after)
    yield from young.count_entries(plan)


def _forward(
    plan: DevicePlan,
    ports_of_plan: Collection[PlannedPort],
    ports: Collection[int],
    capabilities: Capabilities,
    pace: Callable[[], None],
) -> Iterator[FlowEntry]:
    """Yield the entries that predict a packet's egress port.

    A device that forwards by itself needs the prediction only for queue and meter. Without it, what a VM sent goes
    on to no one port, for its meter; what no VM sent is forwarded at once. A device with forwarding of its own sends
    multicast to all ports, and so predicts none for it.
    """
    next_table = _after_forward(plan, capabilities)
    everywhere = _everywhere(capabilities.normal)
    others: matches.Fields = {"metadata": pipeline.sender(NOT_A_VM), "eth_dst": _MULTICAST}
    for neighbour in matches.NEIGHBOURS:
        copy = Output(CONTROLLER_PORT, plan.copy_bytes)
        terms = match(**others, **neighbour)
        yield _infrastructure(TableId.FORWARD, Priority.NEIGHBOUR, terms, copy, *everywhere)
    yield _infrastructure(TableId.FORWARD, Priority.MULTICAST, match(**others), *everywhere)
    if not capabilities.normal:
        terms = match(eth_dst=_MULTICAST)
        yield _infrastructure(TableId.FORWARD, Priority.HOST, terms, Goto(next_table))
    yield from _hosts(plan, plan.hosts, ports, next_table, pace).values()
    yield from _hosts_in_vlans(plan, ports, next_table)
    for port in ports_of_plan:
        if port.role is PortRole.UPLINK:
            terms = match(in_port=port.port_no)
            yield _infrastructure(TableId.FORWARD, Priority.UNKNOWN, terms, *everywhere)
    unknown = plan.unknown_port if plan.unknown_port in ports else None
    flood: tuple[Step, ...] = ()
    if not capabilities.normal:
        flood = tuple(Output(port_no) for port_no in plan.flood_ports if port_no in ports)
    if unknown is None:
        terms = match(metadata=pipeline.sender(NOT_A_VM))
        yield _infrastructure(TableId.FORWARD, Priority.UNKNOWN, terms, *everywhere)
    steps = (Goto(next_table),) if unknown is None else (*flood, *_leave_by(unknown, next_table))
    yield _infrastructure(TableId.FORWARD, Priority.MISS, (), *steps)


def _everywhere(normal: bool) -> tuple[Step, ...]:
    return _FORWARD_NORMALLY if normal else (Output(ALL_PORTS),)


HostKey = tuple[int, int]
"""A MAC address, and the port whose frames with it an entry is for, 0 for frames to it."""


def host_entries(
    plan: DevicePlan, hosts: Iterable[tuple[int, int]], capabilities: Capabilities, ports: Collection[int]
) -> dict[HostKey, FlowEntry]:
    """Make the entries of some hosts of a plan.

    Args:
        hosts: (MAC address, port number) of each.
    """
    return _hosts(plan, hosts, ports, _after_forward(plan, capabilities))


def _after_forward(plan: DevicePlan, capabilities: Capabilities) -> TableId:
    return TableId.TRACK if young.tracks(plan, capabilities) else TableId.ASSIGN


def _hosts(
    plan: DevicePlan,
    hosts: Iterable[tuple[int, int]],
    ports: Collection[int],
    next_table: TableId,
    pace: Callable[[], None] = no_pause,
) -> dict[HostKey, FlowEntry]:
    """Make the entries for frames to hosts, and for those from hosts at ports whose other addresses are learned.

    What a VM of the device, or of a bridge behind a patch port, sends to all may come back by an uplink: by the standby
    member of a bond. It is not copied as unknown.
    """
    learn_on = dict(plan.learning_ports)
    planned = [port for port in paced(plan.ports, pace) if port.port_no in learn_on]
    enter = {port.port_no: _enter(port) for port in planned}
    learning: dict[int, list[int]] = {}
    for in_port, of_bond in plan.learning_ports:
        if in_port in ports and in_port in enter:
            learning.setdefault(of_bond, []).append(in_port)
    of_vms = {(port.port_no, mac) for port in planned for mac, vlan, _ in port.senders if vlan is None}
    reflecting = [port.port_no for port in planned if port.role is PortRole.UPLINK]
    inside = {port.port_no for port in paced(plan.ports, pace) if _is_inside(port)} if reflecting else set()
    entries: dict[HostKey, FlowEntry] = {}
    for mac, port_no in paced(hosts, pace):
        if port_no in ports:
            steps = _leave_by(port_no, next_table)
            entries[mac, 0] = _infrastructure(TableId.FORWARD, Priority.HOST, match(eth_dst=mac), *steps)
        for in_port in (*learning.get(port_no, ()), *(reflecting if port_no in inside else ())):
            if (in_port, mac) in of_vms:
                continue
            terms = match(in_port=in_port, eth_src=mac)
            known = _infrastructure(TableId.INGRESS, Priority.SOURCE, terms, *enter[in_port])
            entries[mac, in_port] = known
    return entries


def _is_inside(port: PlannedPort) -> bool:
    """Whether a port leads to VMs or to the host itself: also a patch port to a bridge whose VMs are known."""
    return port.role in (PortRole.VM, PortRole.HOST) or (
        port.role is PortRole.LINK and port.vm_number == NOT_A_VM
    )


def _hosts_in_vlans(plan: DevicePlan, ports: Collection[int], next_table: TableId) -> Iterator[FlowEntry]:
    """Yield the entries for addresses that several hosts have in different VLANs: by the port and tag of a frame.

    Of those that are learned, frames from them are known by their tag as well.
    """
    planned = {port.port_no: port for port in plan.ports}
    learning = dict(plan.learning_ports)
    for mac, in_port, tag, port_no in plan.vlan_hosts:
        if port_no not in ports or in_port not in planned:
            continue
        vlan = _tag(tag)
        priority = Priority.HOST_BY_PORT if tag is None else Priority.HOST_IN_VLAN
        terms = match(in_port=in_port, eth_dst=mac, **vlan)
        yield _infrastructure(TableId.FORWARD, priority, terms, *_leave_by(port_no, next_table))
        of_sender = {(sender, sent) for sender, sent, _ in planned[in_port].senders}
        if learning.get(in_port) == port_no and of_sender.isdisjoint(((mac, tag), (mac, None))):
            priority = Priority.SOURCE if tag is None else Priority.SOURCE_IN_VLAN
            terms = match(in_port=in_port, eth_src=mac, **vlan)
            yield _infrastructure(TableId.INGRESS, priority, terms, *_enter(planned[in_port]))


def _tag(vlan: int | None) -> matches.Fields:
    """Return the match on a tag: 0 for no tag, None for any."""
    return {} if vlan is None else {"vlan_vid": VLAN_PRESENT | vlan if vlan else 0}


def _leave_by(port_no: int, next_table: TableId) -> tuple[Step, ...]:
    return WriteMetadata(*pipeline.egress(port_no)), Goto(next_table)


ENTRIES_BESIDE_PINS = 1 + len(matches.NEIGHBOURS)
"""Entries of the plan in the table of pins (see :func:`_assign`)."""


def _assign(copy_bytes: int, learns: bool) -> Iterator[FlowEntry]:
    """Yield the entries of table assign beside the pins.

    Neighbour discovery that no VM sent, to one host, is copied.
    """
    look_up = (Resubmit(TableId.SEEN),) if learns else ()
    yield _infrastructure(TableId.ASSIGN, Priority.MISS, (), *look_up, Goto(TableId.SPREAD))
    for neighbour in matches.NEIGHBOURS:
        copy = Output(CONTROLLER_PORT, copy_bytes)
        terms = match(metadata=pipeline.sender(NOT_A_VM), **neighbour)
        yield _infrastructure(TableId.ASSIGN, Priority.NEIGHBOUR, terms, copy, _TO_OUTPUT)


_MOST_PROBABLE = 0xFFFF
"""The probability of a sample action that samples every packet."""


def _samples(plan: DevicePlan, ports: Collection[int]) -> Iterator[FlowEntry]:
    """Yield the entries that sample packets without a pin, by their egress port, and then look them up as others."""
    if plan.sampling is None:
        return
    probability = max(1, round(_MOST_PROBABLE / plan.sampling.one_in))
    sample = Sample(probability, observation.COLLECTOR_SET, *observation.identify(plan.dpid))
    for port_no in plan.sampling.ports:
        if port_no in ports:
            terms = match(metadata=pipeline.egress(port_no))
            steps = sample, Resubmit(TableId.SEEN), Goto(TableId.SPREAD)
            yield _infrastructure(TableId.ASSIGN, Priority.SAMPLE, terms, *steps)


def _learning(plan: DevicePlan) -> Iterator[FlowEntry]:
    """Yield the entries that learn a flow with its queue, and copy its first packet to the controller.

    Flows that have a learned entry only pass; those of a group with an entry of its own are counted there.
    """
    yield _infrastructure(TableId.LEARN, Priority.SEEN, match(**{nicira.SEEN: 1}), _TO_OUTPUT)
    copy = Output(CONTROLLER_PORT, plan.copy_bytes)
    for family in nicira.FAMILIES:
        priority, terms = _learn_priority(family), nicira.match_of(family)
        steps = (learn(family, plan.learned_idle), copy, _TO_OUTPUT)
        yield _infrastructure(TableId.LEARN, priority, terms, *steps)


_MORE_THAN_A_PROTOCOL = 2


def _learn_priority(family: nicira.Family) -> int:
    """Return a higher priority for a family that matches more: any packet, an ethertype, an IP protocol, fragments."""
    specific = sum(part is not None for part in (family.eth_type, family.protocol))
    return Priority.STANDING + specific + _MORE_THAN_A_PROTOCOL * family.fragments


def _output(
    plan: DevicePlan, ports: Mapping[int, Collection[int]], capabilities: Capabilities
) -> Iterator[FlowEntry]:
    """Yield the entries that output: by the choice in the packet's register, where the port has it and is to use it."""
    everywhere = _everywhere(capabilities.normal)
    yield _infrastructure(
        TableId.OUTPUT, Priority.OUTPUT, match(metadata=pipeline.egress(NO_PORT)), *everywhere
    )
    yield from _outputs(plan, ports, capabilities, tracks=young.tracks(plan, capabilities))


def _outputs(
    plan: DevicePlan, ports: Mapping[int, Collection[int]], capabilities: Capabilities, *, tracks: bool
) -> Iterator[FlowEntry]:
    """Yield the entries that output by some ports."""
    learns = standing.learns_itself(plan, capabilities)
    planned = {port.port_no: port for port in plan.ports}
    zones = {port.port_no: port for port in young.tracked(plan)} if tracks else {}
    for port_no, queue_ids in sorted(ports.items()):
        port = planned.get(port_no)
        choices = [
            choice for choice in (port.queues if port else ()) if standing.has_queue(choice, queue_ids)
        ]
        if not learns:
            # Only a mark takes the way by a register.
            choices = [
                choice for choice in choices if capabilities.learn and marks.split(choice)[1] != NO_MARK
            ]
        keep = port.keep_marks if port else ()
        for out in outputs.of_port(port_no, choices, keep, capabilities.normal, plan.in_vlan):
            yield _infrastructure(TableId.OUTPUT, out.priority, match(**out.fields), *out.steps)
            if port_no in zones and out.of_tracked is not None:
                yield from young.output_entries(
                    plan.dpid, zones[port_no], out.priority + young.TRACKED, out.of_tracked, *out.steps
                )
