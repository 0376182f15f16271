"""A flow's first packets, placed without a decision of their own: connection tracking counts them.

An exact entry costs the switch work for each new flow: its first packet is looked up by software, an entry is
made, the datapath's cache grows. Many flows are over before that pays
(docs/engineers/first-packet.md has figures).
So the first packets of a TCP or UDP flow, up to a stated number, meet no table that tells flows apart: they go by the
standing rules, through cache entries that all flows share, and the mark of their connection counts them. The first
one is copied to the controller; the packet after the last of them makes the learned entry.

The queue and the meter that the standing rules gave the first packet are noted in the connection's label, and hold for
the others as long as any standing rule gives them out::

     127          64 63                           32 31                            0
    +---------------+-------------------------------+-------------------------------+
    |  0            |  meter of the class (0: none) |  id of the queue + 1          |
    +---------------+-------------------------------+-------------------------------+

Every port with VMs behind it has a zone of its own, in which both directions of its connections are tracked: what
the VM sends when it comes in, what is sent to it when it goes out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING
from zlib import crc32

from flowlane.core.flowkey import TCP, UDP
from flowlane.core.frame import ETH_IPV4, ETH_IPV6
from flowlane.core.model import PortRole
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
from flowlane.southbound.openflow.wire.fields import Match, match
from flowlane.southbound.openflow.wire.nicira import METER, QUEUE, ZONE, Family, Load, Track

if TYPE_CHECKING:
    from flowlane.core.effects import DevicePlan, PlannedPort, StandingRule
    from flowlane.core.model import Capabilities

_COOKIE = cookies.pack(cookies.Kind.INFRASTRUCTURE)
_TO_OUTPUT, _TO_LEARN = Goto(TableId.OUTPUT), Goto(TableId.LEARN)
_IP_TYPES = (ETH_IPV4, ETH_IPV6)
_TRACKED = tuple(Family(eth_type, protocol) for eth_type in _IP_TYPES for protocol in (TCP, UDP))
"""What is tracked. ICMP is not: its flows are told apart otherwise than connections (by type, not by id)."""

_WITH_VMS = frozenset((PortRole.VM, PortRole.LINK))
_NOT_A_FRAGMENT = (0, 3)
"""Fragments go the way without the tracker, which would hold them back until all have come."""

_TRACKED_STATE = (0x20, 0x34)
"""Match on ct_state: tracked, not invalid, not related (ovs-fields(7), "Connection Tracking Fields")."""

DELIVER = 10
"""How much higher in table output the entries that also track a packet are than those that only send it."""

_UPPER_HALF = 0x8000
_HIGH_BITS = 0xFFFF0000


def gated(plan: DevicePlan, capabilities: Capabilities) -> bool:
    """Whether the device is to place first packets without looking each flow up."""
    can = capabilities.conntrack and capabilities.learn
    return bool(can and plan.learn_after and plan.learned_idle and not plan.reactive)


def zone_of(dpid: int, port_no: int) -> int:
    """The connection tracking zone of a port.

    Zones are the datapath's, shared by all of its bridges; those that other controllers give out begin at 1, so ours
    are in the upper half. Two ports that got the same would still be told apart by addresses and ports.
    """
    return _UPPER_HALF | crc32(f"{dpid:x} {port_no}".encode()) % _UPPER_HALF


def has_zone(port: PlannedPort) -> bool:
    """Whether a port's connections are tracked: those with VMs behind."""
    return port.role in _WITH_VMS


def track_probe() -> FlowEntry:
    """Make an entry that tracks as others do, for a port that there is none of: an error means that it cannot."""
    noted = Track(_UPPER_HALF, mark=1, label=1)
    return _flow(TableId.TRACK, Priority.MISS + 1, _of(_TRACKED[0], in_port=1), noted, *_track(_UPPER_HALF))


def track(dpid: int, ports: Iterable[PlannedPort]) -> Iterator[FlowEntry]:
    """What VMs send, through the tracker."""
    for port in filter(has_zone, ports):
        for family in _TRACKED:
            wanted = _of(family, in_port=port.port_no)
            yield _flow(TableId.TRACK, Priority.PORT, wanted, *_track(zone_of(dpid, port.port_no)))


def young(learn_after: int) -> Iterator[FlowEntry]:
    """Flows of which fewer packets than ``learn_after`` have passed: on to the standing rules."""
    for value, mask in range_masks(0, learn_after - 1):
        wanted = match(ct_state=_TRACKED_STATE, ct_mark=(value, mask | _HIGH_BITS))
        yield _flow(TableId.GATE, Priority.YOUNG, wanted, Goto(TableId.SPREAD))


def count(plan: DevicePlan) -> Iterator[FlowEntry]:
    """In table learn: the first packets are counted, the first one is copied, and the next makes the entry."""
    copy = Output(CONTROLLER_PORT, plan.copy_bytes)
    for number in range(plan.learn_after):
        steps: tuple[Step, ...] = (Track(mark=number + 1), *((copy,) if number == 0 else ()), _TO_OUTPUT)
        for eth_type in _IP_TYPES:
            wanted = match(eth_type=eth_type, ct_state=_TRACKED_STATE, ct_mark=number)
            yield _flow(TableId.LEARN, Priority.YOUNG, wanted, *steps)
    for family in _TRACKED:
        named = {term.field: term.value for term in nicira.match_of(family)}
        wanted = match(**named, ct_state=_TRACKED_STATE, ct_mark=plan.learn_after)
        yield _flow(TableId.LEARN, Priority.YOUNG, wanted, learn(family, plan.learned_idle), _TO_OUTPUT)


def remember(rules: Iterable[StandingRule], copy_bytes: int) -> Iterator[FlowEntry]:
    """What the standing rules gave a connection's first packet is noted; the others get the same."""
    given = {(rule.egress_port, queue_id, rule.meter_id) for rule in rules for queue_id, _ in rule.queues}
    copy = Output(CONTROLLER_PORT, copy_bytes)
    for queue_id, meter_id in sorted({(queue_id, meter_id) for _, queue_id, meter_id in given}):
        noted = Track(mark=1, label=_label(queue_id, meter_id))
        onto: Fields = {QUEUE: queue_id + 1, METER: meter_id, "ct_state": _TRACKED_STATE, "ct_mark": 0}
        for eth_type in _IP_TYPES:
            wanted = match(eth_type=eth_type, **onto)
            yield _flow(TableId.LEARN, Priority.FIRST, wanted, noted, copy, _TO_OUTPUT)
    for egress_port, queue_id, meter_id in sorted(given):
        wanted = match(
            metadata=pipeline.egress(egress_port),
            ct_state=_TRACKED_STATE,
            ct_label=_label(queue_id, meter_id),
        )
        limit = (Meter(meter_id), Load(METER, meter_id)) if meter_id else ()
        again = (*limit, Load(QUEUE, queue_id + 1), _TO_LEARN)
        yield _flow(TableId.SPREAD, Priority.REMEMBERED, wanted, *again)


def _label(queue_id: int, meter_id: int) -> int:
    return meter_id << 32 | queue_id + 1


def deliver(dpid: int, port_no: int, priority: int, onto: Fields, *steps: Step) -> Iterator[FlowEntry]:
    """What goes to a port with a zone: noted there, so that the VM's answer is known for one."""
    for family in _TRACKED:
        yield _flow(TableId.OUTPUT, priority, _of(family, **onto), Track(zone_of(dpid, port_no)), *steps)


def _track(zone: int) -> tuple[Step, ...]:
    return Load(ZONE, zone), Track(zone, TableId.GATE)


def _of(family: Family, **also: int | tuple[int, int]) -> Match:
    named: Fields = {term.field: term.value for term in nicira.match_of(family)}
    return match(**named, ip_frag=_NOT_A_FRAGMENT, **also)


def _flow(table: TableId, priority: int, wanted: Match, *steps: Step) -> FlowEntry:
    return flow(table, priority, wanted, steps, _COOKIE)
