"""Readiness: whether the controller serves the switches that it has, by the checks of ``GET /readyz``.

A controller without any switch yet is ready: where only a ready one is reachable, as behind a Kubernetes service, no
switch could ever connect otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.northbound.controller import Check
from flowlane.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flowlane.core.state.device import State
    from flowlane.northbound.controller import Database

LISTENING = "listening"
"""State of a database that connects to the controller, and has not yet."""


def checks(state: State, databases: Sequence[Database] | None) -> Iterator[Check]:
    """Check what serving depends on.

    Args:
        state: the engine's state.
        databases: those that are followed; None: there are to be none.
    """
    if databases is not None:
        yield Check("ovsdb", _databases(databases))
    yield Check("devices", _devices(state))
    yield Check("policy", _policy(state))


def _databases(databases: Sequence[Database]) -> str:
    """Say why no database can be read; '': one can, or none is expected yet.

    One is enough: what one host lacks is no reason to take the others' controller away.
    """
    statuses = [status for status in databases if status.watcher.state != LISTENING]
    if not statuses or any(status.watcher.state == "synchronized" for status in statuses):
        return ""
    first = statuses[0]
    problem = first.watcher.problem or f"{first.name}: {first.watcher.state}"
    return problem if len(statuses) == 1 else f"none of {len(statuses)} databases: {problem}"


def _devices(state: State) -> str:
    """Say why no device is served; '': one is, or none has ever connected. Passive switches need others."""
    known = [device for device in state.devices.values() if device.declared is None]
    connected = [device for device in known if device.connected]
    if not known or any(not device.unusable for device in connected):
        return ""
    if connected:
        return f"{len(connected)} of {counted(len(known), 'device')} connected, none usable: {connected[0].unusable}"
    if waiting := sum(device.awaits_database for device in known):
        return f"{counted(waiting, 'device')} of {len(known)} connected, waiting for a database"
    return f"0 of {counted(len(known), 'device')} connected"


def _policy(state: State) -> str:
    """Say how many devices do not have their part of the policy in force yet; '': all have."""
    waiting = len(state.policy_awaited & state.devices.keys())
    if not waiting:
        return ""
    verb = "waits for its" if len(state.devices) == 1 else "wait for their"
    return f"{waiting} of {counted(len(state.devices), 'device')} {verb} part of the policy"
