"""Events to the engine, one at a time; what takes long on one device is done in slices, and others are served between.

News of a device is gathered and worked off in a green thread of its own, a device at a time (``CatchUp``), and so is
the connection of a device with thousands of ports or entries. The engine says in its long loops where a pause may be
made (:mod:`flowlane.core.pacing`). While such work is under way, events of other devices that concern these alone are
stepped at once. All other events wait for its end, in their order. The device itself is not read from meanwhile, so
that what it sends waits in its connection; and who reads of it or of all devices, or orders something, waits, since the
state is half made (:mod:`flowlane.pauses`).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from flowlane import garbage, hub
from flowlane.core import events as ev
from flowlane.pauses import SLICE, WORK

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowlane.core.effects import Effect
    from flowlane.core.engine import Engine
    from flowlane.core.events import Event
    from flowlane.southbound.openflow.session.sessions import Sessions

CATCH_UP_AFTER = 0.02
"""Seconds for which news of ports, queues, VMs and addresses is gathered before plans are made of it."""

LONG = 0.02
"""Seconds of processor time from which work on a device counts as long: its next news is gathered for longer."""

REST = 4.0
"""For how many times as long as its work took a device's news is gathered then, so that it gets a fifth of the time."""

MOST_REST = 5.0
"""Seconds for which the news of a device is gathered at most."""

LARGE = 256
"""Ports, queues, found entries and rules of the policy from which a connection is taken in slices."""

MOST_WAITING = 4096
"""Events that wait, from which packets of flows are dropped: their device forwards them, or sends the next one."""

_OF_ONE_DEVICE = frozenset(
    (
        ev.FlowSeen,
        ev.FlowMessages,
        ev.PinCounters,
        ev.PinEnded,
        ev.LearnedCounters,
        ev.ReadingEnded,
        ev.GroupsCounted,
        ev.LearnedEnded,
        ev.PacketsSampled,
        ev.QueueCounters,
        ev.MeterCounters,
        ev.RuleRefused,
        ev.PlanLeftOut,
        ev.Repaired,
        ev.PortChanged,
        ev.PortRemoved,
        ev.QueuesReported,
    )
)
"""Events that concern their own device; what one changes of another is left to a catch-up."""


class Stepper:
    """Gives events to the engine and has its effects carried out.

    Args:
        carry_out: carries an effect out without blocking.
        fault: takes note of the exception that is being handled, and what raised it.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Callable[[], float],
        carry_out: Callable[[Effect], None],
        fault: Callable[[str], None],
    ) -> None:
        self._engine, self._clock = engine, clock
        self._carry_out, self._fault = carry_out, fault
        self._sessions: Sessions | None = None
        self._waiting: deque[Event] = deque()
        """Events that wait for the end of the work under way."""
        self._later: dict[int, float] = {}
        """dpid -> when its news is to be worked off, of devices whose work takes long."""
        self._connecting: set[int] = set()
        """dpids of devices whose connection, or the end of one, waits."""
        self._is_working = False
        engine.state.pace = _pause

    def attach(self, sessions: Sessions) -> None:
        """Have the messages of devices wait whose work is under way."""
        self._sessions = sessions

    @property
    def is_idle(self) -> bool:
        """Whether no work is half done, and no event waits."""
        return self._engine.state.busy is None and not self._waiting

    def wait(self) -> None:
        """Wait until no work is half done."""
        while self._engine.state.busy is not None:
            hub.sleep(SLICE)

    def take(self, event: Event) -> None:
        """Step an event and carry out its effects before returning; or leave that to the end of the work under way."""
        if not self._must_wait(event):
            self._step_now(event)
        elif (kept := event if len(self._waiting) < MOST_WAITING else _without_packets(event)) is not None:
            self._waiting.append(kept)
            self._note_waiting()
            self._work_after(0.0)

    def order(self, event: Event) -> None:
        """Step an event before others that wait, once the state is whole; carry out its effects before returning."""
        self.wait()
        self._step_now(event)

    def _step_now(self, event: Event) -> None:
        for effect in self._engine.step(event, self._clock()):
            self._carry_out(effect)
        if self._engine.is_behind:
            self._work_after(CATCH_UP_AFTER)

    def _must_wait(self, event: Event) -> bool:
        kind = type(event)
        if self.is_idle:
            return isinstance(event, ev.DeviceUp) and _size(event, self._engine) >= LARGE
        if isinstance(event, ev.Tick) and event.dpid is not None:
            return event.dpid == self._engine.state.busy
        if kind is ev.Poll:
            return False
        if kind not in _OF_ONE_DEVICE:
            return True
        dpid = getattr(event, "dpid", None)
        return dpid == self._engine.state.busy or dpid in self._connecting

    def _note_waiting(self) -> None:
        self._connecting = {
            event.dpid for event in self._waiting if isinstance(event, ev.DeviceUp | ev.DeviceDown)
        }

    # ---- the work

    def _work_after(self, seconds: float) -> None:
        if not self._is_working:
            self._is_working = True
            hub.spawn_after(seconds, self._work)

    def _work(self) -> None:
        """Work off what waits and what was put off; others are served in between."""
        try:
            while self._waiting or self._engine.is_behind:
                if self._waiting:
                    event = self._waiting.popleft()
                    self._note_waiting()
                    self._step_waiting(event)
                else:
                    self._catch_up()
                hub.give_way()
                garbage.collect_new()
        except Exception:
            self._fault("catching up")
        finally:
            self._is_working = False
            if self._waiting:
                self._work_after(0.0)

    def _rest(self, spent: float) -> None:
        """Let those have their turn behind long work who waited for it."""
        if spent >= LONG:
            hub.sleep(2 * SLICE)

    def _step_waiting(self, event: Event) -> None:
        try:
            self._rest(self._step(event, event.dpid if isinstance(event, ev.DeviceUp) else None))
        except Exception:
            self._fault(type(event).__name__)
            if isinstance(event, ev.DeviceUp) and self._sessions is not None:
                self._sessions.close(event.dpid, "it could not be taken in")

    def _catch_up(self) -> None:
        now = self._clock()
        self._later = {dpid: time for dpid, time in self._later.items() if time > now}
        with_news, with_flows = self._engine.behind(self._later)
        if with_news is not None:
            spent = self._step(ev.CatchUp(with_news), with_news)
            if spent >= LONG:
                self._later[with_news] = self._clock() + min(MOST_REST, REST * spent)
            self._rest(spent)
        if with_flows is not None:
            self._step(ev.CatchUp(with_flows, only_flows=True), with_flows)
        if with_news is None and with_flows is None:
            hub.sleep(CATCH_UP_AFTER)

    def _step(self, event: Event, dpid: int | None) -> float:
        """Step an event, with pauses where that takes long; return how many seconds of processor time it took.

        Args:
            dpid: the device that it concerns; None: it concerns others, too, and makes no pauses.
        """
        state = self._engine.state
        if dpid is None:
            for effect in self._engine.step(event, self._clock()):
                self._carry_out(effect)
            return 0.0
        state.busy = dpid
        if self._sessions is not None:
            self._sessions.stop_reading(dpid)
        WORK.begin(dpid)
        try:
            for effect in self._engine.step(event, self._clock()):
                self._carry_out(effect)
                WORK.pause()
        finally:
            spent = WORK.end()
            state.busy = None
            if self._sessions is not None:
                self._sessions.read_again(dpid)
        return spent


def _size(event: ev.DeviceUp, engine: Engine) -> int:
    queues = sum(map(len, event.queues.values()))
    return len(event.ports) + queues + len(event.pins) + len(event.learned) + len(engine.policy.rules)


def _pause() -> None:
    """Make a pause where one is due; a copy of the state has this function, too, and none of the work's own."""
    WORK.pause()


def _without_packets(event: Event) -> Event | None:
    """Leave the packets of flows out of an event; None: nothing is left of it."""
    if isinstance(event, ev.FlowMessages):
        ends = [message for message in event.messages if not isinstance(message, ev.FlowSeen)]
        return event._replace(messages=ends) if ends else None
    return None if isinstance(event, ev.FlowSeen) else event
