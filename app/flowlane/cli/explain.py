"""``flowlane explain FLOW``: why a flow is on its queue, on every device that has it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rich.padding import Padding

from flowlane.cli.arguments import add_output
from flowlane.cli.client import Answer, Client, RefusedError, client_of, get, pages
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

MAX_FLOWS = 20
"""Flows that are explained at most, where several match."""

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
    """Explain one flow, or the few that match."""
    client = client_of(args)
    explanations = [
        (flow, get(client, f"/v1/flows/{flow['id']}/explain")) for flow in find_flows(client, args.flow)
    ]
    if args.json:
        show_json([explanation for _, explanation in explanations])
        return 0
    out = console()
    for flow, explanation in explanations:
        out.print(flow_text(flow), style="bold")
        out.print(f"  id {flow['id']}  VM {text(flow['vm'])}  rate {rate(flow['rate'])}")
        _print_way(out, explanation["way"])
        for device in explanation["devices"]:
            _print_device(out, device)
    return 0


def find_flows(client: Client, name: str) -> list[Answer]:
    """Find the flow of an id, or those between two ends.

    Raises:
        RequestError: ``name`` is neither an id nor two ends.
        RefusedError: there is no such flow.
    """
    if _ID.match(name):
        return [get(client, f"/v1/flows/{name}")]
    match = _ENDS.match(name.strip())
    if match is None:
        raise RequestError(
            f"{name!r} is neither a flow's id nor SRC[:PORT]-DST[:PORT]; flowlane flows lists flows"
        )
    parts = match.groups()
    ends = {
        "src": parts[0] or parts[1],
        "src_port": parts[2],
        "dst": parts[3] or parts[4],
        "dst_port": parts[5],
    }
    query = {key: value for key, value in ends.items() if value is not None}
    flows: list[Answer] = pages(client, "/v1/flows", query, MAX_FLOWS)["items"]
    if not flows:
        raise RefusedError(f"no flow matches {name!r} now; flowlane flows lists flows", 404)
    return flows


def class_text(device: Answer) -> str:
    """Write a flow's class on a device, and what gives it the class."""
    rule: str = device["rule"]
    return f"{device['class']}, {rule if rule.startswith('the default: ') else f'by {rule}'}"


def _hop_name(hop: Answer) -> str:
    name: str = "?" if hop["device"] is None else hop["device_name"] or hop["device"]
    return name


def _hop_queue(hop: Answer) -> str:
    note: str = hop["note"]
    return text(hop["queue_id"]) if hop["assigned"] else note


WAY_INDENT = 2
"""Blanks before the way of a flow."""

WAY_COLUMNS = (
    Column("WAY", _hop_name),
    Column("IN", lambda hop: text(hop["in_port"])),
    Column("OUT", lambda hop: text(hop["out_port"])),
    Column("QUEUE", _hop_queue),
)


def _print_way(out: Console, hops: list[Answer]) -> None:
    """Print the devices that a flow crosses, in order."""
    emit(out, Padding(table(WAY_COLUMNS, hops, out.width - WAY_INDENT), (0, 0, 0, WAY_INDENT), expand=False))


def _print_device(out: Console, device: Answer) -> None:
    queue = f"queue {device['queue_id']} ({device['kind']})" if device["queue_id"] is not None else "no queue"
    out.print(
        f"\n  on {device['device_name'] or device['device']}: {queue} of {text(device['port'])}", style="bold"
    )
    out.print(f"    since     {age(device['since'])}: {device['reason']}")
    came = device["came_from"]
    if came is not None:
        queue = "no queue" if came["queue_id"] is None else f"queue {came['queue_id']}"
        place = f"{came['device_name'] or came['device']} {text(came['port'])} {queue}"
        out.print(f"    came      from {place}, {age(came['at'])} ago: {came['why']}")
    out.print(f"    class     {class_text(device)}")
    for rule in device["rules_before"]:
        out.print(f"              not {rule['rule']}: {'; '.join(rule['unmet'])}")
    for name in ("hint", "meter", "entry"):
        out.print(f"    {name:<9} {device[name]}")
    if device["not_hardware"]:
        out.print(f"    hardware  no: {device['not_hardware']}")
    for change in device["would_change"]:
        out.print(f"    changes   {change}")
    for path in device["other_paths"]:
        place = f"{path['vm']} on {path['device_name'] or path['device']}"
        out.print(f"    other     {place} ({path['port']}): {path['note']}")
    if device["considered"]:
        indent = (0, 0, 0, INDENT)
        emit(out, Padding(table(COLUMNS, device["considered"], out.width - INDENT), indent, expand=False))
