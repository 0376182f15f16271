"""Simulated world around the real engine: a host whose datapath carries out every effect, and time.

The engine gets what a controller gets, when it gets it: the copy of a flow's first packet with the queue that the
device chose, the counters of entries at the next reading, the end of a flow when its entry has been idle. Within a
second things happen at their times; at its end the bytes that reached each queue are added up, and the engine ticks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, NamedTuple

from flowlane.core import effects as ef
from flowlane.core import events as ev
from flowlane.core.engine import Engine
from flowlane.core.flow.readings import PINS
from flowlane.core.flowkey import TCP, UDP
from flowlane.core.frame import read_frame
from flowlane.core.model import PortReport
from flowlane.simulation.datapath import PACKET, Datapath, Second, Sending, flow_hash
from flowlane.simulation.flowspec import frame_of
from flowlane.simulation.host import CAPABILITIES, DPID, UPLINK
from flowlane.simulation.shaping import transmitted

if TYPE_CHECKING:
    from flowlane.core.model import PinRef
    from flowlane.core.policy import Policy
    from flowlane.core.state.device import Device
    from flowlane.simulation.flowspec import FlowSpec
    from flowlane.simulation.host import Host

ANSWER = 0.02
"""Seconds from a request for counters to the answer."""

DUMP_INTERVAL = 0.5
"""Seconds between two readings of the datapath's counters by Open vSwitch (``max-revalidator``)."""

DUMP_AT = 0.2
"""Seconds of the first of them: an answer shows counters that are up to a :data:`DUMP_INTERVAL` old."""

PUT_OFF = 0.02
"""Seconds after which the engine does what it has put off, as in the controller (:mod:`flowlane.composition`)."""

POLL = 0.1
"""Seconds between two polls of the engine for counters that are due, as in the controller."""

REPLY, ENTRY = 60e-6, 1.8e-6
"""Seconds that Open vSwitch takes for a reply, and for each entry in it (``bench.detection.reading_cost``)."""

NO_SECOND = Second({}, {})


class Live(NamedTuple):
    """A flow of the workload that is present: what it is, its key, and what it sends now (bit/s)."""

    spec: FlowSpec
    key: bytes
    rate: float


class World:
    """The engine and its simulated host.

    Attributes:
        ports: VM -> port number.
        now: seconds.
        live: the flows that are present, by number in the workload.
        counts: effects by type, reports by kind, and changes of queue that the datapath saw: ``changed`` of flows that
            were sending, ``changed while quiet`` of others, ``corrected`` of those
            whose first packet was being copied.
        last: bytes of the last second that reached the queues.
        sent: queue id -> bytes that it has transmitted so far.
        reading: seconds between two readings of the counters; None: when the engine asks for them.
        on_change: is called with each flow that has got its first or another queue, where it is set.
    """

    def __init__(self, policy: Policy, host: Host, reading: float | None = None) -> None:
        self.engine = Engine(_of_one_switch(policy))
        self.host = host
        self.reading = reading
        self.datapath = Datapath(UPLINK)
        self.ports = host.numbers()
        self.now = 0.0
        self.live: dict[int, Live] = {}
        self.counts: Counter[str] = Counter()
        self.last = NO_SECOND
        self.sent: Counter[int] = Counter()
        self._group = 0
        self._groups: dict[int, dict[bytes, Sending]] = {}
        """Group of learned entries -> the flows that have got an entry in it."""
        self.on_change: Callable[[Sending], None] | None = None
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self._copies = 0
        self._beginning: Sending | None = None
        self._catching_up = False
        self._connect()
        self.at(DUMP_AT, self._dump)
        self.at(POLL, self._poll)
        if reading is not None:
            self.at(reading + ANSWER, self._read)

    @property
    def device(self) -> Device:
        """The one device."""
        return self.engine.devices[DPID]

    def row(self, number: int) -> int | None:
        """Return a flow's row in the engine's flow table, None when the engine does not have it."""
        return self.device.flows.rows.get(self.live[number].key)

    def at(self, time: float, action: Callable[[], None]) -> None:
        """Have something done at a time."""
        self._order += 1
        heappush(self._agenda, (time, self._order, action))

    def advance(self, until: float) -> None:
        """Let time pass, without the end of a second; what is due at ``until`` itself is still to come."""
        while self._agenda and self._agenda[0][0] < until:
            time, _, action = heappop(self._agenda)
            self.now = max(self.now, time)
            action()
        self.now = until

    def second(self, *, by_flow: bool = True) -> None:
        """Let time pass until the end of the second, add up what was sent, and tick.

        Args:
            by_flow: whether what each flow has sent is wanted in ``last``.
        """
        self.advance(float(int(self.now) + 1))
        self.last = self.datapath.end_second(self.now, by_flow=by_flow)
        self._transmit()
        self._copies = 0
        self.step(ev.Tick())

    def _transmit(self) -> None:
        """Let the queues transmit what they can of the second's bytes; the rest is dropped."""
        rates = self.host.rates
        offered = [8 * self.last.by_queue.get(queue_id, 0.0) for queue_id in range(len(rates))]
        for queue_id, bits in enumerate(transmitted(offered, rates, self.host.rate)):
            self.sent[queue_id] += round(bits / 8)

    def step(self, event: ev.Event) -> None:
        """Pass an event to the engine, and carry out its effects and what it puts off."""
        self._carry_out(self.engine.step(event, self.now))
        self._catch_up()

    def _observe(self, event: ev.Event) -> None:
        """Pass on what the device shows of its flows; what the engine puts off then is done a moment later."""
        self._carry_out(self.engine.step(event, self.now))
        if self.engine.is_behind and not self._catching_up:
            self._catching_up = True
            self.at(self.now + PUT_OFF, self._catch_up)

    def _catch_up(self) -> None:
        """Have the engine do what it has put off."""
        self._catching_up = False
        while self.engine.is_behind:
            self._carry_out(self.engine.step(ev.CatchUp(), self.now))

    def _carry_out(self, effects: Iterable[ef.Effect]) -> None:
        for effect in effects:
            kind = effect.kind if isinstance(effect, ef.Report | ef.FlowReport) else type(effect).__name__
            self.counts[kind] += 1
            action = _ACTIONS.get(type(effect))
            if action is not None:
                action(self, effect)

    def begin(self, number: int, spec: FlowSpec) -> None:
        """Let a flow begin; a second flow with the same 5-tuple is the same flow for the device."""
        port_no = self.ports[spec.vm]
        data = frame_of(spec, port_no)
        frame = read_frame(data)
        assert frame is not None
        live = self.live[number] = Live(spec, frame.key(self.device.port_vm[port_no]), spec.rate)
        if spec.rate and live.key not in self.datapath.flows:
            self._meet(number, live, data)
        else:
            self.set_rate(number, spec.rate)

    def set_rate(self, number: int, rate: float) -> None:
        """Let a flow send at another rate from now on; a flow whose entries have gone begins anew."""
        live = self.live[number] = self.live[number]._replace(rate=rate)
        flow = self.datapath.flows.get(live.key)
        if flow is None:
            if rate:
                self._meet(number, live, frame_of(live.spec, self.ports[live.spec.vm]))
            return
        before = flow.rate
        self.datapath.settle(flow, self.now)
        if number not in flow.users:
            flow.users += (number,)
        flow.rate = sum(self.live[user].rate for user in flow.users) if len(flow.users) > 1 else rate
        self.datapath.recount(flow, self.now)
        if before or flow.rate:
            flow.last = self.now
        if before and not flow.rate:
            self.at(self.now + self._idle_timeout, lambda: self._expire(flow))

    def _meet(self, number: int, live: Live, frame: bytes) -> None:
        """Let a flow's first packet arrive: a standing rule places it, and the packet is copied."""
        port_no = self.ports[live.spec.vm]
        flow = Sending(
            live.key,
            live.spec,
            port_no,
            frame,
            self.device.port_vm[port_no],
            flow_hash(live.key),
            live.rate,
            since=self.now,
            last=self.now,
            users=(number,),
            mac=int.from_bytes(frame[6:12]),
        )
        self.datapath.flows[flow.key] = flow
        self._place(flow)

    def end(self, number: int) -> None:
        """Let a flow send nothing any more; its entries are removed when they have been idle."""
        if number in self.live:
            self.set_rate(number, 0.0)
            key = self.live.pop(number).key
            flow = self.datapath.flows.get(key)
            if flow is not None:
                flow.users = tuple(user for user in flow.users if user != number)

    @property
    def _idle_timeout(self) -> float:
        return float(self.device.policy.pins.idle_timeout)

    def _connect(self) -> None:
        facts = self.host.ports()
        self.step(ev.DeviceDescribed(DPID, "simulated", "nic", {}, "system", facts))
        reports = tuple(PortReport(number, port.name) for number, port in facts.items())
        self.step(ev.DeviceUp(DPID, CAPABILITIES, reports, {UPLINK: tuple(facts[UPLINK].queues)}))

    def _place(self, flow: Sending) -> None:
        before = flow.queue_id
        plan = self.datapath.plan
        self.datapath.place(flow, self.now)
        self._note_change(flow, before)
        tracked = plan is not None and flow.in_port in plan.tracked_ports and flow.spec.protocol in {TCP, UDP}
        flow.learned = plan is not None and plan.learned_idle > 0 and not tracked
        if flow.learned:
            self._put_in_group(flow)
        self.datapath.recount(flow, self.now)
        flow.young = tracked
        if plan is not None and tracked and flow.rate:
            self.at(self.now + plan.learn_after * PACKET * 8 / flow.rate, lambda: self._learn(flow))
        if plan is None or not plan.copy_rate or self._copies < plan.copy_rate:
            self._copies += 1
            chosen = flow.queue_id, flow.meter_id
            self._beginning = flow
            self._observe(ev.FlowSeen(DPID, flow.in_port, flow.frame, UPLINK, *chosen))
            self._beginning = None
        elif not flow.learned and not flow.young:
            self.at(self.now + 1.0, lambda: self._place_again(flow))

    def _place_again(self, flow: Sending) -> None:
        if flow.pin is None and not flow.learned and flow.rate and self._is_present(flow):
            self._place(flow)

    def _is_present(self, flow: Sending) -> bool:
        return self.datapath.flows.get(flow.key) is flow

    def _learn(self, flow: Sending) -> None:
        """Let a flow that is no longer young get its learned entry."""
        if flow.young and self._is_present(flow):
            self.datapath.settle(flow, self.now)
            flow.young, flow.learned = False, True
            self._put_in_group(flow)
            flow.octets = flow.shown = 0.0
            self.datapath.recount(flow, self.now)

    def _expire(self, flow: Sending) -> None:
        """Remove the entries of a flow that has been idle, and report their end."""
        if flow.rate or self.now - flow.last < self._idle_timeout - 1e-9 or not self._is_present(flow):
            return
        self.datapath.remove(flow)
        octets = int(flow.octets)
        if flow.pin is not None:
            self.step(ev.PinEnded(DPID, flow.pin, octets // PACKET, octets, idle=True))
        elif flow.learned:
            self._report_learned_end(flow, octets, idle=True)

    def _expire_learned(self, flow: Sending, pinned_at: float) -> None:
        """Remove the learned entry of a flow whose packets meet a pin instead."""
        if flow.pin is not None and flow.learned and pinned_at == flow.placed_at and self._is_present(flow):
            flow.learned = False
            self.datapath.recount(flow, self.now)
            self._report_learned_end(flow, 0, idle=True)

    def _report_learned_end(self, flow: Sending, octets: int, idle: bool) -> None:
        mac = int.from_bytes(flow.frame[6:12])
        self.step(ev.LearnedEnded(DPID, flow.key, flow.in_port, UPLINK, mac, octets // PACKET, octets, idle))

    def _dump(self) -> None:
        self.datapath.show_counters(self.now)
        self.at(self.now + DUMP_INTERVAL, self._dump)

    def _poll(self) -> None:
        self.step(ev.Poll())
        self.at(self.now + POLL, self._poll)

    def _read(self) -> None:
        self._answer_all()
        assert self.reading is not None
        self.at(self.now + self.reading, self._read)

    def _answer_all(self) -> None:
        """Report all counters at once."""
        self._answer(ef.ReadCounters(DPID, pins=True, others=True, groups=tuple(self._groups)))

    def _answer(self, request: ef.ReadCounters) -> None:
        """Answer a request for counters: learned entries and pins, as the last dump of the datapath shows them."""
        for group in request.groups:
            flows = self._learned_in(group)
            for flow in flows:
                self.datapath.settle(flow, self.now)
            shown = self.datapath.shown_of_learned
            learned = tuple(_learned(flow, shown(flow), group, self.now) for flow in flows)
            self._observe(ev.LearnedCounters(DPID, learned))
            self.step(ev.ReadingEnded(DPID, group, len(learned), REPLY + ENTRY * len(learned)))
        if request.sums:
            self.step(ev.GroupsCounted(DPID, self.datapath.shown_groups))
        if request.pins:
            pins = tuple(self._pins())
            self.step(ev.PinCounters(DPID, pins))
            self.step(ev.ReadingEnded(DPID, PINS, len(pins), REPLY + ENTRY * len(pins)))
        if request.single:
            self.step(ev.PinCounters(DPID, tuple(self._pins(request.single))))
        if request.others:
            sent = self.sent.items()
            queues = {(UPLINK, queue_id): (octets // PACKET, octets, 0) for queue_id, octets in sent}
            self.step(ev.QueueCounters(DPID, queues))

    def _pins(self, refs: Collection[PinRef] | None = None) -> Iterator[tuple[int, int, int, int]]:
        """Yield the counters of pins; None: of all."""
        flows: Iterable[Sending | None] = self.datapath.pinned.values()
        if refs is not None:
            keys = (self.device.flows.keys[ref.row] for ref in refs)
            flows = (self.datapath.flows.get(key) if key is not None else None for key in keys)
        for flow in flows:
            if flow is not None and flow.pin is not None and (refs is None or flow.pin in refs):
                self.datapath.settle(flow, self.now)
                yield (*flow.pin, int(flow.shown) // PACKET, int(flow.shown))

    def _put_in_group(self, flow: Sending) -> None:
        """Note the group of a learned entry that was just made."""
        flow.group = self._group
        self._groups.setdefault(self._group, {})[flow.key] = flow

    def _learned_in(self, group: int) -> list[Sending]:
        """List the flows with a learned entry in a group, and forget those that have none there any more."""
        members = self._groups.get(group, {})
        present = self.datapath.flows
        gone = [
            key
            for key, flow in members.items()
            if not flow.learned or flow.group != group or present.get(key) is not flow
        ]
        for key in gone:
            del members[key]
        return list(members.values())

    def _note_change(self, flow: Sending, before: int) -> None:
        """Count a change of queue."""
        if flow.queue_id != before:
            if self.on_change is not None:
                self.on_change(flow)
            if before >= 0 and flow is self._beginning:
                self.counts["corrected"] += 1
            elif before >= 0:
                self.counts["changed" if flow.rate else "changed while quiet"] += 1
            flow.placed_at = self.now

    def on_program(self, effect: ef.Program) -> None:
        """Take over a plan."""
        self.datapath.program(effect.plan)

    def on_pin(self, effect: ef.PinFlow) -> None:
        """Put a pin in; the flow's learned entry expires, since no packet meets it."""
        flow = self.datapath.flows.get(effect.key)
        if flow is None:
            return
        before, had_pin = flow.queue_id, flow.pin is not None
        self.datapath.use_pin(flow, effect.ref, effect.queue_id, effect.meter_id, self.now)
        self._note_change(flow, before)
        if not had_pin and flow.learned:
            flow.placed_at = pinned_at = self.now
            self.at(self.now + self._idle_timeout, lambda: self._expire_learned(flow, pinned_at))

    def on_unpin(self, effect: ef.UnpinFlow) -> None:
        """Take a pin out: the flow is on the queue of its learned entry again, or is placed anew."""
        flow = self.datapath.flows.get(effect.key)
        if flow is None or flow.pin is None or flow.pin != effect.ref:
            return
        before = flow.queue_id
        self.datapath.drop_pin(flow, self.now)
        if flow.learned:
            self._note_change(flow, before)
        else:
            self.at(self.now, lambda: self._place_again(flow))

    def on_delete_learned(self, effect: ef.DeleteLearned) -> None:
        """Delete the learned entries of a port; the next packets of their flows are placed anew."""
        for flow in self.datapath.flows.values():
            of_port = effect.egress_port == UPLINK or effect.in_port == flow.in_port
            if flow.learned and of_port:
                flow.learned = False
                self.datapath.recount(flow, self.now)
                if flow.pin is None:
                    self.at(self.now, lambda flow=flow: self._place_again(flow))  # type: ignore[misc]

    def on_flush_connections(self, effect: ef.FlushConnections) -> None:
        """Ignore it: connections have no cost here."""

    def on_set_meter(self, effect: ef.SetMeter) -> None:
        """Add or change a meter."""
        self.datapath.meters[effect.meter.meter_id] = effect.meter

    def on_delete_meter(self, effect: ef.DeleteMeter) -> None:
        """Delete a meter."""
        self.datapath.meters.pop(effect.meter_id, None)

    def on_read_counters(self, effect: ef.ReadCounters) -> None:
        """Answer in a moment, unless the counters are read at times of their own."""
        if self.reading is None:
            self.at(self.now + ANSWER, lambda: self._answer(effect))

    def on_begin_group(self, effect: ef.BeginGroup) -> None:
        """Put what is learned from now on in another group."""
        self._group = effect.group


def _learned(flow: Sending, octets: int, group: int, now: float) -> ev.LearnedFlow:
    return ev.LearnedFlow(
        flow.key,
        flow.in_port,
        UPLINK,
        flow.mac,
        flow.learned_queue,
        octets // PACKET,
        octets,
        flow.spec.dscp,
        flow.spec.pcp,
        flow.learned_meter,
        group,
        now - flow.placed_at,
    )


_ACTIONS: Mapping[type, Callable[[World, Any], None]] = {
    ef.Program: World.on_program,
    ef.PinFlow: World.on_pin,
    ef.UnpinFlow: World.on_unpin,
    ef.DeleteLearned: World.on_delete_learned,
    ef.FlushConnections: World.on_flush_connections,
    ef.SetMeter: World.on_set_meter,
    ef.DeleteMeter: World.on_delete_meter,
    ef.ReadCounters: World.on_read_counters,
    ef.BeginGroup: World.on_begin_group,
}


def _of_one_switch(policy: Policy) -> Policy:
    """Return the policy without what is of no matter for one switch: how it is told queues, and switches behind it."""
    devices = tuple(replace(entry, queues_by=None) for entry in policy.devices)
    return replace(policy, devices=devices, passive_switches=())
