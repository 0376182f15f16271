"""Builder of section ``passive-switches``."""

from __future__ import annotations

from typing import Any

from flowlane.closest import did_you_mean
from flowlane.core.marks import NO_MARK, marking
from flowlane.core.model import Queue
from flowlane.core.policy import Behind, PassivePort, PassiveSwitch, QueuesBy
from flowlane.policy.context import Context
from flowlane.policy.document import Path, shown
from flowlane.policy.marks import read_keep_marks, read_marks
from flowlane.units import parse_rate


def build_passive_switches(context: Context) -> tuple[PassiveSwitch, ...]:
    """Build the passive switches that keep to the schema."""
    context.unique_names("passive-switches")
    return tuple(_build(context, path, entry) for path, entry in context.entries("passive-switches"))


def _build(context: Context, path: Path, entry: dict[str, Any]) -> PassiveSwitch:
    by = QueuesBy(entry["queues-by"])
    marks, keep = read_marks(context, path, entry, by), read_keep_marks(context, path, entry, by)
    ports = tuple(_port(context, (*path, "ports", place), port) for place, port in enumerate(entry["ports"]))
    names = [port.name for port in ports]
    for place, name in enumerate(names):
        if name in names[:place]:
            context.report(
                (*path, "ports", place, "name"), f"{shown(name)} is the name of another port", "rename it"
            )
    made = marking(by, marks, keep)
    for place, port in enumerate(ports):
        without = [queue.queue_id for queue in port.queues if made.mark_of(queue.queue_id) == NO_MARK]
        if without:
            message = f"no {by.upper()} is mapped to queue {', '.join(map(str, without))}"
            context.report((*path, "ports", place, "queues"), message, "add one for each to marks")
    behind = tuple(
        _behind(context, (*path, "behind", place), item, names) for place, item in enumerate(entry["behind"])
    )
    return PassiveSwitch(entry["name"], by, ports, behind, marks, keep)


def _port(context: Context, path: Path, entry: dict[str, Any]) -> PassivePort:
    queues = []
    for number, rates in entry["queues"].items():
        least, most = (parse_rate(rates[key]) if key in rates else None for key in ("min-rate", "max-rate"))
        if least is not None and most is not None and least > most:
            context.report(
                (*path, "queues", number), "min-rate is more than max-rate", "swap them", "min-rate"
            )
        queues.append(Queue(int(number), min_rate=least, max_rate=most))
    rate = parse_rate(entry["rate"]) if "rate" in entry else None
    return PassivePort(entry["name"], tuple(queues), rate)


def _behind(context: Context, path: Path, entry: dict[str, Any], names: list[str]) -> Behind:
    leaves_by = entry.get("leaves-by", names[0])
    if leaves_by not in names:
        message = f"the switch has no port {shown(leaves_by)}"
        context.report((*path, "leaves-by"), message, did_you_mean(leaves_by, names))
        leaves_by = names[0]
    return Behind(entry["device"], entry["port"], names.index(leaves_by))
