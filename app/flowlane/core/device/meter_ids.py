"""Ids of meters that others have put into a device: they are never used, changed or deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.device import class_meters
from flowlane.core.effects import SetMeter
from flowlane.core.flow.assign import release_meter
from flowlane.core.flow.pins import FREE, put_pin, worth_of
from flowlane.core.state.flows import PINNED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowlane.core.effects import Effect
    from flowlane.core.model import MeterSpec
    from flowlane.core.state.device import Device


def reserve(device: Device, others: Iterable[MeterSpec]) -> None:
    """Reserve the ids of meters found in a device that has connected; our meters that have one get another.

    Args:
        others: meters that no entry of ours uses. One that we have put there before is ours all the same.
    """
    pool = device.meter_pool
    pool.reserved = {meter.meter_id for meter in others if not pool.is_ours(meter)}
    for meter_id in sorted(pool.reserved & pool.users.keys()):
        if _renumber(device, meter_id) is None:
            give_up(device, meter_id)


def leave(device: Device, meter_id: int, out: list[Effect]) -> int | None:
    """Leave an id to another controller, and give our meter another one.

    The meter of a class follows with the next plan, and pins with :func:`pin_anew`.

    Returns:
        The other id, 0 when we have no such meter, None when no other is left.
    """
    pool = device.meter_pool
    pool.reserved.add(meter_id)
    owner = pool.owner_with(meter_id)
    if owner is None:
        return 0
    spec = _renumber(device, meter_id)
    if spec is None:
        return None
    if owner not in pool.standing_owners:
        out.append(SetMeter(device.dpid, spec))
    return spec.meter_id


def pin_anew(device: Device, meter_id: int, out: list[Effect]) -> None:
    """Send the pins of a meter's flows again."""
    flows = device.flows
    for row in device.meter_owner:
        if flows.meter_id[row] == meter_id and flows.flags[row] & PINNED:
            put_pin(device, row, worth_of(device, row), FREE, out)


def _renumber(device: Device, meter_id: int) -> MeterSpec | None:
    """Give the owner of a meter another id; its pins, and learned entries that name it, are still to follow."""
    flows, pool = device.flows, device.meter_pool
    owner = pool.owner_with(meter_id)
    spec = None if owner is None else pool.renumber(owner)
    if spec is None:
        return None
    for row in device.meter_owner:
        if flows.meter_id[row] == meter_id:
            flows.meter_id[row] = spec.meter_id
    for row in flows:
        if flows.device_meter[row] == meter_id:
            flows.device_meter[row] = 0
            device.relearn.update(device.ports)
    return spec


def give_up(device: Device, meter_id: int) -> tuple[int, ...]:
    """Take a meter from its flows, for which the device has none; return their rows."""
    pool = device.meter_pool
    owner = pool.owner_with(meter_id)
    if owner is None:
        return ()
    rows = tuple(row for row in device.meter_owner if device.flows.meter_id[row] == meter_id)
    for row in rows:
        release_meter(device, row)
    class_meters.release(device, {owner} & pool.standing_owners)
    return rows
