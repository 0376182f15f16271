"""What is wrong with a network file: unknown ends, names given twice, loops, missing and impossible queues."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import networkx as nx

from flowlane.closest import did_you_mean
from flowlane.errors import Problem
from flowlane.policy.document import Document
from flowlane.topology.files import Kind, TopologyError, nodes, read
from flowlane.units import parse_rate


def check(graph: nx.Graph) -> list[Problem]:
    """Return what is wrong with a network, in the order of the file's lines; an empty list when nothing is.

    Unknown ends, names and addresses that are given twice, loops that nobody breaks, missing and impossible queues.
    """
    document: Document = graph.graph["document"]
    for rule in (_no_hosts, _unknown_ends, _duplicates, _loops, _missing_queues, _impossible_guarantees):
        for path, message, remedy in rule(graph):
            document.report(path, message, remedy)
    return sorted(document.problems, key=lambda problem: (problem.line, problem.column))


Found = Iterator[tuple[tuple[str | int, ...], str, str]]
"""(path, message, remedy) of each problem."""


def _no_hosts(graph: nx.Graph) -> Found:
    """Find a network without hosts: it is enough to compare links with, but there is nothing to run."""
    if not nodes(graph, Kind.HOST):
        yield (), "no hosts", "add hosts: and at least one of them"


def _unknown_ends(graph: nx.Graph) -> Found:
    bridges = nodes(graph, Kind.BRIDGE)
    for port in nodes(graph, Kind.PORT, Kind.BOND):
        bridge = port.partition("/")[0]
        if graph.nodes[bridge].get("kind") is not Kind.BRIDGE:
            yield graph.nodes[port]["path"], f"there is no bridge {bridge}", did_you_mean(bridge, bridges)


def _duplicates(graph: nx.Graph) -> Found:
    """Ports and bridges are devices of one network namespace, so their names differ, whatever their bridge."""
    devices = {bridge: bridge for bridge in nodes(graph, Kind.BRIDGE)}
    for port in nodes(graph, Kind.PORT, Kind.BOND):
        name = port.partition("/")[2]
        if name in devices:
            message = f"the name {name} is taken by {devices[name]}"
            yield graph.nodes[port]["path"], message, "name each port differently, whatever its bridge"
        devices.setdefault(name, port)
    for key, value_of in (
        ("dpid", str),
        ("mac", str),
        ("ip", ipaddress.ip_interface),
        ("ip6", ipaddress.ip_interface),
    ):
        owners: dict[object, str] = {}
        for name, path, entry in _entries(graph):
            if (text := entry.get(key)) is None:
                continue
            value = getattr(value_of(text), "ip", text)
            if value in owners:
                message = f"{text} is the {key} of {owners[value]}, too"
                yield (*path, key), message, f"give {name} another one"
            owners.setdefault(value, name)


def _entries(graph: nx.Graph) -> Iterator[tuple[str, tuple[str | int, ...], dict[str, Any]]]:
    """Go through all bridges and network interfaces of hosts: name, path, entry."""
    for node in nodes(graph, Kind.BRIDGE, Kind.HOST):
        path, entry = graph.nodes[node]["path"], graph.nodes[node]["entry"]
        yield node, path, entry
        for number, nic in enumerate(entry.get("nics") or []):
            yield node, (*path, "nics", number), nic


def _loops(graph: nx.Graph) -> Found:
    """Find loops of bridges that do not all run the spanning tree protocol: they multiply every broadcast."""
    bridges = graph.subgraph(set(nodes(graph, Kind.BRIDGE, Kind.PORT)) - _further_members(graph))
    for cycle in nx.cycle_basis(bridges):
        on_it = sorted({node.partition("/")[0] for node in cycle})
        without = [name for name in on_it if not {"stp", "rstp"} & _set(graph.nodes[name]["entry"])]
        ports = sorted(node for node in cycle if graph.nodes[node].get("kind") is Kind.PORT)
        if without:
            path = max(graph.nodes[port]["path"] for port in ports)
            message = f"a loop that nobody breaks: {', '.join(ports)}"
            yield path[:2], message, f"remove a link, or give {', '.join(without)} the key stp: true"


def _set(entry: dict[str, Any]) -> set[str]:
    """Return the keys that are there and true."""
    return {key for key, value in entry.items() if value}


def _further_members(graph: nx.Graph) -> set[str]:
    """Return all members of bonds but the first of each: a bond is one port, so it makes no loop."""
    bonds = [graph.nodes[bond] for bond in nodes(graph, Kind.BOND)]
    return {
        f"{bond['path'][1].partition('/')[0]}/{name}"
        for bond in bonds
        for name in bond["entry"]["members"][1:]
    }


def _missing_queues(graph: nx.Graph) -> Found:
    """Find devices without queues, on which Flowlane cannot place flows: a NIC has them at its uplinks."""
    for bridge in nodes(graph, Kind.BRIDGE):
        if not graph.nodes[bridge]["entry"].get("controller", True):
            continue
        ports = [port for port in graph[bridge] if graph.nodes[port].get("kind") is Kind.PORT]
        role = graph.nodes[bridge]["entry"]["role"]
        uplinks = [port for port in ports if _leads_outside(graph, port, bridge)] if role == "nic" else ports
        bare = [port for port in uplinks if not _has_queues(graph, port)]
        if bare and (role == "nic" or (role == "switch" and len(bare) == len(ports))):
            message = f"no queues at its uplink {', '.join(bare)}" if role == "nic" else "no port has queues"
            yield ("bridges", bridge), message, f"add queues: {bare[0]}: {{count: 4, rate: 100Mbit/s}}"


def _has_queues(graph: nx.Graph, port: str) -> bool:
    """Whether a port has queues, its own or those of its bond."""
    return any("queues" in graph.nodes[node] for node in (port, graph.nodes[port].get("bond", port)))


def _leads_outside(graph: nx.Graph, port: str, bridge: str) -> bool:
    """Whether a port leads to a machine beyond the wire or, by a wire, to another bridge."""
    if graph.nodes[port]["patch"]:
        return False
    ends = [end for end in graph[port] if end != bridge]
    return any("/" in end or graph.nodes[end]["entry"].get("kind") == "remote" for end in ends)


def _impossible_guarantees(graph: nx.Graph) -> Found:
    for port in nodes(graph, Kind.PORT, Kind.BOND):
        queues = graph.nodes[port].get("queues") or {}
        if "min_rate" not in queues:
            continue
        total = queues["count"] * parse_rate(queues["min_rate"])
        if total > parse_rate(queues["rate"]):
            message = (
                f"{queues['count']} queues with {queues['min_rate']} each are more than {queues['rate']}"
            )
            yield ("queues", port, "min_rate"), message, "lower min_rate or count"


def load(path: Path) -> dict[str, Any]:
    """Read and check a network file; return its data, with every optional section there.

    Raises:
        TopologyError: something is wrong with it.
    """
    graph = read(path)
    if problems := check(graph):
        raise TopologyError(problems, str(path))
    data: dict[str, Any] = graph.graph["document"].data
    absent = {"about": "", "teaches": "", "links": [], "patches": [], "bonds": {}, "queues": {}}
    return {**absent, **{key: value for key, value in data.items() if value is not None}}
