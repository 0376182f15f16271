"""Which database describes which device; pure.

A device has one description at a time. The first database that describes a datapath id keeps it; another one that
describes it too is in conflict, and is named. A database that is away keeps what it described; it loses a device only
to another database that describes it after a while, or after a long time when the device is not connected either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from flowlane.core.events import DescriptionRemoved, DeviceDescribed

TAKE_OVER_AFTER = 30.0
"""Seconds for which a database has to be away until another one that describes its devices takes them over."""

FORGET_AFTER = 600.0
"""Seconds for which a database has to be away until its devices are forgotten, unless stated otherwise."""

Change = DeviceDescribed | DescriptionRemoved


class Conflict(NamedTuple):
    """A device that a database describes, and that another database has described first."""

    dpid: int
    owner: str


@dataclass(slots=True)
class _Claim:
    """What one database describes, by dpid; ``away`` is since when it has no session, None while it has one."""

    devices: dict[int, DeviceDescribed] = field(default_factory=dict)
    away: float | None = None
    withdrawn: bool = False


class Descriptions:
    """The descriptions of all databases, by the databases' names. Times are seconds of one monotonic clock.

    Args:
        is_connected: whether a device has a connection.
    """

    def __init__(self, is_connected: Callable[[int], bool], forget_after: float = FORGET_AFTER) -> None:
        self._is_connected = is_connected
        self._forget_after = forget_after
        self._claims: dict[str, _Claim] = {}
        self._owners: dict[int, str] = {}

    def __contains__(self, name: str) -> bool:
        """Return whether something that the database described is still in force."""
        return name in self._claims

    def replace(self, name: str, devices: Mapping[int, DeviceDescribed], now: float) -> list[Change]:
        """Take in all that a database with a session describes; return what changes."""
        claim = self._claims.setdefault(name, _Claim())
        before, claim.devices = claim.devices, dict(devices)
        claim.away, claim.withdrawn = None, False
        changes: list[Change] = []
        for dpid in before.keys() - devices.keys():
            changes += self._release(dpid, name)
        for dpid, device in devices.items():
            owner = self._owners.get(dpid)
            if owner == name:
                changes += [device] if before.get(dpid) != device else []
            elif owner is None or self._has_left(owner, now):
                changes += self._give(dpid, name)
        return changes

    def leave(self, name: str, now: float) -> None:
        """Note that a database has no session any more; what it described stays."""
        claim = self._claims.get(name)
        if claim is not None and claim.away is None:
            claim.away = now

    def withdraw(self, name: str) -> None:
        """Note that a database is followed no more: its devices are another's, or forgotten, as soon as may be."""
        if name in self._claims:
            self._claims[name].withdrawn = True

    def expire(self, now: float) -> list[Change]:
        """Take devices from databases that have been away for long; return what changes."""
        changes: list[Change] = []
        for name, claim in list(self._claims.items()):
            if claim.away is None and not claim.withdrawn:
                continue
            is_old = claim.withdrawn or (claim.away is not None and now - claim.away >= self._forget_after)
            for dpid in list(claim.devices):
                if self._owners.get(dpid) != name:
                    gone = is_old
                else:
                    gone = is_old and not self._is_connected(dpid)
                    if not gone and self._has_left(name, now) and (heir := self._heir(dpid, name)):
                        changes += self._give(dpid, heir)
                if gone:
                    del claim.devices[dpid]
                    changes += self._release(dpid, name)
            if is_old and not claim.devices:
                del self._claims[name]
        return changes

    def conflicts(self, name: str) -> tuple[Conflict, ...]:
        """List the devices that a database describes in vain."""
        claim = self._claims.get(name)
        if claim is None:
            return ()
        return tuple(
            Conflict(dpid, owner)
            for dpid in sorted(claim.devices)
            if (owner := self._owners.get(dpid, name)) != name
        )

    def owned(self, name: str) -> tuple[int, ...]:
        """List the devices whose description is the database's."""
        claim = self._claims.get(name)
        return () if claim is None else tuple(sorted(d for d in claim.devices if self._owners.get(d) == name))

    def _has_left(self, name: str, now: float) -> bool:
        claim = self._claims.get(name)
        if claim is None or claim.withdrawn:
            return True
        return claim.away is not None and now - claim.away >= TAKE_OVER_AFTER

    def _heir(self, dpid: int, name: str) -> str | None:
        """Find another database with a session that describes the device."""
        others = ((other, claim) for other, claim in self._claims.items() if other != name)
        return next((o for o, c in others if dpid in c.devices and c.away is None and not c.withdrawn), None)

    def _give(self, dpid: int, name: str) -> list[Change]:
        """Make a database the one that describes a device."""
        old = self._claims.get(self._owners.get(dpid, ""))
        before = old.devices.get(dpid) if old is not None else None
        self._owners[dpid] = name
        device = self._claims[name].devices[dpid]
        return [] if before == device else [device]

    def _release(self, dpid: int, name: str) -> list[Change]:
        """Give a device that its database describes no more to another one, or forget it."""
        if self._owners.get(dpid) != name:
            return []
        if heir := self._heir(dpid, name):
            del self._owners[dpid]
            return self._give(dpid, heir)
        del self._owners[dpid]
        return [DescriptionRemoved(dpid)]
