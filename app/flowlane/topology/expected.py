"""A network file as the topology that the controller expects (``flowlane-manager --topology``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.topology.expected import Expected
from flowlane.topology.files import Kind, TopologyError, nodes, read

if TYPE_CHECKING:
    from pathlib import Path


def load(path: Path) -> Expected:
    """Read what devices and links a network file has; its queues and hosts are no matter here.

    Raises:
        TopologyError: the file cannot be read, has the wrong form, or links of bridges that it does not have.
    """
    graph = read(path)
    if problems := graph.graph["document"].problems:
        raise TopologyError(problems, str(path))
    bridges = {name: graph.nodes[name]["entry"] for name in nodes(graph, Kind.BRIDGE)}
    dpids = {name: int(entry["dpid"], 16) for name, entry in bridges.items()}
    places = {
        port: (dpids[bridge], name)
        for port in nodes(graph, Kind.PORT)
        for bridge, _, name in [port.partition("/")]
        if bridge in dpids
    }
    links = {
        tuple(sorted((places[one], places[other])))
        for one, other in graph.edges
        if one in places and other in places
    }
    return Expected(
        path.name,
        {dpid: name for name, dpid in dpids.items()},
        frozenset(dpids[name] for name, entry in bridges.items() if not entry.get("controller", True)),
        tuple((one, other) for one, other in sorted(links)),
    )
