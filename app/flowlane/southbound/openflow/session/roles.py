"""Roles of this controller on devices that several controllers share (OpenFlow 1.3.5, 6.3.6).

The leader of a device asks for the role that may write alone, with the generation id of the database; the device then
takes it from whoever had it, and refuses changes of all others. So two never write to one device, even where the one
that led before was stopped in the middle and goes on. A device that has no roles is led by the leases alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from flowlane import hub
from flowlane.logs import Repeats
from flowlane.southbound.openflow.session import packing
from flowlane.southbound.openflow.session.requests import PendingRequests, Reply

if TYPE_CHECKING:
    from collections.abc import Iterable

_LOG = logging.getLogger(__name__)
_REPEATS = Repeats(_LOG)
ROLE_TIMEOUT = 5.0
"""Seconds that a device has for the reply; then it is taken for one without roles."""

STALE, NOT_PRIMARY = "OFPRRFC_STALE", "OFPBRC_IS_SLAVE"
"""Errors: the generation id is older than the device's; a change by a controller that may not write."""

_NO_GENERATION = (1 << 64) - 1
"""What a device without a generation id reports (6.3.6: it is not defined; Open vSwitch sends this)."""


class Observer(Protocol):
    """What decides which devices are led."""

    def connected(self, dpid: int) -> None:
        """Note that a device is connected."""

    def disconnected(self, dpid: int) -> None:
        """Note that the connection to a device has ended."""

    def demoted(self, dpid: int, floor: int = 0) -> None:
        """Note that another controller has the device; ``floor``: the least generation id that it accepts."""

    def generation_of(self, dpid: int) -> int:
        """Return the last generation id of a device; 0 for none."""


class _Connection(NamedTuple):
    """The role requests of one connection whose replies have not come."""

    datapath: Any
    pending: PendingRequests


class Roles:
    """Which devices are led, and what the connected ones are asked.

    Args:
        observer: decides which devices are led, by what it is told.
        clock: gives seconds.
        asks_for_roles: False where no other controller has the devices: then standing by is silent.

    Attributes:
        granted: dpid -> generation id, of the devices that are led; 0: without asking for a role.
    """

    def __init__(
        self, observer: Observer, clock: Callable[[], float], *, asks_for_roles: bool = True
    ) -> None:
        self.observer = observer
        self._asks_for_roles = asks_for_roles
        self.granted: dict[int, int] = {}
        self._clock = clock
        self._connections: dict[int, _Connection] = {}

    def lead(self, datapath: Any, begin: Callable[[], None]) -> None:
        """Ask for the primary role; call ``begin`` when the device has given it, or has no roles."""
        generation = self.granted[datapath.id]
        if generation:
            done = partial(self._take_primary, datapath, begin)
            self._request(datapath, datapath.ofproto.OFPCR_ROLE_MASTER, generation, done)
        else:
            begin()

    def stand_by(self, datapath: Any, generation: int) -> None:
        """Ask for the role that may not write."""
        if not self._asks_for_roles:
            return
        done = partial(self._take_secondary, datapath)
        self._request(datapath, datapath.ofproto.OFPCR_ROLE_SLAVE, generation, done)

    def take(self, message: Any) -> bool:
        """Take a role reply; return False for any other message."""
        connection = self._connections.get(message.datapath.id)
        is_ours = connection is not None and connection.datapath is message.datapath
        return is_ours and connection is not None and connection.pending.take_part(message.xid, message)

    def fail(self, message: Any, error: str) -> bool:
        """Take an error to a role request; return False for any other one.

        A change that is refused since another controller has the device is reported, and the caller goes on with it.
        """
        dpid = message.datapath.id
        connection = self._connections.get(dpid)
        if error == NOT_PRIMARY and self.granted.get(dpid):
            self.observer.demoted(dpid)
        return connection is not None and connection.pending.fail(message.xid, error)

    def changed_by_device(self, message: Any) -> None:
        """Take a role-status message (OpenFlow 1.4 and later): another controller has become the primary one."""
        datapath = message.datapath
        if message.role == datapath.ofproto.OFPCR_ROLE_SLAVE and self.granted.get(datapath.id):
            self.observer.demoted(datapath.id)

    def forget(self, datapath: Any) -> None:
        """Drop the requests of a connection that has ended."""
        connection = self._connections.get(datapath.id)
        if connection is not None and connection.datapath is datapath:
            del self._connections[datapath.id]

    def expire(self, now: float) -> None:
        """End requests that are late."""
        for connection in list(self._connections.values()):
            connection.pending.expire(now)

    def _request(self, datapath: Any, role: int, generation: int, done: Callable[[Reply], None]) -> None:
        connection = self._connections.get(datapath.id)
        if connection is None or connection.datapath is not datapath:
            connection = self._connections[datapath.id] = _Connection(datapath, PendingRequests())
        message = datapath.ofproto_parser.OFPRoleRequest(datapath, role=role, generation_id=generation)
        xid = packing.next_xid(datapath)
        connection.pending.add(xid, "role", self._clock() + ROLE_TIMEOUT, done)
        hub.spawn(datapath.send, packing.numbered(packing.serialized(message), xid))

    def _take_primary(self, datapath: Any, begin: Callable[[], None], reply: Reply) -> None:
        if datapath.id not in self.granted:
            return
        if reply.error == STALE:
            self._ask_generation(datapath)
            return
        if reply.error:
            text = "device %016x has no controller roles (%s): the leases alone keep others from it"
            _REPEATS.warning(("no roles", datapath.id), text, datapath.id, reply.error)
        begin()

    def _take_secondary(self, datapath: Any, reply: Reply) -> None:
        if reply.error == STALE and datapath.id not in self.granted:
            self._ask_generation(datapath)

    def _ask_generation(self, datapath: Any) -> None:
        """Read the device's generation id; then ask for the same role with a newer one."""
        role = datapath.ofproto.OFPCR_ROLE_NOCHANGE
        self._request(datapath, role, 0, partial(self._take_generation, datapath))

    def _take_generation(self, datapath: Any, reply: Reply) -> None:
        generation = next((part.generation_id for part in _replies(reply)), _NO_GENERATION)
        if generation == _NO_GENERATION:
            return
        if datapath.id in self.granted:
            self.observer.demoted(datapath.id, generation + 1)
        else:
            done = partial(self._ignore, datapath)
            self._request(datapath, datapath.ofproto.OFPCR_ROLE_SLAVE, generation, done)

    def _ignore(self, datapath: Any, reply: Reply) -> None:
        _LOG.debug(
            "device %016x: second request for the standby role: %s", datapath.id, reply.error or "done"
        )


def _replies(reply: Reply) -> Iterable[Any]:
    return (part for part in reply.parts if hasattr(part, "generation_id"))
