"""Which connection a datapath id belongs to, where several claim it.

The first owner stays unless it is silent: a second connection waits while the first is asked for a sign of life. Where
one comes, the second is closed; else it takes the place of the first, which was dead: a switch that has lost its power
connects again before TCP has noticed.
Certificates of switches are checked before (:mod:`flowlane.southbound.openflow.osken.bindings`).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

SILENT_AFTER = 3.0
"""Seconds that an owner has for a sign of life once another connection claims its datapath id."""

TAKEOVERS, WITHIN = 3, 60.0
"""Several switches have one dpid when their connections have taken each other's place so often in so many seconds.

Open vSwitch connects again after 1 to 8 seconds (ovs-vswitchd.conf.db(5), max_backoff).
"""


class Claim(NamedTuple):
    """A connection that waits for the place of another, and since when that is asked for a sign of life."""

    datapath: Any
    asked: float


class Claims:
    """The connections that wait, one for each datapath id."""

    def __init__(self) -> None:
        self._by_dpid: dict[int, Claim] = {}

    def add(self, datapath: Any, now: float) -> Any:
        """Add a connection; return the one that waited before for the same id, or None.

        The owner gets no more time by a new claim.
        """
        before = self._by_dpid.get(datapath.id)
        self._by_dpid[datapath.id] = Claim(datapath, now if before is None else before.asked)
        return None if before is None else before.datapath

    def take(self, dpid: int) -> Any:
        """Remove and return the connection that waits for an id; None when there is none."""
        claim = self._by_dpid.pop(dpid, None)
        return None if claim is None else claim.datapath

    def drop(self, datapath: Any) -> bool:
        """Remove a connection that has ended; return whether it waited."""
        claim = self._by_dpid.get(datapath.id)
        if claim is None or claim.datapath is not datapath:
            return False
        del self._by_dpid[datapath.id]
        return True

    def __iter__(self) -> Iterator[tuple[int, Claim]]:
        return iter(list(self._by_dpid.items()))


class Takeovers:
    """Connections that took the place of another one of their datapath id, or tried to."""

    def __init__(self) -> None:
        self._by_dpid: dict[int, deque[tuple[float, str, str]]] = {}
        """dpid -> when, and from where both connections came."""

    def note(self, dpid: int, now: float, old: str, new: str) -> bool:
        """Note one; return whether there were so many in so short a time that several switches have the id."""
        takeovers = self._by_dpid.setdefault(dpid, deque(maxlen=TAKEOVERS))
        takeovers.append((now, old, new))
        return len(takeovers) == TAKEOVERS and takeovers[-1][0] - takeovers[0][0] <= WITHIN

    def peers(self, dpid: int) -> tuple[str, ...]:
        """Return where the connections of an id came from: hosts or, where they are one, its last two connections."""
        peers = [peer for _, old, new in self._by_dpid[dpid] for peer in (old, new)]
        hosts = {peer.rpartition(":")[0] for peer in peers}
        return tuple(sorted(hosts)) if len(hosts) > 1 else tuple(peers[-2:])

    def forget(self, now: float) -> list[int]:
        """Drop what is long ago; return the ids of which nothing is left."""
        over = [dpid for dpid, takeovers in self._by_dpid.items() if now - takeovers[-1][0] > WITHIN]
        for dpid in over:
            del self._by_dpid[dpid]
        return over
