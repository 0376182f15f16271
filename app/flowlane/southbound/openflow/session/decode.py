"""os-ken messages as events and values for the core.

A device may send anything. What is unknown, another controller's or malformed becomes None, or is left out of
a list; no function here raises unless its docstring says so.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache, wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar

from flowlane.core.events import (
    NO_SENDER,
    FlowSeen,
    GroupsCounted,
    LinkSeen,
    MeterCounters,
    PinCounters,
    PinEnded,
    QueueCounters,
    RuleRefused,
)
from flowlane.core.model import PinRef, PortReport, Refusal
from flowlane.errors import ProtocolError
from flowlane.logs import Repeats
from flowlane.southbound.openflow.tables import pipeline, room
from flowlane.southbound.openflow.tables.entries import Change, FlowEntry, GroupEntry, MeterEntry
from flowlane.southbound.openflow.tables.layout import DEFAULT, Layout
from flowlane.southbound.openflow.wire import cookies, lldp, nicira, packet_in_match
from flowlane.southbound.openflow.wire import table_features as tables
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

_REPEATS = Repeats(logging.getLogger(__name__))

Message = Any
"""An os-ken message, or one item in its body."""

_P = ParamSpec("_P")
_T = TypeVar("_T")

_MALFORMED = (
    AttributeError,
    IndexError,
    KeyError,
    OverflowError,
    ProtocolError,
    StopIteration,
    struct.error,
    TypeError,
    ValueError,
)
_KBIT = 1000
_UNKNOWN_ERROR = "OFPET_{}_CODE_{}"


def none_if_malformed(read: Callable[_P, _T]) -> Callable[_P, _T | None]:
    """Make a function return None for a message that it cannot read."""

    @wraps(read)
    def read_or_none(*args: _P.args, **kwargs: _P.kwargs) -> _T | None:
        try:
            return read(*args, **kwargs)
        except _MALFORMED:
            return None

    return read_or_none


def packet_in(dpid: int, message: Message, layout: Layout, key: bytes) -> LinkSeen | FlowSeen | None:
    """Read a packet-in: a probe of the controller with this key, or a packet of a flow."""
    return link_seen(dpid, message, key) or flow_seen(dpid, message, layout)


@none_if_malformed
def link_seen(dpid: int, message: Message, key: bytes) -> LinkSeen | None:
    """Read a probe that an entry of ours copied to the controller, also one that is not of ours; None for others."""
    if not message.data or not lldp.is_probe(message.data) or cookies.unpack(message.cookie) is None:
        return None
    sender = lldp.read(bytes(message.data), key) or NO_SENDER
    return LinkSeen(dpid, int(dict(message.match.items())["in_port"]), *sender)


@none_if_malformed
def flow_seen(dpid: int, message: Message, layout: Layout = DEFAULT) -> FlowSeen | None:
    """Read a packet that an entry of ours copied to the controller: a flow's first, or neighbour discovery."""
    if cookies.unpack(message.cookie) is None or not message.data or lldp.is_probe(message.data):
        return None
    data = getattr(message, "buf", None)
    fields = (
        packet_in_match.read_fields(data)
        if packet_in_match.is_packet_in(data)
        else dict(message.match.items())
    )
    egress_port = pipeline.egress_of(_value(fields["metadata"])) if "metadata" in fields else None
    learned = layout.table_of(message.table_id) == pipeline.TableId.LEARN
    queue_id = _register(fields, nicira.QUEUE) - 1 if learned else cookies.standing_queue(message.cookie)
    meter_id = _register(fields, nicira.METER) if learned else 0
    in_port, waits = int(fields["in_port"]), cookies.waits(message.cookie)
    return FlowSeen(dpid, in_port, bytes(message.data), egress_port, queue_id, meter_id, waits)


def _register(fields: Mapping[str, Any], name: str) -> int:
    """Return a register (``reg1``) of a packet-in.

    OpenFlow 1.5 has two of them in one of 64 bits, of which the one with the even number is the upper half.
    """
    if name in fields:
        return _value(fields[name])
    number = int(name.removeprefix("reg"))
    both = _value(fields.get(f"xreg{number // 2}", 0))
    return both & 0xFFFFFFFF if number % 2 else both >> 32


def _value(value: Any) -> int:
    """Return a match field's value, without its mask."""
    return int(value[0] if isinstance(value, tuple) else value)


@none_if_malformed
def port_report(desc: Message) -> PortReport | None:
    """Read a port description; None for a reserved port.

    Args:
        desc: an OFPPort of any version.
    """
    if desc.port_no > MAX_PORT and desc.port_no != LOCAL_PORT:
        return None
    name = desc.name.decode("utf-8", "replace") if isinstance(desc.name, bytes) else str(desc.name)
    up = not (desc.state & LINK_DOWN or desc.config & PORT_DOWN)
    mac = int(desc.hw_addr.replace(":", ""), 16)
    return PortReport(
        desc.port_no, name.rstrip("\x00"), mac, up, _speed(desc), is_local=desc.port_no == LOCAL_PORT
    )


def _speed(desc: Message) -> int | None:
    """Return the speed in bit/s; on the wire it is in kbit/s, in the port in 1.3, in a property since 1.4."""
    holders = (desc, *(getattr(desc, "properties", None) or ()))
    speeds = (getattr(holder, "curr_speed", 0) for holder in holders)
    return next((speed * _KBIT for speed in speeds if speed), None)


def ports(parts: Iterable[Message]) -> tuple[PortReport, ...]:
    """Read all ports of a port-desc reply."""
    return tuple(report for part in parts for report in _ports_in(part))


_READ = "flowlane_read"
"""Attribute of a part of a reply with the ports or queues that were read of it."""

_PORT_DESC, _QUEUE_DESC = 13, 15
"""Types of multipart replies with ports and, since 1.4, with queues (OpenFlow 1.4, 7.3.5)."""


def read_early(part: Message) -> None:
    """Read the ports or queues of a part of a reply when it comes, and not those of all parts behind the last one."""
    kind = getattr(part, "type", None)
    if kind == _PORT_DESC:
        _ports_in(part)
    elif kind == _QUEUE_DESC or hasattr(part, "queues"):
        _queues_in(part)


def _keep(part: Message, found: object) -> None:
    with suppress(AttributeError):  # What is no message of os-ken may take no attribute.
        setattr(part, _READ, found)


def _ports_in(part: Message) -> list[PortReport]:
    found = getattr(part, _READ, None)
    if not isinstance(found, list):
        found = [report for desc in bodies((part,)) if (report := port_report(desc)) is not None]
        _keep(part, found)
    return found


MAX_QUEUES = 4096
"""Queues of one device that are used: more of them would cost others too much time with every change."""


def queues(parts: Iterable[Message]) -> dict[int, tuple[int, ...]]:
    """Return port number -> ids of its queues, from a queue-get-config (1.3) or queue-desc (since 1.4) reply.

    Of more than :data:`MAX_QUEUES` those of the ports with the lowest numbers are taken.
    """
    room, taken = MAX_QUEUES, {}
    for port_no, ids in sorted(_ids_of_ports(parts).items()):
        taken[port_no] = tuple(sorted(ids)[:room])
        room -= len(taken[port_no])
    return {port_no: ids for port_no, ids in taken.items() if ids}


def has_too_many_queues(parts: Iterable[Message]) -> bool:
    """Whether some of the queues of a reply are not used."""
    return sum(map(len, _ids_of_ports(parts).values())) > MAX_QUEUES


def _ids_of_ports(parts: Iterable[Message]) -> dict[int, set[int]]:
    ids_of_port: dict[int, set[int]] = {}
    for part in parts:
        for port_no, ids in _queues_in(part).items():
            ids_of_port.setdefault(port_no, set()).update(ids)
    return ids_of_port


def _queues_in(part: Message) -> dict[int, set[int]]:
    found = getattr(part, _READ, None)
    if not isinstance(found, dict):
        found = {}
        for queue in bodies((part,), "queues"):
            place = _place_of_queue(queue)
            if place is not None:
                found.setdefault(place[0], set()).add(place[1])
        _keep(part, found)
    return found


LAST_QUEUE = 0xFFFE
"""Largest id of a queue that is used: choices have 16 bits for it (:mod:`flowlane.core.marks`). Open vSwitch's own
queues have 0 to 0xefff (lib/netdev-linux.c)."""


@none_if_malformed
def _place_of_queue(queue: Message) -> tuple[int, int]:
    port_no = queue.port_no if hasattr(queue, "port_no") else queue.port
    if queue.queue_id > LAST_QUEUE:
        raise ValueError("a queue id that entries of ours cannot name")
    return int(port_no), int(queue.queue_id)


def bodies(parts: Iterable[Message], name: str = "body") -> Iterator[Message]:
    """Yield the items of all parts, from the attribute of this name or else from the body.

    1.4's queue-desc reply has its queues in the body, 1.3's queue-get-config reply in ``queues``.
    """
    for part in parts:
        body = getattr(part, name, None)
        if body is None:
            body = getattr(part, "body", None)
        yield from body if isinstance(body, list | tuple) else ()


def entry_at(part: Message, start: int) -> Message | None:
    """Parse the entry of a flow statistics reply that begins at a place; None where os-ken cannot parse it.

    It may have a field with a length that is not the field's own, or an action that os-ken does not know.
    """
    try:
        return part.cls_stats_body_cls.parser(part.buf, start)
    except Exception as error:
        datapath = getattr(part, "datapath", None)
        _REPEATS.warning(
            ("entry", getattr(datapath, "id", None)),
            "device %016x: an entry that has Flowlane's cookie is left alone, as it cannot be read: %r",
            getattr(datapath, "id", None) or 0,
            error,
        )
        return None


def counters(stats: Message) -> tuple[int, int, float]:
    """Return packets, bytes and duration (s) of a flow's statistics; 1.5 has them in a list of their own.

    Raises:
        AttributeError, KeyError, TypeError: it is not a flow's statistics.
    """
    listed = getattr(stats, "stats", None)
    if listed is None:
        return stats.packet_count, stats.byte_count, stats.duration_sec + stats.duration_nsec / 1e9
    seconds, nanoseconds = listed.get("duration", (0, 0))
    return listed["packet_count"], listed["byte_count"], seconds + nanoseconds / 1e9


def groups_counted(dpid: int, parts: Iterable[Message]) -> GroupsCounted:
    """Read the counters of groups of learned entries in a flow statistics reply."""
    found = (row for stats in bodies(parts) if (row := _counter_of_group(stats)) is not None)
    return GroupsCounted(dpid, dict(found))


@none_if_malformed
def _counter_of_group(stats: Message) -> tuple[int, int] | None:
    cookie = cookies.unpack(stats.cookie)
    if cookie is None or cookie.kind is not cookies.Kind.GROUP:
        return None
    return cookie.object_id, counters(stats)[1]


def pin_counters(dpid: int, parts: Iterable[Message]) -> PinCounters:
    """Read the counters of all pins in a flow statistics reply."""
    return PinCounters(
        dpid, tuple(row for stats in bodies(parts) if (row := _counters_of_pin(stats)) is not None)
    )


@none_if_malformed
def _counters_of_pin(stats: Message) -> tuple[int, int, int, int] | None:
    pin = _pin(stats.cookie)
    if pin is None:
        return None
    packets, octets, _ = counters(stats)
    return pin.object_id, pin.generation, packets, octets


def _pin(cookie: int) -> cookies.Cookie | None:
    unpacked = cookies.unpack(cookie)
    return unpacked if unpacked is not None and unpacked.kind is cookies.Kind.PIN else None


@none_if_malformed
def pin_ended(dpid: int, message: Message) -> PinEnded | None:
    """Read the flow-removed message of a pin; None for other entries."""
    pin = _pin(message.cookie)
    if pin is None:
        return None
    packets, octets, _ = counters(message)
    return PinEnded(
        dpid, PinRef(pin.object_id, pin.generation), packets, octets, message.reason == IDLE_TIMEOUT
    )


def queue_counters(dpid: int, parts: Iterable[Message]) -> QueueCounters:
    """Read the transmit counters of queues; a queue that the device does not count is left out."""
    return QueueCounters(
        dpid, dict(row for stats in bodies(parts) if (row := _counters_of_queue(stats)) is not None)
    )


_UNKNOWN_COUNT = 0xFFFFFFFFFFFFFFFF
"""What a device sends for a counter that it does not have (7.3.5.8 of 1.3.5)."""


@none_if_malformed
def _counters_of_queue(stats: Message) -> tuple[tuple[int, int], tuple[int, int, int]]:
    counts = (int(stats.tx_packets), int(stats.tx_bytes), int(stats.tx_errors))
    if _UNKNOWN_COUNT in counts[:2]:
        raise ValueError("the device does not count")
    return (int(stats.port_no), int(stats.queue_id)), counts


def meter_counters(dpid: int, parts: Iterable[Message]) -> MeterCounters:
    """Read the counters of meters; what a meter dropped is what its one band counted."""
    counted = dict(row for stats in bodies(parts) if (row := _counters_of_meter(stats)) is not None)
    copies = counted.pop(CONTROLLER_METER, None)
    return MeterCounters(dpid, counted, None if copies is None else copies[2])


@none_if_malformed
def _counters_of_meter(stats: Message) -> tuple[int, tuple[int, int, int, int]]:
    packets = sum(band.packet_band_count for band in stats.band_stats)
    octets = sum(band.byte_band_count for band in stats.band_stats)
    return int(stats.meter_id), (int(stats.packet_in_count), int(stats.byte_in_count), packets, octets)


class MeterCapabilities(NamedTuple):
    """The part of :class:`flowlane.core.model.Capabilities` that is about meters."""

    max_meters: int = 0
    meter_burst: bool = False
    meter_kbps: bool = False


def meter_capabilities(parts: Iterable[Message]) -> MeterCapabilities:
    """Read a meter-features reply; no meters when it is malformed, or when the device has no drop bands."""
    return next(filter(None, map(_meter_capabilities, bodies(parts))), MeterCapabilities())


@none_if_malformed
def _meter_capabilities(features: Message) -> MeterCapabilities | None:
    if not features.band_types & 1 << DROP_BAND:
        return None
    can = features.capabilities
    return MeterCapabilities(features.max_meter, bool(can & METER_BURST), bool(can & METER_KBPS))


class GroupCapabilities(NamedTuple):
    """The part of :class:`flowlane.core.model.Capabilities` that is about groups."""

    select_groups: bool = False
    max_groups: int = 0


def group_capabilities(parts: Iterable[Message]) -> GroupCapabilities:
    """Read a group-features reply; no groups when it is malformed."""
    # os-ken gives 1.3's reply as one object and not as a list of one.
    features = (body for part in parts for body in _as_list(getattr(part, "body", None)))
    return next(filter(None, map(_group_capabilities, features)), GroupCapabilities())


def _as_list(body: Any) -> list[Any]:
    return body if isinstance(body, list) else [body]


_NEEDED_ACTIONS = 1 << OUTPUT_ACTION | 1 << SET_QUEUE_ACTION
"""Bits of the actions that our buckets have."""


@none_if_malformed
def _group_capabilities(features: Message) -> GroupCapabilities:
    can_act = features.actions[SELECT_GROUP] & _NEEDED_ACTIONS == _NEEDED_ACTIONS
    select = bool(features.types & 1 << SELECT_GROUP) and can_act
    return GroupCapabilities(select, features.max_groups[SELECT_GROUP])


def table_sizes(parts: Iterable[Message]) -> dict[int, int]:
    """Return table id -> entries that it can hold, from a table-features reply."""
    sizes: dict[int, int] = {}
    for part in parts:
        data = getattr(part, "buf", None)
        if tables.is_reply(data):
            sizes.update(tables.sizes(data))
        else:
            sizes.update(row for table in bodies((part,)) if (row := _table_size(table)) is not None)
    return sizes


@none_if_malformed
def _table_size(table: Message) -> tuple[int, int]:
    return int(table.table_id), int(table.max_entries)


def error_name(message: Message, ofproto: Any) -> str:
    """Return the name of an error in the OpenFlow specification, such as ``OFPFMFC_TABLE_FULL``."""
    kind, code = getattr(message, "type", -1), getattr(message, "code", -1)
    return _names_of_errors(ofproto).get((kind, code), _UNKNOWN_ERROR.format(kind, code))


@cache
def _names_of_errors(ofproto: Any) -> Mapping[tuple[Any, Any], str]:
    """Return (type, code) of an error -> its name, by os-ken's constants of a version."""
    return {
        (kind, value): name
        for kind, prefix in _ERROR_PREFIXES.items()
        for name, value in reversed(vars(ofproto).items())
        if name.startswith(prefix) and isinstance(value, int)
    }


_ERROR_PREFIXES: Mapping[int, str] = {
    1: "OFPBRC_",
    2: "OFPBAC_",
    3: "OFPBIC_",
    4: "OFPBMC_",
    5: "OFPFMFC_",
    6: "OFPGMFC_",
    9: "OFPQOFC_",
    11: "OFPRRFC_",
    12: "OFPMMFC_",
    13: "OFPTFFC_",
}
"""Type of an error -> the prefix of the names of its codes."""

_REFUSALS: Mapping[str, Refusal] = {
    room.TABLE_FULL: Refusal.TABLE_FULL,
    "OFPMMFC_METER_EXISTS": Refusal.ID_TAKEN,
    "OFPMMFC_INVALID_METER": Refusal.NO_SUCH_METER,
    "OFPMMFC_UNKNOWN_METER": Refusal.NO_SUCH_METER,
}
"""Names of errors on which the core acts; every other one is Refusal.OTHER."""


def rule_refused(dpid: int, change: Change, error: str) -> RuleRefused | None:
    """Make the event for a change that a device has refused; None for a barrier and for entries of others."""
    entry, refusal = change.entry, _REFUSALS.get(error, Refusal.OTHER)
    if isinstance(entry, MeterEntry):
        return RuleRefused(dpid, "meter", refusal, error, meter_id=entry.meter_id)
    if isinstance(entry, GroupEntry):
        return RuleRefused(dpid, "group", refusal, error)
    if not isinstance(entry, FlowEntry):
        return None
    cookie = cookies.unpack(entry.cookie)
    if cookie is None:
        return None
    if cookie.kind is not cookies.Kind.PIN:
        return RuleRefused(dpid, "standing", refusal, error)
    return RuleRefused(dpid, "pin", refusal, error, PinRef(cookie.object_id, cookie.generation))
