"""What the allocator guarantees, whatever calls come in whatever order (stateful properties).

Faults that were planted, one at a time, and found by this machine (with 1,200 examples): a departure leaves
its rate in the pool's sum; a measured rate stays in its class's mean; a list of a cell loses a link; a
waiting flow gets no queue that becomes free; an exclusive queue stays in its pool; exclusive queues are kept
though other flows have none; flows of a removed queue stay; strays do not return; the queue of a VM's other
flows is not looked at; a class's maximum is ignored; the window is ignored; a flow heavier than the gap is
moved; groups are taken in the order of their addresses; a departed group stays in its pool; flows are never
promoted; flows stay on hardware of another share after the queues changed; a class's minimum is ignored when
queues are divided; moves that cost no tokens. A port on which one flow too many moves the others is found by
``rebalance/test_exclusive`` only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from math import ceil
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)
from support.engine.allocation import Port, check_state, hardware, snapshot, software

from flowlane.core.allocate.budget import EXEMPT, LEAVING, LEAVING_SAVED
from flowlane.core.allocate.state import Cell, Demand, Move, Placement, Region, Slot
from flowlane.core.allocate.strategies.buckets import BUCKETS
from flowlane.core.model import NO_QUEUE, Queue, QueueKind, Reason
from flowlane.core.policy import Balance, PathPreference

CLASSES: tuple[dict[str, Any], ...] = (
    {"class_index": 0},
    {"class_index": 1, "exclusive": True, "group": 1},
    {"class_index": 2, "max_queues": 2, "group": 2, "priority": 3},
    {"class_index": 3, "keep_vm_together": True, "group": 3},
    {"class_index": 4, "path": PathPreference.SOFTWARE, "group": 4},
    {"class_index": 5, "path": PathPreference.HARDWARE, "group": 5, "priority": 5},
    {"class_index": 6, "exclusive": True, "group": 6, "priority": 7, "max_queues": 1},
    {"class_index": 7, "min_queues": 2, "group": 7},
    {"class_index": 8, "min_rate": 300, "group": 8, "priority": 1},
)
RATES = st.one_of(st.just(0), st.integers(1, 100), st.integers(10**6, 10**10))
RATED = {2: 500, 3: 200, 4: 400, 11: 300}
"""Queue id -> what the queue guarantees, bit/s; the others guarantee nothing."""


FAST = 10**13
"""bit/s that the slowest queue carries where queues have speeds: more than all flows together send."""


def rated(queues: list[Queue], unequal: bool) -> list[Queue]:
    return [
        replace(
            queue,
            min_rate=RATED.get(queue.queue_id),
            max_rate=FAST * (1 + queue.queue_id % 3) if unequal else None,
        )
        for queue in queues
    ]


QUEUES = st.tuples(st.integers(0, 6), st.integers(0, 3), st.booleans()).map(
    lambda counts: rated(hardware(*range(counts[0])) + software(*range(10, 10 + counts[1])), counts[2])
)
WINDOW = 3.0
CLASS = st.integers(0, len(CLASSES) - 1)
VM = st.integers(1, 3)


def demand_of(index: int, vm: int, rate: int) -> dict[str, Any]:
    return {**CLASSES[index], "vm_number": vm, "rate": rate, "share": vm - 2}


def exclusive_queues_are_right(port: Port) -> None:
    for slot in port.state.slots:
        assert slot.exclusive_row < 0 or slot.count == 1
    for region in (*port.state.hardware, port.state.software):
        shared = region.shared_slots()
        assert not region.slots or shared, "somebody has to share"
        if not is_quiet(region, region.load / max(1, weight_of(region.slots))):  # Else none is missed.
            others_do_not_starve(port, region)
            no_flow_waits_that_earns_a_queue(port, region)


def is_quiet(region: Region, load: float) -> bool:
    """Return whether a load (bit/s) per weight of a queue is so little that the flows that share miss no queue."""
    whole = weight_of(region.slots)
    return region.capacity is not None and load * whole <= 0.25 * region.capacity


def is_whole(cell: Cell) -> bool:
    """Return whether the flows of a cell move together: those of a VM, or of a class that has ``max_queues``."""
    demand = cell.group.demand
    return cell.vm > 0 or (demand.max_queues is not None and not demand.exclusive)


def most_moves(port: Port) -> int:
    """Return how many flows the next rebalance may move for reasons that are not exempt.

    Those that move together need only as many tokens as can be saved. For the new queues of a region there are as many
    once more, or one for each of its queues.
    """
    state = port.state
    together = max((cell.count for cell in state.cells if cell is not None and is_whole(cell)), default=0)
    saved = max(1, ceil(state.balance.moves_per_second * state.count))
    grown = [region for region in (*state.hardware, state.software) if region.grown]
    return saved + sum(max(saved, len(region.slots)) for region in grown) + max(1, together - 1)


def moves_are_limited(moves: list[Move], most: int) -> None:
    """Flows leave exclusive queues of others by some more tokens."""
    counts = Counter(move.reason for move in moves if move.old != move.new and move.reason not in EXEMPT)
    leaving = counts[Reason.VACATED] + counts[Reason.EXCLUSIVE_UNAVAILABLE]
    assert counts.total() - leaving <= most and leaving <= most + LEAVING_SAVED * LEAVING, (counts, most)


def weight_of(slots: Iterable[Slot]) -> int:
    return sum(slot.weight for slot in slots)


def others_do_not_starve(port: Port, region: Region) -> None:
    """Without the exclusive flows that carry less than a shared queue, a shared queue would carry nearly as much."""
    shared, rates = region.shared_slots(), port.state.columns.rate
    load = sum(slot.load for slot in shared)
    sharing = {port.demands[row].priority for row in sharing_rows(port, region)}
    weight = max(1, weight_of(shared))
    light = [
        slot
        for slot in region.exclusive_slots()
        if rates[slot.exclusive_row] * weight < load * slot.weight
        and port.demands[slot.exclusive_row].priority <= max(sharing, default=-1)
    ]
    if is_quiet(region, load / weight):
        return
    crowded = separable(port, shared) > len(shared)
    lost = sum(rates[slot.exclusive_row] for slot in light)
    mean = (load + lost) / (weight + weight_of(light))
    assert not light or not crowded or load / weight <= 1.05 * mean, "the others miss these queues"
    assert load / weight <= 2.1 * region.load / max(1, weight_of(region.slots)) or not crowded or not light


def separable(port: Port, slots: list[Slot]) -> int:
    """Return on how many queues the flows on these slots could be.

    Those of a VM that keep together are on one, and those of a class that shares on ``max_queues`` at most.
    """
    queue_ids = {slot.queue.queue_id for slot in slots}
    apart: dict[int, set[int]] = {}
    for row, queue_id in port.queue_of.items():
        if queue_id in queue_ids:
            demand = port.demands[row]
            apart.setdefault(demand.class_index, set()).add(
                -demand.vm_number if demand.keep_vm_together else row
            )
    most = {
        index: 99 if CLASSES[index].get("exclusive") else CLASSES[index].get("max_queues", 99)
        for index in apart
    }
    return sum(min(len(rows), most[index]) for index, rows in apart.items())


def sharing_rows(port: Port, region: Region) -> list[int]:
    """Return the rows of the region's flows whose class says that they share."""
    queue_ids = {slot.queue.queue_id for slot in region.slots}
    return [
        row
        for row, queue_id in port.queue_of.items()
        if queue_id in queue_ids and not port.demands[row].exclusive
    ]


def no_flow_waits_that_earns_a_queue(port: Port, region: Region) -> None:
    """A flow of the exclusive class without a maximum, clearly heavier than what each other queue would carry."""
    shared, rates = region.shared_slots(), port.state.columns.rate
    min_queues = {demand.class_index: demand.min_queues for demand in port.demands.values()}
    sharing = {port.demands[row].class_index for row in sharing_rows(port, region)}
    reserved = max(1, sum(min_queues[index] for index in sharing))
    guaranteed = any(port.demands[row].min_rate for row in sharing_rows(port, region))
    load = sum(slot.load for slot in shared)
    queue_ids = {slot.queue.queue_id for slot in shared}
    heaviest = max((slot.weight for slot in shared), default=1)
    fastest, whole = max((slot.weight for slot in region.slots), default=1), weight_of(region.slots)
    waiting = [
        row
        for row, queue_id in port.queue_of.items()
        if queue_id in queue_ids
        and port.demands[row].class_index == 1
        and rates[row] * (weight_of(shared) - heaviest) >= 1.15 * (load - rates[row]) * heaviest
        # Else none of these queues is fast enough for it to be alone there.
        and (heaviest == fastest or rates[row] * whole <= region.load * heaviest)
    ]
    assert len(shared) <= reserved or guaranteed or not waiting, "a flow that the others would not miss waits"


class Allocator(RuleBasedStateMachine):
    """Two ports get the same calls; the first is checked, and the second compared with it."""

    rows = Bundle("rows")

    def __init__(self) -> None:
        super().__init__()
        self.ports: list[Port] = []
        self.next = 0
        self.moved: dict[int, float] = {}

    @initialize(
        shares=st.sampled_from([(), (0.5, 0.25), (2.0, 1.0)]),
        most=st.sampled_from([None, 6]),
        unequal=st.booleans(),
        part=st.sampled_from([1e6, 1e6, 0.04]),
    )
    def make(self, shares: tuple[float, ...], most: int | None, unequal: bool, part: float) -> None:
        balance = Balance(moves_per_second=part, window=WINDOW, flows_per_queue=most)
        self.ports = [Port(rated(hardware(0, 1, 2, 3), unequal), balance, shares) for _ in range(2)]

    @property
    def port(self) -> Port:
        return self.ports[0]

    @rule(target=rows, index=CLASS, vm=VM, rate=RATES)
    def arrive(self, index: int, vm: int, rate: int) -> int:
        row, self.next = self.next, self.next + 1
        self._avoid_exclusive_queues(row, lambda port: port.arrive(row, **demand_of(index, vm, rate)))
        return row

    @rule(target=rows, index=CLASS, vm=VM, rate=RATES, count=st.integers(2, 8))
    def arrive_together(self, index: int, vm: int, rate: int, count: int) -> object:
        return multiple(*(self.arrive(index, vm, rate + number) for number in range(count)))

    @rule(row=consumes(rows))
    def depart(self, row: int) -> None:
        for port in self.ports:
            port.depart(row)

    @rule(row=rows, rate=st.integers(1, 10**10))
    def measure(self, row: int, rate: int) -> None:
        for port in self.ports:
            port.measure(row, rate)

    @rule(row=rows, index=CLASS, vm=VM, rate=RATES)
    def change(self, row: int, index: int, vm: int, rate: int) -> None:
        if rate == 0:
            rate = self.port.demands[row].rate
        old = self.port.demands[row]
        if old._replace(rate=rate) == type(old)(**demand_of(index, vm, rate)):
            return
        before = self.port.queue_of[row]
        for port in self.ports:
            port.change(row, **demand_of(index, vm, rate))
            if rate == 0:
                port.demands[row] = port.demands[row]._replace(rate=0)
        assert self.port.queue_of[row] == before or before == NO_QUEUE, (
            "a change of class moves no flow by itself"
        )

    @rule(seconds=st.floats(0.1, 5.0))
    def tick(self, seconds: float) -> None:
        spread = self._spread_classes()
        most = most_moves(self.port)
        for port in self.ports:
            moves = port.tick(seconds)
        moves_are_limited(moves, most)
        for move in (move for move in moves if move.old != move.new):
            gathered = self.port.demands[move.row].class_index in spread
            assert gathered or self.port.now - self.moved.get(move.row, -99.0) >= WINDOW
            self.moved[move.row] = self.port.now

    def _spread_classes(self) -> set[int]:
        """Return the classes on more queues of a region than they may have: these come together at once."""
        found: set[int] = set()
        for region in (*self.port.state.hardware, self.port.state.software):
            queues_of: dict[int, set[int]] = {}
            for slot in region.slots:
                rows = [row for row in self.port.queue_of if self.port.queue_of[row] == slot.queue.queue_id]
                for row in rows:
                    queues_of.setdefault(self.port.demands[row].class_index, set()).add(slot.index)
            found |= {n for n, queues in queues_of.items() if len(queues) > CLASSES[n].get("max_queues", 99)}
        return {index for index in found if not CLASSES[index].get("exclusive")}

    @rule(queues=QUEUES)
    def update_queues(self, queues: list[Queue]) -> None:
        before = dict(self.port.queue_of)
        kinds = {queue.queue_id: queue.kind for queue in self.port.queues}
        for port in self.ports:
            moves = port.update_queues(list(queues))
        stay = {queue.queue_id for queue in queues if kinds.get(queue.queue_id) is queue.kind}
        # A flow whose queue has gone had to move: that is not the one move that its window allows.
        assert self.port.state.shares or all(before[move.row] not in stay for move in moves)

    @precondition(lambda self: self.next)
    @rule(index=CLASS, vm=VM, rate=RATES)
    def arrive_and_depart(self, index: int, vm: int, rate: int) -> None:
        before = dict(self.port.queue_of), self.port.loads(), dict(self.port.state.measured_rates)
        for port in self.ports:
            port.arrive(10**4, **demand_of(index, vm, rate))
            port.depart(10**4)
        assert before == (self.port.queue_of, self.port.loads(), self.port.state.measured_rates)

    @rule()
    def run_until_quiet(self) -> None:
        for port in self.ports:
            port.run_until_quiet()
        self.moved.clear()
        exclusive_queues_are_right(self.port)
        self._alike_flows_are_together()
        self._no_flow_is_on_the_wrong_path()
        self._minima_are_guaranteed()

    @invariant()
    def sums_and_places_are_right(self) -> None:
        check_state(self.port)

    @invariant()
    def the_same_calls_give_the_same_state(self) -> None:
        assert snapshot(self.ports[0]) == snapshot(self.ports[1])

    def _avoid_exclusive_queues(self, row: int, step: Callable[[Port], Placement]) -> None:
        exclusive = {
            slot.queue.queue_id for slot in self.port.state.slots if slot.exclusive_row not in (-1, row)
        }
        for port in self.ports:
            placement = step(port)
        assert placement.queue_id not in exclusive, "no flow is placed on the exclusive queue of another"
        assert (placement.queue_id == NO_QUEUE) == (not self.port.queues)
        assert (placement.reason is Reason.NO_QUEUES) == (not self.port.queues)

    def _minima_are_guaranteed(self) -> None:
        for region in (*self.port.state.hardware, self.port.state.software):
            rates = {
                slot.queue.queue_id: slot.queue.min_rate or 0
                for slot in region.slots
                if slot.exclusive_row < 0
            }
            for row, queue_id in self.port.queue_of.items():
                if queue_id in rates and self.port.demands[row].min_rate:
                    least = min(self.port.demands[row].min_rate, max(rates.values()))
                    assert rates[queue_id] >= least, "a class with a minimum is where it is guaranteed"

    def _alike_flows_are_together(self) -> None:
        queues_of: dict[tuple[int, int, int, QueueKind | None], set[int]] = {}
        for row, demand in self.port.demands.items():
            vm = demand.vm_number if demand.keep_vm_together else 0
            kind = next(
                (queue.kind for queue in self.port.queues if queue.queue_id == self.port.queue_of[row]), None
            )
            queues_of.setdefault((demand.class_index, vm, demand.share, kind), set()).add(
                self.port.queue_of[row]
            )
        for (index, vm, _, _), queues in queues_of.items():
            limit = CLASSES[index].get("max_queues", 99)
            if vm:
                limit = 1
            if not CLASSES[index].get("exclusive"):
                assert len(queues) <= limit

    def _no_flow_is_on_the_wrong_path(self) -> None:
        kinds = {queue.queue_id: queue.kind for queue in self.port.queues}
        both = set(kinds.values()) == {QueueKind.PHYSICAL, QueueKind.SOFTWARE}
        for row, demand in self.port.demands.items():
            if both and demand.path is PathPreference.SOFTWARE:
                assert kinds[self.port.queue_of[row]] is QueueKind.SOFTWARE
            if both and demand.path is PathPreference.HARDWARE and not self._is_without_queue(demand):
                assert kinds[self.port.queue_of[row]] is QueueKind.PHYSICAL

    def _is_without_queue(self, demand: Demand) -> bool:
        """Whether the flow's VM is in no share, and the shares have a queue each and no more."""
        shares = self.port.shares
        queues = sum(queue.kind is QueueKind.PHYSICAL for queue in self.port.queues)
        return demand.share == -1 and sum(shares) > 1 and queues == len(shares)


Allocator.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAllocator = Allocator.TestCase


class OtherStrategies(Allocator):
    """The same calls where the policy names a strategy that has no exclusive queues and no groups."""

    def __init__(self) -> None:
        super().__init__()
        self.strategy = ""

    @initialize(
        strategy=st.sampled_from(["buckets", "priority-by-bytes", "fair"]),
        shares=st.sampled_from([(), (0.5, 0.25)]),
        moves=st.sampled_from([0.02, 1e6]),
        unequal=st.booleans(),
    )
    def make(self, strategy: str, shares: tuple[float, ...], moves: float, unequal: bool) -> None:
        self.strategy = strategy
        balance = Balance(strategy, moves_per_second=moves, window=WINDOW)
        self.ports = [Port(rated(hardware(0, 1, 2, 3), unequal), balance, shares) for _ in range(2)]

    @rule(row=Allocator.rows, octets=st.integers(0, 40_000_000))
    def send(self, row: int, octets: int) -> None:
        for port in self.ports:
            port.octets[row] = port.octets.get(row, 0) + octets

    @rule(row=Allocator.rows, index=CLASS, vm=VM, rate=RATES)
    def change(self, row: int, index: int, vm: int, rate: int) -> None:
        before = self.port.queue_of[row]
        for port in self.ports:
            port.change(row, **demand_of(index, vm, rate or self.port.demands[row].rate))
        if self.port.queue_of[row] != before:
            kinds = {queue.queue_id: queue.kind for queue in self.port.queues}
            assert kinds[self.port.queue_of[row]] is not kinds[before], (
                "a flow moves at once to another path only"
            )
            self.moved[row] = self.port.now

    @rule(seconds=st.floats(0.1, 5.0))
    def tick(self, seconds: float) -> None:
        kinds = {queue.queue_id: queue.kind for queue in self.port.queues}
        tokens = (
            self.port.state.tokens
            + max(0.5, self.port.balance.moves_per_second * len(self.port.queue_of)) * 5
        )
        for port in self.ports:
            moves = port.tick(seconds)
        reasons = {move.reason for move in moves}
        assert reasons <= {"buckets": {Reason.REBALANCED}, "priority-by-bytes": {Reason.DEMOTED}}.get(
            self.strategy, set()
        )
        for move in moves:
            assert kinds[move.old] is kinds[move.new], "no rebalance changes a path"
            assert self.port.now - self.moved.get(move.row, -99.0) >= WINDOW
            self.moved[move.row] = self.port.now
        # The bucket that empties the purse may have more flows than are in it.
        largest = max(Counter(row % BUCKETS for row in self.port.queue_of).values(), default=0)
        assert len(moves) <= tokens + largest

    @rule()
    def run_until_quiet(self) -> None:
        for port in self.ports:
            port.run_until_quiet()
        self.moved.clear()
        if self.strategy == "buckets":
            self._buckets_are_whole()

    def _buckets_are_whole(self) -> None:
        kinds = {queue.queue_id: queue.kind for queue in self.port.queues}
        places: dict[tuple[int, QueueKind | None], set[int]] = {}
        for row, queue_id in self.port.queue_of.items():
            places.setdefault((row % BUCKETS, kinds.get(queue_id)), set()).add(queue_id)
        assert all(len(queues) == 1 for queues in places.values())


OtherStrategies.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestOtherStrategies = OtherStrategies.TestCase


Crowd = list[tuple[int, int]]
"""Classes and rates."""

EXCLUSIVE, CAPPED, SHARING, RESERVED = 1, 6, 0, 7
CROWD = st.lists(
    st.tuples(
        st.sampled_from([EXCLUSIVE, EXCLUSIVE, CAPPED, SHARING, RESERVED]), st.sampled_from([1, 10, 10**4])
    ),
    min_size=3,
    max_size=10,
)


@given(
    CROWD, st.lists(st.tuples(st.sets(st.integers(0, 9)), CROWD), min_size=1, max_size=3), st.integers(2, 6)
)
def test_exclusive_queues_are_right_whoever_came_and_went_before(
    crowd: Crowd, turns: list[tuple[set[int], Crowd]], queues: int
) -> None:
    port = Port(hardware(*range(queues)), Balance(moves_per_second=1e6, window=WINDOW))
    rows = iter(range(1000))
    for leaving, arriving in [(set(), crowd), *turns, (set(range(0, 10, 2)), [])]:
        for place, row in enumerate(list(port.queue_of)):
            if place in leaving:
                port.depart(row)
        for index, rate in arriving:
            port.arrive(next(rows), **demand_of(index, 1, rate))
        port.run_until_quiet()
        check_state(port)
        exclusive_queues_are_right(port)


@settings(max_examples=40, deadline=None)
@given(CROWD, CROWD, st.lists(st.sampled_from([5_000, 10_000, 40_000]), min_size=2, max_size=6))
def test_exclusive_queues_are_right_where_queues_differ_in_speed(
    crowd: Crowd, later: Crowd, speeds: list[int]
) -> None:
    queues = [Queue(queue_id, max_rate=speed) for queue_id, speed in enumerate(speeds)]
    port = Port(queues, Balance(moves_per_second=1e6, window=WINDOW))
    rows = iter(range(1000))
    for arriving in (crowd, later):
        for index, rate in arriving:
            port.arrive(next(rows), **demand_of(index, 1, rate))
        port.run_until_quiet()
        check_state(port)
        exclusive_queues_are_right(port)


@given(
    st.lists(st.tuples(CLASS, VM, RATES), min_size=30, max_size=60),
    st.lists(st.tuples(CLASS, st.integers(0, 9)), min_size=1, max_size=3),
    st.sampled_from([0.02, 0.1]),
    QUEUES,
)
@settings(max_examples=40, deadline=None)
def test_moves_are_within_the_limits_whatever_changes(
    flows: list[tuple[int, int, int]], turns: list[tuple[int, int]], part: float, queues: list[Queue]
) -> None:
    """Most flows change their class or their rate at once."""
    port = Port(rated(hardware(0, 1, 2, 3), False), Balance(moves_per_second=part, window=WINDOW))
    for row, (index, vm, rate) in enumerate(flows):
        port.arrive(row, **demand_of(index, vm, rate))
    for shift, kept in turns:
        for row, (index, vm, rate) in enumerate(flows):
            if row % 10 >= kept:
                port.change(row, **demand_of((index + shift) % len(CLASSES), vm, rate * shift))
        for _ in range(6):
            most = most_moves(port)
            moves_are_limited(port.tick(), most)
        port.update_queues(list(queues))
