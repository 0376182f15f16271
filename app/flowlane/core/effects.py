"""What the engine wants done: desired state for devices, and reports for people. Plain data.

The standing part of a device is always given whole, as a :class:`DevicePlan`; the southbound side compares
it with what the device has and sends the difference. Pins come and go one by one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from flowlane.core.model import MeterSpec, PinRef, PortRole


class PlannedPort(NamedTuple):
    """A port of the plan: who may send from it, by which queues it sends. ``macs`` empty: any source address."""

    port_no: int
    role: PortRole
    vm_number: int
    macs: tuple[int, ...] = ()
    queues: tuple[int, ...] = ()


class StandingMatch(NamedTuple):
    """What a standing rule matches; None or empty matches all. Prefixes are (address bytes, prefix length).

    Ports are (first, last) ranges. ``vm_numbers`` empty means every VM.
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
    """How the device itself places flows that it has never seen [0054].

    ``queues`` are (queue id, weight); empty: no ``set_queue``. ``order`` ranks rules: the highest that
    matches counts. ``meter_id`` 0: none. ``learn``: copy the first packet to the controller.
    """

    order: int
    match: StandingMatch
    egress_port: int
    class_name: str
    queues: tuple[tuple[int, int], ...]
    meter_id: int = 0
    learn: bool = True


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """Everything that should stand in a device beside its pins.

    ``hosts``: (MAC, port number) of every known destination. ``unknown_port``: where unicast to an unknown
    address goes, None to flood it; ``flood_ports``: where it goes besides, since a host that has not spoken
    yet may be there. ``copy_rate``: packet-ins per second that the device may send; 0 for no limit.

    How the device treats a flow without a pin: with ``learned_idle`` it remembers it by itself for so many
    seconds without packets, on the queue that it chose, and copies its first packet only (where the device can);
    without, it copies every packet. With ``learn_after`` the first so many packets of a TCP or UDP flow go by the
    standing rules alone, where the device tracks connections (see docs/pipeline.md). ``reactive``: it forwards
    nothing, the controller does.
    """

    dpid: int
    ports: tuple[PlannedPort, ...]
    hosts: tuple[tuple[int, int], ...]
    unknown_port: int | None
    rules: tuple[StandingRule, ...]
    meters: tuple[MeterSpec, ...] = ()
    flood_ports: tuple[int, ...] = ()
    copy_rate: int = 1000
    copy_bytes: int = 128
    learned_idle: int = 0
    learn_after: int = 0
    reactive: bool = False


@dataclass(frozen=True, slots=True)
class Program:
    """Make the standing part of a device equal to this plan."""

    plan: DevicePlan


class PinFlow(NamedTuple):
    """Put an exact entry in: this flow, to this queue. Replaces the entry of the same ``ref``.

    ``queue_id`` NO_QUEUE: no ``set_queue``; ``meter_id`` 0: no meter; ``idle_timeout`` in s.
    ``moved``: an entry of this flow stands already (its actions change, its counters stay).
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


class UnpinFlow(NamedTuple):
    """Take the exact entry of a flow out."""

    dpid: int
    ref: PinRef
    key: bytes
    in_port: int
    egress_port: int


class DeleteLearned(NamedTuple):
    """Have the device place all flows that leave, or come in, by a port anew, by its standing rules.

    Just one of the two ports is given, the other is 0. Pins are not touched.
    """

    dpid: int
    egress_port: int = 0
    in_port: int = 0


class SendPacket(NamedTuple):
    """Send a packet on that the device handed over whole (reactive mode)."""

    dpid: int
    in_port: int
    egress_port: int
    queue_id: int
    frame: bytes


class SetMeter(NamedTuple):
    """Add a meter, or change its rate (``change`` true)."""

    dpid: int
    meter: MeterSpec
    change: bool = False


class DeleteMeter(NamedTuple):
    """Delete a meter that no entry uses any more (deleting a used one deletes its entries)."""

    dpid: int
    meter_id: int


class ReadCounters(NamedTuple):
    """Ask the device for the counters of its pins, queues and meters."""

    dpid: int


class ReadQueues(NamedTuple):
    """Ask the device again which queues it has."""

    dpid: int


@dataclass(frozen=True, slots=True)
class Report:
    """Something people may want to hear of: one line of ``GET /v1/events``.

    ``kind`` is one of ``flow``, ``assignment``, ``move``, ``device``, ``vm``, ``queue``, ``policy``,
    ``hint``, ``error``.
    """

    kind: str
    text: str
    data: Mapping[str, object]


Effect = (
    Program
    | PinFlow
    | UnpinFlow
    | DeleteLearned
    | SendPacket
    | SetMeter
    | DeleteMeter
    | ReadCounters
    | ReadQueues
    | Report
)
