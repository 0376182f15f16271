"""GET handlers of REST: status, devices, queues, VMs, hints, flows, assignments, explanations."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING, Any

from flowlane.closest import did_you_mean
from flowlane.core.device.nics import other_nics
from flowlane.core.flowkey import flow_id, unpack
from flowlane.core.topology.way import way
from flowlane.northbound.http.problems import ProblemError, bad_field
from flowlane.northbound.http.slices import json_list
from flowlane.northbound.paging import Cursor, Scan, page_of_names, read_cursor
from flowlane.northbound.query import (
    DEFAULT_LIMIT,
    check_names,
    devices_named,
    every_row,
    first_of_its_flow,
    not_found,
    ports_named,
    selections,
    vms_of_several,
)
from flowlane.northbound.sorting import SortedScan, read_sorted_cursor
from flowlane.northbound.views import (
    check_results,
    database_view,
    device_ports,
    device_queues,
    device_view,
    hints_view,
    status_view,
)
from flowlane.northbound.views.flow_lines import FlowLines
from flowlane.northbound.views.flows import explanation_view, flow_view, hop_view, rows_of
from flowlane.northbound.views.members import member_view
from flowlane.northbound.views.vms import flows_per_vm, nics_by_uuid, vm_view

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from webob import Response

    from flowlane.core.model import Vm
    from flowlane.core.state.device import Device
    from flowlane.core.state.flows import FlowTable
    from flowlane.northbound import types
    from flowlane.northbound.http.routing import Call
    from flowlane.northbound.paging import FlowRow
    from flowlane.northbound.types import databases as database_types
    from flowlane.northbound.types import hints as hint_types
    from flowlane.northbound.types import members as member_types
    from flowlane.northbound.types import vms as vm_types


MAX_IDS = 5
"""Ids that an error lists where several VMs have a name."""


def status(call: Call) -> types.Status:
    """Answer with the controller's own state."""
    controller = call.controller
    return status_view(
        controller.state, call.clock, controller.started, controller.checks(), controller.databases()
    )


def databases(call: Call) -> types.Page[database_types.DatabaseView]:
    """List the databases, by name."""
    known = {item.name: item for item in call.controller.databases()}
    names, following = names_page(call, known)
    return {"items": [database_view(known[name], call.clock) for name in names], "next": following}


def members(call: Call) -> types.Page[member_types.MemberView]:
    """List the controllers that share the database, by name."""
    known = {f"{item.name} {item.started:.6f}": item for item in call.controller.members()}
    names, following = names_page(call, known)
    return {"items": [member_view(known[name]) for name in names], "next": following}


def database(call: Call) -> database_types.DatabaseView:
    """Show one database."""
    known = {item.name: item for item in call.controller.databases()}
    name = call.path["name"]
    if name not in known:
        raise ProblemError(404, f"there is no database {name!r}; {did_you_mean(name, known)}", "name")
    return database_view(known[name], call.clock)


def healthz(call: Call) -> types.Health:  # noqa: ARG001  (an answer at all is the answer)
    """Answer that the process answers."""
    return {"ok": True, "checks": []}


def readiness(call: Call) -> tuple[types.Health, int]:
    """Check whether the controller is ready: (the checks, HTTP status)."""
    checks = call.controller.checks()
    ready = not any(check.problem for check in checks)
    return {"ok": ready, "checks": check_results(checks)}, 200 if ready else 503


def devices(call: Call) -> Response:
    """List the devices, by dpid."""
    devices = {f"{dpid:016x}": device for dpid, device in call.controller.state.devices.items()}
    names, following = names_page(call, devices)
    views = (device_view(call.controller.state, devices[name], call.clock) for name in names)
    return json_list(views, after=lambda: {"next": following})


def device(call: Call) -> types.DeviceView:
    """Show one device."""
    return device_view(call.controller.state, find_device(call), call.clock)


def ports(call: Call) -> types.Page[types.PortView]:
    """List the ports of a device, by number, on one page."""
    return {"items": device_ports(find_device(call)), "next": None}


def queues(call: Call) -> types.Page[types.QueueView]:
    """List the queues of a device, by port and id, on one page: a device has few."""
    device = find_device(call)
    numbers: Collection[int] = device.ports
    if "port" in call.query:
        numbers = ports_named(device, call.query["port"])
        if not numbers:
            names = [port.name for port in device.ports.values()]
            raise not_found("port", call.query["port"], names)
    return {
        "items": [view for view in device_queues(device, call.clock) if view["port_no"] in numbers],
        "next": None,
    }


def vms(call: Call) -> Response:
    """List the VMs, by id."""
    state = call.controller.state
    check_names(state, call.query)
    listed = {vm.id: vm for vm in state.vms.values()}
    if "device" in call.query:
        dpids = {device.dpid for device in devices_named(state, call.query["device"])}
        listed = {vm.id: vm for vm in listed.values() if vm.dpid in dpids}
    names, following = names_page(call, listed)
    views = _vm_views(call, [listed[name] for name in names])
    return json_list(views, after=lambda: {"next": following})


def vm(call: Call) -> vm_types.VmView:
    """Show one VM."""
    return next(_vm_views(call, [find_vm(call)]))


def hints(call: Call) -> hint_types.Hints:
    """List the hints of a VM, or of all NICs of a ``vm-uuid``."""
    return hints_view(call.controller.state, call.clock, hinted_vm(call))


def flows(call: Call) -> Response:
    """List the flows, each once, with every device that has it."""
    state, as_of = call.controller.state, _as_of(call)
    check_names(state, call.query)
    chosen = selections(state, call.query)
    first = first_of_its_flow(vms_of_several(item for item, _ in chosen), as_of)
    once = {matches: _both(matches, first) for _, matches in chosen}
    scan = _scan(call, [(item, once[matches]) for item, matches in chosen])
    lines = FlowLines(state, call.clock)
    items = (lines.flow(rows_of(state, _key(row))) for row in scan)
    return json_list(items, after=scan.following, time_slice=scan.time_slice, encode=str)


def flow(call: Call) -> types.FlowView:
    """Show one flow."""
    return flow_view(call.controller.state, call.clock, _find_flow(call))


def explain(call: Call) -> types.Explanation:
    """Explain why each device has a flow on its queue."""
    state, rows = call.controller.state, _find_flow(call)
    key = _key(rows[0])
    hops = way(state, unpack(key), key)
    order = {hop.dpid: number for number, hop in enumerate(hops)}
    rows.sort(key=lambda row: order.get(row.device.dpid, len(order)))
    return {
        "flow": flow_id(key),
        "way": [hop_view(state, hop) for hop in hops],
        "devices": [explanation_view(state, call.clock, *row) for row in rows],
    }


def assignments(call: Call) -> Response:
    """List flows with their queues, once per device."""
    state = call.controller.state
    check_names(state, call.query)
    scan = _scan(call, selections(state, call.query))
    lines = FlowLines(state, call.clock)
    items = (lines.assignment(*row) for row in scan)
    return json_list(items, after=scan.following, time_slice=scan.time_slice, encode=str)


def _scan(call: Call, chosen: list[tuple[Device, Callable[[FlowTable, int], bool]]]) -> Scan | SortedScan:
    """Make the scan that gives the rows of the page that a call asks for."""
    limit = call.query.get("limit", DEFAULT_LIMIT)
    if "sort" not in call.query:
        return Scan(chosen, _start(call), limit)
    cursor = read_sorted_cursor(call.query["cursor"]) if "cursor" in call.query else None
    after = None if cursor is None else cursor.after
    return SortedScan(chosen, call.query["sort"], _as_of(call), after, limit)


def find_device(call: Call) -> Device:
    """Find the device of the path.

    Raises:
        ProblemError: there is no such device.
    """
    text = call.path["dpid"].lower()
    for dpid, device in call.controller.state.devices.items():
        if f"{dpid:016x}" == text:
            return device
    raise ProblemError(404, f"there is no device {call.path['dpid']!r}; a dpid has 16 hex digits", "dpid")


def hinted_vm(call: Call) -> str:
    """Return what hints of the path are for: a VM's id, or a ``vm-uuid`` for all of its NICs.

    Raises:
        ProblemError: there is no such VM, or several have the name.
    """
    name, known = call.path["id"], call.controller.state.vms.values()
    is_group = name and all(item.id != name for item in known) and any(item.uuid == name for item in known)
    return name if is_group else find_vm(call).id


def find_vm(call: Call) -> Vm:
    """Find the VM of the path, by its id, else by its name or ``vm-uuid`` where only one VM has it.

    Raises:
        ProblemError: there is no such VM, or several have the name.
    """
    name, known = call.path["id"], call.controller.state.vms.values()
    by_id = [item for item in known if item.id == name]
    by_name = [item for item in known if item.is_called(name)]
    if by_id or len(by_name) == 1:
        return (by_id or by_name)[0]
    if by_name:
        ids = ", ".join(sorted(item.id for item in by_name)[:MAX_IDS])
        what = "vm-uuid" if by_name[0].uuid == name else "name"
        raise ProblemError(404, f"{len(by_name)} VMs have the {what} {name!r}; give an id: {ids}", "id")
    raise ProblemError(
        404, f"there is no VM {name!r}; {did_you_mean(name, [item.name for item in known])}", "id"
    )


def _find_flow(call: Call) -> list[FlowRow]:
    try:
        key = bytes.fromhex(call.path["id"])
    except ValueError:
        key = b""
    rows = rows_of(call.controller.state, key)
    if not rows:
        raise ProblemError(
            404, f"there is no flow {call.path['id']!r} now; GET /v1/flows lists the ids", "id"
        )
    return rows


def _vm_views(call: Call, vms: list[Vm]) -> Iterator[vm_types.VmView]:
    state = call.controller.state
    others = (nic.dpid for vm in vms for nic in other_nics(state, vm))
    counts = flows_per_vm(state, (*(vm.dpid for vm in vms), *others))
    nics = nics_by_uuid(state)
    return (vm_view(state, call.clock, vm, counts, nics) for vm in vms)


def _start(call: Call) -> Cursor:
    return read_cursor(call.query["cursor"]) if "cursor" in call.query else Cursor(call.clock.now)


def _as_of(call: Call) -> float:
    """Return when the first page of the list was read, in seconds of the engine's clock."""
    if "sort" in call.query and "cursor" in call.query:
        return read_sorted_cursor(call.query["cursor"]).as_of
    return _start(call).as_of


def _key(row: FlowRow) -> bytes:
    key = row.device.flows.keys[row.row]
    assert key is not None
    return key


def _both(
    one: Callable[[FlowTable, int], bool], other: Callable[[FlowTable, int], bool]
) -> Callable[[FlowTable, int], bool]:
    return other if one is every_row else lambda table, row: one(table, row) and other(table, row)


def names_page(call: Call, listed: Iterable[str]) -> tuple[list[str], str | None]:
    """Return the names of a list that are on the page that a call asks for, and the cursor of the next one."""
    names, last = page_of_names(sorted(listed), _name_cursor(call), call.query.get("limit", DEFAULT_LIMIT))
    following = None if last is None else urlsafe_b64encode(last.encode("utf-8", "surrogateescape")).decode()
    return list(names), following


def _name_cursor(call: Call) -> str | None:
    text: Any = call.query.get("cursor")
    try:
        return None if text is None else urlsafe_b64decode(text).decode("utf-8", "surrogateescape")
    except ValueError as error:
        raise bad_field("cursor", "this is no cursor of this list; start again without one") from error
