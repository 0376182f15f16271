"""Numbers that the shells count while they work, for ``GET /metrics``: plain counters and histograms.

What the engine's state shows already (flows, queues, refusals) is read from there when somebody asks. Counting here is
a few increments; nothing is locked, since everything runs in one native thread.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

DECISION_BOUNDS = (25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 100e-3)
"""Bounds in seconds: a decision takes some 100 µs (docs/engineers/scale.md)."""

LAG_BOUNDS = (1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 1.0)
"""Bounds in seconds: the controller may pause for 20 ms."""

HTTP_BOUNDS = (1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 100e-3, 500e-3, 2.5, 10.0)
"""Bounds in seconds: a page of 100 rows takes about 1 ms, a check of a policy several seconds."""

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
OTHER = "other"
"""In the place of a method, or of the path of a route, that is not known: clients do not make up series."""


class Histogram:
    """How many values were at most each of some bounds, as Prometheus has it, and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        """Values above the bound before and at most this one; the last is of those above all bounds."""
        self.sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value, so many times."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += times * value


@dataclass(slots=True)
class DeviceTraffic:
    """What was exchanged with a device since the controller knows it, over all of its connections."""

    packet_ins: int = 0
    flow_mods: Counter[str] = field(default_factory=Counter)
    """Operation (``add``, ``modify``, ``delete``) -> flow-mods, group-mods and meter-mods sent."""
    repairs: Counter[str] = field(default_factory=Counter)
    """What others had changed or deleted (``entry``, ``group``, ``meter``) -> how often it was put back."""


class HttpTraffic:
    """Requests of REST. Routes are the paths of the table of routes, with their variables in braces."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()
        """(method, route, HTTP status) -> requests."""
        self.seconds: dict[str, Histogram] = {}
        """Route -> seconds until the answer is ready to be sent."""

    def note(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            route: None: no route has the path.
        """
        path = OTHER if route is None else route
        self.requests[method if method in METHODS else OTHER, path, status] += 1
        histogram = self.seconds.get(path)
        if histogram is None:
            histogram = self.seconds[path] = Histogram(HTTP_BOUNDS)
        histogram.observe(seconds)


class Telemetry:
    """All numbers that are counted."""

    def __init__(self) -> None:
        self.decisions = Histogram(DECISION_BOUNDS)
        """Seconds from a packet-in to its decision, with all messages of it queued to be sent."""
        self.lag = Histogram(LAG_BOUNDS)
        """Seconds by which a green thread ran later than it asked for."""
        self.devices: dict[int, DeviceTraffic] = {}
        self.moves: Counter[tuple[int, str]] = Counter()
        """(dpid, reason) -> flows that changed their queue."""
        self.http = HttpTraffic()

    def traffic_of(self, dpid: int) -> DeviceTraffic:
        """Return the counters of a device."""
        return self.devices.setdefault(dpid, DeviceTraffic())

    def note_move(self, dpid: int, reason: str) -> None:
        """Count a flow that changed its queue."""
        self.moves[dpid, reason.lower().replace("_", "-")] += 1

    def forget_others(self, dpids: Collection[int]) -> None:
        """Forget the counters of devices other than these: what is gone takes no memory and has no series."""
        for dpid in self.devices.keys() - set(dpids):
            del self.devices[dpid]
        for key in [key for key in self.moves if key[0] not in dpids]:
            del self.moves[key]
