"""Network files of ``topologies/``: read into a graph, checked, and written as JSON for ``mininet/lab.py``.

``python -m flowlane.topology FILE`` prints the network as JSON, or what is wrong with the file, each problem
with its line and a remedy. ``topologies/README.md`` describes the format.

Nodes of the graph are bridges, hosts and the bridges' ports (``BRIDGE/PORT``); edges join a port with its bridge
and with what hangs on it: a host, or the port at the other end of a link. Every node that the file declares has a
``kind`` (Kind); a port whose bridge is not declared hangs on a node without one.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import networkx as nx

from flowlane.closest import did_you_mean
from flowlane.errors import FlowlaneError, PolicyError, Problem, UnitError
from flowlane.policy.document import Document, shown
from flowlane.policy.document import read as read_document
from flowlane.units import parse_rate


class Kind(StrEnum):
    """What a node of the graph is."""

    BRIDGE = "bridge"
    HOST = "host"
    PORT = "port"
    BOND = "bond"


class TopologyError(FlowlaneError):
    """A network file was refused; ``problems`` has everything that was found, in the order of the lines."""

    def __init__(self, problems: Sequence[Problem], source: str) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.line, problem.column)))
        super().__init__("\n".join(f"{source}:{problem.line}: {problem}" for problem in self.problems))


# ---- values

ROLES = ("nic", "vswitch", "switch")
HOST_KINDS = ("vm", "remote")
BOND_MODES = ("active-backup", "balance-slb", "balance-tcp")
MOST_QUEUES = 0xF000
"""HTB_N_QUEUES (Open vSwitch lib/netdev-linux.c)."""

_DPID = re.compile(r"[0-9a-f]{16}\Z")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z")
_BRIDGE = re.compile(r"[a-z0-9]{1,15}\Z")  # Linux' IFNAMSIZ: 15 characters
_HOST = re.compile(r"[a-z0-9]{1,10}\Z")  # Mininet adds -eth0
_DEVICE = re.compile(r"[a-z0-9]{1,15}\Z")
_PORT = re.compile(r"([a-z0-9]{1,15})/([a-z0-9]{1,15})\Z")

Check = Callable[[object], str]
"""What a value must be, in words, when it is not; else the empty text."""


def _one_of(words: Sequence[str]) -> Check:
    return lambda value: "" if value in words else f"one of {', '.join(words)}"


def _text(pattern: re.Pattern[str], words: str) -> Check:
    return lambda value: "" if isinstance(value, str) and pattern.match(value) else words


def _address(version: int, example: str) -> Check:
    def check(value: object) -> str:
        try:
            if isinstance(value, str) and "/" in value and ipaddress.ip_interface(value).version == version:
                return ""
        except ValueError:
            pass
        return f"an address with the length of its network, such as {example}"

    return check


def _rate(value: object) -> str:
    try:
        parse_rate(value)
    except UnitError:
        return "a rate, such as 100Mbit/s"
    return ""


def _texts(value: object) -> str:
    right = isinstance(value, dict) and all(isinstance(item, str) for item in value.values())
    return "" if right else "a mapping of texts (put numbers in quotes)"


def _count(value: object) -> str:
    right = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_QUEUES
    return "" if right else f"a number from 1 to {MOST_QUEUES}"


def _boolean(value: object) -> str:
    return "" if isinstance(value, bool) else "true or false"


def _vlan(value: object) -> str:
    right = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 4094
    return "" if right else "a VLAN id from 1 to 4094"


def _names(value: object) -> str:
    right = isinstance(value, list) and len(value) > 1 and all(_DEVICE.match(str(name)) for name in value)
    return "" if right else "a list of two or more ports of the bridge, such as [pf0, pf1]"


def _any_text(value: object) -> str:
    return "" if isinstance(value, str) else "a text"


_PLACE = _text(_PORT, "BRIDGE/PORT, each at most 15 small letters and digits")
_SECTIONS: dict[str, tuple[Check, dict[str, Check], frozenset[str]]] = {
    "bridges": (
        _text(_BRIDGE, "a name of at most 15 small letters and digits"),
        {
            "dpid": _text(_DPID, "16 hexadecimal digits in quotes"),
            "role": _one_of(ROLES),
            "stp": _boolean,
            "controller": _boolean,
        },
        frozenset({"dpid", "role"}),
    ),
    "hosts": (
        _text(_HOST, "a name of at most 10 small letters and digits"),
        {
            "kind": _one_of(HOST_KINDS),
            "port": _PLACE,
            "mac": _text(_MAC, 'six bytes in quotes, such as "52:54:00:00:00:01"'),
            "ip": _address(4, "10.0.0.1/24"),
            "ip6": _address(6, "fd00::1/64"),
            "tag": _vlan,
            "external_ids": _texts,
        },
        frozenset({"kind", "port", "mac", "ip"}),
    ),
    "bonds": (
        _PLACE,
        {"members": _names, "mode": _one_of(BOND_MODES)},
        frozenset({"members", "mode"}),
    ),
    "queues": (
        _PLACE,
        {"count": _count, "rate": _rate, "min_rate": _rate},
        frozenset({"count", "rate"}),
    ),
}
"""Section -> what its names must be, what the values of an entry must be, and the keys that an entry must have."""

_KEYS = ("about", "bridges", "hosts", "links", "bonds", "queues")


# ---- reading


def read(path: Path) -> nx.Graph:
    """Read a network file into a graph; its attributes are the file's ``document`` and ``name``.

    Raises:
        TopologyError: the file cannot be read, or a key or value in it has the wrong form.
    """
    try:
        document = read_document(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise TopologyError([Problem(1, 1, "", f"cannot read the file: {reason}")], str(path)) from error
    except PolicyError as error:
        raise TopologyError(error.problems, str(path)) from error
    _check_form(document)
    if document.problems:
        raise TopologyError(document.problems, str(path))
    return _graph(document, str(path))


def _check_form(document: Document) -> None:
    data = document.data
    if not isinstance(data, dict):
        document.report((), "the file is not a mapping", "begin with bridges:")
        return
    for key in data.keys() - _KEYS:
        document.report((), f"unknown key {shown(key)}", did_you_mean(key, _KEYS), key)
    for section in ("bridges", "hosts"):
        if not data.get(section):
            document.report((), f"no {section}", f"add {section}: and at least one of them")
    for section in _SECTIONS:
        _check_section(document, section, data.get(section) or {})
    _check_links(document, data.get("links") or [])


def _check_section(document: Document, section: str, entries: object) -> None:
    check_name, checks, required = _SECTIONS[section]
    if not isinstance(entries, dict):
        document.report((section,), "not a mapping", "write a name and its keys for each")
        return
    for name, entry in entries.items():
        if words := check_name(name):
            document.report((section,), f"wrong name {shown(name)}", f"use {words}", name)
        if not isinstance(entry, dict):
            document.report((section, name), "not a mapping", f"its keys: {', '.join(checks)}")
            continue
        for key in required - entry.keys():
            document.report((section,), f"{name} has no {key}", f"add {key}: and {checks[key](None)}", name)
        for key, value in entry.items():
            if key not in checks:
                document.report((section, name), f"unknown key {shown(key)}", did_you_mean(key, checks), key)
            elif words := checks[key](value):
                document.report((section, name, key), f"{shown(value)} is wrong", f"write {words}")


def _check_links(document: Document, links: object) -> None:
    if not isinstance(links, list):
        document.report(("links",), "not a list", "write - [BRIDGE/PORT, BRIDGE/PORT] for each link")
        return
    for number, link in enumerate(links):
        if not isinstance(link, list) or len(link) != 2 or any(_PLACE(end) for end in link):
            document.report(("links", number), f"{shown(link)} is wrong", "write [BRIDGE/PORT, BRIDGE/PORT]")


def _graph(document: Document, name: str) -> nx.Graph:
    data: Any = document.data
    graph = nx.Graph(document=document, name=name)
    for bridge, entry in data["bridges"].items():
        graph.add_node(bridge, kind=Kind.BRIDGE, path=("bridges", bridge), entry=entry)
    for host, entry in data["hosts"].items():
        path = ("hosts", host)
        if host in data["bridges"]:
            document.report(("hosts",), f"{host} is a bridge, too", "give the host another name", host)
            continue
        graph.add_node(host, kind=Kind.HOST, path=path, entry=entry)
        _attach(graph, entry["port"], host, (*path, "port"))
    for number, (one, other) in enumerate(data.get("links") or []):
        _attach(graph, one, other, ("links", number, 0))
        _attach(graph, other, one, ("links", number, 1))
    for place, entry in (data.get("bonds") or {}).items():
        _bundle(graph, place, entry)
    for place, entry in (data.get("queues") or {}).items():
        if place in graph:
            graph.nodes[place]["queues"] = entry
        else:
            hint = did_you_mean(place, _nodes(graph, Kind.PORT, Kind.BOND))
            document.report(("queues",), f"nothing is connected to {place}", hint, place)
    return graph


def _attach(graph: nx.Graph, port: str, end: str, path: tuple[str | int, ...]) -> None:
    """Join a port with its bridge and with what is connected to it; report a second thing on one port."""
    node = graph.nodes.get(port)
    if node is not None and node.get("kind") is Kind.PORT:
        graph.graph["document"].report(path, f"{port} is in use twice", "give each end a port of its own")
        return
    graph.add_node(port, kind=Kind.PORT, path=path)
    graph.add_edge(port, port.partition("/")[0])
    if end != port:
        graph.add_edge(port, end)


def _bundle(graph: nx.Graph, bond: str, entry: dict[str, Any]) -> None:
    """Make ports members of a bond; report those that are not there."""
    bridge = bond.partition("/")[0]
    graph.add_node(bond, kind=Kind.BOND, path=("bonds", bond), entry=entry)
    graph.add_edge(bond, bridge)
    for number, name in enumerate(entry["members"]):
        port = f"{bridge}/{name}"
        if graph.nodes.get(port, {}).get("kind") is Kind.PORT:
            graph.nodes[port]["bond"] = bond
        else:
            path = ("bonds", bond, "members", number)
            hint = did_you_mean(port, _nodes(graph, Kind.PORT))
            graph.graph["document"].report(path, f"nothing is connected to {port}", hint)


# ---- checking


def check(graph: nx.Graph) -> list[Problem]:
    """Return what is wrong with a network, in the order of the file's lines; an empty list when nothing is.

    Unknown ends, names and addresses that are given twice, loops that nobody breaks, missing and impossible queues.
    """
    document: Document = graph.graph["document"]
    for rule in (_unknown_ends, _duplicates, _loops, _missing_queues, _impossible_guarantees):
        for path, message, remedy in rule(graph):
            document.report(path, message, remedy)
    return sorted(document.problems, key=lambda problem: (problem.line, problem.column))


Found = Iterator[tuple[tuple[str | int, ...], str, str]]
"""(path, message, remedy) of each problem."""


def _nodes(graph: nx.Graph, *kinds: Kind) -> list[str]:
    return [node for node, of in graph.nodes(data="kind") if of in kinds]


def _unknown_ends(graph: nx.Graph) -> Found:
    bridges = _nodes(graph, Kind.BRIDGE)
    for port in _nodes(graph, Kind.PORT, Kind.BOND):
        bridge = port.partition("/")[0]
        if graph.nodes[bridge].get("kind") is not Kind.BRIDGE:
            yield graph.nodes[port]["path"], f"there is no bridge {bridge}", did_you_mean(bridge, bridges)


def _duplicates(graph: nx.Graph) -> Found:
    """Ports and bridges are devices of one network namespace, so their names differ, whatever their bridge."""
    devices = {bridge: bridge for bridge in _nodes(graph, Kind.BRIDGE)}
    for port in _nodes(graph, Kind.PORT, Kind.BOND):
        name = port.partition("/")[2]
        if name in devices:
            message = f"the name {name} is taken by {devices[name]}"
            yield graph.nodes[port]["path"], message, "name each port differently, whatever its bridge"
        devices.setdefault(name, port)
    for kind, key, value_of in (
        (Kind.BRIDGE, "dpid", str),
        (Kind.HOST, "mac", str),
        (Kind.HOST, "ip", ipaddress.ip_interface),
        (Kind.HOST, "ip6", ipaddress.ip_interface),
    ):
        owners: dict[object, str] = {}
        for node in _nodes(graph, kind):
            if (text := graph.nodes[node]["entry"].get(key)) is None:
                continue
            value = getattr(value_of(text), "ip", text)
            if value in owners:
                message = f"{text} is the {key} of {owners[value]}, too"
                yield (*graph.nodes[node]["path"], key), message, f"give {node} another one"
            owners.setdefault(value, node)


def _loops(graph: nx.Graph) -> Found:
    """Find loops of bridges that do not all run the spanning tree protocol: they multiply every broadcast."""
    bridges = graph.subgraph(set(_nodes(graph, Kind.BRIDGE, Kind.PORT)) - _further_members(graph))
    for cycle in nx.cycle_basis(bridges):
        on_it = sorted({node.partition("/")[0] for node in cycle})
        without = [name for name in on_it if not graph.nodes[name]["entry"].get("stp")]
        ports = sorted(node for node in cycle if graph.nodes[node].get("kind") is Kind.PORT)
        if without:
            path = max(graph.nodes[port]["path"] for port in ports)
            message = f"a loop that nobody breaks: {', '.join(ports)}"
            yield path[:2], message, f"remove a link, or give {', '.join(without)} the key stp: true"


def _further_members(graph: nx.Graph) -> set[str]:
    """Return all members of bonds but the first of each: a bond is one port, so it makes no loop."""
    bonds = [graph.nodes[bond] for bond in _nodes(graph, Kind.BOND)]
    return {
        f"{bond['path'][1].partition('/')[0]}/{name}"
        for bond in bonds
        for name in bond["entry"]["members"][1:]
    }


def _missing_queues(graph: nx.Graph) -> Found:
    """Find devices without queues, on which Flowlane cannot place flows: a NIC has them at its uplinks."""
    for bridge in _nodes(graph, Kind.BRIDGE):
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
    """Whether a port leads to a machine beyond the wire or to another bridge."""
    ends = [end for end in graph[port] if end != bridge]
    return any("/" in end or graph.nodes[end]["entry"].get("kind") == "remote" for end in ends)


def _impossible_guarantees(graph: nx.Graph) -> Found:
    for port in _nodes(graph, Kind.PORT, Kind.BOND):
        queues = graph.nodes[port].get("queues") or {}
        if "min_rate" not in queues:
            continue
        total = queues["count"] * parse_rate(queues["min_rate"])
        if total > parse_rate(queues["rate"]):
            message = (
                f"{queues['count']} queues with {queues['min_rate']} each are more than {queues['rate']}"
            )
            yield ("queues", port, "min_rate"), message, "lower min_rate or count"


# ---- for others


def load(path: Path) -> dict[str, Any]:
    """Read and check a network file; return its data, with every optional section there.

    Raises:
        TopologyError: something is wrong with it.
    """
    graph = read(path)
    if problems := check(graph):
        raise TopologyError(problems, str(path))
    data: dict[str, Any] = graph.graph["document"].data
    absent = {"about": "", "links": [], "bonds": {}, "queues": {}}
    return {**absent, **{key: value for key, value in data.items() if value is not None}}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a network file as JSON; return 1, and print what is wrong to stderr, when it is refused."""
    parser = argparse.ArgumentParser(prog="flowlane.topology", description=main.__doc__)
    parser.add_argument("file", type=Path)
    path = parser.parse_args(arguments).file
    try:
        network = load(path)
    except TopologyError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps(network) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
