"""The policy's rate gates on a port: thresholds that are parts of a queue's rate, in bit/s.

What a queue can carry follows from the port: its queues' rates or its own, divided by its queues. Where no rate is
known, the flows tell it: the mean load of a queue, but no less than :data:`LEAST_RATE`, so that little traffic on an
idle port is not heavy.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from flowlane.core.allocate import queue_rate
from flowlane.core.classify.gates import resolve

if TYPE_CHECKING:
    from flowlane.core.classify.gates import PortGate
    from flowlane.core.state.device import Device, Port

LEAST_RATE = 40_000_000
"""What a queue is taken to carry at least, in bit/s, where no rate is known."""

REFRESHED = 1.0
"""Seconds for which the thresholds of a port stand."""


def gates_at(device: Device, port_no: int, now: float) -> tuple[PortGate, ...]:
    """Return the gates of a device's policy for flows that leave by a port, ascending in their thresholds."""
    port = device.ports.get(port_no)
    if port is None:
        return resolve(device.policy.gates, LEAST_RATE)
    gates, since, policy = port.gates
    if policy is not device.policy or now - since >= REFRESHED:
        gates = resolve(device.policy.gates, _queue_rate(port))
        port.gates = gates, now, device.policy
    return gates


def least_rate(device: Device, now: float) -> float:
    """Return the lowest threshold of any gate on a port with queues, in bit/s; infinity where there is none."""
    ports = [port_no for port_no, port in device.ports.items() if port.allocation is not None]
    lowest = (gates[0].at_least for port_no in ports if (gates := gates_at(device, port_no, now)))
    return min(lowest, default=inf)


def _queue_rate(port: Port) -> int:
    rate = port.rate if port.allocation is None else queue_rate(port.allocation, LEAST_RATE)
    return LEAST_RATE if rate is None else rate
