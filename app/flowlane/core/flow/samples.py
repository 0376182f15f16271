"""Sampled packets: flows that a device has no pin for are known to be heavy by samples, before its counters show it.

What samples show opens a rate gate (see :mod:`flowlane.core.flow.estimates`), whose hold time counts. From then on the
counters decide: a settled reading closes a gate that samples should not have opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import measure
from flowlane.core.classify.gates import held_long_enough
from flowlane.core.device.links import has_senders, origin
from flowlane.core.flow.assign import reclassify
from flowlane.core.flow.estimates import (
    ENOUGH,
    ENOUGH_MEASURED,
    SETTLED,
    SURE,
    UNSETTLED,
    rates_for,
)
from flowlane.core.flow.gates import gates_at
from flowlane.core.flow.limits import passed_rate
from flowlane.core.model import NO_QUEUE, NOT_A_VM
from flowlane.core.state.flows import PINNED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowlane.core.classify.gates import PortGate
    from flowlane.core.effects import Effect
    from flowlane.core.events import PacketsSampled, SampledPacket
    from flowlane.core.flow.estimates import Estimate
    from flowlane.core.state.device import Device, State

MAX_NAME = 15
"""Bytes of a port's name that OpenFlow reports (OFP_MAX_PORT_NAME_LEN, without the 0 at its end)."""


def on_packets_sampled(state: State, event: PacketsSampled, out: list[Effect]) -> None:
    """Take in sampled packets; those of flows that are not known, or that have a pin, show nothing."""
    device = state.devices.get(event.dpid)
    if device is None or device.plan is None or device.plan.sampling is None:
        return
    one_in = device.plan.sampling.one_in
    vm_ports = {
        device.ports[port_no].name[:MAX_NAME]: number
        for port_no, number in device.port_vm.items()
        if port_no in device.ports
    }
    device.samples.taken += len(event.packets)
    for packet in event.packets:
        row = _row_of(state, device, packet, vm_ports)
        if row is not None and not device.flows.flags[row] & PINNED:
            _take(state, device, row, packet.octets * 8 * one_in, packet.at, out)


def _row_of(state: State, device: Device, packet: SampledPacket, vm_ports: dict[str, int]) -> int | None:
    """Find the flow of a sampled packet: by the port that it came in by or, from a link, by its address and VLAN."""
    rows = device.flows.rows
    number = vm_ports.get(packet.port_name[:MAX_NAME], NOT_A_VM)
    if number != NOT_A_VM:
        return rows.get(number.to_bytes(4) + packet.tail)
    for key in _keys_behind_links(state, device, packet):
        row = rows.get(key)
        if row is not None:
            return row
    return None


def _keys_behind_links(state: State, device: Device, packet: SampledPacket) -> Iterator[bytes]:
    tag = int.from_bytes(packet.tail[:2])
    for port in device.ports.values():
        if has_senders(device, port):
            sent_by = origin(state, device, port, packet.eth_src, tag - 1 if tag else None)
            if sent_by is not None:
                vlan = 0 if sent_by.vlan is None else sent_by.vlan + 1
                yield sent_by.number.to_bytes(4) + vlan.to_bytes(2) + packet.tail[2:]


def _take(state: State, device: Device, row: int, bits: float, at: float, out: list[Effect]) -> None:
    """Take in a sample of a flow, and open the lowest of its gates that is closed once samples show its rate."""
    flows = device.flows
    gates = gates_at(device, flows.egress_port[row], state.now)
    gate = next((gate for gate in gates if not flows.gate_state[row] & gate.bit), None)
    if gate is None:
        return
    estimate = device.samples.of(row, flows.generation[row])
    measured = flows.rate[row] if flows.counted_at[row] != flows.first_seen[row] else 0.0
    rates = rates_for(gate, measured)
    reached = estimate.take(bits, at, rates, ENOUGH_MEASURED if measured else ENOUGH)
    if reached and estimate.lasts >= held_long_enough(gate.hold):
        _open(state, device, row, gate, estimate, out)


def _open(
    state: State, device: Device, row: int, gate: PortGate, estimate: Estimate, out: list[Effect]
) -> None:
    flows = device.flows
    rate = max(estimate.rate, float(gate.at_least))
    estimate.level, estimate.bit, estimate.opened_at = 0.0, gate.bit, state.now
    device.samples.noticed += 1
    flows.gate_state[row] |= gate.bit
    flows.rate[row], flows.counted_at[row], flows.last_active[row] = rate, state.now, state.now
    port = device.ports.get(flows.egress_port[row])
    if port is not None and port.allocation is not None and flows.queue_id[row] != NO_QUEUE:
        measure(port.allocation, row, passed_rate(device, row) if flows.meter_id[row] else int(rate))
    reclassify(state, device, row, out)


def weigh_reading(device: Device, row: int, before: int, after: int, rate: float, now: float) -> int:
    """Weigh a reading against what samples have shown.

    Args:
        before: the flow's state of gates so far (see :mod:`flowlane.core.classify.gates`).
        after: the state that the reading alone makes of it.
        rate: what the counters show now, in bit/s.

    Returns:
        The state that counts: a reading does not close the gate yet that samples have opened, or it closes it, since
        its settled rate is not that of the gate.
    """
    estimate = device.samples.flows.get(row)
    if estimate is None or not estimate.bit or estimate.generation != device.flows.generation[row]:
        return after
    seconds = now - estimate.opened_at
    if seconds < UNSETTLED:
        return after | before & estimate.bit
    if seconds < SETTLED:
        return after
    gates = gates_at(device, device.flows.egress_port[row], now)
    gate = next((gate for gate in gates if gate.bit == estimate.bit), None)
    estimate.bit = 0
    return after & ~gate.bit if gate is not None and rate < SURE * gate.at_least else after
