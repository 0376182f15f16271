"""Claims to VMs: on which of the ports that name a VM it is, decided anew whenever one of the claims changes.

A port whose row in OVSDB names a VM claims it. In a live migration two ports do, on two hosts, for seconds or minutes:
the one at the destination is there before the VM is. So the database alone does not say where the VM is; the VM does,
by what it sends:

1. a port whose link is up, and that OVSDB does not call inactive, on a device that is connected or that OVSDB lists,
   comes before one that is not so;
2. of these, the one that the VM has come to last: it announced itself there (RARP, gratuitous ARP), or sent a packet;
3. where it has done neither, the oldest one.

All ports that claim a VM have its number in their device's tables, so its limits, queues and rules are there before it
comes. Flows, and the prediction of where its address is, are with the port that has the VM.

A packet that was on its way when the VM left does not bring it back (:data:`HOLD`). A port that the VM left and that
goes on to send shows that two VMs have one id: the older port then keeps the VM until one of them is silent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.device.conflicts import note_conflicts
from flowlane.core.device.hosts import allowed_macs, drop_port_hosts
from flowlane.core.device.links import is_known, tell_others
from flowlane.core.device.nics import are_paths, other_nics
from flowlane.core.effects import DeleteLearned, Report
from flowlane.core.flow.assign import remove_flow
from flowlane.core.flow.paths import carried
from flowlane.core.flow.pins import WORTHY, mode
from flowlane.core.model import PortRole
from flowlane.core.policy import PortSecurity
from flowlane.core.state.claims import NEVER, Claim, Claims, Sign
from flowlane.core.state.device import Due, device_of, put_off, rows_of_vm

if TYPE_CHECKING:
    from flowlane.core.effects import Effect
    from flowlane.core.model import Vm
    from flowlane.core.state.device import Device, Port, State

MOVED = "moved"
"""``change`` of the report that a VM is at another port."""

HOLD = 1.0
"""Seconds in which packets from the port that a VM has left do not bring it back; announcements do."""

STALE = 5.0
"""Seconds in which counters of a port that a VM has left may still show entries that are being deleted."""

RETURNS = 60.0
"""Seconds in which packets without an announcement, from a port that a VM has left, mean that both ports have one."""

SILENT = 5.0
"""Seconds without a sign of the VM after which a contested port loses it to the other one, which sends."""

REFLECTED = 1.0
"""Seconds in which a VM's own announcement may come back by another port to the network.

Open vSwitch ignores gratuitous ARP that comes back by a bond, too (lib/mac-learning.h, MAC_GRAT_ARP_LOCK_TIME).
"""


def claim(state: State, device: Device, port: Port, vm: Vm, active: bool, out: list[Effect]) -> bool:
    """Take in that a port names a VM, or what it says of it now.

    Returns:
        Whether that changes the VM, or where it is, so that flows of it have to be classified anew.
    """
    of_port = device.claims.get(port.port_no)
    if of_port is not None and of_port.vm.number != vm.number:
        retract(state, device, port.port_no, out)
        of_port = None
    if of_port is not None:
        if (of_port.vm, of_port.active) == (vm, active):
            return False
        of_port.vm, of_port.active = vm, active
        is_changed = _settle(state, vm.number, out)
        if not port.up and (others := other_nics(state, vm)):
            _end_flows(
                state,
                device,
                vm.number,
                port.port_no,
                out,
                {vm.number, *(nic.number for nic in others)},
                by_path=True,
            )
            _relearn(device, port.port_no, out)
        return is_changed
    made = Claim(vm, state.now, active)
    _note_where_it_was_seen(device, made)
    device.claims[port.port_no], device.port_vm[port.port_no] = made, vm.number
    port.other_macs.clear()
    known = state.claims.get(vm.number)
    if known is None:
        state.claims[vm.number] = Claims(state.now, made, [made])
        _arrive(state, made.vm, out)
        return False
    known.claims.append(made)
    if made.seen is not None and made.seen > (known.current.seen or NEVER):
        known.note_winner(made, state.now)
    return _settle(state, vm.number, out)


def retract(state: State, device: Device, port_no: int, out: list[Effect]) -> None:
    """Drop the claim of a port; the VM is where the next claim says, and gone when there is none."""
    gone = device.claims.pop(port_no)
    del device.port_vm[port_no]
    number = gone.vm.number
    of_vm = state.claims[number]
    of_vm.claims.remove(gone)
    of_vm.contested = None
    if of_vm.claims:
        _settle(state, number, out)
        return
    _come_back(state, of_vm)
    heirs = {number, *(nic.number for nic in other_nics(state, gone.vm))}
    del state.claims[number], state.vms[number]
    state.gone_vms.pop(gone.vm.id, None)
    state.gone_vms[gone.vm.id] = state.now
    _disown(state, gone.vm)
    for other in state.devices.values():
        _end_flows(state, other, number, None, out, heirs, by_path=len(heirs) > 1)
    _relearn(device, port_no, out)
    out.append(_report(gone.vm, "gone", f"has left port {gone.vm.port_name} of {device.name}"))


def note_sign(state: State, device: Device, port: Port, mac: int, sign: Sign, out: list[Effect]) -> None:
    """Take in a packet from a port: a sign that the VM with this source address is there, or behind it."""
    of_port = device.claims.get(port.port_no)
    if of_port is None:
        if sign is not Sign.PACKET and port.role in (PortRole.UPLINK, PortRole.LINK):
            _note_away(state, device, port, mac)
        return
    own = of_port.vm.macs
    if own and mac not in own and mac not in allowed_macs(device.policy, of_port.vm):
        return
    of_vm = state.claims[of_port.vm.number]
    before, of_port.seen, of_port.sign = of_port.seen, state.now, sign
    if sign is not Sign.PACKET:
        of_port.announced = state.now
    if of_vm.away:
        _come_back(state, of_vm)
    if of_port is of_vm.current or not of_port.active:
        if of_port is of_vm.current and len(of_vm.claims) > 1:
            of_vm.note_winner(of_port, state.now)
        return
    if _is_taken(state, of_vm, of_port, sign, before):
        of_vm.note_winner(of_port, state.now)
        _settle(state, of_port.vm.number, out)
    if of_vm.contested is not None:
        note_conflicts(state, of_port.vm.number, out)


def has_left(state: State, device: Device, port_no: int, seconds: float) -> bool:
    """Whether the VM of a port went elsewhere within so many seconds: what still comes from there is old."""
    of_port = device.claims.get(port_no)
    if of_port is None or state.now - of_port.lost >= seconds:
        return False
    of_vm = state.claims[of_port.vm.number]
    if of_port is of_vm.current or of_vm.contested is not None:
        return False
    return not are_paths(state, of_port.vm, of_vm.current.vm)


def word_of(state: State, of_vm: Claims, one: Claim) -> str:
    """Say what a claim is worth: ``current``, ``inactive``, ``left``, ``waiting``, ``path`` or ``contested``."""
    if one is of_vm.current:
        return "current"
    device = state.devices.get(one.vm.dpid)
    if device is not None and not device.connected:
        return "disconnected"
    if not one.active:
        return "inactive"
    if are_paths(state, one.vm, of_vm.current.vm):
        return "path"
    if of_vm.contested is not None:
        return "contested"
    return "waiting" if one.lost == NEVER else "left"


def end_contests(state: State, out: list[Effect]) -> None:
    """End the contests in which only the port that has the VM has sent for :data:`RETURNS`."""
    for number in list(state.conflicts):
        of_vm = state.claims[number]
        if of_vm.contested is not None and state.now - of_vm.contested > RETURNS:
            of_vm.contested = None
            note_conflicts(state, number, out)


def note_flows(state: State, device: Device, out: list[Effect]) -> None:
    """Take flows that a device has from a port, when it connects, as a sign that their VM is there."""
    for port_no, of_port in device.claims.items():
        of_vm = state.claims[of_port.vm.number]
        if of_port is of_vm.current or of_port.won > of_vm.current.won:
            continue
        here, there = (_last_flow(state, one) for one in (of_port, of_vm.current))
        if here > there and here > (of_vm.current.seen or NEVER) and device.ports[port_no].up:
            of_vm.note_winner(of_port, state.now)
            _settle(state, of_port.vm.number, out)


def _is_taken(state: State, of_vm: Claims, challenger: Claim, sign: Sign, before: float | None) -> bool:
    """Whether a sign at another port than the VM's brings the VM there."""
    current = of_vm.current
    if of_vm.contested is not None:
        if state.now - _last_sign(state, current) <= SILENT:
            of_vm.contested = state.now
            return False
        of_vm.contested = None
        return True
    since_lost = state.now - challenger.lost
    if sign is not Sign.PACKET:
        return True
    if since_lost < HOLD:
        challenger.seen = before
        return False
    if since_lost < RETURNS:
        of_vm.contested = state.now
        return of_vm.claims.index(challenger) < of_vm.claims.index(current)
    return True


def _last_sign(state: State, one: Claim) -> float:
    """Return when a VM sent something from a port last, by its copies and by the counters of its flows."""
    return max(NEVER if one.seen is None else one.seen, _last_flow(state, one))


def _last_flow(state: State, one: Claim) -> float:
    device = state.devices.get(one.vm.dpid)
    if device is None:
        return NEVER
    flows = device.flows
    active = (
        flows.last_active[row]
        for row in rows_of_vm(device, one.vm.number)
        if flows.in_port[row] == one.vm.port_no
    )
    return max(active, default=NEVER)


def _settle(state: State, number: int, out: list[Effect]) -> bool:
    """Find the port where a VM is, among those that claim it; carry out what follows from a change."""
    of_vm, before = state.claims[number], state.vms[number]
    of_vm.current = max(of_vm.claims, key=_rank)  # Of equals the first, which is the oldest.
    vm = of_vm.current.vm
    if vm == before:
        return False
    _disown(state, before)
    state.vms[number] = vm
    _own(state, vm)
    device = device_of(state, vm.dpid)
    name = device.name if device is not None else f"{vm.dpid:016x}"
    if (vm.dpid, vm.port_no) == (before.dpid, before.port_no):
        out.append(_report(vm, "changed", f"is on port {vm.port_name} of {name}"))
        return True
    _come_back(state, of_vm)
    out.append(_report(vm, MOVED, f"has moved to port {vm.port_name} of {name}"))
    old = device_of(state, before.dpid)
    if old is not None and not are_paths(state, before, vm):
        _end_flows(state, old, number, before.port_no, out, {number})
        _relearn(old, before.port_no, out)
    if old is not None:
        drop_port_hosts(old, before.port_no)
    for place in {before.dpid, vm.dpid}:
        moved = state.devices.get(place)
        if moved is not None:
            put_off(state, moved, Due.ALL)
            tell_others(state, moved, everywhere=True)
    if (vm.name, vm.external_ids) != (before.name, before.external_ids):
        state.renamed.add(number)
    return True


def _rank(one: Claim) -> tuple[bool, int]:
    return one.active, one.won


def _arrive(state: State, vm: Vm, out: list[Effect]) -> None:
    state.gone_vms.pop(vm.id, None)
    state.vms[vm.number] = vm
    _own(state, vm)
    device = device_of(state, vm.dpid)
    name = device.name if device is not None else f"{vm.dpid:016x}"
    out.append(_report(vm, "attached", f"is on port {vm.port_name} of {name}"))


def _note_where_it_was_seen(device: Device, made: Claim) -> None:
    """Note when a port sent with the VM's address, if it did before the database named the VM there."""
    seen = (
        device.host_seen[place]
        for place, port_no in device.hosts.items()
        if port_no == made.vm.port_no and place[0] in made.vm.macs and place in device.host_seen
    )
    made.seen = max(seen, default=None)
    if made.seen is not None:
        made.sign = Sign.PACKET


def _end_flows(
    state: State,
    device: Device,
    number: int,
    in_port: int | None,
    out: list[Effect],
    heirs: set[int],
    *,
    by_path: bool = False,
) -> None:
    """Remove the flows that a VM sent by a port, or by any; what is known of them is kept for where they go on.

    Args:
        heirs: numbers of the VM and the NICs by which they may go on.
        by_path: they go on by another interface, since this one is down or gone.
    """
    flows = device.flows
    why = "its interface is down or gone" if by_path else "its VM has moved or is gone"
    for row in rows_of_vm(device, number):
        if in_port in (None, flows.in_port[row]):
            key = flows.keys[row]
            if key is not None and (flows.gate_state[row] or flows.rate[row]):
                known = carried(state, device, row, by_path=by_path)
                state.carried.update({heir.to_bytes(4) + key[4:]: known for heir in heirs})
            remove_flow(device, row, out, unpin=True, why=why)


def _relearn(device: Device, port_no: int, out: list[Effect]) -> None:
    if mode(device) == WORTHY:
        out.append(DeleteLearned(device.dpid, in_port=port_no))


def _note_away(state: State, device: Device, port: Port, mac: int) -> None:
    """Note that a VM of a device, or behind its patch ports, was announced behind another port to the network."""
    if device.policy.port_security is PortSecurity.STRICT:
        return
    for number in state.macs.get(mac, ()):
        vm, of_vm = state.vms.get(number), state.claims.get(number)
        if vm is None or of_vm is None or device.away.get(number) == port.port_no:
            continue
        if state.now - of_vm.current.announced < REFLECTED or number in port.vms_behind:
            continue
        if vm.dpid == device.dpid or _is_behind_patch(state, device, number):
            device.away[number] = port.port_no
            of_vm.away.add(device.dpid)
            put_off(state, device, Due.PLAN)


def _is_behind_patch(state: State, device: Device, number: int) -> bool:
    return any(number in port.vms_behind and is_known(state, device, port) for port in device.ports.values())


def _come_back(state: State, of_vm: Claims) -> None:
    """Note that a VM is not behind ports to the network any more, where it was announced."""
    for dpid in of_vm.away:
        device = state.devices.get(dpid)
        if device is not None and device.away.pop(of_vm.current.vm.number, None) is not None:
            put_off(state, device, Due.PLAN)
    of_vm.away.clear()


def _own(state: State, vm: Vm) -> None:
    """Give a VM the addresses that OVSDB gives it; of several owners the one that is known longest is the first."""
    if vm.uuid:
        state.nics[vm.uuid] = tuple(sorted({*state.nics.get(vm.uuid, ()), vm.number}))
    for mac in vm.macs:
        owners = {*state.macs.get(mac, ()), vm.number}
        state.macs[mac] = tuple(sorted(owners, key=lambda number: (state.claims[number].since, number)))


def _disown(state: State, vm: Vm) -> None:
    nics = tuple(number for number in state.nics.get(vm.uuid, ()) if number != vm.number)
    if nics:
        state.nics[vm.uuid] = nics
    else:
        state.nics.pop(vm.uuid, None)
    for mac in vm.macs:
        others = tuple(number for number in state.macs.get(mac, ()) if number != vm.number)
        if others:
            state.macs[mac] = others
        else:
            state.macs.pop(mac, None)


def _report(vm: Vm, change: str, text: str) -> Report:
    data = {"vm": vm.id, "device": f"{vm.dpid:016x}", "port": vm.port_name, "change": change}
    return Report("vm", f"VM {vm.name} {text}", data)
