"""Every object that REST answers, field by field: the one source of the views' types and of ``/openapi.json``.

The text beside a type is the field's description. Rates are bit/s, sizes bytes, times RFC 3339 in UTC;
durations are seconds. ``dpid`` and ``device`` are 16 hex digits, as in ``ovs-ofctl show``.

Objects that REST answers about flows: see :mod:`flowlane.northbound.types` for how they are declared.

Objects that REST takes and answers about policy and hints: see :mod:`flowlane.northbound.types`.
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
EventKind = Literal["flow", "assignment", "move", "device", "vm", "queue", "policy", "hint", "error"]
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


class HintMark(OfClass):
    """A suggestion that counts for a flow."""

    source: HintOrigin


class MeterView(TypedDict):
    """A meter that enforces a limit."""

    id: int
    rate: Annotated[int, "bit/s"]
    burst: Annotated[int, "bits"]


class Endpoints(TypedDict):
    """Who talks to whom."""

    family: Family
    protocol: Annotated[
        str, "tcp, udp, sctp, icmp, icmpv6, an IP protocol's number, or an ethertype such as 0x88f7"
    ]
    src: str
    dst: str
    src_port: Annotated[int | None, "null where the protocol has no ports; the type for ICMP"]
    dst_port: Annotated[int | None, "null where the protocol has no ports; the code for ICMP"]
    vlan: int | None
    vm: Annotated[str | None, "id of the VM that sends it"]


class Placement(TypedDict):
    """Where one device has a flow."""

    device: Dpid
    port: str
    port_no: int
    queue_id: Annotated[int | None, "null: without set_queue"]
    kind: Kind
    meter: MeterView | None
    reason: Annotated[str, "why it is there, in one word"]
    since: Moment
    pinned: Annotated[bool, "Flowlane put an exact entry into the device"]
    entry: Annotated[
        Literal["pin", "learned", "standing"],
        "what holds the flow: Flowlane's exact entry, one that the device made itself, or the standing rules alone",
    ]


class FlowView(Endpoints, OfClass):
    """A flow with its characteristics. What differs by device is taken from the first in ``assignments``."""

    id: str
    rate: BitRate
    limit: Annotated[int | None, "bit/s that the flow may send"]
    priority: int
    hint: HintMark | None
    dscp: int
    pcp: int
    packets: int
    bytes: int
    first_seen: Moment
    last_active: Moment
    assignments: list[Placement]


class AssignmentView(Placement, Endpoints, OfClass):
    """A flow's queue on one device."""

    flow: Annotated[str, "id of the flow"]
    rate: BitRate


class RuleNotTaken(TypedDict):
    """A rule that was looked at before the one that took the flow."""

    rule: str
    unmet: Annotated[list[str], "the parts of it that do not hold"]


class QueueConsidered(TypedDict):
    """A queue that the flow could be on."""

    queue_id: int
    kind: Kind
    load: BitRate
    flows: int
    why: Annotated[str, "why it was not taken; empty: it was"]


class DeviceExplanation(OfClass):
    """Why one device has a flow where it is."""

    device: Dpid
    device_name: str
    rule: str
    rules_before: list[RuleNotTaken]
    hint: str
    port: str
    queue_id: int | None
    kind: Kind
    reason: str
    since: Moment
    considered: list[QueueConsidered]
    not_hardware: Annotated[str, "why it has no physical queue; empty: it has one"]
    meter: str
    entry: str
    would_change: list[str]


class Explanation(TypedDict):
    """Why each device has a flow where it is."""

    flow: str
    devices: list[DeviceExplanation]


class HintView(OfClass):
    """A VM's suggestion, handed over apart from the flow."""

    id: str
    vm: str
    match: Annotated[dict[str, Any], "flows that it is about; empty: all of the VM's"]
    source: HintOrigin
    expires: Annotated[str | None, "RFC 3339; null: it stays"]


class Hints(TypedDict):
    """All suggestions of a VM."""

    vm: str
    hints: list[HintView]


class HintInput(OfClass):
    """A suggestion as it is handed over."""

    match: NotRequired[Annotated[dict[str, Any], "keys as in a policy rule's packet part; empty: all flows"]]
    lifetime: NotRequired[Annotated[float | None, "s; null or absent: it stays"]]


class HintsInput(TypedDict):
    """All suggestions of a VM that REST shall know from now on."""

    hints: list[HintInput]


class ClassView(TypedDict):
    """A class of the policy in force."""

    name: str
    priority: int
    qos: str
    rate_limit: Annotated[int | None, "bit/s"]
    min_rate: Annotated[int | None, "bit/s"]
    exclusive: bool
    path: Annotated[str, "hardware, prefer-hardware or software"]


class PolicyView(TypedDict):
    """The policy in force."""

    text: Annotated[str, "the YAML document"]
    classes: list[ClassView]
    rules: list[str]
    strategy: str


class FlowChange(TypedDict):
    """What a policy would do to the flows of all devices, at the rates that they have now."""

    total: int
    reclassified: Annotated[int, "would be of another class"]
    moved: Annotated[int, "would be on another queue after ten seconds"]


class PolicyChange(TypedDict):
    """What a policy document changes against the one in force."""

    applied: bool
    classes_added: list[str]
    classes_removed: list[str]
    classes_changed: list[str]
    rules_added: list[str]
    rules_removed: list[str]
    rules_changed: list[str]
    flows: NotRequired[Annotated[FlowChange, "of a check: what it would do to the flows that there are"]]
