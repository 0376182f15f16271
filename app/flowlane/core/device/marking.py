"""Queues chosen by mark: which devices get DSCP or PCP values in the place of ``set_queue``, and how.

The policy says so for a device (``queues-by``), since neither OpenFlow nor OVSDB does. Everywhere else in the engine a
flow has a queue, whatever tells the device. Only what goes to a device and comes from it has the choice of
:mod:`flowlane.core.marks`, made and read here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core import marks
from flowlane.core.device.rules import rules_for
from flowlane.core.device.vlans import NATIVE, mode
from flowlane.core.effects import DeleteLearned
from flowlane.core.flow.pins import FREE, put_pin, worth_of
from flowlane.core.marks import NO_MARK
from flowlane.core.model import LeftOut, PortRole
from flowlane.core.policy import QueuesBy
from flowlane.core.state.flows import PINNED

_MOST_NAMES = 5
"""Ports that are named in one entry of what is left out."""

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowlane.core.effects import Effect
    from flowlane.core.marks import Marking
    from flowlane.core.policy import Policy
    from flowlane.core.state.device import Device, Port


def marking_of(policy: Policy, device: Device) -> Marking | None:
    """Return how a device chooses its queue by mark; None where it does so by ``set_queue``."""
    if device.declared is not None:
        switch = device.declared
        return marks.marking(switch.queues_by, switch.marks, switch.keep_marks)
    entries = rules_for(policy, device.dpid, device.name, device.role)
    entry = next((entry for entry in reversed(entries) if entry.queues_by is not None), None)
    if entry is None or entry.queues_by is None or entry.queues_by is QueuesBy.SET_QUEUE:
        return None
    return marks.marking(entry.queues_by, entry.marks, entry.keep_marks)


def note_marking(policy: Policy, device: Device) -> bool:
    """Note how the device chooses its queue; return whether that differs from before."""
    before, device.marking = device.marking, marking_of(policy, device)
    return before != device.marking


def left_out(device: Device) -> Iterator[LeftOut]:
    """List the queues that no mark reaches, and what a device without registers cannot do."""
    if device.marking is None:
        return
    if device.policy.sampling and device.declared is None:
        why = "packets that are sampled are not offloaded, and marks are for devices that offload"
        yield LeftOut("sampling", why, "none needed: heavy flows are found by their counters")
    kind = device.marking.by.upper()
    for port_no, queue_ids in sorted(device.reported_queues.items()):
        port = device.ports.get(port_no)
        without = [queue_id for queue_id in queue_ids if device.marking.mark_of(queue_id) == NO_MARK]
        if port is not None and without and port.role is not PortRole.IGNORE:
            names = ", ".join(map(str, sorted(without)))
            remedy = f"give each a {kind} in the device's 'marks'"
            yield LeftOut(f"queue {names} of port {port.label}", f"no {kind} is mapped to it", remedy)
    if device.marking.by is QueuesBy.PCP:
        others = [port.name for port in device.ports.values() if _has_senders(port)]
        others = [name for name in others if name not in _tagged_ports(device)]
        if others:
            names = ", ".join(sorted(others)[:_MOST_NAMES]) + (", .." if len(others) > _MOST_NAMES else "")
            why = "a frame of no VLAN has no tag with a priority"
            yield LeftOut(
                f"PCP of untagged frames from {names}", why, "give the ports a VLAN, or queues-by: dscp"
            )


def _tagged_ports(device: Device) -> set[str]:
    return {port.name for port in device.ports.values() if gets_priority_tags(device, port)}


def gets_priority_tags(device: Device, port: Port) -> bool:
    """Whether a PCP is written to untagged frames from a port: those of a VLAN, which have a tag on a trunk."""
    if device.marking is None or device.marking.by is not QueuesBy.PCP or not _has_senders(port):
        return False
    facts = port.facts
    return bool(device.capabilities.normal and facts and facts.tag) and mode(facts) in ("access", *NATIVE)


def _has_senders(port: Port) -> bool:
    return port.role in (PortRole.VM, PortRole.LINK)


def rechoose(device: Device, out: list[Effect]) -> None:
    """Send every pin again, and have learned entries made anew: queues are chosen in another way now."""
    flows = device.flows
    if device.declared is not None:
        device.replaced |= set(flows)
        device.relearn |= set(device.ports)
        return
    for row in flows:
        if flows.flags[row] & PINNED:
            put_pin(device, row, worth_of(device, row), FREE, out)
    out.extend(DeleteLearned(device.dpid, port_no) for port_no in sorted(device.ports))
