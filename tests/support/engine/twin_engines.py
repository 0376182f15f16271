"""Two engines that get the same facts, and a device that holds what they want: for properties of the engine.

The device is an account kept in another way than the engine's: entries by what they match, meters by number.
Whatever the engine asks for that a switch would refuse, or that would do harm there, fails here at once.
"""

from __future__ import annotations

from support.engine.allocation import Account, check_sums

from flowlane.core import effects as fx
from flowlane.core import events as ev
from flowlane.core.allocate import budget
from flowlane.core.allocate.state import MEASURED, Demand, PortState
from flowlane.core.engine import Engine
from flowlane.core.flow.assign import demand_of
from flowlane.core.flowkey import FlowParts, flow_id, unpack
from flowlane.core.model import (
    LIMIT_BY_VM,
    NO_QUEUE,
    Capabilities,
    MeterSpec,
    PortFacts,
    PortReport,
    QueueFacts,
    QueueKind,
    Reason,
    Refusal,
)
from flowlane.core.policy import LimitScope, Policy
from flowlane.core.state.device import Device
from flowlane.core.state.flows import PINNED, REFUSED, FlowTable

DPID = 7
UPLINK = 100
VM_PORTS = (1, 2, 3, 4)
Match = tuple[bytes, int, int]
PlaceKey = tuple[str, int, int, int]
"""A flow's id, its row and the row's generation, and its egress port."""

EXEMPT = {reason.name.lower() for reason in budget.EXEMPT}


class Mirror:
    """``pins`` by match, ``meters`` by id: what the device holds. ``connected``: effects reach it.

    ``learned``: the meter under which the device itself put a flow that it placed; None when it places it anew.
    """

    def __init__(self, policy: Policy, caps: Capabilities) -> None:
        self.caps = caps
        self.now = 100.0
        self.moved: dict[PlaceKey, float] = {}
        self.policy = policy
        self.pins: dict[Match, fx.PinFlow] = {}
        self.meters: dict[int, MeterSpec] = {}
        self.plan = fx.DevicePlan(DPID, (), (), None, ())
        self.programmed = False
        self.learned: dict[Match, int | None] = {}
        self.queues: dict[int, QueueKind] = dict.fromkeys(range(4), QueueKind.PHYSICAL)
        self.ports = set(VM_PORTS)
        self.ids = {port_no: f"vm{port_no}" for port_no in VM_PORTS}
        self.connected = self.was_away = False
        self.start()

    def start(self) -> None:
        """New engines, as after a restart of the controller."""
        self.engines = [Engine(self.policy) for _ in range(2)]
        self.do(self.described())
        self.connect()

    @property
    def device(self) -> Device:
        return self.engines[0].devices[DPID]

    @property
    def flows(self) -> FlowTable:
        return self.device.flows

    def do(self, event: ev.Event) -> list[fx.Effect]:
        """Give both engines a fact, packet-ins to the second by its fast path; they want the same; have it done."""
        if isinstance(event, ev.DeviceDescribed) and event.dpid == DPID:
            self.stated = set(event.ports[UPLINK].queues)
        before = self._places()
        together = ev.FlowMessages(event.dpid, (event,)) if isinstance(event, ev.FlowMessage) else event
        first, second = (
            engine.step_and_catch_up(fact, self.now)
            for engine, fact in zip(self.engines, (event, together), strict=True)
        )
        assert first == second, "the same facts in, the same effects out"
        self._check_moves(before, first)
        for effect in first:
            if self.connected:
                self._apply(effect)
        return first

    def _places(self) -> dict[PlaceKey, int]:
        """Return the queue of each flow on its port."""
        if DPID not in self.engines[0].devices:
            return {}
        flows = self.flows
        return {
            (
                flow_id(flows.keys[row] or b""),
                row,
                flows.generation[row],
                flows.egress_port[row],
            ): flows.queue_id[row]
            for row in flows
        }

    def _check_moves(self, before: dict[PlaceKey, int], effects: list[fx.Effect]) -> None:
        """Check that each change of queue was reported, and that it waits for its window unless it is exempt."""
        chains: dict[str, list[dict[str, object]]] = {}
        for effect in effects:
            if isinstance(effect, fx.FlowReport) and effect.kind == "move":
                move = {
                    "from": effect.old_queue_id,
                    "to": effect.queue_id,
                    "reason": Reason(effect.reason).name.lower(),
                }
                chains.setdefault(flow_id(effect.key), []).append(move)
        after = self._places()
        for place, queue_id in after.items():
            old, chain = before.get(place, NO_QUEUE), chains.pop(place[0], [])
            if queue_id == NO_QUEUE:  # Once it gets a queue again, it begins there.
                self.moved.pop(place, None)
            if NO_QUEUE not in (old, queue_id):
                reported = [old, *(move["to"] for move in chain)]
                assert [move["from"] for move in chain] == reported[:-1], (
                    "each move begins where the last ended"
                )
                assert reported[-1] == queue_id, f"from queue {old} to {queue_id} without a report: {chain}"
            for move in chain:
                if move["reason"] not in EXEMPT:
                    since = self.now - self.moved.get(place, -1e9)
                    assert since >= self.device.policy.balance.window, f"{move} within the window"
                    self.moved[place] = self.now

    def connect(self) -> list[fx.Effect]:
        self.connected, self.was_away = True, self.programmed
        found = tuple(self._found(pin) for pin in self.pins.values())
        reports = (*(PortReport(n, f"tap{n}") for n in sorted(self.ports)), PortReport(UPLINK, "eth0"))
        queues = {UPLINK: tuple(self.queues)}
        used = tuple(meter for number, meter in sorted(self.meters.items()) if self._is_used(number))
        return self.do(ev.DeviceUp(DPID, self.caps, reports, queues, found, pin_meters=used))

    def described(self) -> ev.DeviceDescribed:
        facts = {
            n: PortFacts(f"tap{n}", {"iface-id": self.ids[n]} if n in self.ids else {}) for n in VM_PORTS
        }
        kinds = {queue_id: QueueFacts(kind) for queue_id, kind in self.queues.items()}
        facts[UPLINK] = PortFacts("eth0", {"flowlane-port": "uplink"}, queues=kinds, qos_max_rate=10**8)
        return ev.DeviceDescribed(DPID, "br-int", "nic", {}, "netdev", facts)

    def _found(self, pin: fx.PinFlow) -> ev.FoundPin:
        # A device's entry does not hold the VM's number.
        key = bytes(4) + pin.key[4:]
        place = pin.in_port, pin.egress_port
        return ev.FoundPin(pin.ref, key, *place, pin.queue_id, pin.meter_id, 5, 500)

    def _apply(self, effect: fx.Effect) -> None:
        match effect:
            case fx.PinFlow():
                place = effect.key[4:], effect.in_port, effect.egress_port
                assert effect.meter_id == 0 or effect.meter_id in self.meters, (
                    "the meter is set before its pin"
                )
                assert effect.queue_id == NO_QUEUE or effect.queue_id in self.device.ports[UPLINK].queues
                old = self.pins.get(place)
                assert old is None or old.ref == effect.ref
                self.pins[place] = effect
            case fx.UnpinFlow():
                place = effect.key[4:], effect.in_port, effect.egress_port
                self.pins.pop(place, None)
                # What the device has learned of it comes with the next counters, and a pin again if there is room.
                self.learned[place] = None
            case fx.Program():
                self._program(effect.plan)
            case fx.DeleteLearned():
                self.learned = dict.fromkeys(self.learned)
            case fx.SetMeter():
                # The southbound side decides whether it is added or changed.
                assert not effect.change or effect.meter.meter_id in self.meters
                assert effect.meter.meter_id not in {meter.meter_id for meter in self.plan.meters}
                self.meters[effect.meter.meter_id] = effect.meter
            case fx.DeleteMeter():
                assert not self._is_used(effect.meter_id), "clearing a used meter deletes its entries"
                assert effect.meter_id in self.meters or self.was_away
                self.meters.pop(effect.meter_id, None)

    def _program(self, plan: fx.DevicePlan) -> None:
        """Add the plan's meters, and delete those of the last plan that no pin uses, as the sessions do."""
        planned = {meter.meter_id: meter for meter in plan.meters}
        named = {rule.meter_id for rule in plan.rules if rule.meter_id < LIMIT_BY_VM}
        named |= {of_vm.meter_id for of_vm in plan.vm_meters}
        assert named <= {0, *planned}, "a rule names a meter that is missing"
        for meter in self.plan.meters:
            used = self._is_used(meter.meter_id)
            assert not used or meter.meter_id in planned or self.was_away, "its entries would go with it"
            if not used:
                self.meters.pop(meter.meter_id, None)
        self.meters.update(planned)
        self.plan, self.programmed = plan, True

    def place(self, key: bytes, way: tuple[int, int], dscp: int) -> int:
        """Place a flow by the device's standing rules; return the meter that they give it."""
        parts = unpack(key)
        known = (rule for rule in self.plan.rules if rule.egress_port == way[1])
        fitting = [rule for rule in known if _fits(rule.match, parts, dscp)]
        meter_id = max(fitting, key=lambda rule: rule.order).meter_id
        self.learned[key[4:], *way] = meter_id
        return meter_id

    def refuse(self, row: int) -> None:
        """Refuse the flow's pin, as a device does when its table is full."""
        self.lose(row)
        self.do(ev.RuleRefused(DPID, "pin", Refusal.TABLE_FULL, "full", self.flows.ref(row)))

    def _is_used(self, meter_id: int) -> bool:
        return any(pin.meter_id == meter_id for pin in self.pins.values())

    def device_chose(self, row: int) -> bool:
        """Check whether the flow has no pin and is where the device put it."""
        return self.flows.reason[row] == Reason.DEVICE_CHOSE

    def lose(self, row: int) -> None:
        self.pins = {place: pin for place, pin in self.pins.items() if pin.ref.row != row}

    def count(self, rates: dict[int, int], seconds: float) -> None:
        self.now += seconds
        flows = self.flows
        counters = tuple(
            (row, flows.generation[row], 1, flows.octets[row] + int(rate * seconds / 8))
            for row, rate in rates.items()
        )
        self.do(ev.PinCounters(DPID, counters))

    def tick(self, seconds: int = 1) -> None:
        for _ in range(seconds):
            self.now += 1.0
            self.do(ev.Tick())

    def check(self) -> None:
        """Everything that must hold after every fact."""
        self._check_places()
        self._check_meters()
        self._check_pins()
        self._check_allocator()

    def _check_places(self) -> None:
        flows, classes = self.flows, self.device.policy.classes
        there = self.device.ports[UPLINK].queues
        reported = set(self.device.reported_queues.get(UPLINK, ()))
        assert set(there) == (reported & self.stated if self.stated else reported), (
            "a queue has to be reported and described"
        )
        for row in flows:
            meter_only = classes[flows.class_index[row]].meter_only and not self.device_chose(row)
            if meter_only or not there:
                assert flows.queue_id[row] == NO_QUEUE
                assert flows.kind[row] == QueueKind.NONE
            else:
                assert flows.queue_id[row] in there, "no flow without a queue, no queue that is not there"
                assert flows.kind[row] == there[flows.queue_id[row]].kind

    def _check_meters(self) -> None:
        flows, pool, classes = self.flows, self.device.meter_pool, self.device.policy.classes
        users: dict[int, int] = {}
        for row in flows:
            limit, meter_id = classes[flows.class_index[row]].rate_limit, flows.meter_id[row]
            if limit is None:
                assert meter_id == 0
            elif meter_id == 0:
                refusals = self.device.refusals
                assert refusals.get("meter") or refusals.get("limit"), (
                    "a limit that is not enforced is reported"
                )
            else:
                users[meter_id] = users.get(meter_id, 0) + 1
                assert pool.specs[meter_id].rate == max(limit, 1000)
        standing = {pool.ids[owner] for owner in pool.standing_owners}
        counted = {number: count for number, count in pool.users.items() if count or number not in standing}
        assert users == counted, "no meter without a flow, no flow under a meter that is not counted"
        assert set(pool.specs) == set(users) | standing
        assert set(self.device.meter_owner) == {row for row in flows if flows.meter_id[row]}
        of_classes = [item for item in classes if item.rate_limit and item.limit_scope is LimitScope.CLASS]
        left_out = [left for left in self.device.meters_left_out if "first packet" not in left.what]
        with_meter = [owner for owner in pool.standing_owners if owner[1] == -1]
        assert len(with_meter) + len(left_out) == len(of_classes), (
            "each class has its meter, or is listed as left out"
        )
        if self.connected:
            for row in flows:
                assert self._is_limited(row), (
                    "a limit is held by the flow's entry, or by what the device learned"
                )
            assert self.meters == pool.specs, "no meter is missing in the device, and none is left there"
            assert {meter.meter_id for meter in self.plan.meters} == standing

    def _is_limited(self, row: int) -> bool:
        """Check whether the flow is under its meter, or can have no entry."""
        flows, device = self.flows, self.device
        if flows.flags[row] & (PINNED | REFUSED) or device.pinned >= device.policy.pins.budget:
            return True
        place = self._match(row), flows.in_port[row], flows.egress_port[row]
        by_device = self.learned.get(place, 0)
        if by_device is not None and by_device >= LIMIT_BY_VM:
            of_vms = {of_vm[:2]: of_vm.meter_id for of_vm in self.plan.vm_meters}
            by_device = of_vms.get((by_device, flows.vm_number[row]), 0)
        return by_device is None or by_device == flows.meter_id[row]

    def _check_pins(self) -> None:
        flows, device = self.flows, self.device
        pinned = {row for row in flows if flows.flags[row] & PINNED}
        assert device.pinned == len(pinned) <= device.policy.pins.budget
        if not self.connected:
            return
        for pin in self.pins.values():
            assert pin.ref.row in pinned, "an entry of no flow"
            assert pin.key[4:] == self._match(pin.ref.row)
            assert (pin.ref, pin.queue_id) == (flows.ref(pin.ref.row), flows.queue_id[pin.ref.row])
            assert pin.meter_id == flows.meter_id[pin.ref.row]
            assert pin.egress_port == flows.egress_port[pin.ref.row]

    def _match(self, row: int) -> bytes:
        """Cut the VM's number from a flow's key, since no entry of a device has it."""
        key = self.flows.keys[row]
        assert key is not None
        return key[4:]

    def _check_allocator(self) -> None:
        flows, port = self.flows, self.device.ports[UPLINK]
        assert (port.allocation is None) == (not port.queues)
        if port.allocation is None:
            return
        rows = [row for row in flows if flows.queue_id[row] != NO_QUEUE]
        account = Account(
            state=port.allocation,
            queue_of={row: flows.queue_id[row] for row in rows},
            demands={row: self._demand(row, port.allocation.columns.rate[row]) for row in rows},
            queues=list(port.queues.values()),
        )
        check_sums(account)
        self._check_means(rows, port.allocation)

    def _check_means(self, rows: list[int], allocation: PortState) -> None:
        columns = allocation.columns
        known: dict[int, list[int]] = {}
        for row in rows:
            if columns.flags[row] & MEASURED:
                entry = known.setdefault(self.flows.class_index[row], [0, 0])
                entry[0] += columns.rate[row]
                entry[1] += 1
        assert allocation.measured_rates == known

    def _demand(self, row: int, counted: int) -> Demand:
        """Make the flow's demand; its rate as the allocator has it, where that is only the rounding of a column."""
        demand = demand_of(self.device, row)
        near = demand.rate and abs(demand.rate - counted) <= 1 + counted * 1e-6
        return demand._replace(rate=counted) if near else demand

    def picture(self) -> object:
        """Take a picture of what others may see of the flows, to compare with a later one."""
        flows, port = self.flows, self.device.ports[UPLINK]
        places = {
            flows.keys[row]: (flows.queue_id[row], flows.meter_id[row], flows.class_index[row])
            for row in flows
        }
        loads = (
            [(slot.queue, slot.load, slot.count, slot.exclusive_row) for slot in port.allocation.slots]
            if port.allocation
            else []
        )
        return places, loads, dict(self.meters), {m: replace_row(p) for m, p in self.pins.items()}


def _fits(match: fx.StandingMatch, parts: FlowParts, dscp: int) -> bool:
    ports = match.dst_ports or ((0, 0xFFFF),)
    return (
        (not match.vm_numbers or parts.vm_number in match.vm_numbers)
        and match.ip_proto in (None, parts.protocol)
        and match.dscp in (None, dscp)
        and any(first <= parts.dst_port <= last for first, last in ports)
        and match.eth_type in (None, 0x0800)
        and not match.pcp
    )


def replace_row(pin: fx.PinFlow) -> fx.PinFlow:
    """Drop from a pin whether it is new or changed."""
    return pin._replace(moved=False)
