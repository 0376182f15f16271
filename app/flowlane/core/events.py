"""Facts that reach the engine. Past tense; plain data; no OpenFlow or OVSDB objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from flowlane.core.model import Capabilities, Hint, LeftOut, PinRef, PortFacts, PortReport, Refusal
    from flowlane.core.policy import Policy


@dataclass(frozen=True, slots=True)
class DeviceUp:
    """A device has finished its handshake: all its ports and queues are known.

    ``queues``: egress port number -> ids of the queues that the switch reports on it.
    ``pins``: the exact entries with our cookie that were found in the device's tables (after a restart).
    ``hosts``: (MAC, port number) of the destinations that were found there.
    ``learned``: the flows that the device has placed by itself.
    """

    dpid: int
    capabilities: Capabilities
    ports: tuple[PortReport, ...]
    queues: Mapping[int, tuple[int, ...]]
    pins: tuple[FoundPin, ...] = ()
    peer: str = ""
    hosts: tuple[tuple[int, int], ...] = ()
    learned: tuple[LearnedFlow, ...] = ()


class FoundPin(NamedTuple):
    """A pin read back from a device. ``ref`` comes from its cookie."""

    ref: PinRef
    key: bytes
    in_port: int
    egress_port: int
    queue_id: int
    meter_id: int
    packets: int
    octets: int


@dataclass(frozen=True, slots=True)
class DeviceDown:
    """The connection of a device has ended; its entries stay in force there."""

    dpid: int


@dataclass(frozen=True, slots=True)
class PortChanged:
    """A port was added or modified."""

    dpid: int
    port: PortReport


@dataclass(frozen=True, slots=True)
class PortRemoved:
    """A port is gone."""

    dpid: int
    port_no: int


@dataclass(frozen=True, slots=True)
class QueuesReported:
    """The queues that the switch reports now, whole: ports that are not named have none."""

    dpid: int
    queues: Mapping[int, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class DeviceDescribed:
    """What OVSDB says of a bridge, whole; replaces what it said before.

    ``ports`` is by port number. ``role`` is the text of ``external_ids:flowlane-role``, None when absent.
    """

    dpid: int
    name: str
    role: str | None
    external_ids: Mapping[str, str]
    datapath_type: str
    ports: Mapping[int, PortFacts]


@dataclass(frozen=True, slots=True)
class DescriptionRemoved:
    """The bridge is gone from OVSDB."""

    dpid: int


class FlowSeen(NamedTuple):
    """The first packet of a flow, as a packet-in brought it: the frame may be cut short.

    ``egress_port`` is where the device sends it (out of its metadata), None when the device did not say.
    ``queue_id`` is the queue that the device chose for it, None when it did not say; ``meter_id`` the meter
    under which the device itself put it, 0 for none.
    """

    dpid: int
    in_port: int
    frame: bytes
    egress_port: int | None = None
    queue_id: int | None = None
    meter_id: int = 0


class PinCounters(NamedTuple):
    """Counters of pins: (row, generation, packets, bytes) each.

    They are flat tuples and no :class:`PinRef`, since a device may report 10,000 of them every two seconds.
    """

    dpid: int
    counters: tuple[tuple[int, int, int, int], ...]


class LearnedFlow(NamedTuple):
    """A flow that a device placed by itself, as its learned entry tells.

    ``key`` is the flow key (see :mod:`flowlane.core.flowkey`) with the VM number of the device's metadata,
    ``eth_src`` its sender's MAC; ``queue_id`` the queue that the device chose, or NO_QUEUE; ``dscp`` and
    ``pcp`` the marks of its first packet, ``meter_id`` the meter that its class shares (0: none).
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


class LearnedCounters(NamedTuple):
    """Counters of the flows that a device placed by itself: their entries carry no row."""

    dpid: int
    flows: tuple[LearnedFlow, ...]


class LearnedEnded(NamedTuple):
    """A learned entry left the device's table (see :class:`LearnedFlow`): idle or deleted."""

    dpid: int
    key: bytes
    in_port: int
    egress_port: int
    eth_src: int
    packets: int
    octets: int
    idle: bool


class PinEnded(NamedTuple):
    """A pin left the device's table: idle, deleted or evicted."""

    dpid: int
    ref: PinRef
    packets: int
    octets: int
    idle: bool


class QueueCounters(NamedTuple):
    """Transmit counters of queues: (port_no, queue_id) -> (packets, bytes, errors)."""

    dpid: int
    counters: Mapping[tuple[int, int], tuple[int, int, int]]


class MeterCounters(NamedTuple):
    """Meters' counters: meter_id -> (packets in, bytes in, packets dropped, bytes dropped).

    ``copies_dropped``: copies of packets that the device's limit on packet-ins kept from the controller; None
    when the device does not count them.
    """

    dpid: int
    counters: Mapping[int, tuple[int, int, int, int]]
    copies_dropped: int | None = None


@dataclass(frozen=True, slots=True)
class RuleRefused:
    """The device answered one of our messages with an error.

    ``what`` is ``pin`` (then ``ref`` says which), ``meter`` (then ``meter_id`` does), ``group`` or
    ``standing``. ``text`` is the switch's reason in the words of its protocol, for people.
    """

    dpid: int
    what: str
    refusal: Refusal
    text: str
    ref: PinRef | None = None
    meter_id: int = 0


class PlanLeftOut(NamedTuple):
    """What of its plan a device does not get; replaces the list that was reported before."""

    dpid: int
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True, slots=True)
class HintGiven:
    """A VM suggests a class for some of its flows, apart from the flows."""

    hint: Hint


@dataclass(frozen=True, slots=True)
class HintWithdrawn:
    """A suggestion is withdrawn; ``hint_id`` None withdraws all of the VM's."""

    vm: str
    hint_id: str | None = None


@dataclass(frozen=True, slots=True)
class PolicyReplaced:
    """The operator put a new policy in the place of the old one."""

    policy: Policy


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed; about once a second."""


@dataclass(frozen=True, slots=True)
class CatchUp:
    """Work that was put off (``State.due``) may be done now, for one device."""


Event = (
    DeviceUp
    | DeviceDown
    | PortChanged
    | PortRemoved
    | QueuesReported
    | DeviceDescribed
    | DescriptionRemoved
    | FlowSeen
    | PinCounters
    | LearnedCounters
    | LearnedEnded
    | PinEnded
    | QueueCounters
    | MeterCounters
    | RuleRefused
    | PlanLeftOut
    | HintGiven
    | HintWithdrawn
    | PolicyReplaced
    | Tick
    | CatchUp
)
