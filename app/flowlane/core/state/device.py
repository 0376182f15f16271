"""What the engine knows: devices with their ports and flows, VMs, hints, the policy. One writer: the engine.

Readers (REST, explain, tests) may look at everything here between two steps; nobody else changes it.

What people are told of, beside what the state shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from flowlane.core.allocate.state import Columns
from flowlane.core.effects import Report
from flowlane.core.model import NOT_A_VM, Capabilities, Hint, PortFacts, PortReport, PortRole, Queue, Role, Vm
from flowlane.core.state.flows import FlowTable
from flowlane.core.state.meters import MeterPool

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowlane.core.allocate.state import PortState
    from flowlane.core.classify.classifier import Classifier
    from flowlane.core.effects import DevicePlan, Effect
    from flowlane.core.events import DeviceDescribed
    from flowlane.core.model import LeftOut, MeterSpec
    from flowlane.core.policy import Policy
    from flowlane.core.state.meters import Owner


class Due(IntEnum):
    """What of a device is to be made anew at the next catch-up; each kind includes the ones before it."""

    NOTHING = 0
    HOSTS = 1
    """The destinations of its plan: addresses were learned."""
    PLAN = 2
    """Its plan."""
    ALL = 3
    """Everything that follows from its raw inputs: ports, queues, VMs, policy, plan."""


@dataclass(slots=True)
class Port:
    """A port of a device. ``allocation`` is there when the port has queues that serve flows."""

    port_no: int
    name: str
    role: PortRole
    report: PortReport | None = None
    facts: PortFacts | None = None
    queues: dict[int, Queue] = field(default_factory=dict)
    allocation: PortState | None = None
    shaped: tuple[Queue, ...] = ()
    """The queues that ``allocation`` was made or updated for."""
    next_balance: float = 0.0
    host_count: int = 0
    """How many addresses were learnt behind the port."""

    @property
    def rate(self) -> int | None:
        """What the port can carry in bit/s: its QoS row's max-rate, else its link's speed; None when unknown."""
        if self.facts and self.facts.qos_max_rate:
            return self.facts.qos_max_rate
        if self.facts and self.facts.link_speed:
            return self.facts.link_speed
        return self.report.speed if self.report else None


@dataclass(slots=True)
class Device:
    """One datapath and all that is known of it. ``policy`` is what of the operator's rules applies here (420)."""

    dpid: int
    policy: Policy
    classifier: Classifier
    columns: Columns = field(default_factory=Columns)
    name: str = ""
    role: Role = Role.NIC
    connected: bool = False
    queues_unread: bool = False
    """Its queues may have changed since it was last asked for them."""
    since: float = 0.0
    peer: str = ""
    capabilities: Capabilities = field(default_factory=Capabilities)
    reported_ports: dict[int, PortReport] = field(default_factory=dict)
    reported_queues: dict[int, tuple[int, ...]] = field(default_factory=dict)
    described: DeviceDescribed | None = None
    ports: dict[int, Port] = field(default_factory=dict)
    flows: FlowTable = field(default_factory=FlowTable)
    hosts: dict[int, int] = field(default_factory=dict)
    """MAC -> port number of every destination that was heard of."""
    port_vm: dict[int, int] = field(default_factory=dict)
    """Port number -> number of the VM on it."""
    shares: dict[int, int] = field(default_factory=dict)
    """VM number -> index of its share of the hardware."""
    meter_pool: MeterPool = field(default_factory=MeterPool)
    meter_owner: dict[int, Owner] = field(default_factory=dict)
    """Row -> what its meter limits, for the flows that have one."""
    meters_to_delete: set[int] = field(default_factory=set)
    """Meters that were given up while the device was away: it may have them still."""
    groups: dict[tuple[object, ...], int] = field(default_factory=dict)
    """What makes flows alike -> the small number that the allocator knows it by."""
    policy_left_out: tuple[LeftOut, ...] = ()
    """What of the operator's policy the device does not get."""
    meters_left_out: tuple[LeftOut, ...] = ()
    """Limits of classes for which it has no meter left."""
    plan_left_out: tuple[LeftOut, ...] = ()
    """What of its plan could not be made into entries of this device."""
    refused_left_out: dict[str, LeftOut] = field(default_factory=dict)
    """What the device has no room for, by what it refused (see :mod:`flowlane.core.device.refusals`)."""
    plan: DevicePlan | None = None
    pinned: int = 0
    in_adoption: bool = False
    """Just connected: what is found in the device stays where it is (see :mod:`flowlane.core.device.takeover`)."""
    adopting: bool = False
    """What is being placed now was found there."""
    pin_room: int | None = None
    """Pins that the device has room for, None: as many as the budget; to be tried again at ``pin_retry``."""
    pin_retry: float = 0.0
    pins_by_worth: tuple[dict[int, None], ...] = field(default_factory=lambda: tuple({} for _ in range(5)))
    """Rows with a pin, by what it is worth (see :mod:`flowlane.core.flow.pins`), the oldest first."""
    relearn: set[int] = field(default_factory=set)
    """Ports whose flows the device has to place anew once it has its next plan."""
    spreads: dict[tuple[int, int], tuple[tuple[int, int], ...]] = field(default_factory=dict)
    """(class index, port number) -> (queue id, weight) of the queues for new flows, as last planned."""
    next_weighing: float = 0.0
    refusals: dict[str, int] = field(default_factory=dict)
    queue_counters: dict[tuple[int, int], tuple[int, int, int]] = field(default_factory=dict)
    meter_counters: dict[int, tuple[int, int, int, int]] = field(default_factory=dict)
    copies_dropped: int | None = None
    """Copies of packets that the device's limit on packet-ins dropped; None when it does not count them."""
    next_read: float = 0.0
    sweep_from: int = 0

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """All that the device does not get, and why."""
        planned = self.policy_left_out + self.meters_left_out + self.plan_left_out
        return planned + tuple(self.refused_left_out.values())

    @property
    def pin_budget(self) -> int:
        """Exact entries that the device may get at most: the policy's word, or the room that there is."""
        budget = self.policy.pins.budget
        return budget if self.pin_room is None else min(budget, self.pin_room)

    @property
    def meters(self) -> Mapping[int, MeterSpec]:
        """The device's meters by number."""
        return self.meter_pool.specs


@dataclass(slots=True)
class State:
    """Everything. ``now`` is the time of the last step, in seconds of the caller's clock."""

    policy: Policy
    now: float = 0.0
    devices: dict[int, Device] = field(default_factory=dict)
    described: dict[int, DeviceDescribed] = field(default_factory=dict)
    vms: dict[int, Vm] = field(default_factory=dict)
    vm_numbers: dict[str, int] = field(default_factory=dict)
    """VM id -> its number, also of VMs that are gone: a number is not given twice."""
    numbers_taken: set[int] = field(default_factory=set)
    macs: dict[int, int] = field(default_factory=dict)
    """MAC -> number of the VM that owns it, as far as OVSDB told or the VM's port showed."""
    hints: dict[str, Hint] = field(default_factory=dict)
    hints_of_vm: dict[str, tuple[Hint, ...]] = field(default_factory=dict)
    """VM id -> its hints, the most specific first."""
    due: dict[int, Due] = field(default_factory=dict)
    """dpid -> what waits for the next catch-up (see :func:`put_off`)."""
    policy_changes: int = 0
    watched: bool = False
    """Whether anybody reads reports of single flows; without that they are not made."""

    def vm_on(self, dpid: int, port_no: int) -> Vm | None:
        """The VM that is attached to a port."""
        return self.vms.get(self.devices[dpid].port_vm.get(port_no, NOT_A_VM))


def put_off(state: State, device: Device, what: Due) -> None:
    """Leave work on a device to the next catch-up, so that it is done once for all news that came together."""
    state.due[device.dpid] = max(what, state.due.get(device.dpid, Due.NOTHING))


def rows_of_vm(device: Device, number: int) -> Iterator[int]:
    """Rows of a VM's flows on a device."""
    column = device.flows.vm_number
    return (row for row in list(device.flows) if column[row] == number)


def count_refusal(device: Device, what: str, why: str, out: list[Effect]) -> None:
    """Count what a device could not take; tell people of the first and every thousandth."""
    count = device.refusals[what] = device.refusals.get(what, 0) + 1
    if count % 1000 == 1:
        text = f"{device.name}: {what} not set: {why}"
        out.append(
            Report("error", text, {"device": f"{device.dpid:016x}", "what": what, "why": why, "count": count})
        )
