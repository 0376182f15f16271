"""Which tc filters make OpenFlow queue k leave by hardware transmit queue k: pure.

Open vSwitch turns ``set_queue:k`` into ``skb->priority`` 1:(k+1), that is 0x10001 + k, which only picks an HTB
class; the hardware queue is then chosen by a hash. An egress filter under clsact that matches the priority
and sets ``queue_mapping`` makes the two agree, and stays when Open vSwitch restarts or changes its QoS. A
packet without ``set_queue`` is in HTB's default class, queue 0, so a last filter sends it to queue 0 too.

Ours are the filters with the two ``pref`` values below (0xF10A is also the mark in our OpenFlow cookies).
They come late, so filters of others with an ordinary pref run first; nothing else is touched.

Decides a port's queues from what its NIC has and what the operator asked for: pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flowlane.errors import RequestError
from flowlane.hosttools.qos_plan import WantedQos, even_queues

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowlane.hosttools.inventory import PortEntry
    from flowlane.hosttools.nic.reader import Nic
    from flowlane.hosttools.nic.tc import Filter, Qdisc


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


QUEUE_PREF = 0xF10A
REST_PREF = 0xF10B
_FIRST_PRIORITY = 0x10001
_REST_HANDLE = 1


def plan_mapping(device: str, queues: int, qdiscs: Sequence[Qdisc], filters: Sequence[Filter]) -> list[str]:
    """Return the lines for ``tc -batch`` that map queues 0 .. ``queues`` - 1; empty when they are mapped.

    Raises:
        RequestError: something of others is in the way (an ``ingress`` qdisc, foreign filters at our pref).
    """
    _check_foreign(device, qdiscs, filters)
    lines = [] if _has_clsact(qdiscs) else [f"qdisc add dev {device} clsact"]
    ours = {row.handle: row for row in filters if row.pref == QUEUE_PREF}
    for queue in range(queues):
        present = ours.pop(queue + 1, None)
        if present is None or (present.priority, present.queue) != (_FIRST_PRIORITY + queue, queue):
            verb = "add" if present is None else "replace"
            lines.append(_queue_filter(verb, device, queue))
    lines += [_delete(device, QUEUE_PREF, handle, "basic") for handle in sorted(ours)]
    return lines + _rest(device, [row for row in filters if row.pref == REST_PREF])


def plan_unmapping(device: str, filters: Sequence[Filter]) -> list[str]:
    """Return the lines for ``tc -batch`` that take our filters away.

    The clsact qdisc stays: who else relies on it cannot be told, and empty it costs next to nothing.
    """
    kinds = {QUEUE_PREF: "basic", REST_PREF: "matchall"}
    return [
        _delete(device, row.pref, row.handle, row.kind) for row in filters if kinds.get(row.pref) == row.kind
    ]


def mapped_queues(filters: Sequence[Filter]) -> tuple[int, ...]:
    """Return the queues whose filters are in place."""
    return tuple(
        row.queue
        for row in sorted(filters)
        if row.pref == QUEUE_PREF and row.queue is not None and row.priority == _FIRST_PRIORITY + row.queue
    )


def foreign_filters(filters: Sequence[Filter]) -> list[Filter]:
    """Return the filters that are not ours; one of them may end a packet's classification before ours run."""
    return [row for row in filters if row.pref not in (QUEUE_PREF, REST_PREF)]


def _has_clsact(qdiscs: Sequence[Qdisc]) -> bool:
    return any(qdisc.kind == "clsact" for qdisc in qdiscs)


def _check_foreign(device: str, qdiscs: Sequence[Qdisc], filters: Sequence[Filter]) -> None:
    if any(qdisc.kind == "ingress" for qdisc in qdiscs):
        raise RequestError(
            f"{device} has an ingress qdisc, whose place clsact needs; who made it (ingress policing of Open "
            "vSwitch, perhaps) has to give it up first"
        )
    kinds = {QUEUE_PREF: "basic", REST_PREF: "matchall"}
    if strange := [row for row in filters if row.pref in kinds and row.kind != kinds[row.pref]]:
        raise RequestError(
            f"{device} has a {strange[0].kind} filter with our pref {strange[0].pref}; not touched"
        )


def _queue_filter(verb: str, device: str, queue: int) -> str:
    return (
        f"filter {verb} dev {device} egress protocol all pref {QUEUE_PREF} handle {queue + 1} basic "
        f"match meta(priority eq {_FIRST_PRIORITY + queue}) action skbedit queue_mapping {queue}"
    )


def _rest(device: str, present: list[Filter]) -> list[str]:
    """A matchall filter cannot be replaced, only deleted and added (net/sched/cls_matchall.c)."""
    if [(row.handle, row.queue) for row in present] == [(_REST_HANDLE, 0)]:
        return []
    lines = [_delete(device, REST_PREF, row.handle, "matchall") for row in present]
    add = f"filter add dev {device} egress protocol all pref {REST_PREF} handle {_REST_HANDLE} matchall"
    return [*lines, f"{add} action skbedit queue_mapping 0"]


def _delete(device: str, pref: int, handle: int, kind: str) -> str:
    return f"filter del dev {device} egress protocol all pref {pref} handle {handle:#x} {kind}"
