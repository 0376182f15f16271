"""``flowlane pin`` and ``flowlane unpin``: put a flow on a queue by hand, for a time, and take that back."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from flowlane.cli.arguments import add_output, format_of, positive_duration, whole_number
from flowlane.cli.client import Answer, RefusedError, client_of, delete, pages, send
from flowlane.cli.flow_argument import HELP as FLOW
from flowlane.cli.flow_argument import find_flow
from flowlane.cli.output import show_data
from flowlane.cli.tables import Column, age, console, emit, flow_text, line, table, text
from flowlane.errors import RequestError

if TYPE_CHECKING:
    import argparse

HOUR = 3600.0
"""Seconds that a pin lasts without ``--for``."""

LAST_QUEUE = 0xFFFFFFFE
"""Largest queue id of OpenFlow."""

COLUMNS = (
    Column("FLOW", lambda item: item["flow"], 2),
    Column("DEVICE", lambda item: item["device_name"] or item["device"]),
    Column("PORT", lambda item: text(item["port"])),
    Column("QUEUE", lambda item: str(item["queue_id"]), right=True),
    Column("SINCE", lambda item: age(item["since"]), right=True),
    Column("EXPIRES", lambda item: item["expires"]),
    Column("IN FORCE", lambda item: "yes" if item["in_force"] else "no"),
)


class Pin:
    """``flowlane pin FLOW QUEUE``; ``--remove`` takes the pin back."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("flow", metavar="FLOW", help=FLOW)
        parser.add_argument(
            "queue",
            metavar="QUEUE",
            nargs="?",
            type=whole_number(0, LAST_QUEUE, "queue id"),
            help="a queue of the port by which the flow leaves the device",
        )
        _add_device(parser)
        parser.add_argument(
            "--for",
            dest="lifetime",
            type=positive_duration,
            default=HOUR,
            metavar="TIME",
            help="how long, such as 10min or 8h (default 1h)",
        )
        parser.add_argument("--remove", action="store_true", help="take the pin back, as flowlane unpin does")
        add_output(parser, watch=False)

    def run(self, args: argparse.Namespace) -> int:
        """Pin the flow, and show its pins."""
        if args.remove:
            return _release(args)
        if args.queue is None:
            raise RequestError("QUEUE is missing: flowlane queues lists the queues")
        client = client_of(args)
        flow = find_flow(client, args.flow)
        body = {"queue_id": args.queue, "lifetime": args.lifetime}
        if args.device is not None:
            body["device"] = args.device
        answer = send(client, "PUT", f"/v1/flows/{flow['id']}/pin", json=body)
        form = format_of(args)
        if form is not None:
            show_data(lambda: answer, form)
            return 0
        out = console()
        out.print(line(flow_text(flow), "bold"))
        emit(out, table(COLUMNS, answer["pins"], out.width))
        return 0


class Unpin:
    """``flowlane unpin FLOW``."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("flow", metavar="FLOW", help=FLOW)
        _add_device(parser)
        add_output(parser, watch=False)

    def run(self, args: argparse.Namespace) -> int:
        """Take the pins of the flow back."""
        return _release(args)


PIN, UNPIN = Pin(), Unpin()


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", metavar="DEVICE", help="on this device of the flow's way: its dpid or name"
    )


def _release(args: argparse.Namespace) -> int:
    """Take the pins of a flow back; the flow itself may have ended."""
    client = client_of(args)
    try:
        flow_id = find_flow(client, args.flow)["id"]
    except RefusedError:
        pinned = {item["flow"] for item in pages(client, "/v1/pins", {}, None)["items"]}
        if args.flow.lower() not in pinned:
            raise
        flow_id = args.flow.lower()
    query = "" if args.device is None else "?" + urlencode({"device": args.device})
    delete(client, f"/v1/flows/{flow_id}/pin{query}")
    form = format_of(args)
    if form is not None:
        show_data(lambda: Answer(flow=flow_id, pins=[]), form)
    return 0
