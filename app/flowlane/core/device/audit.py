"""Audit: a slow check of the pins that a device has, and of what is counted of flows, against the flows themselves.

What stands in a device beside its flows is compared elsewhere, with every reading of it (``Repaired``), and the queue
of a flow without a pin is what its learned entry says (:mod:`flowlane.core.flow.learned`). Left are the pins, whose
readings give counters only, and the numbers that are kept so that nothing has to be counted: pins, flows of each VM,
flows on each queue. REST shows both.

A difference counts when it is there in two readings, the second of which was requested :data:`AGAIN` s after the first
was looked at, with the same wish in between: what was being sent, or has just expired, is none. A reply may be a minute
late where the controller is behind with what a device sends; so a pin that was sent or deleted since the request is not
compared, and there is no further request until the reply has come. A difference is put right, reported, and counted by
its kind; in a healthy controller all of these counts stay 0.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from flowlane.core import marks
from flowlane.core.allocate import depart
from flowlane.core.allocate.cells import slot_of
from flowlane.core.effects import ReadCounters, Report, UnpinFlow
from flowlane.core.flow.assign import assign
from flowlane.core.flow.pins import FREE, put_pin, recount, unmark, worth_of
from flowlane.core.flowkey import flow_text
from flowlane.core.model import NO_QUEUE
from flowlane.core.state.audit import AUDIT_EVERY, Difference
from flowlane.core.state.flows import PINNED
from flowlane.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flowlane.core.effects import Effect
    from flowlane.core.events import FoundPin, PinsRead
    from flowlane.core.model import PinRef
    from flowlane.core.state.device import Device, State

EVERY_EMPTY = 600.0
"""Seconds between two audits of a device without flows."""

AGAIN = 5.0
"""Seconds until a difference is looked at again."""

MOST_REPAIRED = 256
"""Differences of pins that are put right at one reading; the others with the next ones."""

MOST_IN_VAIN = 3
"""Times that a pin is put right in vain before it is left as it is."""

MOST_SHOWN = 2
"""Differences that a report shows."""

PIN, COUNT = "pin", "count"
"""Kinds of repairs."""


def follow_time(state: State, device: Device, out: list[Effect]) -> None:
    """Audit a device that is due: its counts now, its pins when they have been read."""
    audit = device.audit
    if not device.connected or device.unusable or device.in_adoption or state.now < audit.due:
        return
    audit.due = state.now + (AUDIT_EVERY if device.flows.rows else EVERY_EMPTY)
    if device.declared is None and (number := audit.begin_reading(state.now)):
        out.append(ReadCounters(device.dpid, whole_pins=number))
    wrong = [*_count_pins(device), *_count_flows(device)]
    if device.refit_from is None and device.dpid not in state.due:
        wrong += _compare_queues(state, device, out)
    if wrong:
        _report(device, COUNT, len(wrong), wrong[:MOST_SHOWN], out)


def _count_pins(device: Device) -> Iterator[str]:
    """Count the flows with a pin; say so where that is not what was known."""
    flows = device.flows
    pinned = [row for row in flows if flows.flags[row] & PINNED]
    by_vm = Counter(flows.vm_number[row] for row in pinned)
    listed = [row for rows in device.pins_by_worth for row in rows]
    if device.pinned != len(pinned) or device.pin_counts != by_vm or sorted(listed) != sorted(pinned):
        yield f"{device.pinned} pins were counted, {len(pinned)} flows have one"
        recount(device, pinned)


def _count_flows(device: Device) -> Iterator[str]:
    """Count the flows of each VM; say so where that is not what was known."""
    flows = device.flows
    of_vm = Counter(map(flows.vm_number.__getitem__, flows))
    if device.flows_of_vm != of_vm:
        number = min(of_vm.items() ^ device.flows_of_vm.items())[0]
        yield f"{device.flows_of_vm.get(number, 0)} flows were counted of VM {number}, which has {of_vm[number]}"
        device.flows_of_vm = dict(of_vm)


def _compare_queues(state: State, device: Device, out: list[Effect]) -> Iterator[str]:
    """Compare how many flows each queue has by the flows with what the allocator counts on it."""
    flows = device.flows
    rows = list(flows)
    by_flows = Counter(
        zip(map(flows.egress_port.__getitem__, rows), map(flows.queue_id.__getitem__, rows), strict=True)
    )
    for port_no, port in device.ports.items():
        if port.allocation is None:
            continue
        for slot in port.allocation.all_slots:
            queue_id = slot.queue.queue_id
            number = by_flows[port_no, queue_id]
            if slot.count != number:
                yield f"{slot.count} flows were counted on queue {queue_id} of {port.name}, which has {number}"
                _place_again(state, device, port_no, queue_id, out)


def _place_again(state: State, device: Device, port_no: int, queue_id: int, out: list[Effect]) -> None:
    """Place the flows anew that have a queue on which the allocator does not count them."""
    flows, allocation = device.flows, device.ports[port_no].allocation
    for row in list(flows):
        if allocation is None or (flows.egress_port[row], flows.queue_id[row]) != (port_no, queue_id):
            continue
        is_placed = allocation.columns.is_placed(row)
        if is_placed and slot_of(allocation, row).queue.queue_id == queue_id:
            continue
        if is_placed:
            depart(allocation, row)
        flows.queue_id[row] = NO_QUEUE
        assign(state, device, row, out)


def on_pins_read(state: State, event: PinsRead, out: list[Effect]) -> None:
    """Compare the pins that a device has with those that its flows have."""
    device = state.devices.get(event.dpid)
    if (
        device is None
        or not device.audit.end_reading(event.number)
        or not device.connected
        or device.in_adoption
    ):
        return
    audit, found = device.audit, {pin.ref: pin for pin in event.pins}
    # A reply that comes late shows what was there before the changes that were made meanwhile.
    present = {ref: how for ref, how in _differences(device, found) if ref not in audit.changed}
    same = [ref for ref, difference in present.items() if audit.suspects.get(ref) == difference]
    wrong = [ref for ref in same if audit.repaired.get(ref, 0) < MOST_IN_VAIN][:MOST_REPAIRED]
    texts = [_text(device, ref, present[ref]) for ref in wrong[:MOST_SHOWN]]
    for ref in wrong:
        audit.repaired[ref] = audit.repaired.get(ref, 0) + 1
        _put_right(device, ref, found.get(ref), out)
    audit.repaired = {ref: times for ref, times in audit.repaired.items() if ref in present}
    audit.suspects = {} if wrong else present
    if any(audit.repaired.get(ref, 0) < MOST_IN_VAIN for ref in present):
        audit.due = min(audit.due, state.now + AGAIN)
    if wrong:
        _report(device, PIN, len(wrong), texts, out)


def _differences(device: Device, found: dict[PinRef, FoundPin]) -> Iterator[tuple[PinRef, Difference]]:
    flows = device.flows
    has_marks = device.capabilities.learn
    for ref, pin in found.items():
        there = (pin.key[4:], pin.in_port, pin.egress_port, _choice(pin.queue_id, has_marks), pin.meter_id)
        wanted = None
        if flows.holds(*ref) and flows.flags[ref.row] & PINNED:
            wanted = _wanted(device, ref.row, has_marks)
        if wanted != there:
            yield ref, Difference(wanted, there)
    for row in flows:
        if flows.flags[row] & PINNED and (ref := flows.ref(row)) not in found:
            yield ref, Difference(_wanted(device, row, has_marks), None)


def _wanted(device: Device, row: int, has_marks: bool) -> tuple[object, ...]:
    flows = device.flows
    choice = _choice(device.choice(flows.queue_id[row], flows.mark[row]), has_marks)
    return (
        flows.device_key(row)[4:],
        flows.in_port[row],
        flows.egress_port[row],
        choice,
        flows.meter_id[row],
    )


def _choice(choice: int, has_marks: bool) -> int:
    """Return a choice as it can be compared: without registers, what a pin cannot match it does not mark either."""
    return choice if has_marks or choice == NO_QUEUE else marks.split(choice)[0]


def _put_right(device: Device, ref: PinRef, pin: FoundPin | None, out: list[Effect]) -> None:
    """Delete a pin that no flow has, and send the one that a flow lacks, or has with another queue or meter."""
    flows, row = device.flows, ref.row
    is_pinned = flows.holds(*ref) and bool(flows.flags[row] & PINNED)
    is_same = (
        pin is not None
        and is_pinned
        and (pin.key[4:], pin.in_port, pin.egress_port) == _wanted(device, row, has_marks=True)[:3]
    )
    if pin is not None and not is_same:
        out.append(UnpinFlow(device.dpid, ref, pin.key, pin.in_port, pin.egress_port, pin.by_vm))
    if is_pinned:
        if not is_same:
            unmark(device, row)  # A pin that is not there cannot be modified.
        put_pin(device, row, worth_of(device, row), FREE, out)


def _text(device: Device, ref: PinRef, difference: Difference) -> str:
    """Say what a pin was, and what it was to be."""
    if difference.there is None:
        return f"the pin of {flow_text(device.flows.keys[ref.row] or b'')} was not there"
    if difference.wanted is None:
        return f"pin {ref.row} was of no flow"
    names = ("flow", "ingress port", "egress port", "queue", "meter")
    pairs = zip(names, difference.wanted, difference.there, strict=True)
    wrong = [f"{name} {there} instead of {wanted}" for name, wanted, there in pairs if wanted != there]
    return f"the pin of {flow_text(device.flows.keys[ref.row] or b'')} had {', '.join(wrong)}"


def _report(device: Device, kind: str, number: int, texts: Iterable[str], out: list[Effect]) -> None:
    counts = device.audit.counts
    counts[kind] = counts.get(kind, 0) + number
    text = f"{device.name}: {counted(number, kind)} put right by the audit: {'; '.join(texts)}"
    data = {
        "device": f"{device.dpid:016x}",
        "change": "repaired",
        "repaired": {kind: number},
        "why": "what the controller keeps and what is there differed in two readings",
    }
    out.append(Report("error", text, data))
