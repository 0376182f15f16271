"""Views of VMs: JSON-ready objects made from the engine's state."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from flowlane import pauses
from flowlane.core.device.claims import word_of
from flowlane.core.device.nics import paths_of
from flowlane.core.flowkey import format_mac
from flowlane.northbound.views import ROWS_AT_ONCE, dpid_text, moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flowlane.core import model
    from flowlane.core.device.nics import Nic
    from flowlane.core.state.device import State
    from flowlane.northbound.controller import Clock
    from flowlane.northbound.types import vms as vm_types
    from flowlane.northbound.types.paths import PathView


def nics_by_uuid(state: State) -> dict[str, list[str]]:
    """Map each ``vm-uuid`` to the ids of the VMs, its NICs, that have it."""
    nics: dict[str, list[str]] = {}
    for vm in state.vms.values():
        if vm.uuid:
            nics.setdefault(vm.uuid, []).append(vm.id)
    return {uuid: sorted(ids) for uuid, ids in nics.items()}


def vm_view(
    state: State, clock: Clock, vm: model.Vm, counts: Counter[tuple[int, int]], nics: Mapping[str, list[str]]
) -> vm_types.VmView:
    """Make the view of a VM.

    Args:
        counts: as :func:`flows_per_vm` returns them, for the devices of all its interfaces.
        nics: as :func:`nics_by_uuid` returns them.
    """
    return {
        "id": vm.id,
        "name": vm.name,
        "number": vm.number,
        "device": dpid_text(vm.dpid),
        "device_name": _name(state, vm.dpid),
        "port": vm.port_name,
        "port_no": vm.port_no,
        "macs": [format_mac(mac) for mac in vm.macs],
        "other_macs": _other_macs(state, vm),
        "source": vm.source,
        "external_ids": dict(vm.external_ids),
        "vm_uuid": vm.uuid or None,
        "nics": nics.get(vm.uuid, [vm.id]),
        "paths": [_path(nic, counts[nic.vm.dpid, nic.vm.number]) for nic in paths_of(state, vm)],
        "claims": _claims(state, clock, vm),
        "conflicts": [
            {"what": item.what, "key": item.key, "others": list(item.others), "holder": item.holder}
            for item in state.conflicts.get(vm.number, ())
        ],
        "quota": _quota(state, clock, vm),
        "flows": counts[vm.dpid, vm.number],
        "hints": sum(hint.vm in (vm.id, vm.uuid) for hint in state.hints.values()),
    }


def _quota(state: State, clock: Clock, vm: model.Vm) -> list[vm_types.QuotaView]:
    devices = (state.devices.get(dpid) for dpid in sorted(state.beyond_quota.get(vm.number, ())))
    usages = ((device, device.usages.get(vm.number)) for device in devices if device is not None)
    return [
        {
            "device": dpid_text(device.dpid),
            "excess": None if usage.excess is None else usage.excess.value,
            "since": moment(clock, usage.since),
            "until": moment(clock, usage.until),
            "times": usage.times,
        }
        for device, usage in usages
        if usage is not None
    ]


def _name(state: State, dpid: int) -> str:
    device = state.devices.get(dpid)
    return "" if device is None else device.name


def _path(nic: Nic, flows: int) -> PathView:
    return {
        "vm": nic.vm.id,
        "device": dpid_text(nic.vm.dpid),
        "port": nic.vm.port_name,
        "role": nic.device.role.value,
        "up": nic.is_up,
        "flows": flows,
    }


def _claims(state: State, clock: Clock, vm: model.Vm) -> list[vm_types.ClaimView]:
    of_vm = state.claims.get(vm.number)
    if of_vm is None:
        return []
    return [
        {
            "device": dpid_text(one.vm.dpid),
            "device_name": _name(state, one.vm.dpid),
            "port": one.vm.port_name,
            "port_no": one.vm.port_no,
            "state": word_of(state, of_vm, one),
            "sign": one.sign.word,
            "since": moment(clock, one.since),
            "seen": None if one.seen is None else moment(clock, one.seen),
        }
        for one in of_vm.claims
    ]


def _other_macs(state: State, vm: model.Vm) -> list[str]:
    device = state.devices.get(vm.dpid)
    port = device.ports.get(vm.port_no) if device is not None else None
    return [format_mac(mac) for mac in port.other_macs] if port is not None else []


def flows_per_vm(state: State, dpids: Iterable[int]) -> Counter[tuple[int, int]]:
    """Count the flows of each VM on some devices, in slices: (dpid, VM number) -> flows.

    Unused rows have VM number 0.
    """
    counts: Counter[tuple[int, int]] = Counter()
    for dpid in set(dpids) & state.devices.keys():
        column, numbers = state.devices[dpid].flows.vm_number, Counter[int]()
        for first in range(0, len(column), ROWS_AT_ONCE):
            numbers.update(column[first : first + ROWS_AT_ONCE])
            pauses.give_way()
        counts.update({(dpid, number): count for number, count in numbers.items()})
    return counts
