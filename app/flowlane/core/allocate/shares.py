"""Shares of the hardware: how many queues the VMs of each share get [0056], by weight and, to one queue, by demand.

Weights that sum to 1 or less are parts of the whole, and VMs without a share have the rest. Larger weights are relative
to each other, and to 1 for the VMs without a share while these have flows. Every share has the whole queues of its
part; what is left of the parts is given out queue by queue, where the load per queue is highest.
"""

from __future__ import annotations

from math import ceil, floor
from typing import TYPE_CHECKING

from flowlane.core.policy import PathPreference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowlane.core.allocate.state import PortState, Region

NO_SHARE = -1
"""Key of the VMs without a share."""

HELPS = 1.25
"""How many times the load per queue of another division the busiest share must have for a queue to change shares."""

_EXACT = 1e-9
"""What a computed part may differ from a whole number by and still be one."""


def apportion(
    shares: Sequence[float], queues: int, has_others: bool = True, loads: Mapping[int, float] | None = None
) -> dict[int, int]:
    """Return the number of queues of each share by its index (-1: VMs without one); each has at least one.

    With fewer queues than shares all VMs use all queues, as -1.

    Args:
        shares: the weights.
        queues: the number of queues to divide.
        has_others: whether VMs without a share have flows.
        loads: what the VMs of each share send together, in bit/s; without it the largest remainder decides.
    """
    total = sum(shares)
    weights = dict(enumerate(shares))
    rest = 1 - total if total <= 1 else float(has_others and len(shares) < queues)
    if rest > _EXACT:
        weights[NO_SHARE] = rest
    if len(weights) > queues or not shares:
        return {NO_SHARE: queues}
    whole = sum(weights.values())
    exact = {key: weight * queues / whole for key, weight in weights.items()}
    counts = {key: max(1, floor(amount + _EXACT)) for key, amount in exact.items()}
    loads = loads or {}
    for _ in range(queues - sum(counts.values())):
        below = [key for key in counts if counts[key] < ceil(exact[key] - _EXACT)]
        counts[
            max(below, key=lambda key: (loads.get(key, 0) / counts[key], exact[key] - counts[key], -key))
        ] += 1
    while sum(counts.values()) > queues:
        key = min((key for key in counts if counts[key] > 1), key=lambda key: exact[key] - counts[key])
        counts[key] -= 1
    return counts


def current_counts(state: PortState) -> dict[int, int]:
    """Return how many queues each share has now."""
    return {region.key: len(region.slots) for region in state.hardware if region.slots}


def wanted_counts(state: PortState, queues: int, has_others: bool) -> dict[int, int]:
    """Return how many of a number of queues each share is to have, by what its VMs send on the hardware now."""
    loads = {region.key: region.load for region in state.hardware}
    return {key: count for key, count in apportion(state.shares, queues, has_others, loads).items() if count}


def has_others(state: PortState) -> bool:
    """Return whether VMs without a share have flows that could use hardware."""
    return any(
        count
        and demand.share == NO_SHARE
        and not (demand.path is PathPreference.SOFTWARE and state.software.slots)
        for count, demand in zip(state.references, state.demands, strict=True)
    )


def helps(state: PortState, old: Mapping[int, int], new: Mapping[int, int]) -> bool:
    """Return whether a division of the same queues among the same shares is clearly better for those that differ."""
    loads = {region.key: region.load for region in state.hardware}
    changed = [key for key in old if old[key] != new[key]]
    return max(loads[key] / old[key] for key in changed) > HELPS * max(
        loads[key] / new[key] for key in changed
    )


def region_of_shares(
    state: PortState, regions: Mapping[int, Region], counts: Mapping[int, int], has_software: bool
) -> dict[int, Region]:
    """Return the hardware region that each share uses.

    VMs without a share have the rest; where there is none they use software queues, else the largest region.
    """
    region_of = dict(regions)
    if len(regions) == 1 and NO_SHARE in regions:
        region_of.update(dict.fromkeys(range(len(state.shares)), regions[NO_SHARE]))
    elif regions and NO_SHARE not in regions and not has_software:
        region_of[NO_SHARE] = regions[max(regions, key=lambda key: counts[key])]
    return region_of
