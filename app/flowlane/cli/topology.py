"""``flowlane topology``: hosts, devices and the links between them, as a tree or as a graph for Graphviz."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.tree import Tree

from flowlane.cli.arguments import add_output, format_of
from flowlane.cli.client import Answer, Client, client_of, get
from flowlane.cli.output import show_data
from flowlane.cli.tables import line, show
from flowlane.escaping import escaped_lines
from flowlane.stdio import print_error
from flowlane.units import counted

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

_STYLES = {"up": "", "down": "red", "unconfirmed": "yellow"}
_LINES = {"up": "solid", "down": "dotted", "unconfirmed": "dashed"}
"""State of a link -> style of its edge in Graphviz."""

MAX_VMS = 8
"""VMs of a device that the tree names."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_output(parser)
    parser.add_argument("--dot", action="store_true", help="a graph in Graphviz's language: | dot -Tsvg")


def run(args: argparse.Namespace) -> int:
    """Show the topology."""
    client = client_of(args)
    if args.dot:
        sys.stdout.write(dot(_read(client)))
    elif (form := format_of(args)) is not None:
        show_data(lambda: _read(client), form, args.watch)
    else:
        show(lambda _width: tree(_read(client)), args.watch)
    return 0


def _read(client: Client) -> Answer:
    """Read the graph, and say where it goes on: one controller of several has the links of what it leads."""
    topology = get(client, "/v1/topology")
    for member in topology.get("members", []):
        devices = counted(len(member["devices"]), "device")
        print_error(
            f"controller {member['name']} leads {devices}: --url {member['url'] or '?'} has their links"
        )
    return topology


def tree(topology: Answer) -> RenderableType:
    """Draw hosts with their devices, and under each device its links; then loops and differences."""
    parts: list[RenderableType] = []
    for host in [*topology["hosts"], None]:
        of_host = None if host is None else host["id"]
        devices = [device for device in topology["devices"] if device["host"] == of_host]
        if devices:
            title = "in no database" if host is None else f"host {host['name'] or host['id']}"
            branch = Tree(line(title, "bold"))
            for device in devices:
                _add_device(branch, topology, device)
            parts.append(branch)
    if not parts:
        return line("none", "dim")
    return Group(*parts, *(line(text, style) for text, style in _findings(topology)))


def _add_device(branch: Tree, topology: Answer, device: Answer) -> None:
    role = device["role"] or "bridge"
    state = ", declared" if device["declared"] else "" if device["connected"] else ", no connection"
    node = branch.add(line(f"{role} {_name(device)} ({device['dpid']}{state})"))
    for link in topology["links"]:
        for end, other in _directions(link):
            if end["device"] == device["dpid"]:
                node.add(line(_link_text(link, end, other), _STYLES[link["state"]]))
    for item in topology["unknown"]:
        if item["device"] == device["dpid"]:
            node.add(line(f"{_port(item)} - {_beyond(item)}", "dim"))
    vms = device["vms"]
    if vms:
        more = f" and {len(vms) - MAX_VMS} more" if len(vms) > MAX_VMS else ""
        node.add(line(f"VMs: {', '.join(vms[:MAX_VMS])}{more}"))


def _directions(link: Answer) -> Iterator[tuple[Answer, Answer]]:
    one, other = link["ends"]
    yield one, other
    if one != other:
        yield other, one


def _link_text(link: Answer, end: Answer, other: Answer) -> str:
    one_way = ", one way only" if link["one_way"] else ""
    return f"{_port(end)} - {_end(other)} ({link['kind']}, {link['state']}{one_way})"


def _beyond(item: Answer) -> str:
    tunnel = f", tunnel to {item['remote']}" if item["remote"] else ""
    number = item["addresses"]
    return f"unknown ({counted(number, 'address', 'addresses')} learned{tunnel})"


def _findings(topology: Answer) -> Iterator[tuple[str, str]]:
    """Yield (line, style) of each loop, and of each difference from the expected network."""
    for loop in topology["loops"]:
        ports, names = ", ".join(map(_end, loop["ports"])), ", ".join(loop["without_spanning_tree"])
        yield f"a loop that nobody breaks: {ports} (without spanning tree: {names})", "red"
    expected = topology["expected"]
    if expected is not None:
        if not expected["deviations"]:
            yield f"as in {expected['source']}", "green"
        for item in expected["deviations"]:
            yield f"{item['kind']}: {item['text']}", "dim" if item["kind"] == "unknown" else "yellow"


def _name(device: Answer) -> str:
    name: str = device["name"] or device["dpid"]
    return name


def _port(end: Answer) -> str:
    port: str = end["port"]
    return port


def _end(end: Answer) -> str:
    return f"{end['device_name'] or end['device']}/{_port(end)}"


def dot(topology: Answer) -> str:
    """Write the graph in Graphviz's language: a cluster for each host, an edge for each link."""
    lines = ["graph topology {", "  node [shape=box];"]
    hosts = {host["id"]: host["name"] or host["id"] for host in topology["hosts"]}
    for number, (host, name) in enumerate(hosts.items()):
        lines.append(f"  subgraph cluster_{number} {{ label={_quoted(name)};")
        lines += [f"    {_node(device)}" for device in topology["devices"] if device["host"] == host]
        lines.append("  }")
    lines += [f"  {_node(device)}" for device in topology["devices"] if device["host"] is None]
    for link in topology["links"]:
        one, other = link["ends"]
        label = f"{_port(one)} - {_port(other)}"
        lines.append(
            f"  {_quoted(one['device'])} -- {_quoted(other['device'])} "
            f"[label={_quoted(label)}, style={_LINES[link['state']]}];"
        )
    for item in topology["unknown"]:
        beyond = _quoted(f"unknown {item['device']} {item['port_no']}")
        lines.append(f'  {beyond} [label="?", shape=plaintext];')
        lines.append(f"  {_quoted(item['device'])} -- {beyond} [label={_quoted(_port(item))}, style=dashed];")
    return "\n".join([*lines, "}", ""])


def _node(device: Answer) -> str:
    number = len(device["vms"])
    vms = f"\n{counted(number, 'VM')}" if number else ""
    return f"{_quoted(device['dpid'])} [label={_quoted(_name(device) + vms)}];"


def _quoted(text: str) -> str:
    """Quote a text for Graphviz, whose strings know the escapes of JSON's that names may need."""
    return json.dumps(escaped_lines(text), ensure_ascii=False)
