"""What stands in a device, read back as the same data that was sent, so that the two can be compared.

An entry that Flowlane could not have made (an action or field it never uses) gives None, like anything
malformed: it is not ours to touch.

The entries of a reply that the controller has programmed, as os-ken reads them.

A device that connects tells of all entries, and ten thousand of them may be learned ones, of which nothing is wanted
here: to make os-ken's objects of those would hold every other device up for a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from flowlane.core.events import FoundPin, LearnedEnded, LearnedFlow
from flowlane.core.model import NOT_A_VM
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
    SetQueue,
    Standing,
    Step,
    UseGroup,
    WriteMetadata,
)
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
from flowlane.southbound.openflow.wire.nicira import Load, Resubmit
from flowlane.southbound.openflow.wire.selection import selected_by

Message = Any
_LEARNED = cookies.pack(cookies.Kind.LEARNED)
_KEPT = "flowlane_programmed"
"""Attribute of a reply: what was read of it, for it is looked at several times."""


def programmed(parts: Iterable[Message]) -> Iterator[Message]:
    """os-ken's entries of all parts, those left out that the device learned where they can be told apart."""
    for part in parts:
        kept = getattr(part, _KEPT, None)
        if not isinstance(kept, list):
            kept = list(_not_learned(part))
            with suppress(AttributeError):
                setattr(part, _KEPT, kept)
        yield from kept


def _not_learned(part: Message) -> Iterable[Message]:
    found = flow_stats.entries(part)
    try:
        starts = [raw.start for raw in found or () if raw.cookie & cookies.KIND_MASK != _LEARNED]
    except ValueError:
        found = None
    if found is None:
        return decode.bodies((part,))
    return (part.cls_stats_body_cls.parser(part.buf, start) for start in starts)


@decode.forgiving
def flow_entry(stats: Message) -> FlowEntry | None:
    """An entry of ours out of a flow statistics (1.3, 1.4) or flow-desc (1.5) reply."""
    if cookies.unpack(stats.cookie) is None:
        return None
    wanted = match(stats.match)
    if wanted is None:
        return None
    return FlowEntry(
        stats.table_id,
        stats.priority,
        wanted,
        tuple(_steps(stats.instructions)),
        stats.cookie,
        stats.idle_timeout,
        stats.hard_timeout,
        stats.flags,
    )


def match(found: Message) -> fields.Match | None:
    """os-ken's match as ours. It is written back to bytes, which are the same in all versions."""
    buffer = bytearray()
    found.serialize(buffer, 0)
    length = int.from_bytes(buffer[2:4], "big")
    return fields.unpack(bytes(buffer[4:length]))


def _steps(instructions: Iterable[Message]) -> list[Step]:
    """Raises KeyError for an instruction or action that Flowlane does not use."""
    found: list[Step] = []
    for instruction in instructions:
        name = type(instruction).__name__
        if name == "OFPInstructionActions" and instruction.type == APPLY_ACTIONS:
            found += (_STEPS[type(action).__name__](action) for action in instruction.actions)
        else:
            found.append(_STEPS[name](instruction))
    return found


def _output(action: Message) -> Output:
    return Output(action.port, action.max_len if action.port == CONTROLLER_PORT else 0)


def _plain(value: Any) -> int:
    return int(value[0] if isinstance(value, tuple) else value)


def _bytes(action: Message) -> bytes:
    buffer = bytearray()
    action.serialize(buffer, 0)
    # os-ken counts the padding in the length, but does not write it.
    return bytes(buffer).ljust(int.from_bytes(buffer[2:4], "big"), b"\0")


def _learn(action: Message) -> Step:
    """Raises ValueError when it is not a learn action of ours."""
    found = nicira.read_learn(_bytes(action))
    if found is None:
        raise ValueError("not a learn action of ours")
    return found


def _track(action: Message) -> Step:
    """Raises ValueError when it is not a ct action of ours."""
    found = nicira.read_track(_bytes(action))
    if found is None:
        raise ValueError("not a ct action of ours")
    return found


_STEPS: dict[str, Callable[[Any], Step]] = {
    "OFPInstructionMeter": lambda found: Meter(found.meter_id),
    "OFPInstructionWriteMetadata": lambda found: WriteMetadata(found.metadata, found.metadata_mask),
    "OFPInstructionGotoTable": lambda found: Goto(found.table_id),
    "OFPActionMeter": lambda found: Meter(found.meter_id),
    "OFPActionSetQueue": lambda found: SetQueue(found.queue_id),
    "OFPActionGroup": lambda found: UseGroup(found.group_id),
    "OFPActionOutput": _output,
    "OFPActionSetField": lambda found: Load(found.key, _plain(found.value)),
    "NXActionRegLoad": lambda found: Load(found.dst, found.value),
    "NXActionResubmitTable": lambda found: Resubmit(found.table_id),
    "NXActionLearn": _learn,
    "NXActionCT": _track,
}


def flow_entries(parts: Iterable[Message]) -> tuple[FlowEntry, ...]:
    """Our entries in a flow statistics reply."""
    return tuple(entry for stats in programmed(parts) if (entry := flow_entry(stats)) is not None)


def groups(parts: Iterable[Message]) -> tuple[GroupEntry, ...]:
    """The select groups of a group-desc reply that are made as ours are."""
    return tuple(entry for desc in decode.bodies(parts) if (entry := _group(desc)) is not None)


@decode.forgiving
def _group(desc: Message) -> GroupEntry | None:
    if desc.type != SELECT_GROUP:
        return None
    methods = [part.data for part in getattr(desc, "properties", None) or ()]
    select_by = selected_by(methods)
    if select_by is None:
        return None
    return GroupEntry(desc.group_id, tuple(map(bucket, desc.buckets)), select_by)


def bucket(found: Message) -> Bucket:
    """os-ken's bucket as ours.

    Raises:
        ValueError, KeyError, StopIteration: it does anything else than ours.
    """
    steps = tuple(_STEPS[type(action).__name__](action) for action in found.actions)
    match steps:
        case SetQueue(queue_id), Output(port_no):
            return Bucket(queue_id, port_no, _weight(found))
        case Load(nicira.QUEUE, value), Resubmit(table_id):
            return Bucket(value - 1, 0, _weight(found), table_id)
    raise ValueError("not a bucket of ours")


def _weight(found: Message) -> int:
    """Until 1.4 a bucket has its weight; in 1.5 a property has it."""
    holders = (found, *(getattr(found, "properties", None) or ()))
    return next(int(holder.weight) for holder in holders if hasattr(holder, "weight"))


def meters(parts: Iterable[Message]) -> tuple[MeterEntry, ...]:
    """The meters of a meter-config (1.3, 1.4) or meter-desc (1.5) reply that have one drop band."""
    return tuple(entry for config in decode.bodies(parts) if (entry := _meter(config)) is not None)


@decode.forgiving
def _meter(config: Message) -> MeterEntry | None:
    (band,) = config.bands
    if band.type != DROP_BAND:
        return None
    burst = band.burst_size if config.flags & METER_BURST else 0
    return MeterEntry(config.meter_id, band.rate, burst, bool(config.flags & METER_PACKETS))


def standing(
    flow_parts: Iterable[Message], group_parts: Iterable[Message] = (), meter_parts: Iterable[Message] = ()
) -> Standing:
    """The standing part of a device, as :func:`flowlane.southbound.openflow.tables.diff.changes` wants it."""
    return diff.standing(flow_entries(flow_parts), groups(group_parts), meters(meter_parts))


def found_pins(parts: Iterable[Message]) -> tuple[FoundPin, ...]:
    """The pins in a reply with all of our entries.

    The number of a pin's VM is read from the ingress entries of its in_port; NOT_A_VM when they are not in
    the reply, UNRESOLVED_VM where the device does not know the VM either.
    """
    items = [(entry, stats) for stats in programmed(parts) if (entry := flow_entry(stats)) is not None]
    senders = _senders(entry for entry, _ in items)
    found = (_found_pin(entry, stats, senders) for entry, stats in items)
    return tuple(pin for pin in found if pin is not None)


@decode.forgiving
def _found_pin(entry: FlowEntry, stats: Message, senders: dict[int, int]) -> FoundPin | None:
    packets, octets, _ = decode.counters(stats)
    in_port = fields.values(entry.match).get("in_port", 0)
    return pins.found(entry, senders.get(in_port, NOT_A_VM), packets, octets)


def _senders(entries: Iterable[FlowEntry]) -> dict[int, int]:
    """in_port -> VM number, as the ingress table writes it."""
    found: dict[int, int] = {}
    for entry in entries:
        in_port = fields.values(entry.match).get("in_port")
        if entry.table_id == TableId.INGRESS and in_port is not None:
            for step in entry.steps:
                if isinstance(step, WriteMetadata):
                    found[in_port] = pipeline.sender_of(step.value)
    return found


def learned(parts: Iterable[Message]) -> tuple[LearnedFlow, ...]:
    """The flows in a reply that the device learned itself."""
    return tuple(flow for part in parts for flow in _READER.read(part))


@decode.forgiving
def _learned(stats: Message) -> LearnedFlow | None:
    parts = cookies.unpack(stats.cookie)
    if parts is None or parts.kind is not cookies.Kind.LEARNED:
        return None
    wanted = match(stats.match)
    entry = pins.learned_place(wanted) if wanted is not None else None
    if entry is None:
        return None
    loads = {step.field: step.value for step in _steps(stats.instructions) if isinstance(step, Load)}
    packets, octets, _ = decode.counters(stats)
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
    )


_READER = learned_entries.Reader(_learned)


@decode.forgiving
def key_ended(dpid: int, message: Message) -> LearnedEnded | None:
    """A learned entry that left its table; its reason 0 is the idle timeout in all versions."""
    parts = cookies.unpack(message.cookie)
    if parts is None or parts.kind is not cookies.Kind.LEARNED:
        return None
    wanted = match(message.match)
    entry = pins.learned_place(wanted) if wanted is not None else None
    if entry is None:
        return None
    packets, octets, _ = decode.counters(message)
    return LearnedEnded(dpid, *entry, packets, octets, message.reason == IDLE_TIMEOUT)
