"""Flow, group and meter entries as values that are compared by equality, and their text in ovs-ofctl's language.

os-ken's messages compare by identity and change when they are serialized. So what is desired, sent and read
back is stored in these values, and messages exist only in the package ``session``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from typing import Any

from flowlane.core import marks
from flowlane.southbound.openflow.tables import pipeline
from flowlane.southbound.openflow.tables.pipeline import Act, Priority, TableId
from flowlane.southbound.openflow.wire import cookies, fields, nicira
from flowlane.southbound.openflow.wire.constants import (
    ALL_PORTS,
    CONTROLLER_METER,
    CONTROLLER_PORT,
    NORMAL_PORT,
    SEND_FLOW_REMOVED,
)
from flowlane.southbound.openflow.wire.nicira import Learn, Load, Resubmit, Sample, Track


@dataclass(frozen=True, slots=True)
class Meter:
    """Pass the packet through a meter."""

    meter_id: int


@dataclass(frozen=True, slots=True)
class SetQueue:
    """Choose the queue of the port that the packet leaves by."""

    queue_id: int


@dataclass(frozen=True, slots=True)
class SetMark:
    """Write the DSCP or PCP of a mark (:mod:`flowlane.core.marks`); the match has to select packets with that field."""

    mark: int


@dataclass(frozen=True, slots=True)
class PushVlan:
    """Give the packet a tag of VLAN 0."""


@dataclass(frozen=True, slots=True)
class Output:
    """Send the packet; ``max_len`` cuts copies to the controller to so many bytes."""

    port_no: int
    max_len: int = 0


@dataclass(frozen=True, slots=True)
class UseGroup:
    """Pass the packet to a group."""

    group_id: int


@dataclass(frozen=True, slots=True)
class WriteMetadata:
    """Write the bits of ``mask``."""

    value: int
    mask: int


@dataclass(frozen=True, slots=True)
class Goto:
    """Go on in a later table."""

    table_id: int


Step = (
    Meter
    | SetQueue
    | SetMark
    | PushVlan
    | Output
    | UseGroup
    | WriteMetadata
    | Goto
    | Load
    | Resubmit
    | Track
    | Learn
    | Sample
)


@dataclass(frozen=True, slots=True)
class FlowEntry:
    """A flow entry. ``steps`` are in the order in which they take effect; no steps: drop. Timeouts are s."""

    table_id: int
    priority: int
    match: fields.Match
    steps: tuple[Step, ...]
    cookie: int
    idle_timeout: int = 0
    hard_timeout: int = 0
    flags: int = 0

    def __str__(self) -> str:
        """Write the entry in ovs-ofctl's language."""
        return flow_text(self)


@dataclass(frozen=True, slots=True)
class Bucket:
    """One way out of a select group; ``weight`` relative to the others'.

    ``table_id`` None: the packet is sent by the port with the queue. Otherwise it goes on in that table with
    the queue in its register, and ``port_no`` is 0.
    """

    queue_id: int
    port_no: int
    weight: int
    table_id: int | None = None

    @property
    def steps(self) -> tuple[Step, ...]:
        """The bucket's actions."""
        if self.table_id is None:
            return SetQueue(self.queue_id), Output(self.port_no)
        return Load(nicira.QUEUE, self.queue_id + 1), Resubmit(self.table_id)


@dataclass(frozen=True, slots=True)
class GroupEntry:
    """A group of type select: one bucket per packet, the same for all packets of a flow.

    ``select_by``: the selection method (see :mod:`flowlane.southbound.openflow.wire.selection`); '': the
    device's own.
    """

    group_id: int
    buckets: tuple[Bucket, ...]
    select_by: str = ""

    def __str__(self) -> str:
        """Write the group in ovs-ofctl's language."""
        ways = (f"bucket=weight:{b.weight},actions={','.join(map(step_text, b.steps))}" for b in self.buckets)
        how = f",selection_method={self.select_by}" if self.select_by else ""
        return ",".join((f"group_id={self.group_id},type=select{how}", *ways))


@dataclass(frozen=True, slots=True)
class MeterEntry:
    """A meter with one drop band, in the device's units.

    ``rate`` is kbit/s, or packets/s with ``packets``; ``burst`` kbit, or packets; 0: the device's default.
    """

    meter_id: int
    rate: int
    burst: int
    packets: bool = False

    def __str__(self) -> str:
        """Write the meter in ovs-ofctl's language."""
        name = "controller" if self.meter_id == CONTROLLER_METER else str(self.meter_id)
        unit = "pktps" if self.packets else "kbps"
        burst = f",burst_size={self.burst}" if self.burst else ""
        return f"meter={name},{unit}{',burst' if self.burst else ''},bands=type=drop,rate={self.rate}{burst}"


Entry = FlowEntry | GroupEntry | MeterEntry


class Op(Enum):
    """What a change does to its entry; a barrier has none."""

    ADD = "add"
    MODIFY = "modify"
    DELETE = "delete"
    BARRIER = "barrier"


@dataclass(frozen=True, slots=True)
class Change:
    """One message to a device. A flow entry is deleted only if it has the same cookie."""

    op: Op
    entry: Entry | None = None

    def __str__(self) -> str:
        """Write the change as text."""
        return self.op.value if self.entry is None else f"{self.op.value} {self.entry}"


BARRIER = Change(Op.BARRIER)


@dataclass(frozen=True, slots=True)
class Standing:
    """The standing entries of a device: all but pins, their meters, and learned entries."""

    flows: tuple[FlowEntry, ...] = ()
    groups: tuple[GroupEntry, ...] = ()
    meters: tuple[MeterEntry, ...] = ()


EMPTY = Standing()


def flow(
    table: TableId,
    priority: int,
    match: fields.Match,
    steps: Iterable[Step],
    cookie: int,
    idle_timeout: int = 0,
    flags: int = 0,
) -> FlowEntry:
    """Make a flow entry that the pipeline declares.

    Raises:
        PipelineError: it is not what the pipeline declares, or a queue is set after the output that needs it.
    """
    return _flow(table, int(priority), match, tuple(steps), cookie, idle_timeout, flags)


MOST_SHARED = 2048
"""Entries that devices share: with one policy on all of them most entries are the same, and are made once."""


@lru_cache(MOST_SHARED)
def _flow(
    table: TableId,
    priority: int,
    match: fields.Match,
    all_steps: tuple[Step, ...],
    cookie: int,
    idle_timeout: int,
    flags: int,
) -> FlowEntry:
    acts = [act for step in all_steps if (act := act_of(step)) is not None]
    pipeline.check(table, match, acts, None)
    for step in all_steps:
        if isinstance(step, Goto | Resubmit | Track) and step.table_id is not None:
            pipeline.check(table, match, acts, step.table_id)
    check_queue_first(all_steps)
    return FlowEntry(table, priority, match, all_steps, cookie, idle_timeout, 0, flags)


def learn(family: nicira.Family, idle_timeout: int) -> Learn:
    """Make the step that learns the flows of a family in table seen, with an idle timeout in s."""
    return Learn(family, idle_timeout, TableId.SEEN, Priority.PIN, cookies.learned(0))


def counted_group(group: int) -> FlowEntry:
    """Make the entry of table learn that counts the packets of a group of learned entries, and leads on."""
    terms = fields.match(**{nicira.GROUP: nicira.group_value(group)})
    return flow(
        TableId.LEARN,
        Priority.GROUP,
        terms,
        (Goto(TableId.OUTPUT),),
        cookies.pack(cookies.Kind.GROUP, 0, group),
    )


def in_group(entry: FlowEntry, group: int) -> FlowEntry:
    """Return an entry that puts what it learns in a group; the entry itself when it does so, or learns nothing."""
    if entry.table_id != TableId.LEARN or not any(isinstance(step, Learn) for step in entry.steps):
        return entry
    cookie = cookies.learned(group)
    steps = tuple(replace(step, cookie=cookie) if isinstance(step, Learn) else step for step in entry.steps)
    return entry if steps == entry.steps else replace(entry, steps=steps)


def learned_group(flows: Iterable[FlowEntry]) -> int:
    """Return the group in which these entries put what they learn, the last one where they differ; 0 for none."""
    learning = (step.cookie for entry in flows for step in entry.steps if isinstance(step, Learn))
    return max(map(cookies.group_of, learning), default=0)


def mark_field(mark: int) -> str:
    """Return the match field that a mark is written to."""
    return "vlan_pcp" if marks.is_pcp(mark) else "ip_dscp"


def counted_groups(flows: Iterable[FlowEntry]) -> frozenset[int]:
    """Return the groups of learned entries that these entries count."""
    kinds = (cookies.unpack(entry.cookie) for entry in flows)
    return frozenset(
        cookie.object_id for cookie in kinds if cookie is not None and cookie.kind is cookies.Kind.GROUP
    )


def act_of(step: Step) -> Act | None:
    """Return the kind of a step as the pipeline declares it; None for a goto."""
    if isinstance(step, Output):
        return Act.COPY if step.port_no == CONTROLLER_PORT else Act.OUTPUT
    return _ACTS.get(type(step))


def check_queue_first(steps: tuple[Step, ...]) -> None:
    """Check that no step sets a queue or a mark after an output, where it would have no effect and give no error.

    Raises:
        PipelineError: one does.
    """
    after_output = False
    for step in steps:
        if after_output and isinstance(step, SetQueue | SetMark):
            what = "set_queue" if isinstance(step, SetQueue) else "a mark"
            raise pipeline.PipelineError(f"{what} after output has no effect")
        after_output = after_output or act_of(step) is Act.OUTPUT


_ACTS = {
    Meter: Act.METER,
    SetQueue: Act.SET_QUEUE,
    SetMark: Act.SET_MARK,
    PushVlan: Act.SET_MARK,
    UseGroup: Act.GROUP,
    WriteMetadata: Act.WRITE_METADATA,
    Load: Act.LOAD,
    Resubmit: Act.RESUBMIT,
    Track: Act.TRACK,
    Learn: Act.LEARN,
    Sample: Act.SAMPLE,
}


def flow_text(entry: FlowEntry) -> str:
    """Write a flow entry so that ``ovs-ofctl add-flow`` takes it."""
    parts = [f"table={entry.table_id}", f"priority={entry.priority}", f"cookie=0x{entry.cookie:x}"]
    if entry.idle_timeout:
        parts.append(f"idle_timeout={entry.idle_timeout}")
    if entry.hard_timeout:
        parts.append(f"hard_timeout={entry.hard_timeout}")
    if entry.flags & SEND_FLOW_REMOVED:
        parts.append("send_flow_rem")
    if entry.match:
        parts.append(fields.text(entry.match))
    return ",".join(parts) + ",actions=" + (",".join(map(step_text, entry.steps)) or "drop")


def step_text(step: Step) -> str:
    """Write a step in ovs-ofctl's language."""
    return _STEP_TEXTS[type(step)](step)


def _output_text(step: Output) -> str:
    if step.port_no == CONTROLLER_PORT:
        return f"CONTROLLER:{step.max_len}"
    return {ALL_PORTS: "ALL", NORMAL_PORT: "NORMAL"}.get(step.port_no, f"output:{step.port_no}")


_STEP_TEXTS: dict[type, Callable[[Any], str]] = {
    Meter: lambda step: f"meter:{step.meter_id}",
    SetQueue: lambda step: f"set_queue:{step.queue_id}",
    SetMark: lambda step: (
        f"set_field:{marks.value_of(step.mark)}->{fields.FIELDS[mark_field(step.mark)].ofctl}"
    ),
    PushVlan: lambda _step: "push_vlan:0x8100",
    Output: _output_text,
    UseGroup: lambda step: f"group:{step.group_id}",
    WriteMetadata: lambda step: f"write_metadata:0x{step.value:x}/0x{step.mask:x}",
    Goto: lambda step: f"goto_table:{step.table_id}",
    Load: nicira.text,
    Resubmit: nicira.text,
    Track: nicira.text,
    Learn: nicira.text,
    Sample: nicira.text,
}
