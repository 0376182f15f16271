"""``flowlane explain FLOW``: why a flow is on its queue, on every device that has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.padding import Padding

from flowlane.cli.arguments import add_output, format_of
from flowlane.cli.client import Answer, client_of, get_all
from flowlane.cli.flow_argument import add_flow, find_flows, flow_name
from flowlane.cli.output import show_data
from flowlane.cli.tables import Column, age, console, emit, flow_text, line, rate, table, text

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from rich.console import Console

INDENT = 4
"""Blanks before what belongs to a device."""

COLUMNS = (
    Column("QUEUE", lambda item: str(item["queue_id"]), right=True),
    Column("KIND", lambda item: item["kind"]),
    Column("FLOWS", lambda item: str(item["flows"]), right=True),
    Column("LOAD", lambda item: rate(item["load"]), right=True),
    Column("", lambda item: item["why"] or "taken"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_flow(parser)
    add_output(parser, watch=False)


def run(args: argparse.Namespace) -> int:
    """Explain one flow, or the few that match."""
    client, form = client_of(args), format_of(args)
    explanations = [
        (flow, _joined(get_all(client, f"/v1/flows/{flow['id']}/explain")))
        for flow in find_flows(client, flow_name(args))
    ]
    if form is not None:
        show_data(lambda: [explanation for _, explanation in explanations], form)
        return 0
    out = console()
    for flow, explanation in explanations:
        out.print(line(flow_text(flow), "bold"))
        out.print(line(f"  id {flow['id']}  VM {vm_text(flow)}  rate {rate(flow['rate'])}"))
        _print_way(out, explanation["way"])
        for device in explanation["devices"]:
            _print_device(out, device)
    return 0


def _joined(answers: list[Answer]) -> Answer:
    """Put the explanations of several controllers together, each of the devices that it leads."""
    first = answers[0]
    if len(answers) == 1:
        return first
    led = [
        {device for member in answer.get("members", ()) for device in member["devices"]} for answer in answers
    ]
    devices = [
        device
        for answer, elsewhere in zip(answers, led, strict=True)
        for device in answer["devices"]
        if device["device"] not in elsewhere
    ]
    way = max((answer["way"] for answer in answers), key=lambda hops: sum(hop["assigned"] for hop in hops))
    return Answer(first, way=way, devices=devices)


def vm_text(flow: Answer) -> str:
    """Write the VM of a flow: its name, and its id where that is another."""
    name, vm_id = flow["vm_name"] or flow["vm"], flow["vm"]
    return text(name) if name == vm_id else f"{name} ({vm_id})"


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
    out.print()
    out.print(
        line(f"  on {device['device_name'] or device['device']}: {queue} of {text(device['port'])}", "bold")
    )
    for row in _lines(device):
        out.print(line(f"    {row}"))
    if device["considered"]:
        indent = (0, 0, 0, INDENT)
        emit(out, Padding(table(COLUMNS, device["considered"], out.width - INDENT), indent, expand=False))


def _lines(device: Answer) -> Iterator[str]:
    """Yield what explains a flow's place on a device, line by line."""
    yield f"since     {age(device['since'])}: {device['reason']}"
    came = device["came_from"]
    if came is not None:
        queue = "no queue" if came["queue_id"] is None else f"queue {came['queue_id']}"
        place = f"{came['device_name'] or came['device']} {text(came['port'])} {queue}"
        yield f"came      from {place}, {age(came['at'])} ago: {came['why']}"
    yield f"class     {class_text(device)}"
    for rule in device["rules_before"]:
        yield f"          not {rule['rule']}: {'; '.join(rule['unmet'])}"
    for name in ("hint", "meter", "entry"):
        yield f"{name:<9} {device[name]}"
    if device["not_hardware"]:
        yield f"hardware  no: {device['not_hardware']}"
    for change in device["would_change"]:
        yield f"changes   {change}"
    for path in device["other_paths"]:
        place = f"{path['vm']} on {path['device_name'] or path['device']}"
        yield f"other     {place} ({path['port']}): {path['note']}"
