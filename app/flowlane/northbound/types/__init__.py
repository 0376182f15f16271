"""Types of the JSON objects of REST; the views have these types, and ``/openapi.json`` is made from them.

The text beside a type is the field's description in OpenAPI. Rates are in bit/s, sizes in bytes, durations in
seconds, times RFC 3339 in UTC. ``dpid`` and ``device`` are 16 hex digits, as in ``ovs-ofctl show``.
"""

from __future__ import annotations

from typing import Annotated, Generic, Literal, NotRequired, TypedDict, TypeVar

from flowlane.northbound.types.forms import Dpid, Moment
from flowlane.northbound.types.paths import CameFrom, OtherPathView
from flowlane.northbound.types.policies import PolicyOriginView
from flowlane.northbound.types.referrals import MemberAddress, Members

Seconds = Annotated[float, "s"]
BitRate = Annotated[float, "bit/s"]
Kind = Literal["physical", "software", "none"]
HintOrigin = Literal["dscp", "pcp", "rest", "ovsdb"]
Family = Literal["ipv4", "ipv6", "ethernet"]
PortRoleWord = Literal["vm", "uplink", "host", "link", "ignore"]
EventKind = Literal["flow", "assignment", "move", "device", "vm", "queue", "policy", "hint", "link", "error"]
Item = TypeVar("Item")

OfClass = TypedDict("OfClass", {"class": Annotated[str, "a class of the policy"]})
OfOneClass = TypedDict(
    "OfOneClass", {"class": Annotated[str | None, "null: flows of several classes, or none"]}
)


class Page(TypedDict, Generic[Item]):
    """A page of a list."""

    items: list[Item]
    next: Annotated[str | None, "cursor of the next page; null at the end"]
    members: NotRequired[Members]


class CheckResult(TypedDict):
    """A condition of readiness."""

    name: str
    ok: bool
    problem: Annotated[str, "empty when the condition is met"]


class Health(TypedDict):
    """Liveness or readiness of the controller."""

    ok: bool
    checks: list[CheckResult]


class DeviceCounts(TypedDict):
    """Numbers of devices."""

    known: int
    connected: int
    waiting: Annotated[
        int, "they have a connection, and are left as they are until their database can be read"
    ]


class DatabaseCounts(TypedDict):
    """Numbers of Open vSwitch databases."""

    known: int
    synchronized: int


class KindCounts(TypedDict):
    """Assignments by kind of queue."""

    physical: int
    software: int
    none: Annotated[int, "flows that leave their port without set_queue"]


class PolicySummary(TypedDict):
    """Names in the policy in force."""

    classes: list[str]
    rules: list[str]
    strategy: Annotated[str, "strategy that places flows on queues"]


class Status(TypedDict):
    """The controller's own state."""

    version: str
    started: Moment
    uptime: Seconds
    ready: bool
    checks: list[CheckResult]
    devices: DeviceCounts
    databases: DatabaseCounts
    vms: int
    flows: Annotated[int, "a flow on several devices counts on each of them"]
    assignments: KindCounts
    policy: PolicySummary


class Capabilities(TypedDict):
    """What the device can do, as probed."""

    max_meters: Annotated[int, "0: the device has no meters"]
    meter_burst: bool
    select_groups: bool
    max_groups: int
    tables: int
    learn: Annotated[bool, "supports Open vSwitch's learn action"]
    conntrack: Annotated[bool, "supports Open vSwitch's connection tracking action"]
    sample: Annotated[bool, "supports Open vSwitch's sample action"]
    controller_meter: Annotated[bool, "meters its packet-ins"]
    description: str


class BondView(TypedDict):
    """A bond: several interfaces that OVSDB has as one port."""

    name: str
    mode: Annotated[str, "active-backup, balance-slb or balance-tcp"]
    members: Annotated[list[int], "numbers of its ports"]


class VlanView(TypedDict):
    """VLANs of a port, as ovs-vswitchd.conf.db(5) has them in table Port."""

    mode: Annotated[str, "access, trunk, native-tagged, native-untagged or dot1q-tunnel"]
    tag: Annotated[int | None, "access or native VLAN; null: none"]
    trunks: Annotated[list[int], "VLANs of a trunk; empty: all"]


class PortView(TypedDict):
    """A port of a device."""

    port_no: int
    name: str
    role: PortRoleWord
    role_reason: Annotated[str, "why it has that role; external_ids:flowlane-port in OVSDB overrides it"]
    up: Annotated[bool | None, "whether its link is up; null: not reported"]
    bond: Annotated[BondView | None, "the bond that it is a member of; null: none"]
    vlan: Annotated[VlanView | None, "its VLANs; null: not described in OVSDB"]
    queues: Annotated[list[int], "ids of the queues that the switch reports"]
    rate: Annotated[int | None, "capacity of the port in bit/s; null: unknown"]


class QueueCounts(TypedDict):
    """Numbers of queues of one kind: all, and those without a flow."""

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
    remedy: Annotated[str, "how the device would get it"]


class AmbiguityView(TypedDict):
    """Ports whose role is a guess; external_ids:flowlane-port in OVSDB settles it."""

    ports: Annotated[list[str], "their names"]
    role: PortRoleWord
    why: str


class SamplingView(TypedDict):
    """Sampling on a device."""

    one_in: Annotated[int, "one packet in so many is sampled, of flows without an exact entry"]
    ports: Annotated[list[int], "the egress ports whose packets are sampled"]
    samples: Annotated[int, "samples that the controller has received"]
    noticed: Annotated[int, "how many times samples have met a rate condition before counters did"]


class DeviceView(TypedDict):
    """A device: one OpenFlow datapath."""

    dpid: Dpid
    name: str
    role: Literal["nic", "vswitch", "switch"]
    role_source: Annotated[
        Literal["rest", "ovsdb", "policy", "inferred"], "who says so; inferred: its ports and queues"
    ]
    connected: bool
    waits_for: Annotated[
        Literal["database"] | None,
        "what has to be known before anything is changed in it; null: nothing",
    ]
    declared: Annotated[bool, "a passive switch of the policy: it has no connection, marks choose its queues"]
    since: Annotated[Moment | None, "when the connection last began or ended"]
    peer: Annotated[str, "address of the switch"]
    version: Annotated[str, "OpenFlow version, such as 1.3"]
    forwarding: Annotated[
        Literal["normal", "own"],
        "normal: the switch forwards by itself, Flowlane adds queue and meter; own: Flowlane chooses the port too",
    ]
    queues_by: Annotated[
        Literal["set-queue", "dscp", "pcp"],
        "how the queue of a packet is chosen: by OpenFlow's set_queue, or by the mark that Flowlane writes",
    ]
    capabilities: Capabilities
    ports: list[PortView]
    ambiguous: Annotated[list[AmbiguityView], "ports whose role is a guess"]
    flows: int
    pinned: Annotated[int, "flows with an exact entry in the device"]
    mode: Annotated[
        Literal["worthy", "all", "reactive"],
        "which flows get a pin; all where the policy has worthy, but the device cannot learn flows",
    ]
    pin_budget: Annotated[int, "largest number of exact entries in the device"]
    copies_dropped: Annotated[
        int | None,
        "copies of packets that the device's rate limit dropped; null: it does not count them",
    ]
    sampling: Annotated[SamplingView | None, "null: nothing is sampled"]
    meters: Annotated[int, "meters in use"]
    queues: QueuesByKind
    left_out: Annotated[list[LeftOutView], "parts of the policy that the device does not get"]
    refusals: Annotated[dict[str, int], "number of messages that the device refused, by reason"]
    unusable: Annotated[str | None, "why Flowlane leaves the device alone; null: it is used"]
    conflicts: Annotated[list[str], "where entries of other controllers and Flowlane's conflict"]
    dpid_shared_by: Annotated[
        list[str], "addresses of the switches that connect with this dpid in turns; mostly empty: one does"
    ]
    vms_in_conflict: Annotated[list[str], "ids of its VMs that have conflicts, as GET /v1/vms lists them"]


class QueueView(OfOneClass):
    """A queue of an egress port."""

    device: Dpid
    port: str
    port_no: int
    queue_id: int
    kind: Kind
    mark: Annotated[
        int | None, "DSCP or PCP that chooses the queue (queues_by of the device); null: set_queue"
    ]
    min_rate: Annotated[int | None, "bit/s"]
    max_rate: Annotated[int | None, "bit/s"]
    flows: int
    load: BitRate
    exclusive: Annotated[bool, "one flow has the queue to itself"]
    classes: Annotated[list[str], "classes of its flows, in the policy's order"]
    admission: Annotated[
        Literal["open", "cordoned", "draining", "drained"],
        "cordoned: it takes no new flows; draining: those that it has are moved away, too; drained: they have gone",
    ]
    other_open_queues: Annotated[
        int, "queues of the port beside this one that take flows; 0: this one cannot be cordoned or drained"
    ]
    cordoned_since: Annotated[Moment | None, "null: the queue is open"]
    cordoned_flows: Annotated[int | None, "flows that it had then; flows says how many are left"]
    tx_packets: int | None
    tx_bytes: int | None
    tx_errors: int | None


class ProblemPlace(TypedDict):
    """One mistake in a document."""

    line: Annotated[int, "counted from 1; 0: none"]
    column: int
    path: str
    detail: str
    remedy: str


class Problem(TypedDict):
    """Why a request failed (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    field: NotRequired[Annotated[str, "the query parameter, header or key at fault"]]
    errors: NotRequired[list[ProblemPlace]]
    members: NotRequired[
        Annotated[list[MemberAddress], "other controllers, which may have what is not here (404)"]
    ]


class HintMark(OfClass):
    """The hint that gave a flow its class."""

    source: HintOrigin


class MeterView(TypedDict):
    """A meter that enforces a limit."""

    id: int
    rate: Annotated[int, "bit/s"]
    burst: Annotated[int, "bits"]


class Endpoints(TypedDict):
    """Addresses and ports of a flow."""

    family: Family
    protocol: Annotated[
        str, "tcp, udp, sctp, icmp, icmpv6, an IP protocol's number, or an ethertype such as 0x88f7"
    ]
    src: str
    dst: str
    src_port: Annotated[int | None, "null where the protocol has no ports; the type for ICMP"]
    dst_port: Annotated[int | None, "null where the protocol has no ports; the code for ICMP"]
    vlan: int | None
    vm: Annotated[str | None, "id of the VM that sends the flow"]
    vm_name: Annotated[str | None, "name of that VM"]


class ManualPinMark(TypedDict):
    """An operator's pin of a flow on one device."""

    queue_id: int
    since: Moment
    expires: Moment
    in_force: Annotated[bool, "the flow is on its queue for this pin; false: it waits for room in the device"]


class Placement(TypedDict):
    """Where one device has a flow."""

    device: Dpid
    device_name: str
    port: str
    port_no: int
    queue_id: Annotated[int | None, "null: without set_queue"]
    kind: Kind
    meter: MeterView | None
    reason: Annotated[str, "why the flow is on this queue"]
    since: Moment
    pinned: Annotated[bool, "the flow has a pin"]
    manual_pin: Annotated[ManualPinMark | None, "null: no operator has pinned the flow here"]
    entry: Annotated[
        Literal["pin", "learned", "standing"],
        "what places the flow: a pin, an entry that the device made itself, or only the standing rules",
    ]


class FlowView(Endpoints, OfClass):
    """A flow with its characteristics. Values that differ by device are those of the first in ``assignments``."""

    id: str
    rate: BitRate
    passed_rate: Annotated[int, "bit/s that passes the flow's meter; without a meter the same as rate"]
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


class FlowAnswer(FlowView):
    """A flow, with the other controllers that lead devices where it may be assigned as well."""

    members: NotRequired[Members]


class AssignmentView(Placement, Endpoints, OfClass):
    """A flow's queue on one device."""

    flow: Annotated[str, "id of the flow"]
    rate: BitRate
    passed_rate: Annotated[int, "bit/s that passes the flow's meter; without a meter the same as rate"]


class RuleNotTaken(TypedDict):
    """A rule before the one that matches the flow."""

    rule: str
    unmet: Annotated[list[str], "parts of the rule that the flow does not match"]


class QueueConsidered(TypedDict):
    """A queue that was considered for the flow."""

    queue_id: int
    kind: Kind
    load: BitRate
    flows: int
    why: Annotated[str, "why the flow is not on it; empty: it is"]


class DeviceExplanation(OfClass):
    """Why one device has a flow on its queue."""

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
    not_hardware: Annotated[str, "why the flow has no physical queue; empty: it has one"]
    meter: str
    entry: str
    would_change: list[str]
    manual_pin: Annotated[ManualPinMark | None, "null: no operator has pinned the flow here"]
    came_from: Annotated[CameFrom | None, "where the flow was before; null: it began here"]
    other_paths: list[OtherPathView]


class HopView(TypedDict):
    """A device on the way of a flow, or a part of the way that is not known."""

    device: Annotated[str | None, "its datapath id; null: what is here is not known"]
    device_name: str
    in_port: Annotated[str | None, "null: not known"]
    out_port: Annotated[str | None, "null: not known, or by several"]
    queue_id: Annotated[int | None, "null: without set_queue, or no assignment"]
    assigned: Annotated[bool, "the device has an assignment of the flow"]
    note: Annotated[str, "why it has none, or what is not known; empty: it has one"]


class Explanation(TypedDict):
    """Why each device has a flow on its queue."""

    flow: str
    way: Annotated[list[HopView], "from the VM that sends the flow on, in order"]
    devices: Annotated[list[DeviceExplanation], "those with an assignment, in the order of the way"]
    members: NotRequired[Members]


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
    hash: Annotated[str, "SHA-256 of the text in UTF-8, in hexadecimal digits"]
    origin: PolicyOriginView
    classes: list[ClassView]
    rules: list[str]
    strategy: str


class FlowChange(TypedDict):
    """What a policy would do to the flows of all devices, at their present rates."""

    total: int
    reclassified: Annotated[int, "flows that would get another class"]
    moved: Annotated[int, "flows that would be on another queue after ten seconds"]


class PolicyChange(TypedDict):
    """Differences between a policy and the one in force."""

    applied: bool
    classes_added: list[str]
    classes_removed: list[str]
    classes_changed: list[str]
    rules_added: list[str]
    rules_removed: list[str]
    rules_changed: list[str]
    settings_changed: Annotated[list[str], "other keys of the document, such as port-security"]
    hash: NotRequired[
        Annotated[str, "of a policy that was applied: SHA-256 of its text, in hexadecimal digits"]
    ]
    kept: NotRequired[
        Annotated[bool, "of a policy that was applied: false: it is lost at a restart; the log says why"]
    ]
    flows: NotRequired[Annotated[FlowChange, "of a check only: effect on the present flows"]]
