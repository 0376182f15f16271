"""Why a flow is where it is, as a JSON-ready object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.explain import explain
from flowlane.core.model import NO_QUEUE
from flowlane.northbound.views import KIND_WORDS, dpid_text, moment

if TYPE_CHECKING:
    from flowlane.core.allocate.model import Alternative
    from flowlane.core.state import Device, State
    from flowlane.northbound.controller import Clock
    from flowlane.northbound.flow_shapes import DeviceExplanation, QueueConsidered


def explanation_view(state: State, clock: Clock, device: Device, row: int) -> DeviceExplanation:
    """Why one device has a flow where it is."""
    told = explain(state, device, row)
    port = device.ports.get(device.flows.egress_port[row])
    return {
        "device": dpid_text(device.dpid),
        "device_name": told.device,
        "class": told.class_name,
        "rule": told.rule,
        "rules_before": [{"rule": item.rule, "unmet": list(item.unmet)} for item in told.rules_before],
        "hint": told.hint,
        "port": port.name if port else "",
        "queue_id": None if told.queue_id == NO_QUEUE else told.queue_id,
        "kind": KIND_WORDS[told.kind],
        "reason": told.reason,
        "since": moment(clock, told.since),
        "considered": [_considered(item) for item in told.alternatives],
        "not_hardware": told.not_hardware,
        "meter": told.meter,
        "entry": told.entry,
        "would_change": list(told.would_change),
    }


def _considered(item: Alternative) -> QueueConsidered:
    return {
        "queue_id": item.queue_id,
        "kind": KIND_WORDS[item.kind],
        "load": item.load,
        "flows": item.flows,
        "why": item.why,
    }
