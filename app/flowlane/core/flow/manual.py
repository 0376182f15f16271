"""Pins by hand: an operator's order that a flow be on a queue of a device, for a time.

Such a pin comes before the policy, and moves are neither counted nor limited for it. It belongs to the flow's key: a
flow that ends and begins again within its lifetime is on the queue again. It ends with its lifetime, with its queue,
or when that is drained; then the flow stays where it is until a rebalance moves it. An order for a flow that is not
known, as after a restart, waits for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.allocate import let_go
from flowlane.core.effects import Effect, Report
from flowlane.core.flow.assign import MARK_KEPT, apply, assign, without_queue
from flowlane.core.flow.pins import Worth, room_for, weigh_again
from flowlane.core.flow.target import decide
from flowlane.core.flowkey import flow_id, flow_text
from flowlane.core.model import NO_PORT, NOT_A_VM, Admission, ManualPin, Reason
from flowlane.core.state.flows import PINNED, REFUSED

if TYPE_CHECKING:
    from flowlane.core.events import FlowPinned, FlowReleased
    from flowlane.core.state.device import Device, Port, State


class Obstacle(NamedTuple):
    """Why a flow cannot be pinned to a queue. ``is_queue``: the port has no such queue; else it is for now."""

    why: str
    is_queue: bool = False


def on_flow_pinned(state: State, event: FlowPinned, out: list[Effect]) -> None:
    """Pin a flow to a queue, unless something is in the way; that is reported."""
    device = state.devices.get(event.dpid)
    row = None if device is None else device.flows.rows.get(event.key)
    expires = state.now + event.lifetime
    if device is None or row is None:
        ahead = ManualPin(NO_PORT, event.queue_id, state.now, expires)
        state.pins_ahead.setdefault(event.dpid, {})[event.key] = ahead
        return
    hindrance = obstacle(device, row, event.queue_id)
    if hindrance is not None:
        text = f"{flow_text(event.key)} is not pinned to queue {event.queue_id}: {hindrance.why}"
        out.append(Report("error", text, {"device": f"{device.dpid:016x}", "flow": flow_id(event.key)}))
        return
    _pin(state, device, row, event.queue_id, expires)
    assign(state, device, row, out)
    weigh_again(device, row)
    _report(device, event.key, "pinned", f"pinned to queue {event.queue_id} for {event.lifetime:g} s", out)


def _pin(state: State, device: Device, row: int, queue_id: int, expires: float) -> None:
    key = device.flows.keys[row] or b""
    state.pins_ahead.get(device.dpid, {}).pop(key, None)
    device.manual_pins[key] = ManualPin(device.flows.egress_port[row], queue_id, state.now, expires)


def take_ahead(state: State, device: Device, row: int) -> None:
    """Take in the pin that was ordered of a classified flow before it was known; its place is to follow from it.

    Where something is in the way, it waits: whoever keeps the order tries again.
    """
    pin = state.pins_ahead.get(device.dpid, {}).get(device.flows.keys[row] or b"")
    if pin is not None and pin.expires > state.now and obstacle(device, row, pin.queue_id) is None:
        _pin(state, device, row, pin.queue_id, pin.expires)


def on_flow_released(state: State, event: FlowReleased, out: list[Effect]) -> None:
    """Take the pin of a flow back."""
    device = state.devices.get(event.dpid)
    state.pins_ahead.get(event.dpid, {}).pop(event.key, None)
    if device is not None and event.key in device.manual_pins:
        end(state, device, event.key, "taken back", out)


def obstacle(device: Device, row: int, queue_id: int) -> Obstacle | None:
    """Find what is in the way of pinning a flow to a queue; None: nothing is."""
    flows = device.flows
    port = device.ports.get(flows.egress_port[row])
    if port is None:
        return Obstacle("it is not known by which one port the flow leaves the device")
    if queue_id not in port.queues:
        known = ", ".join(str(number) for number in sorted(port.queues)) or "none"
        return Obstacle(
            f"port {port.label} of {device.name} has no queue {queue_id}; its queues: {known}", is_queue=True
        )
    why = f"queue {queue_id} of {port.label} is cordoned; uncordon it first"
    if port.queues[queue_id].admission is Admission.OPEN:
        why = _why_no_entry(device, row)
    return Obstacle(why) if why else None


def _why_no_entry(device: Device, row: int) -> str:
    """Say why a flow can have no exact entry of the highest worth on a device; '': it can."""
    flags = device.flows.flags[row]
    if device.declared is None and not device.connected:
        return f"{device.name} is not connected"
    if without_queue(device, row) is MARK_KEPT:
        return "the policy keeps the flow's own mark, by which the device chooses its queue"
    if device.declared is not None or flags & PINNED:
        return ""
    if flags & REFUSED:
        return f"{device.name} has refused an exact entry for the flow"
    is_full = room_for(device, Worth.BY_HAND, NOT_A_VM) is None
    entries = f"all its {device.pin_budget} exact entries are of pins by hand"
    return f"{device.name} has no room: {entries}" if is_full else ""


def is_in_force(device: Device, key: bytes) -> bool:
    """Return whether a flow is on the queue to which it is pinned: it has not ended, and its entry stands."""
    row = device.flows.rows.get(key)
    return row is not None and device.flows.reason[row] == Reason.PINNED_BY_HAND


def expire(state: State, out: list[Effect]) -> None:
    """End the pins whose lifetime is over."""
    for device in state.devices.values():
        for key in [key for key, pin in device.manual_pins.items() if pin.expires <= state.now]:
            end(state, device, key, "expired", out)
    for ahead in state.pins_ahead.values():
        for key in [key for key, pin in ahead.items() if pin.expires <= state.now]:
            del ahead[key]


def end_where_gone(state: State, device: Device, port: Port, out: list[Effect]) -> None:
    """End the pins to queues that a port does not have any more, or that are drained."""
    for key, pin in list(device.manual_pins.items()):
        if pin.port_no != port.port_no:
            continue
        queue = port.queues.get(pin.queue_id)
        if queue is None:
            end(state, device, key, "queue gone", out)
        elif queue.admission is Admission.DRAINING:
            end(state, device, key, "queue drained", out)


def end(state: State, device: Device, key: bytes, change: str, out: list[Effect]) -> None:
    """End a pin; the flow stays on its queue, as far as that is there, until a rebalance moves it."""
    pin = device.manual_pins.pop(key)
    row = device.flows.rows.get(key)
    if row is not None and device.flows.reason[row] == Reason.PINNED_BY_HAND:
        port = device.ports.get(device.flows.egress_port[row])
        if port is not None and port.allocation is not None and device.columns.is_placed(row):
            placement = let_go(port.allocation, row, key)
            apply(state, device, row, decide(state, device, row, placement), out)
            state.restless.add(device.dpid)
            weigh_again(device, row)
    _report(device, key, change, f"pin to queue {pin.queue_id}: {change}", out)


def _report(device: Device, key: bytes, change: str, text: str, out: list[Effect]) -> None:
    data = {"device": f"{device.dpid:016x}", "flow": flow_id(key), "change": change}
    out.append(Report("assignment", f"{flow_text(key)}: {text}", data))
