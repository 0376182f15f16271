"""What passes of a limited flow: its load on a queue, where it sends more than its meter lets pass; queues' counters.

A flow's entry counts packets before the meter drops any (OpenFlow 1.3.5, 5.8: the meter is an instruction of the
entry), so the measured rate is what the flow offers. Queues carry what passes. Of a flow with a meter of its own that
is at most its limit. Of flows under one meter each passes the same share, which the meter's counters give; where a
device does not count what a meter drops, it is the limit over the sum of the flows' rates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import measure
from flowlane.core.allocate.state import MEASURED
from flowlane.core.flow.rates import grown
from flowlane.core.policy import LimitScope
from flowlane.core.state.meters import is_shared, owner_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowlane.core.effects import Effect
    from flowlane.core.events import MeterCounters, QueueCounters
    from flowlane.core.state.device import Device, State
    from flowlane.core.state.meters import Owner

CHANGE = 0.01
"""Changes of the share that passes a meter count from this on; each costs time for every flow under the meter."""


def passed_rate(device: Device, row: int) -> int:
    """Return what passes of a flow under the meter that it has, in bit/s; without a meter its measured rate."""
    rate, owner = device.flows.rate[row], device.meter_owner.get(row)
    return int(rate) if owner is None else _through(device, rate, owner, device.flows.meter_id[row])


def rate_in_class(device: Device, row: int) -> int:
    """Return what passes of a flow under the limit of its class (bit/s); the flow may not have its meter yet."""
    flows = device.flows
    traffic_class, rate = device.policy.classes[flows.class_index[row]], flows.rate[row]
    if traffic_class.rate_limit is None or not rate:
        return int(rate)
    owner = owner_of(traffic_class, device.limit_owner(flows.vm_number[row]), row)
    meter_id = device.meter_pool.ids.get(owner)
    if meter_id is not None:
        return _through(device, rate, owner, meter_id)
    alone = traffic_class.limit_scope is not LimitScope.CLASS and device.meter_pool.limit > 0
    return int(min(rate, traffic_class.rate_limit) if alone else rate)


def _through(device: Device, rate: float, owner: Owner, meter_id: int) -> int:
    """Return what passes of a rate under a meter (bit/s), at least 1: a demand of 0 is that of a flow not measured."""
    passed = rate * device.passed_shares.get(owner, 1.0) if is_shared(owner) else rate
    return max(min(int(rate), 1), int(min(passed, device.meter_pool.specs[meter_id].rate)))


def update_load(device: Device, row: int) -> None:
    """Give the allocator what passes of a measured flow now, since its meter or the meter's share has changed."""
    columns = device.columns
    if columns.is_placed(row) and columns.flags[row] & MEASURED:
        allocation = device.ports[device.flows.egress_port[row]].allocation
        assert allocation is not None
        measure(allocation, row, passed_rate(device, row))


def on_meter_counters(state: State, event: MeterCounters, _out: list[Effect]) -> None:
    """Keep the meters' counters, and take from them which share of the bytes each shared meter lets pass."""
    device = state.devices.get(event.dpid)
    if device is None:
        return
    before, device.meter_counters = device.meter_counters, dict(event.counters)
    device.copies_dropped = event.copies_dropped
    shares: dict[Owner, float] = {}
    device.counted_meters.clear()
    for owner, meter_id in device.meter_pool.ids.items():
        if is_shared(owner) and meter_id in event.counters:
            share = _share(before.get(meter_id, (0, 0, 0, 0)), event.counters[meter_id])
            if share is not None:
                device.counted_meters.add(owner)
                shares[owner] = share
    _take_in(device, shares)


def _share(before: tuple[int, int, int, int], after: tuple[int, int, int, int]) -> float | None:
    """Return the share of a meter's bytes that passed between two readings; None where that is not counted."""
    received, dropped = grown(before[1], after[1]), grown(before[3], after[3])
    if received <= 0 or dropped > received:
        return None
    return 1 - dropped / received


def estimate_shares(device: Device) -> None:
    """Estimate what passes the shared meters whose counters do not say it: the limit over the sum of the rates."""
    pool = device.meter_pool
    sums = {owner: 0.0 for owner in pool.ids if is_shared(owner) and owner not in device.counted_meters}
    if not sums:
        return
    for row, owner in device.meter_owner.items():
        if owner in sums:
            sums[owner] += device.flows.rate[row]
    limits = {owner: pool.specs[pool.ids[owner]].rate for owner in sums}
    _take_in(device, {owner: min(1.0, limits[owner] / total) for owner, total in sums.items() if total > 0})


def _take_in(device: Device, shares: Mapping[Owner, float]) -> None:
    """Note the shares that have changed, and bring the loads of the flows under these meters up to date."""
    known = device.passed_shares
    changed = {owner for owner, share in shares.items() if abs(share - known.get(owner, 1.0)) >= CHANGE}
    for owner in changed:
        known[owner] = shares[owner]
    for owner in known.keys() - device.meter_pool.ids.keys():
        del known[owner]
    if changed:
        for row, owner in device.meter_owner.items():
            if owner in changed:
                update_load(device, row)


def on_queue_counters(state: State, event: QueueCounters, out: list[Effect]) -> None:  # noqa: ARG001
    """Keep the queues' transmit counters; a bond's queues have the sums of those of its members."""
    device = state.devices.get(event.dpid)
    if device is None:
        return
    sums: dict[tuple[int, int], tuple[int, int, int]] = {}
    for (port_no, queue_id), counters in event.counters.items():
        place = device.of_bond(port_no), queue_id
        packets, octets, errors = sums.get(place, (0, 0, 0))
        sums[place] = packets + counters[0], octets + counters[1], errors + counters[2]
    device.queue_counters = sums
