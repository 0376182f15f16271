"""Demands without their rates, stored once however many flows make them.

The flows of one class and VM ask for the same; a row keeps the number of its profile (4 bytes).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowlane.core.allocate.model import Demand
    from flowlane.core.allocate.state import PortState


def hold(state: PortState, demand: Demand) -> int:
    """The profile number of a demand; one reference more."""
    key = demand[1:]
    number = state.profiles.get(key)
    if number is None:
        number = _new(state, demand)
        state.profiles[key] = number
    state.references[number] += 1
    return number


def release(state: PortState, number: int) -> None:
    """One reference less; the number of a profile that nobody uses is used again."""
    state.references[number] -= 1
    if state.references[number] == 0:
        del state.profiles[state.demands[number][1:]]
        state.free_profiles.append(number)


def demand_of(state: PortState, row: int) -> Demand:
    """What a placed row asked for; the rate in it is that of the first flow that asked so."""
    return state.demands[state.columns.profile[row]]


def _new(state: PortState, demand: Demand) -> int:
    if state.free_profiles:
        number = state.free_profiles.pop()
        state.demands[number] = demand
        return number
    state.demands.append(demand)
    state.references.append(0)
    return len(state.demands) - 1
