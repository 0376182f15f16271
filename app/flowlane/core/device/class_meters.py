"""Meters of whole classes: one on each device for each class with a limit that all of its flows share (M10).

They exist as long as the policy has the limit. The standing rules name them, so that a flow is limited from its first
packet. A flow needs no pin for such a limit: its learned entry has the meter (see ``docs/engineers/pipeline.md``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flowlane.core.effects import Program
from flowlane.core.flow.assign import assign
from flowlane.core.model import NO_PORT, LeftOut
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
    """Allocate a meter for every class that needs one and has none; return the indexes of the classes.

    The device gets the meters at once, before anything that uses them. A class for which no meter is left is listed
    in ``device.meters_left_out``.
    """
    pool = device.meter_pool
    allocated: list[TrafficClass] = []
    without: list[TrafficClass] = []
    for traffic_class in _limited(device):
        if class_owner(traffic_class) in pool.class_owners:
            continue
        is_new = pool.add_class(class_owner(traffic_class), traffic_class)
        (allocated if is_new else without).append(traffic_class)
    device.meters_left_out = tuple(
        LeftOut(
            f"limit of class {traffic_class.name}",
            f"all {len(pool.ids)} meters of the device are in use",
            "limit fewer single flows, or flows by their VM",
        )
        for traffic_class in without
    )
    if allocated and device.plan is not None and device.connected:
        planned = {meter.meter_id for meter in device.plan.meters}
        added = tuple(meter for meter in specs(device) if meter.meter_id not in planned)
        device.plan = replace(device.plan, meters=tuple(sorted((*device.plan.meters, *added))))
        out.append(Program(device.plan))
    return [traffic_class.index for traffic_class in allocated]


def retry(state: State, device: Device, out: list[Effect]) -> bool:
    """Allocate meters for classes that got none before; return True when one got its meter, for the next plan."""
    if not device.meters_left_out or device.meter_pool.is_full:
        return False
    classes = set(allocate(device, out))
    for row in [row for row in device.flows if device.flows.class_index[row] in classes]:
        assign(state, device, row, out)
    return bool(classes)


def retire(device: Device) -> tuple[Owner, ...]:
    """Find the owners whose meters no class needs any more: :func:`release` them after the next plan.

    Learned entries that use such a meter are deleted, since its id may soon be that of another meter.
    """
    pool, flows = device.meter_pool, device.flows
    needed = {class_owner(traffic_class) for traffic_class in _limited(device)}
    unused = tuple(sorted(pool.class_owners - needed))
    if unused:
        meter_ids = {pool.ids[owner] for owner in unused}
        for row in flows:
            if flows.device_meter[row] in meter_ids:
                flows.device_meter[row] = 0
        device.relearn.update((NO_PORT, *device.ports))
    return unused


def release(device: Device, owners: Iterable[Owner]) -> None:
    """Release meters of classes that the device's plan does not have any more."""
    for owner in owners:
        meter_id = device.meter_pool.remove_class(owner)
        if meter_id is not None and not device.connected:
            device.meters_to_delete.add(meter_id)


def specs(device: Device) -> tuple[MeterSpec, ...]:
    """List the meters of whole classes, by id."""
    pool = device.meter_pool
    meter_ids = (pool.ids.get(class_owner(traffic_class)) for traffic_class in _limited(device))
    return tuple(sorted(pool.specs[meter_id] for meter_id in meter_ids if meter_id is not None))


def meter_of(device: Device) -> MeterOf:
    """Make the look-up of the meter that all flows of a class share, the same on every egress port; 0: none."""
    pool = device.meter_pool
    meter_ids = {
        traffic_class.index: pool.ids.get(class_owner(traffic_class), 0) for traffic_class in _limited(device)
    }
    return lambda class_index, _port_no: meter_ids.get(class_index, 0)


def _limited(device: Device) -> list[TrafficClass]:
    return [
        traffic_class
        for traffic_class in device.policy.classes
        if traffic_class.rate_limit is not None and traffic_class.limit_scope is LimitScope.CLASS
    ]
