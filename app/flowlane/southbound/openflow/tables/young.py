"""Young flows: connection tracking counts a flow's first packets, which need no exact entry.

An exact entry costs the switch work for each new flow: a lookup in software for its first packet, an
insertion, an entry in the datapath's cache. Many flows end before that pays off
(docs/engineers/first-packet.md has figures). So where a port begins many flows (``track-above`` of the
policy, docs/decisions/0017), the first packets of a TCP or UDP flow, up to a stated number, meet no table that
tells flows apart. They go by the standing rules, through cache entries that all flows share, and the mark of
their connection counts them. The first packet is copied to the controller; the packet after the last counted
one makes the learned entry.

The queue and the meter that the standing rules gave the first packet are stored in the connection's label.
They hold for the other young packets as long as any standing rule uses them::

     127          64 63                           32 31                            0
    +---------------+-------------------------------+-------------------------------+
    |  0            |  meter of the class (0: none) |  id of the queue + 1          |
    +---------------+-------------------------------+-------------------------------+

Every tracked port has a zone of its own, in which both directions of its connections are tracked: packets of
the VM when they come in, packets to the VM when they go out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING
from zlib import crc32

from flowlane.core.flowkey import TCP, UDP
from flowlane.core.frame import ETH_IPV4, ETH_IPV6
from flowlane.core.model import LIMIT_BY_VM, NOT_A_VM, PortRole
from flowlane.southbound.openflow.tables import pipeline
from flowlane.southbound.openflow.tables.entries import (
    FlowEntry,
    Goto,
    Meter,
    Output,
    Step,
    flow,
    learn,
)
from flowlane.southbound.openflow.tables.matches import Fields, range_masks
from flowlane.southbound.openflow.tables.pipeline import Priority, TableId
from flowlane.southbound.openflow.wire import cookies, nicira
from flowlane.southbound.openflow.wire.constants import CONTROLLER_PORT
from flowlane.southbound.openflow.wire.fields import VLAN_PRESENT, Match, match
from flowlane.southbound.openflow.wire.nicira import METER, QUEUE, ZONE, Family, Load, Resubmit, Track

if TYPE_CHECKING:
    from flowlane.core.effects import DevicePlan, PlannedPort, StandingRule
    from flowlane.core.model import Capabilities

_COOKIE = cookies.pack(cookies.Kind.INFRASTRUCTURE)
_TO_OUTPUT, _TO_LEARN = Goto(TableId.OUTPUT), Goto(TableId.LEARN)
_IP_TYPES = (ETH_IPV4, ETH_IPV6)
_TRACKED = tuple(Family(eth_type, protocol) for eth_type in _IP_TYPES for protocol in (TCP, UDP))
"""Tracked packets. ICMP is not tracked: Flowlane tells its flows apart by type, a connection tracker by id."""

_NOT_A_FRAGMENT = (0, 3)
"""Fragments are not tracked, since a tracker holds them until the last one has come."""

_TRACKED_STATE = (0x20, 0x34)
"""Match on ct_state: tracked, not invalid, not related (ovs-fields(7), "Connection Tracking Fields")."""

TRACKED = 10
"""Added in table output to the priority of an entry that also tracks the packet, and again of one for a VLAN."""

_UPPER_HALF = 0x8000
"""The lowest of our zones."""

_HIGH_BITS = 0xFFFF0000


def can_track(capabilities: Capabilities) -> bool:
    """Return whether the device can count young flows by connection tracking."""
    return capabilities.conntrack and capabilities.learn


def tracks(plan: DevicePlan, capabilities: Capabilities) -> bool:
    """Return whether the device is to count young flows by connection tracking."""
    wanted = plan.tracked_ports and plan.learn_after and plan.learned_idle and not plan.reactive
    return bool(wanted and can_track(capabilities))


def zone_of(dpid: int, port_no: int, vlan: int = 0) -> int:
    """Return the connection tracking zone of a port, or of a VLAN on a link.

    All bridges of a datapath share its zones. Other controllers number theirs from 1, so ours are in the
    upper half. The connections of two ports with the same zone would still differ in addresses and ports.
    """
    place = f"{dpid:x} {port_no} {vlan}" if vlan else f"{dpid:x} {port_no}"
    return _UPPER_HALF | crc32(place.encode()) % _UPPER_HALF


def tracked(plan: DevicePlan) -> list[PlannedPort]:
    """List the ports whose connections are tracked: those of a VM, or links with VMs behind them."""
    numbers = frozenset(plan.tracked_ports)
    ports = [port for port in plan.ports if port.port_no in numbers]
    return [port for port in ports if port.role is PortRole.VM or _has_vms_behind(port)]


def _has_vms_behind(port: PlannedPort) -> bool:
    return port.role is PortRole.LINK and (bool(port.senders) or port.vm_number != NOT_A_VM)


def vlans_of(port: PlannedPort) -> list[int]:
    """List the VLANs of a link that have zones of their own: VMs in two of them may have the same addresses."""
    return sorted({vlan for _, vlan, _ in port.senders if vlan})


def track_entries(plan: DevicePlan) -> Iterator[FlowEntry]:
    """Yield the entries of table track: packets from tracked ports go through the connection tracker."""
    for port in tracked(plan):
        for family in _TRACKED:
            terms = _match(family, in_port=port.port_no)
            yield _flow(TableId.TRACK, Priority.PORT, terms, *_track(zone_of(plan.dpid, port.port_no)))
            for vlan in vlans_of(port):
                terms = _match(family, in_port=port.port_no, vlan_vid=VLAN_PRESENT | vlan)
                zone = zone_of(plan.dpid, port.port_no, vlan)
                yield _flow(TableId.TRACK, Priority.PORT_AND_VLAN, terms, *_track(zone))


def gate_entries(learn_after: int) -> Iterator[FlowEntry]:
    """Yield the entries of table gate: flows with fewer packets than ``learn_after`` go to the standing rules."""
    for value, mask in range_masks(0, learn_after - 1):
        terms = match(ct_state=_TRACKED_STATE, ct_mark=(value, mask | _HIGH_BITS))
        yield _flow(TableId.GATE, Priority.YOUNG, terms, Goto(TableId.SPREAD))


def count_entries(plan: DevicePlan) -> Iterator[FlowEntry]:
    """Yield the entries of table learn: count young packets, copy the first one, learn after the last one."""
    copy = Output(CONTROLLER_PORT, plan.copy_bytes)
    for number in range(plan.learn_after):
        steps: tuple[Step, ...] = (Track(mark=number + 1), *((copy,) if number == 0 else ()), _TO_OUTPUT)
        for eth_type in _IP_TYPES:
            terms = match(eth_type=eth_type, ct_state=_TRACKED_STATE, ct_mark=number)
            yield _flow(TableId.LEARN, Priority.YOUNG, terms, *steps)
    for family in _TRACKED:
        of_family = {term.field: term.value for term in nicira.match_of(family)}
        terms = match(**of_family, ct_state=_TRACKED_STATE, ct_mark=plan.learn_after)
        yield _flow(TableId.LEARN, Priority.YOUNG, terms, learn(family, plan.learned_idle), _TO_OUTPUT)


def label_entries(rules: Iterable[StandingRule], copy_bytes: int) -> Iterator[FlowEntry]:
    """Yield the entries that store queue and meter in a connection's label, and those that read them from it."""
    used = {(rule.egress_port, queue_id, rule.meter_id) for rule in rules for queue_id, _ in rule.queues}
    copy = Output(CONTROLLER_PORT, copy_bytes)
    for queue_id, meter_id in sorted({(queue_id, meter_id) for _, queue_id, meter_id in used}):
        commit = Track(mark=1, label=_label(queue_id, meter_id))
        label_match: Fields = {QUEUE: queue_id + 1, METER: meter_id, "ct_state": _TRACKED_STATE, "ct_mark": 0}
        for eth_type in _IP_TYPES:
            terms = match(eth_type=eth_type, **label_match)
            yield _flow(TableId.LEARN, Priority.FIRST, terms, commit, copy, _TO_OUTPUT)
    for egress_port, queue_id, meter_id in sorted(used):
        terms = match(
            metadata=pipeline.egress(egress_port),
            ct_state=_TRACKED_STATE,
            ct_label=_label(queue_id, meter_id),
        )
        steps = (*limit_steps(meter_id), Load(QUEUE, queue_id + 1), _TO_LEARN)
        yield _flow(TableId.SPREAD, Priority.REMEMBERED, terms, *steps)


def limit_steps(meter_id: int) -> tuple[Step, ...]:
    """Return the steps of a standing rule that put a flow under a limit, and load what its learned entry is to name.

    For a limit by VM, table seen has the meter of each VM.
    """
    if meter_id >= LIMIT_BY_VM:
        return Load(METER, meter_id), Resubmit(TableId.SEEN)
    return (Meter(meter_id), Load(METER, meter_id)) if meter_id else ()


def _label(queue_id: int, meter_id: int) -> int:
    return meter_id << 32 | queue_id + 1


def output_entries(
    dpid: int, port: PlannedPort, priority: int, match_fields: Fields, *steps: Step
) -> Iterator[FlowEntry]:
    """Yield the entries of table output that also track the packet, so that the VM's reply belongs to it."""
    for family in _TRACKED:
        zone = zone_of(dpid, port.port_no)
        yield _flow(TableId.OUTPUT, priority, _match(family, **match_fields), Track(zone), *steps)
        for vlan in vlans_of(port) if match_fields.get("vlan_vid") != 0 else ():
            zone = zone_of(dpid, port.port_no, vlan)
            terms = _match(family, **{**match_fields, "vlan_vid": VLAN_PRESENT | vlan})
            yield _flow(TableId.OUTPUT, priority + TRACKED, terms, Track(zone), *steps)


def _track(zone: int) -> tuple[Step, ...]:
    return Load(ZONE, zone), Track(zone, TableId.GATE)


def _match(family: Family, **others: int | tuple[int, int]) -> Match:
    of_family: Fields = {term.field: term.value for term in nicira.match_of(family)}
    return match(**of_family, ip_frag=_NOT_A_FRAGMENT, **others)


def _flow(table: TableId, priority: int, terms: Match, *steps: Step) -> FlowEntry:
    return flow(table, priority, terms, steps, _COOKIE)
