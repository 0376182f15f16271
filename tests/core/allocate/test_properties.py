"""Whatever comes in whatever order: the promises of the allocator hold (stateful properties).

Faults that were planted, one at a time, and found by this machine (with 1,200 examples):
a departure leaves its rate in the pool's sum; a measured rate stays in its class's mean; a chain forgets a
link; a waiting flow gets no queue that frees; an owned queue stays in its pool; owners keep queues though others
have none; flows of a removed queue stay; strays are not brought home; a VM's home is not looked at; a class's
maximum is ignored; the window is ignored; a flow heavier than the gap is moved; groups are taken in the order
of their addresses; a departed group stays in its pool; flows never come back from software; flows are not
sorted out after the shares' queues changed; flows go on sharing though each could be alone again; owners lose
queues for flows that may not own one; a class's minimum is forgotten when queues are divided. Moves that cost no
tokens are found by ``test_rebalance`` only, and a port that is stirred by one flow too many by ``test_owners``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
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
from support.engine.allocation import Port, check, hardware, snapshot, software

from flowlane.core.allocate.state import Placement, Region, Slot
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
"""Queue id -> what the queue guarantees, bit/s; nothing is known of the others."""


def rated(queues: list[Queue]) -> list[Queue]:
    return [replace(queue, min_rate=RATED.get(queue.queue_id)) for queue in queues]


QUEUES = st.tuples(st.integers(0, 6), st.integers(0, 3)).map(
    lambda counts: rated(hardware(*range(counts[0])) + software(*range(10, 10 + counts[1])))
)
WINDOW = 3.0
CLASS = st.integers(0, len(CLASSES) - 1)
VM = st.integers(1, 3)


def wanted(index: int, vm: int, rate: int) -> dict[str, Any]:
    return {**CLASSES[index], "vm_number": vm, "rate": rate, "share": vm - 2}


def exclusive_flows_are_alone(port: Port) -> None:
    for slot in port.state.slots:
        assert slot.exclusive_row < 0 or slot.count == 1
    for region in (*port.state.hardware, port.state.software):
        nobody_waits_who_could_be_alone(port, region)
        who_waits_and_earns_a_queue_gets_one(port, region)


def nobody_waits_who_could_be_alone(port: Port, region: Region) -> None:
    """Exclusive flows first: one queue, and the classes' ``min_queues``, are all that is left to the others."""
    here = {slot.queue.queue_id for slot in region.slots}
    classes = Counter(
        port.demand[row].class_index for row, queue_id in port.place.items() if queue_id in here
    )
    alone = [index for index in classes if CLASSES[index].get("exclusive")]
    granted = sum(min(classes[index], CLASSES[index].get("max_queues", 99)) for index in alone)
    left = sum(classes[index] for index in alone) - granted
    sharers = [index for index in classes if index not in alone]
    least = sum(CLASSES[index].get("min_queues", 0) for index in sharers)
    kept = max(1, min(least, len(here) - 1)) + bool(left and sharers)
    owned = sum(slot.exclusive_row >= 0 for slot in region.slots)
    assert granted + kept > len(here) or owned == granted, (
        "who wants a queue alone has it while queues suffice"
    )
    shared = [slot for slot in region.slots if slot.count > 1]
    assert sharers or left or granted > len(here) or not shared, "the last queue is left to the last of them"
    idle = any(slot.count == 0 for slot in region.slots)
    assert not (idle and any(waiting_on(port, slot) for slot in shared)), (
        "nobody shares while a queue is free"
    )


def waiting_on(port: Port, slot: Slot) -> list[int]:
    """Flows of the exclusive class without a limit of queues that have none alone."""
    here = [
        row
        for row, queue_id in port.place.items()
        if queue_id == slot.queue.queue_id and slot.exclusive_row < 0
    ]
    return [row for row in here if port.demand[row].class_index == 1]


def who_waits_and_earns_a_queue_gets_one(port: Port, region: Region) -> None:
    free = [slot for slot in region.slots if slot.exclusive_row < 0]
    sharers = any(not group.demand.exclusive for group in region.groups.values())
    least = any(group.demand.min_queues for group in region.groups.values())
    kept = 2 if sharers and len(region.slots) > 1 else 1
    rates = port.state.columns.rate
    load = sum(slot.load for slot in free)
    owed = [
        row
        for slot in free
        for row in waiting_on(port, slot)
        if rates[row] * (len(free) - 1) >= 1.25 * (load - rates[row])
    ]
    assert least or len(free) <= kept or not owed, "who waits and earns a queue gets one"


class Allocator(RuleBasedStateMachine):
    """Two ports get the same calls; one is held against the promises, the other against the first."""

    rows = Bundle("rows")

    def __init__(self) -> None:
        super().__init__()
        self.ports: list[Port] = []
        self.next = 0
        self.moved: dict[int, float] = {}

    @initialize(shares=st.sampled_from([(), (0.5, 0.25)]), most=st.sampled_from([None, 6]))
    def make(self, shares: tuple[float, ...], most: int | None) -> None:
        balance = Balance(moves_per_second=1e6, window=WINDOW, flows_per_queue=most)
        self.ports = [Port(rated(hardware(0, 1, 2, 3)), balance, shares) for _ in range(2)]

    @property
    def port(self) -> Port:
        return self.ports[0]

    @rule(target=rows, index=CLASS, vm=VM, rate=RATES)
    def arrive(self, index: int, vm: int, rate: int) -> int:
        row, self.next = self.next, self.next + 1
        self._avoid_owned_queues(row, lambda port: port.arrive(row, **wanted(index, vm, rate)))
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
            rate = self.port.demand[row].rate
        old = self.port.demand[row]
        if old._replace(rate=rate) == type(old)(**wanted(index, vm, rate)):
            return
        before = self.port.place[row]
        self._avoid_owned_queues(row, lambda port: port.change(row, **wanted(index, vm, rate)))
        for port in self.ports:
            if rate == 0:
                port.demand[row] = port.demand[row]._replace(rate=0)
        if self.port.place[row] != before:
            self.moved[row] = self.port.now

    @rule(seconds=st.floats(0.1, 5.0))
    def tick(self, seconds: float) -> None:
        owners = {slot.queue.queue_id: slot.exclusive_row for slot in self.port.state.slots}
        for port in self.ports:
            moves = port.tick(seconds)
        for move in (move for move in moves if move.old != move.new):
            cleared = owners[move.old] >= 0 or self.port.owner(move.old) >= 0
            assert cleared or self.port.now - self.moved.get(move.row, -99.0) >= WINDOW
            self.moved[move.row] = self.port.now

    @rule(queues=QUEUES)
    def reshape(self, queues: list[Queue]) -> None:
        before = dict(self.port.place)
        kinds = {queue.queue_id: queue.kind for queue in self.port.queues}
        for port in self.ports:
            moves = port.reshape(list(queues))
        stay = {queue.queue_id for queue in queues if kinds.get(queue.queue_id) is queue.kind}
        assert self.port.state.shares or all(before[move.row] not in stay for move in moves)
        self.moved.update((move.row, self.port.now) for move in moves)

    @precondition(lambda self: self.next)
    @rule(index=CLASS, vm=VM, rate=RATES)
    def arrive_and_depart(self, index: int, vm: int, rate: int) -> None:
        before = dict(self.port.place), self.port.loads(), dict(self.port.state.measured_rates)
        for port in self.ports:
            port.arrive(10**4, **wanted(index, vm, rate))
            port.depart(10**4)
        assert before == (self.port.place, self.port.loads(), self.port.state.measured_rates)

    @rule()
    def come_to_rest(self) -> None:
        for port in self.ports:
            port.settle()
        self.moved.clear()
        exclusive_flows_are_alone(self.port)
        self._alike_flows_are_together()
        self._nobody_is_on_a_wrong_path()
        self._minima_are_guaranteed()

    @invariant()
    def sums_and_places_are_right(self) -> None:
        check(self.port)

    @invariant()
    def the_same_calls_give_the_same_state(self) -> None:
        assert snapshot(self.ports[0]) == snapshot(self.ports[1])

    def _avoid_owned_queues(self, row: int, step: Callable[[Port], Placement]) -> None:
        owned = {slot.queue.queue_id for slot in self.port.state.slots if slot.exclusive_row not in (-1, row)}
        for port in self.ports:
            placement = step(port)
        assert placement.queue_id not in owned, "nobody is put on a queue that another has alone"
        assert (placement.queue_id == NO_QUEUE) == (not self.port.queues)
        assert (placement.reason is Reason.NO_QUEUES) == (not self.port.queues)

    def _minima_are_guaranteed(self) -> None:
        for region in (*self.port.state.hardware, self.port.state.software):
            rates = {
                slot.queue.queue_id: slot.queue.min_rate or 0
                for slot in region.slots
                if slot.exclusive_row < 0
            }
            for row, queue_id in self.port.place.items():
                if queue_id in rates and self.port.demand[row].min_rate:
                    least = min(self.port.demand[row].min_rate, max(rates.values()))
                    assert rates[queue_id] >= least, "a class with a minimum is where it is guaranteed"

    def _alike_flows_are_together(self) -> None:
        queues_of: dict[tuple[int, int, int, QueueKind | None], set[int]] = {}
        for row, demand in self.port.demand.items():
            vm = demand.vm_number if demand.keep_vm_together else 0
            kind = next(
                (queue.kind for queue in self.port.queues if queue.queue_id == self.port.place[row]), None
            )
            queues_of.setdefault((demand.class_index, vm, demand.share, kind), set()).add(
                self.port.place[row]
            )
        for (index, vm, _, _), queues in queues_of.items():
            limit = CLASSES[index].get("max_queues", 99)
            if vm:
                limit = 1
            if not CLASSES[index].get("exclusive"):
                assert len(queues) <= limit

    def _nobody_is_on_a_wrong_path(self) -> None:
        kinds = {queue.queue_id: queue.kind for queue in self.port.queues}
        both = set(kinds.values()) == {QueueKind.PHYSICAL, QueueKind.SOFTWARE}
        for row, demand in self.port.demand.items():
            if both and demand.path is PathPreference.SOFTWARE:
                assert kinds[self.port.place[row]] is QueueKind.SOFTWARE
            if both and demand.path is PathPreference.HARDWARE:
                assert kinds[self.port.place[row]] is QueueKind.PHYSICAL


Allocator.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAllocator = Allocator.TestCase


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
def test_exclusive_flows_come_first_whoever_came_and_went_before(
    crowd: Crowd, turns: list[tuple[set[int], Crowd]], queues: int
) -> None:
    port = Port(hardware(*range(queues)), Balance(moves_per_second=1e6, window=WINDOW))
    rows = iter(range(1000))
    for leaving, arriving in [(set(), crowd), *turns, (set(range(0, 10, 2)), [])]:
        for place, row in enumerate(list(port.place)):
            if place in leaving:
                port.depart(row)
        for index, rate in arriving:
            port.arrive(next(rows), **wanted(index, 1, rate))
        port.settle()
        check(port)
        exclusive_flows_are_alone(port)
