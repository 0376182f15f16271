"""A small host for tests of the engine: one device, VMs on ports 1 to 8, an uplink with queues on port 100.

The effects are kept by kind, and pins and meters are applied to dictionaries, as a device would.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from flowlane.core import effects as fx
from flowlane.core import events as ev
from flowlane.core.engine import Engine
from flowlane.core.flowkey import IPV4, TCP, FlowParts, pack
from flowlane.core.model import LIMIT_BY_VM, Capabilities, PortFacts, PortReport, QueueFacts, QueueKind
from flowlane.core.policy import (
    Alike,
    Balance,
    Match,
    Pins,
    Policy,
    RateGate,
    Rule,
    TrafficClass,
)
from flowlane.core.state.device import Device

DPID = 1
UPLINK = 100
ABLE = Capabilities(max_meters=1000, meter_burst=True, select_groups=True, max_groups=1000)
LEARNING = replace(ABLE, learn=True)
NO_PLAN = fx.DevicePlan(DPID, (), (), None, ())
"""A device before it is programmed."""

HEAVY_GATE = RateGate(at_least=10_000_000, hold=2.0, below=5_000_000)


def small_policy(**changes: Any) -> Policy:
    """Small flows share queues; a flow that is heavy for 2 s has an exclusive queue; port 5000 is limited."""
    fields: dict[str, Any] = {
        "classes": (
            TrafficClass("small", 0),
            TrafficClass("heavy", 1, exclusive=True, priority=1),
            TrafficClass("limited", 2, rate_limit=2_000_000, alike=(Alike.RATE_LIMIT,)),
        ),
        "rules": (
            Rule("limit 5000", 0, Match(dst_ports=((5000, 5000),)), 2),
            Rule("heavy", 1, Match(gate=0), 1),
        ),
        "gates": (HEAVY_GATE,),
        "pins": Pins(idle_timeout=10),
        "balance": Balance(),
    }
    return Policy(**{**fields, **changes})


class Scenario:
    """An engine, its clock, and what its effects did to the device."""

    def __init__(
        self,
        policy: Policy | None = None,
        queues: int = 4,
        vms: int = 8,
        caps: Capabilities = ABLE,
        *,
        is_connected: bool = True,
    ) -> None:
        self.engine = Engine(policy or small_policy())
        self.now = 100.0
        self.vms = vms
        self.pins: dict[int, fx.PinFlow] = {}
        self.meters: dict[int, tuple[int, int]] = {}
        self.plan = NO_PLAN
        self.reports: list[fx.Report] = []
        self.flow_reports: list[fx.FlowReport] = []
        self.counts: Counter[str] = Counter()
        self.meter_writes: Counter[int] = Counter()
        self.describe(queues)
        if is_connected:
            self.connect(queues, caps)

    @property
    def device(self) -> Device:
        return self.engine.devices[DPID]

    def connect(self, queues: int, caps: Capabilities = ABLE, pins: tuple[ev.FoundPin, ...] = ()) -> None:
        reports = [PortReport(n, f"pf0vf{n}") for n in range(1, self.vms + 1)] + [PortReport(UPLINK, "pf0")]
        self.do(ev.DeviceUp(DPID, caps, tuple(reports), {UPLINK: tuple(range(queues))}, pins))

    def describe(self, queues: int, software: int = 0, ids: dict[int, dict[str, str]] | None = None) -> None:
        facts = {
            n: PortFacts(f"pf0vf{n}", (ids or {}).get(n, {"iface-id": f"vm{n}"}))
            for n in range(1, self.vms + 1)
        }
        kinds = {
            n: QueueFacts(QueueKind.SOFTWARE if n >= queues else QueueKind.PHYSICAL)
            for n in range(queues + software)
        }
        facts[UPLINK] = PortFacts("pf0", {"flowlane-port": "uplink"}, queues=kinds, qos_max_rate=100_000_000)
        self.do(ev.DeviceDescribed(DPID, "br-int", "nic", {}, "netdev", facts))

    def do(self, event: ev.Event) -> list[fx.Effect]:
        out = self.engine.step_and_catch_up(event, self.now)
        for effect in out:
            self.counts[type(effect).__name__] += 1
            self.apply(effect)
        return out

    def apply(self, effect: fx.Effect) -> None:
        """Carry out an effect as a device does, and check that it can."""
        match effect:
            case fx.PinFlow():
                standing = {meter.meter_id for meter in self.plan.meters}
                assert effect.meter_id == 0 or effect.meter_id in {*self.meters, *standing}, (
                    "a pin names a meter that is not there"
                )
                queue_id = self.device.chosen(effect.queue_id)
                assert queue_id == -1 or queue_id in self.device.ports[effect.egress_port].queues
                if effect.moved:
                    assert effect.ref.row in self.pins, "a modify of an entry that is not there does nothing"
                self.pins[effect.ref.row] = effect
            case fx.UnpinFlow():
                self.pins.pop(effect.ref.row, None)
            case fx.SetMeter():
                assert (effect.meter.meter_id in self.meters) == effect.change
                self.meter_writes[effect.meter.meter_id] += 1
                self.meters[effect.meter.meter_id] = (effect.meter.rate, effect.meter.burst)
            case fx.DeleteMeter():
                users = [pin for pin in self.pins.values() if pin.meter_id == effect.meter_id]
                assert not users, "clearing a used meter deletes its entries"
                del self.meters[effect.meter_id]
            case fx.Program():
                planned = {meter.meter_id for meter in effect.plan.meters}
                named = {rule.meter_id for rule in effect.plan.rules if rule.meter_id < LIMIT_BY_VM}
                assert named | {of_vm.meter_id for of_vm in effect.plan.vm_meters} <= planned | {0}
                assert not planned & self.meters.keys(), "a number is that of one meter"
                going = {meter.meter_id for meter in self.plan.meters} - planned
                users = [pin for pin in self.pins.values() if pin.meter_id in going]
                assert not users, "clearing a used meter deletes its entries"
                self.plan = effect.plan
            case fx.Report():
                self.reports.append(effect)
            case fx.FlowReport():
                self.flow_reports.append(effect)

    def tick(self, seconds: int = 1) -> None:
        for _ in range(seconds):
            self.now += 1.0
            self.do(ev.Tick())

    def frame(self, vm: int, sport: int, dport: int = 80, dscp: int = 0) -> bytes:
        ip = bytes([0x45, dscp << 2]) + bytes(6) + bytes([64, TCP, 0, 0, 10, 0, 0, vm, 10, 0, 0, 254])
        macs = b"\x02\x00\x00\x00\x00\xfe" + b"\x02\x00\x00\x00\x00" + bytes([vm])
        return (
            macs
            + b"\x08\x00"
            + ip
            + sport.to_bytes(2)
            + dport.to_bytes(2)
            + bytes(8)
            + b"\x50\x02"
            + bytes(10)
        )

    def flow(
        self,
        vm: int,
        sport: int,
        dport: int = 80,
        dscp: int = 0,
        egress: int = UPLINK,
        queue_id: int | None = None,
        meter_id: int = 0,
    ) -> int:
        """A flow's first packet, on the queue (and under the meter) that the device chose; returns its row."""
        self.do(ev.FlowSeen(DPID, vm, self.frame(vm, sport, dport, dscp), egress, queue_id, meter_id))
        return self.row(vm, sport, dport)

    def row(self, vm: int, sport: int, dport: int = 80) -> int:
        number = self.device.port_vm[vm]
        source, destination = ip_address(f"10.0.0.{vm}").packed, ip_address("10.0.0.254").packed
        return self.device.flows.rows[
            pack(FlowParts(number, None, IPV4, TCP, sport, dport, source, destination))
        ]

    def send(self, rates: dict[int, int], seconds: int, every: int = 2) -> None:
        """Let time pass while rows carry bit/s; counters are read every two seconds, as the controller does."""
        flows = self.device.flows
        totals = {row: flows.octets[row] for row in rates}
        for second in range(1, seconds + 1):
            self.tick()
            for row, rate in rates.items():
                totals[row] += rate // 8
            if second % every == 0:
                self.do(
                    ev.PinCounters(
                        DPID,
                        tuple(
                            (row, flows.generation[row], totals[row] // 1000, totals[row]) for row in rates
                        ),
                    )
                )

    def end(self, row: int) -> None:
        flows = self.device.flows
        self.pins.pop(row, None)
        self.do(ev.PinEnded(DPID, flows.ref(row), 1, 100, idle=True))

    def queue_of(self, row: int) -> int:
        return self.device.flows.queue_id[row]

    def class_of(self, row: int) -> str:
        return self.device.policy.classes[self.device.flows.class_index[row]].name
