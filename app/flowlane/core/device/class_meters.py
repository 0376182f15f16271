"""Meters of whole classes and of VMs, for the limits that flows share (M10): they stand with the rules.

There is one on each device for each class with a limit of scope ``class``, and one for each VM of a class with a limit
of scope ``vm``. They exist as long as the policy has the limit and the device the VM. The standing rules lead to them,
so that a flow is limited from its first packet on, and needs no pin for that (see ``docs/engineers/pipeline.md``).

Where a device has too few meters for all VMs, a quarter of them is left to flows; a VM without one of its own here gets
one with its first flow, by the pins of its flows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flowlane.core.device import limits
from flowlane.core.effects import DeleteMeter, Program
from flowlane.core.flow.assign import assign, reassign
from flowlane.core.flow.pins import FREE, put_pin, worth_of
from flowlane.core.model import LIMIT_BY_VM, NO_PORT, LeftOut
from flowlane.core.policy import LimitScope
from flowlane.core.state.device import Due, put_off
from flowlane.core.state.flows import PINNED
from flowlane.core.state.meters import Owner, class_owner, vm_owner

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowlane.core.device.standing import MeterOf
    from flowlane.core.effects import Effect
    from flowlane.core.model import MeterSpec
    from flowlane.core.policy import TrafficClass
    from flowlane.core.state.device import Device, State


def allocate(state: State, device: Device, out: list[Effect]) -> set[Owner]:
    """Allocate a meter for every class and VM that needs one and has none; return the owners that got one.

    The device gets the meters at once, before anything that uses them. What gets none is listed in
    ``device.meters_left_out``.
    """
    pool = device.meter_pool
    needed = device.shared_limits
    missing = [owner for owner in needed if owner not in pool.standing_owners]
    more = sum(owner not in pool.ids for owner in missing)
    room = pool.capacity if len(pool.ids) + more <= pool.capacity else pool.capacity * 3 // 4
    allocated: set[Owner] = set()
    for owner in missing:
        if owner[1] != -1 and len(pool.standing_owners) >= room:
            continue
        held_by_pins = pool.ids.get(owner)
        if not pool.add_standing(owner, needed[owner]):
            continue
        allocated.add(owner)
        if held_by_pins is not None:
            _follow_owner(device, owner)
    _note_left_out(state, device, [owner for owner in missing if owner not in allocated])
    if allocated and device.plan is not None and device.connected:
        planned = {meter.meter_id for meter in device.plan.meters}
        added = tuple(meter for meter in specs(device) if meter.meter_id not in planned)
        device.plan = replace(device.plan, meters=tuple(sorted((*device.plan.meters, *added))))
        out.append(Program(device.plan))
    if pool.replaced and len(allocated) < len(missing):
        put_off(state, device, Due.PLAN)  # The meters that are replaced are there for others then.
    _move_pins(device, allocated, out)
    return allocated


def note_needs(state: State, device: Device) -> None:
    """Find the owners of meters that are to stand with the rules; those of whole classes come first."""
    device.vm_groups = limits.groups_of_nics(state, device)
    of_classes: dict[Owner, TrafficClass] = {}
    of_vms: dict[Owner, TrafficClass] = {}
    for traffic_class in device.policy.classes:
        if traffic_class.rate_limit is None:
            continue
        if traffic_class.limit_scope is LimitScope.CLASS:
            of_classes[class_owner(traffic_class)] = traffic_class
        elif traffic_class.limit_scope is LimitScope.VM:
            for number in limits.limited_vms(state, device, traffic_class):
                of_vms[vm_owner(traffic_class, device.limit_owner(number))] = traffic_class
    device.shared_limits = of_classes | of_vms


def _follow_owner(device: Device, owner: Owner) -> None:
    """Have the flows of an owner under the meter that it has now."""
    for row, of_row in device.meter_owner.items():
        if of_row == owner:
            device.flows.meter_id[row] = device.meter_pool.ids[owner]


def _move_pins(device: Device, owners: set[Owner], out: list[Effect]) -> None:
    """Send the pins of owners again whose meter was one of pins until now, and delete those meters."""
    pool = device.meter_pool
    for row, owner in list(device.meter_owner.items()):
        if owner in owners and device.flows.flags[row] & PINNED:
            put_pin(device, row, worth_of(device, row), FREE, out)
    for meter_id in sorted(pool.replaced):
        out.append(DeleteMeter(device.dpid, meter_id))
        if not device.connected:
            device.meters_to_delete.add(meter_id)
    pool.replaced.clear()


def _note_left_out(state: State, device: Device, without: list[Owner]) -> None:
    count = len(device.meter_pool.ids)
    why = "the device's one meter is in use" if count == 1 else f"all {count} meters of the device are in use"
    of_vms: dict[str, list[str]] = {}
    for name, number, _ in without:
        if number != -1:
            vm = state.vms.get(number)
            of_vms.setdefault(name, []).append(vm.name if vm is not None else str(number))
    of_classes = (
        LeftOut(f"limit of class {name}", why, "limit fewer single flows, or flows by their VM")
        for name, number, _ in without
        if number == -1
    )
    device.meters_left_out = (
        *of_classes,
        *(
            LeftOut(
                f"limit of class {name} from the first packet on, for {_some(names)}",
                f"the device has {device.meter_pool.capacity} meters",
                "a limit from the pin of a flow on, while a meter is free; limit-scope class needs fewer",
            )
            for name, names in of_vms.items()
        ),
    )


_NAMED = 3


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more VMs" if more > 0 else "")


def retry(state: State, device: Device, out: list[Effect]) -> bool:
    """Allocate meters for classes and VMs that got none before; return True, for the next plan, when one got it."""
    if not device.meters_left_out or device.meter_pool.is_full:
        return False
    owners = allocate(state, device, out)
    _assign_flows(state, device, owners, out)
    return bool(owners)


def _assign_flows(state: State, device: Device, owners: set[Owner], out: list[Effect]) -> None:
    """Place the flows again that may use the meters of owners."""
    flows, names = device.flows, [item.name for item in device.policy.classes]
    wanted = {(name, number) for name, number, _ in owners}
    for row in list(flows) if wanted else ():
        name = names[flows.class_index[row]]
        if (name, -1) in wanted or (name, device.limit_owner(flows.vm_number[row])) in wanted:
            assign(state, device, row, out)


def follow(state: State, device: Device, out: list[Effect]) -> tuple[Owner, ...]:
    """Bring meters and flows up to date with the VMs of the device, and with what other devices enforce.

    Return the owners to :func:`release` after the next plan.
    """
    elsewhere = limits.find_enforced(state, device)
    moved = elsewhere ^ device.enforced_elsewhere
    device.enforced_elsewhere = elsewhere
    note_needs(state, device)
    unused = retire(device)
    owners = allocate(state, device, out)
    before, device.vm_meters = device.vm_meters, _by_limit(state, device)
    flows, classes = device.flows, device.policy.classes
    affected = {number for _, number in moved} | {number for _, number, _ in owners}
    affected |= {vm for (_, vm), _ in before.items() ^ device.vm_meters.items()}
    for row in list(flows) if affected else ():
        limited = classes[flows.class_index[row]].rate_limit is not None
        if limited and not affected.isdisjoint((flows.vm_number[row], -1)):
            reassign(state, device, row, out)
    return unused


def _by_limit(state: State, device: Device) -> dict[tuple[int, int], int]:
    return {(limit, vm): meter_id for limit, vm, meter_id in limits.vm_meters(state, device)}


def retire(device: Device) -> tuple[Owner, ...]:
    """Find the owners whose meters nothing needs any more: :func:`release` them after the next plan.

    Learned entries that name the meter of a class are deleted, since its id may soon be that of another meter, and so
    are those that name what the rules do not name any more for the same limit.
    """
    pool, flows = device.meter_pool, device.flows
    unused = tuple(sorted(pool.standing_owners - device.shared_limits.keys()))
    meter_ids = {pool.ids[owner] for owner in unused if owner[1] == -1}
    by_class = {
        pool.ids[owner]
        for traffic_class in device.policy.classes
        if limits.is_by_vm(device, traffic_class) and (owner := class_owner(traffic_class)) in pool.ids
    }
    _relearn(device, meter_ids, always=True)
    named = meter_of(device)
    names = {named(item.index, NO_PORT) for item in device.policy.classes}
    by_class |= {given for given in set(flows.device_meter) if given >= LIMIT_BY_VM and given not in names}
    _relearn(device, by_class, always=False)
    return unused


def _relearn(device: Device, meter_ids: set[int], always: bool) -> None:
    """Have the device learn the flows anew whose learned entries name a meter; ``always``: also those not known."""
    flows, named = device.flows, always and bool(meter_ids)
    for row in flows if meter_ids else ():
        if flows.device_meter[row] in meter_ids:
            flows.device_meter[row], named = 0, True
    if named:
        device.relearn.update((NO_PORT, *device.ports))


def release(device: Device, owners: Iterable[Owner]) -> None:
    """Release meters of classes and VMs that the device's plan does not have any more."""
    for owner in owners:
        meter_id = device.meter_pool.remove_standing(owner)
        if meter_id is not None and not device.connected:
            device.meters_to_delete.add(meter_id)


def specs(device: Device) -> tuple[MeterSpec, ...]:
    """List the meters of whole classes and of VMs, by id."""
    pool = device.meter_pool
    return tuple(
        sorted(pool.specs[pool.ids[owner]] for owner in pool.standing_owners & device.shared_limits.keys())
    )


def specs_of_pins(device: Device) -> set[MeterSpec]:
    """Collect the meters that only pins use."""
    return set(device.meter_pool.specs.values()) - set(specs(device))


def meter_of(device: Device) -> MeterOf:
    """Make the look-up of what standing rules name for the limit of a class: a meter, or a limit by VM; 0: none."""
    pool, number_of = device.meter_pool, limits.numbers(device.policy)
    meter_ids = {
        item.index: number_of[item.name]
        if limits.is_by_vm(device, item)
        else pool.ids.get(class_owner(item), 0)
        for item in device.policy.classes
        if item.rate_limit is not None and item.limit_scope is not LimitScope.FLOW
    }
    return lambda class_index, _port_no: meter_ids.get(class_index, 0)
