"""How long a policy that is checked or replaced keeps the controller from its other work, with many flows.

``python -m bench.controller.policy_change [--devices 100] [--flows 2000] [--vms 20] [--json FILE]``

The devices are *simulated*: connections are events, and what is to be sent to them is dropped. Check and replacement
are made over REST, as an operator makes them. Pauses are those of :mod:`bench.controller.databases`.

With ``--rest`` clients read lists, single flows, their explanations, the status, metrics and events over HTTP in a
process of their own, while policies are replaced for so many minutes (``--minutes``); printed are the longest pieces of
work (:mod:`bench.controller.pieces`).
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import time
from collections import Counter
from contextlib import suppress
from http.client import HTTPConnection
from multiprocessing.connection import Connection
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bench.controller.databases import Pauses, memory_kb, until
from bench.controller.pieces import Piece, Pieces
from bench.controller.processes import spawned

from flowlane import garbage, hub, rest
from flowlane.composition import Composition
from flowlane.core import events as ev
from flowlane.core.flowkey import IPV4, TCP
from flowlane.core.model import Capabilities, PortFacts, PortReport, QueueFacts, QueueKind
from flowlane.northbound.app import make_app
from flowlane.options import Settings
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
    garbage.start()
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


PATHS = (
    "/v1/flows?limit=1000",
    "/v1/flows?limit=1000&sort=-rate",
    "/v1/flows?limit=100&class=bulk",
    "/v1/assignments?limit=1000",
    "/v1/vms?limit=1000",
    "/v1/devices?limit=1000",
    "/v1/devices/0000000000000001/queues",
    "/v1/topology",
    "/v1/status",
    "/metrics",
    "/v1/policy",
    "/v1/events",
)


def _clients(port: int, commands: Connection) -> None:
    """Ask for everything in turn, until something is sent; send back how often each path was answered.

    Something is sent after the first request, too: clients are at work then.
    """
    connection = HTTPConnection("127.0.0.1", port, timeout=300)
    stream = socket.create_connection(("127.0.0.1", port))
    stream.sendall(b"GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n")
    stream.setblocking(False)
    asked: Counter[str] = Counter()
    flows: list[str] = []
    while not commands.poll():
        for path in (*PATHS, *(f"/v1/flows/{flow}{end}" for flow in flows[:5] for end in ("", "/explain"))):
            connection.request("GET", path, headers={"Accept": "application/json, */*;q=0.1"})
            answer = connection.getresponse()
            data = answer.read()
            asked[f"{path.split('?')[0] if 'flows/' not in path else 'one flow'} {answer.status}"] += 1
            if len(asked) == 1 and asked.total() == 1:
                commands.send(None)
            if path == PATHS[0] and answer.status == 200:
                flows = [item["id"] for item in json.loads(data)["items"]]
            with suppress(BlockingIOError):
                while stream.recv(1 << 20):
                    pass
    commands.recv()
    commands.send(dict(asked))


def measure_rest(devices: int, flows: int, vms: int, minutes: float) -> list[Piece]:
    """Replace policies while clients ask; print what was asked, return the longest pieces of work."""
    settings = Settings("127.0.0.1", 0, (), None)
    composition = Composition(settings)
    fill(composition, devices, flows, vms)
    garbage.start()
    server, app = rest.start(composition, settings, None), make_app(composition)
    ask(app, "PUT", "/v1/policy", POLICY)
    other, changes = POLICY.replace("50Mbit/s", "60Mbit/s"), 0
    with spawned(_clients, server.address[1], stop=None) as commands:
        until(commands.poll)
        commands.recv()
        pieces, end = Pieces(), time.monotonic() + 60 * minutes
        while time.monotonic() < end:
            ask(app, "PUT", "/v1/policy", (other, POLICY)[changes % 2])
            changes += 1
            while composition.state.due or composition.state.refits:
                hub.sleep(0.05)
        pieces.stop()
        commands.send(None)
        until(commands.poll)
        print(f"{changes} policies; {commands.recv()}")
    return pieces.longest()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--devices", type=int, default=100, help="simulated devices (default 100)")
    parser.add_argument("--flows", type=int, default=2000, help="flows on each (default 2000)")
    parser.add_argument("--vms", type=int, default=20, help="VMs on each (default 20)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--rest", action="store_true", help="clients read over HTTP meanwhile")
    parser.add_argument("--minutes", type=float, default=5.0, help="with --rest: how long (default 5)")
    args = parser.parse_args()
    if args.rest:
        for piece in measure_rest(args.devices, args.flows, args.vms, args.minutes):
            print(f"{piece.took:6.1f} ms, {piece.collecting:5.1f} of them collecting: {piece.place}")
        return
    figures = measure(args.devices, args.flows, args.vms)
    for name, value in figures.items():
        print(f"{name:18} {value:12.2f}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
