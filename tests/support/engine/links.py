"""An engine with devices that are connected by cables, patch ports and tunnels; probes are events."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from support.engine.scenario import small_policy

from flowlane.core import events as ev
from flowlane.core.engine import Engine
from flowlane.core.model import Capabilities, PortFacts, PortReport
from flowlane.core.topology import adjacency, graph

ABLE = Capabilities(max_meters=10, select_groups=True, learn=True, normal=True)
UPLINK = {"flowlane-port": "uplink"}
LINK = {"flowlane-port": "link"}


def cable(name: str, ids: dict[str, str] | None = None, **settings: Any) -> PortFacts:
    return PortFacts(name, LINK if ids is None else ids, port=name, **settings)


def patch(name: str, peer: str) -> PortFacts:
    return PortFacts(name, interface_type="patch", options={"peer": peer}, port=name)


def tunnel(name: str, remote: str, local: str = "") -> PortFacts:
    options = {"remote_ip": remote, **({"local_ip": local} if local else {})}
    return PortFacts(name, interface_type="vxlan", options=options, port=name)


class Network:
    """Devices with the facts of their ports, described and connected one after the other."""

    def __init__(self) -> None:
        self.engine = Engine(small_policy())
        self.now = 100.0
        self.state = self.engine.state

    def device(
        self, dpid: int, ports: dict[int, PortFacts], host: str = "", connected: bool = True, **more: Any
    ) -> None:
        self.do(
            ev.DeviceDescribed(dpid, f"d{dpid}", "switch", {}, "system", ports, host or f"h{dpid}", **more)
        )
        if connected:
            reports = tuple(PortReport(number, facts.name) for number, facts in ports.items())
            self.do(ev.DeviceUp(dpid, ABLE, reports, {}))

    def do(self, event: ev.Event) -> None:
        self.now += 0.5
        self.engine.step_and_catch_up(event, self.now)

    def connect(self, *ends: tuple[int, int]) -> None:
        """Let probes cross a cable in both directions."""
        for end, other in (ends, reversed(ends)):
            self.do(ev.LinkSeen(*end, *other))

    def carrier(self, dpid: int, port_no: int, up: bool) -> None:
        report = self.state.devices[dpid].reported_ports[port_no]
        self.do(ev.PortChanged(dpid, replace(report, up=up)))

    def loops(self) -> list[graph.Loop]:
        return graph.loops(self.state, adjacency.links(self.state))
