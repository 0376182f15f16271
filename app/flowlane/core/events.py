"""Events: the facts that reach the engine, without any OpenFlow or OVSDB object."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.policy import UNKNOWN_ORIGIN

if TYPE_CHECKING:
    from flowlane.core.model import (
        Admission,
        Capabilities,
        Hint,
        LeftOut,
        MeterSpec,
        PinRef,
        PortFacts,
        PortReport,
        Refusal,
        Role,
    )
    from flowlane.core.policy import Policy, PolicyOrigin


@dataclass(frozen=True, slots=True)
class DeviceUp:
    """A device has connected, and its handshake is over.

    Attributes:
        queues: egress port number -> ids of the queues that the switch reports on it.
        pins: the pins found in the device's tables, from before a restart or a reconnection.
        hosts: (MAC, port number) of the destinations found there.
        learned: the learned entries found there.
        tracked: the ports found there whose young flows the device counts.
        unusable: why the device cannot be used, and is left alone; '': it can.
        conflicts: where entries of other controllers and ours conflict, as text.
        other_meters: meters of the device that no entry of ours uses.
        pin_meters: the meters that the found pins use, as the device has them.
        group: the group in which the device puts what it learns (see :mod:`flowlane.core.flow.readings`).
        spreads: the select groups found there: id, and the weight of each choice (:func:`flowlane.core.marks.join`).
    """

    dpid: int
    capabilities: Capabilities
    ports: tuple[PortReport, ...]
    queues: Mapping[int, tuple[int, ...]]
    pins: tuple[FoundPin, ...] = ()
    peer: str = ""
    hosts: tuple[tuple[int, int], ...] = ()
    learned: tuple[LearnedFlow, ...] = ()
    tracked: tuple[int, ...] = ()
    unusable: str = ""
    conflicts: tuple[str, ...] = ()
    other_meters: tuple[MeterSpec, ...] = ()
    pin_meters: tuple[MeterSpec, ...] = ()
    group: int = 0
    spreads: tuple[tuple[int, tuple[tuple[int, int], ...]], ...] = ()


class DeviceWaits(NamedTuple):
    """A device is connected that has entries of ours, and waits for what a database says of it."""

    dpid: int
    peer: str


class FoundPin(NamedTuple):
    """A pin read back from a device. ``ref`` comes from its cookie.

    ``key`` has the VLAN that the flow has on the device. ``by_vm``: the number of the VM in it is the pin's own.
    """

    ref: PinRef
    key: bytes
    in_port: int
    egress_port: int
    queue_id: int
    meter_id: int
    packets: int
    octets: int
    by_vm: bool = False


@dataclass(frozen=True, slots=True)
class DeviceDown:
    """The connection of a device has ended; its entries stay in force. ``why`` is empty where it ended by itself."""

    dpid: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class DpidShared:
    """Several switches connect with one dpid in turns; ``peers`` is empty when they do not any more."""

    dpid: int
    peers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PortChanged:
    """A port was added or modified."""

    dpid: int
    port: PortReport


@dataclass(frozen=True, slots=True)
class PortRemoved:
    """A port was removed."""

    dpid: int
    port_no: int


@dataclass(frozen=True, slots=True)
class QueuesReported:
    """The switch reported its queues. The report replaces the last one: a port that is not in it has none."""

    dpid: int
    queues: Mapping[int, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class DeviceDescribed:
    """OVSDB describes a bridge. The description replaces the last one.

    ``ports`` is by port number. ``role`` is the text of ``external_ids:flowlane-role``, None when absent.

    Attributes:
        host: the machine: ``external_ids:system-id`` of the database, else the UUID of its row.
        host_name: ``external_ids:hostname`` of the database, else its ``system-id``; '': neither is there.
        spanning_tree: ``rstp``, ``stp``, or '' for none.
        tunnel_addresses: addresses of the machine at which tunnels end (``external_ids:ovn-encap-ip``).
    """

    dpid: int
    name: str
    role: str | None
    external_ids: Mapping[str, str]
    datapath_type: str
    ports: Mapping[int, PortFacts]
    host: str = ""
    host_name: str = ""
    spanning_tree: str = ""
    tunnel_addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DescriptionRemoved:
    """The bridge is gone from OVSDB."""

    dpid: int


class FlowSeen(NamedTuple):
    """A packet-in with the first packet of a flow, which may be cut short.

    Attributes:
        egress_port: where the device predicts that it goes (metadata); NO_PORT: no one port, None: not reported.
        queue_id: the queue that the device chose for it; None when not reported.
        meter_id: the meter that the device applies to it; 0: none.
        waits: whether the device has not forwarded it (reactive mode).
    """

    dpid: int
    in_port: int
    frame: bytes
    egress_port: int | None = None
    queue_id: int | None = None
    meter_id: int = 0
    waits: bool = False


NO_SENDER = (0, 0)
"""Sender of a probe that none of our devices has sent, since this controller started."""


class LinkSeen(NamedTuple):
    """A probe came in by a port: which port of which device had sent it, or :data:`NO_SENDER`."""

    dpid: int
    port_no: int
    from_dpid: int
    from_port: int


class PinCounters(NamedTuple):
    """Counters of pins: (row, generation, packets, bytes) each, and no :class:`PinRef`: there may be 10,000."""

    dpid: int
    counters: tuple[tuple[int, int, int, int], ...]


class PinsRead(NamedTuple):
    """All pins of a device, for the audit's reading with this number. Their keys are without the number of the VM."""

    dpid: int
    number: int
    pins: tuple[FoundPin, ...]


class LearnedFlow(NamedTuple):
    """A flow that a device placed by itself, read from its learned entry.

    Attributes:
        key: the flow key (see :mod:`flowlane.core.flowkey`), with the VM number of the device's metadata.
        eth_src: MAC address of the sender.
        queue_id: the queue that the device chose, or NO_QUEUE.
        dscp: mark of the flow's first packet, as ``pcp``.
        meter_id: the meter that the flow's class shares; 0: none.
        group: the group of learned entries that it is in (see :mod:`flowlane.core.flow.readings`).
        seconds: for how long the entry has existed; 0: not known.
    """

    key: bytes
    in_port: int
    egress_port: int
    eth_src: int
    queue_id: int
    packets: int
    octets: int
    dscp: int = 0
    pcp: int = 0
    meter_id: int = 0
    group: int = 0
    seconds: float = 0.0


class LearnedCounters(NamedTuple):
    """Counters of learned entries, which have no row in their cookie."""

    dpid: int
    flows: Collection[LearnedFlow]


class ReadingEnded(NamedTuple):
    """All counters of pins, or of a group of learned entries, were reported, or none will be.

    Attributes:
        number: the group, or :data:`flowlane.core.flow.readings.PINS`.
        entries: how many there were; None: there is no reply.
        seconds: from the request to the beginning of the reply.
    """

    dpid: int
    number: int
    entries: int | None
    seconds: float


class GroupsCounted(NamedTuple):
    """How many bytes the device has counted of each group of learned entries; none when there is no reply."""

    dpid: int
    octets: Mapping[int, int]


class LearnedEnded(NamedTuple):
    """A learned entry (see :class:`LearnedFlow`) was removed from its table: idle or deleted."""

    dpid: int
    key: bytes
    in_port: int
    egress_port: int
    eth_src: int
    packets: int
    octets: int
    idle: bool


class SampledPacket(NamedTuple):
    """A packet that a device has sampled.

    Attributes:
        tail: its flow key (see :mod:`flowlane.core.flowkey`) from the VLAN on, without the number of a VM.
        eth_src: MAC address of its sender.
        port_name: name of the port that it came in by; '': not reported, as for patch ports.
        octets: its length with the Ethernet header.
        at: when it passed, in seconds of the device's clock.
    """

    tail: bytes
    eth_src: int
    port_name: str
    octets: int
    at: float


class PacketsSampled(NamedTuple):
    """Packets of flows without a pin that a device has sampled (see ``sampling`` of its plan)."""

    dpid: int
    packets: tuple[SampledPacket, ...]


class PinEnded(NamedTuple):
    """A pin was removed from its table: idle, deleted or evicted."""

    dpid: int
    ref: PinRef
    packets: int
    octets: int
    idle: bool


FlowMessage = FlowSeen | PinEnded | LearnedEnded


class FlowMessages(NamedTuple):
    """What a device has sent about its flows, one after the other."""

    dpid: int
    messages: Sequence[FlowMessage]


class QueueCounters(NamedTuple):
    """Transmit counters of queues: (port_no, queue_id) -> (packets, bytes, errors)."""

    dpid: int
    counters: Mapping[tuple[int, int], tuple[int, int, int]]


class MeterCounters(NamedTuple):
    """Counters of meters: meter_id -> (packets in, bytes in, packets dropped, bytes dropped).

    ``copies_dropped``: packet-ins that the device dropped by its limit on them; None when it does not count them.
    """

    dpid: int
    counters: Mapping[int, tuple[int, int, int, int]]
    copies_dropped: int | None = None


@dataclass(frozen=True, slots=True)
class RuleRefused:
    """A device answered a message with an error: ``what`` is ``pin``, ``meter``, ``group`` or ``standing``.

    ``text`` is the switch's reason in the words of its protocol, ``ref`` says which pin, ``meter_id`` which meter.
    """

    dpid: int
    what: str
    refusal: Refusal
    text: str
    ref: PinRef | None = None
    meter_id: int = 0


class PlanLeftOut(NamedTuple):
    """Parts of its plan that a device does not get. The list replaces the last one."""

    dpid: int
    left_out: tuple[LeftOut, ...]


class Repaired(NamedTuple):
    """So many (``entry``, ``group``, ``meter``) were changed by others, and put back; ``shown``: the first as text."""

    dpid: int
    counts: Mapping[str, int]
    shown: str


class ConflictsReported(NamedTuple):
    """Where entries of other controllers conflict with ours, as text. The list replaces the last one."""

    dpid: int
    conflicts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HintGiven:
    """A VM gave a hint, apart from its packets."""

    hint: Hint


@dataclass(frozen=True, slots=True)
class HintWithdrawn:
    """A VM withdrew a hint; ``hint_id`` None: all that it gave over REST."""

    vm: str
    hint_id: str | None = None


@dataclass(frozen=True, slots=True)
class FlowPinned:
    """An operator pins a flow to a queue of its egress port on one device, for so many seconds."""

    dpid: int
    key: bytes
    queue_id: int
    lifetime: float


@dataclass(frozen=True, slots=True)
class FlowReleased:
    """An operator takes the pin of a flow on one device back."""

    dpid: int
    key: bytes


@dataclass(frozen=True, slots=True)
class QueueCordoned:
    """An operator says which flows a queue takes from now on."""

    dpid: int
    port_no: int
    queue_id: int
    admission: Admission


@dataclass(frozen=True, slots=True)
class RoleGiven:
    """An operator gives a device a role; None: takes it back."""

    dpid: int
    role: Role | None


@dataclass(frozen=True, slots=True)
class PolicyReplaced:
    """The operator replaced the policy; ``origin`` says who, from where and when."""

    policy: Policy
    origin: PolicyOrigin = UNKNOWN_ORIGIN


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed; about once a second.

    ``dpid``: the device for which that is to be noted; None: what is of no device, and every device.
    ``alone``: without the devices, which have ticks of their own.
    """

    dpid: int | None = None
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Poll:
    """Time has passed; about ten times a second. ``dpids``: the devices to look at; None: all that are due."""

    dpids: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class CatchUp:
    """Work that was put off may be done now, for one device.

    Attributes:
        dpid: the device; None: the one that has waited longest.
        only_flows: only the next flows are placed under a new policy (``State.refits``); else also what is due.
    """

    dpid: int | None = None
    only_flows: bool = False


Event = (
    DeviceUp
    | DeviceWaits
    | DeviceDown
    | DpidShared
    | PortChanged
    | PortRemoved
    | QueuesReported
    | DeviceDescribed
    | DescriptionRemoved
    | FlowMessage
    | FlowMessages
    | LinkSeen
    | PinCounters
    | PinsRead
    | LearnedCounters
    | ReadingEnded
    | GroupsCounted
    | PacketsSampled
    | QueueCounters
    | MeterCounters
    | RuleRefused
    | PlanLeftOut
    | Repaired
    | ConflictsReported
    | HintGiven
    | HintWithdrawn
    | FlowPinned
    | FlowReleased
    | QueueCordoned
    | RoleGiven
    | PolicyReplaced
    | Tick
    | Poll
    | CatchUp
)
