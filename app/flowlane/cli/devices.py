"""``flowlane devices``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowlane.cli.listing import add_output, run_list
from flowlane.cli.tables import Column, age, text

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable


def _queues(kind: str) -> Callable[[Any], str]:
    """Free of all, such as ``2/4``."""
    return lambda item: f"{item['queues'][kind]['free']}/{item['queues'][kind]['total']}"


def _trouble(item: Any) -> str:
    refused = sum(item["refusals"].values())
    parts = [
        f"{refused} refused" if refused else "",
        f"{len(item['left_out'])} left out" if item["left_out"] else "",
    ]
    return ", ".join(part for part in parts if part) or "-"


COLUMNS = (
    Column("DPID", lambda item: item["dpid"]),
    Column("NAME", lambda item: text(item["name"])),
    Column("ROLE", lambda item: item["role"], 2),
    Column("STATE", lambda item: "up" if item["connected"] else "down"),
    Column("SINCE", lambda item: age(item["since"]), 5),
    Column("OPENFLOW", lambda item: item["version"], 6),
    Column("PORTS", lambda item: str(len(item["ports"])), 6, right=True),
    Column("FREE PHYS", _queues("physical"), 2, right=True),
    Column("FREE SOFT", _queues("software"), 3, right=True),
    Column("FLOWS", lambda item: str(item["flows"]), 1, right=True),
    Column("PINNED", lambda item: str(item["pinned"]), 4, right=True),
    Column("METERS", lambda item: f"{item['meters']}/{item['capabilities']['max_meters']}", 4, right=True),
    Column("TROUBLE", _trouble, 3),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """List the devices."""
    return run_list(args, "/v1/devices", COLUMNS)
