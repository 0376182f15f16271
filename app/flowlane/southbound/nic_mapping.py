"""Which tc filters make OpenFlow queue k leave by hardware transmit queue k: pure.

Open vSwitch turns ``set_queue:k`` into ``skb->priority`` 1:(k+1), that is 0x10001 + k, which only picks an HTB
class; the hardware queue is then chosen by a hash. An egress filter under clsact that matches the priority
and sets ``queue_mapping`` makes the two agree, and stays when Open vSwitch restarts or changes its QoS. A
packet without ``set_queue`` is in HTB's default class, queue 0, so a last filter sends it to queue 0 too.

Ours are the filters with the two ``pref`` values below (0xF10A is also the mark in our OpenFlow cookies).
They come late, so filters of others with an ordinary pref run first; nothing else is touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowlane.southbound.nic_tc import Filter, Qdisc

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
