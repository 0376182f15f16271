"""Quotas of VMs: what a VM may use of a device that all VMs share (docs/decisions/0058).

Copies to the controller, flows that are known with their learned entries, and tracked connections are for all VMs of
a device. A VM that uses more of them than its quota is not followed any more for a while: its packets go by the
standing rules alone, with their queues and with the limits of classes and VMs, through few entries of the switch's
cache; nothing of them is copied, learned or tracked, and pins of its flows are not met. Its connections are deleted
from the tracker. So are its learned entries, which would expire one by one: the controller would read them until then,
and after each the switch decides anew about its whole cache. The switch forwards its packets as before, and nothing
changes for other VMs.

The hold doubles each time that the VM goes beyond its quota again soon after.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.effects import DeleteLearned, FlushConnections, Report
from flowlane.core.flow.pins import WORTHY, mode
from flowlane.core.model import NOT_A_VM
from flowlane.core.state.device import Due, put_off
from flowlane.core.state.quotas import Excess, Usage

if TYPE_CHECKING:
    from flowlane.core.effects import Effect
    from flowlane.core.model import Vm
    from flowlane.core.state.device import Device, State

BUSY, SHARE = 0.5, 0.25
"""A VM may use up to ``SHARE`` of a device's copies (``copy-rate``) while all VMs use more than ``BUSY`` of them."""

ROOM = 0.3
"""Copies beyond ``BUSY``, in parts of those of a second, before the device counts as busy."""

PERSISTS = 0.25
"""Seconds for which it must have been so: many flows that begin at once are no storm."""

OTHERS = 0.2
"""Part of a device's copies that a VM may use in any case for what is not the first packet of a TCP or UDP flow.

Nothing spares the switch the work for each of them: neither are they tracked (docs/decisions/0017), nor does an entry
that was made for the flow keep the next one from being copied.
"""

SIZE = 0.4
"""Copies that are counted at most, in parts of those of a second: so many at once are forgotten soon."""

ROOM_AGAIN, PERSISTS_AGAIN = 0.1, 0.05
"""The same for a VM that has just been beyond its quota: it is noticed before others miss copies."""

FIRST_MOMENT, PERSISTS_AT_FIRST = 1.0, 1.5
"""Seconds after a connection in which no copies are counted, and for which the device must be busy afterwards until the
adoption has ended: where the switch has no entries of ours yet, all flows that go on are copied once, as fast as the
limit on copies lets them (1,000 a second), and new ones are no more than before."""

CONNECTION_LIFE = 60.0
"""Seconds for which a tracked connection with few packets stays, about (lib/conntrack-private.h: 30 to 60 for UDP)."""

HOLD, LONGEST_HOLD = 30.0, 600.0
"""Seconds for which a VM is not followed after it went beyond its quota: the first time, and at most."""

FALL = 0.75
"""Hysteresis: a VM with too many flows is followed again when it has fewer than this part of what it may have."""

FLUSH_AFTER = 1.0
"""Seconds after which its connections and learned entries are deleted: the switch makes no more of them then."""

OVER, WITHIN = "over-quota", "within-quota"
"""``change`` of the reports."""

_LABELS = {
    Excess.COPIES: "copies of its packets use up what the device may send to the controller",
    Excess.FLOWS: "it has too many flows",
    Excess.CONNECTIONS: "it has begun too many connections",
}


def has_quotas(device: Device) -> bool:
    """Whether the device can stop to follow single VMs: by entries of the tables with which it learns."""
    return mode(device) == WORTHY


def over_quota(device: Device) -> tuple[int, ...]:
    """List the numbers of the VMs that are beyond their quotas."""
    if not has_quotas(device):
        return ()
    return tuple(sorted(number for number, usage in device.usages.items() if usage.excess is not None))


def note_copy(state: State, device: Device, number: int, is_first: bool, out: list[Effect]) -> None:
    """Count a copy of a VM's packet, but not in the first moment after a connection.

    Those of flows that were there before are not counted by the callers (:func:`was_there`).

    Args:
        is_first: whether it is the first packet of a TCP or UDP flow.
    """
    rate, now = device.policy.copy_rate, state.now
    if number == NOT_A_VM or not rate or (device.in_adoption and now - device.since < FIRST_MOMENT):
        return
    usage = device.usages.get(number)
    if usage is None:
        usage = device.usages[number] = Usage()
    device.copies.add(now, BUSY * rate, SIZE * rate)
    usage.copies.add(now, SHARE * rate, SIZE * rate)
    if not is_first:
        usage.others.add(now, OTHERS * rate, SIZE * rate)
    if usage.excess is not None or (is_first and device.copies.level < ROOM_AGAIN * rate):
        return
    again = _is_soon_after(usage, now)
    room, persists = (ROOM_AGAIN, PERSISTS_AGAIN) if again else (ROOM, PERSISTS)
    persists = PERSISTS_AT_FIRST if device.in_adoption else persists
    is_busy = device.copies.is_full(now, room * rate, persists)
    has_most = usage.copies.level >= (ROOM_AGAIN if again else SHARE) * rate
    if (is_busy and has_most) or (not is_first and usage.others.is_full(now, room * rate, persists)):
        _exceed(state, device, number, Excess.COPIES, out)


def was_there(state: State, device: Device, key: bytes) -> bool:
    """Whether a flow on a device that has just connected was known before, by this controller or before its start."""
    if not device.in_adoption:
        return False
    row = device.flows.rows.get(key)
    is_known = row is not None and device.flows.first_seen[row] < device.since
    return is_known or key in state.kept.get(device.dpid, {})


def follow_quotas(state: State, device: Device, out: list[Effect]) -> None:
    """Find the VMs that have too many flows or connections, and those that are to be followed again."""
    for number in [number for number in device.usages if number not in state.vms]:
        del device.usages[number]
        state.beyond_quota.pop(number, None)
    most = device.policy.vm_flows
    for number, count in device.flows_of_vm.items() if most else ():
        if count > most:
            _exceed(state, device, number, Excess.FLOWS, out)
    _follow_connections(state, device, most, out)
    for number, usage in device.usages.items():
        if usage.excess is not None:
            _follow_excess(state, device, number, usage, out)


def _follow_connections(state: State, device: Device, most: int, out: list[Effect]) -> None:
    """Estimate the tracked connections of each port's VM by the flows that have begun there."""
    tracked = device.plan.tracked_ports if device.plan is not None else ()
    for port_no in tracked:
        number, begun = device.port_vm.get(port_no, NOT_A_VM), device.begun.get(port_no, 0)
        if number == NOT_A_VM or number not in state.vms or not begun:
            continue
        usage = device.usages.setdefault(number, Usage())
        usage.add_connections(begun, state.now, CONNECTION_LIFE)
        if most and usage.connections > most:
            _exceed(state, device, number, Excess.CONNECTIONS, out)


def _follow_excess(state: State, device: Device, number: int, usage: Usage, out: list[Effect]) -> None:
    if not usage.flushed and state.now - usage.since >= FLUSH_AFTER:
        usage.flushed, usage.connections = True, 0.0
        _forget(state.vms[number], device, out)
    most = device.policy.vm_flows
    if state.now < usage.until or (most and device.flows_of_vm.get(number, 0) > FALL * most):
        return
    usage.excess = None
    text = "is within its quota, as far as is known, and its flows are followed again"
    _report(device, state.vms[number], WITHIN, text, "", out)
    put_off(state, device, Due.PLAN)


def _forget(vm: Vm, device: Device, out: list[Effect]) -> None:
    """Have the device delete what it keeps of a VM that has a port of its own there."""
    if vm.dpid != device.dpid or device.port_vm.get(vm.port_no) != vm.number:
        return
    out.append(DeleteLearned(device.dpid, in_port=vm.port_no))
    if device.capabilities.conntrack:
        out.append(FlushConnections(device.dpid, vm.port_no))


def _is_soon_after(usage: Usage, now: float) -> bool:
    return usage.times > 0 and now < usage.until + 2 * usage.hold


def _exceed(state: State, device: Device, number: int, excess: Excess, out: list[Effect]) -> None:
    vm = state.vms.get(number)
    usage = device.usages.setdefault(number, Usage())
    if vm is None or usage.excess is not None or not has_quotas(device):
        return
    usage.hold = min(2 * usage.hold, LONGEST_HOLD) if _is_soon_after(usage, state.now) else HOLD
    usage.excess, usage.flushed, usage.since = excess, False, state.now
    usage.until = state.now + usage.hold
    usage.times += 1
    state.beyond_quota.setdefault(number, set()).add(device.dpid)
    text = (
        f"is beyond its quota ({excess.value}: {_LABELS[excess]}); for {usage.hold:.0f} s at least its flows are "
        "placed by the standing rules alone"
    )
    _report(device, vm, OVER, text, excess.value, out)
    put_off(state, device, Due.PLAN)


def _report(device: Device, vm: Vm, change: str, text: str, why: str, out: list[Effect]) -> None:
    port = device.ports.get(vm.port_no) if vm.dpid == device.dpid else None
    data = {"vm": vm.id, "device": f"{device.dpid:016x}", "change": change, "why": why}
    if port is not None:
        data["port"] = port.name
    out.append(Report("vm", f"VM {vm.name} on {device.name} {text}", data))
