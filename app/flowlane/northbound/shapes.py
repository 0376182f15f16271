"""Every object that REST answers, field by field: the one source of the views' types and of ``/openapi.json``.

The text beside a type is the field's description. Rates are bit/s, sizes bytes, times RFC 3339 in UTC;
durations are seconds. ``dpid`` and ``device`` are 16 hex digits, as in ``ovs-ofctl show``.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, NotRequired, TypedDict, TypeVar

Dpid = Annotated[str, "a device's datapath id: 16 hex digits"]
Moment = Annotated[str, "RFC 3339, UTC"]
Seconds = Annotated[float, "s"]
BitRate = Annotated[float, "bit/s"]
Kind = Literal["physical", "software", "none"]
HintOrigin = Literal["dscp", "pcp", "rest", "ovsdb"]
Family = Literal["ipv4", "ipv6", "ethernet"]
Item = TypeVar("Item")

OfClass = TypedDict("OfClass", {"class": Annotated[str, "a class of the policy"]})
OfOneClass = TypedDict(
    "OfOneClass", {"class": Annotated[str | None, "null: flows of several classes, or none"]}
)


class Page(TypedDict, Generic[Item]):
    """A part of a list."""

    items: list[Item]
    next: Annotated[str | None, "give it as cursor to get what follows; null at the end"]


class CheckResult(TypedDict):
    """One thing that readiness depends on."""

    name: str
    ok: bool
    problem: Annotated[str, "empty when all is well"]


class Health(TypedDict):
    """Whether the controller lives, or is ready."""

    ok: bool
    checks: list[CheckResult]


class DeviceCounts(TypedDict):
    """Devices in all and with a connection."""

    known: int
    connected: int


class KindCounts(TypedDict):
    """Assignments by the kind of queue they are on."""

    physical: int
    software: int
    none: Annotated[int, "the flow leaves its port without set_queue"]


class PolicySummary(TypedDict):
    """What the policy in force is made of."""

    classes: list[str]
    rules: list[str]
    strategy: Annotated[str, "how flows are placed"]


class Status(TypedDict):
    """The controller's own state."""

    version: str
    started: Moment
    uptime: Seconds
    ready: bool
    checks: list[CheckResult]
    devices: DeviceCounts
    vms: int
    flows: Annotated[int, "a flow that crosses several devices counts on each of them"]
    assignments: KindCounts
    policy: PolicySummary


class Capabilities(TypedDict):
    """What the device can do, as it was probed."""

    max_meters: Annotated[int, "0: the device has no meters"]
    meter_burst: bool
    select_groups: bool
    max_groups: int
    tables: int
    learn: Annotated[bool, "takes Open vSwitch's learn action"]
    conntrack: Annotated[bool, "takes its connection tracker's action too"]
    controller_meter: Annotated[bool, "limits its own packet-ins"]
    description: str


class PortView(TypedDict):
    """A port of a device."""

    port_no: int
    name: str
    role: Literal["vm", "uplink", "host", "link"]
    queues: Annotated[list[int], "ids of the queues that the switch reports"]
    rate: Annotated[int | None, "bit/s that the port can carry, null when unknown"]


class QueueCounts(TypedDict):
    """Queues of one kind: in all, and with no flow on them."""

    total: int
    free: int


class QueuesByKind(TypedDict):
    """Queues by kind."""

    physical: QueueCounts
    software: QueueCounts


class LeftOutView(TypedDict):
    """A part of the policy that this device does not get."""

    what: str
    why: str
    remedy: Annotated[str, "what would help"]


class DeviceView(TypedDict):
    """A device: one OpenFlow datapath."""

    dpid: Dpid
    name: str
    role: Literal["nic", "vswitch", "switch"]
    connected: bool
    since: Annotated[str | None, "RFC 3339; since when it is as connected as it is"]
    peer: Annotated[str, "address of the switch's end of the connection"]
    version: Annotated[str, "of OpenFlow, such as 1.3"]
    capabilities: Capabilities
    ports: list[PortView]
    flows: int
    pinned: Annotated[int, "flows with an exact entry in the device"]
    mode: Annotated[
        Literal["worthy", "all", "reactive"],
        "which flows get a pin; all where the policy says worthy, but the device does not learn by itself",
    ]
    pin_budget: Annotated[int, "exact entries that the device may get at most"]
    copies_dropped: Annotated[
        int | None,
        "packet copies that the device's rate limit kept from the controller; null: it does not count",
    ]
    meters: Annotated[int, "meters in use"]
    queues: QueuesByKind
    left_out: Annotated[list[LeftOutView], "what of the policy the device does not get, and why"]
    refusals: Annotated[dict[str, int], "messages that the device refused, by its reason"]


class QueueView(OfOneClass):
    """A queue of an egress port."""

    device: Dpid
    port: str
    port_no: int
    queue_id: int
    kind: Kind
    min_rate: Annotated[int | None, "bit/s"]
    max_rate: Annotated[int | None, "bit/s"]
    flows: int
    load: BitRate
    exclusive: Annotated[bool, "one flow has it to itself"]
    tx_packets: int | None
    tx_bytes: int | None
    tx_errors: int | None


class VmView(TypedDict):
    """A virtual machine and where it is attached."""

    id: str
    name: str
    number: Annotated[int, "marks the VM in the devices' metadata and cookies"]
    device: Dpid
    port: str
    port_no: int
    macs: list[str]
    source: Annotated[str, "where the id comes from: vm-uuid, iface-id or port"]
    external_ids: dict[str, str]
    flows: int
    hints: int


class ProblemPlace(TypedDict):
    """One thing that is wrong in a document that was sent."""

    line: Annotated[int, "from 1; 0 when there is none"]
    column: int
    path: str
    detail: str
    remedy: str


class Problem(TypedDict):
    """Why a request was not carried out (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    field: NotRequired[Annotated[str, "the query parameter, header or key that is at fault"]]
    errors: NotRequired[list[ProblemPlace]]


class EventView(TypedDict):
    """The data of one server-sent event."""

    time: Moment
    kind: str
    text: str
    data: dict[str, Any]
