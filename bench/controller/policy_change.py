"""How long a policy that is checked or replaced keeps the controller from its other work, with many flows.

``python -m bench.controller.policy_change [--devices 100] [--flows 2000] [--vms 20] [--json FILE]``

The devices are *simulated*: connections are events, and what is to be sent to them is dropped. Check and replacement
are made over REST, as an operator makes them. Pauses are those of :mod:`bench.controller.databases`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bench.controller.databases import Pauses, memory_kb

from flowlane import hub
from flowlane.composition import Composition
from flowlane.core import events as ev
from flowlane.core.flowkey import IPV4, TCP
from flowlane.core.model import Capabilities, PortFacts, PortReport, QueueFacts, QueueKind
from flowlane.northbound.app import make_app
from flowlane.options import Settings
from flowlane.runner import tune_garbage_collector
from flowlane.simulation.flowspec import FlowSpec, frame_of

ABLE = Capabilities(max_meters=1000, meter_burst=True, select_groups=True, max_groups=1000, learn=True)
QUEUES = 8
POLICY = """version: 1
classes:
  small: {}
  bulk: {limit: 50Mbit/s}
rules:
  - {name: bulk, match: {dst-port: ["5000-5100"]}, class: bulk}
default: small
"""


def fill(composition: Composition, devices: int, flows: int, vms: int) -> None:
    """Connect so many devices, and begin so many flows on each."""
    uplink = vms + 1
    for dpid in range(1, devices + 1):
        queues = {n: QueueFacts(QueueKind.PHYSICAL, None, 10**10, None) for n in range(QUEUES)}
        ports = {n: PortFacts(f"tap{n}", {"iface-id": f"{dpid}-{n}"}) for n in range(1, uplink)}
        ports[uplink] = PortFacts("eth0", driver="ixgbe", queues=MappingProxyType(queues))
        described = ev.DeviceDescribed(
            dpid, f"br{dpid}", None, MappingProxyType({}), "system", MappingProxyType(ports)
        )
        reports = tuple(PortReport(n, ports[n].name) for n in ports)
        composition.submit(described)
        composition.submit(ev.DeviceUp(dpid, ABLE, reports, {uplink: tuple(range(QUEUES))}))
        hub.sleep(0)
        for n in range(flows):
            vm = 1 + n % vms
            source = bytes((10, dpid >> 8, dpid & 255, vm))
            spec = FlowSpec(
                "", IPV4, TCP, source, bytes((192, 0, 2, 1)), 1024 + n // vms, 5000 + n % 200, 0.0
            )
            composition.submit(ev.FlowSeen(dpid, vm, frame_of(spec, vm), uplink, n % QUEUES))
            if n % 500 == 0:
                hub.sleep(0)
    while composition.state.due or composition.state.refits:
        hub.sleep(0.05)


def ask(app: Any, method: str, path: str, text: str) -> Any:
    """Make a request of the REST application; return its answer."""
    from webob import Request  # noqa: PLC0415  (only this bench needs it)

    request = Request.blank(path, method=method, body=text.encode(), content_type="application/yaml")
    answer = request.get_response(app)
    if answer.status_int != 200:
        raise SystemExit(f"{method} {path}: {answer.text}")
    return answer.json


def measure(devices: int, flows: int, vms: int) -> dict[str, float]:
    """Check a policy and replace it; return seconds and pauses."""
    composition = Composition(Settings("127.0.0.1", 0, (), None))
    before = memory_kb()
    fill(composition, devices, flows, vms)
    total = sum(len(device.flows) for device in composition.state.devices.values())
    tune_garbage_collector()
    app, pauses = make_app(composition), Pauses()
    hub.sleep(0.5)
    figures = {"flows": float(total), "memory_mb": (memory_kb() - before) / 1024}
    pauses.longest_ms()
    begin = time.monotonic()
    change = ask(app, "POST", "/v1/policy/check", POLICY)
    figures |= {"check_s": time.monotonic() - begin, "check_pause_ms": pauses.longest_ms()}
    figures["reclassified"] = float(change["flows"]["reclassified"])
    begin = time.monotonic()
    ask(app, "PUT", "/v1/policy", POLICY)
    figures["answer_s"] = time.monotonic() - begin
    while composition.state.due or composition.state.refits:
        hub.sleep(0.01)
    figures |= {"in_force_s": time.monotonic() - begin, "replace_pause_ms": pauses.longest_ms()}
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--devices", type=int, default=100, help="simulated devices (default 100)")
    parser.add_argument("--flows", type=int, default=2000, help="flows on each (default 2000)")
    parser.add_argument("--vms", type=int, default=20, help="VMs on each (default 20)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    figures = measure(args.devices, args.flows, args.vms)
    for name, value in figures.items():
        print(f"{name:18} {value:12.2f}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
