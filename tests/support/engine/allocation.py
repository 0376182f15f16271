"""A port for tests of the allocator: its state, beside where its answers and moves put each flow.

:func:`check_state` compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from flowlane.core.allocate import (
    Demand,
    Move,
    Placement,
    arrive,
    change,
    depart,
    hold,
    measure,
    new_port,
    place_on,
    rebalance,
    update_queues,
)
from flowlane.core.allocate.cells import WAITING_BANDS, rows_of, rows_on
from flowlane.core.allocate.state import MEASURED, Columns, PortState, Region, Slot
from flowlane.core.model import NO_QUEUE, Admission, Queue, QueueKind
from flowlane.core.policy import Balance


def hardware(*ids: int) -> list[Queue]:
    return [Queue(queue_id) for queue_id in ids]


def software(*ids: int) -> list[Queue]:
    return [Queue(queue_id, QueueKind.SOFTWARE) for queue_id in ids]


@dataclass
class Port:
    """A port and its flows. ``queue_of``, ``demands`` and ``keys`` are by row, from answers and moves only.

    ``octets``: the bytes that a row has sent.
    """

    queues: list[Queue]
    balance: Balance = field(default_factory=Balance)
    shares: tuple[float, ...] = ()
    speed: int | None = None
    now: float = 0.0
    queue_of: dict[int, int] = field(default_factory=dict)
    demands: dict[int, Demand] = field(default_factory=dict)
    keys: dict[int, bytes] = field(default_factory=dict)
    octets: dict[int, int] = field(default_factory=dict)
    moves: list[Move] = field(default_factory=list)
    state: PortState = field(init=False)

    def __post_init__(self) -> None:
        self.state = new_port(Columns(), self.queues, self.balance, self.shares, self.speed)

    def arrive(self, row: int, key: bytes = b"", /, **demand: Any) -> Placement:
        self.demands[row] = Demand(**demand)
        self.keys[row] = key
        placement = arrive(self.state, row, self.demands[row], key)
        self.queue_of[row] = placement.queue_id
        return placement

    def place_on(self, row: int, queue_id: int, **demand: Any) -> Placement:
        """Take in a flow that the device has placed."""
        self.demands[row] = Demand(**demand)
        placement = place_on(self.state, row, self.demands[row], queue_id)
        self.queue_of[row] = placement.queue_id
        return placement

    def depart(self, row: int) -> None:
        depart(self.state, row)
        del self.queue_of[row], self.demands[row]

    def change(self, row: int, **demand: Any) -> Placement:
        self.demands[row] = Demand(**demand)
        placement = change(self.state, row, self.demands[row], self.now, self.keys.get(row, b""))
        self.queue_of[row] = placement.queue_id
        return placement

    def measure(self, row: int, rate: int) -> None:
        measure(self.state, row, rate)
        self.demands[row] = self.demands[row]._replace(rate=rate)

    def hold(self, row: int, queue_id: int) -> Placement:
        """Pin a flow to a queue by hand."""
        placement = hold(self.state, row, self.demands[row], queue_id, self.now)
        self.queue_of[row] = placement.queue_id
        return placement

    def update_queues(self, queues: list[Queue]) -> list[Move]:
        self.queues = queues
        keys = [self.keys.get(row) for row in range(max(self.keys, default=-1) + 1)]
        return self._apply(update_queues(self.state, queues, keys))

    def tick(self, seconds: float = 1.0, last_active: list[float] | None = None) -> list[Move]:
        self.now += seconds
        octets = [self.octets.get(row, 0) for row in range(max(self.queue_of, default=-1) + 1)]
        return self._apply(rebalance(self.state, self.now, last_active, octets))

    def run_until_quiet(self) -> None:
        """Rebalance once a second until nothing has moved for longer than the window."""
        quiet = 0
        for _ in range(500):
            quiet = 0 if self.tick() else quiet + 1
            if quiet > self.balance.window + 10 * self.balance.interval:
                return
        raise AssertionError("flows still move after 500 s")

    def loads(self) -> dict[int, int]:
        return {slot.queue.queue_id: slot.load for slot in self.state.slots}

    def rows_by_queue(self) -> dict[int, set[int]]:
        """Return the rows of each queue id."""
        rows: dict[int, set[int]] = {queue.queue_id: set() for queue in self.queues}
        for row, queue_id in self.queue_of.items():
            rows.setdefault(queue_id, set()).add(row)
        return rows

    def exclusive_row(self, queue_id: int) -> int:
        return next(slot.exclusive_row for slot in self.state.slots if slot.queue.queue_id == queue_id)

    def _apply(self, moves: list[Move]) -> list[Move]:
        kinds = {queue.queue_id: queue.kind for queue in self.queues} | {NO_QUEUE: QueueKind.NONE}
        for move in moves:
            assert self.queue_of[move.row] == move.old, "a move starts where the flow is"
            assert kinds[move.new] is move.kind
            self.queue_of[move.row] = move.new
        self.moves.extend(moves)
        return moves


class Account(NamedTuple):
    """What :func:`check_sums` compares: the state, and the queue and demand of each flow as the allocator gave them."""

    state: PortState
    queue_of: dict[int, int]
    demands: dict[int, Demand]
    queues: list[Queue]


def check_state(port: Port) -> None:
    """Check the queues of all flows, the sums of loads, and the means of the measured rates."""
    check_sums(port)
    check_means(port)


def check_sums(port: Port | Account) -> None:
    """Check that every flow is on its queue once, and counted in every sum once."""
    state, columns = port.state, port.state.columns
    queue_of: dict[int, int] = {}
    for slot in (*state.all_slots, state.unqueued):
        _check_slot(state, slot)
        queue_of.update(dict.fromkeys(rows_on(state, slot), slot.queue.queue_id))
    assert queue_of == port.queue_of, "every flow is on the queue that the answers and moves gave it"
    known = {queue.queue_id for queue in port.queues}
    is_open = any(queue.admission is Admission.OPEN for queue in port.queues)
    assert set(queue_of.values()) <= (known if is_open else {*known, NO_QUEUE})
    for row, demand in port.demands.items():
        assert demand.rate in (0, columns.rate[row])
    for region in (*state.hardware, state.software, state.closed, state.unqueued.region):
        _check_region(state, region)
    _check_speeds(state)
    assert state.load == sum(columns.rate[row] for row in queue_of) and state.count == len(queue_of)


def _check_speeds(state: PortState) -> None:
    """Check that loads of queues of one kind are compared by what the queues carry."""
    for slots in (
        [slot for slot in state.slots if slot.queue.kind is kind]
        for kind in (QueueKind.PHYSICAL, QueueKind.SOFTWARE)
    ):
        products = {slot.weight * slot.scale for slot in slots}
        assert not products or max(products) - min(products) <= max(slot.weight for slot in slots)
    for region in (*state.hardware, state.software):
        assert abs(region.speed - sum(1 / slot.scale for slot in region.slots)) < 1e-9
        for pool in region.pools:
            assert abs(pool.speed - sum(1 / slot.scale for slot in pool.slots)) < 1e-9


def _check_slot(state: PortState, slot: Slot) -> None:
    rates, rows = state.columns.rate, rows_on(state, slot)
    assert slot.count == len(rows) and slot.load == sum(rates[row] for row in rows)
    if slot.pool is not None:
        assert (
            slot.pool.slots[slot.position] is slot
            and slot.pool.loads[slot.position] == slot.load * slot.scale
        )
    assert slot.exclusive_row < 0 or (slot.pool is None and slot.exclusive_row in rows)
    for cell in slot.cells.values():
        assert cell.count and cell.load == sum(rates[row] for row in rows_of(state, cell))
        assert cell.mask == sum(1 << band for band in cell.heads)


def _check_region(state: PortState, region: Region) -> None:
    assert region.load == sum(slot.load for slot in region.slots)
    assert region.count == sum(slot.count for slot in region.slots)
    rows = [row for slot in region.slots for row in rows_on(state, slot)]
    assert region.waiting == sum(state.columns.band[row] >= WAITING_BANDS for row in rows)
    assert sum(region.exclusive_queues.values()) == len(region.exclusive_slots())
    assert all(group.count and group.pool in region.pools for group in region.groups.values())
    assert all(pool.slots and pool.groups for pool in region.pools)
    assert all(
        region.groups.get(key) is group and group.pool is pool
        for pool in region.pools
        for key, group in pool.groups.items()
    )


def check_means(port: Port) -> None:
    """Check the sum and the number of the measured rates of every class."""
    columns = port.state.columns
    expected: dict[int, list[int]] = {}
    for row, demand in port.demands.items():
        assert columns.flags[row] & MEASURED or not demand.rate
        if columns.flags[row] & MEASURED:
            entry = expected.setdefault(demand.class_index, [0, 0])
            entry[0] += columns.rate[row]
            entry[1] += 1
    assert port.state.measured_rates == expected


def snapshot(port: Port) -> object:
    """Return everything that decides what happens next, to be compared."""
    state, columns = port.state, port.state.columns
    return (
        [
            (
                slot.queue,
                slot.load,
                slot.exclusive_row,
                sorted((key, rows_of(state, cell)) for key, cell in slot.cells.items()),
                sorted(slot.pool.groups) if slot.pool else None,
            )
            for slot in (*state.all_slots, state.unqueued)
        ],
        {row: (columns.rate[row], columns.band[row], columns.moved_at[row]) for row in port.queue_of},
        state.tokens,
        state.measured_rates,
        state.turns,
        {kind: [slot.queue for slot in table.entries] for kind, table in state.indirection.items()},
        {vm: slot.queue for vm, slot in state.vm_slots.items()},
        {kind: [slot.queue for slot in entries] for kind, entries in state.buckets.items()},
    )
