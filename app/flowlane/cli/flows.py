"""``flowlane flows``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowlane.cli.listing import add_filters, add_output, run_list
from flowlane.cli.tables import Column, age, flow_text, rate, text

if TYPE_CHECKING:
    import argparse


def _where(item: Any) -> str:
    """Where each device has it: ``uplink:3`` for queue 3 of that port."""
    return " ".join(f"{place['port']}:{text(place['queue_id'])}" for place in item["assignments"])


def _hint(item: Any) -> str:
    return f"{item['hint']['class']} ({item['hint']['source']})" if item["hint"] else "-"


COLUMNS = (
    Column("FLOW", flow_text),
    Column("VM", lambda item: text(item["vm"]), 3),
    Column("CLASS", lambda item: item["class"], 2),
    Column("RATE", lambda item: rate(item["rate"]), 1, right=True),
    Column("LIMIT", lambda item: rate(item["limit"]), 4, right=True),
    Column("HINT", _hint, 6),
    Column("QUEUE", _where),
    Column("AGE", lambda item: age(item["first_seen"]), 5, right=True),
    Column("IDLE", lambda item: age(item["last_active"]), 6, right=True),
    Column("ID", lambda item: item["id"], 7),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_output(parser)
    add_filters(parser, ("device", "vm", "class", "proto", "src", "dst", "src-port", "dst-port"))


def run(args: argparse.Namespace) -> int:
    """List the flows."""
    return run_list(args, "/v1/flows", COLUMNS)
