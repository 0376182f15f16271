"""What ``flowlane plan`` and ``flowlane simulate`` have in common: the policy, the simulated host, the results."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from flowlane.errors import RequestError
from flowlane.policy import default, load_file
from flowlane.simulation.capture import read_capture
from flowlane.simulation.flowfile import read_flows
from flowlane.simulation.host import Host
from flowlane.units import parse_rate

if TYPE_CHECKING:
    from flowlane.core.policy import Policy
    from flowlane.simulation.flowspec import FlowSpec

MOST_QUEUES = 61_440
"""HTB's and HFSC's highest queue id in Open vSwitch, and one (netdev-linux.c)."""


def add_host_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that describe the simulated host."""
    parser.add_argument("--queues", type=_count, default=4, help="physical queues of the uplink (default 4)")
    parser.add_argument(
        "--software-queues", type=_count, default=0, help="software queues beside them (default 0)"
    )
    parser.add_argument(
        "--uplink", type=_rate, default="10Gbit/s", help="what the uplink carries (default 10Gbit/s)"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write a plot, as .png or .svg")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _count(text: str) -> int:
    if not text.isdigit() or int(text) > MOST_QUEUES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of queues from 0 to {MOST_QUEUES}")
    return int(text)


def _rate(text: str) -> int:
    try:
        return parse_rate(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def read_policy(path: Path | None) -> Policy:
    """Read the policy to try; without one, the built-in policy.

    Raises:
        PolicyError: it is refused.
        RequestError: the file cannot be read.
    """
    if path is None:
        return default()
    try:
        return load_file(path)
    except OSError as error:
        raise RequestError(f"{path}: {error}") from None


def read_workload(flows: Path | None, capture: Path | None) -> tuple[list[FlowSpec], str]:
    """Read the flows to try, and what has to be said of them.

    Raises:
        RequestError: the file cannot be read; the text names the place.
    """
    if capture is not None:
        found, other = read_capture(capture)
        return found, f"{other} packets belong to no flow that was kept" if other else ""
    assert flows is not None
    return read_flows(flows), ""


def host_for(args: argparse.Namespace, flows: list[FlowSpec]) -> Host:
    """The host that has the flows' VMs."""
    return Host(tuple(sorted({flow.vm for flow in flows})), args.queues, args.software_queues, args.uplink)
