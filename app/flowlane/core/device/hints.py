"""Hints of VMs that come apart from their packets, over REST or OVSDB [0055]: kept, expired, applied to flows.

:mod:`flowlane.core.classify.hints` weighs them against the policy's trust.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.classify.matching import specificity
from flowlane.core.effects import Effect, Report
from flowlane.core.flow.assign import reclassify
from flowlane.core.model import Hint, HintSource
from flowlane.core.pacing import paced
from flowlane.core.policy import Match
from flowlane.core.state.device import device_of, rows_of_vm

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowlane.core.events import HintGiven, HintWithdrawn
    from flowlane.core.state.device import State

OVSDB_KEY = "flowlane-class"
"""Key in an Interface's ``external_ids``: a hint for all flows of the VM, whose value is the class."""

_WHY = {"given": "the VM suggests it", "withdrawn": "it was taken back", "expired": "its lifetime is over"}
"""Why a hint has changed, for its report."""


def on_hint_given(state: State, event: HintGiven, out: list[Effect]) -> None:
    """Store a hint; it replaces one with the same id."""
    state.hints[event.hint.id] = event.hint
    _refresh_vm(state, event.hint.vm, out)
    out.append(_report(event.hint, "given"))


def on_hint_withdrawn(state: State, event: HintWithdrawn, out: list[Effect]) -> None:
    """Remove one hint of a VM, or all that it gave over REST."""
    for hint in list(state.hints.values()):
        is_meant = event.hint_id == hint.id or (event.hint_id is None and hint.source is HintSource.REST)
        if hint.vm == event.vm and is_meant:
            del state.hints[hint.id]
            out.append(_report(hint, "withdrawn"))
    _refresh_vm(state, event.vm, out)


def expire(state: State, out: list[Effect]) -> None:
    """Remove the hints whose lifetime is over."""
    for hint in list(state.hints.values()):
        if hint.expires is not None and hint.expires <= state.now:
            del state.hints[hint.id]
            out.append(_report(hint, "expired"))
            _refresh_vm(state, hint.vm, out)


def follow_ovsdb(state: State, dpid: int, out: list[Effect]) -> None:
    """Reconcile the hints of a device's VMs with their external ids in OVSDB."""
    numbers = set(device.port_vm.values()) if (device := device_of(state, dpid)) is not None else set()
    follow_vms(state, dpid, numbers, out)


def follow_vms(state: State, dpid: int, numbers: Iterable[int], out: list[Effect]) -> None:
    """Reconcile the hints of some VMs of a device, by number."""
    vms = [vm for number in numbers if (vm := state.vms.get(number)) is not None and vm.dpid == dpid]
    for vm in paced(vms, state.pace):
        hint_id, class_name = f"ovsdb:{vm.id}", vm.external_ids.get(OVSDB_KEY)
        hint = state.hints.get(hint_id)
        if class_name and (hint is None or hint.class_name != class_name):
            given = state.hints[hint_id] = Hint(hint_id, vm.id, class_name, Match(), HintSource.OVSDB)
            out.append(_report(given, "given"))
            _refresh_vm(state, vm.id, out)
        elif not class_name and hint is not None:
            del state.hints[hint_id]
            out.append(_report(hint, "withdrawn"))
            _refresh_vm(state, vm.id, out)


def _refresh_vm(state: State, vm_id: str, out: list[Effect]) -> None:
    """Sort a VM's hints, the most specific first, and classify its flows again."""
    hints = [hint for hint in state.hints.values() if hint.vm == vm_id]
    if hints:
        hints.sort(key=lambda hint: (-specificity(hint.match), hint.id))
        state.hints_of_vm[vm_id] = tuple(hints)
    else:
        state.hints_of_vm.pop(vm_id, None)
    for number in [number for number, vm in state.vms.items() if vm_id in (vm.id, vm.uuid)]:
        for device in state.devices.values():
            for row in rows_of_vm(device, number):
                reclassify(state, device, row, out)


def _report(hint: Hint, change: str) -> Report:
    text = f"{hint.vm} suggests {hint.class_name}: {change}"
    data = {"vm": hint.vm, "hint": hint.id, "class": hint.class_name, "source": hint.source.name.lower()}
    return Report("hint", text, {**data, "change": change, "why": _WHY[change]})
