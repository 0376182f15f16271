"""``flowlane vms``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.cli.listing import add_filters, add_output, run_list
from flowlane.cli.tables import Column, text

if TYPE_CHECKING:
    import argparse

COLUMNS = (
    Column("NAME", lambda item: item["name"]),
    Column("ID", lambda item: item["id"], 4),
    Column("DEVICE", lambda item: item["device"], 3),
    Column("PORT", lambda item: item["port"]),
    Column("MACS", lambda item: text(" ".join(item["macs"])), 2),
    Column("KNOWN BY", lambda item: item["source"], 5),
    Column("FLOWS", lambda item: str(item["flows"]), right=True),
    Column("HINTS", lambda item: str(item["hints"]), 4, right=True),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_output(parser)
    add_filters(parser, ("device",))


def run(args: argparse.Namespace) -> int:
    """List the VMs."""
    return run_list(args, "/v1/vms", COLUMNS)
