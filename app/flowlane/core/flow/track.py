"""A flow begins, is counted, changes its ports: what pins and learned entries have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import measure
from flowlane.core.classify.gates import advance
from flowlane.core.device.hosts import note_sending
from flowlane.core.flow import kept, new_pins
from flowlane.core.flow.assign import (
    assign,
    classify_row,
    follow_device,
    reclassify,
    regroup,
    remove_flow,
)
from flowlane.core.flow.gates import gates_at
from flowlane.core.flow.limits import passed_rate
from flowlane.core.flow.manual import take_ahead
from flowlane.core.flow.paths import report_path, take_over
from flowlane.core.flow.rates import SHORTEST_WINDOW, grown, smooth
from flowlane.core.flow.reports import report_flow
from flowlane.core.flow.samples import weigh_reading
from flowlane.core.marks import FIRST_PCP, NO_MARK, join, split
from flowlane.core.model import NO_QUEUE
from flowlane.core.policy import QueuesBy
from flowlane.core.state.device import Due, put_off
from flowlane.core.state.flows import PINNED, UNREPORTED
from flowlane.core.topology.way import note_address

if TYPE_CHECKING:
    from flowlane.core.effects import Effect, FlowEvent
    from flowlane.core.flowkey import FlowParts
    from flowlane.core.state.device import Device, State

FIRST, FOUND = "its first packet was copied", "it was found on the device"
PORTS = "its packets come or leave by other ports, or in another VLAN"
"""Why a flow is reported."""


def is_young(device: Device, row: int) -> bool:
    """Whether the flow may be too young for an entry of its own: the device keeps none for first packets."""
    flows = device.flows
    return (
        _is_gated(device, flows.in_port[row])
        and not flows.flags[row] & PINNED
        and not flows.entry_counters(row)[0]
    )


def _is_gated(device: Device, in_port: int) -> bool:
    """Whether the device makes no entries for the first packets of flows that come in by a port."""
    is_tracked = device.plan is not None and in_port in device.plan.tracked_ports
    return is_tracked and device.capabilities.conntrack


def begin(
    state: State,
    device: Device,
    ports: tuple[int, int],
    key: bytes,
    parts: FlowParts,
    marks: tuple[int, int],
    chosen: tuple[int | None, int],
    out: list[Effect],
    change: FlowEvent = "seen",
) -> int:
    """Add a flow that is not known yet; return its row.

    Args:
        ports: the ports by which it comes in and leaves.
        key: the flow's key, with the VLAN tag with which the VM sends it.
        parts: its parts, with the VLAN tag that it has on this device.
        marks: its DSCP and PCP.
        chosen: the choice (:mod:`flowlane.core.marks`) that the device made for it, None when it did not report one,
            and the meter, 0 for none.
        change: what is reported of it.
    """
    flows = device.flows
    row = flows.add(key, state.now)
    state.awake.add(device.dpid)
    device.begun[ports[0]] = device.begun.get(ports[0], 0) + 1
    if not _is_gated(device, ports[0]):
        device.readings.begun += (
            1  # Of flows whose first packets have no entry, a reading shows how many get one.
        )
    device.flows_of_vm[parts.vm_number] = device.flows_of_vm.get(parts.vm_number, 0) + 1
    (flows.in_port[row], flows.egress_port[row]), flows.vm_number[row] = ports, parts.vm_number
    flows.tag[row] = 0 if parts.vlan is None else parts.vlan + 1
    flows.dscp[row], flows.pcp[row] = marks
    note_choice(device, row, chosen)
    note_address(state, parts)
    take_over(state, device, row, key)
    before = kept.recall(state, device, row)
    classify_row(state, device, row, parts)
    report_flow(device, row, change, out, FOUND if device.adopting else FIRST if change == "seen" else PORTS)
    take_ahead(state, device, row)
    assign(state, device, row, out)
    kept.recall_place(device, row, before)
    if device.origins:
        report_path(state, device, row, out)
    if device.passives:
        begin_behind(state, device, row, out)
    return row


def begin_behind(state: State, device: Device, row: int, out: list[Effect]) -> None:
    """Add the flow to the passive switch behind its egress port, if there is one and it is not there."""
    passive = device.passives.get(device.flows.egress_port[row])
    key = device.flows.keys[row]
    if passive is None or key is None or device.passive_row(row) is not None:
        return
    there = passive.device.flows.rows.get(key)
    if there is not None:
        remove_flow(passive.device, there, out, unpin=False, why="it comes from another device")
    flows = device.flows
    ports, parts = (passive.in_port, passive.egress_port), flows.parts(row)
    reported = flows.device_queue[row] != UNREPORTED or flows.device_mark[row] != NO_MARK
    choice, behind = arriving_choice(device, row, passive.device) if reported else None, passive.device
    if device.in_adoption and not behind.in_adoption:
        # What is found on the device now is on the switch behind it, too: nothing of it moves there, either.
        behind.in_adoption, behind.since = True, state.now
    behind.adopting = device.adopting
    begin(state, behind, ports, key, parts, (flows.dscp[row], flows.pcp[row]), (choice, 0), out)
    behind.adopting = False


def arriving_choice(device: Device, row: int, passive: Device) -> int:
    """Return the choice of a passive switch that a packet makes as the device itself sends it: by its mark there."""
    flows = device.flows
    if flows.device_mark[row] != NO_MARK:
        return join(NO_QUEUE, flows.device_mark[row])
    by_pcp = passive.marking is not None and passive.marking.by is QueuesBy.PCP
    return join(NO_QUEUE, flows.pcp[row] + FIRST_PCP if by_pcp else flows.dscp[row])


def note_choice(device: Device, row: int, chosen: tuple[int | None, int]) -> None:
    """Note the choice that the device made for the flow, None when it did not report one, and the meter, 0 for none."""
    flows = device.flows
    choice, flows.device_meter[row] = chosen
    queue_id = device.chosen(choice, flows.dscp[row], flows.pcp[row])
    flows.device_queue[row] = UNREPORTED if queue_id is None else queue_id
    flows.device_mark[row] = NO_MARK if choice is None else split(choice)[1]


def note_mark(state: State, device: Device, row: int, choice: int, out: list[Effect]) -> None:
    """Note the mark that the device itself writes, and have the flow on the passive switch follow if it may."""
    flows, mark = device.flows, split(choice)[1]
    if not device.passives or flows.device_mark[row] == mark:
        return
    flows.device_mark[row] = mark
    passive = device.passive_row(row)
    if passive is None:
        return
    behind, there = passive
    dscp, pcp = behind.flows.dscp[there], behind.flows.pcp[there]
    queue_id = behind.chosen(arriving_choice(device, row, behind), dscp, pcp)
    if flows.flags[row] & PINNED or queue_id is None:
        behind.flows.device_queue[there] = UNREPORTED if queue_id is None else queue_id
    else:
        follow_device(state, behind, there, queue_id, 0, out)
    behind.replaced.add(there)


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
    origin = device.origins.get(row)
    remove_flow(device, row, out, unpin=True, why="")
    row = begin(state, device, ports, key, parts, marks, chosen, out, "rerouted")
    flows.set_first_seen(row, first)
    if origin is not None:
        device.origins.setdefault(row, origin)
    return row


def add_up(device: Device, row: int, packets: int, octets: int) -> int:
    """Add what the flow's entry has counted since its last reading; return how many bytes that is."""
    flows = device.flows
    counted_packets, counted_octets = flows.entry_counters(row)
    more = grown(counted_octets, octets)
    flows.packets[row] += grown(counted_packets, packets)
    flows.octets[row] += more
    if packets < counted_packets or octets < counted_octets:
        flows.set_entry_counters(row, packets, octets)
    return more


def is_measured_before(device: Device, row: int, time: float) -> bool:
    """Return whether the flow has been measured, the last time before this time."""
    flows = device.flows
    return flows.first_seen[row] < flows.counted_at[row] < time


def assume_steady(device: Device, row: int, octets: int, until: float) -> None:
    """Take a flow to have kept its rate until then, as the sum of its group's counters says of all its flows.

    So the next measurement of a flow that was not read for long begins there, and is of what has changed.

    Args:
        octets: what its entry has counted by now.
    """
    flows = device.flows
    seconds = until - flows.counted_at[row]
    flows.octets[row] += min(
        int(flows.rate[row] * seconds / 8), max(0, octets - flows.entry_counters(row)[1])
    )
    flows.counted_at[row] = until


def count(
    state: State,
    device: Device,
    row: int,
    packets: int,
    octets: int,
    out: list[Effect],
    *,
    anew: bool = False,
) -> None:
    """Take in a reading of the flow's entry: measure, and classify again where a rate gate opened or closed.

    Args:
        anew: whether the rate until the last reading says nothing about the present one.
    """
    flows, now = device.flows, state.now
    seconds = now - flows.counted_at[row]
    if seconds < SHORTEST_WINDOW:
        return
    more = add_up(device, row, packets, octets)
    if device.new_pins and (carried := new_pins.measured(device, row, now)):
        flows.octets[row] += carried
        flows.set_entry_counters(row, packets, octets)
        more += carried
    if more:
        flows.last_active[row] = now
        if device.set_aside and note_sending(device, flows.in_port[row], flows.counted_at[row], now):
            put_off(state, device, Due.HOSTS)
    first = anew or flows.counted_at[row] == flows.first_seen[row]
    flows.rate[row] = smooth(flows.rate[row], more, seconds, first)
    flows.counted_at[row] = now
    if device.passives:
        _count_behind(state, device, row, seconds, out)
    measured(state, device, row, seconds, out)


def _count_behind(state: State, device: Device, row: int, seconds: float, out: list[Effect]) -> None:
    """Count the flow on the passive switch behind: what passes of it here is what arrives there."""
    passive = device.passive_row(row)
    if passive is None:
        return
    behind, there = passive
    flows, of_behind = device.flows, behind.flows
    of_behind.packets[there], of_behind.octets[there] = flows.packets[row], flows.octets[row]
    of_behind.last_active[there], of_behind.counted_at[there] = flows.last_active[row], state.now
    of_behind.rate[there] = passed_rate(device, row) if flows.meter_id[row] else flows.rate[row]
    measured(state, behind, there, seconds, out)


def measured(state: State, device: Device, row: int, seconds: float, out: list[Effect]) -> None:
    """Take in the flow's rate as it is now, measured over the last ``seconds``."""
    flows, now = device.flows, state.now
    rate = flows.rate[row]
    port = device.ports.get(flows.egress_port[row])
    if port is not None and port.allocation is not None and flows.queue_id[row] != NO_QUEUE:
        passed = passed_rate(device, row) if flows.meter_id[row] else int(rate)
        measure(port.allocation, row, passed, flows.last_active[row] < flows.counted_at[row])
    if device.policy.gates:
        gates = gates_at(device, flows.egress_port[row], now)
        before = flows.gate_state[row]
        since = flows.gate_since.get(row, now) if before else now
        level, since = advance(gates, before, since, rate, now, seconds)
        if level:
            flows.gate_since[row] = since
        elif before:
            flows.gate_since.pop(row, None)
        if device.samples.flows:
            level = weigh_reading(device, row, before, level, rate, now)
        flows.gate_state[row] = level
        if level != before and reclassify(state, device, row, out):
            return
    regroup(state, device, row, out)
