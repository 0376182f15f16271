"""Handlers that only look: devices, queues, VMs, flows, assignments, and why they are where they are."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING, Any

from flowlane.core.flowkey import flow_id
from flowlane.northbound.flow_views import assignment_view, explanation_view, flow_view, where_it_is
from flowlane.northbound.paging import Cursor, page_of_names, read_cursor, scan, write_cursor
from flowlane.northbound.problems import ProblemError, bad_field
from flowlane.northbound.query import (
    DEFAULT_LIMIT,
    check_names,
    listed_here,
    not_found,
    ports_named,
    selections,
)
from flowlane.northbound.views import (
    check_results,
    device_queues,
    device_view,
    flows_per_vm,
    hints_view,
    status_view,
    vm_view,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from flowlane.core.model import Vm
    from flowlane.core.state.device import Device
    from flowlane.core.state.flows import FlowTable
    from flowlane.northbound import types
    from flowlane.northbound.paging import Found
    from flowlane.northbound.routing import Call


def status(call: Call) -> types.Status:
    """The controller's own state."""
    return status_view(call.controller.state, call.clock, call.controller.started, call.controller.checks())


def healthz(call: Call) -> types.Health:  # noqa: ARG001  (an answer at all is the answer)
    """Whether the process still answers."""
    return {"ok": True, "checks": []}


def readiness(call: Call) -> tuple[types.Health, int]:
    """Whether everything that the controller needs is there, and the status that says so."""
    checks = call.controller.checks()
    ready = not any(check.problem for check in checks)
    return {"ok": ready, "checks": check_results(checks)}, 200 if ready else 503


def devices(call: Call) -> types.Page[types.DeviceView]:
    """All devices, by dpid."""
    found = {f"{dpid:016x}": device for dpid, device in call.controller.state.devices.items()}
    names, following = _names_page(call, found)
    return {"items": [device_view(found[name], call.clock) for name in names], "next": following}


def device(call: Call) -> types.DeviceView:
    """One device."""
    return device_view(find_device(call), call.clock)


def queues(call: Call) -> types.Page[types.QueueView]:
    """The queues of a device, by port and id: all at once, since a device has few."""
    device = find_device(call)
    numbers: Collection[int] = device.ports
    if "port" in call.query:
        numbers = ports_named(device, call.query["port"])
        if not numbers:
            names = [port.name for port in device.ports.values()]
            raise not_found("port", call.query["port"], names)
    return {"items": [view for view in device_queues(device) if view["port_no"] in numbers], "next": None}


def vms(call: Call) -> types.Page[types.VmView]:
    """All VMs, by id."""
    state = call.controller.state
    check_names(state, call.query)
    found = {vm.id: vm for vm in state.vms.values()}
    if "device" in call.query:
        wanted = {item.dpid for item, _ in selections(state, {"device": call.query["device"]})}
        found = {vm.id: vm for vm in found.values() if vm.dpid in wanted}
    names, following = _names_page(call, found)
    return {"items": _vm_views(call, [found[name] for name in names]), "next": following}


def vm(call: Call) -> types.VmView:
    """One VM."""
    return _vm_views(call, [find_vm(call)])[0]


def hints(call: Call) -> types.Hints:
    """A VM's suggestions."""
    return hints_view(call.controller.state, call.clock, find_vm(call).id)


def flows(call: Call) -> types.Page[types.FlowView]:
    """Flows, each once, with every device that has it."""
    state, start = call.controller.state, _start(call)
    check_names(state, call.query)
    chosen = selections(state, call.query)
    listed = [item for item, _ in chosen]
    once = [(item, _both(wanted, listed_here(listed, item, start.as_of))) for item, wanted in chosen]
    found, following = scan(once, start, call.query.get("limit", DEFAULT_LIMIT))
    views = [flow_view(state, call.clock, where_it_is(state, _key(place))) for place in found]
    return {"items": views, "next": following and write_cursor(following)}


def flow(call: Call) -> types.FlowView:
    """One flow."""
    return flow_view(call.controller.state, call.clock, _find_flow(call))


def explain(call: Call) -> types.Explanation:
    """Why each device has a flow where it is."""
    places = _find_flow(call)
    return {
        "flow": flow_id(_key(places[0])),
        "devices": [explanation_view(call.controller.state, call.clock, *place) for place in places],
    }


def assignments(call: Call) -> types.Page[types.AssignmentView]:
    """Flow and queue, once per device."""
    state = call.controller.state
    check_names(state, call.query)
    found, following = scan(
        selections(state, call.query), _start(call), call.query.get("limit", DEFAULT_LIMIT)
    )
    views = [assignment_view(state, call.clock, *place) for place in found]
    return {"items": views, "next": following and write_cursor(following)}


def find_device(call: Call) -> Device:
    """The device of the path.

    Raises:
        ProblemError: there is none.
    """
    text = call.path["dpid"].lower()
    for dpid, found in call.controller.state.devices.items():
        if f"{dpid:016x}" == text:
            return found
    raise ProblemError(404, f"there is no device {call.path['dpid']!r}; a dpid has 16 hex digits", "dpid")


def find_vm(call: Call) -> Vm:
    """The VM of the path, by its id, else by its name when only one VM has it.

    Raises:
        ProblemError: there is none.
    """
    wanted, known = call.path["id"], call.controller.state.vms.values()
    by_id = [item for item in known if item.id == wanted]
    by_name = [item for item in known if item.name == wanted]
    if by_id or len(by_name) == 1:
        return (by_id or by_name)[0]
    raise ProblemError(404, f"there is no VM {wanted!r}", "id")


def _find_flow(call: Call) -> list[Found]:
    try:
        key = bytes.fromhex(call.path["id"])
    except ValueError:
        key = b""
    places = where_it_is(call.controller.state, key)
    if not places:
        raise ProblemError(404, f"there is no flow {call.path['id']!r} now", "id")
    return places


def _vm_views(call: Call, found: list[Vm]) -> list[types.VmView]:
    state = call.controller.state
    counts = flows_per_vm(state, (item.dpid for item in found))
    return [vm_view(state, item, counts[item.dpid, item.number]) for item in found]


def _start(call: Call) -> Cursor:
    return read_cursor(call.query["cursor"]) if "cursor" in call.query else Cursor(call.clock.now)


def _key(place: Found) -> bytes:
    key = place.device.flows.keys[place.row]
    assert key is not None
    return key


def _both(
    one: Callable[[FlowTable, int], bool], other: Callable[[FlowTable, int], bool]
) -> Callable[[FlowTable, int], bool]:
    return lambda table, row: one(table, row) and other(table, row)


def _names_page(call: Call, found: Iterable[str]) -> tuple[list[str], str | None]:
    names, last = page_of_names(sorted(found), _name_cursor(call), call.query.get("limit", DEFAULT_LIMIT))
    following = None if last is None else urlsafe_b64encode(last.encode("utf-8", "surrogateescape")).decode()
    return list(names), following


def _name_cursor(call: Call) -> str | None:
    text: Any = call.query.get("cursor")
    try:
        return None if text is None else urlsafe_b64decode(text).decode("utf-8", "surrogateescape")
    except ValueError as error:
        raise bad_field("cursor", "this cursor was not given out here; start again without one") from error
