"""Types of the answers about VMs: where one is, which ports claim it, and what others claim, too."""

from __future__ import annotations

from typing import Annotated, Literal, TypedDict

from flowlane.northbound.types.forms import Dpid, Moment
from flowlane.northbound.types.paths import PathView


class ClaimView(TypedDict):
    """A port that claims to have a VM behind it."""

    device: Dpid
    device_name: Annotated[str, "empty where the device is gone"]
    port: str
    port_no: int
    state: Annotated[
        str,
        "current: the VM is there; waiting: it has not sent from there yet; left: it went elsewhere from there; "
        "inactive: the link is down, or OVSDB says that another interface is in use; contested: it sends there "
        "and elsewhere; path: it may send "
        "there as well, its other path on one host; disconnected: the device has no connection",
    ]
    sign: Annotated[str, "last sign of the VM there: row (the database only), packet, arp, rarp"]
    since: Annotated[str, "since when the port claims the VM"]
    seen: Annotated[str | None, "when that sign was seen; null: none but the row"]


class ConflictView(TypedDict):
    """What a VM and others claim."""

    what: Annotated[str, "address: a MAC address; identity: the VM's id"]
    key: Annotated[str, "the address, or the id"]
    others: Annotated[list[str], "ids of the other VMs, or the other ports as dpid/port"]
    holder: Annotated[str, "the VM, or the port, that has the traffic: the one that is known longest"]


class QuotaView(TypedDict):
    """A device on which a VM uses, or has used, more than its quota."""

    device: Dpid
    excess: Annotated[
        Literal["copies", "flows", "connections"] | None,
        "what it uses more of than its quota: its flows are placed by the standing rules alone; null: nothing any more",
    ]
    since: Annotated[Moment, "when it went beyond its quota the last time"]
    until: Annotated[Moment, "until when its flows are not followed at least"]
    times: Annotated[int, "how often it went beyond its quota"]


class VmView(TypedDict):
    """A virtual machine and where it is attached."""

    id: str
    name: str
    number: Annotated[int, "number of the VM in metadata and cookies of the devices"]
    device: Dpid
    device_name: Annotated[str, "empty where the device is gone"]
    port: str
    port_no: int
    macs: list[str]
    other_macs: Annotated[
        list[str], "source addresses that it has used, and that are not its own (at most 64)"
    ]
    source: Annotated[str, "source of the id: vm-uuid, iface-id or port"]
    external_ids: dict[str, str]
    vm_uuid: Annotated[
        str | None, "external id vm-uuid, which all NICs of one virtual machine have in common"
    ]
    nics: Annotated[list[str], "ids of all NICs with this vm-uuid, itself among them"]
    paths: Annotated[list[PathView], "the interfaces of a VM that has several, itself first"]
    claims: Annotated[list[ClaimView], "the ports that claim to have the VM, the oldest first"]
    conflicts: Annotated[list[ConflictView], "what of it others claim, too"]
    quota: Annotated[list[QuotaView], "devices where it is, or has been, beyond its quota"]
    flows: int
    hints: int
