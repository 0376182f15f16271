"""The simulated host and the flows of ``flowlane plan`` and ``flowlane simulate``, as their options describe them."""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from flowlane.cli.arguments import MAX_QUEUES, positive_rate, rates, whole_number
from flowlane.errors import RequestError
from flowlane.extras import require
from flowlane.simulation.capture import read_capture
from flowlane.simulation.flowfile import read_flows
from flowlane.simulation.host import Host
from flowlane.stdio import print_error
from flowlane.units import counted

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

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


class Workload(NamedTuple):
    """Flows to place.

    Attributes:
        others: kind -> packets of a capture that are of no flow.
        warnings: what is wrong with the file, or left out of it.
    """

    flows: list[FlowSpec]
    others: Mapping[str, int]
    warnings: tuple[str, ...]

    @property
    def remark(self) -> str:
        """What to say of the packets that are of no flow; nothing where there are none."""
        count = sum(self.others.values())
        if not count:
            return ""
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(self.others.items()))
        return f"{counted(count, 'packet')} of no VM's flow: {kinds}"


def require_extras(args: argparse.Namespace) -> None:
    """Check that what the options need is installed, before work begins.

    Raises:
        MissingPackageError: a package is missing.
    """
    if args.plot is not None:
        require("--plot", "matplotlib")


def read_workload(flows: Path | None, capture: Path | None) -> Workload:
    """Read flows from a file or a capture; warnings go to standard error, too.

    Raises:
        RequestError: the file cannot be read; the text names the place.
    """
    if capture is None:
        assert flows is not None
        workload = Workload(read_flows(flows), {}, ())
    else:
        workload = Workload(*read_capture(capture))
    if not workload.flows:
        warning = f"{flows or capture}: no flow was found"
        workload = workload._replace(warnings=(*workload.warnings, warning))
    for warning in workload.warnings:
        print_error(f"flowlane: warning: {warning}")
    return workload


def progress_bar() -> Progress:
    """Make the bar that shows simulated seconds on standard error, where that is a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[flows]} flows"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())


@contextmanager
def without_garbage_collector() -> Iterator[None]:
    """Keep Python from looking for cycles in a simulation: there are next to none, and objects by the million.

    Those that are left are not looked at later either, when the program ends.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


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
            f"--{name}-rates: {len(given)} rates for {counted(count, 'queue')}; give one, or one for each"
        )
    return given * count if len(given) == 1 else given
