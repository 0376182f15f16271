"""Types of REST for events and for the history of queues; OpenAPI is made of them."""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

from flowlane.northbound.types import EventKind
from flowlane.northbound.types.forms import Moment


class EventView(TypedDict):
    """An event: what happened to which flow, VM and device, and why."""

    id: Annotated[str, "the controller's start and a number; Last-Event-ID takes it"]
    time: Moment
    kind: EventKind
    change: Annotated[
        str, "what happened, in one word: seen, ended, assigned, moved, up, down, added and so on"
    ]
    text: Annotated[str, "the event in one line, for people"]
    why: Annotated[str, "its cause; empty where nothing more is known"]
    flow: Annotated[str | None, "id of the flow that it is about"]
    vm: Annotated[str | None, "id of the VM"]
    vm_name: Annotated[str | None, "null where the VM is gone"]
    device: Annotated[str | None, "dpid of the device"]
    device_name: Annotated[str | None, "null where the device is gone"]
    data: Annotated[dict[str, Any], "more, by kind"]


class QueueHistory(TypedDict):
    """What a queue has carried: one number for each moment of the answer."""

    port: str
    port_no: int
    queue_id: int
    load: Annotated[list[int], "bit/s, mean of the step"]
    peak: Annotated[list[int], "bit/s, highest sample of the step"]
    flows: Annotated[list[int], "at the end of the step"]
    moves_in: Annotated[list[int], "flows that moved to the queue in the step"]
    moves_out: Annotated[list[int], "flows that moved from it"]


class QueueHistories(TypedDict):
    """The history of a device's queues."""

    step: Annotated[float, "seconds from one moment to the next"]
    times: Annotated[list[Moment], "the moments at which the steps ended, the oldest first"]
    items: Annotated[list[QueueHistory], "by port and queue id"]
