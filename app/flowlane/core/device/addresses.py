"""What follows from an address that was learned: the device's destinations, and who is behind the links of others.

A new destination is patched into the plan at once. Behind a link it may also be a VM of another device, and then the
whole plan changes, which takes milliseconds: so new addresses do that at most every :data:`INTERVAL` on one device. An
address that has moved does it at once, since a VM may have migrated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.device.hosts import Learned
from flowlane.core.device.links import has_senders, neighbours
from flowlane.core.model import PortRole
from flowlane.core.state.device import Due, put_off

if TYPE_CHECKING:
    from flowlane.core.state.device import Device, Port, State

INTERVAL = 0.25
"""Seconds between two plans of a device that are made for new addresses."""


def follow_address(state: State, device: Device, port: Port, learned: Learned) -> None:
    """Leave to the next catch-ups what changes because an address was learned on a port."""
    behind = has_senders(device, port)
    put_off(state, device, Due.PLAN if behind and learned is Learned.MOVED else Due.HOSTS)
    if behind and learned is not Learned.MOVED:
        put_off_for_address(state, device)
    if port.role is PortRole.VM or (behind and port.role is PortRole.UPLINK):
        for other in neighbours(state, device):
            if learned is Learned.MOVED:
                put_off(state, other, Due.PLAN)
            else:
                put_off_for_address(state, other)


def put_off_for_address(state: State, device: Device) -> None:
    """Leave the plan to the next catch-up for a new address, or to a later one when that has just been done."""
    device.address_waits = state.now < device.next_address_plan
    state.awake.add(device.dpid)
    if not device.address_waits:
        device.next_address_plan = state.now + INTERVAL
        put_off(state, device, Due.PLAN)
