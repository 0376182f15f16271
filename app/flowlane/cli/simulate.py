"""``flowlane simulate``: a workload over time under a policy, through the controller's own engine."""

from __future__ import annotations

import json
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from flowlane.cli.arguments import LARGEST_COUNT, number, whole_number
from flowlane.cli.policy_file import HELP, read_policy
from flowlane.cli.tables import Column, console, table
from flowlane.cli.trial import (
    Workload,
    add_host_arguments,
    host_for,
    progress_bar,
    read_workload,
    require_extras,
    without_garbage_collector,
)
from flowlane.simulation.run import simulate
from flowlane.simulation.workload import KINDS, Shape, generate
from flowlane.units import format_rate

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from flowlane.simulation.run import Sample
    from flowlane.simulation.world import World

COLUMNS = (
    Column("SECOND", lambda item: str(item["second"]), right=True),
    Column("FLOWS", lambda item: str(item["flows"]), right=True),
    Column("BUSIEST", lambda item: format_rate(max(item["loads"].values(), default=0.0)), right=True),
    Column("/ BOUND", lambda item: f"{item['over_bound']:.3f}", right=True),
    Column("MOVES", lambda item: str(item["moves"]), right=True),
    Column("IN HARDWARE", lambda item: f"{item['in_hardware']:.1%}", 2, right=True),
    Column("FAIRNESS", lambda item: f"{item['fairness']:.3f}", 3, right=True),
)
ROWS = 20
"""Rows of the table at most: seconds, evenly spread over the run."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("policy", nargs="?", metavar="POLICY", help=f"{HELP} (default: the built-in policy)")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--workload",
        choices=sorted(KINDS),
        default="web-search",
        help="flows to generate",
    )
    source.add_argument(
        "--flows", type=Path, metavar="FILE", help="recorded flows as CSV or JSON, with start and end"
    )
    source.add_argument("--pcap", type=Path, metavar="FILE", help="a packet capture (pcap or pcapng)")
    positive, part = whole_number(1, 10_000_000), number(0, 10, "part")
    parser.add_argument("--count", type=positive, default=200, help="flows at any time (default 200)")
    parser.add_argument("--vms", type=positive, default=8, help="VMs that send them (default 8)")
    parser.add_argument("--seconds", type=positive, default=60, help="simulated time (default 60)")
    parser.add_argument(
        "--churn", type=part, default=0.02, help="part of the flows replaced each second (default 0.02)"
    )
    parser.add_argument(
        "--load", type=part, default=0.6, help="part of the uplink's capacity that is sent (default 0.6)"
    )
    parser.add_argument(
        "--seed",
        type=whole_number(0, LARGEST_COUNT),
        default=1,
        help="another seed draws other flows (default 1)",
    )
    add_host_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the workload, print the report."""
    require_extras(args)
    workload = _workload(args)
    flows = workload.flows
    with progress_bar() as bar, without_garbage_collector():
        task = bar.add_task("simulating", total=args.seconds, flows=0)

        def show(second: int, world: World) -> None:
            bar.update(task, completed=second, flows=len(world.live))

        world, samples = simulate(read_policy(args.policy), host_for(args, flows), flows, args.seconds, show)
    if args.plot:
        from flowlane.simulation.plots import plot_run  # noqa: PLC0415  only this needs matplotlib

        plot_run(args.plot, samples)
    if args.json:
        print(json.dumps(_report(world, samples, workload), indent=2))
    else:
        _print(world, samples, workload.remark)
    return 0


def _workload(args: argparse.Namespace) -> Workload:
    """Return the flows in the order of their start."""
    if args.flows or args.pcap:
        workload = read_workload(args.flows, args.pcap)
        return workload._replace(flows=sorted(workload.flows, key=attrgetter("start")))
    vms = tuple(f"vm-{number:03d}" for number in range(args.vms))
    shape = Shape(args.count, args.seconds, args.churn, args.load * args.uplink, args.seed)
    return Workload(list(generate(args.workload, shape, vms)), {}, ())


def _report(world: World, samples: Sequence[Sample], workload: Workload) -> dict[str, object]:
    return {
        "samples": [item._asdict() for item in samples],
        "moves": world.counts["move"],
        "pins": world.counts["PinFlow"],
        "left_out": [left._asdict() for left in world.device.left_out],
        "remark": workload.remark,
        "other_packets": workload.others,
        "warnings": workload.warnings,
    }


def _print(world: World, samples: Sequence[Sample], remark: str) -> None:
    out = console()
    step = max(1, len(samples) // ROWS)
    out.print(table(COLUMNS, [item._asdict() for item in samples[step - 1 :: step]], out.width))
    out.print()
    second_half = samples[len(samples) // 2 :]
    out.print(
        f"second half: busiest over lower bound {_mean([s.over_bound for s in second_half]):.3f} on average"
    )
    out.print(f"moves: {world.counts['move']}, exact entries sent: {world.counts['PinFlow']}")
    out.print(f"bytes in hardware: {_mean([s.in_hardware for s in second_half]):.1%}")
    if remark:
        out.print(remark)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
