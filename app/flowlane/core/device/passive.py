"""Passive switches: they speak no OpenFlow and choose their queues by mark, which the device before them writes.

The policy declares them. Each is a :class:`~flowlane.core.state.device.Device` like any other, with ports, queues and
an allocator for each port, but without a connection. Its flows are those that leave a controlled device by a port that
leads to it; they begin, are counted and end with the flow there. Where the allocator puts one on another queue than
its packets have the mark for, that device gets a pin with the right one. A packet has one mark, so a device whose own
queues are chosen by mark writes its own, and of two passive switches behind one port the first gets the marks.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING
from zlib import crc32

from flowlane.core import marks
from flowlane.core.allocate.state import Placement
from flowlane.core.classify.classifier import compile_rules
from flowlane.core.events import DeviceDescribed
from flowlane.core.flow.assign import apply, reassign, remove_flow
from flowlane.core.flow.pins import FREE, lacks_mark, put_pin, worth_of
from flowlane.core.flow.target import Target
from flowlane.core.flow.track import begin_behind
from flowlane.core.marks import NO_MARK
from flowlane.core.model import (
    NO_IDS,
    NO_QUEUE,
    Capabilities,
    LeftOut,
    PortFacts,
    PortReport,
    QueueFacts,
    Reason,
)
from flowlane.core.state.device import Device, Due, Passive, put_off
from flowlane.core.state.flows import PINNED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowlane.core.effects import Effect
    from flowlane.core.policy import PassivePort, PassiveSwitch
    from flowlane.core.state.device import Port, State

FIRST_DPID = 0xF10A << 48
"""Datapath ids of passive switches begin with Flowlane's number, as its cookies do."""

FIRST_LINK = 1001
"""Number of a passive switch's first port towards a controlled device; the ports with queues are numbered from 1."""

MOST_CHOICES = 64
"""Buckets of a select group at most, where a device chooses a queue of its own and a mark."""

_CAN = Capabilities(select_groups=True, learn=True, normal=True)
"""A passive switch takes each flow where its mark leads, from the first packet on."""


def dpid_of(name: str) -> int:
    """Return the datapath id of a passive switch."""
    return FIRST_DPID | crc32(name.encode())


def declare(state: State, out: list[Effect]) -> None:
    """Have exactly the passive switches of policy and expected network among the devices; the caller refreshes them."""
    switches = (*state.passive_switches, *state.policy.passive_switches)
    declared = {dpid_of(switch.name): switch for switch in switches}
    for device in list(state.passive):
        if device.dpid not in declared:
            for row in list(device.flows):
                remove_flow(device, row, out, unpin=False, why="its switch is no longer declared")
            state.devices.pop(device.dpid)
            state.due.pop(device.dpid, None)
            state.refits.pop(device.dpid, None)
    for dpid, switch in declared.items():
        if dpid not in state.devices:
            state.devices[dpid] = Device(
                dpid, state.policy, compile_rules(state.policy, state.classifier), since=state.now
            )
        device = state.devices[dpid]
        if device.declared != switch:
            _describe(device, switch)
    state.passive = [state.devices[dpid] for dpid in declared]


def _describe(device: Device, switch: PassiveSwitch) -> None:
    device.declared, device.capabilities, device.name = switch, _CAN, switch.name
    ports = dict(enumerate(switch.ports, start=1))
    links = dict(enumerate(switch.behind, start=FIRST_LINK))
    facts = {port_no: _facts(port) for port_no, port in ports.items()}
    for port_no, behind in links.items():
        facts[port_no] = PortFacts(f"to {behind.device} {behind.port}", {"flowlane-port": "link"})
    device.reported_ports = {port_no: PortReport(port_no, fact.name) for port_no, fact in facts.items()}
    device.reported_queues = {
        port_no: tuple(queue.queue_id for queue in port.queues) for port_no, port in ports.items()
    }
    device.described = DeviceDescribed(device.dpid, switch.name, "switch", NO_IDS, "", facts)


def _facts(port: PassivePort) -> PortFacts:
    queues = {queue.queue_id: QueueFacts(queue.kind, queue.min_rate, queue.max_rate) for queue in port.queues}
    return PortFacts(port.name, {"flowlane-port": "uplink"}, qos_max_rate=port.rate, queues=queues)


def attach(state: State, device: Device, out: list[Effect]) -> None:
    """Find the passive switches behind a controlled device's ports anew; its flows are added where one is new."""
    if device.declared is not None or not (state.passive or device.passives):
        return
    found: dict[int, Passive] = {}
    if device.marking is None:
        for port_no, passive in _behind(state, device):
            found.setdefault(port_no, passive)
    if found == device.passives:
        return
    for row in device.flows:
        there = device.passive_row(row)
        if there is not None and found.get(device.flows.egress_port[row]) != device.passives.get(
            device.flows.egress_port[row]
        ):
            remove_flow(*there, out, unpin=False, why="another switch is behind the port by which it leaves")
    changed = {*found, *device.passives}
    device.passives = found
    for passive in found.values():
        passive.device.upstream[passive.in_port] = device
    for row in list(device.flows):
        begin_behind(state, device, row, out)
        if device.flows.egress_port[row] not in found and device.flows.mark[row] != NO_MARK:
            device.flows.mark[row] = NO_MARK
            if device.flows.flags[row] & PINNED:
                put_pin(device, row, worth_of(device, row), FREE, out)
    if device.plan is not None:  # What a device has when it connects is adopted.
        device.relearn |= changed


def _behind(state: State, device: Device) -> Iterator[tuple[int, Passive]]:
    """List (port number, passive switch) for a device, in the order of the policy."""
    for passive in state.passive:
        assert passive.declared is not None
        for place, behind in enumerate(passive.declared.behind):
            if not fnmatchcase(device.name, behind.device):
                continue
            for port in device.ports.values():
                if fnmatchcase(port.name, behind.port) or fnmatchcase(port.label, behind.port):
                    leaves_by = behind.leaves_by + 1
                    yield device.of_bond(port.port_no), Passive(passive, FIRST_LINK + place, leaves_by)


def left_out(state: State, device: Device) -> Iterator[LeftOut]:
    """List the passive switches behind a controlled device that get no marks from it."""
    if device.declared is not None:
        return
    for port_no, passive in _behind(state, device):
        taken = device.passives.get(port_no)
        if taken is None or taken.device is not passive.device:
            why = (
                "the device's own queues are chosen by the mark" if taken is None else "the mark is another's"
            )
            if taken is not None:
                why = f"the mark is for {taken.device.name}, which is declared before it"
            what = f"queues of {passive.device.name} for flows from {device.ports[port_no].label}"
            yield LeftOut(what, why, "give both the same map: the mark then chooses the queue on both")


def with_marks(
    device: Device, port: Port, queues: tuple[tuple[int, int], ...], of_passive: tuple[tuple[int, int], ...]
) -> tuple[tuple[int, int], ...]:
    """Return (choice, weight) for new flows: of the device's own queues with weights, and of the passive switch's."""
    passive = device.passives[port.port_no].device
    if passive.marking is None or not of_passive:
        return queues
    written = [(passive.marking.mark_of(queue_id), weight) for queue_id, weight in of_passive]
    own = queues or ((NO_QUEUE, 1),)
    if len(own) * len(written) <= MOST_CHOICES:
        return tuple(
            (marks.join(queue_id, mark), weight * of_mark)
            for queue_id, weight in own
            for mark, of_mark in written
        )
    # Too many pairs: each queue and each mark is in some.
    most = max(len(own), len(written))
    pairs = [(own[place % len(own)], written[place % len(written)]) for place in range(most)]
    return tuple((marks.join(queue[0], mark[0]), queue[1] * mark[1]) for queue, mark in pairs)


def choices(device: Device, port: Port) -> tuple[int, ...]:
    """List what entries may name for packets that leave by a port with a passive switch behind it."""
    passive = device.passives[port.port_no].device
    made = passive.marking
    own = [NO_QUEUE, *sorted(port.queues)]
    written = (
        []
        if made is None
        else [
            made.mark_of(queue_id)
            for queue_id in sorted(passive.ports[device.passives[port.port_no].egress_port].queues)
        ]
    )
    return tuple(
        marks.join(queue_id, mark)
        for queue_id in own
        for mark in (NO_MARK, *written)
        if (queue_id, mark) != (NO_QUEUE, NO_MARK)
    )


def replan_before(state: State, device: Device) -> None:
    """Leave to the next catch-up the plans of the devices before a passive switch, which place its new flows."""
    for in_port, other in device.upstream.items():
        put_off(state, other, Due.PLAN)
        if device.relearn:
            other.relearn |= {
                port_no for port_no, passive in other.passives.items() if passive.in_port == in_port
            }
    device.relearn.clear()


def settle_marks(state: State, out: list[Effect]) -> None:
    """Have the marks written of all flows whose queue on a passive switch has changed.

    A flow for whose mark no pin is to be had stays on the queue that its packets have the mark for.
    """
    for device in state.passive:
        for _ in range(2):  # The second time for flows that stay where they are.
            rows, device.replaced = sorted(device.replaced), set()
            for row in rows:
                _settle_mark(state, device, row, out)


def _settle_mark(state: State, device: Device, row: int, out: list[Effect]) -> None:
    flows, key = device.flows, device.flows.keys[row]
    before = device.upstream.get(flows.in_port[row])
    there = before.flows.rows.get(key) if before is not None and key is not None else None
    if (
        before is None
        or there is None
        or before.passive_row(there) != (device, row)
        or device.marking is None
    ):
        return
    mark = device.marking.mark_of(flows.queue_id[row]) if flows.queue_id[row] != NO_QUEUE else NO_MARK
    of_before = before.flows
    has_changed, of_before.mark[there] = of_before.mark[there] != mark, mark
    if of_before.flags[there] & PINNED:
        if has_changed:
            put_pin(before, there, worth_of(before, there), FREE, out)
    elif lacks_mark(before, there):
        reassign(state, before, there, out)
        queue = device.ports[flows.egress_port[row]].queues.get(flows.device_queue[row])
        if not of_before.flags[there] & PINNED and queue is not None:
            own_choice = Placement(queue.queue_id, queue.kind, Reason.DEVICE_CHOSE)
            apply(state, device, row, Target(own_choice, yields=True), out)
