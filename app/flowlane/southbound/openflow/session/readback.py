"""Entries of a device, read back as the values that were sent, so that present and desired can be compared.

An entry that Flowlane could not have made (it has an action or a field that Flowlane never uses) becomes
None, like anything malformed: it is left alone.

Learned entries, and those of other controllers, are skipped where only the entries that Flowlane has sent are
needed. A device that connects may report ten thousand of them, and os-ken's objects of those would take a
second, in which no other device is served.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from flowlane.core.events import FoundPin, LearnedEnded, LearnedFlow
from flowlane.core.marks import FIRST_PCP
from flowlane.core.model import NOT_A_VM
from flowlane.core.pacing import no_pause, paced
from flowlane.southbound.openflow.session import decode, learned_entries
from flowlane.southbound.openflow.tables import diff, pins, pipeline
from flowlane.southbound.openflow.tables.entries import (
    Bucket,
    FlowEntry,
    Goto,
    GroupEntry,
    Meter,
    MeterEntry,
    Output,
    PushVlan,
    SetMark,
    SetQueue,
    Standing,
    Step,
    UseGroup,
    WriteMetadata,
)
from flowlane.southbound.openflow.tables.foreign import ForeignEntry
from flowlane.southbound.openflow.tables.layout import DEFAULT, Layout
from flowlane.southbound.openflow.tables.pipeline import TableId
from flowlane.southbound.openflow.wire import cookies, fields, flow_stats, nicira
from flowlane.southbound.openflow.wire.constants import (
    APPLY_ACTIONS,
    CONTROLLER_PORT,
    DROP_BAND,
    IDLE_TIMEOUT,
    METER_BURST,
    METER_PACKETS,
    SELECT_GROUP,
)
from flowlane.southbound.openflow.wire.instructions import Leads
from flowlane.southbound.openflow.wire.nicira import Load, Resubmit, Sample
from flowlane.southbound.openflow.wire.selection import selected_by

Message = Any
_LEARNED = cookies.pack(cookies.Kind.LEARNED)
_SAME_TABLE = 0xFF
_CACHE, _LEARNED_CACHE = "flowlane_sent_entries", "flowlane_learned_flows"
"""Attributes of a reply with what was read of it, since it is read several times."""


class SentEntry(NamedTuple):
    """An entry of ours, with the numbers of the device, and its counters: packets and bytes."""

    entry: FlowEntry
    packets: int
    octets: int


def read_sent(part: Message) -> Sequence[SentEntry]:
    """Read our entries in a part of a reply, but for learned ones; the part keeps them for the next time.

    A session reads each part when it comes: a device may have ten thousand entries of ours, and nobody else is served
    while all of them are read.
    """
    entries = getattr(part, _CACHE, None)
    if not isinstance(entries, list):
        entries = list(_sent_in(part))
        with suppress(AttributeError):
            setattr(part, _CACHE, entries)
    return entries


def read_early(part: Message, pause: Callable[[], None]) -> None:
    """Read all that a handshake needs of a part with flow statistics when it comes.

    Args:
        pause: called between two entries; others may be served then.
    """
    if flow_stats.entries(part) is None:
        return
    for cache, read in ((_CACHE, _sent_in), (_LEARNED_CACHE, _READER.read)):
        entries = []
        for entry in read(part):
            entries.append(entry)
            pause()
        setattr(part, cache, entries)


def _sent_in(part: Message) -> Iterator[SentEntry]:
    entries = flow_stats.entries(part)
    try:
        ours = [
            raw
            for raw in entries or ()
            if raw.cookie >> 48 == cookies.OWNER and raw.cookie & cookies.KIND_MASK != _LEARNED
        ]
    except ValueError:
        entries = None
    if entries is None:
        for stats in decode.bodies((part,)):
            if (entry := flow_entry(stats)) is not None:
                yield SentEntry(entry, *_packets_and_octets(stats))
        return
    for raw in ours:
        if (entry := _entry_of_bytes(part, raw)) is not None:
            yield SentEntry(entry, raw.packets, raw.octets)


def _packets_and_octets(stats: Message) -> tuple[int, int]:
    try:
        return decode.counters(stats)[:2]
    except (AttributeError, KeyError, TypeError):
        return 0, 0


@decode.none_if_malformed
def _entry_of_bytes(part: Message, raw: flow_stats.RawEntry) -> FlowEntry | None:
    """Make an entry of its bytes; only instructions that were not seen before are parsed by os-ken."""
    terms = fields.unpack(raw.fields)
    if terms is None or cookies.unpack(raw.cookie) is None:
        return None
    place = part.version, raw.instructions
    steps = _STEPS_OF.get(place)
    if steps is None:
        stats = decode.entry_at(part, raw.start)
        if stats is None:
            return None
        steps = tuple(_steps(stats.instructions))
        if len(_STEPS_OF) >= MAX_STEPS:
            _STEPS_OF.clear()
        _STEPS_OF[place] = steps
    return FlowEntry(
        raw.table_id, raw.priority, terms, steps, raw.cookie, raw.idle_timeout, raw.hard_timeout, raw.flags
    )


MAX_STEPS = 4096
"""Instructions of entries of which the meaning is stored; those of pins are few."""

_STEPS_OF: dict[tuple[int, bytes], tuple[Step, ...]] = {}
"""Version and bytes of an entry's instructions -> steps."""


@decode.none_if_malformed
def flow_entry(stats: Message) -> FlowEntry | None:
    """Read one entry of a flow statistics (1.3, 1.4) or flow-desc (1.5) reply; None when it is not ours.

    Numbers of tables and priorities are those of the device.
    """
    if cookies.unpack(stats.cookie) is None:
        return None
    terms = match(stats.match)
    if terms is None:
        return None
    return FlowEntry(
        stats.table_id,
        stats.priority,
        terms,
        tuple(_steps(stats.instructions)),
        stats.cookie,
        stats.idle_timeout,
        stats.hard_timeout,
        stats.flags,
    )


@decode.none_if_malformed
def foreign_entry(stats: Message) -> ForeignEntry | None:
    """Read an entry of another controller from os-ken's object of it; None when it is ours."""
    if stats.cookie >> 48 == cookies.OWNER:
        return None
    actions = [action for step in stats.instructions for action in getattr(step, "actions", None) or ()]
    leads = leads_of([*stats.instructions, *actions])
    return ForeignEntry(stats.table_id, stats.priority, _fields(stats.match), leads)


def leads_of(items: Iterable[Message]) -> Leads:
    """Return where os-ken's objects of instructions and actions lead."""

    def numbers(*names: str) -> frozenset[int]:
        values = (getattr(item, name, None) for item in items for name in names)
        return frozenset(value for value in values if isinstance(value, int))

    items = list(items)
    tables = frozenset(number for number in numbers("table_id", "recirc_table") if number < _SAME_TABLE)
    return Leads(tables, CONTROLLER_PORT in numbers("port"), numbers("group_id"), numbers("meter_id"))


def match(osken_match: Message) -> fields.Match | None:
    """Convert os-ken's match, by way of its bytes, which are the same in all versions."""
    return fields.unpack(_fields(osken_match))


def _fields(osken_match: Message) -> bytes:
    buffer = bytearray()
    osken_match.serialize(buffer, 0)
    return bytes(buffer[4 : int.from_bytes(buffer[2:4], "big")])


def _steps(instructions: Iterable[Message]) -> list[Step]:
    """Convert instructions.

    Raises:
        KeyError: one of them, or an action in it, is none that Flowlane uses.
    """
    steps: list[Step] = []
    for instruction in instructions:
        name = type(instruction).__name__
        if name == "OFPInstructionActions" and instruction.type == APPLY_ACTIONS:
            steps += (_STEPS[type(action).__name__](action) for action in instruction.actions)
        else:
            steps.append(_STEPS[name](instruction))
    return steps


def _output(action: Message) -> Output:
    return Output(action.port, action.max_len if action.port == CONTROLLER_PORT else 0)


def _value(value: Any) -> int:
    """Return a field's value, without its mask."""
    return int(value[0] if isinstance(value, tuple) else value)


def _set_field(name: str, value: int) -> Step:
    """Convert a set-field action: a mark that is written to the packet, or a register that is loaded."""
    if name == "vlan_pcp":
        return SetMark(FIRST_PCP + value)
    return SetMark(value) if name == "ip_dscp" else Load(name, value)


def _bytes(action: Message) -> bytes:
    buffer = bytearray()
    action.serialize(buffer, 0)
    # os-ken counts the padding in the length, but does not write it.
    return bytes(buffer).ljust(int.from_bytes(buffer[2:4], "big"), b"\0")


def _learn(action: Message) -> Step:
    """Convert a learn action.

    Raises:
        ValueError: Flowlane does not make such a learn action.
    """
    step = nicira.read_learn(_bytes(action))
    if step is None:
        raise ValueError("not a learn action that Flowlane makes")
    return step


def _track(action: Message) -> Step:
    """Convert a ct action.

    Raises:
        ValueError: Flowlane does not make such a ct action.
    """
    step = nicira.read_track(_bytes(action))
    if step is None:
        raise ValueError("not a ct action that Flowlane makes")
    return step


_STEPS: dict[str, Callable[[Any], Step]] = {
    "OFPInstructionMeter": lambda instruction: Meter(instruction.meter_id),
    "OFPInstructionWriteMetadata": lambda instruction: WriteMetadata(
        instruction.metadata, instruction.metadata_mask
    ),
    "OFPInstructionGotoTable": lambda instruction: Goto(instruction.table_id),
    "OFPActionMeter": lambda action: Meter(action.meter_id),
    "OFPActionSetQueue": lambda action: SetQueue(action.queue_id),
    "OFPActionGroup": lambda action: UseGroup(action.group_id),
    "OFPActionOutput": _output,
    "OFPActionSetField": lambda action: _set_field(action.key, _value(action.value)),
    "OFPActionPushVlan": lambda _action: PushVlan(),
    "NXActionRegLoad": lambda action: Load(action.dst, action.value),
    "NXActionResubmitTable": lambda action: Resubmit(action.table_id),
    "NXActionLearn": _learn,
    "NXActionCT": _track,
    "NXActionSample": lambda action: Sample(
        action.probability, action.collector_set_id, action.obs_domain_id, action.obs_point_id
    ),
}
"""Name of os-ken's class of an instruction or action -> function that converts it."""


def flow_entries(parts: Iterable[Message], layout: Layout = DEFAULT) -> tuple[FlowEntry, ...]:
    """Read our entries in a flow statistics reply, but for learned entries."""
    return tuple(sent.entry for sent in sent_entries(parts, layout))


def flow_entries_of(
    parts: Iterable[Message], layout: Layout, pace: Callable[[], None]
) -> Iterator[FlowEntry]:
    """Yield our entries as :func:`flow_entries` does, with ``pace`` called now and then; nothing keeps them."""
    for part in parts:
        pace()
        for sent in paced(_sent_in(part), pace):
            yield layout.flow_from_device(sent.entry)


def sent_entries(parts: Iterable[Message], layout: Layout = DEFAULT) -> Iterator[SentEntry]:
    """Yield our entries in all parts, but for learned ones, with the numbers of the layout."""
    for part in parts:
        for sent in read_sent(part):
            yield sent._replace(entry=layout.flow_from_device(sent.entry))


def groups(parts: Iterable[Message], layout: Layout = DEFAULT) -> tuple[GroupEntry, ...]:
    """Read the select groups of a group-desc reply that have buckets such as ours."""
    entries = (entry for desc in decode.bodies(parts) if (entry := _group(desc)) is not None)
    return tuple(map(layout.group_from_device, entries))


@decode.none_if_malformed
def _group(desc: Message) -> GroupEntry | None:
    if desc.type != SELECT_GROUP:
        return None
    properties = [item.data for item in getattr(desc, "properties", None) or ()]
    select_by = selected_by(properties)
    if select_by is None:
        return None
    return GroupEntry(desc.group_id, tuple(map(bucket, desc.buckets)), select_by)


def bucket(osken_bucket: Message) -> Bucket:
    """Convert os-ken's bucket.

    Raises:
        ValueError, KeyError, StopIteration: Flowlane does not make such a bucket.
    """
    steps = tuple(_STEPS[type(action).__name__](action) for action in osken_bucket.actions)
    match steps:
        case SetQueue(queue_id), Output(port_no):
            return Bucket(queue_id, port_no, _weight(osken_bucket))
        case Load(nicira.QUEUE, value), Resubmit(table_id):
            return Bucket(value - 1, 0, _weight(osken_bucket), table_id)
    raise ValueError("not a bucket that Flowlane makes")


def _weight(osken_bucket: Message) -> int:
    """Return the weight, which a bucket has itself until 1.4, and in a property in 1.5."""
    holders = (osken_bucket, *(getattr(osken_bucket, "properties", None) or ()))
    return next(int(holder.weight) for holder in holders if hasattr(holder, "weight"))


def ids(parts: Iterable[Message], name: str) -> tuple[int, ...]:
    """Return the ids of all groups or meters in a reply, whoever has made them.

    Args:
        name: ``group_id`` or ``meter_id``.
    """
    values = (getattr(body, name, None) for body in decode.bodies(parts))
    return tuple(value for value in values if isinstance(value, int))


def meters(parts: Iterable[Message]) -> tuple[MeterEntry, ...]:
    """Read the meters of a meter-config (1.3, 1.4) or meter-desc (1.5) reply that have one drop band."""
    return tuple(entry for config in decode.bodies(parts) if (entry := _meter(config)) is not None)


@decode.none_if_malformed
def _meter(config: Message) -> MeterEntry | None:
    (band,) = config.bands
    if band.type != DROP_BAND:
        return None
    burst = band.burst_size if config.flags & METER_BURST else 0
    return MeterEntry(config.meter_id, band.rate, burst, bool(config.flags & METER_PACKETS))


def standing(
    flow_parts: Iterable[Message],
    group_parts: Iterable[Message] = (),
    meter_parts: Iterable[Message] = (),
    layout: Layout = DEFAULT,
) -> Standing:
    """Read the standing entries of a device, for :func:`flowlane.southbound.openflow.tables.diff.changes`."""
    flows = flow_entries(flow_parts, layout)
    return diff.standing_part(flows, groups(group_parts, layout), meters(meter_parts))


def found_pins(parts: Iterable[Message], layout: Layout = DEFAULT) -> tuple[FoundPin, ...]:
    """Read the pins in a reply that has all of our entries.

    The number of a pin's VM comes from the entries of table ingress for its in_port: NOT_A_VM when the reply
    has no such entry, UNRESOLVED_VM when the port is a link.
    """
    return pins_in(list(sent_entries(parts, layout)))


def pins_in(entries: Collection[SentEntry], pace: Callable[[], None] = no_pause) -> tuple[FoundPin, ...]:
    """Return the pins among our entries.

    Args:
        pace: called now and then (see :mod:`flowlane.core.pacing`).
    """
    vms = senders(sent.entry for sent in paced(entries, pace))
    found = (_found_pin(sent, vms) for sent in paced(entries, pace) if sent.entry.table_id == TableId.ASSIGN)
    return tuple(pin for pin in found if pin is not None)


@decode.none_if_malformed
def _found_pin(sent: SentEntry, senders: dict[int, int]) -> FoundPin | None:
    in_port = fields.values(sent.entry.match).get("in_port", 0)
    return pins.found_pin(sent.entry, senders.get(in_port, NOT_A_VM), sent.packets, sent.octets)


def senders(entries: Iterable[FlowEntry]) -> dict[int, int]:
    """Return in_port -> VM number, as table ingress writes it."""
    found: dict[int, int] = {}
    for entry in entries:
        in_port = fields.values(entry.match).get("in_port")
        if entry.table_id == TableId.INGRESS and in_port is not None:
            for step in entry.steps:
                if isinstance(step, WriteMetadata):
                    found[in_port] = pipeline.sender_of(step.value)
    return found


def learned_flows(parts: Iterable[Message]) -> tuple[LearnedFlow, ...]:
    """Read the flows in a reply that have a learned entry."""
    return tuple(flow for part in parts for flow in learned_in(part))


def learned_in(part: Message) -> Collection[LearnedFlow]:
    """Read the flows in a part of a reply that have a learned entry."""
    flows = getattr(part, _LEARNED_CACHE, None)
    return flows if isinstance(flows, list) else _READER.read(part)


@decode.none_if_malformed
def _learned_flow(stats: Message) -> LearnedFlow | None:
    cookie = cookies.unpack(stats.cookie)
    if cookie is None or cookie.kind is not cookies.Kind.LEARNED:
        return None
    terms = match(stats.match)
    entry = pins.read_learned(terms) if terms is not None else None
    if entry is None:
        return None
    loads = {step.field: step.value for step in _steps(stats.instructions) if isinstance(step, Load)}
    packets, octets, seconds = decode.counters(stats)
    return LearnedFlow(
        entry.key,
        entry.in_port,
        entry.egress_port,
        entry.eth_src,
        loads.get(nicira.QUEUE, 0) - 1,
        packets,
        octets,
        loads.get(nicira.DSCP, 0),
        loads.get(nicira.PCP, 0),
        loads.get(nicira.METER, 0),
        cookie.object_id,
        seconds,
    )


def learned_tables(parts: Iterable[Message], pace: Callable[[], None] = no_pause) -> frozenset[int]:
    """Return the numbers of the tables on the device that have learned entries.

    Args:
        pace: called after each part (see :mod:`flowlane.core.pacing`).
    """
    found: set[int] = set()
    for part in parts:
        pace()
        with suppress(ValueError):
            entries = flow_stats.entries(part) or ()
            found.update(raw.table_id for raw in entries if raw.cookie & cookies.KIND_MASK == _LEARNED)
    return frozenset(found)


_READER = learned_entries.Reader(_learned_flow)


@decode.none_if_malformed
def learned_ended(dpid: int, message: Message) -> LearnedEnded | None:
    """Read the flow-removed message of a learned entry; None for other entries."""
    cookie = cookies.unpack(message.cookie)
    if cookie is None or cookie.kind is not cookies.Kind.LEARNED:
        return None
    terms = match(message.match)
    entry = pins.read_learned(terms) if terms is not None else None
    if entry is None:
        return None
    packets, octets, _ = decode.counters(message)
    return LearnedEnded(dpid, *entry, packets, octets, message.reason == IDLE_TIMEOUT)
