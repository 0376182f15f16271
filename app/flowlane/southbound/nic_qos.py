"""Decides a port's queues from what its NIC has and what the operator asked for: pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flowlane.errors import RequestError
from flowlane.southbound.ovsdb.plan import WantedQos, even_queues

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowlane.southbound.nic import Nic
    from flowlane.southbound.ovsdb.inventory import PortEntry


class Wish(NamedTuple):
    """What the operator asked for. Rates in bit/s.

    ``queues`` None: as many as the NIC has transmit queues. ``rate`` None: the link's speed. ``min_rate`` of
    each queue; None: an even part of the rate; 0: none.
    """

    queues: int | None = None
    software_queues: int = 0
    rate: int | None = None
    min_rate: int | None = None
    type: str = "linux-htb"


def want(wish: Wish, port: PortEntry, nics: Sequence[Nic | None]) -> WantedQos:
    """Return the QoS that the port should have. ``nics`` are its interfaces as this host knows them.

    Raises:
        RequestError: the NIC cannot be asked for what was not given, or the numbers do not fit.
    """
    number = _transmit_queues(port, nics) if wish.queues is None else wish.queues
    rate = wish.rate or port.link_speed or min((nic.speed for nic in nics if nic and nic.speed), default=None)
    if rate is None:
        raise RequestError(
            f"--rate: the speed of port {port.name} is not known; give it, such as --rate 10Gbit/s"
        )
    return WantedQos(
        port.name, wish.type, rate, even_queues(number, wish.software_queues, rate, wish.min_rate)
    )


def _transmit_queues(port: PortEntry, nics: Sequence[Nic | None]) -> int:
    """A bond offers no more queues than its poorest interface."""
    known = [nic for nic in nics if nic is not None]
    if len(known) < len(port.interfaces) or not known:
        raise RequestError(
            f"--queues: port {port.name} is not a NIC of this host, so its transmit queues cannot be counted; "
            "give the number"
        )
    for nic in known:
        if nic.hardware and not nic.up:
            raise RequestError(
                f"--queues: {nic.name} is down, and the count of its transmit queues is real only once it is up; "
                f"ip link set {nic.name} up"
            )
    return min(nic.tx_queues for nic in known)
