"""Views of events: what happened to which flow, VM and device, and why. Names are those of the moment of reading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowlane.core.effects import FlowReport
from flowlane.core.explain import REASONS
from flowlane.core.flowkey import flow_id, flow_text
from flowlane.core.model import NO_QUEUE, Reason
from flowlane.northbound.views import dpid_text, unix_text
from flowlane.northbound.views.flows import reason_word

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flowlane.core.effects import Report
    from flowlane.core.state.device import State
    from flowlane.northbound.feed import Entry
    from flowlane.northbound.types.events import EventView


class Names:
    """Names of devices and VMs, also of VMs that are gone; made for the events that are read at once."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._gone: dict[int, str] | None = None

    def device(self, dpid: int | None) -> str | None:
        """Return a device's name; None where there is none."""
        device = None if dpid is None else self._state.devices.get(dpid)
        return None if device is None else device.name

    def port(self, dpid: int, port_no: int) -> str:
        """Return a port's name, of its bond where it is a member of one; its number where it is gone."""
        device = self._state.devices.get(dpid)
        port = None if device is None else device.ports.get(port_no)
        return str(port_no) if port is None else port.label

    def vm(self, number: int) -> tuple[str | None, str | None]:
        """Return (id, name) of a VM by its number, the name None where the VM is gone."""
        vm = self._state.vms.get(number)
        if vm is not None:
            return vm.id, vm.name
        if self._gone is None:
            self._gone = {number: vm_id for vm_id, number in self._state.vm_numbers.items()}
        return self._gone.get(number), None

    def vm_by_id(self, vm_id: str | None) -> str | None:
        """Return the name of a VM by its id; None where it is gone."""
        number = None if vm_id is None else self._state.vm_numbers.get(vm_id)
        return None if number is None else self.vm(number)[1]


def event_view(names: Names, run: str, entry: Entry) -> EventView:
    """Make the view of an event.

    Args:
        run: which run of the controller it is of.
    """
    view = report_view(names, entry.report)
    return {"id": f"{run}-{entry.number}", "time": unix_text(entry.time), **view}  # type: ignore[typeddict-item]


def report_view(names: Names, report: Report | FlowReport) -> dict[str, Any]:
    """Make the view of an event without what the feed adds: its number and its time."""
    view = _of_flow(names, report) if isinstance(report, FlowReport) else _of_other(names, report)
    return {"kind": report.kind, **view}


def _of_other(names: Names, report: Report) -> dict[str, Any]:
    data = dict(report.data)
    device, vm, flow = (_text(data.get(name)) for name in ("device", "vm", "flow"))
    if vm is None and flow is not None:
        vm, _name = names.vm(int(flow[:8], 16))
    return {
        "change": _text(data.get("change")) or report.kind,
        "text": report.text,
        "why": _text(data.get("why")) or "",
        "flow": flow,
        "vm": vm,
        "vm_name": names.vm_by_id(vm),
        "device": device,
        "device_name": names.device(None if device is None else int(device, 16)),
        "data": data,
    }


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _of_flow(names: Names, report: FlowReport) -> dict[str, Any]:
    vm, vm_name = names.vm(int.from_bytes(report.key[:4]))
    flow, device = flow_id(report.key), dpid_text(report.dpid)
    data = {
        "device": device,
        "flow": flow,
        "change": report.change,
        "port": report.port_no,
        "port_name": names.port(report.dpid, report.port_no),
        "queue_id": _queue(report.queue_id),
        "class": report.class_name,
        "meter": report.meter_id or None,
        "pinned": report.pinned,
        "reason": reason_word(report.reason),
    }
    if report.change == "moved":
        data |= {"from": _queue(report.old_queue_id), "to": _queue(report.queue_id)}
    return {
        "change": report.change,
        "text": f"{flow_text(report.key)}: {_TEXTS[report.change](report, data)}",
        "why": report.why or REASONS[Reason(report.reason)],
        "flow": flow,
        "vm": vm,
        "vm_name": vm_name,
        "device": device,
        "device_name": names.device(report.dpid),
        "data": data,
    }


def _queue(queue_id: int) -> int | None:
    return None if queue_id == NO_QUEUE else queue_id


def _place(report: FlowReport, data: Mapping[str, Any]) -> str:
    queue = "no queue" if report.queue_id == NO_QUEUE else f"queue {report.queue_id}"
    meter = f", meter {report.meter_id}" if report.meter_id else ""
    return f"{queue} of {data['port_name']}{meter}{', pinned' if report.pinned else ''}"


_TEXTS: Mapping[str, Callable[[FlowReport, Mapping[str, Any]], str]] = {
    "seen": lambda report, _: f"seen, of class {report.class_name}",
    "rerouted": lambda _, data: f"rerouted, leaves by {data['port_name']}",
    "reclassified": lambda report, _: f"of class {report.class_name} now",
    "ended": lambda _report, _data: "ended",
    "assigned": lambda report, data: f"assigned to {_place(report, data)}",
    "changed": lambda report, data: f"has {_place(report, data)}",
    "moved": lambda report, _: f"from queue {report.old_queue_id} to {report.queue_id}",
}
