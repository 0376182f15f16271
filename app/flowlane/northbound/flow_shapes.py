"""Objects that REST answers about flows: see :mod:`flowlane.northbound.shapes` for how they are declared."""

from __future__ import annotations

from typing import Annotated, Literal, TypedDict

from flowlane.northbound.shapes import BitRate, Dpid, Family, HintOrigin, Kind, Moment, OfClass


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
