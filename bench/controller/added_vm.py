"""How long it takes to add one VM to a switch of many, and what the switch is sent for it.

``python -m bench.controller.added_vm [--vms 200] [--rounds 50] [--json FILE]`` (no root, no Open vSwitch).

The engine and the programming of one switch with the capabilities of Open vSwitch run in this process, without a
connection. Each round adds a port with a VM, in OVSDB and on the switch. Times are of this process's processor, in ms:
the engine's work on the news, and the programming of its plan, up to the changes that would be sent.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from pathlib import Path
from typing import NamedTuple

from flowlane.core import events as ev
from flowlane.core.effects import DevicePlan, Program
from flowlane.core.engine import Engine
from flowlane.core.model import Capabilities, PortFacts, PortReport, QueueFacts
from flowlane.policy import store
from flowlane.southbound.openflow.session.programming import Programming
from flowlane.southbound.openflow.tables.entries import Change, Standing

OVS = Capabilities(
    version=6,
    max_meters=200_000,
    meter_burst=True,
    select_groups=True,
    max_groups=1000,
    normal=True,
    learn=True,
    conntrack=True,
    sample=True,
    port_masks=True,
    controller_meter=True,
)
"""What Open vSwitch 3.1 can do over OpenFlow 1.5."""

DPID, UPLINK, QUEUES = 1, 60_000, tuple(range(8))


class Added(NamedTuple):
    """One VM that was added: ms of the engine and of the programming, and the changes for the switch."""

    engine_ms: float
    programming_ms: float
    changes: tuple[Change, ...]


def _timed() -> float:
    return 1000 * time.process_time()


class Host:
    """A switch with VMs on ports 1 to ``vms`` and an uplink with queues, connected and programmed."""

    def __init__(self, vms: int) -> None:
        self.engine = Engine(store.at_start(None, None, 0.0).policy)
        self.facts = {
            UPLINK: PortFacts("eth0", {"flowlane-port": "uplink"}, queues=dict.fromkeys(QUEUES, QueueFacts()))
        }
        self.reports = [PortReport(UPLINK, "eth0")]
        self.present = Programming(OVS, Standing())
        self._queues: dict[int, tuple[int, ...]] = {UPLINK: QUEUES}
        self.now = 1.0
        for number in range(1, vms + 1):
            self._describe(number)
        self.engine.step(self._description(), self.now)
        up = ev.DeviceUp(DPID, OVS, tuple(self.reports), {UPLINK: QUEUES}, peer="bench")
        self._program(self._plan_of([*self.engine.step(up, self.now), *self._caught_up()]))
        self.now += 60.0
        self.engine.step(ev.Tick(), self.now)
        self._program(self._plan_of(self._caught_up()))

    def _describe(self, number: int) -> None:
        ids = {
            "iface-id": f"vm-{number}",
            "attached-mac": f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}",
        }
        self.facts[number] = PortFacts(f"tap{number}", ids)
        self.reports.append(PortReport(number, f"tap{number}"))
        self._queues[number] = ()

    def _description(self) -> ev.DeviceDescribed:
        return ev.DeviceDescribed(DPID, "br-int", "nic", {}, "system", dict(self.facts))

    def _caught_up(self) -> list[object]:
        out: list[object] = []
        while self.engine.is_behind:
            out += self.engine.step(ev.CatchUp(), self.now)
        return out

    def _plan_of(self, effects: list[object]) -> DevicePlan | None:
        plans = [effect.plan for effect in effects if isinstance(effect, Program)]
        return plans[-1] if plans else None

    def _program(self, plan: DevicePlan | None) -> tuple[Change, ...]:
        return () if plan is None else tuple(self.present.program(plan, dict(self._queues)))

    def add(self, number: int) -> Added:
        """Add a VM on a new port."""
        self._describe(number)
        described = self._description()
        self.now += 1.0
        begin = _timed()
        self.engine.step(described, self.now)
        self.engine.step(ev.PortChanged(DPID, self.reports[-1]), self.now)
        plan = self._plan_of(self._caught_up())
        planned = _timed()
        changes = self._program(plan)
        return Added(planned - begin, _timed() - planned, changes)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vms", type=int, default=200, help="VMs of the switch before")
    parser.add_argument("--rounds", type=int, default=50, help="VMs that are added, one after the other")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    host = Host(arguments.vms)
    gc.collect()
    gc.freeze()
    added = [host.add(arguments.vms + number) for number in range(1, arguments.rounds + 1)]
    figures = {
        "vms": arguments.vms,
        "engine_ms": round(statistics.median(one.engine_ms for one in added), 2),
        "programming_ms": round(statistics.median(one.programming_ms for one in added), 2),
        "longest_ms": round(max(one.engine_ms + one.programming_ms for one in added), 2),
        "changes": statistics.median(len(one.changes) for one in added),
    }
    print("| VMs | engine, ms | programming, ms | longest, ms | changes |\n|---:|---:|---:|---:|---:|")
    print(f"| {' | '.join(str(value) for value in figures.values())} |")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
