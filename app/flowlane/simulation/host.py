"""Simulated host around the real engine: a device that accepts every effect, and whose counters grow."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flowlane.core import events as ev
from flowlane.core.effects import Report
from flowlane.core.engine import Engine
from flowlane.core.frame import read_frame
from flowlane.core.model import Capabilities, PortFacts, PortReport, QueueFacts, QueueKind
from flowlane.simulation.flowspec import frame_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowlane.core.policy import Policy
    from flowlane.core.state.device import Device
    from flowlane.simulation.flowspec import FlowSpec

DPID = 1
UPLINK = 0xFFFF_0000
"""Port number of the uplink: above those of any number of VMs, below OpenFlow's reserved ones."""

READ_INTERVAL = 2
"""Seconds between two readings of the counters, as in the controller."""

CAPABILITIES = Capabilities(
    max_meters=200_000,
    meter_burst=True,
    select_groups=True,
    max_groups=1 << 16,
    port_masks=True,
)
"""Those of Open vSwitch's kernel datapath (measured on 3.1 with Linux 6.12)."""


@dataclass(frozen=True, slots=True)
class Host:
    """Description of a simulated host: names of its VMs, queues of its uplink, capacity of the uplink in bit/s.

    ``max_rates`` and ``min_rates`` are those of the queues in OVSDB, in bit/s, by queue id; None or missing: not set.
    """

    vms: tuple[str, ...]
    queues: int = 4
    software_queues: int = 0
    rate: int = 10_000_000_000
    max_rates: tuple[int | None, ...] = ()
    min_rates: tuple[int | None, ...] = ()


@dataclass(slots=True)
class Live:
    """A flow that is present, and its row in the engine's flow table."""

    spec: FlowSpec
    row: int


@dataclass(slots=True)
class World:
    """The engine and its simulated host.

    ``ports``: VM -> port number. ``now``: seconds. ``live``: the flows, by number in the workload. ``counts``:
    effects by type, and reports by kind.
    """

    engine: Engine
    ports: Mapping[str, int]
    now: float = 0.0
    live: dict[int, Live] = field(default_factory=dict)
    sent: dict[int, float] = field(default_factory=dict)
    """Row -> bytes that the device has counted."""
    users: Counter[int] = field(default_factory=Counter)
    """Row -> number of flows of the workload with that 5-tuple: for the device they are one flow."""
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def device(self) -> Device:
        """The one device."""
        return self.engine.devices[DPID]

    def step(self, event: ev.Event) -> None:
        """Pass an event to the engine; count its effects."""
        for effect in self.engine.step_and_catch_up(event, self.now):
            kind = effect.kind if isinstance(effect, Report) else type(effect).__name__
            self.counts[kind] += 1

    def begin(self, number: int, spec: FlowSpec) -> None:
        """Let a flow's first packet arrive; a second flow with the same 5-tuple is the same flow."""
        port_no = self.ports[spec.vm]
        data = frame_of(spec, port_no)
        self.step(ev.FlowSeen(DPID, port_no, data, UPLINK))
        frame = read_frame(data)
        assert frame is not None
        row = self.device.flows.rows.get(frame.key(self.device.port_vm[port_no]))
        if row is not None:
            self.live[number] = Live(spec, row)
            self.users[row] += 1
            self.sent.setdefault(row, 0.0)

    def end(self, number: int) -> None:
        """Let a flow's pin time out, unless another flow of the same 5-tuple uses it."""
        flow = self.live.pop(number, None)
        if flow is None:
            return
        row = flow.row
        self.users[row] -= 1
        if not self.users[row]:
            octets = int(self.sent.pop(row))
            del self.users[row]
            self.step(ev.PinEnded(DPID, self.device.flows.ref(row), 0, octets, idle=True))

    def second(self) -> None:
        """Let a second pass: flows send, counters are read when they are due, the engine ticks."""
        self.now += 1.0
        for flow in self.live.values():
            self.sent[flow.row] += flow.spec.rate / 8
        if int(self.now) % READ_INTERVAL == 0:
            generation = self.device.flows.generation
            counters = tuple((row, generation[row], 0, int(sent)) for row, sent in self.sent.items())
            self.step(ev.PinCounters(DPID, counters))
        self.step(ev.Tick())


def make_world(policy: Policy, host: Host) -> World:
    """Make an engine with the host's device connected and its VMs attached."""
    ports = {vm: number for number, vm in enumerate(host.vms, start=1)}
    world = World(Engine(policy), ports)
    facts = {number: PortFacts(vm, {"iface-id": vm}) for vm, number in ports.items()}
    kinds = [QueueKind.PHYSICAL] * host.queues + [QueueKind.SOFTWARE] * host.software_queues
    queues = {queue_id: QueueFacts(kind) for queue_id, kind in enumerate(kinds)}
    facts[UPLINK] = PortFacts("uplink", {"flowlane-port": "uplink"}, queues=queues, qos_max_rate=host.rate)
    world.step(ev.DeviceDescribed(DPID, "simulated", "nic", {}, "", facts))
    reports = tuple(PortReport(number, port.name) for number, port in facts.items())
    world.step(ev.DeviceUp(DPID, CAPABILITIES, reports, {UPLINK: tuple(queues)}))
    return world
