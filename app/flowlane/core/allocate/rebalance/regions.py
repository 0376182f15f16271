"""Queues that change shares: for VMs without a share while they have flows, and the odd queue by demand.

A queue changes shares with the flows that are on it. Those of another share leave it as other moves are made, by their
windows and for tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import cells, pools
from flowlane.core.allocate.flow import is_held, put_held, unplace_row
from flowlane.core.allocate.port import add_slot, fit_regions, remove_slot
from flowlane.core.allocate.shares import (
    NO_SHARE,
    current_counts,
    has_others,
    helps,
    region_of_shares,
    wanted_counts,
)
from flowlane.core.allocate.state import HELD, Move, Region, demand_of
from flowlane.core.allocate.strategies import combined
from flowlane.core.model import QueueKind, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowlane.core.allocate.state import PortState, Slot


def reapportion_if_due(state: PortState, now: float, moves: list[Move]) -> None:
    """Divide the hardware queues among the shares again, at most once in a window, if that is called for.

    It is when VMs without a share have flows again, or have had none for a window; or where the odd queue helps
    another share by a quarter.
    """
    if not state.shares or not state.hardware:
        return
    if has_others(state):
        state.others_at = now
    old = current_counts(state)
    others = now - state.others_at < state.balance.window
    new = wanted_counts(state, sum(old.values()), others)
    last = state.reapportioned_at if NO_SHARE in new.keys() - old.keys() else state.apportioned_at
    if now - last < state.balance.window:
        return
    state.apportioned_at = now
    if new == old or (new.keys() == old.keys() and not helps(state, old, new)):
        return
    state.reapportioned_at = now
    _apply(state, old, new, moves)


def _apply(state: PortState, old: Mapping[int, int], new: Mapping[int, int], moves: list[Move]) -> None:
    """Give slots to other shares until each has as many as it is to have; those with fewest flows go."""
    regions = {region.key: region for region in state.hardware}
    missing = {key: count - old.get(key, 0) for key, count in new.items() if count > old.get(key, 0)}
    for key in missing:
        regions.setdefault(key, Region(key))
    for key, count in old.items():
        going = sorted(
            regions[key].slots, key=lambda slot: (slot.exclusive_row >= 0, slot.count, slot.load, slot.index)
        )
        for slot in going[: max(0, count - new.get(key, 0))]:
            receiver = next(key for key, count in missing.items() if count)
            missing[receiver] -= 1
            _hand_over(state, slot, regions[receiver], moves)
    state.hardware = [regions[key] for key in sorted(new, key=lambda key: (key < 0, key))]
    has_software = any(slot.queue.kind is QueueKind.SOFTWARE for slot in state.slots)
    state.region_of = region_of_shares(state, {key: regions[key] for key in new}, new, has_software)
    fit_regions(state)
    for region in state.hardware:
        for row in (row for slot in region.slots for row in cells.rows_on(state, slot)):
            if state.columns.flags[row] & HELD:
                continue
            if combined.region_by_policy(state, demand_of(state, row))[0] is not region:
                state.misplaced.add(row)


def _hand_over(state: PortState, slot: Slot, region: Region, moves: list[Move]) -> None:
    """Give a slot to another region, with the flows that are on it; an exclusive one is shared from now on."""
    rows, exclusive_row = cells.rows_on(state, slot), slot.exclusive_row
    for row in rows:
        unplace_row(state, row, demand_of(state, row))
    remove_slot(slot)
    add_slot(slot, region)
    for row in rows:
        if is_held(state, row, slot):
            put_held(state, row, slot)
            continue
        demand = demand_of(state, row)
        group = pools.find_group(region, demand)
        cells.insert(
            state, row, slot, group, demand.vm_number if demand.keep_vm_together else 0, demand.exclusive
        )
    if exclusive_row >= 0:
        queue = slot.queue
        moves.append(
            Move(exclusive_row, queue.queue_id, queue.queue_id, queue.kind, Reason.EXCLUSIVE_UNAVAILABLE)
        )
