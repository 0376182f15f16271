"""Pins: which flows get an exact entry in their device, within the budget, the most valuable first (M14).

A pin pays where the device by itself would not treat the flow as its class asks. From the most to the least valuable:
*limited* (the flow needs a meter that the device does not put it under), *exclusive* (an exclusive queue is worth
little when its flow is elsewhere), *corrected* (its class, a hint or the policy asks for another queue than the device
chose, or for no meter), *moved* (the load is more even so). Above all is what an operator has pinned by hand. A flow
that is where the device puts it needs none. When the budget is spent, a flow takes the pin of the oldest among those
that are worth least, if it is worth more itself. A VM that has its share of the budget, as many as the others, takes
the places of its own flows and of VMs beyond their shares only; one that has less takes those of the VM with most.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Literal

from flowlane.core.device.limits import given_meter
from flowlane.core.effects import PinFlow, UnpinFlow
from flowlane.core.marks import NO_MARK
from flowlane.core.model import Reason
from flowlane.core.pacing import no_pause
from flowlane.core.state.flows import BY_VM, PINNED, REFUSED, UNREPORTED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flowlane.core.effects import Effect
    from flowlane.core.state.device import Device

Mode = Literal["worthy", "all", "reactive"]
WORTHY: Mode = "worthy"
ALL: Mode = "all"
REACTIVE: Mode = "reactive"


FREE = -1
"""No row: there is room for one more pin, and none has to go for it."""


class Worth(IntEnum):
    """What a pin is worth; see the module."""

    NOTHING = 0
    MOVED = 1
    CORRECTED = 2
    EXCLUSIVE = 3
    LIMITED = 4
    BY_HAND = 5


_MOVED = frozenset((Reason.REBALANCED, Reason.VACATED, Reason.DEVICE_CHOSE, Reason.QUEUE_GONE))
_EXCLUSIVE = frozenset((Reason.EXCLUSIVE,))


def mode(device: Device) -> Mode:
    """How the device is used: as the policy says, but where it does not learn by itself every flow is pinned.

    Otherwise it would copy every packet of the others to the controller.
    """
    which = device.policy.pins.which
    if which == REACTIVE:
        return REACTIVE
    return WORTHY if which == WORTHY and device.capabilities.learn else ALL


def worth(queue_id: int, reason: Reason, meter_id: int, device_queue: int, device_meter: int) -> Worth:
    """Return what a pin is worth for a flow on a queue and under a meter (0: none), given the device's own choice."""
    if reason is Reason.PINNED_BY_HAND:
        return Worth.BY_HAND
    if meter_id != device_meter:
        return Worth.LIMITED if meter_id else Worth.CORRECTED
    if queue_id == device_queue:
        return Worth.NOTHING
    if reason in _EXCLUSIVE:
        return Worth.EXCLUSIVE
    return Worth.MOVED if reason in _MOVED else Worth.CORRECTED


def worth_of(device: Device, row: int) -> Worth:
    """Return what a pin would be worth for a flow that is placed."""
    flows = device.flows
    value = worth(
        flows.queue_id[row],
        Reason(flows.reason[row]),
        flows.meter_id[row],
        flows.device_queue[row],
        given_meter(device, row),
    )
    return max(value, Worth.MOVED) if lacks_mark(device, row) else value


def lacks_mark(device: Device, row: int) -> bool:
    """Whether the flow needs another mark, for a passive switch behind its port, than the device itself writes."""
    return device.flows.mark[row] not in (NO_MARK, device.flows.device_mark[row])


def room_for(device: Device, value: Worth, number: int) -> int | None:
    """Find room for one more pin of this worth, for a flow of the VM with this number.

    Returns:
        :data:`FREE` while the budget lasts, else the row of the oldest among the least valuable pins whose place it
        may take; None when there is none.
    """
    if device.pinned < device.pin_budget:
        return FREE
    if value is Worth.BY_HAND or not device.pinned:
        return _oldest(device.pins_by_worth[:value])
    counts = device.pin_counts
    share = device.pin_budget // len(counts.keys() | {number})
    most = max(counts, key=counts.__getitem__)
    is_beyond = counts[most] > share
    if counts.get(number, 0) >= share:
        own = _oldest(device.pins_of_vm[number][:value]) if number in counts else None
        return _oldest(device.pins_of_vm[most][:value]) if own is None and is_beyond else own
    beyond = _oldest(device.pins_of_vm[most][: value + 1]) if is_beyond else None
    return _oldest(device.pins_by_worth[:value]) if beyond is None else beyond


def _oldest(by_worth: tuple[dict[int, None], ...]) -> int | None:
    """Return the row of the oldest among the least valuable."""
    rows = next((rows for rows in by_worth if rows), None)
    return None if rows is None else next(iter(rows))


def keep_budget(device: Device, out: list[Effect], pace: Callable[[], None] = no_pause) -> list[int]:
    """Remove the least valuable pins, the oldest first, that are more than the device may have; return their rows.

    Args:
        pace: called for each (see :mod:`flowlane.core.pacing`).
    """
    removed: list[int] = []
    for rows in device.pins_by_worth:
        while rows and device.pinned > device.pin_budget:
            row = next(iter(rows))
            remove_pin(device, row, out)
            device.flows.device_queue[row] = UNREPORTED
            removed.append(row)
            pace()
    return removed


def put_pin(device: Device, row: int, value: Worth, evicted: int, out: list[Effect]) -> None:
    """Put the flow's exact entry in, or bring it up to date; ``evicted``: see :func:`room_for`."""
    flows = device.flows
    pinned = bool(flows.flags[row] & PINNED)
    if not pinned:
        if evicted != FREE:
            remove_pin(device, evicted, out)
            flows.device_queue[evicted] = UNREPORTED
        flows.set_entry_counters(row, 0, 0)
        port = device.ports.get(flows.in_port[row])
        if port is not None and flows.vm_number[row] in port.vms_behind:
            flows.flags[row] |= BY_VM
        else:
            flows.flags[row] &= ~BY_VM
    unmark(device, row)
    _mark(device, row, value)
    ref = flows.ref(row)
    device.audit.note_change(ref)
    out.append(
        PinFlow(
            device.dpid,
            ref,
            flows.device_key(row),
            flows.in_port[row],
            flows.egress_port[row],
            device.choice(flows.queue_id[row], flows.mark[row]),
            flows.meter_id[row],
            device.policy.pins.idle_timeout,
            pinned,
            bool(flows.flags[row] & BY_VM),
        )
    )


def weigh_again(device: Device, row: int) -> None:
    """Note what the exact entry of a flow is worth now, if it has one: that says which goes when there is no room."""
    if device.flows.flags[row] & PINNED:
        adopt(device, row, bool(device.flows.flags[row] & BY_VM))


def adopt(device: Device, row: int, by_vm: bool) -> None:
    """Note that the flow's exact entry stands in the device already; ``by_vm``: see :class:`PinFlow`."""
    unmark(device, row)
    device.flows.flags[row] = device.flows.flags[row] & ~BY_VM | (BY_VM if by_vm else 0)
    _mark(device, row, worth_of(device, row))


def _mark(device: Device, row: int, worth: Worth) -> None:
    device.flows.flags[row] |= PINNED
    device.pins_by_worth[worth][row] = None
    number = device.flows.vm_number[row]
    if number not in device.pins_of_vm:
        device.pins_of_vm[number] = tuple({} for _ in Worth)
    device.pins_of_vm[number][worth][row] = None
    device.pin_counts[number] = device.pin_counts.get(number, 0) + 1
    device.pinned += 1


def recount(device: Device, rows: Iterable[int]) -> None:
    """Count the exact entries anew, which these rows have."""
    device.pinned = 0
    for by_worth in device.pins_by_worth:
        by_worth.clear()
    device.pins_of_vm.clear()
    device.pin_counts.clear()
    for row in rows:
        _mark(device, row, worth_of(device, row))


def unmark(device: Device, row: int) -> None:
    """Note that the flow has no exact entry."""
    if device.flows.flags[row] & PINNED:
        device.flows.flags[row] &= ~PINNED
        device.pinned -= 1
        device.new_pins.pop(row, None)
        number = device.flows.vm_number[row]
        for rows in (*device.pins_by_worth, *device.pins_of_vm[number]):
            rows.pop(row, None)
        device.pin_counts[number] -= 1
        if not device.pin_counts[number]:
            del device.pins_of_vm[number], device.pin_counts[number]


def refuse(device: Device, row: int) -> None:
    """Note that the device refused the flow's entry: none is sent again."""
    unmark(device, row)
    device.flows.flags[row] |= REFUSED


def remove_pin(device: Device, row: int, out: list[Effect]) -> None:
    """Take the flow's exact entry out, if it has one."""
    flows = device.flows
    if not flows.flags[row] & PINNED:
        return
    unmark(device, row)
    flows.set_entry_counters(row, 0, 0)
    passive = device.passive_row(row)
    if passive is not None:
        passive[0].replaced.add(passive[1])
    ports, ref = (flows.in_port[row], flows.egress_port[row]), flows.ref(row)
    by_vm = bool(flows.flags[row] & BY_VM)
    device.audit.note_change(ref)
    out.append(UnpinFlow(device.dpid, ref, flows.device_key(row), *ports, by_vm))
