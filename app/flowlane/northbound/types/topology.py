"""Types of the JSON objects about the topology: links, hosts, addresses, the way of a flow (see :mod:`.types`)."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired, TypedDict

from flowlane.northbound.types.forms import Dpid, Moment
from flowlane.northbound.types.referrals import Members

LinkStateWord = Literal["up", "down", "unconfirmed"]


class LinkEnd(TypedDict):
    """A port at the end of a link."""

    device: Dpid
    device_name: str
    port: str
    port_no: int


class LinkView(TypedDict):
    """A link between two ports of devices."""

    ends: list[LinkEnd]
    kind: Annotated[
        Literal["cable", "patch", "tunnel"],
        "cable: found by probes; patch: patch ports of one machine; tunnel: between tunnel ports",
    ]
    state: Annotated[
        LinkStateWord,
        "down: a port reports it; unconfirmed: no probe has crossed it for 120 s, or since a port came up again",
    ]
    since: Annotated[Moment | None, "when it got its state; null: OVSDB alone names it"]
    one_way: Annotated[bool, "probes come in at one end only"]


class TopologyDevice(TypedDict):
    """A device; a bridge without a connection is known by OVSDB alone, a passive switch by its declaration."""

    dpid: Dpid
    name: str
    role: Annotated[Literal["nic", "vswitch", "switch"] | None, "null: it has no connection"]
    connected: bool
    declared: Annotated[bool, "a passive switch, which has no connection"]
    host: Annotated[str | None, "id of the machine that it is on; null: it is in no database"]
    vms: Annotated[list[str], "ids of the VMs on it"]


class HostView(TypedDict):
    """A machine with an Open vSwitch database."""

    id: Annotated[str, "external_ids:system-id of the database, else the UUID of its row"]
    name: Annotated[str, "its hostname, else its system-id; empty: neither is stated"]
    devices: Annotated[list[Dpid], "its bridges"]
    device_names: Annotated[list[str], "names of these bridges, in the same order"]
    vms: Annotated[list[str], "ids of the VMs on its bridges"]


class UnknownEnd(LinkEnd):
    """A port to the network that is up and of which the other end is not known."""

    addresses: Annotated[int, "source addresses that were learned there"]
    remote: Annotated[str | None, "where its tunnel ends; null: it is no tunnel"]


class LoopView(TypedDict):
    """A loop of links that nobody breaks."""

    ports: list[LinkEnd]
    without_spanning_tree: Annotated[list[str], "names of the devices on it that run no spanning tree"]


class ExpectedPort(TypedDict):
    """A port of the expected network."""

    device: Dpid
    port: str


class DeviationView(TypedDict):
    """A difference between the expected network and the one that is known."""

    kind: Annotated[
        Literal[
            "missing-device",
            "unexpected-device",
            "missing-link",
            "unexpected-link",
            "miswired",
            "down",
            "unknown",
        ],
        "unknown: whether it differs cannot be seen",
    ]
    text: str
    ports: list[ExpectedPort]


class ExpectedView(TypedDict):
    """The comparison with the expected network."""

    source: Annotated[str, "name of the file"]
    deviations: list[DeviationView]


class TopologyView(TypedDict):
    """Devices, links and hosts as a graph."""

    devices: list[TopologyDevice]
    links: list[LinkView]
    hosts: list[HostView]
    unknown: list[UnknownEnd]
    loops: list[LoopView]
    expected: Annotated[ExpectedView | None, "null: none was given (flowlane-manager --topology)"]
    members: NotRequired[Members]


class AddressView(TypedDict):
    """Where an address is attached to the devices: a port that is no link between two of them."""

    mac: str
    vlan: Annotated[int | None, "VLAN inside of the bridge; 0: none; null: any"]
    device: Dpid
    device_name: str
    port: str
    port_no: int
    role: Literal["vm", "uplink", "host", "link", "ignore"]
    vm: Annotated[str | None, "id of the VM on the port; null: none, or not one only"]
