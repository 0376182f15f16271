"""Effects: what the engine wants done on devices, and reports for people.

A device's standing entries are always given as one :class:`DevicePlan`; the southbound side compares it with what
the device has and sends the difference. Pins and their meters are added and removed one by one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from flowlane.core.model import MeterSpec, PinRef, PortRole


class PlannedPort(NamedTuple):
    """A port of the plan, with the VM and the source addresses that may send from it, and its queues.

    ``macs`` empty: any source address; otherwise frames with other ones are dropped, and copied to be reported.
    ``senders`` are the VMs behind a link: (MAC, VLAN, VM number), where VLAN is
    0 for untagged and None for any; ``vm_number`` is then for frames from other addresses. ``queues`` are choices
    (:mod:`flowlane.core.marks`), as wherever a queue is named here; ``keep_marks`` are marks of packets that leave by
    the port which are not written over.
    """

    port_no: int
    role: PortRole
    vm_number: int
    macs: tuple[int, ...] = ()
    queues: tuple[int, ...] = ()
    senders: tuple[tuple[int, int | None, int], ...] = ()
    keep_marks: tuple[int, ...] = ()


class StandingMatch(NamedTuple):
    """Match of a standing rule; what is None or empty matches everything.

    Prefixes are (address bytes, prefix length), ports (first, last). Fragments match as if their ports did, and in
    IPv6 as if their protocol did (see :mod:`flowlane.core.flowkey`).
    """

    vm_numbers: tuple[int, ...] = ()
    eth_type: int | None = None
    ip_proto: int | None = None
    src: tuple[bytes, int] | None = None
    dst: tuple[bytes, int] | None = None
    src_ports: tuple[tuple[int, int], ...] = ()
    dst_ports: tuple[tuple[int, int], ...] = ()
    dscp: int | None = None
    pcp: int | None = None
    vlan: int | None = None


class StandingRule(NamedTuple):
    """Wildcard entry by which the device itself places new flows [0054].

    ``queues`` are (queue id, weight); empty: no ``set_queue``. Of several rules that match, the one with the
    highest ``order`` counts. ``meter_id`` 0: no meter; from :data:`~flowlane.core.model.LIMIT_BY_VM` on: the number
    of a limit, for which each VM has a meter (``vm_meters`` of the plan).
    """

    order: int
    match: StandingMatch
    egress_port: int
    class_name: str
    queues: tuple[tuple[int, int], ...]
    meter_id: int = 0
    learn: bool = True


class VmMeter(NamedTuple):
    """The meter of one VM for a limit of which each VM has its own; ``limit`` is its number in standing rules."""

    limit: int
    vm_number: int
    meter_id: int


class Sampling(NamedTuple):
    """Which packets of flows without a pin the device reports one by one: one in ``one_in`` of those to ``ports``."""

    one_in: int
    ports: tuple[int, ...]


class VlanHost(NamedTuple):
    """A destination whose port depends on the VLAN: for frames from a port with a tag (0: untagged, None: any)."""

    mac: int
    in_port: int
    tag: int | None
    port_no: int


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """Desired state of a device beside its pins.

    Attributes:
        hosts: (MAC, port number) of every known destination that is at one port in all VLANs.
        vlan_hosts: the other destinations, with an address that several hosts have in different VLANs.
        unknown_port: where a VM's multicast, and its unicast to an unknown address, are predicted to go; None:
            to no one port (:data:`~flowlane.core.model.NO_PORT`).
        flood_ports: where a device with forwarding of its own sends such unicast besides, since a host whose
            address is not known may be there.
        learning_ports: ports to the network from which frames with a source address that is not known there are
            copied, so that it becomes known; each with the port at which ``hosts`` has its addresses (its bond's).
        meters: meters of whole classes, and of VMs.
        vm_meters: which VM is held by which meter, for the limits that standing rules name by number.
        copy_rate: packet-ins per second that the device may send; 0: no limit.
        copy_bytes: bytes of a packet that are copied to the controller.
        learned_idle: seconds without packets after which an entry that the device learned itself expires. A
            device that learns keeps a flow on the queue that it chose, and copies its first packet only. 0: it
            does not learn, and copies every packet of a flow without a pin.
        learn_after: packets of a young TCP or UDP flow that go by the standing rules alone, where the device
            tracks connections (see docs/engineers/pipeline.md).
        tracked_ports: the ports whose young flows are counted so; none: every flow has an entry from its first packet.
        in_vlan: where a PCP is to be written, the ports whose untagged frames belong to a VLAN.
        reactive: the device forwards no packet of a flow without a pin; it sends them to the controller.
        sampling: the packets that the device is to sample; None: none.
        over_quota: numbers of VMs whose packets go by the standing rules alone: nothing of them is copied or learned.
    """

    dpid: int
    ports: tuple[PlannedPort, ...]
    hosts: tuple[tuple[int, int], ...]
    unknown_port: int | None
    rules: tuple[StandingRule, ...]
    meters: tuple[MeterSpec, ...] = ()
    vm_meters: tuple[VmMeter, ...] = ()
    vlan_hosts: tuple[VlanHost, ...] = ()
    flood_ports: tuple[int, ...] = ()
    learning_ports: tuple[tuple[int, int], ...] = ()
    copy_rate: int = 1000
    copy_bytes: int = 128
    learned_idle: int = 0
    learn_after: int = 0
    tracked_ports: tuple[int, ...] = ()
    in_vlan: tuple[int, ...] = ()
    reactive: bool = False
    sampling: Sampling | None = None
    over_quota: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Program:
    """Reconcile the device's standing entries with this plan."""

    plan: DevicePlan


class PinFlow(NamedTuple):
    """Pin a flow: add its exact entry, or change the one that it has.

    ``queue_id`` NO_QUEUE: no ``set_queue``; ``meter_id`` 0: no meter; ``idle_timeout`` in seconds. ``moved``: the
    flow has a pin, whose actions change and whose counters stay. ``key`` has the VLAN of the flow's packets on this
    device. ``by_vm``: the entry matches on the number of the VM, which several VMs behind one port may need.
    """

    dpid: int
    ref: PinRef
    key: bytes
    in_port: int
    egress_port: int
    queue_id: int
    meter_id: int
    idle_timeout: int
    moved: bool = False
    by_vm: bool = False


class UnpinFlow(NamedTuple):
    """Delete a flow's pin; fields as in :class:`PinFlow`."""

    dpid: int
    ref: PinRef
    key: bytes
    in_port: int
    egress_port: int
    by_vm: bool = False


class DeleteLearned(NamedTuple):
    """Delete the learned entries of a port: the device places their flows anew, by its standing rules.

    One of the two ports is given, the other is None. Pins are not touched.
    """

    dpid: int
    egress_port: int | None = None
    in_port: int | None = None


class FlushConnections(NamedTuple):
    """Delete the tracked connections of a VM's port: those in its own zone of the switch's connection tracker."""

    dpid: int
    port_no: int


class SendPacket(NamedTuple):
    """Send a packet that the device sent to the controller in full (reactive mode)."""

    dpid: int
    in_port: int
    egress_port: int
    queue_id: int
    frame: bytes


class ProbeLinks(NamedTuple):
    """Send a probe by each of these ports (see :mod:`flowlane.core.topology.discovery`)."""

    dpid: int
    ports: tuple[int, ...]


class SetMeter(NamedTuple):
    """Add a meter of pins, or change its rate (``change`` true)."""

    dpid: int
    meter: MeterSpec
    change: bool = False


class DeleteMeter(NamedTuple):
    """Delete a meter that no entry uses; OpenFlow deletes the entries that use a meter with it."""

    dpid: int
    meter_id: int


class ReadCounters(NamedTuple):
    """Request counters: of pins, of others (queues and meters), of groups of learned entries, sums of all groups.

    ``single``: pins that are read one by one. ``whole_pins``: the number of the audit's reading for which the pins are
    read with what they match and do; 0: they are not.
    """

    dpid: int
    pins: bool = False
    others: bool = False
    groups: tuple[int, ...] = ()
    sums: bool = False
    single: tuple[PinRef, ...] = ()
    whole_pins: int = 0


class BeginGroup(NamedTuple):
    """Have the device put what it learns from now on in another group.

    ``others``: the other groups that have entries; the device counts all of these groups, and no others.
    """

    dpid: int
    group: int
    others: tuple[int, ...] = ()


class ReadQueues(NamedTuple):
    """Ask the device again which queues it has."""

    dpid: int


FlowEvent = Literal["seen", "rerouted", "reclassified", "ended", "assigned", "changed", "moved"]
"""What happened to a flow on one device: it began; it came or left by other ports; it got another class; it ended; it
got its queue; its meter, its pin or its reason changed and its queue did not; it went to another queue."""

KINDS_OF_FLOW_EVENTS: Mapping[FlowEvent, str] = {
    "seen": "flow",
    "rerouted": "flow",
    "reclassified": "flow",
    "ended": "flow",
    "assigned": "assignment",
    "changed": "assignment",
    "moved": "move",
}
"""Kind of the event, as in :class:`Report`."""


class FlowReport(NamedTuple):
    """Event about one flow, in small: as there are many, text is made of it only where somebody reads it.

    ``key`` is the flow's (:mod:`flowlane.core.flowkey`), with the number of its VM. ``queue_id`` is the queue that the
    flow has now, ``old_queue_id`` the one before. ``reason`` is a :class:`~flowlane.core.model.Reason`, for the queue.
    ``why`` is the cause of what happened, where the reason for the queue does not say it.
    """

    change: FlowEvent
    dpid: int
    key: bytes
    port_no: int
    class_name: str
    queue_id: int
    old_queue_id: int
    meter_id: int
    reason: int
    pinned: bool
    why: str

    @property
    def kind(self) -> str:
        """Kind of the event, as in :class:`Report`."""
        return KINDS_OF_FLOW_EVENTS[self.change]


@dataclass(frozen=True, slots=True)
class Report:
    """Event for people: one line of ``GET /v1/events``.

    ``kind`` is one of ``flow``, ``assignment``, ``move``, ``device``, ``vm``, ``queue``, ``policy``,
    ``hint``, ``link``, ``error``. ``data`` has, as far as they apply: ``device`` (dpid, 16 hex digits), ``vm`` (its
    id), ``flow`` (its id), ``change`` (what happened, one word) and ``why``. Events about one flow alone are
    :class:`FlowReport`.
    """

    kind: str
    text: str
    data: Mapping[str, object]


Effect = (
    Program
    | PinFlow
    | UnpinFlow
    | DeleteLearned
    | FlushConnections
    | SendPacket
    | ProbeLinks
    | SetMeter
    | DeleteMeter
    | ReadCounters
    | BeginGroup
    | ReadQueues
    | Report
    | FlowReport
)
