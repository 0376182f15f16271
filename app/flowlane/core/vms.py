"""Who is a VM, and how it is known.

A VM's identity stands where libvirt, OpenStack and Kubernetes already write it, on OVSDB's Interface row:
``external_ids`` ``iface-id``, ``vm-uuid`` and ``attached-mac`` (ovs-vswitchd.conf.db(5)). A VM with two NICs has
one ``vm-uuid`` and two ``iface-id``; each NIC has its own place on a device, so the ``iface-id`` counts first.
A port with none of them is a VM known by the port's name.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from zlib import crc32

from flowlane.core.model import NOT_A_VM, UNRESOLVED_VM, PortFacts, PortRole, Role

_MAC = re.compile(r"(?:[0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}\Z")
_ROLE_KEY = "flowlane-port"
_RESERVED = frozenset((NOT_A_VM, UNRESOLVED_VM))


def vm_number(vm_id: str, taken: Container[int]) -> int:
    """A number for a VM: the CRC-32 of its id, or the next free one. The same after a restart."""
    number = crc32(vm_id.encode())
    while number in taken or number in _RESERVED:
        number = (number + 1) & 0xFFFFFFFF
    return number


def identity(port_name: str, external_ids: Mapping[str, str]) -> tuple[str, str, str]:
    """(id, name, where it is from) of the VM on a port."""
    for source in ("iface-id", "vm-uuid"):
        if external_ids.get(source):
            return external_ids[source], external_ids.get("vm-name") or port_name, source
    return port_name, port_name, "port"


def attached_macs(external_ids: Mapping[str, str]) -> tuple[int, ...]:
    """The addresses that OVSDB says are the VM's; what is not a MAC address is passed over."""
    macs = (read_mac(text) for text in external_ids.get("attached-mac", "").replace(",", " ").split())
    return tuple(sorted({mac for mac in macs if mac is not None}))


def read_mac(text: str) -> int | None:
    """Six pairs of hex digits with colons or dashes between, as a 48-bit number; None for anything else."""
    if not _MAC.match(text):
        return None
    return int(text.replace("-", "").replace(":", ""), 16)


def port_role(
    port_name: str,
    facts: PortFacts | None,
    device_role: Role,
    queues: int,
    uplinks: Container[str],
    local: bool,
) -> PortRole:
    """What hangs on a port: what OVSDB or the policy say, else what the port looks like.

    A port with a VM's ids is a VM's; the switch's own LOCAL port is the host's; several queues make an uplink
    on a host's device; any other port is a VM's on a host's device and on a plain switch alike [0053].
    """
    ids = facts.external_ids if facts else {}
    stated = ids.get(_ROLE_KEY)
    if stated in set(PortRole):
        return PortRole(stated)
    if port_name in uplinks:
        return PortRole.UPLINK
    if local:
        return PortRole.HOST
    if any(ids.get(key) for key in ("vm-uuid", "iface-id", "attached-mac")):
        return PortRole.VM
    if queues > 1:
        return PortRole.LINK if device_role is Role.SWITCH else PortRole.UPLINK
    return PortRole.VM
