"""Two hosts for tests of VMs that move: each a bridge with ports for VMs and an uplink with four queues."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from support.engine.scenario import HEAVY_GATE, small_policy

from flowlane.core import effects as fx
from flowlane.core import events as ev
from flowlane.core.device.claims import word_of
from flowlane.core.engine import Engine
from flowlane.core.model import Capabilities, PortFacts, PortReport, QueueFacts
from flowlane.core.policy import LimitScope, Match, Rule, TrafficClass
from flowlane.core.state.device import Device

A, B = 1, 2
PORT, OTHER_PORT, UPLINK = 1, 2, 9
ABLE = Capabilities(
    max_meters=100, meter_burst=True, select_groups=True, max_groups=100, learn=True, normal=True
)
MAC, MAC_TEXT = 0x020000000001, "02:00:00:00:00:01"
LIMITED = small_policy(
    classes=(
        TrafficClass("small", 0),
        TrafficClass("heavy", 1, exclusive=True),
        TrafficClass("slow", 2, rate_limit=1_000_000, limit_scope=LimitScope.VM),
    ),
    rules=(Rule("slow", 0, Match(dst_ports=((5000, 5000),)), 2), Rule("heavy", 1, Match(gate=0), 1)),
    gates=(HEAVY_GATE,),
)
IDS = {"iface-id": "vm", "attached-mac": MAC_TEXT}
RARP = bytes.fromhex("ffffffffffff 020000000001 8035 0001 0800 06 04 0003") + bytes(38)
ARP = bytes.fromhex(
    "ffffffffffff 020000000001 0806 0001 0800 06 04 0001 020000000001 0a000001 000000000000 0a000001"
)


def udp(sport: int = 1000, dport: int = 2000, mac: int = MAC) -> bytes:
    head = bytes.fromhex("020000000099") + mac.to_bytes(6) + bytes.fromhex("0800450000200000000040110000")
    return head + bytes((10, 0, 0, 1, 10, 0, 0, 9)) + sport.to_bytes(2) + dport.to_bytes(2) + bytes(20)


class Hosts:
    """Two hosts, each a bridge with two ports for VMs and an uplink with four queues."""

    def __init__(self, policy: Any = LIMITED, normal: bool = True) -> None:
        self.engine, self.now = Engine(policy), 100.0
        self.ids: dict[tuple[int, int], dict[str, str]] = {}
        self.settings: dict[tuple[int, int], dict[str, Any]] = {}
        self.ports: dict[int, set[int]] = {A: set(), B: set()}
        self.reports: list[fx.Report] = []
        for dpid in (A, B):
            self.describe(dpid)
            able = replace(ABLE, normal=normal)
            self.do(ev.DeviceUp(dpid, able, (PortReport(UPLINK, "up"),), {UPLINK: (0, 1, 2, 3)}))

    def do(self, event: ev.Event) -> list[fx.Effect]:
        out = self.engine.step_and_catch_up(event, self.now)
        self.reports += [effect for effect in out if isinstance(effect, fx.Report)]
        return out

    def describe(self, dpid: int) -> None:
        facts = {
            UPLINK: PortFacts("up", {"flowlane-port": "uplink"}, queues={n: QueueFacts() for n in range(4)})
        }
        for number in self.ports[dpid]:
            place = dpid, number
            facts[number] = PortFacts(f"tap{number}", self.ids.get(place, {}), **self.settings.get(place, {}))
        self.do(ev.DeviceDescribed(dpid, f"br-{dpid}", "nic", {}, "system", facts))

    def plug(self, dpid: int, port: int = PORT, ids: dict[str, str] | None = None, **settings: Any) -> None:
        self.now += 1
        self.ports[dpid].add(port)
        self.ids[dpid, port], self.settings[dpid, port] = IDS if ids is None else ids, settings
        self.describe(dpid)
        self.do(ev.PortChanged(dpid, PortReport(port, f"tap{port}")))

    def unplug(self, dpid: int, port: int = PORT) -> None:
        self.now += 1
        self.ports[dpid].discard(port)
        self.do(ev.PortRemoved(dpid, port))
        self.describe(dpid)

    def link(self, dpid: int, up: bool, port: int = PORT) -> None:
        self.do(ev.PortChanged(dpid, PortReport(port, f"tap{port}", up=up)))

    def send(self, dpid: int, frame: bytes, port: int = PORT, egress: int | None = UPLINK) -> None:
        self.do(ev.FlowSeen(dpid, port, frame, egress, 0 if egress else None))

    def tick(self, seconds: int = 1) -> None:
        for _ in range(seconds):
            self.now += 1
            self.do(ev.Tick())

    def device(self, dpid: int) -> Device:
        return self.engine.devices[dpid]

    def place(self, vm_id: str = "vm") -> tuple[int, int] | None:
        found = [vm for vm in self.engine.vms.values() if vm.id == vm_id]
        return (found[0].dpid, found[0].port_no) if found else None

    def words(self, vm_id: str = "vm") -> dict[tuple[int, int], str]:
        of_vm = self.engine.state.claims[self.engine.state.vm_numbers[vm_id]]
        return {(one.vm.dpid, one.vm.port_no): word_of(self.engine.state, of_vm, one) for one in of_vm.claims}

    def changes(self) -> list[object]:
        return [report.data["change"] for report in self.reports if report.kind == "vm"]

    def predicted(self, dpid: int, mac: int = MAC) -> int | None:
        plan = self.device(dpid).plan
        assert plan is not None
        return dict(plan.hosts).get(mac)

    def flows(self, dpid: int) -> int:
        return len(self.device(dpid).flows)

    def conflicts(self, vm_id: str = "vm") -> list[tuple[str, str]]:
        number = self.engine.state.vm_numbers[vm_id]
        return [(one.what, one.holder) for one in self.engine.state.conflicts.get(number, ())]
