"""The choice of standing rules for a table that is too small for all of them: general rules before special ones.

A flow that no standing rule matches is neither placed nor copied to the controller, so each port's most
general rule is the most important. The controller corrects the flows of a special rule that was left out,
with a pin for each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from flowlane.southbound.openflow.tables import pipeline
from flowlane.southbound.openflow.tables.pipeline import TableId
from flowlane.southbound.openflow.tables.standing import left_out_rule
from flowlane.southbound.openflow.wire import cookies, fields

if TYPE_CHECKING:
    from flowlane.core.effects import DevicePlan, StandingRule
    from flowlane.core.model import LeftOut
    from flowlane.southbound.openflow.tables.entries import FlowEntry

TABLE_FULL = "OFPFMFC_TABLE_FULL"
_REASON = "the device's table for standing rules is full"
_FALLBACK = "the controller, by a pin for each flow"


def is_rule(entry: FlowEntry) -> bool:
    """Return whether an entry is that of a standing rule."""
    cookie = cookies.unpack(entry.cookie)
    return entry.table_id == TableId.SPREAD and cookie is not None and cookie.kind is cookies.Kind.STANDING


def trim(plan: DevicePlan, entries: Iterable[FlowEntry], room: int) -> tuple[DevicePlan, tuple[LeftOut, ...]]:
    """Return the plan with as many of its rules as a table has room for, and the rules that were left out.

    The most general rules come first, of equal ones those with more queues.

    Args:
        entries: all entries that the plan is compiled to.
        room: how many of them that are entries of standing rules fit.
    """
    sizes = Counter(map(_rule_of, filter(is_rule, entries)))
    trimmed: list[StandingRule] = []
    for rule in sorted(plan.rules, key=lambda rule: (rule.order, -len(rule.queues))):
        size = sizes[rule.order, rule.egress_port]
        if trimmed or size > room:
            trimmed.append(rule)
        room -= size
    rules = tuple(rule for rule in plan.rules if rule not in trimmed)
    return replace(plan, rules=rules), tuple(left_out_rule(rule, _REASON, _FALLBACK) for rule in trimmed)


def _rule_of(entry: FlowEntry) -> tuple[int, int]:
    """Return order and egress port of an entry's rule."""
    metadata = fields.values(entry.match).get("metadata", 0)
    return cookies.standing_order(entry.cookie), pipeline.egress_of(metadata)
