"""Targets: the queue, the meter and the entry that a flow should have, decided from what is known of it.

:func:`decide` changes nothing and has an answer for every flow. :func:`flowlane.core.flow.assign.apply` compares
the target with what the flow has, and emits the effects that lead from the one to the other.

The queue comes from the allocator of the egress port (:mod:`flowlane.core.allocate`), which keeps its own sums and
commits its choice as it makes it; ``decide`` gets that choice as ``placement``. It adds the limit, finds whether the
flow needs an exact entry, and, where none is to be had, says what becomes of the flow without one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.allocate.state import Placement
from flowlane.core.device.limits import enforced_by, given_meter
from flowlane.core.flow.pins import FREE, WORTHY, Worth, lacks_mark, mode, room_for, worth
from flowlane.core.model import Reason
from flowlane.core.state.flows import PINNED, REFUSED, UNREPORTED
from flowlane.core.state.meters import Owner, owner_of

if TYPE_CHECKING:
    from flowlane.core.state.device import Device, State

NEW_METER = -1
"""Number of a meter that is yet to be taken: it differs from every meter that stands in a device."""

Lack = tuple[str, str]
"""What a flow should have and cannot get ("meter" or "limit"), and why."""


class Target(NamedTuple):
    """Where a flow should be on one device.

    Attributes:
        placement: its queue, with kind and reason.
        owner: whose limit it is under (see :mod:`flowlane.core.state.meters`); None for no meter.
        pin: what its exact entry is worth; None when it gets no entry of its own.
        lacks: what its class asks for and the device cannot give.
        evicted: the row whose pin has to go for it; :data:`flowlane.core.flow.pins.FREE` when none has to.
        yields: whether the queue is the one that the device itself chose, against the allocator's choice.
    """

    placement: Placement
    owner: Owner | None = None
    pin: Worth | None = None
    lacks: tuple[Lack, ...] = ()
    evicted: int = FREE
    yields: bool = False


def decide(state: State, device: Device, row: int, placement: Placement) -> Target:
    """Decide what a flow gets for the queue that the allocator chose; change nothing.

    A passive switch gets neither pins nor meters: the device before it writes the mark.
    """
    if device.declared is not None:
        return Target(placement)
    flows = device.flows
    flags, device_queue, device_meter = flows.flags[row], flows.device_queue[row], given_meter(device, row)
    owner: Owner | None = None
    lacks: tuple[Lack, ...] = ()
    meter_id = 0
    if device.policy.classes[flows.class_index[row]].rate_limit is not None:
        owner, lacks = _limit(state, device, row)
        meter_id = 0 if owner is None else device.meter_pool.ids.get(owner, NEW_METER)
    value = worth(placement.queue_id, placement.reason, meter_id, device_queue, device_meter)
    if lacks_mark(device, row):
        value = max(value, Worth.MOVED)
    if flags & PINNED:
        return Target(placement, owner, value, lacks)
    if value is Worth.NOTHING and mode(device) == WORTHY:
        return Target(placement, owner, None, lacks)
    evicted = None if flags & REFUSED else room_for(device, value, flows.vm_number[row])
    if evicted is not None:
        return Target(placement, owner, value, lacks, evicted)
    if meter_id not in (0, device_meter):
        owner, lacks = None, (*lacks, ("limit", "no pin is to be had for it"))
    own_choice = _device_choice(device, row, placement)
    return Target(own_choice or placement, owner, None, lacks, yields=own_choice is not None)


def _limit(state: State, device: Device, row: int) -> tuple[Owner | None, tuple[Lack, ...]]:
    """Find the owner of the meter that the flow's class asks for.

    None when the device has no meter for it, or another one enforces the limit.
    """
    flows, pool = device.flows, device.meter_pool
    traffic_class = device.policy.classes[flows.class_index[row]]
    if traffic_class.rate_limit is None:
        return None, ()
    number = flows.vm_number[row]
    if enforced_by(state, device, number, traffic_class.name, flows.keys[row]) is not None:
        return None, ()
    owner = owner_of(traffic_class, device.limit_owner(number), row)
    had = device.meter_owner.get(row)
    if owner not in pool.ids and had is None and pool.is_for_others(owner):
        return None, (("meter", "the device's last meters are for VMs that have fewer"),)
    if pool.has_meter_for(owner, had):
        return owner, ()
    why = "the device has no meter left" if pool.limit else "the device has no meters"
    return None, (("meter", why),)


def _device_choice(device: Device, row: int, placement: Placement) -> Placement | None:
    """Return the queue that the device gives a flow without a pin, when it is known and differs from ``placement``."""
    queue_id = device.flows.device_queue[row]
    port = device.ports.get(device.flows.egress_port[row])
    if queue_id in (UNREPORTED, placement.queue_id) or port is None or port.allocation is None:
        return None
    queue = port.queues.get(queue_id)
    # Of a queue that is gone the device chooses another, and reports it.
    return None if queue is None else Placement(queue_id, queue.kind, Reason.DEVICE_CHOSE)
