"""GET handlers of the lists over all devices: ports, meters, groups, and what of the policy is left out."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from heapq import nsmallest
from typing import TYPE_CHECKING

from flowlane.core.flowkey import flow_id
from flowlane.core.model import NO_QUEUE
from flowlane.northbound.http.problems import bad_field
from flowlane.northbound.query import DEFAULT_LIMIT, check_names, devices_named
from flowlane.northbound.views import device_ports, dpid_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flowlane.core.state.device import Device, State
    from flowlane.core.state.meters import Owner
    from flowlane.northbound import types
    from flowlane.northbound.http.routing import Call
    from flowlane.northbound.types import devices as device_types

Item = tuple["Device", int]


def all_ports(call: Call) -> types.Page[device_types.DevicePortView]:
    """List the ports of all devices, by dpid and number."""
    roles = call.query.get("role")
    items, following = _page(
        call, lambda device: (n for n, port in device.ports.items() if roles in (None, port.role.value))
    )
    views = {device.dpid: {v["port_no"]: v for v in device_ports(device)} for device, _ in items}
    return {
        "items": [{**_of(device), **views[device.dpid][number]} for device, number in items],
        "next": following,
    }


def left_out(call: Call) -> types.Page[device_types.DeviceLeftOutView]:
    """List what of the policy devices do not get, and why."""
    items, following = _page(call, lambda device: range(len(device.left_out)))
    return {
        "items": [
            {**_of(device), "what": left.what, "why": left.why, "remedy": left.remedy}
            for device, left in ((device, device.left_out[number]) for device, number in items)
        ],
        "next": following,
    }


def meters(call: Call) -> types.Page[device_types.DeviceMeterView]:
    """List the meters of all devices, by dpid and meter id."""
    items, following = _page(call, lambda device: device.meters)
    owners = {device.dpid: {n: owner for owner, n in device.meter_pool.ids.items()} for device, _ in items}
    state = call.controller.state
    return {
        "items": [_meter(state, device, number, owners[device.dpid].get(number)) for device, number in items],
        "next": following,
    }


def groups(call: Call) -> types.Page[device_types.GroupView]:
    """List the groups of all devices, by dpid and group id."""
    known = {
        device.dpid: {group.group_id: group for group in call.controller.groups(device.dpid)}
        for device in devices_named(call.controller.state, call.query.get("device"))
    }
    items, following = _page(call, lambda device: known[device.dpid])
    return {
        "items": [
            {
                **_of(device),
                "group_id": number,
                "select_by": known[device.dpid][number].select_by,
                "buckets": [
                    {
                        "queue_id": None if bucket.queue_id == NO_QUEUE else bucket.queue_id,
                        "weight": bucket.weight,
                    }
                    for bucket in known[device.dpid][number].buckets
                ],
            }
            for device, number in items
        ],
        "next": following,
    }


def _of(device: Device) -> device_types.OfDevice:
    return {"device": dpid_text(device.dpid), "device_name": device.name}


def _meter(state: State, device: Device, number: int, owner: Owner | None) -> device_types.DeviceMeterView:
    spec, pool = device.meters[number], device.meter_pool
    name, vm_number, row = ("", -1, -1) if owner is None else owner
    vm = state.vms.get(vm_number)
    key = device.flows.keys[row] if 0 <= row < len(device.flows.keys) else None
    counters = device.meter_counters.get(number, (None, None, None, None))
    return {
        **_of(device),
        "meter_id": number,
        "rate": spec.rate,
        "burst": spec.burst,
        "class": name,
        "limits": "flow" if row >= 0 else "vm" if vm_number >= 0 else "class",
        "vm": None if vm is None else vm.id,
        "flow": None if key is None else flow_id(key),
        "flows": pool.users.get(number, 0),
        "standing": owner in pool.standing_owners,
        "packets_in": counters[0],
        "bytes_in": counters[1],
        "packets_dropped": counters[2],
        "bytes_dropped": counters[3],
    }


def _page(call: Call, numbers_of: Callable[[Device], Iterable[int]]) -> tuple[list[Item], str | None]:
    """Return the page that a call asks for of what devices have by number, and the cursor of the next page."""
    state, limit = call.controller.state, call.query.get("limit", DEFAULT_LIMIT)
    check_names(state, call.query)
    after = _read_cursor(call.query["cursor"]) if "cursor" in call.query else (-1, -1)
    items: list[Item] = []
    for device in devices_named(state, call.query.get("device")):
        if device.dpid < after[0]:
            continue
        last = after[1] if device.dpid == after[0] else -1
        numbers = (number for number in numbers_of(device) if number > last)
        items += ((device, number) for number in nsmallest(limit + 1 - len(items), numbers))
        if len(items) > limit:
            at, number = items[limit - 1]
            return items[:limit], urlsafe_b64encode(f"{at.dpid}:{number}".encode()).decode()
    return items, None


def _read_cursor(text: str) -> tuple[int, int]:
    try:
        dpid, number = urlsafe_b64decode(text.encode("ascii")).decode("ascii").split(":")
        return int(dpid), int(number)
    except ValueError as error:
        raise bad_field("cursor", "this is no cursor of this list; start again without one") from error
