"""Conflicts: two VMs with one address in one VLAN, two ports that both send as one VM. They are listed and reported.

NICs of one VM (:mod:`flowlane.core.device.nics`) may share an address: a bond in the guest, or a VF with its standby.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.device.links import sent_in
from flowlane.core.device.nics import are_paths, is_one_vm
from flowlane.core.device.vlans import ANY, UNTAGGED
from flowlane.core.effects import Report
from flowlane.core.flowkey import format_mac
from flowlane.core.pacing import paced
from flowlane.core.state.claims import Conflict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flowlane.core.effects import Effect
    from flowlane.core.model import Vm
    from flowlane.core.state.claims import Claim
    from flowlane.core.state.device import State

ADDRESS, IDENTITY = "address", "identity"

CONFLICT = "conflict"
"""``change`` of the report of a conflict."""


def find_conflicts(state: State, vms: Iterable[int], out: list[Effect]) -> None:
    """Find the conflicts of some VMs, by number, and of all that had one; report the new ones."""
    numbers = {*vms, *state.conflicts}
    shared = {mac for number in numbers if (vm := state.vms.get(number)) is not None for mac in vm.macs}
    numbers |= {number for mac in shared if len(owners := state.macs.get(mac, ())) > 1 for number in owners}
    for number in paced(sorted(numbers), state.pace):
        note_conflicts(state, number, out)


def note_conflicts(state: State, number: int, out: list[Effect]) -> None:
    """Keep what of a VM others claim, too; report what is new."""
    vm, before = state.vms.get(number), state.conflicts.pop(number, ())
    if vm is None:
        return
    found = (*_of_addresses(state, vm), *_of_identity(state, vm))
    if found:
        state.conflicts[number] = found
    out.extend(_report(vm, conflict) for conflict in found if conflict not in before)


def _of_addresses(state: State, vm: Vm) -> Iterator[Conflict]:
    for mac in vm.macs:
        owners = state.macs.get(mac, ())
        if len(owners) < 2:
            continue
        known = [state.vms[number] for number in owners if number in state.vms]
        others = tuple(other.id for other in known if other is not vm and _clash(state, vm, other))
        if others:
            holder = next(other.id for other in known if other is vm or other.id in others)
            yield Conflict(ADDRESS, format_mac(mac), others, holder)


def _clash(state: State, vm: Vm, other: Vm) -> bool:
    """Whether two VMs with one address can get into each other's way: in one VLAN, and not NICs of one VM."""
    if is_one_vm(state, vm, other):
        return False
    return not _vlans_of(state, vm).isdisjoint(_vlans_of(state, other))


def _vlans_of(state: State, vm: Vm) -> set[int]:
    """List the VLANs that a VM sends in, as far as it sets no tags itself."""
    return {UNTAGGED if vlan is ANY else vlan for vlan in sent_in(state, vm)}


def _of_identity(state: State, vm: Vm) -> Iterator[Conflict]:
    of_vm = state.claims[vm.number]
    if of_vm.contested is not None:
        current = of_vm.current
        rivals = (
            one for one in of_vm.claims if one is not current and not are_paths(state, one.vm, current.vm)
        )
        others = tuple(place_of(one) for one in rivals)
        if not others:
            return
        yield Conflict(IDENTITY, vm.id, others, place_of(of_vm.current))


def place_of(one: Claim) -> str:
    """Write where a claim is, as ``device/port``."""
    return f"{one.vm.dpid:016x}/{one.vm.port_name}"


def _report(vm: Vm, conflict: Conflict) -> Report:
    who = ", ".join(conflict.others)
    if conflict.what == ADDRESS:
        text = (
            f"VM {vm.name} has the address {conflict.key} and so has {who}; what is sent to it is predicted to go to "
            f"{conflict.holder}, which is known longest; give one of them another address"
        )
    else:
        text = (
            f"two ports send as VM {vm.name}, {conflict.holder} and {who}; the first has it, which is known longer; "
            "give one of them another iface-id"
        )
    data = {"vm": vm.id, "device": f"{vm.dpid:016x}", "port": vm.port_name, "change": CONFLICT}
    more = {
        "what": conflict.what,
        "key": conflict.key,
        "others": list(conflict.others),
        "holder": conflict.holder,
    }
    return Report("vm", text, {**data, **more})
