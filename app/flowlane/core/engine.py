"""The engine: events and the time in, effects out. Deterministic; no I/O, no clock, no thread.

Call :meth:`Engine.step` once for each event; its effects are in the order in which they have to be carried out.
:data:`HANDLERS` names the function for each kind of event. A tick, about once a second, does what is due because time
has passed: queues are rebalanced, idle flows are removed, what is gone is forgotten. A poll, ten times a second,
requests counters that are due.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flowlane.core import events as ev
from flowlane.core import packet_in
from flowlane.core.allocate import rebalance
from flowlane.core.device import (
    audit,
    class_meters,
    connections,
    cordons,
    hints,
    passive,
    refresh,
    refusals,
    repairs,
)
from flowlane.core.device.addresses import put_off_for_address
from flowlane.core.device.arrivals import follow_arrivals
from flowlane.core.device.copies import follow_lag
from flowlane.core.device.forget import forget
from flowlane.core.device.plan import weigh
from flowlane.core.device.quotas import follow_quotas
from flowlane.core.device.refusals import retry_full_table, retry_meters, retry_refused
from flowlane.core.device.takeover import end_adoption
from flowlane.core.effects import Effect, ReadCounters
from flowlane.core.flow import learned, lifecycle, limits, manual, new_pins, samples
from flowlane.core.flow.assign import apply_moves
from flowlane.core.flow.lifecycle import sweep
from flowlane.core.flow.paths import settle_paths
from flowlane.core.flow.readings import NOTHING, idle_period_of, share_of
from flowlane.core.state.device import Due, State, put_off
from flowlane.core.topology import discovery

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from flowlane.core.events import Poll, Tick
    from flowlane.core.model import Hint, Vm
    from flowlane.core.policy import PassiveSwitch, Policy
    from flowlane.core.state.device import Device, Port


IDLE_POLL, IDLE_TICK = 1.0, 30.0
"""Seconds between two polls, and between two ticks, of a device without flows and without anything to wait for."""

EMPTY_BALANCES = 10
"""Intervals of ``Balance.interval`` between two rebalances of a port without flows."""


def on_tick(state: State, event: Tick, out: list[Effect]) -> None:
    """Do what is due, on one device or on every one."""
    if event.dpid is not None:
        if event.dpid in state.devices:
            _tick_device(state, state.devices[event.dpid], out)
        return
    hints.expire(state, out)
    manual.expire(state, out)
    forget(state, out)
    settle_paths(state, out)
    for device in [] if event.alone else list(state.devices.values()):
        _tick_device(state, device, out)


def _tick_device(state: State, device: Device, out: list[Effect]) -> None:
    end_adoption(state, device, out)
    cordons.report_drained(state, device, out)
    balance(state, device, out)
    if device.pins_when_full is not None and state.now >= device.pin_retry:
        retry_full_table(state, device, out)
    if device.meter_retry is not None and state.now >= device.meter_retry:
        retry_meters(state, device, out)
    is_due = device.audit.refused_retry is not None and state.now >= device.audit.refused_retry
    if is_due and device.pins_when_full is None:  # While the table counts as full, there is no room for them.
        retry_refused(state, device, out)
    has_new_meters = class_meters.retry(state, device, out)
    follow_quotas(state, device, out)
    has_new_tracking = follow_arrivals(state, device)
    has_new_limit = follow_lag(state, device)
    if weigh(device, state.now) or has_new_meters or has_new_tracking or has_new_limit:
        put_off(state, device, Due.PLAN)
    limits.estimate_shares(device)
    sweep(state, device, out)
    discovery.follow_time(state, device, out)
    audit.follow_time(state, device, out)
    device.next_tick = state.now + (IDLE_TICK if _is_idle(device) else 0.0)


def _is_idle(device: Device) -> bool:
    """Whether no tick of a device has anything to do for some seconds, unless something happens."""
    refused = device.pins_when_full is not None or device.meter_retry is not None
    waits = device.in_adoption or refused or device.meters_left_out
    is_over = any(usage.excess is not None for usage in device.usages.values())
    is_over |= bool(device.copy_limit.halved)
    return not waits and not is_over and not device.arrival_rates and not device.begun


def on_poll(state: State, event: Poll, out: list[Effect]) -> None:
    """Request the counters that are due on devices; make plans anew that wait for addresses."""
    dpids = to_poll(state, state.now) if event.dpids is None else event.dpids
    idle_period = idle_period_of(len(state.devices))
    for device in [state.devices[dpid] for dpid in dpids if dpid in state.devices and dpid != state.busy]:
        if device.address_waits:
            put_off_for_address(state, device)
        if device.connected and not device.unusable:
            device.readings.share = share_of(state.with_flows, device.readings.per_entry)
            portion = device.readings.due(
                state.now, device.pinned, device.capabilities.learn, len(device.flows.rows), idle_period
            )
            single = new_pins.due(device, state.now) if device.new_pins else ()
            if single or (portion is not NOTHING and any(portion)):
                out.append(ReadCounters(device.dpid, *portion, single))
            if device.capabilities.learn:
                learned.begin_group(device, device.readings.filled(state.now), out)


def to_poll(state: State, now: float) -> list[int]:
    """List the dpids of the devices to poll: those with flows, and once in :data:`IDLE_POLL` others that are due."""
    if now >= state.next_poll_of_all:
        state.next_poll_of_all = now + IDLE_POLL
        state.awake = {dpid for dpid, device in state.devices.items() if device.flows.rows}
        state.with_flows = len(state.awake)
        period = idle_period_of(len(state.devices))
        return [
            dpid
            for dpid, device in state.devices.items()
            if dpid in state.awake or device.address_waits or device.readings.is_due(now, period)
        ]
    dpids = sorted(state.awake & state.devices.keys())
    state.with_flows = len(dpids)
    return dpids


def balance(state: State, device: Device, out: list[Effect], due: bool = True) -> None:
    """Rebalance the ports of a device that are due, and those where flows have changed their classes.

    Args:
        due: False for the latter only.
    """
    for port in device.ports.values():
        if device.in_adoption:
            # No rate is measured yet.
            port.next_balance = state.now + device.policy.balance.interval
        elif port.allocation is not None and (
            port.allocation.restless or (due and state.now >= port.next_balance + _unhurried(device, port))
        ):
            port.next_balance = state.now + device.policy.balance.interval
            flows = device.flows
            moves = rebalance(port.allocation, state.now, flows.last_active, flows.octets)
            apply_moves(state, device, moves, out)


def _unhurried(device: Device, port: Port) -> float:
    """Return by how many seconds the rebalance of a port may be late: one without flows has little to balance."""
    is_empty = port.allocation is not None and not port.allocation.count
    return (EMPTY_BALANCES - 1) * device.policy.balance.interval if is_empty else 0.0


def settle(state: State, out: list[Effect]) -> None:
    """Rebalance the ports where flows have changed their classes: what their classes ask for waits for no tick."""
    if not (restless := state.restless - {state.busy}):
        return
    for dpid in sorted(restless):
        device = state.devices.get(dpid)
        if device is not None:
            balance(state, device, out, due=False)
            device.next_weighing = state.now
            if weigh(device, state.now):
                put_off(state, device, Due.PLAN)
    state.restless -= restless


Handler = Callable[[State, Any, "list[Effect]"], None]

HANDLERS: dict[type, Handler] = {
    ev.FlowSeen: packet_in.on_flow_seen,
    ev.FlowMessages: packet_in.on_flow_messages,
    ev.LinkSeen: discovery.on_link_seen,
    ev.PinCounters: lifecycle.on_pin_counters,
    ev.PinsRead: audit.on_pins_read,
    ev.PinEnded: lifecycle.on_pin_ended,
    ev.LearnedCounters: learned.on_learned_counters,
    ev.ReadingEnded: learned.on_reading_ended,
    ev.GroupsCounted: learned.on_groups_counted,
    ev.LearnedEnded: learned.on_learned_ended,
    ev.PacketsSampled: samples.on_packets_sampled,
    ev.RuleRefused: refusals.on_rule_refused,
    ev.ConflictsReported: refresh.on_conflicts_reported,
    ev.PlanLeftOut: refresh.on_plan_left_out,
    ev.Repaired: repairs.on_repaired,
    ev.QueueCounters: limits.on_queue_counters,
    ev.MeterCounters: limits.on_meter_counters,
    ev.DeviceUp: refresh.on_device_up,
    ev.DeviceWaits: connections.on_device_waits,
    ev.DeviceDown: connections.on_device_down,
    ev.DpidShared: connections.on_dpid_shared,
    ev.PortChanged: refresh.on_port_changed,
    ev.PortRemoved: refresh.on_port_removed,
    ev.QueuesReported: refresh.on_queues_reported,
    ev.DeviceDescribed: refresh.on_device_described,
    ev.DescriptionRemoved: refresh.on_description_removed,
    ev.HintGiven: hints.on_hint_given,
    ev.HintWithdrawn: hints.on_hint_withdrawn,
    ev.FlowPinned: manual.on_flow_pinned,
    ev.FlowReleased: manual.on_flow_released,
    ev.QueueCordoned: cordons.on_queue_cordoned,
    ev.RoleGiven: refresh.on_role_given,
    ev.PolicyReplaced: refresh.on_policy_replaced,
    ev.Tick: on_tick,
    ev.Poll: on_poll,
    ev.CatchUp: refresh.on_catch_up,
}
"""Kind of event -> its function."""


class Engine:
    """Engine of Flowlane: one step for each event. :attr:`state` may be read between two steps."""

    def __init__(self, policy: Policy, passive_switches: tuple[PassiveSwitch, ...] = ()) -> None:
        self.state = State(policy, passive_switches=passive_switches)
        refresh.declare_passive(self.state, [])

    def step(self, event: ev.Event, now: float) -> list[Effect]:
        """Handle an event.

        Args:
            now: time in seconds of the caller's monotonic clock.

        Returns:
            The effects, in the order in which they have to be carried out.
        """
        state = self.state
        state.now = max(state.now, now)
        out: list[Effect] = []
        HANDLERS[type(event)](state, event, out)
        if state.passive:
            passive.settle_marks(state, out)
        if state.restless:
            settle(state, out)
        return out

    def step_and_catch_up(self, event: ev.Event, now: float) -> list[Effect]:
        """Handle an event and the work that it puts off, for callers that no other device waits for."""
        out = self.step(event, now)
        while self.is_behind:
            out += self.step(ev.CatchUp(), now)
        return out

    @property
    def is_behind(self) -> bool:
        """Whether work was put off, for which the engine needs a :class:`flowlane.core.events.CatchUp`."""
        return bool(self.state.due or self.state.refits)

    def behind(self, later: Container[int]) -> tuple[int | None, int | None]:
        """Return the devices whose work is next: that with news, and that with flows to place under a new policy.

        Args:
            later: dpids of devices whose news is to be gathered for longer.
        """
        with_news = next((dpid for dpid in self.state.due if dpid not in later), None)
        return with_news, next(iter(self.state.refits), None)

    def to_poll(self, now: float) -> list[int]:
        """List the dpids of the devices to poll now."""
        return to_poll(self.state, now)

    def to_tick(self, now: float) -> list[int]:
        """List the dpids of the devices for which a tick may have something to do."""
        return [
            dpid
            for dpid, device in self.state.devices.items()
            if device.flows.rows or now >= device.next_tick or now >= device.next_probe
        ]

    @property
    def devices(self) -> Mapping[int, Device]:
        """Devices by dpid."""
        return self.state.devices

    @property
    def vms(self) -> Mapping[int, Vm]:
        """VMs by number."""
        return self.state.vms

    @property
    def hints(self) -> Mapping[str, Hint]:
        """Hints by id."""
        return self.state.hints

    @property
    def policy(self) -> Policy:
        """The operator's policy in force."""
        return self.state.policy
