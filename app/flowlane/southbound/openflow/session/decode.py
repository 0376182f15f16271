"""os-ken messages as facts for the core.

A device may send anything: what is unknown, foreign or malformed gives None (or is left out of a list), and
nothing here raises. Functions that take ``parts`` take all messages of a multipart reply.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar

from flowlane.core.events import FlowSeen, MeterCounters, PinCounters, PinEnded, QueueCounters, RuleRefused
from flowlane.core.model import PinRef, PortReport, Refusal
from flowlane.southbound.openflow.tables import pipeline
from flowlane.southbound.openflow.tables.entries import Change, FlowEntry, GroupEntry, MeterEntry
from flowlane.southbound.openflow.wire import cookies, packet_in_match
from flowlane.southbound.openflow.wire.constants import (
    CONTROLLER_METER,
    DROP_BAND,
    IDLE_TIMEOUT,
    LINK_DOWN,
    LOCAL_PORT,
    MAX_PORT,
    METER_BURST,
    METER_KBPS,
    OUTPUT_ACTION,
    PORT_DOWN,
    SELECT_GROUP,
    SET_QUEUE_ACTION,
)

Message = Any
"""An os-ken message, or a part of one."""

_P = ParamSpec("_P")
_T = TypeVar("_T")

_BAD = (
    AttributeError,
    IndexError,
    KeyError,
    OverflowError,
    StopIteration,
    struct.error,
    TypeError,
    ValueError,
)
_KBIT = 1000
_UNKNOWN_ERROR = "OFPET_{}_CODE_{}"


def forgiving(read: Callable[_P, _T]) -> Callable[_P, _T | None]:
    """Make a reader give None for what it cannot read."""

    @wraps(read)
    def reader(*args: _P.args, **kwargs: _P.kwargs) -> _T | None:
        try:
            return read(*args, **kwargs)
        except _BAD:
            return None

    return reader


@forgiving
def flow_seen(dpid: int, message: Message) -> FlowSeen | None:
    """A packet that an entry of ours copied to the controller: a flow's first, or neighbour discovery."""
    if cookies.unpack(message.cookie) is None or not message.data:
        return None
    data = getattr(message, "buf", None)
    fields = (
        packet_in_match.read_fields(data)
        if packet_in_match.is_packet_in(data)
        else dict(message.match.items())
    )
    egress_port = pipeline.egress_of(_plain(fields.get("metadata", 0)))
    learned = message.table_id == pipeline.TableId.LEARN
    queue_id = _register(fields, 1) - 1 if learned else cookies.standing_queue(message.cookie)
    meter_id = _register(fields, 4) if learned else 0
    return FlowSeen(
        dpid, int(fields["in_port"]), bytes(message.data), egress_port or None, queue_id, meter_id
    )


def _register(fields: Mapping[str, Any], number: int) -> int:
    """A register of a packet-in; OpenFlow 1.5 has two of them in one of 64 bits, the even one in the high half."""
    if f"reg{number}" in fields:
        return _plain(fields[f"reg{number}"])
    both = _plain(fields.get(f"xreg{number // 2}", 0))
    return both & 0xFFFFFFFF if number % 2 else both >> 32


def _plain(value: Any) -> int:
    return int(value[0] if isinstance(value, tuple) else value)


@forgiving
def port_report(desc: Message) -> PortReport | None:
    """A port description; None for reserved ports. ``desc`` is an OFPPort of any version."""
    if desc.port_no > MAX_PORT and desc.port_no != LOCAL_PORT:
        return None
    name = desc.name.decode("utf-8", "replace") if isinstance(desc.name, bytes) else str(desc.name)
    up = not (desc.state & LINK_DOWN or desc.config & PORT_DOWN)
    mac = int(desc.hw_addr.replace(":", ""), 16)
    return PortReport(
        desc.port_no, name.rstrip("\x00"), mac, up, _speed(desc), is_local=desc.port_no == LOCAL_PORT
    )


def _speed(desc: Message) -> int | None:
    """bit/s, from kbit/s: of the port itself in 1.3, of its Ethernet property since 1.4."""
    holders = (desc, *(getattr(desc, "properties", None) or ()))
    speeds = (getattr(holder, "curr_speed", 0) for holder in holders)
    return next((speed * _KBIT for speed in speeds if speed), None)


def ports(parts: Iterable[Message]) -> tuple[PortReport, ...]:
    """All ports of a port-desc reply."""
    return tuple(report for desc in bodies(parts) if (report := port_report(desc)) is not None)


def queues(parts: Iterable[Message]) -> dict[int, tuple[int, ...]]:
    """Port number -> ids of its queues, from a queue-get-config (1.3) or queue-desc (1.4 and later) reply."""
    found: dict[int, set[int]] = {}
    for queue in bodies(parts, "queues"):
        ids = _queue_ids(queue)
        if ids is not None:
            found.setdefault(ids[0], set()).add(ids[1])
    return {port_no: tuple(sorted(numbers)) for port_no, numbers in sorted(found.items())}


@forgiving
def _queue_ids(queue: Message) -> tuple[int, int]:
    port_no = queue.port_no if hasattr(queue, "port_no") else queue.port
    return int(port_no), int(queue.queue_id)


def bodies(parts: Iterable[Message], name: str = "body") -> Iterator[Message]:
    """The items of all parts; 1.4's queue-desc has them in the body, 1.3's queue-get-config in ``queues``."""
    for part in parts:
        body = getattr(part, name, None)
        if body is None:
            body = getattr(part, "body", None)
        yield from body if isinstance(body, list | tuple) else ()


def counters(stats: Message) -> tuple[int, int, float]:
    """Packets, bytes and duration in s of a flow's statistics; 1.5 has them in a list of their own.

    Raises:
        AttributeError, KeyError, TypeError: it is not a flow's statistics.
    """
    listed = getattr(stats, "stats", None)
    if listed is None:
        return stats.packet_count, stats.byte_count, stats.duration_sec + stats.duration_nsec / 1e9
    seconds, nanoseconds = listed.get("duration", (0, 0))
    return listed["packet_count"], listed["byte_count"], seconds + nanoseconds / 1e9


def flow_counters(dpid: int, parts: Iterable[Message]) -> PinCounters:
    """The counters of all pins in a flow statistics reply."""
    return PinCounters(
        dpid, tuple(row for stats in bodies(parts) if (row := _pin_counters(stats)) is not None)
    )


@forgiving
def _pin_counters(stats: Message) -> tuple[int, int, int, int] | None:
    pin = _pin(stats.cookie)
    if pin is None:
        return None
    packets, octets, _ = counters(stats)
    return pin.object_id, pin.generation, packets, octets


def _pin(cookie: int) -> cookies.Cookie | None:
    parts = cookies.unpack(cookie)
    return parts if parts is not None and parts.kind is cookies.Kind.PIN else None


@forgiving
def flow_ended(dpid: int, message: Message) -> PinEnded | None:
    """A pin that left its table. Its reason 0 is the idle timeout in all versions."""
    pin = _pin(message.cookie)
    if pin is None:
        return None
    packets, octets, _ = counters(message)
    return PinEnded(
        dpid, PinRef(pin.object_id, pin.generation), packets, octets, message.reason == IDLE_TIMEOUT
    )


def queue_counters(dpid: int, parts: Iterable[Message]) -> QueueCounters:
    """Transmit counters of queues. A port's counter that the device does not know is left out."""
    return QueueCounters(dpid, dict(row for stats in bodies(parts) if (row := _queue(stats)) is not None))


_UNKNOWN_COUNT = 0xFFFFFFFFFFFFFFFF


@forgiving
def _queue(stats: Message) -> tuple[tuple[int, int], tuple[int, int, int]]:
    counts = (int(stats.tx_packets), int(stats.tx_bytes), int(stats.tx_errors))
    if _UNKNOWN_COUNT in counts[:2]:
        raise ValueError("the device does not count")
    return (int(stats.port_no), int(stats.queue_id)), counts


def meter_counters(dpid: int, parts: Iterable[Message]) -> MeterCounters:
    """Read the counters of meters; what a meter dropped is what its one band counted."""
    counted = dict(row for stats in bodies(parts) if (row := _meter(stats)) is not None)
    copies = counted.pop(CONTROLLER_METER, None)
    return MeterCounters(dpid, counted, None if copies is None else copies[2])


@forgiving
def _meter(stats: Message) -> tuple[int, tuple[int, int, int, int]]:
    packets = sum(band.packet_band_count for band in stats.band_stats)
    octets = sum(band.byte_band_count for band in stats.band_stats)
    return int(stats.meter_id), (int(stats.packet_in_count), int(stats.byte_in_count), packets, octets)


class MeterAbilities(NamedTuple):
    """What meters a device can do, in the words of :class:`flowlane.core.model.Capabilities`."""

    max_meters: int = 0
    meter_bands: int = 0
    meter_burst: bool = False
    meter_kbps: bool = False


def meter_abilities(parts: Iterable[Message]) -> MeterAbilities:
    """A meter-features reply; no meters when it cannot be read, or when there is no drop band."""
    return next(filter(None, map(_meter_abilities, bodies(parts))), MeterAbilities())


@forgiving
def _meter_abilities(features: Message) -> MeterAbilities | None:
    if not features.band_types & 1 << DROP_BAND:
        return None
    can = features.capabilities
    return MeterAbilities(
        features.max_meter, features.max_bands, bool(can & METER_BURST), bool(can & METER_KBPS)
    )


class GroupAbilities(NamedTuple):
    """What groups a device can do, in the words of :class:`flowlane.core.model.Capabilities`."""

    select_groups: bool = False
    max_groups: int = 0


def group_abilities(parts: Iterable[Message]) -> GroupAbilities:
    """A group-features reply; no groups when it cannot be read."""
    # os-ken gives 1.3's reply as one object and not as a list of one.
    found = (body for part in parts for body in _as_list(getattr(part, "body", None)))
    return next(filter(None, map(_group_abilities, found)), GroupAbilities())


def _as_list(body: Any) -> list[Any]:
    return body if isinstance(body, list) else [body]


_NEEDED_ACTIONS = 1 << OUTPUT_ACTION | 1 << SET_QUEUE_ACTION
"""Bits of OFPAT_OUTPUT and OFPAT_SET_QUEUE: what our buckets do."""


@forgiving
def _group_abilities(features: Message) -> GroupAbilities:
    can_act = features.actions[SELECT_GROUP] & _NEEDED_ACTIONS == _NEEDED_ACTIONS
    select = bool(features.types & 1 << SELECT_GROUP) and can_act
    return GroupAbilities(select, features.max_groups[SELECT_GROUP])


def table_sizes(parts: Iterable[Message]) -> dict[int, int]:
    """Table id -> entries it can hold, from a table-features reply."""
    return dict(row for table in bodies(parts) if (row := _table_size(table)) is not None)


@forgiving
def _table_size(table: Message) -> tuple[int, int]:
    return int(table.table_id), int(table.max_entries)


def error_name(message: Message, ofproto: Any) -> str:
    """The name of an error in the OpenFlow specification, such as ``OFPFMFC_TABLE_FULL``."""
    family = _FAMILIES.get(getattr(message, "type", -1), "")
    code = getattr(message, "code", -1)
    names = (
        name for name, value in vars(ofproto).items() if family and name.startswith(family) and value == code
    )
    return next(names, _UNKNOWN_ERROR.format(getattr(message, "type", "?"), code))


_FAMILIES: Mapping[int, str] = {
    1: "OFPBRC_",
    2: "OFPBAC_",
    3: "OFPBIC_",
    4: "OFPBMC_",
    5: "OFPFMFC_",
    6: "OFPGMFC_",
    9: "OFPQOFC_",
    12: "OFPMMFC_",
    13: "OFPTFFC_",
}


_REFUSALS: Mapping[str, Refusal] = {
    "OFPFMFC_TABLE_FULL": Refusal.TABLE_FULL,
    "OFPMMFC_INVALID_METER": Refusal.NO_SUCH_METER,
    "OFPMMFC_UNKNOWN_METER": Refusal.NO_SUCH_METER,
}
"""Names of errors on which the core acts; every other one is Refusal.OTHER."""


def refused(dpid: int, change: Change, why: str) -> RuleRefused | None:
    """Report to the core what a device refused; None for a barrier.

    Args:
        why: the error's name, as :func:`error_name` gives it.
    """
    entry, refusal = change.entry, _REFUSALS.get(why, Refusal.OTHER)
    if isinstance(entry, MeterEntry):
        return RuleRefused(dpid, "meter", refusal, why, meter_id=entry.meter_id)
    if isinstance(entry, GroupEntry):
        return RuleRefused(dpid, "group", refusal, why)
    if not isinstance(entry, FlowEntry):
        return None
    parts = cookies.unpack(entry.cookie)
    if parts is None:
        return None
    if parts.kind is not cookies.Kind.PIN:
        return RuleRefused(dpid, "standing", refusal, why)
    return RuleRefused(dpid, "pin", refusal, why, PinRef(parts.object_id, parts.generation))
