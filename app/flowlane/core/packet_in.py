"""Packet-ins: from a copied packet to a flow with a queue, a meter and a pin.

The one place where what a packet shows of hosts (:mod:`flowlane.core.device`) and of flows
(:mod:`flowlane.core.flow`) meet. The steps, in order: read the frame, learn the address of its sender, find the VM
that sent it, find or begin its flow; :mod:`flowlane.core.flow.assign` does the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core import fast_path
from flowlane.core.device.addresses import follow_address
from flowlane.core.device.claims import HOLD, has_left, note_sign
from flowlane.core.device.hosts import learn_address, note_address, port_of, sender
from flowlane.core.device.links import tell_knowing
from flowlane.core.device.quotas import note_copy, was_there
from flowlane.core.effects import SendPacket
from flowlane.core.events import FlowSeen, PinEnded
from flowlane.core.flow.assign import follow_device, reassign
from flowlane.core.flow.learned import on_learned_ended
from flowlane.core.flow.lifecycle import on_pin_ended
from flowlane.core.flow.pins import remove_pin
from flowlane.core.flow.track import begin, note_choice, note_mark, reroute
from flowlane.core.flowkey import IPV4, TCP, UDP, FlowParts
from flowlane.core.frame import ETH_RARP, announces, read_frame
from flowlane.core.model import NO_PORT, NO_QUEUE, NOT_A_VM, PortRole
from flowlane.core.state.claims import Sign
from flowlane.core.state.flows import PINNED

if TYPE_CHECKING:
    from flowlane.core.effects import Effect
    from flowlane.core.events import FlowMessages
    from flowlane.core.frame import Frame
    from flowlane.core.state.device import Device, Port, State

REPIN_AFTER = 1.0
"""Seconds without a sign of a flow's pin, after which a packet that missed it shows that it is lost."""

FIRST_BURST = 1.0
"""Seconds in which several first packets of a flow may be copied: those that the switch takes from a port in one go."""


def on_flow_seen(state: State, event: FlowSeen, out: list[Effect]) -> None:
    """Take in the first packet of a flow, or another one that met no pin: learn its sender, place it, pin it.

    A packet that waits is sent back in any case, also when it is nobody's flow: the bridge decides who gets it.
    """
    sent_back = _take_in(state, event, out)
    if event.waits:
        egress, queue_id = sent_back or (NO_PORT, NO_QUEUE)
        out.append(SendPacket(event.dpid, event.in_port, egress, queue_id, event.frame))


def on_flow_messages(state: State, event: FlowMessages, out: list[Effect]) -> None:
    """Take in packets and ends of entries of one device, in their order: packets of known senders by the fast path."""
    device = state.devices.get(event.dpid)
    if device is None:
        return
    checked = fast_path.nothing_checked(device)
    for message in event.messages:
        if isinstance(message, FlowSeen):
            if fast_path.take(state, device, message, checked, out):
                continue
            on_flow_seen(state, message, out)
            fast_path.remember(state, device, message)
        elif isinstance(message, PinEnded):
            on_pin_ended(state, message, out)
        else:
            on_learned_ended(state, message, out)
        checked = fast_path.nothing_checked(device)


def _take_in(state: State, event: FlowSeen, out: list[Effect]) -> tuple[int, int] | None:
    """Return the predicted egress port of a packet and its queue; None when it is nobody's flow."""
    device = state.devices.get(event.dpid)
    port = device.ports.get(device.of_bond(event.in_port)) if device else None
    frame = read_frame(event.frame)
    if device is None or port is None or frame is None:
        return None
    sign = _sign_of(event.frame, frame)
    note_sign(state, device, port, int.from_bytes(frame.eth_src), sign, out)
    if learned := learn_address(state, device, port, frame):
        follow_address(state, device, port, learned)
        mac = int.from_bytes(frame.eth_src)
        if port.role is PortRole.VM and mac not in state.macs:
            tell_knowing(state, device, port, mac, frame.vlan)
    note_address(state, device, port, frame, out)
    sent_by = sender(state, device, port, frame)
    egress = _predicted_egress(device, port, frame) if event.egress_port is None else event.egress_port
    if sent_by is None or has_left(state, device, port.port_no, HOLD):
        note_copy(state, device, device.port_vm.get(port.port_no, NOT_A_VM), False, out)
        return None
    if egress == port.port_no:  # The prediction is wrong, or the bridge drops it: it decides.
        return egress, NO_QUEUE
    key = frame._replace(vlan=sent_by.vlan).key(sent_by.number)
    row = device.flows.rows.get(key)
    begins = row is None or state.now - device.flows.first_seen[row] < FIRST_BURST
    if not was_there(state, device, key):
        note_copy(state, device, sent_by.number, begins and frame.protocol in (TCP, UDP), out)
    ports, chosen = (event.in_port, egress), (event.queue_id, event.meter_id)
    if row is None:
        marks = (frame.dscp, frame.pcp)
        row = begin(state, device, ports, key, _parts(frame, sent_by.number), marks, chosen, out)
    else:
        row = _seen_again(state, device, row, ports, _parts(frame, sent_by.number), chosen, out)
    return egress, device.flows.queue_id[row] if device.marking is None else NO_QUEUE


def _sign_of(data: bytes, frame: Frame) -> Sign:
    """Return what a frame shows of where its sender is."""
    if frame.kind == IPV4 or not announces(data, frame):
        return Sign.PACKET
    return Sign.RARP if frame.eth_type == ETH_RARP else Sign.ARP


def _parts(frame: Frame, vm_number: int) -> FlowParts:
    return FlowParts(
        vm_number,
        frame.vlan,
        frame.kind,
        frame.protocol,
        frame.src_port,
        frame.dst_port,
        frame.src,
        frame.dst,
    )


def _predicted_egress(device: Device, port: Port, frame: Frame) -> int:
    """Where the device sends the frame, when it did not report it: as its forward table does."""
    unknown = device.plan.unknown_port if device.plan is not None else None
    default = NO_PORT if unknown is None else unknown
    if frame.is_group_addressed:
        return default
    learned_on = port_of(device, port, frame)
    return default if learned_on is None else learned_on


def _seen_again(
    state: State,
    device: Device,
    row: int,
    ports: tuple[int, int],
    parts: FlowParts,
    chosen: tuple[int | None, int],
    out: list[Effect],
) -> int:
    """Take in a packet of a known flow that met no pin; return the flow's row."""
    flows = device.flows
    tag = 0 if parts.vlan is None else parts.vlan + 1
    if (flows.in_port[row], flows.egress_port[row]) != ports or flows.tag[row] != tag:
        return reroute(state, device, row, ports, parts, chosen, out)
    choice, meter_id = chosen
    queue_id = device.chosen(choice, flows.dscp[row], flows.pcp[row])
    if not flows.flags[row] & PINNED:
        flows.last_active[row] = state.now
        if queue_id is not None and choice is not None:
            note_mark(state, device, row, choice, out)
            follow_device(state, device, row, queue_id, meter_id, out)
        else:
            reassign(state, device, row, out)
    elif state.now - flows.last_active[row] > REPIN_AFTER:
        # Lost or not: an entry that stands there after all must not outlive what is known of it.
        remove_pin(device, row, out)
        flows.last_active[row] = state.now
        note_choice(device, row, chosen)
        reassign(state, device, row, out)
    return row
