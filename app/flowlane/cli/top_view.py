"""What ``flowlane top`` shows, drawn from one answer of the controller: lanes, and the largest flows.

A *lane* is an egress port with its queues side by side, each with its load over its capacity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.text import Text

from flowlane.cli.tables import Column, age, flow_text, line, rate, table, text
from flowlane.escaping import escaped
from flowlane.units import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowlane.cli.client import Answer

GAP = 2
"""Blanks between two queues of a lane."""

CELL, SMALL_CELL = 24, 18
"""Cells of a queue's box: with three lines, and with one."""

FULL_LINES = 3
HIGH, FULL = 0.7, 0.9
"""Parts of its capacity from which on a queue is shown as filled, and as full."""

FEWEST_FLOWS = 5
"""Flows for which lanes leave room, where the terminal has it."""


class Sort(NamedTuple):
    """An order of the flows: its key on the keyboard, and the value of ``sort`` in REST."""

    key: str
    name: str
    parameter: str


SORTS = (
    Sort("r", "rate", "-rate"),
    Sort("b", "bytes", "-bytes"),
    Sort("p", "packets", "-packets"),
    Sort("a", "age", "first_seen"),
    Sort("n", "newest", "-first_seen"),
    Sort("i", "idle", "last_active"),
)


class Lane(NamedTuple):
    """An egress port: its device's name, its rate in bit/s (None: not known), its queues as REST has them."""

    device: str
    port: str
    capacity: int | None
    queues: tuple[Answer, ...]

    @property
    def load(self) -> float:
        """Sum of the loads of the queues, in bit/s."""
        return sum(float(queue["load"]) for queue in self.queues)

    @property
    def flows(self) -> int:
        """Number of flows on the queues."""
        return sum(int(queue["flows"]) for queue in self.queues)


class Snapshot(NamedTuple):
    """What the controller has answered: its status, the lanes, and the first flows in the order asked for."""

    status: Answer
    lanes: tuple[Lane, ...]
    flows: tuple[Answer, ...]


class Look(NamedTuple):
    """How it is shown. ``first_lane``: how many lanes are scrolled over. ``problem``: why there is no newer answer."""

    place: str
    clock: str
    sort: Sort = SORTS[0]
    compact: bool = False
    paused: bool = False
    first_lane: int = 0
    problem: str = ""


def lanes_of(devices: Sequence[Answer], queues: Mapping[str, Sequence[Answer]]) -> tuple[Lane, ...]:
    """Collect the lanes of devices: the fullest first in steps of a tenth, so that they seldom change their places.

    Args:
        queues: dpid -> the queues of that device.
    """
    lanes = []
    for device in devices:
        rates = {port["port_no"]: port["rate"] for port in device["ports"]}
        by_port: dict[int, list[Answer]] = {}
        for queue in queues.get(device["dpid"], ()):
            by_port.setdefault(queue["port_no"], []).append(queue)
        name = device["name"] or device["dpid"]
        lanes += [
            Lane(name, of_port[0]["port"], rates.get(number), tuple(of_port))
            for number, of_port in by_port.items()
        ]
    return tuple(sorted(lanes, key=_order))


def _order(lane: Lane) -> tuple[int, str, str]:
    return -round(10 * _part(lane.load, lane.capacity)), lane.device, lane.port


def capacity_of(lane: Lane, queue: Answer) -> int | None:
    """Return what a queue can carry in bit/s: its maximum rate, at most that of its port; None: not known."""
    known = [value for value in (queue["max_rate"], lane.capacity) if value]
    return min(known) if known else None


def _part(load: float, capacity: int | None) -> float:
    return load / capacity if capacity else 0.0


def percent(load: float, capacity: int | None) -> str:
    """Write load over capacity."""
    return f"{_part(load, capacity):.0%}" if capacity else "-"


# ---- a screen


def screen(snapshot: Snapshot, look: Look, width: int, height: int) -> RenderableType:
    """Draw a terminal's screen, in exactly ``height`` lines at most."""
    head = header(snapshot.status, look, width)[: height - 1]
    room = height - len(head) - 1
    for_lanes = max(room - FEWEST_FLOWS - 2, room // 2)
    lanes = _lanes_in(snapshot.lanes, look, width, for_lanes)[:room]
    rows = max(0, room - len(lanes) - 2)
    title = [line(""), line(f"FLOWS by {look.sort.name}", "bold")] if rows > 1 else []
    flows = [*title, table(FLOW_COLUMNS, snapshot.flows[: rows - 1], width)] if rows > 1 else []
    return Group(*head, *lanes, *flows, _keys(look, width))


def header(status: Answer, look: Look, width: int) -> list[Text]:
    """Write the lines on top: the controller, what it has, and why there is nothing newer."""
    devices, kinds = status["devices"], status["assignments"]
    state = "" if status["ready"] else "  not ready"
    paused = "  paused" if look.paused else ""
    first = f"flowlane {status['version']} at {look.place}, up {age(status['started'])}{state}{paused}"
    clock = look.clock.rjust(width - cell_len(first)) if width > cell_len(first) + len(look.clock) else ""
    second = (
        f"devices {devices['connected']} of {devices['known']}  VMs {status['vms']}  flows {status['flows']} "
        f"({kinds['physical']} on physical queues, {kinds['software']} on software queues, {kinds['none']} without)"
    )
    lines = [line(first + clock, "bold"), line(second)]
    if look.problem:
        lines.append(line(look.problem, "bold red"))
    for each in lines:
        each.truncate(width, overflow="ellipsis")
    return lines


def _keys(look: Look, width: int) -> Text:
    sorts = "  ".join(f"{sort.key} {sort.name}" for sort in SORTS)
    text = line(
        f"q quit  {sorts}  c {'full' if look.compact else 'compact'}  space pause  up/down lanes", "dim"
    )
    text.truncate(width, overflow="ellipsis")
    return text


def _lanes_in(lanes: Sequence[Lane], look: Look, width: int, height: int) -> list[Text]:
    """Draw as many lanes as there is room for, from the first one that is not scrolled over; then how many are left."""
    shown = lanes[min(look.first_lane, max(0, len(lanes) - 1)) :]
    full = [lane_lines(lane, width, compact=False) for lane in shown]
    is_compact = look.compact or sum(len(lines) + 1 for lines in full) > height
    drawn: list[Text] = []
    for number, lane in enumerate(shown):
        lines = lane_lines(lane, width, compact=True) if is_compact else full[number]
        if drawn and len(drawn) + len(lines) + 2 > height:
            left = len(shown) - number
            return [*drawn, line(f"{counted(left, 'more lane')}: down", "dim")]
        drawn += [line(""), *lines[: max(1, height - 2)]]
    return drawn or [line(""), line("no port has queues", "dim")]


def lane_lines(lane: Lane, width: int, *, compact: bool) -> list[Text]:
    """Draw a lane: a line for the port, then its queues side by side, physical ones before software ones."""
    of = f" of {rate(lane.capacity)} ({percent(lane.load, lane.capacity)})" if lane.capacity else ""
    flows = counted(lane.flows, "flow")
    title = line(f"{lane.device} {lane.port}: {rate(lane.load)}{of}, {flows}", "bold")
    title.truncate(width, overflow="ellipsis")
    lines = [title]
    size = SMALL_CELL if compact else CELL
    beside = max(1, (width + GAP) // (size + GAP))
    for kind in dict.fromkeys(queue["kind"] for queue in lane.queues):
        queues = [queue for queue in lane.queues if queue["kind"] == kind]
        if kind != "physical":
            lines.append(line(f"{kind}:", "dim"))
        for start in range(0, len(queues), beside):
            boxes = [_box(lane, queue, compact=compact) for queue in queues[start : start + beside]]
            lines += [Text(" " * GAP).join(row) for row in zip(*boxes, strict=True)]
    return lines


def _box(lane: Lane, queue: Answer, *, compact: bool) -> list[Text]:
    """Draw a queue: what is on it, its load as a bar, and in bit/s over its capacity."""
    load, capacity = float(queue["load"]), capacity_of(lane, queue)
    part, number = _part(load, capacity), f"{percent(load, capacity):>5}"
    style = "red" if part >= FULL else "yellow" if part >= HIGH else "green"
    if compact:
        name = set_cell_size(str(queue["queue_id"]), 4)
        return [Text.assemble(name, _bar(part, SMALL_CELL - 4 - len(number), style), number)]
    mark = "!" if queue["exclusive"] else ""
    admission = queue["admission"]
    held = "" if admission == "open" else f" {admission}"
    flows = f"{queue['flows']}f"
    what = escaped(f"{queue['queue_id']} {text(queue['class'])}{mark}{held}")
    first = Text(set_cell_size(what, CELL - len(flows)) + flows, style="bold" if queue["exclusive"] else "")
    rates = f"{rate(load)} of {rate(capacity)}" if capacity else rate(load)
    return [
        first,
        Text.assemble(_bar(part, CELL - len(number), style), number),
        line(set_cell_size(rates, CELL), "dim"),
    ]


def _bar(part: float, cells: int, style: str) -> Text:
    filled = round(min(max(part, 0.0), 1.0) * cells)
    return Text.assemble(("█" * filled, style), ("░" * (cells - filled), "dim"))


# ---- tables, for the flows and for a pipe


def _places(item: Answer) -> str:
    return " ".join(f"{place['port']}:{text(place['queue_id'])}" for place in item["assignments"])


def _size(octets: int) -> str:
    """Write a number of bytes with a decimal prefix."""
    value, unit = float(octets), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.3g}{unit}"


FLOW_COLUMNS = (
    Column("FLOW", flow_text),
    Column("VM", lambda item: text(item["vm_name"]), 2),
    Column("CLASS", lambda item: item["class"], 2),
    Column("RATE", lambda item: rate(item["rate"]), 1, right=True),
    Column("LIMIT", lambda item: rate(item["limit"]), 5, right=True),
    Column("QUEUE", _places, 1),
    Column("BYTES", lambda item: _size(item["bytes"]), 4, right=True),
    Column("PACKETS", lambda item: str(item["packets"]), 6, right=True),
    Column("AGE", lambda item: age(item["first_seen"]), 3, right=True),
    Column("IDLE", lambda item: age(item["last_active"]), 5, right=True),
)

LANE_COLUMNS = (
    Column("DEVICE", lambda item: item["device_name"]),
    Column("PORT", lambda item: item["port"]),
    Column("QUEUE", lambda item: str(item["queue_id"]), right=True),
    Column("KIND", lambda item: item["kind"]),
    Column("CLASS", lambda item: text(item["class"])),
    Column("EXCLUSIVE", lambda item: "yes" if item["exclusive"] else "-"),
    Column("FLOWS", lambda item: str(item["flows"]), right=True),
    Column("LOAD", lambda item: rate(item["load"]), right=True),
    Column("CAPACITY", lambda item: rate(item["capacity"]), right=True),
    Column("FILL", lambda item: percent(float(item["load"]), item["capacity"]), right=True),
)


def tables(snapshot: Snapshot, look: Look, width: int) -> RenderableType:
    """Draw what a pipe or a file gets: the same as tables."""
    rows: list[Mapping[str, Any]] = [
        {**queue, "device_name": lane.device, "capacity": capacity_of(lane, queue)}
        for lane in snapshot.lanes
        for queue in lane.queues
    ]
    return Group(
        *header(snapshot.status, look, width),
        line(""),
        table(LANE_COLUMNS, rows, width),
        line(""),
        table(FLOW_COLUMNS, snapshot.flows, width),
    )
