"""What a policy would do to the flows that are there: it is put in force on a copy of the engine's state.

What the policy does there takes as long as it would in earnest; the copy takes less.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.device.refresh import on_policy_replaced
from flowlane.core.device.takeover import end_adoption
from flowlane.core.engine import balance
from flowlane.core.events import PolicyReplaced

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowlane.core.effects import Effect
    from flowlane.core.policy import Policy
    from flowlane.core.state.device import State

SETTLING = 10
"""Seconds of balancing, at the rates that flows have now, after which it is read where they are."""

Places = dict[tuple[int, int], tuple[str, int]]
"""(dpid, row) -> class, queue id."""


class Outcome(NamedTuple):
    """Flows of all devices: how many there are, would be of another class, would be on another queue or gone."""

    flows: int
    reclassified: int
    moved: int


def dry_run(state: State, policy: Policy) -> Outcome:
    """Try a policy on a copy; ``state`` is not touched."""
    copied = deepcopy(state, {id(one): one for one in _unchanging(state)})
    before = _places(copied)
    unwanted: list[Effect] = []
    on_policy_replaced(copied, PolicyReplaced(policy), unwanted)
    for _ in range(SETTLING):
        copied.now += 1.0
        for device in copied.devices.values():
            end_adoption(copied, device)
            balance(copied, device, unwanted)
    after = _places(copied)
    return Outcome(
        len(before),
        sum(place in after and after[place][0] != was for place, (was, _) in before.items()),
        sum(place not in after or after[place][1] != was for place, (_, was) in before.items()),
    )


def _places(state: State) -> Places:
    found: Places = {}
    for dpid, device in state.devices.items():
        flows, classes = device.flows, device.policy.classes
        for row in flows:
            found[dpid, row] = classes[flows.class_index[row]].name, flows.queue_id[row]
    return found


def _unchanging(state: State) -> Iterator[object]:
    """What is never changed in place need not be copied; some of it cannot be."""
    yield state.policy
    yield from state.described.values()
    yield from state.vms.values()
    yield from state.hints.values()
    for device in state.devices.values():
        yield from (device.capabilities, device.policy, device.classifier, device.plan, device.described)
        yield from device.reported_ports.values()
        yield from (port.facts for port in device.ports.values())
