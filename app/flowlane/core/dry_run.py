"""Dry run of a policy: it is applied to a copy of the engine's state, and flows are compared before and after.

Applying the policy to the copy takes as long as applying it to the state would, and copying takes nearly as long again.
So the controller tries a policy in a copy of its process (:func:`flowlane.hub.in_child`), which has the state too.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.device.refresh import on_catch_up, on_policy_replaced
from flowlane.core.device.takeover import end_adoption
from flowlane.core.engine import balance
from flowlane.core.events import CatchUp, PolicyReplaced

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowlane.core.effects import Effect
    from flowlane.core.policy import Policy
    from flowlane.core.state.device import State

SETTLING = 10
"""Seconds of rebalancing at the present rates of flows, before they are compared."""

Places = dict[tuple[int, int], tuple[str, int]]
"""(dpid, row) -> class, queue id."""


class Outcome(NamedTuple):
    """Result of a dry run: flows of all devices; those with another class; those on another queue or gone."""

    flows: int
    reclassified: int
    moved: int


def dry_run(state: State, policy: Policy) -> Outcome:
    """Apply a policy to a copy of the state, and count the flows that it changes."""
    return try_policy(deepcopy(state, {id(item): item for item in _immutable(state)}), policy)


def try_policy(state: State, policy: Policy) -> Outcome:
    """Apply a policy to a state that nobody else needs, and count the flows that it changes."""
    before = _places(state)
    unwanted: list[Effect] = []
    on_policy_replaced(state, PolicyReplaced(policy), unwanted)
    while state.due or state.refits:
        on_catch_up(state, CatchUp(), unwanted)
    for _ in range(SETTLING):
        state.now += 1.0
        for device in state.devices.values():
            end_adoption(state, device, unwanted)
            balance(state, device, unwanted)
        unwanted.clear()
    after = _places(state)
    return Outcome(
        len(before),
        sum(flow in after and after[flow][0] != old for flow, (old, _) in before.items()),
        sum(flow not in after or after[flow][1] != old for flow, (_, old) in before.items()),
    )


def _places(state: State) -> Places:
    places: Places = {}
    for dpid, device in state.devices.items():
        flows, classes = device.flows, device.policy.classes
        for row in flows:
            places[dpid, row] = classes[flows.class_index[row]].name, flows.queue_id[row]
    return places


def _immutable(state: State) -> Iterator[object]:
    """List what is never changed in place, and need not be copied; some of it cannot be."""
    yield state.policy
    yield from state.described.values()
    yield from state.vms.values()
    yield from state.hints.values()
    for device in state.devices.values():
        yield from (device.capabilities, device.policy, device.classifier, device.plan, device.described)
        yield from device.reported_ports.values()
        yield from (port.facts for port in device.ports.values())
