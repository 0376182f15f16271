"""The engine: facts and the time in, decisions out. Deterministic; no I/O, no clock, no thread.

One call of :meth:`Engine.step` per fact. Its effects are in the order in which they have to be carried out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flowlane.core import counters, devices, learned, lifecycle, refusals, suggest, ticks
from flowlane.core import events as ev
from flowlane.core.state import State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowlane.core.effects import Effect
    from flowlane.core.model import Hint, Vm
    from flowlane.core.policy import Policy
    from flowlane.core.state import Device

Handler = Callable[[State, Any, "list[Effect]"], None]

HANDLERS: dict[type, Handler] = {
    ev.FlowSeen: lifecycle.on_flow_seen,
    ev.FlowCounters: lifecycle.on_flow_counters,
    ev.FlowEnded: lifecycle.on_flow_ended,
    ev.KeyCounters: learned.on_key_counters,
    ev.KeyEnded: learned.on_key_ended,
    ev.RuleRefused: refusals.on_rule_refused,
    ev.StandingLeftOut: devices.on_standing_left_out,
    ev.QueueCounters: counters.on_queue_counters,
    ev.MeterCounters: counters.on_meter_counters,
    ev.DeviceUp: devices.on_device_up,
    ev.DeviceDown: devices.on_device_down,
    ev.PortChanged: devices.on_port_changed,
    ev.PortRemoved: devices.on_port_removed,
    ev.QueuesReported: devices.on_queues_reported,
    ev.DeviceDescribed: devices.on_device_described,
    ev.DeviceForgotten: devices.on_device_forgotten,
    ev.HintGiven: suggest.on_hint_given,
    ev.HintWithdrawn: suggest.on_hint_withdrawn,
    ev.PolicyReplaced: devices.on_policy_replaced,
    ev.Tick: ticks.on_tick,
}
"""What each fact does. A kind of fact that is not here is a fault of ours, and raises KeyError."""


class Engine:
    """All of Flowlane's decisions. Readers look at :attr:`state` between two steps."""

    def __init__(self, policy: Policy) -> None:
        self.state = State(policy)

    def step(self, event: ev.Event, now: float) -> list[Effect]:
        """Take a fact in at a time (seconds, never going back); return what is to be done, in order."""
        state = self.state
        state.now = max(state.now, now)
        out: list[Effect] = []
        HANDLERS[type(event)](state, event, out)
        return out

    @property
    def watched(self) -> bool:
        """Whether anybody reads reports of single flows; they are made only then."""
        return self.state.watched

    @watched.setter
    def watched(self, value: bool) -> None:
        self.state.watched = value

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
