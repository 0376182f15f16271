"""Roles of ports and devices, each with the evidence for it [0053].

The first of these that applies decides about a port:

1. ``external_ids:flowlane-port`` of its Interface or Port row, the operator's word;
2. ``uplinks`` of the policy;
3. the bridge's own port is the host's;
4. a VM's external ids (``iface-id``, ``vm-uuid``, ``attached-mac``) make a VM port;
5. its type in OVSDB: patch ports are links, tunnels and DPDK ports uplinks, vhost-user ports VM ports;
6. a bond is an uplink;
7. the driver of a physical NIC makes an uplink;
8. queues make an uplink (a link on a switch), where other ports have none, and no uplink is known otherwise;
9. a probe that another device of ours sent (:mod:`flowlane.core.topology.discovery`) makes a link;
10. any other port is a VM's.

Queues on every port show nothing: people shape the traffic towards VMs too.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.model import Ambiguity, PortRole, QueueKind, Role
from flowlane.core.pacing import no_pause, paced

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from flowlane.core.model import PortFacts

ROLE_KEY = "flowlane-port"
"""External id with the role of a port, in OVSDB's Interface or Port row."""

IDENTITY_KEYS = ("iface-id", "vm-uuid", "attached-mac")
"""External ids by which libvirt, OpenStack and Kubernetes say that a VM is on an interface."""

TUNNELS = frozenset(
    ("vxlan", "geneve", "gre", "ip6gre", "gtpu", "erspan", "ip6erspan", "stt", "lisp", "bareudp", "srv6")
)
"""Types of interfaces that are tunnels (ovs-vswitchd.conf.db(5), table Interface, column type)."""

_VHOST = frozenset(("dpdkvhostuser", "dpdkvhostuserclient"))

VIRTUAL_DRIVERS = frozenset(
    (
        *("tun", "tap", "veth", "openvswitch", "dummy", "vif", "macvlan", "macvtap", "ipvlan", "ipvtap"),
        *("netkit", "ifb", "netdevsim"),
    )
)
"""``status:driver_name`` of devices that software makes, among them those that VMs and containers are attached by."""

_REPRESENTOR = re.compile(r"(?:pf\d+)?[vs]f\d+\Z")
"""The end of the usual names of VF and SF representors (Linux, Documentation/networking/representors.rst); several
drivers report the same driver name for them and for the NIC's own port."""


class Evidence(IntEnum):
    """What a port's role rests on, the strongest first."""

    OPERATOR = 1
    POLICY = 2
    LOCAL = 3
    IDENTITY = 4
    TYPE = 5
    BOND = 6
    DRIVER = 7
    QUEUES = 8
    PROBE = 9
    NOTHING = 10


class PortView(NamedTuple):
    """What the role of a port depends on; ``facts`` None: OVSDB does not have it.

    ``neighbour``: a probe of another device has come in by it.
    """

    name: str
    facts: PortFacts | None = None
    queues: Collection[int] = ()
    is_local: bool = False
    neighbour: bool = False


class RoleOf(NamedTuple):
    """A port's role, the reason as a clause ("the port is ...") for people, and the kind of evidence."""

    role: PortRole
    reason: str
    evidence: Evidence


def port_roles(
    ports: Mapping[int, PortView],
    device_role: Role,
    uplinks: Collection[str],
    pace: Callable[[], None] = no_pause,
) -> dict[int, RoleOf]:
    """Infer the roles of a device's ports: port number -> role.

    Args:
        uplinks: names of ports that the policy lists as uplinks.
        pace: called now and then (see :mod:`flowlane.core.pacing`).
    """
    known = {
        number: role for number, port in paced(ports.items(), pace) if (role := role_by_itself(port, uplinks))
    }
    others = {number: port for number, port in ports.items() if number not in known}
    roles = {**known, **_by_queues(others, known.values(), device_role)}
    probed = RoleOf(PortRole.LINK, "a probe of another device came in by it", Evidence.PROBE)
    guessed = (number for number, port in others.items() if port.neighbour)
    return roles | {number: probed for number in guessed if roles[number].role is PortRole.VM}


def infer_device_role(ports: Collection[PortView]) -> Role:
    """Infer the role of a device without a configured one: a NIC has physical queues, or VMs known by their ids.

    A device in no database that other devices are connected to by two ports or more is a switch between them.
    """
    if sum(port.neighbour for port in ports) > 1 and all(port.facts is None for port in ports):
        return Role.SWITCH
    facts = [port.facts for port in ports if port.facts is not None]
    kinds = {queue.kind for described in facts for queue in described.queues.values()}
    if kinds == {QueueKind.SOFTWARE}:
        return Role.VSWITCH
    named = any(described.external_ids.get(key) for described in facts for key in ("iface-id", "vm-uuid"))
    return Role.NIC if named or kinds or any(len(port.queues) > 1 for port in ports) else Role.SWITCH


def ambiguities(ports: Mapping[int, PortView], roles: Mapping[int, RoleOf]) -> Iterator[Ambiguity]:
    """List the ports whose role is a guess that the operator should confirm."""

    def named(role: PortRole, *evidence: Evidence) -> tuple[str, ...]:
        numbers = (number for number in sorted(roles) if roles[number].role is role)
        return tuple(ports[number].name for number in numbers if roles[number].evidence in evidence)

    for role in (PortRole.UPLINK, PortRole.LINK):
        by_queues = named(role, Evidence.QUEUES)
        if by_queues:
            yield Ambiguity(
                by_queues,
                role,
                "only its queues say so" if len(by_queues) == 1 else "only their queues say so",
            )
    by_driver = named(PortRole.UPLINK, Evidence.DRIVER)
    if len(by_driver) > 1:
        yield Ambiguity(
            by_driver, PortRole.UPLINK, "only their driver says so; one may be the representor of a VF"
        )
    guessed = named(PortRole.VM, Evidence.NOTHING, Evidence.QUEUES)
    if len(guessed) > 1 and not any(role.role in (PortRole.UPLINK, PortRole.LINK) for role in roles.values()):
        yield Ambiguity(guessed, PortRole.VM, "no port is known to be the uplink, one of these may be")


def has_queues(port: PortView) -> bool:
    """Whether somebody has given the port queues: some ports without a QoS row report a queue 0 all the same."""
    if port.facts is None:
        return bool(port.queues)
    return bool(port.facts.queues) or any(queue_id != 0 for queue_id in port.queues)


def role_by_itself(port: PortView, uplinks: Collection[str]) -> RoleOf | None:
    """Infer a port's role from what is known of it alone; None when that is not enough."""
    facts = port.facts
    ids = facts.external_ids if facts else {}
    stated = ids.get(ROLE_KEY)
    if stated in set(PortRole):
        return RoleOf(PortRole(stated), f"external_ids:{ROLE_KEY}={stated} in OVSDB", Evidence.OPERATOR)
    if port.name in uplinks or (facts is not None and facts.port in uplinks):
        return RoleOf(PortRole.UPLINK, "the policy lists it under uplinks", Evidence.POLICY)
    if port.is_local:
        return RoleOf(PortRole.HOST, "it is the bridge's own port", Evidence.LOCAL)
    key = next((key for key in IDENTITY_KEYS if ids.get(key)), None)
    if key is not None:
        return RoleOf(PortRole.VM, f"external_ids:{key} names a VM", Evidence.IDENTITY)
    return _by_hardware(facts) if facts is not None else None


def _by_hardware(facts: PortFacts) -> RoleOf | None:
    """Infer a port's role from its type, its bond or its driver; None when they show nothing."""
    kind = facts.interface_type
    is_representor = "representor=" in facts.options.get("dpdk-devargs", "")
    if kind in _VHOST or is_representor:
        return RoleOf(PortRole.VM, f"it is a {kind} port of a VM", Evidence.TYPE)
    if kind == "patch":
        peer = facts.options.get("peer", "")
        return RoleOf(PortRole.LINK, f"it is a patch port to {peer or 'another bridge'}", Evidence.TYPE)
    uplinks = (
        (kind in TUNNELS, f"it is a {kind} tunnel", Evidence.TYPE),
        (bool(facts.members), f"it is a member of bond {facts.port}", Evidence.BOND),
        (kind == "dpdk", "it is a DPDK port", Evidence.TYPE),
        (bool(facts.driver) and not _is_virtual(facts), f"its driver is {facts.driver}", Evidence.DRIVER),
    )
    return next((RoleOf(PortRole.UPLINK, reason, by) for applies, reason, by in uplinks if applies), None)


def _is_virtual(facts: PortFacts) -> bool:
    """Whether the device is made by software or stands for a VM's VF, by the names of the driver and the interface."""
    driver = facts.driver
    return driver in VIRTUAL_DRIVERS or driver.endswith("_rep") or bool(_REPRESENTOR.search(facts.name))


def _by_queues(
    others: Mapping[int, PortView], known: Collection[RoleOf], device_role: Role
) -> dict[int, RoleOf]:
    """Give the remaining ports their roles: those with queues may be uplinks or links, all others are VM ports."""
    with_queues = {number for number, port in others.items() if has_queues(port)}
    role = PortRole.LINK if device_role is Role.SWITCH else PortRole.UPLINK
    nothing = RoleOf(PortRole.VM, "nothing says that it is anything else", Evidence.NOTHING)
    roles = dict.fromkeys(others, nothing)
    if _queues_tell(len(with_queues), len(others), known, device_role):
        alone = (
            "it has queues" if len(with_queues) == len(others) else "it has queues and other ports have none"
        )
        return roles | dict.fromkeys(with_queues, RoleOf(role, alone, Evidence.QUEUES))
    reason = (
        "it has queues, but so have the others"
        if len(with_queues) == len(others)
        else "it has queues, but the uplink is known"
    )
    return roles | dict.fromkeys(with_queues, RoleOf(PortRole.VM, reason, Evidence.QUEUES))


def _queues_tell(with_queues: int, others: int, known: Iterable[RoleOf], device_role: Role) -> bool:
    """Whether queues show which of the ports without any other evidence are uplinks or links."""
    roles = {role.role for role in known}
    if device_role is not Role.SWITCH and PortRole.UPLINK in roles:
        return False
    return with_queues < others or others == 1 or PortRole.VM in roles
