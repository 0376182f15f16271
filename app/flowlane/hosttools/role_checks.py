"""The part of ``flowlane doctor`` that names ports whose role the controller can only guess."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.device.roles import ROLE_KEY, PortView, ambiguities, infer_device_role, port_roles
from flowlane.core.model import PortRole, Role
from flowlane.hosttools.findings import Finding, Level
from flowlane.southbound.openflow.wire.constants import LOCAL_PORT
from flowlane.southbound.ovsdb.describe import describe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowlane.core.events import DeviceDescribed
    from flowlane.southbound.ovsdb.rows import Snapshot

_SOURCE = "docs/operators/ovsdb-keys.md"
_SHOWN = 8
"""Ports that a finding names at most."""


def check_roles(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield a warning for each group of ports whose role rests on weak evidence, with the command that settles it.

    A policy that lists ``uplinks`` may settle it as well; the database does not show it.
    """
    for device in describe(snapshot).devices.values():
        if device is not None:
            yield from _of_device(device)


def _of_device(device: DeviceDescribed) -> Iterator[Finding]:
    views = {
        number: PortView(facts.name, facts, tuple(facts.queues), number == LOCAL_PORT)
        for number, facts in device.ports.items()
    }
    stated = Role(device.role) if device.role in set(Role) else None
    roles = port_roles(views, stated or infer_device_role(views.values()), ())
    for ambiguity in ambiguities(views, roles):
        names = ", ".join(ambiguity.ports[:_SHOWN]) + (", ..." if len(ambiguity.ports) > _SHOWN else "")
        several = len(ambiguity.ports) > 1
        role = f"{ambiguity.role.value} ports" if several else f"{ambiguity.role.value} port"
        what = f"{names}: taken for {role}, but {ambiguity.why}"
        other = PortRole.UPLINK if several or ambiguity.role is PortRole.VM else ambiguity.role
        remedy = f"ovs-vsctl set Interface {ambiguity.ports[0]} external_ids:{ROLE_KEY}={other.value}"
        whether = "for the one that is the uplink" if several else "or =vm, if a VM is there"
        yield Finding(Level.WARNING, f"bridge {device.name}", what, f"{remedy} ({whether})", _SOURCE)
