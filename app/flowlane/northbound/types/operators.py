"""Types of what operators change by hand: pins of flows, queues out of service, roles of devices, single hints."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired, TypedDict

from flowlane.northbound.types.forms import Dpid, Moment

Admission = Literal["open", "cordoned", "draining"]
DeviceRole = Literal["nic", "vswitch", "switch"]


class PinView(TypedDict):
    """A flow that an operator has pinned to a queue of one device."""

    flow: Annotated[str, "id of the flow"]
    device: Dpid
    device_name: str
    port: str
    port_no: int
    queue_id: int
    since: Moment
    expires: Moment
    in_force: Annotated[
        bool, "the flow is on that queue for this pin; false: it has ended, or waits for room in the device"
    ]


class Pins(TypedDict):
    """The pins of a flow that operators gave, one a device at most."""

    flow: str
    pins: list[PinView]


class PinInput(TypedDict):
    """A pin as it is sent; it replaces the flow's pin on the device."""

    queue_id: Annotated[int, "a queue of the port by which the flow leaves the device"]
    device: NotRequired[
        Annotated[
            str, "dpid or name of a device on the flow's way; it may be left out where there is only one"
        ]
    ]
    lifetime: NotRequired[Annotated[float, "s; more than 0 and at most 2592000; 3600 where it is left out"]]


class QueueInput(TypedDict):
    """Which flows a queue takes from now on."""

    admission: Annotated[
        Admission,
        "cordoned: no new flows, what is there stays; draining: these are moved away as well, within the limits",
    ]


class DeviceInput(TypedDict):
    """What of a device an operator sets."""

    role: Annotated[DeviceRole | None, "null: the role by OVSDB, the policy, or what the device looks like"]
