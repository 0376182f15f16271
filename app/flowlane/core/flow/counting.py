"""Counters of learned entries whose flows are as they were: the most of each reading, counted at once.

A device reports the counters of thousands of entries every second, and most of their flows have nothing new but
counters. :func:`take` counts these, and leaves all others to :mod:`flowlane.core.flow.learned`: new flows and such
whose entry, sender or ports have changed; flows with a pin, a meter or a rate near a gate; counters that have gone
back. What it does comes to the same as there, to the last column.

Stretches of entries are compared with the flow table a column at a time, since one call for a column takes less than a
tenth of what as many steps of a loop take. A stretch is counted up to the first flow that is for the general path.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp, inf
from operator import eq, itemgetter
from typing import TYPE_CHECKING, Any, cast

from flowlane.core.allocate import measure
from flowlane.core.allocate.state import MEASURED, QUIET
from flowlane.core.classify.gates import NEAR
from flowlane.core.flow.gates import gates_at
from flowlane.core.flow.rates import SHORTEST_WINDOW, SMOOTHING
from flowlane.core.model import NO_QUEUE, NOT_A_VM, PortRole
from flowlane.core.pacing import paced
from flowlane.core.policy import Alike
from flowlane.core.state.flows import PINNED

if TYPE_CHECKING:
    from array import array

    from flowlane.core.events import LearnedFlow
    from flowlane.core.flow.entry_columns import LearnedColumns
    from flowlane.core.state.device import Device, State

_LAST_QUEUE = 0xFFFE
"""The highest choice of a device that is a queue without a mark (:mod:`flowlane.core.marks`)."""

_ROUNDED = 1 + 1e-6
"""Rates are stored with 24 bits: by so much a stored rate may be above the computed one."""


STRETCH = 256
"""Flows that are counted together at most: a third of a millisecond of work."""


def take(
    state: State, device: Device, found: LearnedColumns, take_other: Callable[[LearnedFlow], object]
) -> None:
    """Count the flows that are as they were, and have all others taken by ``take_other``, in their order."""
    at, size, end = 0, STRETCH, len(found)
    while at < end and _is_plain(device):
        stretch = found.part(at, min(at + size, end))
        taken = _count(state, device, stretch)
        at += taken
        if taken == len(stretch):
            size = min(STRETCH, 4 * size)
        else:
            take_other(found.flow(at))  # It may change all.
            at, size = at + 1, min(STRETCH, 2 * taken + 1)
        state.pace()
    for flow in paced(map(found.flow, range(at, end)), state.pace):
        take_other(flow)


def _is_plain(device: Device) -> bool:
    """Whether flows of the device can be counted at once."""
    # Where VMs are set aside, whoever goes on makes the addresses of his port known again.
    is_busy = device.passives or device.doubtful or device.samples.flows or device.set_aside
    return not is_busy and device.marking is None


def _count(state: State, device: Device, found: LearnedColumns) -> int:
    """Count flows up to the first one that is not as it was; return how many."""
    flows, now = device.flows, state.now
    found_rows = list(map(flows.rows.get, found.key))
    rows = cast("list[int]", found_rows[: found_rows.index(None)] if None in found_rows else found_rows)
    if not rows:
        return 0
    rows = rows[: _alike(device, found.part(0, len(rows)), rows, now)]
    low = min(_near_gate(device, egress_port, now) for egress_port in set(found.egress_port))
    count, changed = _count_rows(device, found, rows, low, now)
    for row in changed:
        port = device.ports.get(flows.egress_port[row])
        if port is not None and port.allocation is not None and flows.queue_id[row] != NO_QUEUE:
            measure(port.allocation, row, int(flows.rate[row]), flows.last_active[row] < now)
    return count


def _alike(device: Device, found: LearnedColumns, rows: Sequence[int], now: float) -> int:
    """Return how many flows from the first have the entry that they had, and a state in which they can be counted."""
    flows, pick, nothing = device.flows, _picker(rows), (0,) * len(rows)
    senders = {in_port: _sender(device, in_port) for in_port in set(found.in_port)}
    columns: list[tuple[Sequence[object], Sequence[object]]] = [
        (pick(flows.in_port), found.in_port),
        (pick(flows.vm_number), tuple(map(senders.get, found.in_port))),
        (pick(flows.egress_port), found.egress_port),
        (pick(flows.device_queue), found.queue_id),
        (pick(flows.device_meter), found.meter_id),
        (pick(flows.meter_id), nothing),
        (pick(flows.gate_state), nothing),
        (tuple(map(PINNED.__and__, pick(flows.flags))), nothing),
    ]
    if max(found.queue_id) > _LAST_QUEUE:
        columns.append((tuple(map(_LAST_QUEUE.__lt__, found.queue_id)), nothing))
    homes = {in_port: device.of_bond(in_port) for in_port in senders}
    if not set(found.egress_port).isdisjoint(homes.values()):
        columns.append((tuple(map(eq, map(homes.get, found.in_port), found.egress_port)), nothing))
    classes = device.policy.classes
    if banded := {index for index, of_class in enumerate(classes) if Alike.RATE_BAND in of_class.alike}:
        columns.append((tuple(map(banded.__contains__, pick(flows.class_index))), nothing))
    if risen := {group for group in set(found.group) if device.readings.steady_until(group, now) is not None}:
        columns.append((tuple(map(risen.__contains__, found.group)), nothing))
    if odd := flows.with_earlier(rows) | (device.new_pins.keys() & rows):
        columns.append((tuple(map(odd.__contains__, rows)), nothing))
    return min(_same(*pair) for pair in columns)


def _sender(device: Device, in_port: int) -> int | None:
    """Return the number of the VM on a port; None where flows from the port are to be looked at one by one."""
    port = device.ports.get(in_port)
    number = device.port_vm.get(in_port, NOT_A_VM)
    return None if port is None or port.role is not PortRole.VM or number == NOT_A_VM else number


def _near_gate(device: Device, egress_port: int, now: float) -> float:
    """Return a rate in bit/s from which on flows that leave by a port are near a gate; infinity: there is none."""
    gates = gates_at(device, egress_port, now) if device.policy.gates else ()
    return NEAR * gates[0].at_least / _ROUNDED if gates else inf


def _picker(rows: Sequence[int]) -> Callable[[array[Any]], tuple[Any, ...]]:
    """Return what takes the values of some rows from a column."""
    if len(rows) > 1:
        return itemgetter(*rows)
    return lambda column: tuple([column[row] for row in rows])


def _same(values: Sequence[object], expected: Sequence[object]) -> int:
    """Return how many of the first values are as expected."""
    if values == expected:
        return len(values)
    return next(index for index, pair in enumerate(zip(values, expected, strict=True)) if pair[0] != pair[1])


def _count_rows(
    device: Device, found: LearnedColumns, rows: Sequence[int], low: float, now: float
) -> tuple[int, list[int]]:
    """Count flows up to the first one whose counters went back, or whose rate is ``low`` (bit/s) or more.

    Returns:
        How many were counted, and the rows that have another rate for the allocator, or began or ended to send.
    """
    flows, pick = device.flows, _picker(rows)
    device.columns.grow(max(rows, default=0))  # It has no rows of flows that no allocator has placed.
    placed_rate, placed_flags = device.columns.rate, device.columns.flags
    rates, counted, last_active = flows.rate, flows.counted_at, flows.last_active
    seconds, weight, last_counted = 0.0, 0.0, now
    changed: list[int] = []
    for row, packets, octets, counted_at, first_seen, old_packets, old_octets, rate in zip(
        rows,
        found.packets,
        found.octets,
        pick(counted),
        pick(flows.first_seen),
        pick(flows.packets),
        pick(flows.octets),
        pick(rates),
        strict=False,
    ):
        if counted_at != last_counted:
            seconds, last_counted = now - counted_at, counted_at
            weight = 1 - exp(-seconds / SMOOTHING)
        more = octets - old_octets
        if more < 0 or packets < old_packets or rate >= low:
            return rows.index(row), changed
        if seconds < SHORTEST_WINDOW:
            continue
        new_rate = more * 8 / seconds
        if counted_at != first_seen:
            new_rate = rate + (new_rate - rate) * weight
        if new_rate >= low:
            return rows.index(row), changed
        rates[row], counted[row], known = new_rate, now, MEASURED
        if more:
            flows.packets[row], flows.octets[row], last_active[row] = packets, octets, now
        else:
            flows.packets[row] = packets
            if last_active[row] < now:
                known = MEASURED | QUIET
        if placed_rate[row] != int(rates[row]) or placed_flags[row] & (MEASURED | QUIET) != known:
            changed.append(row)
    return len(rows), changed
