"""Tables of the demo, made from the answers of REST."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console

Item = dict[str, Any]
BAR = 24


def rate(bits: float | None) -> str:
    """Write a rate in Mbit/s."""
    return "-" if bits is None else f"{bits / 1e6:.2f}"


def flow_text(item: Item) -> str:
    """Write ``tcp :41234 > 10.0.0.100:5201``; the VM, in a column of its own, is the source address."""
    ports = ["" if item[side] is None else f":{item[side]}" for side in ("src_port", "dst_port")]
    return f"{item['protocol']} {ports[0]} > {item['dst']}{ports[1]}"


def table(title: str, *columns: str) -> Table:
    """Make a table for 80 columns; a column whose name begins with ``>`` has numbers."""
    grid = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    grid.show_edge = grid.pad_edge = False
    for name in columns:
        grid.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left", no_wrap=True)
    return grid


def uplink_queues(queues: Sequence[Item]) -> list[Item]:
    """Sort queues by port and id."""
    return sorted(queues, key=lambda queue: (queue["port_no"], queue["queue_id"]))


def live_view(state: Item, news: Sequence[str], passed: float, seconds: float) -> Group:
    """Make the view of one second: queues with their load, and the flows that were placed last."""
    flows, queues = state["assignments"], uplink_queues(state["queues"])
    title = f"{passed:.0f} of {seconds:.0f} s: {len(flows)} flows on {len(queues)} queues"
    load_table = table(title, "queue", ">flows", ">Mbit/s", "load", "")
    most = max((queue["load"] or 0 for queue in queues), default=0) or 1
    for queue in queues:
        load = queue["load"] or 0
        word = "exclusive" if queue["exclusive"] else queue["class"] or ""
        bar = "█" * round(BAR * load / most)
        name = f"{queue['port']}:{queue['queue_id']}"
        load_table.add_row(name, str(queue["flows"]), rate(load), f"{bar:<{BAR}}", word)
    latest = table("\nplaced last", "VM", "flow", "class", "queue", "why")
    for item in sorted(flows, key=lambda flow: flow["since"])[-5:]:
        latest.add_row(
            state["vms"].get(item["vm"], ""),
            flow_text(item),
            item["class"] or "-",
            queue_text(item),
            item["reason"],
        )
    return Group(
        load_table, latest, Text("\n" + "\n".join(news[-4:]), style="dim", no_wrap=True, overflow="ellipsis")
    )


def queue_text(item: Item) -> str:
    """Write ``pf0:2``, or only the port where no queue is set."""
    return item["port"] if item["queue_id"] is None else f"{item['port']}:{item['queue_id']}"


def network_text(ports: Sequence[Item]) -> str:
    """Write which bond is the uplink, and which ports are in which VLAN."""
    bonds, vlans = defaultdict[str, list[str]](list), defaultdict[int, list[str]](list)
    for port in ports:
        if port["bond"]:
            bonds[f"{port['bond']['name']} ({port['bond']['mode']})"].append(port["name"])
        elif (port["vlan"] or {}).get("tag"):
            vlans[port["vlan"]["tag"]].append(port["name"])
    lines = [f"{name}: {', '.join(sorted(names))}" for name, names in sorted(bonds.items())]
    return "\n".join(
        ["", *lines, *(f"VLAN {tag}: {', '.join(sorted(names))}" for tag, names in sorted(vlans.items())), ""]
    )


def line(state: Item, passed: float) -> str:
    """Write the state of one second as a line, for output that is not a terminal."""
    parts = [
        f"q{queue['queue_id']}{'*' if queue['exclusive'] else ''} {queue['flows']} flows {rate(queue['load'])} Mbit/s"
        for queue in uplink_queues(state["queues"])
    ]
    return f"{passed:4.0f} s  {len(state['assignments'])} flows   " + " | ".join(parts)


def assignment_table(assignments: Sequence[Item], vms: dict[str, str]) -> Table:
    """Make the table of GET /v1/assignments, ordered by queue. ``vms``: names by id."""
    grid = table(
        f"GET /v1/assignments: {len(assignments)} flows",
        "queue",
        "VM",
        "flow",
        "class",
        ">Mbit/s",
        ">limit",
        "why",
    )
    for item in sorted(assignments, key=lambda flow: (queue_text(flow), flow["class"] or "", flow["src"])):
        limit = rate(item["meter"]["rate"]) if item.get("meter") else "-"
        vm = vms.get(item["vm"], "-")
        grid.add_row(
            queue_text(item),
            vm,
            flow_text(item),
            item["class"] or "-",
            rate(item["rate"]),
            limit,
            item["reason"],
        )
    return grid


def class_table(policy: Item, assignments: Sequence[Item], queues: Sequence[Item]) -> Table:
    """Make the table of the classes: flows, queues, limits."""
    grid = table(
        "\nClasses of the policy", "class", ">flows", "queues", ">Mbit/s", ">limit", "why, and how many"
    )
    grid.columns[-1].no_wrap = False
    for traffic_class in policy["classes"]:
        flows = [item for item in assignments if item["class"] == traffic_class["name"]]
        used = sorted({item["queue_id"] for item in flows if item["queue_id"] is not None})
        reasons = Counter(item["reason"] for item in flows)
        grid.add_row(
            traffic_class["name"],
            str(len(flows)),
            " ".join(map(str, used)) or "-",
            rate(sum(item["rate"] for item in flows)),
            rate(traffic_class["rate_limit"]),
            ", ".join(f"{word} {count}" for word, count in reasons.most_common()) or "no flow now",
        )
    free = sum(queue["flows"] == 0 for queue in queues)
    grid.caption = (
        f"rules, in order: {', '.join(policy['rules']) or 'none'}; {free} of {len(queues)} queues are free"
    )
    grid.caption_justify = "left"
    return grid


USERSPACE = (
    "This machine has no openvswitch kernel module: Open vSwitch forwarded in user space, where queues are assigned "
    "and shown, and meters work, but no queue is scheduled. ./run lab boots a guest with a kernel datapath and "
    "hardware queues."
)


def after_words(console: Console, datapath: str, url: str, kept: bool, logs: Path) -> None:
    """Print what the numbers mean on this machine, and where to look next."""
    if datapath == "user":
        console.print(f"\n{USERSPACE}")
    console.print("\n[bold]Where to look next[/bold]")
    console.print(f"  now, at {url}" if kept else "  ./run demo --keep leaves all of this running; then")
    for path in ("/v1/assignments?queue=0", "/v1/devices", "/v1/events"):
        console.print(f"    curl -sN '{url}{path}'", soft_wrap=True)
    console.print(f"    .venv/bin/flowlane queues --url {url}", soft_wrap=True)
    console.print(f"  logs of each program: {logs}", soft_wrap=True)
    console.print("  how it works: docs/README.md", soft_wrap=True)
