"""A port's queues from its NIC and the operator's request, and tc filters from OpenFlow to transmit queues; pure.

Open vSwitch turns ``set_queue:k`` into ``skb->priority`` 1:(k+1), that is 0x10001 + k, which only selects an
HTB class; a hash selects the transmit queue of the hardware. An egress filter under clsact that matches the
priority and sets ``queue_mapping`` makes OpenFlow queue k leave by transmit queue k. It stays when Open
vSwitch restarts or changes its QoS. A packet without ``set_queue`` is in HTB's default class, queue 0, so a
last filter sends it to transmit queue 0 too.

Flowlane's filters are those with the two ``pref`` values below (0xF10A is also in its OpenFlow cookies). They
come late, so that other programs' filters with an ordinary pref run first. No other filter is changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flowlane.errors import RequestError
from flowlane.hosttools.nic.leaves import FQ_CODEL, NO_LEAF
from flowlane.hosttools.qos_plan import DesiredQos, DesiredQueue, even_queues

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowlane.hosttools.inventory import PortEntry
    from flowlane.hosttools.nic.reader import Nic
    from flowlane.hosttools.nic.tc import Filter, Qdisc


HTB = "linux-htb"
"""The only type of a QoS row with priorities; the only one whose queues get a leaf (docs/decisions/0020)."""


class QosRequest(NamedTuple):
    """What the operator asks for. Rates are bit/s.

    ``queues`` None: as many as the NIC has transmit queues. ``rate`` None: the link's speed. ``min_rate``: of
    each queue; None: an even part of the rate; 0: none. ``priorities``: HTB's prio by queue id, 0 for a queue
    that it leaves out; None: those of the rows stay. ``leaf``: of each queue, ``fq_codel`` or ``none``.
    """

    queues: int | None = None
    software_queues: int = 0
    rate: int | None = None
    min_rate: int | None = None
    type: str = HTB
    priorities: Mapping[int, int] | None = None
    leaf: str = FQ_CODEL


def desired_qos(request: QosRequest, port: PortEntry, nics: Sequence[Nic | None]) -> DesiredQos:
    """Return the QoS that the port should have.

    Args:
        nics: its interfaces on this host, None for one that this host does not have.

    Raises:
        RequestError: a number is missing that the NIC does not give, or the numbers contradict each other.
    """
    number = _transmit_queues(port, nics) if request.queues is None else request.queues
    rate = (
        request.rate or port.link_speed or min((nic.speed for nic in nics if nic and nic.speed), default=None)
    )
    if rate is None:
        raise RequestError(
            f"--rate: the speed of port {port.name} is not known; give it, such as --rate 10Gbit/s"
        )
    queues = even_queues(number, request.software_queues, rate, request.min_rate)
    if request.priorities is not None:
        queues = _with_priorities(queues, request.priorities, request.type)
    return DesiredQos(port.name, request.type, rate, queues, request.leaf if request.type == HTB else NO_LEAF)


def _with_priorities(
    queues: tuple[DesiredQueue, ...], priorities: Mapping[int, int], qos_type: str
) -> tuple[DesiredQueue, ...]:
    if qos_type != HTB:
        raise RequestError(f"--priority: {qos_type} has no priorities; use --type {HTB}")
    if missing := sorted(set(priorities) - {queue.queue_id for queue in queues}):
        raise RequestError(
            f"--priority: there is no queue {missing[0]}; the port gets queues 0-{len(queues) - 1}"
        )
    return tuple(queue._replace(priority=priorities.get(queue.queue_id, 0)) for queue in queues)


def _transmit_queues(port: PortEntry, nics: Sequence[Nic | None]) -> int:
    """Return the number of transmit queues: of a bond, that of the interface with the fewest."""
    local = [nic for nic in nics if nic is not None]
    if len(local) < len(port.interfaces) or not local:
        raise RequestError(
            f"--queues: port {port.name} is not a NIC of this host, so its transmit queues cannot be counted; "
            "give the number"
        )
    for nic in local:
        if nic.hardware and not nic.up:
            raise RequestError(
                f"--queues: {nic.name} is down, and its transmit queues can be counted only when it is up; "
                f"ip link set {nic.name} up"
            )
    return min(nic.tx_queues for nic in local)


QUEUE_PREF = 0xF10A
REST_PREF = 0xF10B
_FIRST_PRIORITY = 0x10001
_REST_HANDLE = 1


def plan_mapping(device: str, queues: int, qdiscs: Sequence[Qdisc], filters: Sequence[Filter]) -> list[str]:
    """Return the lines for ``tc -batch`` that map queues 0 .. ``queues`` - 1; empty when they are mapped.

    Raises:
        RequestError: another program's qdisc or filter is in the way (``ingress``, or a filter with our
            pref).
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
    """Return the lines for ``tc -batch`` that delete Flowlane's filters.

    The clsact qdisc stays: another program may use it, and an empty one costs almost nothing.
    """
    kinds = {QUEUE_PREF: "basic", REST_PREF: "matchall"}
    return [
        _delete(device, row.pref, row.handle, row.kind) for row in filters if kinds.get(row.pref) == row.kind
    ]


def mapped_queues(filters: Sequence[Filter]) -> tuple[int, ...]:
    """Return the queues that have their filter."""
    return tuple(
        row.queue
        for row in sorted(filters)
        if row.pref == QUEUE_PREF and row.queue is not None and row.priority == _FIRST_PRIORITY + row.queue
    )


def foreign_filters(filters: Sequence[Filter]) -> list[Filter]:
    """Return other programs' filters; one of them may end a packet's classification before Flowlane's run."""
    return [row for row in filters if row.pref not in (QUEUE_PREF, REST_PREF)]


def _has_clsact(qdiscs: Sequence[Qdisc]) -> bool:
    return any(qdisc.kind == "clsact" for qdisc in qdiscs)


def _check_foreign(device: str, qdiscs: Sequence[Qdisc], filters: Sequence[Filter]) -> None:
    if any(qdisc.kind == "ingress" for qdisc in qdiscs):
        raise RequestError(
            f"{device} has an ingress qdisc, and clsact needs its place; remove it first (ingress policing of "
            "Open vSwitch makes one)"
        )
    kinds = {QUEUE_PREF: "basic", REST_PREF: "matchall"}
    if conflicting := [row for row in filters if row.pref in kinds and row.kind != kinds[row.pref]]:
        raise RequestError(
            f"{device} has a {conflicting[0].kind} filter with Flowlane's pref {conflicting[0].pref}; "
            "nothing was changed"
        )


def _queue_filter(verb: str, device: str, queue: int) -> str:
    return (
        f"filter {verb} dev {device} egress protocol all pref {QUEUE_PREF} handle {queue + 1} basic "
        f"match meta(priority eq {_FIRST_PRIORITY + queue}) action skbedit queue_mapping {queue}"
    )


def _rest(device: str, present: list[Filter]) -> list[str]:
    """Return the lines for the last filter; matchall can only be deleted and added (net/sched/cls_matchall.c)."""
    if [(row.handle, row.queue) for row in present] == [(_REST_HANDLE, 0)]:
        return []
    lines = [_delete(device, REST_PREF, row.handle, "matchall") for row in present]
    add = f"filter add dev {device} egress protocol all pref {REST_PREF} handle {_REST_HANDLE} matchall"
    return [*lines, f"{add} action skbedit queue_mapping 0"]


def _delete(device: str, pref: int, handle: int, kind: str) -> str:
    return f"filter del dev {device} egress protocol all pref {pref} handle {handle:#x} {kind}"
