"""An in-memory OpenFlow switch that takes changes, refuses what it does not support, and forwards packets.

It follows the specification and not Flowlane's code: tables with priorities and masks, metadata, goto,
apply-actions in order, select groups, meters that drop, queues, idle timeouts, counters and flow-removed. The
test moves its clock. Use::

    switch = MemorySwitch({1: (), 2: (0, 1, 2)})           # port -> ids of its queues
    assert switch.apply(diff.changes(compiled.standing, Standing())) == []
    outcome = switch.receive(packet(in_port=1, eth_src=..., eth_dst=..., eth_type=0x800, ...))
    outcome.sent                                            # ((port, queue id or None), ...)
    outcome.copies                                          # packet-ins
    switch.advance(10.0)                                    # -> entries that have expired

Packets are made by :mod:`support.engine.packets`: ``packet`` adds missing fields, ``packet_of(in_port,
frame)`` reads a frame's bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from zlib import crc32

from support.engine.packets import Packet

from flowlane.core.events import FlowSeen, PinEnded
from flowlane.core.model import PinRef
from flowlane.southbound.openflow.tables import pipeline
from flowlane.southbound.openflow.tables.entries import (
    Change,
    FlowEntry,
    Goto,
    GroupEntry,
    Meter,
    MeterEntry,
    Op,
    Output,
    SetQueue,
    Standing,
    UseGroup,
    WriteMetadata,
)
from flowlane.southbound.openflow.wire import cookies, fields
from flowlane.southbound.openflow.wire.constants import (
    ALL_PORTS,
    CONTROLLER_METER,
    CONTROLLER_PORT,
    SEND_FLOW_REMOVED,
)

NO_METERS, NO_GROUPS, NO_PORT_MASKS = "no meters", "no groups", "no port masks"
"""What a switch can be made to refuse."""

_TABLE_SIZE = 1_000_000
_HASHED = ("eth_src", "eth_dst", "eth_type", "ip_proto", "ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst")
_HASHED_PORTS = ("tcp_src", "tcp_dst", "udp_src", "udp_dst", "sctp_src", "sctp_dst")


class RefusedChange(NamedTuple):
    """A change that the switch has refused, and the error's name in the specification."""

    change: Change
    error: str


class Copy(NamedTuple):
    """A packet-in: the entry that made it, the metadata, and how many bytes of the packet it has."""

    cookie: int
    table_id: int
    metadata: int
    in_port: int
    length: int

    def seen(self, dpid: int, frame: bytes) -> FlowSeen:
        """Return the event that the session makes of such a packet-in."""
        egress_port = pipeline.egress_of(self.metadata) or None
        return FlowSeen(
            dpid, self.in_port, frame[: self.length], egress_port, cookies.standing_queue(self.cookie)
        )


@dataclass
class Outcome:
    """What happened to one packet: ``path`` are the entries that it met; empty ``sent``: dropped."""

    sent: tuple[tuple[int, int | None], ...] = ()
    copies: tuple[Copy, ...] = ()
    meters: tuple[int, ...] = ()
    path: tuple[FlowEntry, ...] = ()


class Removed(NamedTuple):
    """An entry that has left the table, as flow-removed reports it."""

    entry: FlowEntry
    packets: int
    octets: int
    idle: bool

    def ended(self, dpid: int) -> PinEnded | None:
        """Return the event that the session makes of it; None when it was no pin."""
        cookie = cookies.unpack(self.entry.cookie)
        if cookie is None or cookie.kind is not cookies.Kind.PIN:
            return None
        return PinEnded(
            dpid, PinRef(cookie.object_id, cookie.generation), self.packets, self.octets, self.idle
        )


@dataclass
class TableEntry:
    """An entry in a table, with its counters."""

    entry: FlowEntry
    used_at: float
    packets: int = 0
    octets: int = 0


@dataclass
class _Bucket:
    """A meter's token bucket: ``tokens`` in the meter's unit (bits or packets)."""

    entry: MeterEntry
    tokens: float
    filled_at: float
    packets: int = 0
    dropped: int = 0


@dataclass
class _Walk:
    """A packet in the pipeline: its registers, and what has happened to it so far."""

    packet: Packet
    metadata: int = 0
    queue: int | None = None
    outcome: Outcome = field(default_factory=Outcome)


class _RefusedError(Exception):
    """The error's name."""


class MemorySwitch:
    """An in-memory switch, see the module.

    Args:
        ports: port number -> ids of its queues.
        refuses: some of NO_METERS, NO_GROUPS and NO_PORT_MASKS.
    """

    def __init__(
        self,
        ports: Mapping[int, Iterable[int]],
        *,
        refuses: Collection[str] = (),
        table_size: int = _TABLE_SIZE,
    ) -> None:
        self.ports = {port_no: tuple(queue_ids) for port_no, queue_ids in ports.items()}
        self.refuses = set(refuses)
        self.table_size = table_size
        self.now = 0.0
        self.flows: dict[tuple[int, int, fields.Match], TableEntry] = {}
        self.groups: dict[int, GroupEntry] = {}
        self.removed: list[Removed] = []
        """Flow-removed messages that the test has not taken yet."""
        self.wrong_queues: list[tuple[int, int]] = []
        """(port, queue id) of packets sent with a queue that the port does not have; should stay empty."""
        self._meters: dict[int, _Bucket] = {}

    @property
    def meters(self) -> dict[int, MeterEntry]:
        """Meter id -> meter."""
        return {number: bucket.entry for number, bucket in self._meters.items()}

    def standing(self) -> Standing:
        """Return all its entries, pins included."""
        flows = tuple(counted.entry for counted in self.flows.values())
        return Standing(flows, tuple(self.groups.values()), tuple(self.meters.values()))

    def meter_counts(self, meter_id: int) -> tuple[int, int]:
        """Return the number of packets that met a meter, and how many of them it dropped."""
        bucket = self._meters[meter_id]
        return bucket.packets, bucket.dropped

    def apply(self, changes: Iterable[Change]) -> list[RefusedChange]:
        """Carry out changes in order; return those that were refused."""
        refused = []
        for change in changes:
            try:
                self._apply(change)
            except _RefusedError as error:
                refused.append(RefusedChange(change, str(error)))
        return refused

    def receive(self, packet: Packet) -> Outcome:
        """Send a packet through the tables."""
        walk = _Walk(packet)
        table_id: int | None = 0
        while table_id is not None:
            counted = self._lookup(table_id, walk)
            if counted is None:
                break
            walk.outcome.path += (counted.entry,)
            counted.packets += 1
            counted.octets += packet["length"]
            counted.used_at = self.now
            table_id = self._run(counted.entry, walk)
        return walk.outcome

    def advance(self, seconds: float) -> list[Removed]:
        """Move the clock; return the entries that have expired, which are in ``removed`` too."""
        self.now += seconds
        expired = []
        for place, counted in list(self.flows.items()):
            timeout = counted.entry.idle_timeout
            if timeout and self.now - counted.used_at >= timeout:
                expired += self._remove(place, idle=True)
        return expired

    def _apply(self, change: Change) -> None:
        if isinstance(change.entry, FlowEntry):
            self._apply_flow(change.op, change.entry)
        elif isinstance(change.entry, GroupEntry):
            self._apply_group(change.op, change.entry)
        elif isinstance(change.entry, MeterEntry):
            self._apply_meter(change.op, change.entry)

    def _apply_flow(self, op: Op, entry: FlowEntry) -> None:
        place = (entry.table_id, entry.priority, entry.match)
        present = self.flows.get(place)
        if op is Op.DELETE:
            if present is not None and present.entry.cookie == entry.cookie:
                self._remove(place, idle=False)
            return
        self._check_flow(entry)
        if op is Op.MODIFY:
            if present is not None and present.entry.cookie == entry.cookie:
                old = present.entry
                present.entry = FlowEntry(
                    *place, entry.steps, old.cookie, old.idle_timeout, old.hard_timeout, old.flags
                )
            return
        size = sum(key[0] == entry.table_id for key in self.flows)
        if present is None and size >= self.table_size:
            raise _RefusedError("OFPFMFC_TABLE_FULL")
        self.flows[place] = TableEntry(entry, self.now)

    def _check_flow(self, entry: FlowEntry) -> None:
        for term in entry.match:
            masked = term.mask is not None
            ports = term.field in _HASHED_PORTS
            if (
                masked
                and not fields.FIELDS[term.field].maskable
                and (not ports or NO_PORT_MASKS in self.refuses)
            ):
                raise _RefusedError("OFPBMC_BAD_MASK")
        for step in entry.steps:
            if isinstance(step, Meter) and step.meter_id not in self._meters:
                raise _RefusedError("OFPMMFC_INVALID_METER")
            if isinstance(step, UseGroup) and step.group_id not in self.groups:
                raise _RefusedError("OFPBAC_BAD_OUT_GROUP")
            if isinstance(step, Goto) and step.table_id <= entry.table_id:
                raise _RefusedError("OFPBIC_BAD_TABLE_ID")
            if isinstance(step, Output) and step.port_no not in {*self.ports, ALL_PORTS, CONTROLLER_PORT}:
                raise _RefusedError("OFPBAC_BAD_OUT_PORT")

    def _apply_group(self, op: Op, entry: GroupEntry) -> None:
        if NO_GROUPS in self.refuses:
            raise _RefusedError("OFPGMFC_OUT_OF_GROUPS")
        if op is Op.DELETE:
            self.groups.pop(entry.group_id, None)
            self._remove_users(UseGroup(entry.group_id))
            return
        if (entry.group_id in self.groups) is (op is Op.ADD):
            raise _RefusedError("OFPGMFC_GROUP_EXISTS" if op is Op.ADD else "OFPGMFC_UNKNOWN_GROUP")
        self.groups[entry.group_id] = entry

    def _apply_meter(self, op: Op, entry: MeterEntry) -> None:
        if NO_METERS in self.refuses:
            raise _RefusedError("OFPMMFC_INVALID_METER")
        if op is Op.DELETE:
            self._meters.pop(entry.meter_id, None)
            self._remove_users(Meter(entry.meter_id))
            return
        if (entry.meter_id in self._meters) is (op is Op.ADD):
            raise _RefusedError("OFPMMFC_METER_EXISTS" if op is Op.ADD else "OFPMMFC_UNKNOWN_METER")
        self._meters[entry.meter_id] = _Bucket(entry, _capacity(entry), self.now)

    def _remove_users(self, step: Meter | UseGroup) -> None:
        for place, counted in list(self.flows.items()):
            if step in counted.entry.steps:
                self._remove(place, idle=False)

    def _remove(self, place: tuple[int, int, fields.Match], *, idle: bool) -> list[Removed]:
        counted = self.flows.pop(place)
        if not counted.entry.flags & SEND_FLOW_REMOVED:
            return []
        removed = Removed(counted.entry, counted.packets, counted.octets, idle)
        self.removed.append(removed)
        return [removed]

    def _lookup(self, table_id: int, walk: _Walk) -> TableEntry | None:
        values = {**walk.packet, "metadata": walk.metadata}
        matching = (
            counted
            for (table, _, match), counted in self.flows.items()
            if table == table_id and all(matches_term(term, values) for term in match)
        )
        return max(matching, key=lambda counted: counted.entry.priority, default=None)

    def _run(self, entry: FlowEntry, walk: _Walk) -> int | None:
        """Carry out an entry's steps; return the next table."""
        next_table = None
        for step in entry.steps:
            if isinstance(step, Meter):
                walk.outcome.meters += (step.meter_id,)
                if not self._meter_passes(step.meter_id, walk.packet["length"]):
                    return None
            elif isinstance(step, SetQueue):
                walk.queue = step.queue_id
            elif isinstance(step, WriteMetadata):
                walk.metadata = walk.metadata & ~step.mask | step.value & step.mask
            elif isinstance(step, Goto):
                next_table = step.table_id
            elif isinstance(step, Output):
                self._output(step, entry, walk)
            elif isinstance(step, UseGroup):
                self._use_group(self.groups[step.group_id], entry, walk)
        return next_table

    def _output(self, step: Output, entry: FlowEntry, walk: _Walk) -> None:
        in_port = walk.packet["in_port"]
        if step.port_no == CONTROLLER_PORT:
            if CONTROLLER_METER in self._meters and not self._meter_passes(CONTROLLER_METER, 1):
                return
            length = min(step.max_len, walk.packet["length"])
            walk.outcome.copies += (Copy(entry.cookie, entry.table_id, walk.metadata, in_port, length),)
            return
        ports = self.ports if step.port_no == ALL_PORTS else (step.port_no,)
        for port_no in ports:
            if port_no != in_port and port_no in self.ports:
                walk.outcome.sent += ((port_no, walk.queue),)
                if walk.queue is not None and walk.queue not in self.ports[port_no]:
                    self.wrong_queues.append((port_no, walk.queue))

    def _use_group(self, group: GroupEntry, entry: FlowEntry, walk: _Walk) -> None:
        """Select by crc32 of addresses, protocol and ports, modulo the sum of the weights."""
        hashed = repr([walk.packet.get(name) for name in (*_HASHED, *_HASHED_PORTS)]).encode()
        point = crc32(hashed) % sum(bucket.weight for bucket in group.buckets)
        for bucket in group.buckets:
            point -= bucket.weight
            if point < 0:
                queue, walk.queue = walk.queue, bucket.queue_id
                self._output(Output(bucket.port_no), entry, walk)
                walk.queue = queue
                return

    def _meter_passes(self, meter_id: int, octets: int) -> bool:
        bucket = self._meters[meter_id]
        rate = bucket.entry.rate * (1 if bucket.entry.packets else 1000)
        cost = 1 if bucket.entry.packets else octets * 8
        bucket.tokens = min(_capacity(bucket.entry), bucket.tokens + rate * (self.now - bucket.filled_at))
        bucket.filled_at = self.now
        bucket.packets += 1
        if bucket.tokens < cost:
            bucket.dropped += 1
            return False
        bucket.tokens -= cost
        return True


def matches_term(term: fields.Term, values: Mapping[str, int]) -> bool:
    """Return whether a packet's fields match one term of a match."""
    value = values.get(term.field)
    if value is None:
        return False
    return value == term.value if term.mask is None else value & term.mask == term.value


def _capacity(entry: MeterEntry) -> float:
    """Return a meter's burst; without one, the rate of one second, as in Open vSwitch."""
    return (entry.burst or entry.rate) * (1.0 if entry.packets else 1000.0)
