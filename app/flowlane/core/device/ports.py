"""Ports of a device, made from what OpenFlow and OVSDB report of them; bonds as one port.

In OpenFlow each interface of a bond is a port; in OVSDB the bond is one port, and its QoS row gives each interface the
same queues. Flowlane follows OVSDB: the member with the lowest number stands for the bond in the prediction of egress
ports, in metadata, flows and REST. It has the queues that all members report. Its rate is the sum of the rates of the
members whose link is up, or one of them where only one is active. Packets may come in by any member.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flowlane.core.device.hosts import drop_port_hosts, move_port_hosts, set_aside_port_hosts
from flowlane.core.device.roles import Evidence, PortView, RoleOf, ambiguities, port_roles
from flowlane.core.effects import DeleteLearned, Report
from flowlane.core.flow.assign import remove_flow
from flowlane.core.flow.pins import WORTHY, mode
from flowlane.core.model import Admission, PortRole, Queue, QueueFacts, QueueKind, Role
from flowlane.core.pacing import no_pause, paced
from flowlane.core.state.device import Port

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from flowlane.core.effects import Effect
    from flowlane.core.model import PortFacts, PortReport
    from flowlane.core.state.device import Device

_BALANCING = frozenset(("balance-slb", "balance-tcp"))
"""Bond modes in which all members carry packets (ovs-vswitchd.conf.db(5)); the default is ``active-backup``."""

_BONDED_ROLES = frozenset((PortRole.UPLINK, PortRole.LINK))


def refresh_ports(
    device: Device,
    uplinks: Collection[str],
    now: float,
    out: list[Effect],
    pace: Callable[[], None] = no_pause,
) -> None:
    """Make the ports of a device anew; flows that left by a port that is gone are removed.

    Args:
        uplinks: names of ports that the policy lists as uplinks.
        pace: called now and then (see :mod:`flowlane.core.pacing`).
    """
    for port_no in paced(list(device.ports), pace):
        _drop_if_gone(device, port_no, out)
    before, known = {port_no for port_no, port in device.ports.items() if port.up}, set(device.ports)
    views = port_views(device, pace)
    roles = port_roles(views, device.role, uplinks, pace)
    pace()
    device.ambiguities = tuple(ambiguities(views, roles))
    pace()
    for report in paced(device.reported_ports.values(), pace):
        _refresh_port(device, report, roles[report.port_no])
    _refresh_bonds(device, out)
    pace()
    device.queues_to_vms = any(
        port.role in (PortRole.VM, PortRole.HOST) and len(port.queues) > 1 for port in device.ports.values()
    )
    ports = device.ports.items()
    out.extend(paced(_reports_of_links(device, ports, known, before), pace))
    _follow_links(device, ports, before, now)


def refresh_some_ports(
    device: Device, numbers: Collection[int], roles: Mapping[int, RoleOf], now: float, out: list[Effect]
) -> None:
    """Make some ports of a device anew that have no queues and are in no bond, before and after.

    Args:
        roles: of those that are reported; neither they nor others' depend on one another.
    """
    for port_no in [port_no for port_no in device.ports if port_no in numbers]:
        _drop_if_gone(device, port_no, out)
    known = set(device.ports)
    before = {port_no for port_no in numbers if port_no in known and device.ports[port_no].up}
    for report in [report for port_no, report in device.reported_ports.items() if port_no in numbers]:
        _refresh_port(device, report, roles[report.port_no])
    ports = [(port_no, port) for port_no, port in device.ports.items() if port_no in numbers]
    out.extend(_reports_of_links(device, ports, known, before))
    _follow_links(device, ports, before, now)


def _drop_if_gone(device: Device, port_no: int, out: list[Effect]) -> None:
    if port_no not in device.reported_ports:
        drop_port_hosts(device, port_no)
        device.set_aside.pop(port_no, None)
        _leave_port(device, port_no, out)
        out.append(_report(device, device.ports.pop(port_no), "port-removed", "is gone"))


def _follow_links(device: Device, ports: Iterable[tuple[int, Port]], before: set[int], now: float) -> None:
    """Set the addresses aside of ports whose links are down now; ``before``: whose links were up."""
    for port_no, port in ports:
        if port_no in before and not port.up:
            # Who was behind it is learned again where they are now.
            set_aside_port_hosts(device, port_no)
        elif port.up and port_no in device.set_aside and port_no not in before:
            device.set_aside[port_no] = dict.fromkeys(device.set_aside[port_no], now)


def _reports_of_links(
    device: Device, ports: Iterable[tuple[int, Port]], known: set[int], up: set[int]
) -> Iterator[Report]:
    """Report the ports that have come since the first time, and the links that are up or down now."""
    for port_no, port in ports:
        if port_no not in known:
            if known:
                yield _report(device, port, "port-added", "was added")
        elif port.up != (port_no in up):
            yield _report(device, port, *(("port-up", "is up") if port.up else ("port-down", "is down")))


def _report(device: Device, port: Port, change: str, text: str) -> Report:
    data = {"device": f"{device.dpid:016x}", "port": port.name, "port_no": port.port_no, "change": change}
    return Report(
        "device", f"{device.name}: port {port.name} {text}", {**data, "why": "its switch reports it"}
    )


def port_views(device: Device, pace: Callable[[], None] = no_pause) -> dict[int, PortView]:
    """Collect what the roles of the device's ports depend on."""
    described = device.described.ports if device.described else {}
    return {
        number: _view(device, report, described.get(number))
        for number, report in paced(device.reported_ports.items(), pace)
    }


def port_view(device: Device, port_no: int) -> PortView | None:
    """Collect what the role of one port depends on; None when the switch does not report it."""
    report = device.reported_ports.get(port_no)
    facts = device.described.ports.get(port_no) if device.described else None
    return None if report is None else _view(device, report, facts)


def _view(device: Device, report: PortReport, facts: PortFacts | None) -> PortView:
    port = device.ports.get(report.port_no)
    queues = device.reported_queues.get(report.port_no, ())
    return PortView(report.name, facts, queues, report.is_local, port is not None and port.has_neighbour)


def _refresh_port(device: Device, report: PortReport, role: RoleOf) -> None:
    facts = device.described.ports.get(report.port_no) if device.described else None
    port = device.ports.get(report.port_no)
    if port is None:
        port = device.ports[report.port_no] = Port(report.port_no, report.name, role.role)
    port.name, port.report, port.facts = report.name, report, facts
    port.role, port.role_reason = role.role, role.reason
    port.is_guess = role.evidence in (Evidence.QUEUES, Evidence.NOTHING)
    port.up, port.bond_rate = report.up, None
    port.queues = (
        {}
        if role.role is PortRole.IGNORE
        else _queues(device, report.port_no, facts, role.role is PortRole.UPLINK)
    )


def _leave_port(device: Device, port_no: int, out: list[Effect]) -> None:
    """Remove the flows that left by a port that is gone."""
    flows = device.flows
    for row in [row for row in flows if flows.egress_port[row] == port_no]:
        remove_flow(device, row, out, unpin=True, why="the port by which it left is gone")
    if mode(device) == WORTHY:
        out.append(DeleteLearned(device.dpid, port_no))


def _queues(device: Device, port_no: int, facts: PortFacts | None, is_uplink: bool) -> dict[int, Queue]:
    """Return the queues that a flow may use: reported by the switch and, where OVSDB has any, still in OVSDB.

    Where the device chooses by mark, they are those that a mark reaches. Neither OpenFlow nor OVSDB may know them: an
    uplink without any has all that the policy maps marks to.
    """
    stated = facts.queues if facts else {}
    usual = QueueKind.SOFTWARE if device.role is Role.VSWITCH else QueueKind.PHYSICAL
    queues = {}
    reported = device.reported_queues.get(port_no, ())
    if device.marking is not None:
        by_mark = {queue_id for _, queue_id in device.marking.queues}
        known = (*reported, *stated)
        reported = tuple(by_mark.intersection(known) if known else by_mark if is_uplink else ())
    for queue_id in sorted(reported):
        if stated and queue_id not in stated:
            continue
        fact = stated.get(queue_id, QueueFacts())
        cordon = device.cordons.get((port_no, queue_id))
        queues[queue_id] = Queue(
            queue_id,
            fact.kind or usual,
            fact.min_rate,
            fact.max_rate,
            fact.priority,
            Admission.OPEN if cordon is None else cordon.admission,
        )
    return queues


def _refresh_bonds(device: Device, out: list[Effect]) -> None:
    """Make one port of the members of each bond; flows and addresses of the other members move or go."""
    before = device.bonds
    device.bonds = _representatives(device)
    for port_no, first in device.bonds.items():
        if port_no != first and before.get(port_no) != first:
            move_port_hosts(device, port_no, first)
            _leave_port(device, port_no, out)
    for first in set(device.bonds.values()):
        _unite(
            device.ports[first],
            [device.ports[number] for number, of_bond in device.bonds.items() if of_bond == first],
        )


def _representatives(device: Device) -> dict[int, int]:
    """Map each member of a bond to the member that stands for the bond: the lowest number.

    Where the device does not forward by itself, frames leave by that port, so it is one whose link is up.
    """
    bonds: dict[int, int] = {}
    for number, port in device.ports.items():
        if port.facts is not None and port.facts.members and port.role in _BONDED_ROLES:
            members = [member for member in port.facts.members if member in device.ports]
            usable = [member for member in members if device.ports[member].up]
            bonds[number] = min(members if device.capabilities.normal else usable or members)
    return bonds


def _unite(first: Port, members: list[Port]) -> None:
    """Make the first of a bond's members stand for all of them."""
    assert first.facts is not None
    active = [member for member in members if member.up] or members
    rates = [member.own_rate for member in active]
    known = [rate for rate in rates if rate is not None]
    balancing = first.facts.bond_mode in _BALANCING
    if len(known) == len(rates):
        first.bond_rate = sum(known) if balancing else min(known)
    factor = len(active) if balancing else 1
    common = set.intersection(*(set(member.queues) for member in members))
    queues = {
        queue_id: _scaled(queue, factor) for queue_id, queue in first.queues.items() if queue_id in common
    }
    first.up = any(member.up for member in members)
    for member in members:
        member.queues = {}
    first.queues = queues


def _scaled(queue: Queue, factor: int) -> Queue:
    """Return the queue of a bond: each of its members has one of these rates."""
    lowest, highest = (None if rate is None else rate * factor for rate in (queue.min_rate, queue.max_rate))
    return replace(queue, min_rate=lowest, max_rate=highest)
