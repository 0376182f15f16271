"""Meters of whole classes: one on each device for each class whose limit its flows share (M10).

They stand as long as the policy has the limit, and the standing rules name them, so that also a flow that the
controller has never heard of is limited, from its first packet. A flow needs no entry of its own for such a
limit: the device remembers the meter with the flow (see ``docs/engineers/pipeline.md``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flowlane.core.effects import Program
from flowlane.core.flow.assign import assign
from flowlane.core.model import LeftOut
from flowlane.core.policy import LimitScope
from flowlane.core.state.meters import Owner, class_owner

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowlane.core.device.standing import MeterOf
    from flowlane.core.effects import Effect
    from flowlane.core.model import MeterSpec
    from flowlane.core.policy import TrafficClass
    from flowlane.core.state.device import Device, State


def allocate(device: Device, out: list[Effect]) -> list[int]:
    """Take a meter for every class that has no one yet; returns the classes' indexes.

    The device gets them at once, before anything that uses them. What it has no meter for is left out.
    """
    pool = device.meter_pool
    found: list[TrafficClass] = []
    missing: list[TrafficClass] = []
    for one in _limited(device):
        if class_owner(one) in pool.class_owners:
            continue
        (found if pool.add_class(class_owner(one), one) else missing).append(one)
    device.meters_left_out = tuple(
        LeftOut(f"limit of class {one.name}", _why(device), "limit fewer single flows, or flows by their VM")
        for one in missing
    )
    if found and device.plan is not None and device.connected:
        there = {meter.meter_id for meter in device.plan.meters}
        more = tuple(meter for meter in specs(device) if meter.meter_id not in there)
        device.plan = replace(device.plan, meters=tuple(sorted((*device.plan.meters, *more))))
        out.append(Program(device.plan))
    return [one.index for one in found]


def retry(state: State, device: Device, out: list[Effect]) -> bool:
    """Meters may have become free for classes that got none; True when one has, and the plan should follow."""
    if not device.meters_left_out or device.meter_pool.is_full:
        return False
    found = set(allocate(device, out))
    for row in [row for row in device.flows if device.flows.class_index[row] in found]:
        assign(state, device, row, out)
    return bool(found)


def retire(device: Device) -> tuple[Owner, ...]:
    """Owners whose meters no class needs any more: they go with the next plan, and are dropped after it.

    What the device has learned names them, so it has to learn anew: the numbers may soon mean others.
    """
    pool, flows = device.meter_pool, device.flows
    unused = tuple(sorted(pool.class_owners - {class_owner(one) for one in _limited(device)}))
    if unused:
        numbers = {pool.ids[owner] for owner in unused}
        for row in flows:
            if flows.device_meter[row] in numbers:
                flows.device_meter[row] = 0
        device.relearn.update(device.ports)
    return unused


def release(device: Device, owners: Iterable[Owner]) -> None:
    """Give meters back: nothing uses them any more, and the device's plan names them no longer."""
    for owner in owners:
        meter_id = device.meter_pool.remove_class(owner)
        if meter_id is not None and not device.connected:
            device.meters_to_delete.add(meter_id)


def specs(device: Device) -> tuple[MeterSpec, ...]:
    """The meters of whole classes, by number."""
    pool = device.meter_pool
    wanted = (pool.ids.get(class_owner(one)) for one in _limited(device))
    return tuple(sorted(pool.specs[meter_id] for meter_id in wanted if meter_id is not None))


def meter_of(device: Device) -> MeterOf:
    """The meter that all flows of a class share, 0 for none; the same on every egress port."""
    pool = device.meter_pool
    of_class = {one.index: pool.ids.get(class_owner(one), 0) for one in _limited(device)}
    return lambda class_index, _port_no: of_class.get(class_index, 0)


def _limited(device: Device) -> list[TrafficClass]:
    return [
        one
        for one in device.policy.classes
        if one.rate_limit is not None and one.limit_scope is LimitScope.CLASS
    ]


def _why(device: Device) -> str:
    return f"all {len(device.meter_pool.ids)} meters of the device are in use"
