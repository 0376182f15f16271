"""The simulated host and the flows of ``flowlane plan`` and ``flowlane simulate``, as their options describe them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flowlane.cli.arguments import MAX_QUEUES, positive_rate, rates, whole_number
from flowlane.errors import RequestError
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
    for name in ("max", "min"):
        parser.add_argument(
            f"--{name}-rates",
            type=rates,
            metavar="RATES",
            default=(),
            help=f"{name}-rate of the queues, as in OVSDB: one for all, or one for each with commas between, "
            "- for none",
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
    """Make the host that the options describe, with the VMs of the flows.

    Raises:
        RequestError: there are not as many rates as queues.
    """
    vms = tuple(sorted({flow.vm for flow in flows}))
    count = args.queues + args.software_queues
    highest, lowest = (_for_each(name, getattr(args, f"{name}_rates"), count) for name in ("max", "min"))
    return Host(vms, args.queues, args.software_queues, args.uplink, highest, lowest)


def _for_each(name: str, given: tuple[int | None, ...], count: int) -> tuple[int | None, ...]:
    if len(given) > 1 and len(given) != count:
        raise RequestError(
            f"--{name}-rates: {len(given)} rates for {count} queues; give one, or one for each"
        )
    return given * count if len(given) == 1 else given
