"""Devices that wait for what their database says, so that nothing that stands in them is changed for lack of knowledge.

After a restart of the controller a device may connect before its database can be read, or while that is away. Its
entries name the VMs of its ports by what a database said; without that they would become those of the ports. So such
a device is left as it is, and its handshake begins anew when the database has been read. A device without entries of
ours does not wait: it is programmed by what is known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from flowlane.core.device.vms import vm_number
from flowlane.core.effects import SendPacket
from flowlane.core.events import DeviceWaits, FlowSeen
from flowlane.core.model import NO_PORT, NO_QUEUE, NOT_A_VM, UNRESOLVED_VM
from flowlane.southbound.openflow.session import readback

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flowlane.core.events import DeviceUp, Event
    from flowlane.core.model import PortReport
    from flowlane.southbound.openflow.session.programming import Programming
    from flowlane.southbound.openflow.tables.entries import FlowEntry

MustWait = Callable[[int, bool], bool]
"""Whether a device is to wait: its dpid, and whether its entries show that a database described it."""


class Waiter(Protocol):
    """The session of a device that may wait."""

    dpid: int
    up: bool
    programming: Programming

    def send_packet(self, effect: SendPacket) -> None:
        """Send a packet-out."""


class Waiting:
    """Which devices wait.

    Args:
        emit: takes the events of devices that wait.
    """

    def __init__(self, emit: Callable[[Event], None]) -> None:
        self._emit = emit
        self._must_wait: MustWait = lambda _dpid, _is_described: False
        self._held: dict[int, tuple[Waiter, bool]] = {}

    def follow(self, must_wait: MustWait) -> None:
        """Ask a function from now on whether a device is to wait."""
        self._must_wait = must_wait

    def holds(self, session: Waiter, up: DeviceUp) -> bool:
        """Have a device wait whose handshake has ended, if it is to; return whether it does."""
        self.drop(up.dpid)
        flows = session.programming.present.flows
        is_described = shows_identities(up.dpid, up.ports, flows)
        if up.unusable or not flows or not self._must_wait(up.dpid, is_described):
            return False
        self._held[up.dpid] = session, is_described
        session.up = False
        self._emit(DeviceWaits(up.dpid, up.peer))
        return True

    def released(self) -> Iterator[Waiter]:
        """Yield the sessions of devices that have to wait no longer."""
        for dpid, (session, is_described) in list(self._held.items()):
            if not self._must_wait(dpid, is_described):
                del self._held[dpid]
                yield session

    def is_held(self, session: object) -> bool:
        """Whether a session is that of a device that waits."""
        held = self._held.get(getattr(session, "dpid", -1))
        return held is not None and held[0] is session

    def drop(self, dpid: int) -> None:
        """Forget a device: its connection has ended, or another controller leads it."""
        self._held.pop(dpid, None)

    def send_back(self, session: Waiter, seen: Event | None) -> None:
        """Send on a packet that waits in the controller: the device decides where it goes."""
        if isinstance(seen, FlowSeen) and seen.waits:
            egress = NO_PORT if seen.egress_port is None else seen.egress_port
            session.send_packet(SendPacket(seen.dpid, seen.in_port, egress, NO_QUEUE, seen.frame))


def shows_identities(dpid: int, ports: Iterable[PortReport], flows: Iterable[FlowEntry]) -> bool:
    """Whether an entry gives a port another VM than that of its name: a database has described the device."""
    names = {port.port_no: port.name for port in ports}
    for port_no, number in readback.senders(flows).items():
        name = names.get(port_no)
        of_port = () if name is None else (vm_number(name, ()), vm_number(f"{dpid:016x}/{name}", ()))
        if number not in (NOT_A_VM, UNRESOLVED_VM, *of_port):
            return True
    return False
