"""Claims: the ports at which a VM may be, each with the signs of it there, and the one where it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from flowlane.core.model import Vm

NEVER = float("-inf")


class Sign(IntEnum):
    """How a VM showed that it is at a port; ``ROW``: only the database, or the port's name, says so."""

    ROW = 0
    PACKET = 1
    ARP = 2
    RARP = 3

    @property
    def word(self) -> str:
        """Name the sign as REST does."""
        return self.name.lower()


@dataclass(slots=True)
class Claim:
    """One port's claim that a VM is there. Times are of the engine's clock in seconds.

    Attributes:
        vm: the VM as it is by this port.
        since: since when the port is known to be the VM's.
        active: the device is connected, or OVSDB lists it; the port's link is up, and OVSDB does not say that another
            interface is in use in its place.
        sign: the last sign of the VM at the port, at ``seen``; None: it gave none.
        announced: when it announced itself there last.
        won: of the ports that have shown the VM to be there, the one with the highest number did so last; 0: none.
        lost: when a sign at another port took the VM away last.
    """

    vm: Vm
    since: float
    active: bool = True
    sign: Sign = Sign.ROW
    seen: float | None = None
    announced: float = NEVER
    won: int = 0
    lost: float = NEVER


@dataclass(slots=True)
class Claims:
    """All claims to one VM, the oldest first; ``current`` is the one where it is.

    Attributes:
        since: since when the VM is known: of two VMs with one address the older one has it.
        contested: when it was last seen to speak at two ports; None: it does not.
        away: dpids of the devices on which it was announced behind a port to the network.
    """

    since: float
    current: Claim
    claims: list[Claim] = field(default_factory=list)
    contested: float | None = None
    away: set[int] = field(default_factory=set)

    def note_winner(self, winner: Claim, now: float) -> None:
        """Note that the VM has shown to be at a port; another one that had it has lost it."""
        winner.won = max(one.won for one in self.claims) + 1
        if winner is not self.current:
            self.current.lost = now


class Conflict(NamedTuple):
    """VMs, or ports, that claim the same; ``what`` is ``address`` or ``identity``.

    Attributes:
        key: the MAC address as text, or the VM's id.
        others: ids of the other VMs, or the other ports as ``device/port``.
        holder: the VM, or the port, that has the traffic.
    """

    what: str
    key: str
    others: tuple[str, ...]
    holder: str


class Origin(NamedTuple):
    """Where a flow was before it came here: by another interface of its VM, or where its VM was.

    Attributes:
        vm: the number of the VM, or NIC, that sent it there.
        dpid: the device.
        in_port: by which port it came in.
        egress_port: by which port it left.
        queue_id: its queue there.
        at: when it was first seen here.
        by_path: its VM sends it by another interface; False: its VM has moved.
        link_down: the link of the port by which it came in was down.
    """

    vm: int
    dpid: int
    in_port: int
    egress_port: int
    queue_id: int
    at: float
    by_path: bool = False
    link_down: bool = False


class Carried(NamedTuple):
    """What was known of a flow whose VM has moved to another device, until the flow is seen there."""

    gate_state: int
    gate_since: float
    rate: float
    first_seen: float
    packets: int
    octets: int
    since: float
    origin: Origin


class PathMove(NamedTuple):
    """A flow that its VM sent by one interface and now sends by another, until one of the two is silent.

    The device and the key of each: of the one where it was first, and of the other; ``since``: when it was seen there;
    ``known``: what was known of it by then.
    """

    old: tuple[int, bytes]
    new: tuple[int, bytes]
    since: float
    known: Carried


class Left(NamedTuple):
    """A flow that goes on by another interface of its VM, while its learned entry stands.

    Attributes:
        packets: what the entry had counted at the last reading, ``at``; None: it was not read yet.
        known: what was known of the flow when it was first seen at the other interface.
        since: when it was ended here.
    """

    packets: int | None
    octets: int
    at: float
    known: Carried
    since: float
