"""Standing rules for a table that is too small for all of them: the general ones stay, the special ones go.

A flow that no standing rule takes would be neither placed nor shown to the controller, so each port's rule for
the rest is worth most; what a special rule was for is then put right by the controller, with a pin.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from flowlane.southbound.openflow.tables import pipeline
from flowlane.southbound.openflow.tables.pipeline import Priority, TableId
from flowlane.southbound.openflow.tables.standing import left_out_rule
from flowlane.southbound.openflow.wire import cookies, fields

if TYPE_CHECKING:
    from flowlane.core.effects import DevicePlan, StandingRule
    from flowlane.core.model import LeftOut
    from flowlane.southbound.openflow.tables.entries import FlowEntry

TABLE_FULL = "OFPFMFC_TABLE_FULL"
_WHY = "the device's table for standing rules is full"
_INSTEAD = "the controller, by a pin for each flow"


def is_rule(entry: FlowEntry) -> bool:
    """Whether the entry is there for a standing rule."""
    parts = cookies.unpack(entry.cookie)
    return entry.table_id == TableId.SPREAD and parts is not None and parts.kind is cookies.Kind.STANDING


def trim(plan: DevicePlan, entries: Iterable[FlowEntry], room: int) -> tuple[DevicePlan, tuple[LeftOut, ...]]:
    """The plan with as many of its rules as a table has room for: the most general first, those with queues first.

    Args:
        entries: all that the plan is compiled to.
        room: how many of the entries that :func:`is_rule` tells fit.
    """
    sizes = Counter(map(_place, filter(is_rule, entries)))
    gone: list[StandingRule] = []
    for rule in sorted(plan.rules, key=lambda rule: (rule.order, -len(rule.queues))):
        size = sizes[rule.order, rule.egress_port]
        if gone or size > room:
            gone.append(rule)
        room -= size
    kept = tuple(rule for rule in plan.rules if rule not in gone)
    return replace(plan, rules=kept), tuple(left_out_rule(rule, _WHY, _INSTEAD) for rule in gone)


def _place(entry: FlowEntry) -> tuple[int, int]:
    """The rule's order and egress port, as its entry tells them."""
    metadata = fields.values(entry.match).get("metadata", 0)
    return entry.priority - Priority.STANDING, pipeline.egress_of(metadata)
