"""The simulated host and the flows of ``flowlane plan`` and ``flowlane simulate``, as their options describe them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flowlane.cli.arguments import MAX_QUEUES, positive_rate, whole_number
from flowlane.simulation.capture import read_capture
from flowlane.simulation.flowfile import read_flows
from flowlane.simulation.host import Host

if TYPE_CHECKING:
    import argparse

    from flowlane.simulation.flowspec import FlowSpec


def add_host_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that describe the simulated host, and those of the output."""
    queues = whole_number(0, MAX_QUEUES, "number of queues")
    parser.add_argument("--queues", type=queues, default=4, help="physical queues of the uplink (default 4)")
    parser.add_argument(
        "--software-queues", type=queues, default=0, help="software queues beside them (default 0)"
    )
    parser.add_argument(
        "--uplink",
        type=positive_rate,
        metavar="RATE",
        default="10Gbit/s",
        help="capacity of the uplink (default 10Gbit/s)",
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write a plot, as .png or .svg")
    parser.add_argument("--json", action="store_true", help="print JSON")


def read_workload(flows: Path | None, capture: Path | None) -> tuple[list[FlowSpec], str]:
    """Read flows from a file or a capture: (flows, a remark about the capture, or nothing).

    Raises:
        RequestError: the file cannot be read; the text names the place.
    """
    if capture is not None:
        specs, other = read_capture(capture)
        return specs, f"{other} packets belong to no flow that was kept" if other else ""
    assert flows is not None
    return read_flows(flows), ""


def host_for(args: argparse.Namespace, flows: list[FlowSpec]) -> Host:
    """Make the host that the options describe, with the VMs of the flows."""
    return Host(tuple(sorted({flow.vm for flow in flows})), args.queues, args.software_queues, args.uplink)
