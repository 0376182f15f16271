"""Types of the answers about the interfaces of one VM: its direct and its software path."""

from __future__ import annotations

from typing import Annotated, TypedDict

from flowlane.northbound.types.forms import Moment


class CameFrom(TypedDict):
    """Where a flow was before, with what is known of it."""

    device: Annotated[str, "datapath id"]
    device_name: str
    in_port: Annotated[str, "port by which it came in there"]
    port: Annotated[str, "port by which it left"]
    queue_id: Annotated[int | None, "its queue there; null: none"]
    flow: Annotated[str, "its id there"]
    at: Annotated[Moment, "when it was first seen here"]
    why: str


class OtherPathView(TypedDict):
    """Another interface by which the VM could send the flow; the choice is the VM's."""

    vm: Annotated[str, "id of the NIC"]
    device: Annotated[str, "datapath id"]
    device_name: str
    port: str
    up: bool
    has_room: Annotated[bool | None, "the queues there have room for the flow; null: there are no queues"]
    note: str


class PathView(TypedDict):
    """An interface of a VM that has several."""

    vm: Annotated[str, "id of the NIC"]
    device: Annotated[str, "datapath id"]
    port: str
    role: Annotated[str, "role of the device: nic (direct path), vswitch (software path), switch"]
    up: Annotated[bool, "its device is connected, and the link of its port is up"]
    flows: Annotated[int, "flows that the VM sends by it"]
