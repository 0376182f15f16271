"""``flowlane plan``: the queue that a policy gives to each of the given flows, without a switch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from flowlane.cli.long_table import write_table
from flowlane.cli.policy_file import HELP, read_policy
from flowlane.cli.tables import Column, console, line, table, text
from flowlane.cli.trial import (
    Workload,
    add_host_arguments,
    host_for,
    progress_bar,
    read_workload,
    require_extras,
    without_garbage_collector,
)
from flowlane.core.explain import REASONS
from flowlane.core.flowkey import IPV4, IPV6, LAYER2, PROTOCOL_NAMES, format_address
from flowlane.core.model import NO_QUEUE, QueueKind, Reason
from flowlane.simulation.host import UPLINK
from flowlane.simulation.run import sample, simulate
from flowlane.units import format_rate

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from flowlane.simulation.flowspec import FlowSpec
    from flowlane.simulation.world import World

SETTLE = 60
"""Simulated seconds before the result is read: rate conditions are met then, and the queues are balanced."""

LEAST_RATE = 1.0
"""bit/s; a flow that sends nothing would have ended by then."""

_WHERE_KNOWN = {"VLAN": "vlan", "PACKETS": "packets", "BYTES": "octets"}
"""Column that is shown where a flow has something in it -> field of the flow."""

_address_text = lru_cache(maxsize=1 << 14)(format_address)

COLUMNS = (
    Column("VM", lambda item: item["vm"]),
    Column("VLAN", lambda item: text(item["vlan"]), right=True),
    Column("FLOW", lambda item: item["flow"].partition(" in VLAN ")[0]),
    Column("PACKETS", lambda item: text(item["packets"]), 5, right=True),
    Column("BYTES", lambda item: text(item["bytes"]), 5, right=True),
    Column(
        "RATE", lambda item: format_rate(item["rate"]) if item["rate"] is not None else "unknown", right=True
    ),
    Column("CLASS", lambda item: item["class"]),
    Column("QUEUE", lambda item: "-" if item["queue_id"] is None else str(item["queue_id"]), right=True),
    Column("KIND", lambda item: item["kind"], 3),
    Column("METER", lambda item: format_rate(item["limit"]), 3, right=True),
    Column("WHY", lambda item: item["reason"], 4),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("policy", metavar="POLICY", help=HELP)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--flows", type=Path, metavar="FILE", help="flows as CSV or JSON")
    source.add_argument("--pcap", type=Path, metavar="FILE", help="a packet capture (pcap or pcapng)")
    add_host_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Place the flows and print their queues."""
    require_extras(args)
    with without_garbage_collector():
        workload = read_workload(args.flows, args.pcap)
        with progress_bar() as bar:
            task = bar.add_task("placing", total=SETTLE, flows=len(workload.flows))
            world = place(args, workload.flows, lambda second: bar.update(task, completed=second))
        result = describe(world, workload)
        if args.plot:
            _plot(args.plot, result["queues"])
        if args.json:
            _print_json(result)
        else:
            _print(result, workload.flows)
    return 0


def _plot(path: Path, queues: Sequence[dict[str, Any]]) -> None:
    from flowlane.simulation.plots import plot_loads  # noqa: PLC0415  only this needs matplotlib

    loads = {queue["queue_id"]: queue["load"] for queue in queues}
    plot_loads(path, loads, {queue["queue_id"]: queue["kind"] for queue in queues})


def place(args: argparse.Namespace, flows: Sequence[FlowSpec], show: Callable[[int], None]) -> World:
    """Let all flows send until they are where they stay; ``show`` is called with each second."""
    lasting = [flow._replace(start=0.0, end=float("inf"), rate=max(flow.rate, LEAST_RATE)) for flow in flows]
    host = host_for(args, lasting)
    world, _ = simulate(
        read_policy(args.policy), host, lasting, SETTLE, lambda second, _: show(second), each_second=False
    )
    return world


NOTHING_READ = Workload([], {}, ())


def describe(world: World, workload: Workload = NOTHING_READ) -> dict[str, Any]:
    """Describe the result as a JSON-ready object: assignments, queues, figures; rates and loads in bit/s."""
    last = sample(world, int(world.now))
    port = world.device.ports[UPLINK]
    rows = [(number, row) for number in sorted(world.live) if (row := world.row(number)) is not None]
    count = dict.fromkeys(port.queues, 0)
    for _, row in rows:
        queue_id = world.device.flows.queue_id[row]
        if queue_id in count:
            count[queue_id] += 1
    queues = [
        {"queue_id": q, "kind": queue.kind.word, "flows": count[q], "load": last.loads[q]}
        for q, queue in port.queues.items()
    ]
    return {
        "assignments": _Assignments(world, rows),
        "queues": queues,
        "figures": {
            "busiest_over_bound": last.over_bound,
            "fairness": last.fairness,
            "bytes_in_hardware": last.in_hardware,
        },
        "left_out": [left._asdict() for left in world.device.left_out],
        "remark": workload.remark,
        "other_packets": workload.others,
        "warnings": workload.warnings,
    }


class _Assignments(Sequence[dict[str, Any]]):
    """The assignments, each described when it is asked for: 100,000 descriptions would be 100 MB."""

    def __init__(self, world: World, rows: list[tuple[int, int]]) -> None:
        self._world, self._rows = world, rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, index: slice) -> _Assignments: ...

    def __getitem__(self, index: int | slice) -> dict[str, Any] | _Assignments:
        if isinstance(index, slice):
            return _Assignments(self._world, self._rows[index])
        return _assignment(self._world, *self._rows[index])


def _print_json(result: dict[str, Any]) -> None:
    """Print as JSON, with an assignment a line."""
    print("{")
    for key, value in result.items():
        if key == "assignments":
            print('  "assignments": [')
            last = len(value) - 1
            for place, item in enumerate(value):
                print(f"    {json.dumps(item)}{',' if place < last else ''}")
            print("  ],")
        else:
            text = json.dumps(value, indent=2).replace("\n", "\n  ")
            print(f'  "{key}": {text}{"" if key == "warnings" else ","}')
    print("}")


def _assignment(world: World, number: int, row: int) -> dict[str, Any]:
    flow, device = world.live[number], world.device
    flows = device.flows
    queue_id, meter = flows.queue_id[row], device.meters.get(flows.meter_id[row])
    spec = flow.spec
    return {
        "vm": spec.vm,
        "flow": flow_text(spec),
        "vlan": spec.vlan,
        "rate": spec.rate if spec.rate_known else None,
        "packets": spec.packets,
        "bytes": spec.octets,
        "class": device.policy.classes[flows.class_index[row]].name,
        "queue_id": None if queue_id == NO_QUEUE else queue_id,
        "kind": QueueKind(flows.kind[row]).word,
        "limit": meter.rate if meter else None,
        "reason": REASONS[Reason(flows.reason[row])],
    }


def flow_text(spec: FlowSpec) -> str:
    """Write a flow: protocol or ethertype, addresses, ports, VLAN."""
    return ends_text(spec) + ("" if spec.vlan is None else f" in VLAN {spec.vlan}")


def ends_text(spec: FlowSpec) -> str:
    """Write a flow without its VLAN."""
    source, target = _address_text(spec.kind, spec.src), _address_text(spec.kind, spec.dst)
    protocol = PROTOCOL_NAMES.get(spec.protocol, str(spec.protocol))
    if spec.kind == LAYER2:
        return f"0x{spec.src_port:04x} {source} > {target}"
    if spec.is_of_fragments:
        name = f"{protocol} fragments" if spec.kind == IPV4 else "fragments"
        return f"{name} {source} > {target}"
    if spec.kind == IPV6:
        source, target = f"[{source}]", f"[{target}]"
    return f"{protocol} {source}:{spec.src_port} > {target}:{spec.dst_port}"


def _print(result: dict[str, Any], flows: Sequence[FlowSpec]) -> None:
    hidden = {name for name in _WHERE_KNOWN.values() if all(getattr(flow, name) is None for flow in flows)}
    out, figures = console(), result["figures"]
    items = result["assignments"]
    write_table(out, [column for column in COLUMNS if _WHERE_KNOWN.get(column.head, "") not in hidden], items)
    out.print()
    out.print(table(QUEUE_COLUMNS, _with_shares(result["queues"]), out.width))
    out.print()
    out.print(f"busiest hardware queue over the lower bound: {figures['busiest_over_bound']:.3f}")
    out.print(f"bytes in hardware: {figures['bytes_in_hardware']:.1%}")
    for left in result["left_out"]:
        out.print(line(f"left out: {left['what']}: {left['why']} ({left['remedy']})"))
    if result["remark"]:
        out.print(result["remark"])


def _with_shares(queues: list[dict[str, Any]]) -> list[dict[str, Any]]:
    heaviest = max((queue["load"] for queue in queues), default=0.0) or 1.0
    return [{**queue, "share": queue["load"] / heaviest} for queue in queues]


QUEUE_COLUMNS = (
    Column("QUEUE", lambda item: str(item["queue_id"]), right=True),
    Column("KIND", lambda item: item["kind"]),
    Column("FLOWS", lambda item: str(item["flows"]), right=True),
    Column("LOAD", lambda item: format_rate(item["load"]), right=True),
    Column("", lambda item: "█" * round(30 * item["share"]), 3),
)
