"""Refusals: fallbacks for what a device refuses.

- A meter, because the device has another one of its id: that one is left alone, and ours gets another id.
- A meter, for any other reason: its flows go on without a limit. No further meter is added while the device has as
  many as it took. The device is tried again after :data:`RETRY` s, as others may have taken the room for a while.
- A pin, because the table is full: the pins that the device has are the budget from now on, so that a flow whose pin
  is worth more takes the place of one whose pin is worth less. The device is tried again after :data:`RETRY` s, with
  the flows that got no pin meanwhile.
- A pin, for any other reason: the flow stays on its standing rule. Where it was a change of its pin, the old one is
  deleted. Some of these flows are tried again every :data:`RETRY` s.
"""

from __future__ import annotations

from bisect import bisect
from itertools import chain, islice
from typing import TYPE_CHECKING

from flowlane.core.device import class_meters, meter_ids
from flowlane.core.device.refresh import replan
from flowlane.core.effects import UnpinFlow
from flowlane.core.flow.assign import reassign
from flowlane.core.flow.pins import refuse, remove_pin
from flowlane.core.flow.reports import count_refusal
from flowlane.core.model import LeftOut, Refusal
from flowlane.core.policy import LimitScope
from flowlane.core.state.audit import RETRY
from flowlane.core.state.device import Due, put_off
from flowlane.core.state.flows import BY_VM, PINNED, REFUSED, UNREPORTED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowlane.core.effects import Effect
    from flowlane.core.events import RuleRefused
    from flowlane.core.state.device import Device, State

MOST_AT_ONCE = 256
"""Flows without a meter, or without a pin, that get one at once when a device is tried again."""

NEXT_SOME = 1.0
"""Seconds until the next of the flows without a pin get theirs in a table that was full, as long as it takes them."""


def on_rule_refused(state: State, event: RuleRefused, out: list[Effect]) -> None:
    """Report that a device refused an entry, a group or a meter, and go on without it."""
    device = state.devices.get(event.dpid)
    if device is None:
        return
    count_refusal(device, event.what, event.text, out)
    if event.what == "meter" and event.refusal is Refusal.ID_TAKEN:
        _meter_taken(state, device, event.meter_id, event.text, out)
    elif event.what == "meter":
        _meter_refused(state, device, event.meter_id, event.text, out)
    elif event.ref is not None and device.flows.holds(*event.ref):
        _pin_refused(state, device, event.ref.row, event, out)


def _meter_taken(state: State, device: Device, meter_id: int, text: str, out: list[Effect]) -> None:
    """Use another id; the pins that name the one that is taken are sent again."""
    other = meter_ids.leave(device, meter_id, out)
    if other is None:
        _meter_refused(state, device, meter_id, text, out)
        return
    replan(state, device, out)
    meter_ids.pin_anew(device, other, out)


def _meter_refused(state: State, device: Device, meter_id: int, text: str, out: list[Effect]) -> None:
    """Take the meter from its flows; the pins that name it were refused as well, or will be."""
    pool = device.meter_pool
    if pool.owner_with(meter_id) is None:
        return
    users = meter_ids.give_up(device, meter_id)
    pool.room, device.meter_retry = len(pool.ids), state.now + RETRY
    device.refused_left_out["meter"] = LeftOut(
        f"limits of flows beyond {pool.room} meters",
        f"the device refused another meter: {text}",
        "a limit-scope of class or vm needs fewer meters",
    )
    class_meters.allocate(state, device, out)
    put_off(state, device, Due.PLAN)
    for row in users:
        _pin_anew(state, device, row, out)


def _pin_anew(state: State, device: Device, row: int, out: list[Effect]) -> None:
    remove_pin(device, row, out)
    reassign(state, device, row, out)


def _pin_refused(state: State, device: Device, row: int, event: RuleRefused, out: list[Effect]) -> None:
    flows = device.flows
    if event.refusal is Refusal.NO_SUCH_METER:
        # Without a meter, the flow has got another pin since: the error is about the one with the meter.
        if flows.meter_id[row]:
            _meter_refused(state, device, flows.meter_id[row], event.text, out)
        return
    was_pinned, by_vm = bool(flows.flags[row] & PINNED), bool(flows.flags[row] & BY_VM)
    refuse(device, row)
    if event.refusal is Refusal.TABLE_FULL and was_pinned:
        _table_is_full(state, device, event.text)
    elif was_pinned:
        ports = flows.in_port[row], flows.egress_port[row]
        out.append(UnpinFlow(device.dpid, flows.ref(row), flows.device_key(row), *ports, by_vm))
    device.audit.refused_retry = state.now + RETRY
    reassign(state, device, row, out)


def _table_is_full(state: State, device: Device, text: str) -> None:
    device.pins_when_full, device.pin_retry = device.pinned, state.now + RETRY
    device.refused_left_out["pin"] = LeftOut(
        f"pins beyond {device.pinned}",
        f"the device's table for exact entries is full ({text})",
        "pins: {which: worthy} spends them where they pay",
    )


def retry_full_table(state: State, device: Device, out: list[Effect]) -> None:
    """Try again whether the table of pins has room, for some of the flows that got no pin while it was full.

    What they need may have been there before: nothing else would give them a pin.
    """
    device.pins_when_full = None
    device.refused_left_out.pop("pin", None)
    before = device.pinned
    rows = list(islice(chain(_misplaced(device), _unlimited(device)), MOST_AT_ONCE))
    for row in rows:
        reassign(state, device, row, out)
    if len(rows) == MOST_AT_ONCE and before < device.pinned < device.pin_budget:
        device.pins_when_full, device.pin_retry = device.pinned, state.now + NEXT_SOME


def retry_meters(state: State, device: Device, out: list[Effect]) -> None:
    """Try again whether the device has room for meters: those of classes and VMs follow with this tick."""
    device.meter_pool.room = device.meter_retry = None
    device.refused_left_out.pop("meter", None)
    for row in list(islice(_unlimited(device), MOST_AT_ONCE)):
        reassign(state, device, row, out)


def retry_refused(state: State, device: Device, out: list[Effect]) -> None:
    """Try again whether the device takes the pins of some of the flows for which it has refused one."""
    flows = device.flows
    rows = sorted(row for row in flows if flows.flags[row] & REFUSED)
    begin = bisect(rows, device.audit.retried_row)
    chosen = [*rows[begin:], *rows[:begin]][:MOST_AT_ONCE]
    device.audit.refused_retry = state.now + RETRY if len(rows) > len(chosen) else None
    device.audit.retried_row = chosen[-1] if chosen else -1
    for row in chosen:
        flows.flags[row] &= ~REFUSED
        reassign(state, device, row, out)


def _misplaced(device: Device) -> Iterator[int]:
    """List the rows of flows without a pin that their device has put on another queue than they are to have."""
    flows = device.flows
    for row, (key, flags, queue_id, chosen) in enumerate(
        zip(flows.keys, flows.flags, flows.queue_id, flows.device_queue, strict=False)
    ):
        if chosen not in (queue_id, UNREPORTED) and key is not None and not flags & PINNED:
            yield row


def _unlimited(device: Device) -> Iterator[int]:
    """List the rows of flows that have not the meter of their own that their class gives them."""
    flows, classes = device.flows, device.policy.classes
    for row in flows:
        traffic_class = classes[flows.class_index[row]]
        if (
            traffic_class.rate_limit
            and traffic_class.limit_scope is LimitScope.FLOW
            and not flows.meter_id[row]
        ):
            yield row
