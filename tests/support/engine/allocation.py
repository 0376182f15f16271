"""A port under test: the allocator's state beside an account of it that is kept in another, simpler way."""

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
    measure,
    new_port,
    rebalance,
    update_queues,
)
from flowlane.core.allocate.cells import WAITING_BANDS, rows_of
from flowlane.core.allocate.state import MEASURED, Columns, PortState
from flowlane.core.model import NO_QUEUE, Queue, QueueKind
from flowlane.core.policy import Balance


def hardware(*ids: int) -> list[Queue]:
    return [Queue(queue_id) for queue_id in ids]


def software(*ids: int) -> list[Queue]:
    return [Queue(queue_id, QueueKind.SOFTWARE) for queue_id in ids]


@dataclass
class Port:
    """The port, and what its caller knows: where each flow was put by answers and moves."""

    queues: list[Queue]
    balance: Balance = field(default_factory=Balance)
    shares: tuple[float, ...] = ()
    now: float = 0.0
    place: dict[int, int] = field(default_factory=dict)
    demand: dict[int, Demand] = field(default_factory=dict)
    keys: dict[int, bytes] = field(default_factory=dict)
    moves: list[Move] = field(default_factory=list)
    state: PortState = field(init=False)

    def __post_init__(self) -> None:
        self.state = new_port(Columns(), self.queues, self.balance, self.shares)

    def arrive(self, row: int, key: bytes = b"", /, **demand: Any) -> Placement:
        self.demand[row] = Demand(**demand)
        self.keys[row] = key
        placement = arrive(self.state, row, self.demand[row], key)
        self.place[row] = placement.queue_id
        return placement

    def depart(self, row: int) -> None:
        depart(self.state, row)
        del self.place[row], self.demand[row]

    def change(self, row: int, **demand: Any) -> Placement:
        self.demand[row] = Demand(**demand)
        placement = change(self.state, row, self.demand[row], self.now, self.keys.get(row, b""))
        self.place[row] = placement.queue_id
        return placement

    def measure(self, row: int, rate: int) -> None:
        measure(self.state, row, rate)
        self.demand[row] = self.demand[row]._replace(rate=rate)

    def reshape(self, queues: list[Queue]) -> list[Move]:
        self.queues = queues
        keys = [self.keys.get(row) for row in range(max(self.keys, default=-1) + 1)]
        return self._follow(update_queues(self.state, queues, keys, self.now))

    def tick(self, seconds: float = 1.0, last_active: list[float] | None = None) -> list[Move]:
        self.now += seconds
        return self._follow(rebalance(self.state, self.now, last_active))

    def settle(self) -> None:
        """Let time pass until nothing moves for longer than the window."""
        quiet = 0
        for _ in range(500):
            quiet = 0 if self.tick() else quiet + 1
            if quiet > self.balance.window + 10 * self.balance.interval:
                return
        raise AssertionError("the port does not come to rest")

    def loads(self) -> dict[int, int]:
        return {slot.queue.queue_id: slot.load for slot in self.state.slots}

    def members(self) -> dict[int, set[int]]:
        """Queue id -> rows, from the caller's account."""
        result: dict[int, set[int]] = {queue.queue_id: set() for queue in self.queues}
        for row, queue_id in self.place.items():
            result.setdefault(queue_id, set()).add(row)
        return result

    def owner(self, queue_id: int) -> int:
        return next(slot.exclusive_row for slot in self.state.slots if slot.queue.queue_id == queue_id)

    def _follow(self, moves: list[Move]) -> list[Move]:
        kinds = {queue.queue_id: queue.kind for queue in self.queues} | {NO_QUEUE: QueueKind.NONE}
        for move in moves:
            assert self.place[move.row] == move.old, "a move starts where the flow is"
            assert kinds[move.new] is move.kind
            self.place[move.row] = move.new
        self.moves.extend(moves)
        return moves


class Account(NamedTuple):
    """What :func:`check_sums` compares: the allocator's state, and where its caller was told that each flow is."""

    state: PortState
    place: dict[int, int]
    demand: dict[int, Demand]
    queues: list[Queue]


def check(port: Port) -> None:
    """Hold the state against the account: places, sums, and the means of the measured rates."""
    check_sums(port)
    check_means(port)


def check_sums(port: Port | Account) -> None:
    """Every flow once, where it was said to be, in every sum once."""
    state, columns = port.state, port.state.columns
    seen: dict[int, int] = {}
    for slot in (*state.slots, state.unqueued):
        rows = [row for cell in slot.cells.values() for row in rows_of(state, cell)]
        assert slot.count == len(rows) and slot.load == sum(columns.rate[row] for row in rows)
        seen.update(dict.fromkeys(rows, slot.queue.queue_id))
        if slot.pool is not None:
            assert slot.pool.slots[slot.position] is slot and slot.pool.loads[slot.position] == slot.load
        assert slot.exclusive_row < 0 or (slot.pool is None and slot.exclusive_row in rows)
        for cell in slot.cells.values():
            assert cell.count and cell.load == sum(columns.rate[row] for row in rows_of(state, cell))
            assert cell.mask == sum(1 << band for band in cell.heads)
    assert seen == port.place, "every flow is where its caller was told"
    assert set(seen.values()) <= ({queue.queue_id for queue in port.queues} or {NO_QUEUE})
    for row, demand in port.demand.items():
        assert demand.rate in (0, columns.rate[row])
    for region in (*state.hardware, state.software, state.unqueued.region):
        assert region.load == sum(slot.load for slot in region.slots)
        assert region.count == sum(slot.count for slot in region.slots)
        assert region.waiting == sum(
            columns.band[row] >= WAITING_BANDS
            for slot in region.slots
            for cell in slot.cells.values()
            for row in rows_of(state, cell)
        )
        assert region.waiting == sum(region.waiting_by_class.values())
        assert sum(region.exclusive_queues.values()) == sum(slot.exclusive_row >= 0 for slot in region.slots)
        assert all(group.count and group.pool in region.pools for group in region.groups.values())
        assert all(pool.slots and pool.groups for pool in region.pools)
        assert all(
            region.groups.get(key) is group and group.pool is pool
            for pool in region.pools
            for key, group in pool.groups.items()
        )
    assert state.load == sum(columns.rate[row] for row in seen) and state.count == len(seen)


def check_means(port: Port) -> None:
    """The measured rates of every class, summed and counted."""
    columns = port.state.columns
    known: dict[int, list[int]] = {}
    for row, demand in port.demand.items():
        assert columns.flags[row] & MEASURED or not demand.rate
        if columns.flags[row] & MEASURED:
            entry = known.setdefault(demand.class_index, [0, 0])
            entry[0] += columns.rate[row]
            entry[1] += 1
    assert port.state.measured_rates == known


def snapshot(port: Port) -> object:
    """Everything that decides what happens next, comparable."""
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
            for slot in (*state.slots, state.unqueued)
        ],
        {row: (columns.rate[row], columns.band[row], columns.moved_at[row]) for row in port.place},
        state.tokens,
        state.measured_rates,
        state.turns,
        {kind: [slot.queue for slot in table.entries] for kind, table in state.indirection.items()},
        {vm: slot.queue for vm, slot in state.vm_slots.items()},
    )
