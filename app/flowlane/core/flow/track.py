"""A flow begins, is counted, changes its ports: what pins and learned entries have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import measure
from flowlane.core.classify.gates import advance
from flowlane.core.flow.assign import assign, classify_row, reclassify, regroup, remove_flow, report_flow
from flowlane.core.flow.gates import gates_at
from flowlane.core.flow.limits import passed_rate
from flowlane.core.flow.rates import SHORTEST_WINDOW, grown, smooth
from flowlane.core.flow.samples import weigh_reading
from flowlane.core.model import NO_QUEUE
from flowlane.core.state.flows import PINNED, UNREPORTED
from flowlane.core.topology.way import note_address

if TYPE_CHECKING:
    from flowlane.core.effects import Effect
    from flowlane.core.flowkey import FlowParts
    from flowlane.core.state.device import Device, State


def is_young(device: Device, row: int) -> bool:
    """Whether the flow may be too young for an entry of its own: the device keeps none for first packets."""
    flows = device.flows
    gated = device.plan is not None and flows.in_port[row] in device.plan.tracked_ports
    return (
        gated
        and device.capabilities.conntrack
        and not flows.flags[row] & PINNED
        and not flows.entry_packets[row]
    )


def begin(
    state: State,
    device: Device,
    ports: tuple[int, int],
    key: bytes,
    parts: FlowParts,
    marks: tuple[int, int],
    chosen: tuple[int | None, int],
    out: list[Effect],
) -> int:
    """Add a flow that is not known yet; return its row.

    Args:
        ports: the ports by which it comes in and leaves.
        key: the flow's key, with the VLAN tag with which the VM sends it.
        parts: its parts, with the VLAN tag that it has on this device.
        marks: its DSCP and PCP.
        chosen: the queue that the device gave it, None when it did not report one, and the meter, 0 for none.
    """
    flows = device.flows
    row = flows.add(key, state.now)
    device.begun[ports[0]] = device.begun.get(ports[0], 0) + 1
    (flows.in_port[row], flows.egress_port[row]), flows.vm_number[row] = ports, parts.vm_number
    flows.tag[row] = 0 if parts.vlan is None else parts.vlan + 1
    flows.dscp[row], flows.pcp[row] = marks
    note_choice(device, row, chosen)
    note_address(state, parts)
    if state.carried:
        _carry_on(state, device, row, key)
    classify_row(state, device, row, parts)
    assign(state, device, row, out)
    report_flow(state, device, row, "seen", out)
    return row


def _carry_on(state: State, device: Device, row: int, key: bytes) -> None:
    """Give a flow whose VM has moved what was known of it where the VM was: its rate, and the gates that it opened."""
    carried = state.carried.pop(key, None)
    if carried is not None:
        flows = device.flows
        flows.gate_state[row], flows.gate_since[row] = carried.gate_state, carried.gate_since
        flows.rate[row], flows.first_seen[row] = carried.rate, carried.first_seen
        flows.packets[row], flows.octets[row] = carried.packets, carried.octets


def note_choice(device: Device, row: int, chosen: tuple[int | None, int]) -> None:
    """Note the queue that the device gave the flow, None when it did not report one, and the meter, 0 for none."""
    flows = device.flows
    queue_id, flows.device_meter[row] = chosen
    flows.device_queue[row] = UNREPORTED if queue_id is None else queue_id


def reroute(
    state: State,
    device: Device,
    row: int,
    ports: tuple[int, int],
    parts: FlowParts,
    chosen: tuple[int | None, int],
    out: list[Effect],
) -> int:
    """Move a flow whose sender or destination is at another port now: the same flow, on other queues."""
    flows = device.flows
    key, first, marks = flows.keys[row], flows.first_seen[row], (flows.dscp[row], flows.pcp[row])
    assert key is not None
    remove_flow(device, row, out, unpin=True)
    row = begin(state, device, ports, key, parts, marks, chosen, out)
    flows.first_seen[row] = first
    return row


def add_up(device: Device, row: int, packets: int, octets: int) -> int:
    """Add what the flow's entry has counted since its last reading; return how many bytes that is."""
    flows = device.flows
    more = grown(flows.entry_octets[row], octets)
    flows.packets[row] += grown(flows.entry_packets[row], packets)
    flows.octets[row] += more
    flows.entry_packets[row], flows.entry_octets[row] = packets, octets
    return more


def count(state: State, device: Device, row: int, packets: int, octets: int, out: list[Effect]) -> None:
    """Take in a reading of the flow's entry: measure, and classify again where a rate gate opened or closed."""
    flows, now = device.flows, state.now
    seconds = now - flows.counted_at[row]
    if seconds < SHORTEST_WINDOW:
        return
    more = add_up(device, row, packets, octets)
    if more:
        flows.last_active[row] = now
    first = flows.counted_at[row] == flows.first_seen[row]
    rate = flows.rate[row] = smooth(flows.rate[row], more, seconds, first)
    flows.counted_at[row] = now
    port = device.ports.get(flows.egress_port[row])
    if port is not None and port.allocation is not None and flows.queue_id[row] != NO_QUEUE:
        measure(port.allocation, row, passed_rate(device, row) if flows.meter_id[row] else int(rate))
    if device.policy.gates:
        gates = gates_at(device, flows.egress_port[row], now)
        before = flows.gate_state[row]
        level, flows.gate_since[row] = advance(gates, before, flows.gate_since[row], rate, now, seconds)
        if device.samples.flows:
            level = weigh_reading(device, row, before, level, rate, now)
        flows.gate_state[row] = level
        if level != before and reclassify(state, device, row, out):
            return
    regroup(state, device, row, out)
