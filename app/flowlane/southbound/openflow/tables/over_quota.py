"""Entries for packets of VMs beyond their quotas: a short way to the queue and the limits of the standing rules.

What such a VM floods the switch with may be a decision for each packet, under NORMAL too: of unknown ethertypes and
source addresses each one has a cache entry of its own. So its packets meet as few tables as can be
(:func:`short_ways`): table assign has the standing rules of the VM alone, and leads to table output. Nothing is looked
up in tables seen, spread and learn. A rule with several queues gives the VM one of them: a select group would take
each packet through the datapath twice, with a decision each time (dp_hash), or look at addresses and ports.

Where that is too many entries, two for each VM lead its packets past pins and learned entries to table spread
(:func:`long_ways`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from flowlane.core.model import NO_PORT
from flowlane.southbound.openflow.tables import matches, pipeline, young
from flowlane.southbound.openflow.tables.entries import FlowEntry, Goto, Step, flow
from flowlane.southbound.openflow.tables.pipeline import Priority, TableId
from flowlane.southbound.openflow.wire import cookies
from flowlane.southbound.openflow.wire.fields import match
from flowlane.southbound.openflow.wire.nicira import QUEUE, Load

if TYPE_CHECKING:
    from flowlane.core.effects import DevicePlan, StandingRule
    from flowlane.core.model import Capabilities
    from flowlane.southbound.openflow.wire.fields import Match

MAX_SHORT = 1024
"""Entries of all short ways of a device; VMs for which there is no room take the long way."""

_COOKIE = cookies.pack(cookies.Kind.INFRASTRUCTURE)
_TO_OUTPUT = Goto(TableId.OUTPUT)
_LAST_PRIORITY = 0xFFFF


def short_ways(
    plan: DevicePlan, capabilities: Capabilities, rules: Iterable[StandingRule]
) -> dict[int, tuple[FlowEntry, ...]]:
    """Make the entries of table assign for VMs beyond their quotas, by the number of the VM.

    Args:
        rules: the standing rules as the device can have them.
    """
    ways: dict[int, tuple[FlowEntry, ...]] = {}
    room = MAX_SHORT
    for number in plan.over_quota:
        entries = _short_way(number, capabilities, rules, room)
        if entries is not None:
            ways[number] = entries
            room -= len(entries)
    return ways


def _short_way(
    number: int, capabilities: Capabilities, rules: Iterable[StandingRule], room: int
) -> tuple[FlowEntry, ...] | None:
    """Make the entries of one VM; None where it takes more than there is room for.

    The first one is for packets that no rule matches. Of equal matches the first is kept, as in table spread.
    """
    terms = match(metadata=pipeline.sender(number))
    entries: dict[tuple[int, Match], FlowEntry] = {
        (Priority.OVER_QUOTA, terms): _entry(Priority.OVER_QUOTA, terms, _TO_OUTPUT)
    }
    for rule in rules:
        if rule.match.vm_numbers and number not in rule.match.vm_numbers:
            continue
        priority = Priority.OVER_QUOTA_RULE + rule.order
        if priority > _LAST_PRIORITY:
            return None
        own = rule.match._replace(vm_numbers=(number,))
        try:
            own_matches = matches.matches(own, rule.egress_port, capabilities.port_masks, ip_frag=True)
        except matches.CannotExpressError:
            continue  # Nor has table spread the rule, and it was reported there.
        steps = tuple(_steps(rule, number))
        for terms in own_matches:
            entries.setdefault((priority, terms), _entry(priority, terms, *steps))
        if len(entries) > room:
            return None
    return tuple(entries.values())


def _steps(rule: StandingRule, number: int) -> Iterator[Step]:
    """Yield what is done with a VM's packets that a rule matches: its limit, and always the same one of its queues."""
    yield from young.limit_steps(rule.meter_id)
    if rule.queues and rule.egress_port != NO_PORT:
        queue_ids = sorted(queue_id for queue_id, _ in rule.queues)
        yield Load(QUEUE, queue_ids[number % len(queue_ids)] + 1)
    yield _TO_OUTPUT


def long_ways(numbers: Iterable[int]) -> Iterator[FlowEntry]:
    """Yield the entries for packets of VMs without a short way: to the standing rules, and to no copy or learned entry.

    They match on nothing but the VM and come before all others of their tables, so that the switch looks at no address
    or port for them, and one entry of its cache serves all their flows (ovs-fields(7); lib/classifier.c).
    """
    for number in numbers:
        terms = match(metadata=pipeline.sender(number))
        yield _entry(Priority.OVER_QUOTA, terms, Goto(TableId.SPREAD))
        yield flow(TableId.LEARN, Priority.NOT_FOLLOWED, terms, (_TO_OUTPUT,), _COOKIE)


def _entry(priority: int, terms: Match, *steps: Step) -> FlowEntry:
    return flow(TableId.ASSIGN, priority, terms, steps, _COOKIE)
