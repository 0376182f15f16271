"""Whatever happens to a host in whatever order: the promises of the whole engine hold (stateful properties).

Faults planted to see that these tests find them, one at a time in a copy, each found by the machine below: a
meter cleared before its last pin changed; a forgotten flow that keeps its meter, or its place in the allocator;
a refused pin that is still counted, an adopted one counted twice; moves that are not pinned; one pin more than
the budget; a new policy that classifies flows and does not place them; flows counted by the old policy's class
numbers; a queue's new kind that its flows do not learn of; a queue that OVSDB has dropped and the switch still
reports; a changed limit that leaves the meter as it was; a VM that leaves its flows behind; a late message taken
for the row's next flow; a flow's likeness that depends on an object's address; a VM's flows that stay on two
queues; a class whose path preference "software" is not followed.
"""

from __future__ import annotations

import os
from dataclasses import replace

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.engine.twin_engines import DPID, UPLINK, VM_PORTS, Mirror

from flowlane.core import effects as fx
from flowlane.core import events as ev
from flowlane.core.flowkey import unpack
from flowlane.core.frame import read_frame
from flowlane.core.model import Capabilities, Hint, HintSource, PinRef, PortReport, QueueKind
from flowlane.core.policy import (
    Alike,
    Balance,
    LimitScope,
    Match,
    PathPreference,
    Pins,
    Policy,
    RateGate,
    Rule,
    Share,
    TrafficClass,
    Trust,
    VmSelector,
)
from flowlane.core.state.flows import PINNED

LIMITED, TOGETHER, OTHER = 5000, 6000, 7000
"""Destination ports that the policies below treat in ways of their own."""

GATES = (RateGate(at_least=10_000_000, hold=2.0, below=5_000_000),)
PINS = Pins(budget=8, idle_timeout=60)
HEAVY = TrafficClass("heavy", 1, priority=1, exclusive=True)
BALANCE = Balance(moves_per_second=1e6, window=3.0)


def port(number: int) -> Match:
    return Match(protocols=(6,), dst_ports=((number, number),))


def policy(classes: tuple[TrafficClass, ...], rules: tuple[tuple[Match, int], ...], **more: object) -> Policy:
    named = tuple(Rule(f"rule {n}", n, match, index) for n, (match, index) in enumerate(rules))
    return Policy(classes, named, **{"pins": PINS, "balance": BALANCE, **more})  # type: ignore[arg-type]


EXCLUSIVE = policy(
    (
        TrafficClass("small", 0),
        HEAVY,
        TrafficClass("limited", 2, rate_limit=2_000_000, alike=(Alike.RATE_LIMIT,)),
    ),
    ((port(LIMITED), 2), (Match(gate=0), 1)),
    gates=GATES,
)
TIGHTER = replace(
    EXCLUSIVE, classes=(*EXCLUSIVE.classes[:2], replace(EXCLUSIVE.classes[2], rate_limit=1_500_000))
)
TOGETHER_ON_ONE = policy(
    (
        TrafficClass("small", 0, alike=(Alike.RATE_BAND,)),
        TrafficClass("limited", 1, rate_limit=3_000_000, limit_scope=LimitScope.VM),
        TrafficClass("together", 2, keep_vm_together=True),
        TrafficClass("single", 3, priority=4, max_queues=1),
    ),
    ((port(LIMITED), 1), (port(TOGETHER), 2), (port(OTHER), 3)),
    pins=Pins(budget=8, idle_timeout=60, which="worthy"),
)
SHARES = policy(
    (TrafficClass("all", 0),),
    (),
    shares=(Share("a", VmSelector(("vm1", "vm2")), 2.0), Share("b", VmSelector(("vm3",)), 1.0)),
)
CLASS_WIDE = policy(
    (
        TrafficClass("any", 0, rate_limit=9_000_000, limit_scope=LimitScope.CLASS),
        TrafficClass("limited", 1, rate_limit=1_000_000, limit_scope=LimitScope.CLASS),
        TrafficClass("heavy", 2, rate_limit=8_000_000, limit_scope=LimitScope.CLASS),
        TrafficClass("single", 3, rate_limit=2_000_000),
        TrafficClass("free", 4),
    ),
    ((port(LIMITED), 1), (port(TOGETHER), 3), (port(OTHER), 4), (Match(gate=0), 2)),
    gates=GATES,
    pins=Pins(idle_timeout=60, which="worthy"),
)
PATHS = policy(
    (
        TrafficClass("any", 0),
        TrafficClass("hard", 1, priority=3, path=PathPreference.HARDWARE),
        TrafficClass(
            "soft", 2, path=PathPreference.SOFTWARE, rate_limit=1_000_000, limit_scope=LimitScope.CLASS
        ),
        TrafficClass("heavy", 3, priority=5, exclusive=True),
    ),
    ((port(LIMITED), 2), (port(TOGETHER), 1), (Match(gate=0), 3)),
    gates=GATES,
    balance=Balance(moves_per_second=1e6, window=3.0, flows_per_queue=2),
)
HINTED = policy(
    (TrafficClass("small", 0), HEAVY, TrafficClass("metered", 2, rate_limit=5_000_000, meter_only=True)),
    ((port(LIMITED), 2),),
    trust=(
        Trust(
            VmSelector(),
            frozenset((HintSource.DSCP, HintSource.REST)),
            frozenset((1, 2)),
            dscp=((46, 1),),
        ),
    ),
)
IN_TURN = policy((TrafficClass("all", 0),), (), balance=Balance(strategy="round-robin"))
OTHERS = {
    name: policy(
        EXCLUSIVE.classes, ((port(LIMITED), 2),), balance=Balance(name, moves_per_second=1e6, window=3.0)
    )
    for name in ("buckets", "priority-by-bytes", "fair")
}
POLICIES = {
    "exclusive": EXCLUSIVE,
    "tighter": TIGHTER,
    "together": TOGETHER_ON_ONE,
    "shares": SHARES,
    "paths": PATHS,
    "class-wide": CLASS_WIDE,
    "hinted": HINTED,
    "in turn": IN_TURN,
    **OTHERS,
}

ABLE = Capabilities(max_meters=5, meter_burst=True, select_groups=True, max_groups=100)
NO_METERS = Capabilities(select_groups=True, max_groups=100)
DEVICES = {"able": ABLE, "learns": replace(ABLE, learn=True), "no meters": NO_METERS}
KIND = st.sampled_from((QueueKind.PHYSICAL, QueueKind.PHYSICAL, QueueKind.SOFTWARE))
QUEUES = st.dictionaries(st.integers(0, 5), KIND, max_size=6)
FLOW = st.tuples(
    st.sampled_from(VM_PORTS),
    st.integers(1, 5),
    st.sampled_from((80, LIMITED, TOGETHER, OTHER)),
    st.sampled_from((0, 46)),
)
NUMBER = st.integers(0, 40)
RATE = st.sampled_from((0, 100_000, 1_000_000, 7_000_000, 30_000_000, 120_000_000))


class Host(RuleBasedStateMachine):
    """A host with four ports for VMs and an uplink with queues."""

    @initialize(first=st.sampled_from(sorted(POLICIES)), caps=st.sampled_from(sorted(DEVICES)))
    def begin(self, first: str, caps: str) -> None:
        self.host = Mirror(POLICIES[first], DEVICES[caps])

    def row(self, number: int) -> int | None:
        rows = list(self.host.flows)
        return rows[number % len(rows)] if rows else None

    @rule(flows=st.lists(FLOW, min_size=1, max_size=8), chosen=st.one_of(st.none(), st.integers(0, 5)))
    def see(self, flows: list[tuple[int, int, int, int]], chosen: int | None) -> None:
        """Packets reach us; the device says on which queue it put them, or does not."""
        if self.host.connected:
            there = chosen if chosen in self.host.queues else None
            for flow in flows:
                data = frame(*flow)
                meter_id = self.placed(flow, data) if there is not None and self.host.caps.learn else 0
                self.host.do(ev.FlowSeen(DPID, flow[0], data, UPLINK, there, meter_id))

    def placed(self, flow: tuple[int, int, int, int], data: bytes) -> int:
        """The meter under which the device puts a flow that it places itself; it does not see those with a pin."""
        found, number = read_frame(data), self.host.device.port_vm.get(flow[0])
        return self.host.place(found.key(number), (flow[0], UPLINK), flow[3]) if found and number else 0

    @rule(rates=st.lists(RATE, min_size=1, max_size=6), seconds=st.sampled_from((1.0, 2.0, 3.0)))
    def count(self, rates: list[int], seconds: float) -> None:
        rows = list(self.host.flows)
        self.host.count({row: rates[n % len(rates)] for n, row in enumerate(rows)}, seconds)

    @precondition(lambda self: self.host.connected)
    @rule(percents=st.lists(st.integers(0, 100), min_size=1, max_size=4))
    def count_meters(self, percents: list[int]) -> None:
        """Meters report what they received, and which part of it they dropped; counters may go back."""
        octets = int(self.host.now * 1e6)
        counters = {
            meter_id: (octets // 1000, octets, 0, octets * percents[n % len(percents)] // 100)
            for n, meter_id in enumerate(sorted(self.host.meters))
        }
        self.host.do(ev.MeterCounters(DPID, counters))

    @rule(number=NUMBER)
    def idle_out(self, number: int) -> None:
        row = self.row(number)
        if row is not None and self.host.connected:
            generation = self.host.flows.generation[row]
            self.host.lose(row)
            ended = ev.PinEnded(DPID, PinRef(row, generation), 1, 1, idle=True)
            self.host.do(ended)
            self.host.do(ev.FlowSeen(DPID, 1, frame(1, 66, 80, 0), UPLINK))
            before = self.host.picture()
            self.host.do(ended)
            assert self.host.picture() == before, "a late word of an old flow is not about the new one"

    @rule(number=NUMBER)
    def evict_and_send_again(self, number: int) -> None:
        row = self.row(number)
        if row is not None and self.host.connected and self.host.flows.flags[row] & PINNED:
            flows = self.host.flows
            key, in_port = flows.keys[row], flows.in_port[row]
            self.host.lose(row)
            self.host.do(ev.PinEnded(DPID, flows.ref(row), 1, 1, idle=False))
            self.host.tick(2)
            if key in flows.rows:
                sport, dport = int.from_bytes(key[8:10]), int.from_bytes(key[10:12])
                self.host.do(ev.FlowSeen(DPID, in_port, frame(in_port, sport, dport, 0), UPLINK))
                if self.host.device.policy.pins.which == "all":
                    assert any(pin.ref.row == row for pin in self.host.pins.values()), "it is pinned again"

    @rule(number=NUMBER)
    def refuse(self, number: int) -> None:
        row = self.row(number)
        if row is not None and self.host.connected and self.host.flows.flags[row] & PINNED:
            self.host.refuse(row)

    @rule(queues=QUEUES, told_first=st.booleans())
    def change_queues(self, queues: dict[int, QueueKind], told_first: bool) -> None:
        self.host.queues = dict(sorted(queues.items()))
        reported = ev.QueuesReported(DPID, {UPLINK: tuple(self.host.queues)})
        events: list[ev.Event] = [self.host.described(), reported]
        for event in events if told_first else reversed(events):
            if self.host.connected or isinstance(event, ev.DeviceDescribed):
                self.host.do(event)
                self.host.check()

    @rule(order=st.permutations(VM_PORTS), present=st.integers(2, 4))
    def move_vms(self, order: list[int], present: int) -> None:
        """VMs appear, change places and go."""
        self.host.ids = {port_no: f"vm{n}" for n, port_no in enumerate(order[:present], 1)}
        self.host.do(self.host.described())

    @rule(port_no=st.sampled_from(VM_PORTS))
    def flap_port(self, port_no: int) -> None:
        if not self.host.connected:
            return
        if port_no in self.host.ports:
            self.host.ports.remove(port_no)
            self.host.do(ev.PortRemoved(DPID, port_no))
            assert port_no not in {self.host.flows.in_port[row] for row in self.host.flows}
        else:
            self.host.ports.add(port_no)
            self.host.do(ev.PortChanged(DPID, PortReport(port_no, f"tap{port_no}")))

    @rule(names=st.lists(st.sampled_from(sorted(POLICIES)), min_size=1, max_size=3))
    def replace_policy(self, names: list[str]) -> None:
        for name in names:
            self._replace_policy(POLICIES[name])

    def _replace_policy(self, new: Policy) -> None:
        self.host.policy = new
        self.host.do(ev.PolicyReplaced(new))
        self.host.check()
        before = self.host.picture()
        again = self.host.do(ev.PolicyReplaced(new))
        reports = fx.Report | fx.FlowReport
        assert all(isinstance(effect, reports) for effect in again), "replaced twice is the same as once"
        assert self.host.picture() == before

    @rule(vm=st.sampled_from(("vm1", "vm2")), wanted=st.sampled_from(("heavy", "metered", "nonsense")))
    def suggest(self, vm: str, wanted: str) -> None:
        self.host.do(ev.HintGiven(Hint(f"h-{vm}", vm, wanted, Match(), HintSource.REST, self.host.now + 20)))

    @rule(vm=st.sampled_from(("vm1", "vm2")))
    def withdraw(self, vm: str) -> None:
        self.host.do(ev.HintWithdrawn(vm))

    @precondition(lambda self: self.host.connected)
    @rule()
    def lose_connection(self) -> None:
        self.host.do(ev.DeviceDown(DPID))
        self.host.connected = False

    @precondition(lambda self: not self.host.connected)
    @rule()
    def reconnect(self) -> None:
        self.host.connect()

    @precondition(lambda self: self.host.connected)
    @rule()
    def restart_controller(self) -> None:
        """A new controller finds the entries in the device: flows stay where they are."""
        before = {place: pin.queue_id for place, pin in self.host.pins.items()}
        self.host.connected = False
        self.host.start()
        vms = set(self.host.device.port_vm)
        after = {place: pin.queue_id for place, pin in self.host.pins.items()}
        classes, flows = self.host.device.policy.classes, self.host.flows
        for place, queue_id in before.items():
            if place[1] in vms and queue_id in self.host.queues:
                row = self.host.pins[place].ref.row
                assert classes[flows.class_index[row]].meter_only or after[place] == queue_id

    @rule(seconds=st.integers(1, 4))
    def tick(self, seconds: int) -> None:
        self.host.tick(seconds)

    @precondition(lambda self: self.host.connected)
    @rule(vm=st.sampled_from(VM_PORTS), dport=st.sampled_from((80, LIMITED, OTHER)))
    def come_and_go(self, vm: int, dport: int) -> None:
        """Departure undoes arrival."""
        self.host.do(ev.FlowSeen(DPID, vm, frame(vm, 9, 9, 0), UPLINK))
        before, flows = self.host.picture(), self.host.flows
        rows = set(flows)
        # With the budget spent, the pin of a lesser flow would go to this one, and come back with time.
        room = self.host.device.pinned < self.host.device.pin_budget
        self.host.do(ev.FlowSeen(DPID, vm, frame(vm, 77, dport, 0), UPLINK))
        for row in set(flows) - rows:
            self.host.lose(row)
            self.host.do(ev.PinEnded(DPID, flows.ref(row), 1, 1, idle=True))
        assert not room or self.host.picture() == before

    @rule(rates=st.lists(RATE, min_size=1, max_size=6))
    def come_to_rest(self, rates: list[int]) -> None:
        """When nothing changes for a while, all is as the policy wants it."""
        share = dict(zip(list(self.host.flows), rates * 40, strict=False))
        for _ in range(30):
            known = {row: rate for row, rate in share.items() if self.host.flows.keys[row] is not None}
            self.host.count(known, 1.0)
            self.host.do(ev.Tick())
        if self.host.device.policy.balance.strategy == "combined":
            self._exclusive_flows_are_alone()
            self._alike_flows_are_together()
            self._paths_are_kept()

    def _members(self) -> dict[int, list[int]]:
        flows = self.host.flows
        found: dict[int, list[int]] = {queue_id: [] for queue_id in self.host.device.ports[UPLINK].queues}
        for row in flows:
            if flows.queue_id[row] >= 0:
                found[flows.queue_id[row]].append(row)
        return found

    def _exclusive_flows_are_alone(self) -> None:
        device, members = self.host.device, self._members()
        queues, classes = device.ports[UPLINK].queues, device.policy.classes
        shares = {device.shares.get(device.flows.vm_number[row], -1) for row in device.flows}
        if len(shares) > 1:
            return
        for kind in (QueueKind.PHYSICAL, QueueKind.SOFTWARE):
            of_kind = {queue_id: rows for queue_id, rows in members.items() if queues[queue_id].kind is kind}
            wanting = [
                row
                for rows in of_kind.values()
                for row in rows
                if classes[device.flows.class_index[row]].exclusive and not self.host.device_chose(row)
            ]
            # Those that the device put there, and for which no pin is to be had, cannot leave.
            placed = ([row for row in rows if not self.host.device_chose(row)] for rows in of_kind.values())
            sharing = [row for rows in placed if len(rows) > 1 for row in rows if row in wanting]
            # A flow that wants to be alone has to earn it by its load; see docs/engineers/strategies.md.
            enough = len(wanting) == 1 < len(of_kind) and self._earns_a_queue(wanting[0], of_kind)
            assert not (enough and sharing), f"flow {sharing} shares, with a queue for it: {members}"

    def _earns_a_queue(self, row: int, of_kind: dict[int, list[int]]) -> bool:
        """Whether a flow is clearly heavier than what each other queue would carry without it."""
        allocation = self.host.device.ports[UPLINK].allocation
        assert allocation is not None
        rates = allocation.columns.rate
        others = sum(rates[other] for rows in of_kind.values() for other in rows) - rates[row]
        return rates[row] * (len(of_kind) - 1) >= 1.15 * others

    def _alike_flows_are_together(self) -> None:
        device, flows = self.host.device, self.host.flows
        found: dict[tuple[str, int, int, int], set[int]] = {}
        limits: dict[tuple[str, int, int, int], int] = {}
        for row in flows:
            wanted = device.policy.classes[flows.class_index[row]]
            if wanted.exclusive or flows.queue_id[row] < 0 or self.host.device_chose(row):
                continue
            number = flows.vm_number[row]
            vm = number if wanted.keep_vm_together else 0
            likeness = wanted.name, vm, device.shares.get(number, -1), flows.kind[row]
            found.setdefault(likeness, set()).add(flows.queue_id[row])
            limits[likeness] = 1 if vm else wanted.max_queues or 1000
        for likeness, queues in found.items():
            assert len(queues) <= limits[likeness], (likeness, queues)

    def _paths_are_kept(self) -> None:
        device, flows = self.host.device, self.host.flows
        kinds = {queue.kind for queue in device.ports[UPLINK].queues.values()}
        if len(kinds) < 2:
            return
        for row in flows:
            path = device.policy.classes[flows.class_index[row]].path
            if self.host.device_chose(row):
                continue
            assert path is not PathPreference.SOFTWARE or flows.kind[row] == QueueKind.SOFTWARE
            assert path is not PathPreference.HARDWARE or flows.kind[row] == QueueKind.PHYSICAL

    @invariant()
    def everything_agrees(self) -> None:
        self.host.check()


def frame(vm: int, sport: int, dport: int, dscp: int) -> bytes:
    head = bytes.fromhex("0200000000fe0200000000") + bytes([vm]) + b"\x08\x00"
    # With a data offset, since a TCP header without one has no ports: all flows of a VM would be one.
    ip = bytes([0x45, dscp << 2, 0, 40]) + bytes(4) + bytes([64, 6, 0, 0, 10, 0, 0, vm, 10, 0, 0, 254])
    data = head + ip + sport.to_bytes(2) + dport.to_bytes(2) + bytes(8) + b"\x50" + bytes(7)
    found = read_frame(data)
    assert found is not None
    assert unpack(found.key(1))[4:6] == (sport, dport)
    return data


# Shrinking a run of forty steps takes minutes; a failing run is printed as it was.
Host.TestCase.settings = settings(
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    derandomize="CI" in os.environ,
)
TestHost = Host.TestCase
