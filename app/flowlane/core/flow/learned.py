"""Learned entries: flows that a device placed by itself are listed, counted and ended by the entries that it learned.

Such an entry carries no row, so its flow is found by its key. A flow whose copied packet the rate limit of packet-ins
dropped is first seen here, in the next reading of the counters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.classify.gates import NEAR, is_near
from flowlane.core.device.claims import STALE, has_left, note_sign
from flowlane.core.device.links import has_senders, origin
from flowlane.core.device.quotas import note_copy, was_there
from flowlane.core.effects import BeginGroup
from flowlane.core.flow import counting, new_pins
from flowlane.core.flow.assign import follow_device, remove_flow
from flowlane.core.flow.entry_columns import columns_of
from flowlane.core.flow.gates import gates_at, least_rate
from flowlane.core.flow.kept import kept_of
from flowlane.core.flow.lifecycle import IDLE
from flowlane.core.flow.paths import is_left
from flowlane.core.flow.pins import WORTHY, mode
from flowlane.core.flow.rates import RISE_WINDOW
from flowlane.core.flow.track import (
    add_up,
    assume_steady,
    begin,
    count,
    is_measured_before,
    is_young,
    note_mark,
)
from flowlane.core.flowkey import unpack
from flowlane.core.model import NO_QUEUE, NOT_A_VM, PortRole
from flowlane.core.pacing import paced
from flowlane.core.state.claims import Sign
from flowlane.core.state.flows import PINNED, UNREPORTED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowlane.core.effects import Effect
    from flowlane.core.events import GroupsCounted, LearnedCounters, LearnedEnded, LearnedFlow, ReadingEnded
    from flowlane.core.state.device import Device, State


def on_learned_counters(state: State, event: LearnedCounters, out: list[Effect]) -> None:
    """Take in the counters of learned entries."""
    device = state.devices.get(event.dpid)
    if device is not None:
        device.adopting = device.in_adoption
        columns = columns_of(event.flows)
        counting.take(state, device, columns, lambda flow: _on_learned(state, device, flow, out))
        device.adopting = False


def on_reading_ended(state: State, event: ReadingEnded, out: list[Effect]) -> None:
    """Take in that a reading is over; begin the next group of learned entries where the present one is full."""
    device = state.devices.get(event.dpid)
    if device is not None:
        begin_group(device, device.readings.ended(event.number, event.entries, event.seconds, state.now), out)


def begin_group(device: Device, group: int | None, out: list[Effect]) -> None:
    """Have the device put what it learns in another group; nothing where ``group`` is None."""
    if group is not None:
        others = tuple(sorted(device.readings.groups.keys() - {group}))
        out.append(BeginGroup(device.dpid, group, others))


def on_groups_counted(state: State, event: GroupsCounted, out: list[Effect]) -> None:  # noqa: ARG001
    """Take in the sums of all groups."""
    device = state.devices.get(event.dpid)
    if device is not None:
        device.readings.counted(event.octets, NEAR * least_rate(device, state.now), state.now)


def _read(state: State, device: Device, found: Iterable[LearnedFlow], out: list[Effect]) -> set[int | None]:
    """Take learned entries in; return the rows of their flows."""
    device.adopting = device.in_adoption
    rows = {_on_learned(state, device, flow, out) for flow in paced(found, state.pace)}
    device.adopting = False
    return rows


def _on_learned(state: State, device: Device, flow: LearnedFlow, out: list[Effect]) -> int | None:
    """Take in one learned entry: a new flow, or the queue and counters of a known one; return its row."""
    identified = _identify(state, device, flow.key, flow.in_port, flow.eth_src)
    if identified is None or flow.egress_port == device.of_bond(flow.in_port):
        return None
    key, device_key = identified
    if device.doubtful:
        device.doubtful.pop(flow.eth_src, None)
    flows = device.flows
    row = flows.rows.get(key)
    ports = flow.in_port, flow.egress_port
    if row is None:
        if has_left(state, device, flow.in_port, STALE) or (
            device.left and is_left(state, device, key, flow)
        ):
            return None
        _note_lost_copy(state, device, flow, key, out)
        note_sign(state, device, device.ports[flow.in_port], flow.eth_src, Sign.PACKET, out)
        marks = flow.dscp, flow.pcp
        chosen = flow.queue_id, flow.meter_id
        # It has been sending for a while: it stays where it is, and what does not fit moves within the limits.
        device.adopting = True
        row = begin(state, device, ports, key, unpack(device_key), marks, chosen, out)
        device.adopting = device.in_adoption
        # Its copy was lost, or it is older than this connection: its counters are those of the entry's whole life.
        if not flows.entry_counters(row)[0]:
            flows.counted_at[row] = state.now - flow.seconds
        if row not in device.origins and not kept_of(state, device, row):
            flows.set_first_seen(row, flows.counted_at[row])
    elif flows.flags[row] & PINNED:
        new_pins.take_learned(device, row, flow.octets)
        return row
    elif (flows.in_port[row], flows.egress_port[row]) != ports:
        # Entries of its old ports stay until they are idle; the flow moves with its packets (see lifecycle).
        return row
    else:
        _follow(state, device, row, flow, out)
    steady_until = device.readings.steady_until(flow.group, state.now)
    if steady_until is None or not is_measured_before(device, row, steady_until):
        count(state, device, row, flow.packets, flow.octets, out)
    elif state.now - steady_until >= RISE_WINDOW:
        assume_steady(device, row, flow.octets, steady_until)
        count(state, device, row, flow.packets, flow.octets, out, anew=True)
    if device.policy.gates and is_near(
        gates_at(device, flow.egress_port, state.now), flows.gate_state[row], flows.rate[row]
    ):
        device.readings.note_near(flow.group)
    return row


def _note_lost_copy(state: State, device: Device, flow: LearnedFlow, key: bytes, out: list[Effect]) -> None:
    """Count the copy of a flow that is found by its entry, and was lost, as those of others may be.

    An entry that is older than the connection, or of a flow that was known before it, shows no copy.
    """
    is_new = 0 < flow.seconds < state.now - device.since and not was_there(state, device, key)
    if is_new or not device.in_adoption:
        note_copy(state, device, int.from_bytes(key[:4]), True, out)


def _follow(state: State, device: Device, row: int, flow: LearnedFlow, out: list[Effect]) -> None:
    """Note the queue, meter and mark of a known flow's learned entry, where they have changed."""
    flows, queue_id = device.flows, _queue_of(device, row, flow)
    if (queue_id, flow.meter_id) != (flows.device_queue[row], flows.device_meter[row]):
        follow_device(state, device, row, queue_id, flow.meter_id, out)
    note_mark(state, device, row, flow.queue_id, out)


def _queue_of(device: Device, row: int, flow: LearnedFlow) -> int:
    """Return the queue that a learned entry gives a known flow."""
    queue_id = device.chosen(flow.queue_id, device.flows.dscp[row], device.flows.pcp[row])
    return NO_QUEUE if queue_id is None else queue_id


def _identify(
    state: State, device: Device, key: bytes, in_port: int, eth_src: int
) -> tuple[bytes, bytes] | None:
    """Return the flow's key with the VM that sends it, and that key with the VLAN of the flow on this device.

    None when no VM sends it. An entry from the time when the device did not know the VM behind a link is no longer
    met, and is left to expire.
    """
    port = device.ports.get(in_port)
    if port is None or not (port.role is PortRole.VM or has_senders(device, port)):
        return None
    number, tag = device.port_vm.get(in_port, NOT_A_VM), key[4:6]
    if port.role is not PortRole.VM:
        vlan = int.from_bytes(tag) - 1
        sent_by = origin(state, device, port, eth_src, None if vlan < 0 else vlan)
        if sent_by is None:
            return None
        number = sent_by.number
        if number in port.vms_behind and number != int.from_bytes(key[:4]):
            return None
        tag = (0 if sent_by.vlan is None else sent_by.vlan + 1).to_bytes(2)
    if number == NOT_A_VM:
        return None
    head = number.to_bytes(4)
    return head + tag + key[6:], head + key[4:]


def on_learned_ended(state: State, event: LearnedEnded, out: list[Effect]) -> None:
    """Take in that a learned entry was removed; if idle, the flow has ended, unless it has a pin by now."""
    device = state.devices.get(event.dpid)
    if device is None:
        return
    identified = _identify(state, device, event.key, event.in_port, event.eth_src)
    row = device.flows.rows.get(identified[0]) if identified is not None else None
    if row is None:
        if identified is not None:
            device.left.pop(identified[0], None)
            _note_unseen(device, event)
        return
    flows = device.flows
    if (flows.in_port[row], flows.egress_port[row]) != (event.in_port, event.egress_port):
        return
    if flows.flags[row] & PINNED:
        flows.device_queue[row] = UNREPORTED
    elif event.idle:
        add_up(device, row, event.packets, event.octets)
        remove_flow(device, row, out, unpin=False, why=IDLE)
    else:
        add_up(device, row, event.packets, event.octets)
        flows.set_entry_counters(row, 0, 0)


def _note_unseen(device: Device, event: LearnedEnded) -> None:
    """Count a flow that has ended before it was known among those that its port begins.

    Where a device begins more flows than the controller can follow, their copies are lost, and their ends are what is
    left to read. So the port is tracked all the same, and few of its flows get an entry, of which an end is reported.
    """
    if event.idle:
        device.begun[event.in_port] = device.begun.get(event.in_port, 0) + 1


def adopt_learned(state: State, device: Device, learned: Iterable[LearnedFlow], out: list[Effect]) -> None:
    """Reconcile flows with the learned entries of a device after a (re)connection: its tables are the truth."""
    if mode(device) != WORTHY:
        return
    present = _read(state, device, learned, out)
    flows = device.flows
    for row in paced(list(flows), state.pace):
        if row not in present and not flows.flags[row] & PINNED and not is_young(device, row):
            remove_flow(device, row, out, unpin=False, why="the device has no entry of it any more")
