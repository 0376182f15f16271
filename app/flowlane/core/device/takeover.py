"""Taking over a device that has worked without us: what stands there is right until something says otherwise.

A device that comes (back) tells of its pins and learned flows in one go, or, where the database is heard later than
the switch, in the first readings. They are counted where they are found, and the queues are divided by that, so
that neither its standing rules nor its flows are disturbed by our not having known them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate import redivide
from flowlane.core.effects import Program

if TYPE_CHECKING:
    from flowlane.core.effects import DevicePlan, Effect
    from flowlane.core.state.device import Device

TAKING_OVER = 5.0
"""Seconds from a device's connection: two readings of its counters, and more than OVSDB takes to tell."""


def take_stock(device: Device, now: float) -> None:
    """Divide the queues of all ports among the groups of flows by where these are."""
    for port in device.ports.values():
        if port.allocation is not None:
            redivide(port.allocation, now)


def replace_plan(out: list[Effect], made: DevicePlan | None, changes: list[Effect]) -> None:
    """Let the plan that goes by what was found take the place, in ``out``, of the one that was ``made`` before."""
    places = (place for place, one in enumerate(out) if isinstance(one, Program) and one.plan is made)
    first = next(places, None)
    if first is not None and changes:
        out[first] = changes.pop(0)
    out.extend(changes)


def end_taking_over(device: Device, now: float) -> None:
    """Decide about the queues of flows again, once what was there has had time to show."""
    if device.taking_over and now - device.since >= TAKING_OVER:
        device.taking_over, device.plan_due = False, True
        take_stock(device, now)
