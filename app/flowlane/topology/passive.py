"""Passive switches of a network file: bridges without a controller that choose the queue by the mark of a packet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowlane.core.model import Queue
from flowlane.core.policy import Behind, PassivePort, PassiveSwitch, QueuesBy
from flowlane.topology.files import Kind, nodes, read
from flowlane.units import parse_rate

if TYPE_CHECKING:
    from pathlib import Path

    import networkx as nx


def passive_switches(path: Path) -> tuple[PassiveSwitch, ...]:
    """Read the passive switches of a network file, as the section ``passive-switches`` of a policy has them.

    Those without a port with queues, or without a link to a bridge with a controller, are left out.

    Raises:
        TopologyError: the file cannot be read, or has the wrong form.
    """
    graph = read(path)
    found = (_switch(graph, name) for name in nodes(graph, Kind.BRIDGE) if _is_passive(graph, name))
    return tuple(switch for switch in found if switch.ports and switch.behind)


def _is_passive(graph: nx.Graph, bridge: str) -> bool:
    entry = graph.nodes[bridge]["entry"]
    return bool(entry.get("marks")) and not entry.get("controller", True)


def _switch(graph: nx.Graph, name: str) -> PassiveSwitch:
    marks = tuple((int(dscp), queue_id) for dscp, queue_id in graph.nodes[name]["entry"]["marks"].items())
    reached = {queue_id for _, queue_id in marks}
    own = [port for port in nodes(graph, Kind.PORT) if port.partition("/")[0] == name]
    ports = tuple(
        _port(port, graph.nodes[port]["queues"], reached) for port in own if graph.nodes[port].get("queues")
    )
    behind = tuple(
        Behind(*end.split("/"))
        for port in own
        for end in sorted(graph.neighbors(port))
        if graph.nodes[end].get("kind") is Kind.PORT and _has_controller(graph, end.partition("/")[0])
    )
    return PassiveSwitch(name, QueuesBy.DSCP, ports, behind, marks)


def _port(port: str, entry: dict[str, Any], reached: set[int]) -> PassivePort:
    least = parse_rate(entry["min_rate"]) if "min_rate" in entry else None
    queues = tuple(Queue(number, min_rate=least) for number in range(entry["count"]) if number in reached)
    return PassivePort(port.partition("/")[2], queues, parse_rate(entry["rate"]))


def _has_controller(graph: nx.Graph, bridge: str) -> bool:
    entry = graph.nodes[bridge].get("entry") or {}
    return bool(entry.get("controller", True))
