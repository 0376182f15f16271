"""Views of what operators change by hand: pins of flows and queues out of service, as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.flow import manual
from flowlane.core.flowkey import flow_id
from flowlane.core.model import Reason
from flowlane.northbound.views import dpid_text, moment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowlane.core.model import ManualPin
    from flowlane.core.state.device import Device, State
    from flowlane.northbound.controller import Clock
    from flowlane.northbound.types import ManualPinMark
    from flowlane.northbound.types.operators import PinView


def pins_of(state: State, clock: Clock, key: bytes | None = None) -> Iterator[PinView]:
    """Make the views of all pins by hand, or of those of one flow, by device and as they were given."""
    for _, device in sorted(state.devices.items()):
        for pinned, pin in device.manual_pins.items():
            if key in (None, pinned):
                yield pin_view(device, pinned, pin, clock)


def pin_view(device: Device, key: bytes, pin: ManualPin, clock: Clock) -> PinView:
    """Make the view of a pin by hand."""
    port = device.ports.get(pin.port_no)
    return {
        "flow": flow_id(key),
        "device": dpid_text(device.dpid),
        "device_name": device.name,
        "port": port.label if port else "",
        "port_no": pin.port_no,
        "queue_id": pin.queue_id,
        "since": moment(clock, pin.since),
        "expires": moment(clock, pin.expires),
        "in_force": manual.is_in_force(device, key),
    }


def manual_pin_mark(device: Device, row: int, clock: Clock) -> ManualPinMark | None:
    """Make the view of the pin by hand of a flow's row; None where it has none."""
    pin = device.manual_pin(row)
    if pin is None:
        return None
    return {
        "queue_id": pin.queue_id,
        "since": moment(clock, pin.since),
        "expires": moment(clock, pin.expires),
        "in_force": device.flows.reason[row] == Reason.PINNED_BY_HAND,
    }
