"""Counters of learned entries whose flows are as they were: the most of each reading, counted at once.

A device reports the counters of thousands of entries every second, and most of their flows have nothing new but
counters. :func:`take` counts these, and leaves all others to :mod:`flowlane.core.flow.learned`: new flows and such
whose entry, sender or ports have changed; flows with a pin, a meter or a rate near a gate; counters that have gone
back. What it does comes to the same as there, to the last column.
"""

from __future__ import annotations

from math import exp, inf
from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.allocate import measure
from flowlane.core.allocate.state import MEASURED, QUIET
from flowlane.core.classify.gates import NEAR
from flowlane.core.flow.gates import gates_at
from flowlane.core.flow.rates import SHORTEST_WINDOW, SMOOTHING
from flowlane.core.model import NO_QUEUE, NOT_A_VM, PortRole
from flowlane.core.policy import Alike
from flowlane.core.state.flows import PINNED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from flowlane.core.allocate.state import PortState
    from flowlane.core.events import LearnedFlow
    from flowlane.core.state.device import Device, State

_LAST_QUEUE = 0xFFFE
"""The highest choice of a device that is a queue without a mark (:mod:`flowlane.core.marks`)."""

_ROUNDED = 1 + 1e-6
"""Rates are stored with 24 bits: by so much a stored rate may be above the computed one."""


class _Way(NamedTuple):
    """What is the same for the flows of a pair of ports and a group.

    ``head``: the number of the sender, with which the keys of its flows begin. ``low``: a rate from which on a flow is
    near a gate; infinity: there is none.
    """

    head: bytes
    allocation: PortState | None
    low: float


def take(
    state: State, device: Device, found: Iterable[LearnedFlow], take_other: Callable[[LearnedFlow], object]
) -> None:
    """Count the flows that are as they were, and have all others taken by ``take_other``, in their order."""
    entries = iter(found)
    while _is_plain(device):
        if _count(state, device, entries, take_other):
            return
    for flow in entries:
        take_other(flow)


def _is_plain(device: Device) -> bool:
    """Whether flows of the device can be counted at once."""
    # Where VMs are set aside, whoever goes on makes the addresses of his port known again.
    is_busy = device.passives or device.doubtful or device.samples.flows or device.set_aside
    return not is_busy and device.marking is None


def _count(
    state: State, device: Device, entries: Iterator[LearnedFlow], take_other: Callable[[LearnedFlow], object]
) -> bool:
    """Count flows up to the first one that is for ``take_other``, which may change all; True: there is none."""
    ways: dict[tuple[int, int, int], _Way | None] = {}
    banded = {
        index for index, of_class in enumerate(device.policy.classes) if Alike.RATE_BAND in of_class.alike
    }
    now, flows, row_of = state.now, device.flows, device.flows.rows.get
    placed_rate, placed_flags = device.columns.rate, device.columns.flags
    last_seconds, weight = -1.0, 0.0
    for flow in entries:
        key, in_port, egress_port, _, queue_id, packets, octets, _, _, meter_id, group, _ = flow
        row = row_of(key)
        place = in_port, egress_port, group
        try:
            way = ways[place]
        except KeyError:
            way = ways[place] = _way(device, *place, now)
        if (
            row is None
            or way is None
            or key[:4] != way.head
            or flows.in_port[row] != in_port
            or flows.egress_port[row] != egress_port
            or flows.device_queue[row] != queue_id
            or flows.device_meter[row] != meter_id
            or flows.meter_id[row]
            or flows.gate_state[row]
            or flows.flags[row] & PINNED
            or queue_id > _LAST_QUEUE
            or (banded and flows.class_index[row] in banded)
        ):
            take_other(flow)
            return False
        counted_at, before, rate = flows.counted_at[row], flows.octets[row], flows.rate[row]
        seconds, more = now - counted_at, octets - before
        if seconds < SHORTEST_WINDOW and rate < way.low:
            continue
        if more < 0 or packets < flows.packets[row] or flows.has_earlier(row) or row in device.new_pins:
            take_other(flow)
            return False
        if counted_at == flows.first_seen[row]:
            new_rate = more * 8 / seconds
        else:
            if seconds != last_seconds:
                last_seconds, weight = seconds, 1 - exp(-seconds / SMOOTHING)
            new_rate = rate + (more * 8 / seconds - rate) * weight
        if rate >= way.low or new_rate * _ROUNDED >= way.low:
            take_other(flow)
            return False
        flows.rate[row], flows.counted_at[row], flows.packets[row] = new_rate, now, packets
        if more:
            flows.octets[row], flows.last_active[row] = octets, now
        if way.allocation is not None and flows.queue_id[row] != NO_QUEUE:
            whole, quiet = int(flows.rate[row]), flows.last_active[row] < now
            known = MEASURED | QUIET if quiet else MEASURED
            if placed_rate[row] != whole or placed_flags[row] & (MEASURED | QUIET) != known:
                measure(way.allocation, row, whole, quiet)
    return True


def _way(device: Device, in_port: int, egress_port: int, group: int, now: float) -> _Way | None:
    """Return what flows of two ports and a group have in common; None where each is to be looked at."""
    port, egress = device.ports.get(in_port), device.ports.get(egress_port)
    number = device.port_vm.get(in_port, NOT_A_VM)
    if port is None or port.role is not PortRole.VM or number == NOT_A_VM:
        return None
    if egress_port == device.of_bond(in_port) or device.readings.steady_until(group, now) is not None:
        return None
    gates = gates_at(device, egress_port, now) if device.policy.gates else ()
    low = NEAR * gates[0].at_least if gates else inf
    return _Way(number.to_bytes(4), None if egress is None else egress.allocation, low)
