"""How the demo draws what REST told it: dictionaries in, rich tables out."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from rich.console import Console

Item = dict[str, Any]
BAR = 24


def rate(bits: float | None) -> str:
    """A rate in Mbit/s, as the numbers here are of that size."""
    return "-" if bits is None else f"{bits / 1e6:.2f}"


def flow_text(item: Item) -> str:
    """``tcp 10.0.0.7:41234 > 10.0.0.100:5201``."""
    ends = []
    for side in ("src", "dst"):
        address, port = item[side], item.get(f"{side}_port")
        address = (
            f"[{address}]" if ":" in address and port is not None and item["family"] == "ipv6" else address
        )
        ends.append(address if port is None else f"{address}:{port}")
    return f"{item['protocol']} {ends[0]} > {ends[1]}"


def uplink_queues(queues: Sequence[Item]) -> list[Item]:
    """Queues, in order."""
    return sorted(queues, key=lambda queue: (queue["port_no"], queue["queue_id"]))


def live_view(seen: Item, told: Sequence[str], passed: float, seconds: float) -> Group:
    """The picture of one second: queues with their load, and what was learnt last."""
    flows = seen["assignments"]
    queues = Table(
        title=f"{passed:.0f} of {seconds:.0f} s: {len(flows)} flows on {len(seen['queues'])} queues",
        expand=False,
    )
    for name, justify in (
        ("port", "left"),
        ("queue", "right"),
        ("flows", "right"),
        ("Mbit/s", "right"),
        ("load", "left"),
        ("", "left"),
    ):
        queues.add_column(name, justify=justify)  # type: ignore[arg-type]
    most = max((queue["load"] or 0 for queue in seen["queues"]), default=0) or 1
    for queue in uplink_queues(seen["queues"]):
        load = queue["load"] or 0
        word = "one flow's own" if queue["exclusive"] else queue["class"] or ""
        bar = "█" * round(BAR * load / most)
        queues.add_row(
            queue["port"], str(queue["queue_id"]), str(queue["flows"]), rate(load), f"{bar:<{BAR}}", word
        )
    latest = Table(title="learnt or moved last", expand=False)
    for name in ("flow", "class", "queue", "why"):
        latest.add_column(name)
    for item in sorted(flows, key=lambda flow: flow["since"])[-8:]:
        latest.add_row(flow_text(item), item["class"] or "-", queue_text(item), item["reason"])
    return Group(queues, latest, Text("\n".join(told), style="dim"))


def queue_text(item: Item) -> str:
    """``pf0:2``, with its meter where there is one."""
    queue = "none" if item["queue_id"] is None else str(item["queue_id"])
    meter = item.get("meter")
    return f"{item['port']}:{queue}" + (f" meter {meter['id']}" if meter else "")


def line(seen: Item, passed: float) -> str:
    """The same in one line, for where there is no terminal."""
    parts = [
        f"q{queue['queue_id']}{'*' if queue['exclusive'] else ''} {queue['flows']} flows {rate(queue['load'])}"
        for queue in uplink_queues(seen["queues"])
    ]
    return (
        f"{passed:4.0f} s  {len(seen['assignments'])} flows   "
        + " | ".join(parts)
        + "   (Mbit/s; * one flow's own)"
    )


def assignment_table(assignments: Sequence[Item], vms: Iterable[Item]) -> Table:
    """GET /v1/assignments, ordered by queue."""
    names = {vm["id"]: vm["name"] for vm in vms}
    table = Table(title=f"GET /v1/assignments: {len(assignments)} flows", expand=False)
    for name in ("queue", "VM", "flow", "class", "Mbit/s", "limit", "why"):
        table.add_column(name, justify="right" if name in ("Mbit/s", "limit") else "left", overflow="fold")
    for item in sorted(
        assignments, key=lambda flow: (flow["port"], flow["queue_id"] or -1, flow["class"] or "", flow["src"])
    ):
        limit = rate(item["meter"]["rate"]) if item.get("meter") else "-"
        vm = names.get(item["vm"], item["vm"] or "-")
        table.add_row(
            queue_text(item),
            vm,
            flow_text(item),
            item["class"] or "-",
            rate(item["rate"]),
            limit,
            item["reason"],
        )
    return table


def class_table(policy: Item, flows: Sequence[Item], queues: Sequence[Item]) -> Table:
    """What each class of the policy did: its flows, its queues, its limits."""
    table = Table(title=f"what the rules did ({', '.join(policy['rules']) or 'built in'})", expand=False)
    for name in ("class", "flows", "queues", "Mbit/s", "limit", "why, and how many"):
        table.add_column(name, justify="right" if name in ("flows", "Mbit/s", "limit") else "left")
    for known in policy["classes"]:
        mine = [flow for flow in flows if flow["class"] == known["name"]]
        places = [place for flow in mine for place in flow["assignments"]]
        used = sorted({place["queue_id"] for place in places if place["queue_id"] is not None})
        reasons = Counter(place["reason"] for place in places)
        table.add_row(
            known["name"],
            str(len(mine)),
            " ".join(map(str, used)) or "-",
            rate(sum(flow["rate"] for flow in mine)),
            rate(known["rate_limit"]),
            ", ".join(f"{word} {count}" for word, count in reasons.most_common()) or "no flow now",
        )
    table.caption = f"{sum(queue['flows'] == 0 for queue in queues)} of {len(queues)} queues are free"
    return table


def after_words(console: Console, datapath: str, url: str, kept: bool, logs: Path) -> None:
    """What the numbers mean here, and where to look next."""
    if datapath == "user":
        console.print(
            "\nThis machine has no openvswitch kernel module: Open vSwitch forwarded in user space, where queues are\n"
            "assigned and shown, and meters work, but no queue is scheduled. ./run lab has real ones."
        )
    console.print("\n[bold]Where to look next[/bold]")
    where = f"now, at {url}" if kept else "with ./run demo --keep, which leaves all of this running"
    console.print(f"  {where}:")
    for command in ("/v1/assignments?queue=0", "/v1/devices", "/v1/events"):
        console.print(f"    curl -s '{url}{command}'")
    console.print(f"    .venv/bin/flowlane --url {url} queues")
    console.print(f"  what each part said: {logs}")
    console.print("  docs/architecture.md, docs/policy.md, docs/demo.md; topologies/single-host.yaml")
