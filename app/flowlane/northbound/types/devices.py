"""Types of the lists over all devices: ports, meters, groups, and what of the policy is left out."""

from __future__ import annotations

from typing import Annotated, Literal, TypedDict

from flowlane.northbound.types import LeftOutView, PortView
from flowlane.northbound.types.forms import Dpid


class OfDevice(TypedDict):
    """Which device an item is of."""

    device: Dpid
    device_name: str


class DevicePortView(OfDevice, PortView):
    """A port of a device, with its role and the reason for it."""


class DeviceLeftOutView(OfDevice, LeftOutView):
    """A part of the policy that a device does not get."""


DeviceMeterView = TypedDict(
    "DeviceMeterView",
    {
        "device": Dpid,
        "device_name": str,
        "meter_id": int,
        "rate": Annotated[int, "bit/s"],
        "burst": Annotated[int, "bits"],
        "class": Annotated[str, "the class whose limit it enforces"],
        "limits": Annotated[
            Literal["class", "vm", "flow"],
            "what it limits: all flows of the class, those of a VM, or one flow",
        ],
        "vm": Annotated[str | None, "id of the VM; null: the flows of several"],
        "flow": Annotated[str | None, "id of the flow; null: it is not the meter of one flow"],
        "flows": Annotated[int, "flows that have an exact entry with it"],
        "standing": Annotated[bool, "it stands with the rules, whether flows use it or not"],
        "packets_in": Annotated[int | None, "null: not read yet, as the three after it"],
        "bytes_in": int | None,
        "packets_dropped": int | None,
        "bytes_dropped": int | None,
    },
)
DeviceMeterView.__doc__ = "A meter of Flowlane's on a device."


class BucketView(TypedDict):
    """One way out of a group."""

    queue_id: Annotated[int | None, "null: without set_queue"]
    weight: Annotated[int, "relative to the other buckets'"]


class GroupView(OfDevice):
    """A group of type select of Flowlane's on a device, by which it spreads new flows over queues."""

    group_id: int
    select_by: Annotated[str, "selection method; empty: the device's own"]
    buckets: list[BucketView]
