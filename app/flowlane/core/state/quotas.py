"""What a VM uses of a device that all VMs share, and whether that is more than its quota."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from math import exp


class Excess(StrEnum):
    """What a VM has used more of than its quota."""

    COPIES = "copies"
    """Copies of packets to the controller (packet-ins)."""
    FLOWS = "flows"
    """Flows that are known, with their learned entries."""
    CONNECTIONS = "connections"
    """Connections in the switch's connection tracker."""


@dataclass(slots=True)
class Bucket:
    """A leaky bucket: what came in, less what has leaked out since."""

    level: float = 0.0
    at: float = 0.0
    filling_since: float = 0.0
    """When it was empty the last time."""

    def add(self, now: float, leak: float, size: float) -> None:
        """Put one in at a time (s); ``leak`` is what leaves per second, ``size`` what the bucket holds at most."""
        if now != self.at:
            self.level -= (now - self.at) * leak
            self.at = now
        if self.level <= 0:
            self.level, self.filling_since = 0.0, now
        self.level = min(self.level + 1, size)

    def is_full(self, now: float, level: float, seconds: float) -> bool:
        """Whether it has so much in it, and has not been empty for so long."""
        return self.level >= level and now - self.filling_since >= seconds


@dataclass(slots=True)
class CopyLimit:
    """How far the limit on a device's copies is lowered (see :mod:`flowlane.core.device.copies`).

    ``halved``: how often it is halved. ``changed_at``: when that changed. ``is_raised``: whether it was raised then.
    ``wait``: seconds until it is raised.
    """

    halved: int = 0
    changed_at: float = 0.0
    is_raised: bool = False
    wait: float = 5.0


@dataclass(slots=True)
class Usage:
    """What one VM uses of one device. ``excess`` is None while it keeps within its quota.

    Attributes:
        others: copies of what is not the first packet of a TCP or UDP flow.
        connections: an estimate of its tracked connections at ``connections_at``.
        since: when it went beyond its quota the last time.
        until: when it is tried whether it keeps within it again.
        hold: seconds between the two.
        times: how often it went beyond.
        flushed: whether its tracked connections and learned entries have been deleted since.
    """

    copies: Bucket = field(default_factory=Bucket)
    others: Bucket = field(default_factory=Bucket)
    connections: float = 0.0
    connections_at: float = 0.0
    excess: Excess | None = None
    since: float = 0.0
    until: float = 0.0
    hold: float = 0.0
    times: int = 0
    flushed: bool = False

    def add_connections(self, count: int, now: float, life: float) -> None:
        """Count connections that have begun by a time (s); each stays for about ``life`` seconds."""
        self.connections = self.connections * exp((self.connections_at - now) / life) + count
        self.connections_at = now
