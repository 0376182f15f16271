"""A network file as a picture: machines beyond the wire above, VMs below, bridges and their queues between."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import matplotlib as mpl
import networkx as nx

from flowlane.topology.files import Kind

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

mpl.use("Agg")
from matplotlib import pyplot as plt

_COLOURS = {"nic": "#cfe2f3", "vswitch": "#fde3c8", "switch": "#d9ead3", "vm": "#ffffff", "remote": "#eeeeee"}
_INK = "#333333"


def bridge_graph(graph: nx.Graph) -> nx.MultiGraph:
    """Make the graph of bridges and hosts, with an edge for each wire, patch and bond between them.

    Attributes of an edge: ``queues``, bridge -> what its end has; ``dashed``, for patch ports and for the port
    that a VM moves to.
    """
    drawn = nx.MultiGraph()
    for node, data in graph.nodes(data=True):
        if data["kind"] in {Kind.BRIDGE, Kind.HOST}:
            drawn.add_node(node, colour=data["entry"].get("role") or data["entry"]["kind"])
    for one, other in graph.edges:
        kinds = {graph.nodes[one]["kind"], graph.nodes[other]["kind"]}
        if kinds == {Kind.PORT, Kind.HOST}:
            port, host = (one, other) if graph.nodes[one]["kind"] is Kind.PORT else (other, one)
            later = graph.nodes[host]["entry"].get("moves_to") == port
            bridge = port.partition("/")[0]
            drawn.add_edge(bridge, host, queues={bridge: _queues(graph, port)}, dashed=later)
        elif kinds == {Kind.PORT}:
            _add_link(graph, drawn, one, other)
    return drawn


def _add_link(graph: nx.Graph, drawn: nx.MultiGraph, one: str, other: str) -> None:
    queues = {end.partition("/")[0]: _queues(graph, end) for end in (one, other)}
    drawn.add_edge(*queues, queues=queues, dashed=graph.nodes[one]["patch"])


def _queues(graph: nx.Graph, port: str) -> str:
    """Describe the queues of a port, or of the bond that it is a member of; empty when it has none."""
    owner = graph.nodes[port].get("bond", port)
    queues = graph.nodes[owner].get("queues")
    return f"{owner.partition('/')[2]}: {queues['count']} x {queues['rate']}" if queues else ""


def positions(drawn: nx.MultiGraph) -> dict[str, tuple[float, float]]:
    """Place the nodes in rows by their distance from the VMs; machines beyond the wire come last."""
    colours = nx.get_node_attributes(drawn, "colour")
    vms = [node for node in drawn if colours[node] == "vm"]
    inner = nx.Graph(drawn.subgraph([node for node in drawn if colours[node] != "remote"]))
    distance = nx.multi_source_dijkstra_path_length(inner, set(vms)) if vms else {}
    top = max(distance.values(), default=0) + 1
    rows: dict[int, list[str]] = {}
    for node in drawn:
        rows.setdefault(top if colours[node] == "remote" else distance.get(node, top), []).append(node)
    return {
        node: ((index + 0.5) / len(row), float(number))
        for number, row in rows.items()
        for index, node in enumerate(row)
    }


def draw(graph: nx.Graph, path: Path) -> None:
    """Draw a network into a file, SVG or PNG by its name.

    Raises:
        OSError: the file cannot be written.
    """
    drawn = bridge_graph(graph)
    at = positions(drawn)
    width = max(sum(y == row for _, y in at.values()) for row in {y for _, y in at.values()})
    figure, axes = plt.subplots(figsize=(max(5.0, 1.9 * width), 1.5 * (1 + max(y for _, y in at.values()))))
    for one, other in (pair for pair in combinations(drawn, 2) if drawn.has_edge(*pair)):
        edges = list(drawn.get_edge_data(one, other).values())
        for number, edge in enumerate(edges):
            shift = 0.012 * (number - (len(edges) - 1) / 2)
            style = "--" if edge["dashed"] else "-"
            ends = ((at[one][0] + shift, at[other][0] + shift), (at[one][1], at[other][1]))
            axes.plot(*ends, style, color=_INK, lw=1, zorder=0)
        for near, far in ((one, other), (other, one)):
            texts = dict.fromkeys(edge["queues"].get(near, "") for edge in edges)
            _label(axes, at[near], at[far], "\n".join(text for text in texts if text))
    for node, colour in drawn.nodes(data="colour"):
        box = {"boxstyle": "round,pad=0.45", "facecolor": _COLOURS[colour], "edgecolor": _INK}
        axes.text(*at[node], node, ha="center", va="center", bbox=box, fontsize=10, color=_INK)
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.margins(y=0.15)
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "flowlane"}):
        figure.savefig(path, bbox_inches="tight", metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def _label(axes: Axes, near: tuple[float, float], far: tuple[float, float], text: str) -> None:
    """Write what one end of an edge has, near that end."""
    if text:
        place = (near[0] + 0.32 * (far[0] - near[0]), near[1] + 0.32 * (far[1] - near[1]))
        box = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"}
        axes.text(*place, text, ha="center", va="center", fontsize=7, color=_INK, bbox=box)
