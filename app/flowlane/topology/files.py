"""Network files: their form, and the graph that is made of one.

Nodes of the graph are bridges, hosts and the bridges' ports (``BRIDGE/PORT``); edges join a port with its bridge
and with what hangs on it: a host, or the port at the other end of a link. Every node that the file declares has a
``kind`` (Kind); a port whose bridge is not declared hangs on a node without one.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
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
_BRIDGE = re.compile(r"[a-z0-9][a-z0-9-]{0,14}\Z")  # Linux' IFNAMSIZ: 15 characters
_HOST = re.compile(r"[a-z0-9]{1,10}\Z")  # Mininet adds -eth0
_DEVICE = re.compile(r"[a-z0-9][a-z0-9-]{0,14}\Z")
_PORT = re.compile(r"([a-z0-9][a-z0-9-]{0,14})/([a-z0-9][a-z0-9-]{0,14})\Z")
MOST_DSCP = 63

Place = tuple[str | int, ...]
"""Keys and indices that lead to a place in a file."""

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


def _marks(value: object) -> str:
    """Keys of a document are texts."""
    right = isinstance(value, dict) and all(
        str(dscp).isdecimal()
        and int(dscp) <= MOST_DSCP
        and isinstance(queue, int)
        and 0 <= queue < MOST_QUEUES
        for dscp, queue in value.items()
    )
    return "" if right else "DSCP (0 to 63) and queue for each, such as {0: 0, 8: 1}"


def _nics(value: object) -> str:
    return "" if isinstance(value, list) else "a list of network interfaces, each with port, mac and ip"


_PLACE = _text(_PORT, "BRIDGE/PORT, each at most 15 small letters, digits and dashes")
_NIC: dict[str, Check] = {
    "port": _PLACE,
    "mac": _text(_MAC, 'six bytes in quotes, such as "52:54:00:00:00:01"'),
    "ip": _address(4, "10.0.0.1/24"),
    "ip6": _address(6, "fd00::1/64"),
    "tag": _vlan,
    "external_ids": _texts,
}
"""Keys of a host's network interface."""
_NIC_NEEDS = frozenset({"port", "mac", "ip"})
_SECTIONS: dict[str, tuple[Check, dict[str, Check], frozenset[str]]] = {
    "bridges": (
        _text(_BRIDGE, "a name of at most 15 small letters, digits and dashes"),
        {
            "dpid": _text(_DPID, "16 hexadecimal digits in quotes"),
            "role": _one_of(ROLES),
            "stp": _boolean,
            "rstp": _boolean,
            "controller": _boolean,
            "marks": _marks,
        },
        frozenset({"dpid", "role"}),
    ),
    "hosts": (
        _text(_HOST, "a name of at most 10 small letters and digits"),
        {
            "kind": _one_of(HOST_KINDS),
            **_NIC,
            "nics": _nics,
            "moves_to": _PLACE,
        },
        _NIC_NEEDS | {"kind"},
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

_KEYS = ("about", "teaches", "bridges", "hosts", "links", "patches", "bonds", "queues")


# ---- reading


def read(path: Path) -> nx.Graph:
    """Read a network file into a graph; its attributes are the file's ``document`` and ``name``.

    Raises:
        TopologyError: the file cannot be read, or a key or value in it has the wrong form.
    """
    try:
        # An empty file is a mapping without keys, in which the bridges are missing.
        document = read_document(path.read_text("utf-8"), "{}")
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
    if not data.get("bridges"):
        document.report((), "no bridges", "add bridges: and at least one of them")
    for section in _SECTIONS:
        _check_section(document, section, data.get(section) or {})
    for section in ("links", "patches"):
        _check_links(document, section, data.get(section) or [])


def _check_section(document: Document, section: str, entries: object) -> None:
    check_name, checks, required = _SECTIONS[section]
    if not isinstance(entries, dict):
        document.report((section,), "not a mapping", "write a name and its keys for each")
        return
    for name, entry in entries.items():
        if words := check_name(name):
            document.report((section,), f"wrong name {shown(name)}", f"use {words}", name)
        _check_entry(document, (section, name), entry, checks, required)
        nics = entry.get("nics") if isinstance(entry, dict) else None
        for number, nic in enumerate(nics if isinstance(nics, list) else []):
            _check_entry(document, (section, name, "nics", number), nic, _NIC, _NIC_NEEDS)


def _check_entry(
    document: Document, path: Place, entry: object, checks: dict[str, Check], required: frozenset[str]
) -> None:
    """Check the keys of a mapping and their values."""
    if not isinstance(entry, dict):
        document.report(path, "not a mapping", f"its keys: {', '.join(checks)}")
        return
    for key in required - entry.keys():
        remedy = f"add {key}: and {checks[key](None)}"
        if isinstance(name := path[-1], str):
            document.report(path[:-1], f"{name} has no {key}", remedy, name)
        else:
            document.report(path, f"no {key}", remedy)
    for key, value in entry.items():
        if key not in checks:
            document.report(path, f"unknown key {shown(key)}", did_you_mean(key, checks), key)
        elif words := checks[key](value):
            document.report((*path, key), f"{shown(value)} is wrong", f"write {words}")


def _check_links(document: Document, section: str, links: object) -> None:
    if not isinstance(links, list):
        document.report((section,), "not a list", "write - [BRIDGE/PORT, BRIDGE/PORT] for each link")
        return
    for number, link in enumerate(links):
        if not isinstance(link, list) or len(link) != 2 or any(_PLACE(end) for end in link):
            document.report((section, number), f"{shown(link)} is wrong", "write [BRIDGE/PORT, BRIDGE/PORT]")


def _graph(document: Document, name: str) -> nx.Graph:
    data: Any = document.data
    graph = nx.Graph(document=document, name=name)
    for bridge, entry in data["bridges"].items():
        graph.add_node(bridge, kind=Kind.BRIDGE, path=("bridges", bridge), entry=entry)
    for host, entry in (data.get("hosts") or {}).items():
        path = ("hosts", host)
        if host in data["bridges"]:
            document.report(("hosts",), f"{host} is a bridge, too", "give the host another name", host)
            continue
        graph.add_node(host, kind=Kind.HOST, path=path, entry=entry)
        _attach(graph, entry["port"], host, (*path, "port"))
        for number, nic in enumerate(entry.get("nics") or []):
            _attach(graph, nic["port"], host, (*path, "nics", number, "port"))
        if "moves_to" in entry:
            _attach(graph, entry["moves_to"], host, (*path, "moves_to"))
    for section in ("links", "patches"):
        for number, (one, other) in enumerate(data.get(section) or []):
            _attach(graph, one, other, (section, number, 0), patch=section == "patches")
            _attach(graph, other, one, (section, number, 1), patch=section == "patches")
    for place, entry in (data.get("bonds") or {}).items():
        _bundle(graph, place, entry)
    for place, entry in (data.get("queues") or {}).items():
        if place in graph:
            graph.nodes[place]["queues"] = entry
        else:
            hint = did_you_mean(place, nodes(graph, Kind.PORT, Kind.BOND))
            document.report(("queues",), f"nothing is connected to {place}", hint, place)
    return graph


def _attach(graph: nx.Graph, port: str, end: str, path: Place, *, patch: bool = False) -> None:
    """Join a port with its bridge and with what is connected to it; report a second thing on one port."""
    node = graph.nodes.get(port)
    if node is not None and node.get("kind") is Kind.PORT:
        graph.graph["document"].report(path, f"{port} is in use twice", "give each end a port of its own")
        return
    graph.add_node(port, kind=Kind.PORT, path=path, patch=patch)
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
            hint = did_you_mean(port, nodes(graph, Kind.PORT))
            graph.graph["document"].report(path, f"nothing is connected to {port}", hint)


def nodes(graph: nx.Graph, *kinds: Kind) -> list[str]:
    """List the nodes of some kinds."""
    return [node for node, of in graph.nodes(data="kind") if of in kinds]
