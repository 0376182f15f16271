"""The fast path of packet-ins: what a sender's last packet has shown is not found again for its next one.

Hosts and clouds send new flows in bursts, and most of what :mod:`flowlane.core.packet_in` finds for one of them is as
it was for the one before: where the sender is, which VM it is, which queues its class may have. That is kept here for
first packets of TCP and UDP flows over IPv4, untagged and without options, from a VM at its own port:

- :class:`~flowlane.core.state.senders.KnownSender` has what follows from the ingress port and the source MAC;
- :class:`~flowlane.core.state.senders.Way` has what follows from the class, the egress port and the queue that the
  device itself chose;
- :class:`~flowlane.core.state.senders.Arrival` has what follows from class and egress port where the packet waits for
  the controller, which chooses the queue.

The next such flow is placed by a few look-ups, and written to its columns at once. :func:`take` does so only where the
general path would come to the same, to the last column and effect; else it changes nothing. Everything that is kept is
compared with what it was made of, so that there is nothing to invalidate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from flowlane.core.allocate import arrive, cells
from flowlane.core.device.quotas import note_copy
from flowlane.core.device.vlans import UNTAGGED, entering
from flowlane.core.effects import FlowReport, SendPacket
from flowlane.core.flow.assign import demand_of, may_stay
from flowlane.core.flow.corrections import has_look, most_looks, use_up_look
from flowlane.core.flow.pins import FREE, WORTHY, Worth, mode, put_pin, worth
from flowlane.core.flow.track import FIRST
from flowlane.core.flowkey import HEAD, IPV4, TCP, UDP, FlowParts
from flowlane.core.model import NO_PORT, NO_QUEUE, PortRole, QueueKind, Reason
from flowlane.core.policy import PathPreference
from flowlane.core.state.claims import Sign
from flowlane.core.state.flows import UNREPORTED
from flowlane.core.state.senders import Arrival, KnownSender, Way

if TYPE_CHECKING:
    from flowlane.core.allocate.state import Demand, PortState, Region
    from flowlane.core.effects import Effect
    from flowlane.core.events import FlowSeen
    from flowlane.core.model import Vm
    from flowlane.core.state.device import Device, State
    from flowlane.core.state.senders import Classified

MOST_KEPT = 4096
"""Senders of a device, and classes and ways of a sender, that are kept; with one more all are found anew."""

_IPV4 = bytes.fromhex("080045")
"""Ethertype of IPv4, and the first byte of a header without options (RFC 791, 3.1)."""

_SHORTEST = 38
"""Bytes of a frame up to its ports."""

_NO_PORTS = b"\x50"
"""A TCP header whose data offset is less than this has no ports (see :mod:`flowlane.core.frame`)."""

_LAST_QUEUE = 0xFFFE
"""The highest choice of a device that is a queue without a mark (:mod:`flowlane.core.marks`)."""


_DEVICE_CHOSE = int(Reason.DEVICE_CHOSE)


@dataclass(slots=True)
class Checked:
    """What was compared for the packets that came together, and holds for the next one of them, too.

    Attributes:
        senders: source MAC -> the IP address that was compared with it.
        ways: those that are open.
        looks: new flows that may be looked at in a second (:mod:`flowlane.core.flow.corrections`); None: none is.
    """

    senders: dict[bytes, bytes]
    ways: set[Way]
    looks: float | None


def nothing_checked(device: Device) -> Checked:
    """Begin anew: packets come together, or the general path may have changed something."""
    return Checked({}, set(), most_looks(device))


_Flow: TypeAlias = "tuple[KnownSender, FlowSeen, int, bytes, Classified]"
"""A flow that begins: its sender, its first packet, its egress port, its key and its class."""


def take(state: State, device: Device, seen: FlowSeen, checked: Checked, out: list[Effect]) -> bool:
    """Take in the first packet of a flow of a known sender; False: nothing is done, the general path has to do it."""
    _, in_port, frame, egress, choice, meter_id, waits = seen
    sender = device.known_senders.get(frame[6:12])
    if sender is None or sender.in_port != in_port or egress is None or meter_id:
        return False
    head = sender.heads.get(frame[23]) if _has_ports(frame) else None
    if head is None:
        return False
    key = head + frame[34:38] + frame[26:34]
    if key in device.flows.rows or not _holds(state, device, sender, frame, checked):
        return False
    what = sender.classifier.looked_at(frame)
    classified = sender.classes.get(what) or _classify(sender, what, frame)
    begins = _choose if choice is None else _follow
    if not begins(state, device, (sender, seen, egress, key, classified), checked, out):
        return False
    if waits:
        queue_id = device.flows.queue_id[device.flows.rows[key]]
        out.append(SendPacket(device.dpid, in_port, egress, queue_id, frame))
    return True


def _follow(
    state: State,
    device: Device,
    flow: _Flow,
    checked: Checked,
    out: list[Effect],
) -> bool:
    """Take in a flow that stays on the queue on which the device has put it."""
    sender, seen, egress, key, classified = flow
    queue_id = seen.queue_id
    way = None if queue_id is None else sender.ways.get((egress, queue_id, classified[0]))
    if way is None or queue_id is None or (way not in checked.ways and not _is_open(device, way, egress)):
        return False
    if way.is_pinned and device.pinned >= device.pin_budget:
        return False
    checked.ways.add(way)
    if checked.looks is not None:
        if has_look(state, device, checked.looks):
            return False
        use_up_look(state, device, checked.looks)
    row = _begin(state, device, flow, way.class_name, out)
    flows = device.flows
    flows.device_queue[row] = flows.queue_id[row] = queue_id
    flows.kind[row], flows.reason[row] = way.queue.kind, _DEVICE_CHOSE
    cells.enter(way.allocation, way.cell, row, way.profile, classified[0])
    if way.is_pinned:
        put_pin(device, row, Worth.NOTHING, FREE, out)
    what = device.dpid, key, egress, way.class_name, queue_id, NO_QUEUE, 0, _DEVICE_CHOSE, way.is_pinned, ""
    out.append(FlowReport("assigned", *what))
    return True


def _choose(
    state: State,
    device: Device,
    flow: _Flow,
    _checked: Checked,
    out: list[Effect],
) -> bool:
    """Take in a flow that the device has put on no queue: choose one, and pin it."""
    sender, _, egress, key, classified = flow
    arrival = sender.arrivals.get((egress, classified[0]))
    if arrival is None or device.pinned >= device.pin_budget:
        return False
    port, allocation, demand, name = arrival.port, arrival.allocation, arrival.demand, arrival.class_name
    if device.ports.get(egress) is not port or port.allocation is not allocation:
        return False
    row, flows = _begin(state, device, flow, name, out), device.flows
    queue_id, kind, reason = arrive(allocation, row, demand, key)
    flows.queue_id[row], flows.kind[row], flows.reason[row] = queue_id, kind, reason
    put_pin(device, row, worth(queue_id, reason, 0, UNREPORTED, 0), FREE, out)
    what = device.dpid, key, egress, name, queue_id, NO_QUEUE, 0, int(reason), True, ""
    out.append(FlowReport("assigned", *what))
    return True


def _holds(state: State, device: Device, sender: KnownSender, frame: bytes, checked: Checked) -> bool:
    """Whether what is known of a sender holds for a packet of it."""
    mac, source = frame[6:12], frame[26:30]
    if checked.senders.get(mac) == source:
        return True
    if not _is_plain(state, device, sender, source):
        return False
    checked.senders[mac] = source
    return True


def _has_ports(frame: bytes) -> bool:
    """Whether it is an untagged frame of IPv4 without options that has ports: no fragment, and not cut before them."""
    return (
        frame[12:15] == _IPV4
        and len(frame) >= _SHORTEST
        and not (frame[20] & 0x3F)
        and not frame[21]
        and not (frame[23] == TCP and b"" < frame[46:47] < _NO_PORTS)
    )


def _is_plain(state: State, device: Device, sender: KnownSender, source: bytes) -> bool:
    """Whether a sender is where it was and what it was, and nothing on the device or of the VM asks for more.

    Args:
        source: the IP address from which it sends.
    """
    vm, claims = sender.vm, sender.claims
    number = vm.number
    return (
        device.ports.get(sender.in_port) is sender.port
        and sender.port.role is PortRole.VM
        and sender.port.facts is sender.facts
        and device.capabilities is sender.capabilities
        and device.classifier is sender.classifier
        and device.claims.get(sender.in_port) is sender.claim
        and claims.current is sender.claim
        and len(claims.claims) == 1
        and not claims.away
        and state.claims.get(number) is claims
        and state.vms.get(number) is vm
        and device.hosts.get(sender.place) == sender.in_port
        and number in state.addresses.get(source, ())
        and number not in device.shares
        and not _has_other_nics(state, vm)
        and is_ordinary(state, device)
    )


def is_ordinary(state: State, device: Device) -> bool:
    """Whether nothing is going on, on a device, for which each new flow has to be looked at by itself."""
    return not (
        device.in_adoption
        or device.doubtful
        or device.manual_pins
        or state.pins_ahead.get(device.dpid)
        or device.left
        or device.origins
        or device.passives
        or device.bonds
        or device.marking is not None
        or device.declared is not None
        or state.carried
        or state.hints_of_vm
    )


def _has_other_nics(state: State, vm: Vm) -> bool:
    """Whether another NIC may be of the same virtual machine (:func:`flowlane.core.device.nics.other_nics`)."""
    own = (vm.number,)
    if vm.uuid and state.nics.get(vm.uuid) != own:
        return True
    return any(state.macs.get(mac) != own for mac in vm.macs)


def _classify(sender: KnownSender, what: object, frame: bytes) -> Classified:
    """Classify a flow whose VM has given no hint but in the packet itself, and keep its class.

    Args:
        what: what rules may look at in the frame.
    """
    if len(sender.classes) >= MOST_KEPT:
        sender.classes.clear()
    ports = int.from_bytes(frame[34:36]), int.from_bytes(frame[36:38])
    parts = FlowParts(sender.vm.number, None, IPV4, frame[23], *ports, frame[26:30], frame[30:34])
    dscp = frame[15] >> 2
    hint, source, _ = sender.classifier.weigh_hints(sender.vm, dscp, 0)
    class_index, rule_index = sender.classifier.classify(sender.vm, parts, dscp, 0, hint)
    found = sender.classes[what] = class_index, rule_index, 0 if hint is None else hint + 1, source
    return found


def _is_open(device: Device, way: Way, egress: int) -> bool:
    """Whether the device may still put flows on the queue of a way, and none has to look where they are counted."""
    allocation, region, cell = way.allocation, way.region, way.cell
    slot, group = cell.slot, cell.group
    return (
        device.ports.get(egress) is way.port
        and way.port.allocation is allocation
        and slot.exclusive_row < 0
        and slot.pool is not None
        and (slot.pool is group.pool or group.provisional)
        and slot.region is region
        and slot.queue is way.queue
        and allocation.cells[cell.index] is cell
        and allocation.references[way.profile] > 0
        and allocation.demands[way.profile] is way.demand
        and region is _region_of(allocation, way.demand)
    )


def _region_of(allocation: PortState, demand: Demand) -> Region | None:
    """Return the region in which the policy wants the flows of a demand without a share; None: it has no queues."""
    if demand.path is PathPreference.SOFTWARE:
        return allocation.software if allocation.software.slots else None
    return allocation.region_of.get(-1)


def _begin(
    state: State,
    device: Device,
    flow: _Flow,
    class_name: str,
    out: list[Effect],
) -> int:
    """Add a flow to the table, with all that does not depend on its queue; return its row."""
    sender, seen, egress, key, classified = flow
    number, in_port, now = sender.vm.number, seen.in_port, state.now
    sender.claim.seen, sender.claim.sign = now, Sign.PACKET
    device.host_seen[sender.place] = now
    note_copy(state, device, number, True, out)
    flows = device.flows
    row = flows.add(key, now)
    state.awake.add(device.dpid)
    device.begun[in_port] = device.begun.get(in_port, 0) + 1
    device.readings.begun += 1
    device.flows_of_vm[number] = device.flows_of_vm.get(number, 0) + 1
    flows.in_port[row], flows.egress_port[row], flows.vm_number[row] = in_port, egress, number
    flows.dscp[row] = seen.frame[15] >> 2
    flows.class_index[row], flows.rule_index[row] = classified[:2]
    flows.hint_class[row], flows.hint_source[row] = classified[2:]
    what = device.dpid, key, egress, class_name, NO_QUEUE, NO_QUEUE, 0, 0, False, FIRST
    out.append(FlowReport("seen", *what))
    return row


def remember(state: State, device: Device, seen: FlowSeen) -> None:
    """Keep what the general path has found for the first packet of a flow, where the next one may go by it."""
    if seen.egress_port in (None, NO_PORT, seen.in_port) or not is_ordinary(state, device):
        return
    if not _has_ports(seen.frame):
        return
    sender = device.known_senders.get(seen.frame[6:12])
    if sender is None or not _is_plain(state, device, sender, seen.frame[26:30]):
        sender = _sender_of(state, device, seen)
    head = None if sender is None else sender.heads.get(seen.frame[23])
    if sender is None or head is None or not _is_plain(state, device, sender, seen.frame[26:30]):
        return
    row = device.flows.rows.get(head + seen.frame[34:38] + seen.frame[26:34])
    if row is not None:
        (_remember_arrival if seen.queue_id is None else _remember_way)(device, sender, row)


def _sender_of(state: State, device: Device, seen: FlowSeen) -> KnownSender | None:
    """Keep a sender that is a VM at its own port; None for others."""
    port, claim = device.ports.get(seen.in_port), device.claims.get(seen.in_port)
    if port is None or claim is None or port.role is not PortRole.VM:
        return None
    mac, number = seen.frame[6:12], claim.vm.number
    vm, claims = state.vms.get(number), state.claims.get(number)
    inside = entering(port.facts, UNTAGGED) if device.capabilities.normal else (None,)
    if vm is None or claims is None or mac[0] & 1 or not inside:
        return None
    if vm.macs and int.from_bytes(mac) not in vm.macs:
        return None
    heads = {protocol: HEAD.pack(number, 0, IPV4, protocol, 0, 0)[:8] for protocol in (TCP, UDP)}
    sender = KnownSender(
        seen.in_port,
        port,
        port.facts,
        device.capabilities,
        device.classifier,
        vm,
        claim,
        claims,
        (int.from_bytes(mac), inside[0]),
        heads,
    )
    if len(device.known_senders) >= MOST_KEPT:
        device.known_senders.clear()
    device.known_senders[mac] = sender
    return sender


def _remember_way(device: Device, sender: KnownSender, row: int) -> None:
    """Keep where a flow is, if it is where the device itself has put it and flows like it may stay there."""
    flows = device.flows
    egress, queue_id, class_index = flows.egress_port[row], flows.queue_id[row], flows.class_index[row]
    port, traffic_class = device.ports.get(egress), device.policy.classes[class_index]
    allocation = None if port is None else port.allocation
    if port is None or allocation is None or not 0 <= queue_id <= _LAST_QUEUE:
        return
    if (
        flows.reason[row] != Reason.DEVICE_CHOSE
        or flows.device_queue[row] != queue_id
        or flows.device_meter[row]
        or traffic_class.rate_limit is not None
        or traffic_class.min_rate
    ):
        return
    demand = demand_of(device, row)
    cell, profile = cells.cell_of(allocation, row), allocation.columns.profile[row]
    slot = cell.slot
    wanted = QueueKind.SOFTWARE if demand.path is PathPreference.SOFTWARE else QueueKind.PHYSICAL
    if cell.vm or slot.queue.kind is not wanted or not may_stay(device, allocation, row, demand):
        return
    if len(sender.ways) >= MOST_KEPT:
        sender.ways.clear()
    sender.ways[egress, queue_id, class_index] = Way(
        port,
        allocation,
        slot.region,
        slot.queue,
        cell,
        profile,
        allocation.demands[profile],
        traffic_class.name,
        mode(device) != WORTHY,
    )


def _remember_arrival(device: Device, sender: KnownSender, row: int) -> None:
    """Keep what flows like one that waited for the controller ask for, if the allocator alone decides about them."""
    flows = device.flows
    egress, class_index = flows.egress_port[row], flows.class_index[row]
    port, traffic_class = device.ports.get(egress), device.policy.classes[class_index]
    if port is None or port.allocation is None or flows.device_queue[row] != UNREPORTED or flows.rate[row]:
        return
    is_bound = (
        mode(device) == WORTHY
        or traffic_class.exclusive
        or traffic_class.alike
        or traffic_class.meter_only
        or traffic_class.max_queues is not None
        or traffic_class.rate_limit is not None
    )
    if is_bound:
        return
    if len(sender.arrivals) >= MOST_KEPT:
        sender.arrivals.clear()
    demand = demand_of(device, row)
    sender.arrivals[egress, class_index] = Arrival(port, port.allocation, demand, traffic_class.name)
