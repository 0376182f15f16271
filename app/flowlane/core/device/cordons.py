"""Cordoned and drained queues: an operator takes a queue out of service, for maintenance.

A cordoned queue takes no new flows, and keeps those that it has. A drained one loses them as well, to queues where new
flows would go, within the limits on moves. Both last until the queue is opened.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flowlane.core.effects import Effect, Report
from flowlane.core.model import Admission, Cordon
from flowlane.core.state.device import Due, put_off

if TYPE_CHECKING:
    from flowlane.core.events import QueueCordoned
    from flowlane.core.state.device import Device, Port, State

MOST_NAMED = 8
"""Cordoned queues at most that a refusal names."""

_CHANGES = {Admission.OPEN: "uncordoned", Admission.CORDONED: "cordoned", Admission.DRAINING: "draining"}


def on_queue_cordoned(state: State, event: QueueCordoned, out: list[Effect]) -> None:
    """Note which flows a queue takes from now on; the next catch-up acts on it."""
    device = state.devices.get(event.dpid)
    place = event.port_no, event.queue_id
    port = None if device is None else _port_of(device, place)
    if device is None or port is None:
        if device is None or not device.connected:
            state.cordons_ahead.setdefault(event.dpid, {})[place] = event.admission
        return
    state.cordons_ahead.get(event.dpid, {}).pop(place, None)
    cordon = device.cordons.get(place)
    if event.admission is (Admission.OPEN if cordon is None else cordon.admission):
        return
    if event.admission is Admission.OPEN:
        del device.cordons[place]
    else:
        flows = flows_on(port, event.queue_id)
        device.cordons[place] = Cordon(event.admission, state.now, flows)
    put_off(state, device, Due.ALL)
    _report(device, port, event.queue_id, _CHANGES[event.admission], out)


def ordered(state: State, dpid: int, place: tuple[int, int]) -> Admission | None:
    """Return what is in force for a queue, or will be when its device connects.

    None: the device is connected and has no such queue, so that nothing can be in force.
    """
    device = state.devices.get(dpid)
    has_queue = device is not None and _port_of(device, place) is not None
    if device is not None and device.connected and not has_queue:
        return None
    cordon = None if device is None else device.cordons.get(place)
    in_force = Admission.OPEN if cordon is None else cordon.admission
    return in_force if has_queue else state.cordons_ahead.get(dpid, {}).get(place, in_force)


def _port_of(device: Device, place: tuple[int, int]) -> Port | None:
    """Return the port of a queue that a device has."""
    port = device.ports.get(place[0])
    return None if port is None or place[1] not in port.queues else port


def take_ahead(state: State, device: Device) -> None:
    """Take in what was ordered before the device connected, so that it counts for flows that are found there."""
    for place, admission in state.cordons_ahead.pop(device.dpid, {}).items():
        if admission is Admission.OPEN:
            device.cordons.pop(place, None)
        else:
            device.cordons[place] = Cordon(admission, state.now, 0)


def count_found(device: Device) -> None:
    """Count the flows on cordoned queues of a device that has just connected; drop queues that it does not have."""
    for place, cordon in list(device.cordons.items()):
        port = device.ports.get(place[0])
        if port is None or place[1] not in port.queues:
            del device.cordons[place]
        elif not cordon.flows:
            device.cordons[place] = replace(cordon, flows=flows_on(port, place[1]))


def obstacle(port: Port, queue_id: int, admission: Admission) -> str:
    """Return why a queue cannot be cordoned or drained; '': it can.

    One queue of a port has to take flows: the others would have none to go to.
    """
    if admission is Admission.OPEN or open_queues(port, queue_id):
        return ""
    others = sorted(number for number in port.queues if number != queue_id)
    if not others:
        return f"queue {queue_id} is the only one of {port.label}: its flows have no other to go to"
    numbers = ", ".join(map(str, others[:MOST_NAMED])) + ", ..." * (len(others) > MOST_NAMED)
    cordoned = f"queue {numbers} is" if len(others) == 1 else f"queues {numbers} are"
    return (
        f"queue {queue_id} is the last one of {port.label} that takes flows, which would have none to go to: "
        f"{cordoned} cordoned; uncordon one of {port.label} first"
    )


def open_queues(port: Port, but: int | None = None) -> int:
    """Count the queues of a port that take flows, those beside a queue where one is given."""
    return sum(queue.admission is Admission.OPEN and number != but for number, queue in port.queues.items())


def flows_on(port: Port, queue_id: int) -> int:
    """Return how many flows a queue has."""
    slot = None if port.allocation is None else port.allocation.slot_of_queue(queue_id)
    return 0 if slot is None else slot.count


def report_drained(state: State, device: Device, out: list[Effect]) -> None:
    """Report the queues whose last flow has left, once; forget those that their port does not have any more."""
    for place, cordon in list(device.cordons.items()):
        port = device.ports.get(place[0])
        if port is None:
            continue
        is_empty = cordon.admission is Admission.DRAINING and not flows_on(port, place[1])
        if is_empty and not cordon.done and state.now > cordon.since:
            device.cordons[place] = replace(cordon, done=True)
            _report(device, port, place[1], "drained", out)


def _report(device: Device, port: Port, queue_id: int, change: str, out: list[Effect]) -> None:
    data = {
        "device": f"{device.dpid:016x}",
        "port": port.port_no,
        "queue_id": queue_id,
        "change": change,
        "flows": flows_on(port, queue_id),
    }
    out.append(Report("queue", f"queue {queue_id} of {port.label} of {device.name}: {change}", data))
