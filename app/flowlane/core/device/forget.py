"""What is forgotten in time: addresses that are silent, flows and devices without a connection, VMs that are gone.

An address is known as long as it sends: by the packets that are copied, by the learned entries with it as their source,
and by pins of the port's VM. Where it has not for :data:`AGING`, it is in doubt, and goes unless a counter of its flows
moves before the next look. On a port whose addresses are learned by their packets
(:attr:`flowlane.core.effects.DevicePlan.learning_ports`), its next packet makes it known again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.device.claims import end_contests
from flowlane.core.device.links import has_senders, tell_others
from flowlane.core.device.vms import detach_all
from flowlane.core.effects import FlowReport, Report
from flowlane.core.flow.assign import remove_flow
from flowlane.core.state.device import Due, put_off
from flowlane.core.state.flows import PINNED

if TYPE_CHECKING:
    from flowlane.core.effects import Effect
    from flowlane.core.state.device import Device, State

AGING = 300.0
"""Seconds without a sign after which an address is forgotten: Open vSwitch's default, too
(ovs-vswitchd.conf.db(5), table Bridge, ``other_config:mac-aging-time``)."""

AGING_INTERVAL = 15.0
"""Seconds between two looks at the addresses of a device."""

MOST_AGED = 256
"""Addresses of one device that are forgotten at one look, so that its tables do not change all at once."""

FLOWS_KEPT = 30.0
"""Seconds without a connection after which the flows of a device are forgotten.

When it connects again, its tables show the flows that it has.
"""

MOST_FLOWS = 5000
"""Flows that are forgotten at one tick, of all devices together: some 20 ms."""

DEVICE_KEPT = 600.0
"""Seconds without a connection after which a device is forgotten that OVSDB does not list, either."""

MOST_GONE, MOST_GONE_PORTS = 2048, 65_536
"""Devices without a connection that OVSDB does not list, and ports of all of them, that are kept for so long at most.

A switch may connect with another datapath id each time; of more the ones that are gone for longest are forgotten.
"""

MOST_NUMBERS = 65_536
"""VMs that are gone whose numbers are kept at most."""

VM_NUMBER_KEPT = 3600.0
"""Seconds for which the number of a VM that is gone is not given to another one."""


def forget(state: State, out: list[Effect]) -> None:
    """Forget what has been gone for long enough, on all devices."""
    room = MOST_FLOWS
    gone: list[Device] = []
    for device in list(state.devices.values()):
        if device.connected:
            _age_addresses(state, device)
        elif device.declared is None and state.now - device.since >= FLOWS_KEPT:
            room -= _forget_flows(device, room, out)
            if not device.flows.rows and not _is_known(device):
                gone.append(device)
    _forget_devices(state, gone, out)
    end_contests(state, out)
    _forget_carried(state)
    _forget_numbers(state)


def _forget_devices(state: State, gone: list[Device], out: list[Effect]) -> None:
    """Forget the devices that were gone for long enough, or that are too many."""
    devices = ports = 0
    for device in sorted(gone, key=lambda device: device.since, reverse=True):
        devices, ports = devices + 1, ports + len(device.ports)
        is_over = devices > MOST_GONE or ports > MOST_GONE_PORTS
        if is_over or state.now - device.since >= DEVICE_KEPT:
            _forget_device(state, device, out)


def _forget_flows(device: Device, most: int, out: list[Effect]) -> int:
    """Forget flows of a device without a connection; return how many.

    What it is to delete is sent when it connects again (see :mod:`flowlane.core.device.takeover`).
    """
    unsent: list[Effect] = []
    rows = [row for row, _ in zip(device.flows, range(most), strict=False)]
    for row in rows:
        remove_flow(device, row, unsent, unpin=False, why="its device was not connected for long")
    out.extend(effect for effect in unsent if isinstance(effect, FlowReport | Report))
    return len(rows)


def _is_known(device: Device) -> bool:
    """Whether OVSDB describes a device, or it has a connection and waits for that."""
    return device.described is not None or device.awaits_database


def _forget_device(state: State, device: Device, out: list[Effect]) -> None:
    tell_others(state, device, everywhere=True)
    detach_all(state, device, out)
    del state.devices[device.dpid]
    state.due.pop(device.dpid, None)
    state.refits.pop(device.dpid, None)
    state.links.pop(device.dpid, None)
    state.restless.discard(device.dpid)
    for name in [name for name, (dpid, _) in state.patch_ports.items() if dpid == device.dpid]:
        del state.patch_ports[name]
    text = f"{device.name} was not connected for {state.now - device.since:.0f} s and is forgotten"
    out.append(Report("device", text, {"device": f"{device.dpid:016x}", "change": "forgotten"}))


def _age_addresses(state: State, device: Device) -> None:
    if state.now < device.next_aging or not device.host_seen:
        return
    device.next_aging = state.now + AGING_INTERVAL
    oldest = state.now - AGING
    quiet = [place for place, seen in device.host_seen.items() if seen < oldest]
    if not quiet:
        device.doubtful.clear()
        return
    latest_doubt = state.now - AGING_INTERVAL - device.readings.longest_unread(state.now)
    pinned = _ports_of_pins(device, oldest)
    doubtful: dict[int, float] = {}
    what, aged = Due.NOTHING, 0
    for place in quiet:
        port = device.ports.get(device.hosts.get(place, -1))
        since = device.doubtful.get(place[0], state.now)
        if port is not None and port.port_no in pinned:
            continue
        if since > latest_doubt or aged == MOST_AGED:
            doubtful[place[0]] = since
            continue
        aged += 1
        device.hosts.pop(place, None)
        del device.host_seen[place]
        if port is not None:
            port.host_count -= 1
            what = max(what, Due.PLAN if has_senders(device, port) else Due.HOSTS)
    device.doubtful = doubtful
    if what is not Due.NOTHING:
        put_off(state, device, what)


def _ports_of_pins(device: Device, oldest: float) -> set[int]:
    """Find the ports from which pinned flows have sent: their pins do not show by which address."""
    flows = device.flows
    return {
        device.of_bond(flows.in_port[row])
        for row in (flows if device.pinned else ())
        if flows.flags[row] & PINNED and flows.last_active[row] >= oldest
    }


def _forget_carried(state: State) -> None:
    """Forget what was known of flows that did not go on where their VM has moved to."""
    oldest = state.now - state.policy.pins.idle_timeout
    for key in [key for key, carried in state.carried.items() if carried.since < oldest]:
        del state.carried[key]


def _forget_numbers(state: State) -> None:
    oldest = state.now - VM_NUMBER_KEPT
    for vm_id, since in list(state.gone_vms.items()):
        if since >= oldest and len(state.gone_vms) <= MOST_NUMBERS:
            break
        del state.gone_vms[vm_id]
        number = state.vm_numbers.get(vm_id, -1)
        if number not in state.claims and vm_id not in state.hints_of_vm:
            state.vm_numbers.pop(vm_id, None)
            state.numbers_taken.discard(number)
