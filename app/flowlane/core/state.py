"""What the engine knows: devices with their ports and flows, VMs, hints, the policy. One writer: the engine.

Readers (REST, explain, tests) may look at everything here between two steps; nobody else changes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flowlane.core.flows import FlowTable
from flowlane.core.meters import MeterPool
from flowlane.core.model import Capabilities, Hint, PortFacts, PortReport, PortRole, Queue, Role, Vm

if TYPE_CHECKING:
    from flowlane.core.allocate.model import PortState, RowColumns
    from flowlane.core.device_rules import LeftOut
    from flowlane.core.effects import DevicePlan
    from flowlane.core.events import DeviceDescribed
    from flowlane.core.policy import Policy

LOCAL_PORT = 0xFFFFFFFE
"""OFPP_LOCAL (OpenFlow 1.3.5, A.2.1)."""

MAX_PORT = 0xFFFFFF00
"""OFPP_MAX: port numbers above it are reserved."""


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
    next_balance: float = 0.0

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
    columns: RowColumns
    name: str = ""
    role: Role = Role.NIC
    connected: bool = False
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
    meters: MeterPool = field(default_factory=MeterPool)
    groups: dict[tuple[object, ...], int] = field(default_factory=dict)
    """What makes flows alike -> the small number that the allocator knows it by."""
    left_out: tuple[LeftOut, ...] = ()
    plan: DevicePlan | None = None
    pinned: int = 0
    refusals: dict[str, int] = field(default_factory=dict)
    queue_counters: dict[tuple[int, int], tuple[int, int, int]] = field(default_factory=dict)
    meter_counters: dict[int, tuple[int, int, int, int]] = field(default_factory=dict)
    next_read: float = 0.0
    sweep_from: int = 0


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
    macs: dict[int, int] = field(default_factory=dict)
    """MAC -> number of the VM that owns it, as far as OVSDB told or the VM's port showed."""
    hints: dict[str, dict[str, Hint]] = field(default_factory=dict)
    """VM id -> hint id -> hint."""
    policy_changes: int = 0

    def vm_on(self, dpid: int, port_no: int) -> Vm | None:
        """The VM that is attached to a port."""
        return next((vm for vm in self.vms.values() if vm.dpid == dpid and vm.port_no == port_no), None)


def rows_of_vm(device: Device, number: int) -> Iterator[int]:
    """Rows of a VM's flows on a device."""
    column = device.flows.vm_number
    return (row for row in list(device.flows) if column[row] == number)
