"""``flowlane queues``: of one device, or of all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowlane.cli.client import Client, get, pages
from flowlane.cli.listing import add_output, show_lists
from flowlane.cli.tables import Column, rate, text

if TYPE_CHECKING:
    import argparse

BAR = 10
"""Cells of the bar that shows how full a queue is."""


def _fill(item: Any) -> str:
    """Load over the queue's maximum rate, as a bar; nothing where the rate is unknown."""
    if not item["max_rate"]:
        return "-"
    cells = round(min(float(item["load"]) / float(item["max_rate"]), 1.0) * BAR)
    return "█" * cells + "░" * (BAR - cells)


COLUMNS = (
    Column("DEVICE", lambda item: item["device_name"] or item["device"], 3),
    Column("PORT", lambda item: item["port"]),
    Column("QUEUE", lambda item: str(item["queue_id"]), right=True),
    Column("KIND", lambda item: item["kind"], 2),
    Column("FLOWS", lambda item: str(item["flows"]), right=True),
    Column("LOAD", lambda item: rate(item["load"]), right=True),
    Column("FILL", _fill, 4),
    Column("MIN", lambda item: rate(item["min_rate"]), 6, right=True),
    Column("MAX", lambda item: rate(item["max_rate"]), 5, right=True),
    Column("CLASS", lambda item: text(item["class"]), 3),
    Column("ALONE", lambda item: "yes" if item["exclusive"] else "-", 3),
    Column("SENT", lambda item: text(item["tx_packets"]), 7, right=True),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_output(parser)
    parser.add_argument("--device", help="only this device: its dpid or name")
    parser.add_argument("--port", help="only this port: its name or number")


def run(args: argparse.Namespace) -> int:
    """List the queues."""

    def read(client: Client, at_most: int | None) -> dict[str, Any]:
        query = {"port": args.port} if args.port else {}
        items: list[dict[str, Any]] = []
        for device in pages(client, "/v1/devices", {}, None)["items"]:
            if args.device in (None, device["dpid"], device["name"]):
                found = get(client, f"/v1/devices/{device['dpid']}/queues", query)["items"]
                items += [{**queue, "device_name": device["name"]} for queue in found]
        return {"items": items[:at_most], "next": None}

    return show_lists(args, read, COLUMNS)
