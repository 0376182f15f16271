"""What devices count per queue and per meter: kept as the last reading, for people to see."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowlane.core.effects import Effect
    from flowlane.core.events import MeterCounters, QueueCounters
    from flowlane.core.state import Device, State


CONTROLLER_METER = 0xFFFFFFFE
"""OFPM_CONTROLLER: the virtual meter of all packet-ins (OpenFlow 1.3.5 section 7.3.4.4)."""


def copies_dropped(device: Device) -> int | None:
    """Copies of packets that the device's rate limit kept from the controller; None when it does not count."""
    counted = device.meter_counters.get(CONTROLLER_METER)
    return None if counted is None else counted[2]


def on_queue_counters(state: State, event: QueueCounters, out: list[Effect]) -> None:  # noqa: ARG001
    """Keep the queues' transmit counters."""
    device = state.devices.get(event.dpid)
    if device is not None:
        device.queue_counters = dict(event.counters)


def on_meter_counters(state: State, event: MeterCounters, out: list[Effect]) -> None:  # noqa: ARG001
    """Keep the meters' counters."""
    device = state.devices.get(event.dpid)
    if device is not None:
        device.meter_counters = dict(event.counters)
