"""How the demo draws what REST told it: dictionaries in, rich tables out."""

from __future__ import annotations

from collections import Counter
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
    """A rate in Mbit/s, as the numbers here are of that size."""
    return "-" if bits is None else f"{bits / 1e6:.2f}"


def flow_text(item: Item) -> str:
    """``tcp :41234 > 10.0.0.100:5201``: the sender's address is the VM's, and stands in a column of its own."""
    ports = ["" if item[side] is None else f":{item[side]}" for side in ("src_port", "dst_port")]
    return f"{item['protocol']} {ports[0]} > {item['dst']}{ports[1]}"


def table(title: str, *columns: str) -> Table:
    """A table that fits into 80 columns: names that start with ``>`` are of columns of numbers."""
    made = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    made.show_edge = made.pad_edge = False
    for name in columns:
        made.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left", no_wrap=True)
    return made


def uplink_queues(queues: Sequence[Item]) -> list[Item]:
    """Queues, in order."""
    return sorted(queues, key=lambda queue: (queue["port_no"], queue["queue_id"]))


def live_view(seen: Item, told: Sequence[str], passed: float, seconds: float) -> Group:
    """The picture of one second: queues with their load, and what was learnt or moved last."""
    flows, queues = seen["assignments"], uplink_queues(seen["queues"])
    title = f"{passed:.0f} of {seconds:.0f} s: {len(flows)} flows on {len(queues)} queues"
    picture = table(title, "queue", ">flows", ">Mbit/s", "load", "")
    most = max((queue["load"] or 0 for queue in queues), default=0) or 1
    for queue in queues:
        load = queue["load"] or 0
        word = "one flow's own" if queue["exclusive"] else queue["class"] or ""
        bar = "█" * round(BAR * load / most)
        name = f"{queue['port']}:{queue['queue_id']}"
        picture.add_row(name, str(queue["flows"]), rate(load), f"{bar:<{BAR}}", word)
    latest = table("\nlearnt or moved last", "VM", "flow", "class", "queue", "why")
    for item in sorted(flows, key=lambda flow: flow["since"])[-5:]:
        latest.add_row(
            seen["vms"].get(item["vm"], ""),
            flow_text(item),
            item["class"] or "-",
            queue_text(item),
            item["reason"],
        )
    return Group(
        picture, latest, Text("\n" + "\n".join(told[-4:]), style="dim", no_wrap=True, overflow="ellipsis")
    )


def queue_text(item: Item) -> str:
    """``pf0:2``, and the port alone where no queue is set."""
    return item["port"] if item["queue_id"] is None else f"{item['port']}:{item['queue_id']}"


def line(seen: Item, passed: float) -> str:
    """The same in one line, for where there is no terminal."""
    parts = [
        f"q{queue['queue_id']}{'*' if queue['exclusive'] else ''} {queue['flows']} flows {rate(queue['load'])} Mbit/s"
        for queue in uplink_queues(seen["queues"])
    ]
    return f"{passed:4.0f} s  {len(seen['assignments'])} flows   " + " | ".join(parts)


def assignment_table(assignments: Sequence[Item], vms: dict[str, str]) -> Table:
    """GET /v1/assignments, ordered by queue. ``vms``: names by id."""
    made = table(
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
        made.add_row(
            queue_text(item),
            vm,
            flow_text(item),
            item["class"] or "-",
            rate(item["rate"]),
            limit,
            item["reason"],
        )
    return made


def class_table(policy: Item, assignments: Sequence[Item], queues: Sequence[Item]) -> Table:
    """What each class of the policy did: its flows, its queues, its limits."""
    made = table(
        "\nWhat the rules did", "class", ">flows", "queues", ">Mbit/s", ">limit", "why, and how many"
    )
    made.columns[-1].no_wrap = False
    for known in policy["classes"]:
        mine = [item for item in assignments if item["class"] == known["name"]]
        used = sorted({item["queue_id"] for item in mine if item["queue_id"] is not None})
        reasons = Counter(item["reason"] for item in mine)
        made.add_row(
            known["name"],
            str(len(mine)),
            " ".join(map(str, used)) or "-",
            rate(sum(item["rate"] for item in mine)),
            rate(known["rate_limit"]),
            ", ".join(f"{word} {count}" for word, count in reasons.most_common()) or "no flow now",
        )
    free = sum(queue["flows"] == 0 for queue in queues)
    made.caption = (
        f"rules, in order: {', '.join(policy['rules']) or 'none'}; {free} of {len(queues)} queues are free"
    )
    made.caption_justify = "left"
    return made


USERSPACE = (
    "This machine has no openvswitch kernel module: Open vSwitch forwarded in user space, where queues are assigned "
    "and shown, and meters work, but no queue is scheduled. ./run lab boots a guest with a kernel datapath and "
    "hardware queues."
)


def after_words(console: Console, datapath: str, url: str, kept: bool, logs: Path) -> None:
    """What the numbers mean here, and where to look next."""
    if datapath == "user":
        console.print(f"\n{USERSPACE}")
    console.print("\n[bold]Where to look next[/bold]")
    console.print(f"  now, at {url}" if kept else "  ./run demo --keep leaves all of this running; then")
    for path in ("/v1/assignments?queue=0", "/v1/devices", "/v1/events"):
        console.print(f"    curl -sN '{url}{path}'", soft_wrap=True)
    console.print(f"    .venv/bin/flowlane queues --url {url}", soft_wrap=True)
    console.print(f"  what each part said: {logs}", soft_wrap=True)
    console.print("  how it works: docs/README.md", soft_wrap=True)
