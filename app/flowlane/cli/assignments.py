"""``flowlane assignments``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowlane.cli.listing import FILTERS, add_filters, add_output, run_list
from flowlane.cli.tables import Column, age, flow_text, rate, text

if TYPE_CHECKING:
    import argparse


def _meter(item: Any) -> str:
    return f"{item['meter']['id']} ({rate(item['meter']['rate'])})" if item["meter"] else "-"


COLUMNS = (
    Column("FLOW", flow_text),
    Column("VM", lambda item: text(item["vm"]), 3),
    Column("CLASS", lambda item: item["class"], 2),
    Column("DEVICE", lambda item: item["device"], 7),
    Column("PORT", lambda item: text(item["port"]), 4),
    Column("QUEUE", lambda item: text(item["queue_id"]), right=True),
    Column("KIND", lambda item: item["kind"], 3),
    Column("METER", _meter, 3),
    Column("RATE", lambda item: rate(item["rate"]), 2, right=True),
    Column("REASON", lambda item: item["reason"], 2),
    Column("SINCE", lambda item: age(item["since"]), 5, right=True),
    Column("ID", lambda item: item["flow"], 8),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_output(parser)
    add_filters(parser, tuple(FILTERS))


def run(args: argparse.Namespace) -> int:
    """List the assignments."""
    return run_list(args, "/v1/assignments", COLUMNS)
