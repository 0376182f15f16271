"""Changes of entries, and packets, as os-ken messages for OpenFlow 1.3, 1.4 and 1.5.

The versions differ in where a meter goes (an instruction until 1.4, an action in 1.5), in how a bucket holds
its weight, and in whether a group can say how it selects a bucket.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from flowlane.core.frame import ETH_VLAN
from flowlane.core.marks import value_of
from flowlane.core.model import NO_PORT, NO_QUEUE
from flowlane.southbound.openflow.tables.entries import (
    Bucket,
    Change,
    FlowEntry,
    Goto,
    GroupEntry,
    Meter,
    MeterEntry,
    Op,
    Output,
    PushVlan,
    SetMark,
    SetQueue,
    Step,
    UseGroup,
    WriteMetadata,
    mark_field,
)
from flowlane.southbound.openflow.tables.layout import DEFAULT, Layout
from flowlane.southbound.openflow.tables.pipeline import TableId, egress
from flowlane.southbound.openflow.wire import cookies, fields, nicira, selection
from flowlane.southbound.openflow.wire.constants import (
    ALL_PORTS,
    NETRONOME,
    NICIRA,
    NORMAL_PORT,
    OPENFLOW_15,
)
from flowlane.southbound.openflow.wire.nicira import Learn, Load, Resubmit, Sample, Track
from flowlane.southbound.openflow.wire.parts import WireAction, WireMatch

if TYPE_CHECKING:
    from flowlane.core.effects import SendPacket

Datapath = Any
"""os-ken's Datapath, or anything with its ``ofproto`` and ``ofproto_parser``."""

Message = Any
"""An os-ken message (MsgBase)."""


_CT_FLUSH_ZONE = 29
"""Type of a message of Open vSwitch: a zone (16 bits) after six bytes of zeros (struct nx_zone_id)."""

COPY_LENGTH = 128
"""Bytes of a packet that an OpenFlow switch copies to a controller by default (7.3.2, miss_send_len)."""


def accept_copies(datapath: Datapath, flags: int) -> Message:
    """Make the message that asks for packet-ins, flow-removed and port-status on this connection.

    Open vSwitch sends none of them to a controller of type ``service`` whose ``miss_send_len`` is 0, its default
    there (Documentation/topics/design.rst, "Asynchronous Messages").

    Args:
        flags: the device's present ones, which are of the whole device and stay as they are.
    """
    return datapath.ofproto_parser.OFPSetConfig(datapath, flags, COPY_LENGTH)


def messages(datapath: Datapath, changes: Iterable[Change], layout: Layout = DEFAULT) -> list[Message]:
    """Make one message for each change, in the same order."""
    return [message(datapath, change, layout) for change in changes]


def message(datapath: Datapath, change: Change, layout: Layout = DEFAULT) -> Message:
    """Make the message of one change, with the numbers that tables have in the layout."""
    change = layout.on_device(change)
    if isinstance(change.entry, FlowEntry):
        return _flow_mod(datapath, change.op, change.entry)
    if isinstance(change.entry, GroupEntry):
        return _group_mod(datapath, change.op, change.entry)
    if isinstance(change.entry, MeterEntry):
        return _meter_mod(datapath, change.op, change.entry)
    return barrier(datapath)


def _flow_mod(datapath: Datapath, op: Op, entry: FlowEntry) -> Message:
    """Make a strict flow-mod. Only an add can affect an entry with another cookie than this one's."""
    ofproto, parser = datapath.ofproto, datapath.ofproto_parser
    command = {
        Op.ADD: ofproto.OFPFC_ADD,
        Op.MODIFY: ofproto.OFPFC_MODIFY_STRICT,
        Op.DELETE: ofproto.OFPFC_DELETE_STRICT,
    }[op]
    flow_mod = parser.OFPFlowMod(
        datapath,
        cookie=entry.cookie,
        cookie_mask=0 if op is Op.ADD else cookies.FULL_MASK,
        table_id=entry.table_id,
        command=command,
        idle_timeout=entry.idle_timeout,
        hard_timeout=entry.hard_timeout,
        priority=entry.priority,
        out_port=ofproto.OFPP_ANY,
        out_group=ofproto.OFPG_ANY,
        flags=entry.flags,
        instructions=[] if op is Op.DELETE else instructions(datapath, entry.steps),
    )
    flow_mod.match = WireMatch(entry.match)
    return flow_mod


def instructions(datapath: Datapath, steps: Iterable[Step]) -> list[Any]:
    """Make the instructions of steps: meter and actions first, then metadata, then the next table."""
    ofproto, parser = datapath.ofproto, datapath.ofproto_parser
    actions, first, last = [], [], []
    for step in steps:
        if isinstance(step, Meter) and ofproto.OFP_VERSION < OPENFLOW_15:
            first.append(parser.OFPInstructionMeter(step.meter_id, ofproto.OFPIT_METER))
        elif isinstance(step, WriteMetadata):
            last.append(parser.OFPInstructionWriteMetadata(step.value, step.mask))
        elif isinstance(step, Goto):
            last.append(parser.OFPInstructionGotoTable(step.table_id))
        else:
            actions.append(_ACTIONS[type(step)](datapath, step))
    if actions:
        applied = parser.OFPInstructionActions(ofproto.OFPIT_APPLY_ACTIONS, [])
        # Set afterwards, since os-ken's constructor takes its own actions only.
        applied.actions = actions
        first.append(applied)
    return first + last


def _output(datapath: Datapath, step: Any) -> Any:
    return datapath.ofproto_parser.OFPActionOutput(step.port_no, step.max_len)


_ACTIONS: dict[type, Callable[[Datapath, Any], Any]] = {
    Output: _output,
    SetQueue: lambda datapath, step: datapath.ofproto_parser.OFPActionSetQueue(step.queue_id),
    SetMark: lambda datapath, step: datapath.ofproto_parser.OFPActionSetField(
        **{mark_field(step.mark): value_of(step.mark)}
    ),
    PushVlan: lambda datapath, _step: datapath.ofproto_parser.OFPActionPushVlan(ETH_VLAN),
    UseGroup: lambda datapath, step: datapath.ofproto_parser.OFPActionGroup(step.group_id),
    Meter: lambda datapath, step: datapath.ofproto_parser.OFPActionMeter(step.meter_id),
    Load: lambda _datapath, step: WireAction(nicira.write(step)),
    Resubmit: lambda _datapath, step: WireAction(nicira.write(step)),
    Track: lambda _datapath, step: WireAction(nicira.write(step)),
    Learn: lambda _datapath, step: WireAction(nicira.write(step)),
    Sample: lambda _datapath, step: WireAction(nicira.write(step)),
}


def _group_mod(datapath: Datapath, op: Op, entry: GroupEntry) -> Message:
    ofproto, parser = datapath.ofproto, datapath.ofproto_parser
    buckets = [] if op is Op.DELETE else list(entry.buckets)
    return parser.OFPGroupMod(
        datapath,
        command=getattr(ofproto, f"OFPGC_{op.name}"),
        type_=ofproto.OFPGT_SELECT,
        group_id=entry.group_id,
        buckets=[_bucket(datapath, number, bucket) for number, bucket in enumerate(buckets)],
        **_selection(datapath, entry if op is not Op.DELETE else None),
    )


def _selection(datapath: Datapath, entry: GroupEntry | None) -> dict[str, Any]:
    """Return the property that says how a group selects a bucket, as a keyword argument; only 1.5 has it."""
    if entry is None or not entry.select_by:
        return {}
    ofproto, parser = datapath.ofproto, datapath.ofproto_parser
    method = parser.OFPGroupPropExperimenter(
        type_=ofproto.OFPGPT_EXPERIMENTER,
        experimenter=NETRONOME,
        exp_type=selection.SELECTION_METHOD,
        data=selection.selection(entry.select_by),
    )
    return {"properties": [method]}


def _bucket(datapath: Datapath, number: int, bucket: Bucket) -> Any:
    ofproto, parser = datapath.ofproto, datapath.ofproto_parser
    actions = [_ACTIONS[type(step)](datapath, step) for step in bucket.steps]
    if ofproto.OFP_VERSION < OPENFLOW_15:
        return parser.OFPBucket(weight=bucket.weight, actions=actions)
    weight = parser.OFPGroupBucketPropWeight(type_=ofproto.OFPGBPT_WEIGHT, weight=bucket.weight)
    return parser.OFPBucket(bucket_id=number, actions=actions, properties=[weight])


def _meter_mod(datapath: Datapath, op: Op, entry: MeterEntry) -> Message:
    ofproto, parser = datapath.ofproto, datapath.ofproto_parser
    flags = ofproto.OFPMF_PKTPS if entry.packets else ofproto.OFPMF_KBPS
    flags |= ofproto.OFPMF_STATS | (ofproto.OFPMF_BURST if entry.burst else 0)
    bands = [] if op is Op.DELETE else [parser.OFPMeterBandDrop(rate=entry.rate, burst_size=entry.burst)]
    return parser.OFPMeterMod(
        datapath,
        command=getattr(ofproto, f"OFPMC_{op.name}"),
        flags=flags,
        meter_id=entry.meter_id,
        bands=bands,
    )


def barrier(datapath: Datapath) -> Message:
    """Make a barrier request: the device carries out all messages before it before any after it."""
    return datapath.ofproto_parser.OFPBarrierRequest(datapath)


def echo_request(datapath: Datapath) -> Message:
    """Make an echo request, which every device answers."""
    return datapath.ofproto_parser.OFPEchoRequest(datapath)


def flush_connections(datapath: Datapath, zone: int) -> Message:
    """Make the message that deletes the tracked connections of a zone (NXT_CT_FLUSH_ZONE of Open vSwitch)."""
    data = bytes(6) + zone.to_bytes(2)
    return datapath.ofproto_parser.OFPExperimenter(datapath, NICIRA, _CT_FLUSH_ZONE, data)


def delete_learned(
    datapath: Datapath, egress_port: int | None, in_port: int | None, table_id: int = TableId.SEEN
) -> Message:
    """Make the message that deletes the learned entries of a port: their flows are then placed anew.

    Args:
        egress_port: for flows that leave by this port; None when ``in_port`` is given.
        in_port: for flows that come in by this port; None when ``egress_port`` is given.
        table_id: the number of table seen on the device.
    """
    ofproto, parser = datapath.ofproto, datapath.ofproto_parser
    cookie, mask = cookies.of_kind(cookies.Kind.LEARNED)
    flow_mod = parser.OFPFlowMod(
        datapath,
        cookie=cookie,
        cookie_mask=mask,
        table_id=table_id,
        command=ofproto.OFPFC_DELETE,
        out_port=ofproto.OFPP_ANY,
        out_group=ofproto.OFPG_ANY,
        instructions=[],
    )
    flow_mod.match = WireMatch(
        fields.match(in_port=in_port)
        if in_port is not None
        else fields.match(metadata=egress(egress_port or NO_PORT))
    )
    return flow_mod


def delete_all_learned(datapath: Datapath, table_id: int) -> Message:
    """Make the message that deletes all learned entries in a table of the device."""
    message = delete_learned(datapath, None, None, table_id)
    message.match = WireMatch(())
    return message


def sent_back(datapath: Datapath, effect: SendPacket, normal: bool) -> Message:
    """Make the packet-out of a packet that waits in the controller.

    Args:
        normal: whether the device forwards by itself.
    """
    steps: list[Step] = [Output(NORMAL_PORT if normal else effect.egress_port or ALL_PORTS)]
    if effect.queue_id != NO_QUEUE:
        steps.insert(0, SetQueue(effect.queue_id))
    return packet_out(datapath, effect.in_port, effect.frame, steps)


def packet_out(datapath: Datapath, in_port: int, frame: bytes, steps: Iterable[Step]) -> Message:
    """Make a packet-out; 1.5 has its in_port in a match."""
    ofproto, parser = datapath.ofproto, datapath.ofproto_parser
    return parser.OFPPacketOut(
        datapath,
        ofproto.OFP_NO_BUFFER,
        in_port if ofproto.OFP_VERSION < OPENFLOW_15 else parser.OFPMatch(in_port=in_port),
        [_ACTIONS[type(step)](datapath, step) for step in steps],
        frame,
    )
