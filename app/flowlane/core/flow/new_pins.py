"""Flows that have just got their first pin, measured on across the change of entries.

A flow that the load is balanced by may be moved while it is being measured. Its learned entry then counts nothing more,
and its pin counts from zero, among thousands of pins that are read in turn. So what the learned entry has counted since
its last reading is carried over, and such a pin is read by itself, by its cookie, every :data:`PERIOD` s until the
flow's rate is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowlane.core.classify.gates import is_near
from flowlane.core.flow.gates import gates_at
from flowlane.core.flow.pins import WORTHY, mode
from flowlane.core.flow.rates import grown

if TYPE_CHECKING:
    from flowlane.core.model import PinRef
    from flowlane.core.state.device import Device

PERIOD = 0.5
"""Seconds between two readings: the device's counters move as often."""

FOR = 2.5
"""Seconds for which a new pin is read by itself."""

YOUNG = 2.5
"""Seconds after its first packet for which the rate of a flow may not be known, though it was measured."""

_EARLY = 0.05


@dataclass(slots=True)
class NewPin:
    """The pin of a flow that is read by itself.

    ``since``: when the flow got it. ``counted_at``: when the flow was last measured before. ``octets``: what its
    learned entry had counted by its last reading. ``carried``: bytes that it has counted between that and the pin.
    ``asked``: when the pin was last requested.
    """

    since: float
    counted_at: float
    octets: int
    carried: int = 0
    asked: float = 0.0


def note(device: Device, row: int, now: float) -> None:
    """Note that a flow gets its first pin now, while the learned entry is the one that was read last."""
    flows = device.flows
    if not device.policy.gates or mode(device) != WORTHY:
        return
    if now - flows.first_seen[row] < YOUNG or _is_near(device, row, now):
        device.new_pins[row] = NewPin(now, flows.counted_at[row], flows.entry_counters(row)[1], asked=now)


def _is_near(device: Device, row: int, now: float) -> bool:
    flows = device.flows
    gates = gates_at(device, flows.egress_port[row], now)
    return is_near(gates, flows.gate_state[row], flows.rate[row])


def take_learned(device: Device, row: int, octets: int) -> None:
    """Take in the counter of the learned entry of a flow with a pin: the measurement goes on from its last reading."""
    new = device.new_pins.get(row)
    if new is not None and new.counted_at < new.since:
        new.carried += grown(new.octets, octets)
        new.octets = octets
        device.flows.counted_at[row] = new.counted_at


def measured(device: Device, row: int, now: float) -> int:
    """Note that a flow's pin is measured; return the bytes that were carried over."""
    new = device.new_pins.get(row)
    if new is None:
        return 0
    carried, new.carried = new.carried, 0
    new.counted_at = now
    return carried


def due(device: Device, now: float) -> tuple[PinRef, ...]:
    """Return the pins to read by themselves now, as many as the device's time allows, and charge them."""
    flows = device.flows
    for row, new in list(device.new_pins.items()):
        if now - new.since >= FOR or (new.counted_at > new.since and not _is_near(device, row, now)):
            del device.new_pins[row]
    waiting = [row for row, new in device.new_pins.items() if now - new.asked >= PERIOD - _EARLY]
    chosen = waiting[: device.readings.afford(len(waiting))]
    for row in chosen:
        device.new_pins[row].asked = now
    return tuple(map(flows.ref, chosen))
