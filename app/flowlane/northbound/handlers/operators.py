"""Handlers for what operators change by hand: pins of flows, cordon and drain of queues, roles, single hints."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from flowlane.core.device import cordons
from flowlane.core.events import (
    FlowPinned,
    FlowReleased,
    HintGiven,
    HintWithdrawn,
    QueueCordoned,
    RoleGiven,
)
from flowlane.core.flow import manual
from flowlane.core.flowkey import flow_id
from flowlane.core.model import Admission, Role
from flowlane.northbound.handlers.read import find_device, hinted_vm, names_page
from flowlane.northbound.handlers.write import MAX_HINTS, MAX_LIFETIME, checked, read_hint
from flowlane.northbound.http.problems import ProblemError, empty, json_response
from flowlane.northbound.http.routing import Call, read_json
from flowlane.northbound.query import devices_named, not_found, ports_named
from flowlane.northbound.types import hints as hint_types
from flowlane.northbound.types import operators as operator_types
from flowlane.northbound.views import device_queues, device_view, hint_id, hint_view
from flowlane.northbound.views.flows import rows_of
from flowlane.northbound.views.operators import pins_of

if TYPE_CHECKING:
    from webob import Response

    from flowlane.core.model import Hint
    from flowlane.core.state.device import Device, Port
    from flowlane.northbound import types
    from flowlane.northbound.paging import FlowRow

PIN_LIFETIME = 3600.0
"""Seconds that a pin by hand lasts where the request does not say."""

HINT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

_ADMISSIONS = {admission.name.lower(): admission for admission in Admission}


# ---- pins


def pins(call: Call) -> types.Page[operator_types.PinView]:
    """List the pins that operators gave, by flow and device."""
    views = {f"{view['flow']} {view['device']}": view for view in pins_of(call.controller.state, call.clock)}
    names, following = names_page(call, views)
    return {"items": [views[name] for name in names], "next": following}


def flow_pins(call: Call) -> operator_types.Pins:
    """List the pins of one flow."""
    key = _key(call)
    views = list(pins_of(call.controller.state, call.clock, key))
    if not views:
        _rows(call, key)
    return {"flow": flow_id(key), "pins": views}


def put_pin(call: Call) -> operator_types.Pins:
    """Pin a flow to a queue of a device, for a time."""
    key = _key(call)
    rows = _rows(call, key)
    given = cast("operator_types.PinInput", checked(read_json(call.request), operator_types.PinInput))
    lifetime, queue_id = given.get("lifetime", PIN_LIFETIME), given["queue_id"]
    if not 0 < lifetime <= MAX_LIFETIME:
        detail = f"lifetime {lifetime:g} is out of range; more than 0 and at most {MAX_LIFETIME:.0f} s"
        raise ProblemError(422, detail, "lifetime")
    device, row = _place(call, rows, given.get("device"))
    obstacle = manual.obstacle(device, row, queue_id)
    if obstacle is not None:
        raise ProblemError(422 if obstacle.is_queue else 409, obstacle.why, "queue_id")
    call.controller.submit(FlowPinned(device.dpid, key, queue_id, lifetime))
    return flow_pins(call)


def delete_pin(call: Call) -> Response:
    """Take the pins of a flow back: all, or the one on a device."""
    key, state = _key(call), call.controller.state
    pinned = [device for device in state.devices.values() if key in device.manual_pins]
    if "device" in call.query:
        named = devices_named(state, call.query["device"])
        if not named:
            raise not_found(
                "device", call.query["device"], [device.name for device in state.devices.values()]
            )
        pinned = [device for device in pinned if device in named]
    if not pinned:
        raise ProblemError(404, f"flow {call.path['id']!r} is not pinned by hand there", "id")
    for device in pinned:
        call.controller.submit(FlowReleased(device.dpid, key))
    return empty()


def _key(call: Call) -> bytes:
    try:
        return bytes.fromhex(call.path["id"])
    except ValueError:
        return b""


def _rows(call: Call, key: bytes) -> list[FlowRow]:
    rows = rows_of(call.controller.state, key)
    if not rows:
        detail = f"there is no flow {call.path['id']!r} now; GET /v1/flows lists the ids"
        raise ProblemError(404, detail, "id")
    return rows


def _place(call: Call, rows: list[FlowRow], name: str | None) -> FlowRow:
    """Find the device for a pin on the way of a flow."""
    names = ", ".join(row.device.name for row in rows)
    if name is None and len(rows) > 1:
        raise ProblemError(422, f"the flow is on {len(rows)} devices, name one: {names}", "device")
    named = [row for row in rows if name is None or row.device in devices_named(call.controller.state, name)]
    if not named:
        raise ProblemError(422, f"{name!r} is no device on the flow's way; there are: {names}", "device")
    return named[0]


# ---- queues


def queue(call: Call) -> types.QueueView:
    """Show one queue."""
    device = find_device(call)
    return _queue_view(call, device, *_find_queue(call, device))


def patch_queue(call: Call) -> types.QueueView:
    """Cordon, drain or open a queue."""
    device = find_device(call)
    port, queue_id = _find_queue(call, device)
    given = cast("operator_types.QueueInput", checked(read_json(call.request), operator_types.QueueInput))
    admission = _ADMISSIONS[given["admission"]]
    why = cordons.obstacle(port, queue_id, admission)
    if why:
        raise ProblemError(409, why, "admission")
    call.controller.submit(QueueCordoned(device.dpid, port.port_no, queue_id, admission))
    call.controller.wait_for_changes(device.dpid)
    return _queue_view(call, device, port, queue_id)


def _find_queue(call: Call, device: Device) -> tuple[Port, int]:
    numbers = ports_named(device, call.path["port"])
    if not numbers:
        raise not_found("port", call.path["port"], [port.label for port in device.ports.values()])
    port, text = device.ports[numbers[0]], call.path["queue"]
    for queue_id in port.queues:
        if str(queue_id) == text:
            return port, queue_id
    raise not_found("queue", text, [str(queue_id) for queue_id in port.queues])


def _queue_view(call: Call, device: Device, port: Port, queue_id: int) -> types.QueueView:
    for view in device_queues(device, call.clock):
        if (view["port_no"], view["queue_id"]) == (port.port_no, queue_id):
            return view
    raise ProblemError(404, f"queue {queue_id} of {port.label} is gone by now", "queue")


# ---- devices


def patch_device(call: Call) -> types.DeviceView:
    """Give a device a role by hand, or take it back."""
    device = find_device(call)
    given = cast("operator_types.DeviceInput", checked(read_json(call.request), operator_types.DeviceInput))
    if device.declared is not None:
        raise ProblemError(
            409, f"{device.name} is a passive switch of the policy, which has its role", "role"
        )
    role = None if given["role"] is None else Role(given["role"])
    call.controller.submit(RoleGiven(device.dpid, role))
    call.controller.wait_for_changes(device.dpid)
    return device_view(call.controller.state, device, call.clock)


# ---- single hints


def hint(call: Call) -> hint_types.HintView:
    """Show one hint of a VM that came over REST."""
    return hint_view(call.controller.state, call.clock, _find_hint(call, hinted_vm(call)))


def put_hint(call: Call) -> Response:
    """Give one hint of a name, or replace it: 201 where it is new."""
    vm_id, name, state = hinted_vm(call), call.path["name"], call.controller.state
    if not HINT_NAME.fullmatch(name):
        raise ProblemError(422, f"{name!r} is no name: letters, digits, '.', '_' and '-', 64 at most", "name")
    given = cast("hint_types.HintInput", checked(read_json(call.request), hint_types.HintInput))
    new = read_hint(call, vm_id, name, given, "")
    count = sum(item.vm == vm_id and item.id.startswith("rest:") for item in state.hints.values())
    is_new = new.id not in state.hints
    if is_new and count >= MAX_HINTS:
        raise ProblemError(409, f"{vm_id} has {count} hints; a VM may have {MAX_HINTS}", "name")
    call.controller.submit(HintGiven(new))
    return json_response(hint_view(state, call.clock, new), 201 if is_new else 200)


def delete_hint(call: Call) -> Response:
    """Withdraw one hint of a VM that came over REST."""
    vm_id = hinted_vm(call)
    call.controller.submit(HintWithdrawn(vm_id, _find_hint(call, vm_id).id))
    return empty()


def _find_hint(call: Call, vm_id: str) -> Hint:
    found = call.controller.state.hints.get(hint_id(vm_id, call.path["name"]))
    if found is None:
        detail = f"{vm_id} has no hint {call.path['name']!r} that came over REST"
        raise ProblemError(404, detail, "name")
    return found
