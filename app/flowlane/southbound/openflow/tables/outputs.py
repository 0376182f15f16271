"""Entries of table output for one port: by the choice in a packet's register, with ``set_queue``, a mark, or both.

This is the one place where packets get marks, whether a standing rule, a learned entry or a pin chose the queue. A DSCP
is written to IPv4 and IPv6 packets, whose ECN bits stay. A PCP is written to the tag of a tagged frame. A frame without
one from an access or native port gets a priority tag (VLAN 0, IEEE 802.1Q 3.184) where the device forwards by itself:
NORMAL takes it as untagged, gives the PCP to the tag that the frame has on a trunk, and sends it without a tag
otherwise (Open vSwitch, ofproto/ofproto-dpif-xlate.c, xvlan_input_translate() and xvlan_put()). From other ports the
frame would leave with that tag, which not every receiver takes. So they, and those with a mark that is kept, go to the
queue that the device has for them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from flowlane.core import marks
from flowlane.core.frame import ETH_IPV4, ETH_IPV6
from flowlane.core.marks import NO_MARK
from flowlane.core.model import NO_QUEUE
from flowlane.southbound.openflow.tables import pipeline
from flowlane.southbound.openflow.tables.entries import Output, PushVlan, SetMark, SetQueue, Step, mark_field
from flowlane.southbound.openflow.tables.matches import Fields
from flowlane.southbound.openflow.tables.pipeline import Priority
from flowlane.southbound.openflow.wire.constants import NORMAL_PORT
from flowlane.southbound.openflow.wire.fields import VLAN_PRESENT
from flowlane.southbound.openflow.wire.nicira import QUEUE

_TAGGED = (VLAN_PRESENT, VLAN_PRESENT)
_IP_TYPES = (ETH_IPV4, ETH_IPV6)


class Out(NamedTuple):
    """One way out by a port.

    ``of_tracked``: what its entries for tracked packets match beside their IP family; None: another way has them.
    """

    priority: int
    fields: Fields
    steps: tuple[Step, ...]
    of_tracked: Fields | None


def of_port(
    port_no: int, choices: Collection[int], keep: Collection[int], normal: bool, in_vlan: Collection[int]
) -> Iterator[Out]:
    """Yield the ways out by a port: of its default queue, then of each choice.

    Args:
        choices: what packets may have in their registers (:mod:`flowlane.core.marks`).
        keep: marks that are not written over.
        normal: whether the device forwards by itself.
        in_vlan: ports whose untagged frames belong to a VLAN.
    """
    output = Output(NORMAL_PORT if normal else port_no)
    base: Fields = {"metadata": pipeline.egress(port_no)}
    yield Out(Priority.OUTPUT, base, (output,), base)
    for choice in choices:
        queue_id, mark = marks.split(choice)
        chosen: Fields = {**base, QUEUE: choice + 1}
        queue: tuple[Step, ...] = () if queue_id == NO_QUEUE else (SetQueue(queue_id),)
        yield Out(Priority.QUEUE, chosen, (*queue, output), chosen)
        if mark != NO_MARK:
            yield from _marked(chosen, mark, (*queue, output), in_vlan if normal else ())
            yield from _kept(chosen, keep, (*queue, output))


def _marked(chosen: Fields, mark: int, steps: tuple[Step, ...], in_vlan: Collection[int]) -> Iterator[Out]:
    write = SetMark(mark)
    if not marks.is_pcp(mark):
        for place, eth_type in enumerate(_IP_TYPES):
            of_tracked = chosen if place == 0 else None
            yield Out(Priority.MARK_OF_QUEUE, {**chosen, "eth_type": eth_type}, (write, *steps), of_tracked)
        return
    tagged: Fields = {**chosen, "vlan_vid": _TAGGED}
    yield Out(Priority.MARK_OF_QUEUE, tagged, (write, *steps), tagged)
    for in_port in in_vlan:
        untagged: Fields = {**chosen, "in_port": in_port, "vlan_vid": 0}
        yield Out(Priority.MARK_OF_QUEUE, untagged, (PushVlan(), write, *steps), untagged)


def _kept(chosen: Fields, keep: Collection[int], steps: tuple[Step, ...]) -> Iterator[Out]:
    for mark in keep:
        kept: Fields = {**chosen, mark_field(mark): marks.value_of(mark)}
        if marks.is_pcp(mark):
            kept["vlan_vid"] = _TAGGED
            yield Out(Priority.KEPT_MARK, kept, steps, kept)
            continue
        for place, eth_type in enumerate(_IP_TYPES):
            yield Out(Priority.KEPT_MARK, {**kept, "eth_type": eth_type}, steps, kept if place == 0 else None)
