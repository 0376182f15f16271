"""New flows per second of each port, and the ports whose young flows the device counts (docs/decisions/0017).

To count a flow's first packets takes the connection tracker, which costs each packet of the port that has no exact
entry a second way through the switch. It pays where a VM begins many short flows: the switch then decides on few of
them. A port is tracked from ``track-above`` new flows per second on (policy), and for :data:`HOLD` seconds at least.
Where the controller is behind (:mod:`flowlane.core.device.copies`), it sees a part of them only: the limit is as much
lower.
"""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING

from flowlane.core.flow.pins import WORTHY, mode

if TYPE_CHECKING:
    from flowlane.core.state.device import Device, State

SMOOTHING = 8.0
"""Seconds; time constant of the EWMA of a port's new flows per second.

With it, ten times ``track-above`` is noticed with the first tick, and twice ``track-above`` after six seconds. Six
times so many flows that begin at once are no storm: when they are noticed they have begun, and they would pass the
tracker for as long as they last.
"""

HOLD = 30.0
"""Seconds for which a port stays tracked at least."""

FALL = 0.5
"""Hysteresis: a port is tracked until its rate is below this share of ``track-above``."""

_NOTHING = 0.1
"""New flows per second below which a port's rate is dropped."""


def follow_arrivals(state: State, device: Device) -> bool:
    """Update the rates and the tracked ports; return whether ports are tracked now that were not, or no longer."""
    seconds = state.now - device.arrivals_at
    if seconds <= 0:
        return False
    device.arrivals_at = state.now
    _update_rates(device, seconds)
    tracked = _tracked(device, state.now)
    changed = tracked.keys() != device.tracked.keys()
    device.tracked = tracked
    return changed


def tracks_all(device: Device) -> bool:
    """Whether all ports with VMs are tracked, whatever their rates."""
    return bool(device.policy.learn_after) and not device.policy.track_above


def _update_rates(device: Device, seconds: float) -> None:
    weight = 1 - exp(-seconds / SMOOTHING)
    rates = device.arrival_rates
    for port_no in rates.keys() | device.begun.keys():
        old = rates.get(port_no, 0.0)
        rate = old + (device.begun.get(port_no, 0) / seconds - old) * weight
        if rate < _NOTHING:
            rates.pop(port_no, None)
        else:
            rates[port_no] = rate
    device.begun.clear()


def _tracked(device: Device, now: float) -> dict[int, float]:
    """Return the ports to track -> since when."""
    above = device.policy.track_above
    seen = 0.5**device.copy_limit.halved
    if not above or not device.policy.learn_after or mode(device) != WORTHY:
        return {}
    tracked = {
        port_no: since
        for port_no, since in device.tracked.items()
        if port_no in device.ports
        and (now - since < HOLD or device.arrival_rates.get(port_no, 0.0) >= FALL * above * seen)
    }
    for port_no, rate in device.arrival_rates.items():
        if rate >= above * seen and port_no in device.ports:
            tracked.setdefault(port_no, now)
    return tracked
