"""``flowlane explain FLOW``: why a flow is where it is, on every device that has it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from rich.padding import Padding

from flowlane.cli.client import Client, RefusedError, connect, get, pages
from flowlane.cli.listing import add_output
from flowlane.cli.tables import Column, age, console, emit, flow_text, rate, show_json, table, text
from flowlane.errors import RequestError

if TYPE_CHECKING:
    import argparse

    from rich.console import Console

_ID = re.compile(r"[0-9a-fA-F]{24,}\Z")
_END = r"(?:\[([^\]]+)\]|([0-9a-fA-F.]+|(?:[0-9a-fA-F]{0,4}:){2,}[0-9a-fA-F.]*))(?::(\d{1,5}))?"
_ENDS = re.compile(_END + r"\s*[->]\s*" + _END + r"\Z")

INDENT = 4
"""Blanks before what belongs to a device."""

AT_MOST = 20
"""Flows that are explained at once."""

COLUMNS = (
    Column("QUEUE", lambda item: str(item["queue_id"]), right=True),
    Column("KIND", lambda item: item["kind"]),
    Column("FLOWS", lambda item: str(item["flows"]), right=True),
    Column("LOAD", lambda item: rate(item["load"]), right=True),
    Column("", lambda item: item["why"] or "taken"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "flow", metavar="FLOW", help="a flow's id, or SRC[:PORT]-DST[:PORT] ([...] around IPv6)"
    )
    add_output(parser, watch=False)


def run(args: argparse.Namespace) -> int:
    """Explain one flow, or the few that fit."""
    client = connect(args.url)
    told = [(flow, get(client, f"/v1/flows/{flow['id']}/explain")) for flow in find_flows(client, args.flow)]
    if args.json:
        show_json([explanation for _, explanation in told])
        return 0
    out = console()
    for flow, explanation in told:
        out.print(flow_text(flow), style="bold")
        out.print(f"  id {flow['id']}  VM {text(flow['vm'])}  rate {rate(flow['rate'])}")
        for device in explanation["devices"]:
            _print_device(out, device)
    return 0


def find_flows(client: Client, wanted: str) -> list[Any]:
    """The flow of an id, or those between two ends.

    Raises:
        RequestError: it is neither an id nor two ends.
        RefusedError: there is no such flow.
    """
    if _ID.match(wanted):
        return [get(client, f"/v1/flows/{wanted}")]
    match = _ENDS.match(wanted.strip())
    if match is None:
        raise RequestError(f"{wanted!r} is neither a flow's id nor SRC[:PORT]-DST[:PORT]")
    parts = match.groups()
    query = {
        "src": parts[0] or parts[1],
        "src_port": parts[2],
        "dst": parts[3] or parts[4],
        "dst_port": parts[5],
    }
    found: list[Any] = pages(client, "/v1/flows", {k: v for k, v in query.items() if v is not None}, AT_MOST)[
        "items"
    ]
    if not found:
        raise RefusedError(f"no flow fits {wanted!r} now", 404)
    return found


def _print_device(out: Console, device: dict[str, Any]) -> None:
    queue = f"queue {device['queue_id']} ({device['kind']})" if device["queue_id"] is not None else "no queue"
    out.print(
        f"\n  on {device['device_name'] or device['device']}: {queue} of {text(device['port'])}", style="bold"
    )
    out.print(f"    since     {age(device['since'])}: {device['reason']}")
    out.print(f"    class     {device['class']}, by {device['rule']}")
    for passed in device["rules_before"]:
        out.print(f"              not {passed['rule']}: {'; '.join(passed['unmet'])}")
    for name in ("hint", "meter", "entry"):
        out.print(f"    {name:<9} {device[name]}")
    if device["not_hardware"]:
        out.print(f"    hardware  no: {device['not_hardware']}")
    for what in device["would_change"]:
        out.print(f"    changes   {what}")
    if device["considered"]:
        indent = (0, 0, 0, INDENT)
        emit(out, Padding(table(COLUMNS, device["considered"], out.width - INDENT), indent, expand=False))
