"""Requests and probes to a device that connects; its capabilities and its entries, from the replies.

A device may refuse any of the requests, or never reply. Flowlane then takes it for a device without that
capability (no meters, for example) and uses it all the same. Capabilities are requested or tried, never
derived from a version. This module has no connection.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

from flowlane.core.events import DeviceUp, FoundPin
from flowlane.core.model import Capabilities, LeftOut, MeterSpec
from flowlane.core.pacing import no_pause, paced
from flowlane.southbound.openflow.session import arrangement, decode, readback, requests
from flowlane.southbound.openflow.session.arrangement import Arrangement
from flowlane.southbound.openflow.session.readback import SentEntry
from flowlane.southbound.openflow.session.requests import Reply
from flowlane.southbound.openflow.tables import diff, pipeline, probes
from flowlane.southbound.openflow.tables.desired import ENTRIES_BESIDE_PINS, controller_meter, meter_mark
from flowlane.southbound.openflow.tables.entries import (
    Change,
    FlowEntry,
    Meter,
    MeterEntry,
    Op,
    Standing,
    UseGroup,
    WriteMetadata,
    learned_group,
)
from flowlane.southbound.openflow.tables.pipeline import Priority, TableId
from flowlane.southbound.openflow.wire import fields
from flowlane.southbound.openflow.wire.constants import CONTROLLER_METER, MAX_METER

REQUESTS: Mapping[str, Callable[[Any], Any]] = {
    "ports": requests.ports_request,
    "queues": requests.queues_request,
    "meter features": requests.meter_features_request,
    "group features": requests.group_features_request,
    "table features": requests.table_features_request,
    "description": requests.description_request,
    "flows": requests.flows_request,
    "groups": requests.groups_request,
    "meters": requests.meters_request,
}
"""Name of a request -> function that makes its message."""

PROBE_COPY_RATE = 1000
"""Packets/s of the controller meter that is tried: the policy's default, so that it mostly needs no change later."""

METER_PROBE = Change(Op.ADD, controller_meter(PROBE_COPY_RATE))
PORT_MASK_PROBE = Change(Op.ADD, probes.port_masks())
LEARN_PROBE = Change(Op.ADD, probes.learning())
TRACK_PROBE = Change(Op.ADD, probes.tracking())
NORMAL_PROBE = Change(Op.ADD, probes.normal())
SAMPLE_PROBE = Change(Op.ADD, probes.sampling())
PROBES = (METER_PROBE, PORT_MASK_PROBE, LEARN_PROBE, TRACK_PROBE, NORMAL_PROBE, SAMPLE_PROBE)
"""Entries that are sent on trial, followed by a barrier: without an error the device has the capability."""

PROBE_REMOVALS = tuple(
    Change(Op.DELETE, probe.entry)
    for probe in (PORT_MASK_PROBE, LEARN_PROBE, TRACK_PROBE, NORMAL_PROBE, SAMPLE_PROBE)
)
"""Changes that delete the probes again; the controller meter stays."""

_EXISTS = "OFPMMFC_METER_EXISTS"
_FOREIGN_LIMIT = LeftOut(
    "the limit on copies to the controller (copy-rate)",
    "the switch has a controller meter that is not Flowlane's",
    "delete it, if nobody needs it: ovs-ofctl -O OpenFlow13 del-meter BRIDGE meter=controller",
)


_TOO_MANY_QUEUES = LeftOut(
    "queues of the ports with the highest numbers",
    f"the switch has more than {decode.MAX_QUEUES:,} queues",
    f"give it {decode.MAX_QUEUES:,} queues at most",
)


class HandshakeResult(NamedTuple):
    """What a handshake has found out about a device.

    ``present``: entries of ours that the device has from before. ``pin_meters``: meters that its pins use;
    ``marked_meters``: those of them that have an entry by which they are known as ours.
    ``errors``: name of each request that got no reply -> why. ``stale``: tables of the device that have
    learned entries of an earlier layout.

    Groups and meters carry no owner. Those that no entry of ours uses, or an entry of others, are foreign.
    ``foreign_groups``: their ids. ``meters``: all meters that the device has. ``groups``: those of learned entries.
    """

    up: DeviceUp
    present: Standing
    pin_meters: Mapping[int, MeterEntry]
    errors: Mapping[str, str]
    stale: frozenset[int] = frozenset()
    foreign_groups: frozenset[int] = frozenset()
    meters: Mapping[int, MeterEntry] = MappingProxyType({})
    marked_meters: frozenset[int] = frozenset()
    groups: frozenset[int] = frozenset((0,))


def evaluate(
    dpid: int,
    version: int,
    peer: str,
    replies: Mapping[str, Reply],
    refused_probes: Mapping[Change, str],
    arranged: Arrangement | None = None,
    pace: Callable[[], None] = no_pause,
) -> HandshakeResult:
    """Make the event :class:`DeviceUp` of all replies, and list the entries that the device has from before.

    Args:
        version: the OpenFlow version on the wire.
        peer: address and port of the device's end of the connection, as text.
        refused_probes: those of :data:`PROBES` that the device refused -> error.
        arranged: how the device is used; None: by :func:`arrange`, with start table 0.
        pace: called now and then (see :mod:`flowlane.core.pacing`): a device may have 50,000 entries.
    """
    parts = {name: replies.get(name, Reply()).parts for name in REQUESTS}
    arranged = arranged or arrange(version, replies, refused_probes)
    layout = arranged.layout
    if arranged.unusable:
        parts = parts | dict.fromkeys(("flows", "groups", "meters"), ())
    size = decode.table_sizes(parts["table features"]).get(layout.number_of(TableId.ASSIGN), 0)
    stale = readback.learned_tables(parts["flows"], pace) - {layout.numbers.get(TableId.SEEN)}
    entries = list(paced(readback.sent_entries(parts["flows"], layout), pace))
    pins = readback.pins_in(entries, pace)
    present, pin_meters, marked = _present(parts, arranged, paced(entries, pace), paced(pins, pace))
    known_meters = {meter.meter_id: meter for meter in readback.meters(parts["meters"])}
    our_meters = {*pin_meters, *(meter.meter_id for meter in present.meters)}
    our_groups = {group.group_id for group in present.groups}
    up = DeviceUp(
        dpid,
        replace(arranged.capabilities, pin_room=_pin_room(size)),
        decode.ports(parts["ports"]),
        decode.queues(parts["queues"]),
        pins,
        peer,
        tuple(_hosts(sent.entry for sent in paced(entries, pace))),
        () if stale else readback.learned_flows(parts["flows"]),
        tuple(sorted(_tracked_ports(sent.entry for sent in paced(entries, pace)))),
        unusable=arranged.unusable,
        conflicts=arranged.conflicts,
        other_meters=tuple(
            _spec(meter_id, known_meters.get(meter_id))
            for meter_id in readback.ids(parts["meters"], "meter_id")
            if meter_id <= MAX_METER and meter_id not in our_meters
        ),
        pin_meters=tuple(_spec(meter_id, meter) for meter_id, meter in sorted(pin_meters.items())),
        group=learned_group(present.flows),
        spreads=tuple(
            (group.group_id, tuple((bucket.queue_id, bucket.weight) for bucket in group.buckets))
            for group in present.groups
        ),
    )
    if METER_PROBE not in refused_probes:
        others = tuple(meter for meter in present.meters if meter.meter_id != CONTROLLER_METER)
        present = Standing(present.flows, present.groups, (*others, controller_meter(PROBE_COPY_RATE)))
    errors = {name: reply.error for name, reply in replies.items() if reply.error}
    groups = frozenset(readback.ids(parts["groups"], "group_id")) - our_groups
    of_learned = frozenset((up.group, *(flow.group for flow in up.learned)))
    return HandshakeResult(up, present, pin_meters, errors, stale, groups, known_meters, marked, of_learned)


def arrange(
    version: int,
    replies: Mapping[str, Reply],
    refused_probes: Mapping[Change, str],
    start: int = 0,
    refused_tables: Collection[int] = (),
    may_learn: bool = True,
    pace: Callable[[], None] = no_pause,
) -> Arrangement:
    """Choose how a device is used, by its replies (see :func:`.arrangement.choose`).

    Args:
        may_learn: False to use it as one without the learn action.
        pace: called now and then (see :mod:`flowlane.core.pacing`).
    """
    parts = {name: replies.get(name, Reply()).parts for name in REQUESTS}
    can = capabilities(version, parts, refused_probes)
    if not may_learn:
        can = replace(can, learn=False)
    arranged = arrangement.choose(can, parts, start, refused_tables, pace)
    if has_foreign_limit(can, refused_probes):
        arranged = arranged._replace(left_out=(*arranged.left_out, _FOREIGN_LIMIT))
    if decode.has_too_many_queues(parts["queues"]):
        arranged = arranged._replace(left_out=(*arranged.left_out, _TOO_MANY_QUEUES))
    return arranged


def capabilities(
    version: int, parts: Mapping[str, tuple[Any, ...]], refused_probes: Mapping[Change, str]
) -> Capabilities:
    """Derive what the device can do from its replies and from the probes that it did not refuse."""
    meters = decode.meter_capabilities(parts["meter features"])
    groups = decode.group_capabilities(parts["group features"])
    sizes = decode.table_sizes(parts["table features"])
    return Capabilities(
        version=version,
        max_meters=meters.max_meters,
        meter_burst=meters.meter_burst,
        meter_kbps=meters.meter_kbps,
        select_groups=groups.select_groups,
        max_groups=groups.max_groups,
        tables=len(sizes) or 254,
        controller_meter=METER_PROBE not in refused_probes or _is_our_limit(parts, refused_probes),
        port_masks=PORT_MASK_PROBE not in refused_probes,
        normal=NORMAL_PROBE not in refused_probes,
        learn=LEARN_PROBE not in refused_probes,
        conntrack=TRACK_PROBE not in refused_probes,
        sample=SAMPLE_PROBE not in refused_probes,
        description=_description(parts["description"]),
    )


def _is_our_limit(parts: Mapping[str, tuple[Any, ...]], refused_probes: Mapping[Change, str]) -> bool:
    """Return whether the device has a controller meter already that is made as ours is."""
    if refused_probes.get(METER_PROBE) != _EXISTS:
        return False
    found = (meter for meter in readback.meters(parts["meters"]) if meter.meter_id == CONTROLLER_METER)
    return any(meter == controller_meter(meter.rate) for meter in found)


def has_foreign_limit(capabilities: Capabilities, refused_probes: Mapping[Change, str]) -> bool:
    """Return whether the device has a controller meter that is not ours."""
    return refused_probes.get(METER_PROBE) == _EXISTS and not capabilities.controller_meter


def _spec(meter_id: int, meter: MeterEntry | None) -> MeterSpec:
    """Return a meter in the units of the core; with rate 0 where it is not as ours are."""
    if meter is None or meter.packets:
        return MeterSpec(meter_id, 0, 0)
    return MeterSpec(meter_id, meter.rate * 1000, meter.burst * 1000)


def _pin_room(size: int) -> int | None:
    """Count the pins that a table of so many entries takes beside our own; None for a size of 0, which is unknown."""
    return max(size - ENTRIES_BESIDE_PINS, 0) if size else None


def _description(parts: tuple[Any, ...]) -> str:
    """Join manufacturer, hardware and software in one line; each has 256 bytes at most (7.3.5.1)."""
    for body in (getattr(part, "body", None) for part in parts):
        values = (getattr(body, name, b"") for name in ("mfr_desc", "hw_desc", "sw_desc"))
        texts = (
            value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in values
        )
        return ", ".join(text for text in texts if text and text != "None")
    return ""


def _hosts(entries: Iterable[FlowEntry]) -> Iterator[tuple[int, int]]:
    """Yield (MAC, port) of the hosts in the device's entries; without them frames to these hosts would be flooded."""
    for entry in entries:
        if entry.table_id == TableId.FORWARD and entry.priority == Priority.HOST:
            mac = fields.values(entry.match).get("eth_dst")
            for step in entry.steps:
                if mac is not None and isinstance(step, WriteMetadata):
                    yield mac, pipeline.egress_of(step.value)


def _tracked_ports(entries: Iterable[FlowEntry]) -> set[int]:
    """Return the ports whose packets pass the connection tracker: they do so still after a restart."""
    ports = {
        fields.values(entry.match).get("in_port") for entry in entries if entry.table_id == TableId.TRACK
    }
    return {port_no for port_no in ports if port_no is not None}


def _present(
    parts: Mapping[str, tuple[Any, ...]],
    arranged: Arrangement,
    entries: Iterable[SentEntry],
    pins: Iterable[FoundPin],
) -> tuple[Standing, dict[int, MeterEntry], frozenset[int]]:
    """Return our standing entries, the meters of our pins, and which of these have an entry that marks them as ours.

    Groups and meters are ours if our entries use them, and nobody else's.
    """
    layout, others = arranged.layout, arranged.others
    standing = diff.standing_part(
        (sent.entry for sent in entries),
        readback.groups(parts["groups"], layout),
        readback.meters(parts["meters"]),
    )
    of_pins = {pin.meter_id for pin in pins} - others.meters
    # The entry by which a meter of pins is known as ours is the session's while pins use the meter. The others are
    # superfluous, and are deleted with their meters.
    marks = {meter_mark(meter_id): meter_id for meter_id in of_pins}
    marked = frozenset(marks[flow] for flow in standing.flows if flow in marks)
    flows = tuple(flow for flow in standing.flows if flow not in marks)
    steps = {step for flow in flows for step in flow.steps}
    limit = CONTROLLER_METER if arranged.capabilities.controller_meter else 0
    present = Standing(
        flows,
        tuple(
            group
            for group in standing.groups
            if UseGroup(group.group_id) in steps and group.group_id not in others.groups
        ),
        tuple(
            meter
            for meter in standing.meters
            if meter.meter_id == limit
            or (Meter(meter.meter_id) in steps and meter.meter_id not in others.meters)
        ),
    )
    meters = {meter.meter_id: meter for meter in readback.meters(parts["meters"])}
    of_pins_only = {meter_id: meter for meter_id, meter in meters.items() if meter_id in of_pins}
    return present, of_pins_only, marked
