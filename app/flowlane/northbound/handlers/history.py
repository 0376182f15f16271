"""``GET /v1/devices/{dpid}/queues/history``: what the queues of a device have carried within the last hour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane import pauses
from flowlane.northbound.handlers.read import find_device
from flowlane.northbound.http.slices import json_list
from flowlane.northbound.query import not_found, ports_named
from flowlane.northbound.views import moment

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from webob import Response

    from flowlane.core.state.device import Device
    from flowlane.northbound.http.routing import Call
    from flowlane.northbound.queue_history import QueueHistory as Kept
    from flowlane.northbound.queue_history import Step
    from flowlane.northbound.types.events import QueueHistory

DEFAULT_STEP = 15.0
"""Seconds: an hour is 240 steps."""


def queue_history(call: Call) -> Response:
    """Answer with load, flows and moves of the queues of a device, in steps of so many seconds."""
    device, kept = find_device(call), call.controller.history
    numbers: Collection[int] = device.ports
    if "port" in call.query:
        numbers = ports_named(device, call.query["port"])
        if not numbers:
            raise not_found("port", call.query["port"], [port.name for port in device.ports.values()])
    per = max(1, round(call.query.get("step", DEFAULT_STEP) / kept.step))
    since = call.query.get("since")
    clock = call.clock
    after = float("-inf") if since is None else clock.now - (clock.wall - since.unix(clock.wall))
    # To the millisecond, as moments are written: the last one of an answer, given as since, is not given again.
    steps = kept.steps(per, after + 0.0005)
    before = {"step": per * kept.step, "times": [moment(clock, step.ended) for step in steps]}
    items = _items(kept, device, numbers, steps)
    return json_list(items, before, after=dict, time_slice=pauses.ReadingSlice())


def _items(
    kept: Kept, device: Device, numbers: Collection[int], steps: Sequence[Step]
) -> Iterator[QueueHistory]:
    ports = [(port_no, port) for port_no, port in sorted(device.ports.items()) if port_no in numbers]
    for port_no, port in ports:
        for queue_id in sorted(port.queues):
            series = kept.read((device.dpid, port_no, queue_id), steps)
            yield {
                "port": port.label,
                "port_no": port_no,
                "queue_id": queue_id,
                "load": series.load,
                "peak": series.peak,
                "flows": series.flows,
                "moves_in": series.moves_in,
                "moves_out": series.moves_out,
            }
