"""The allocator's state for one egress port: demands, columns of flows, cells, slots, groups, pools, regions.

Plain data that the other modules of the package change; the words are explained in
:mod:`flowlane.core.allocate`. ::

    PortState
      Region    the hardware queues of one share, or all software queues
        Slot    one queue: load, flows; it is in a pool, exclusive to one flow, or spare
        Group   flows that are alike; it uses one pool
        Pool    some slots, and the groups that use them
    Cell        the flows of one group (of one VM, where a VM's flows keep together) on one slot
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.model import NO_QUEUE, Queue, QueueKind
from flowlane.core.policy import Balance, PathPreference

if TYPE_CHECKING:
    from flowlane.core.allocate.strategies.rss import IndirectionTable
    from flowlane.core.model import Reason


class Demand(NamedTuple):
    """What a flow asks of the queues of its egress port: the parts of its class that matter here, and its rate.

    ``rate`` is bit/s, 0 while it is not measured: it is then estimated as the mean of the measured flows of
    the class. ``group`` is a number: flows with the same number are alike [claims 5 and 6]. ``share`` is the
    index of the VM's share of the hardware, -1 for none. ``max_queues`` None: no limit. ``min_rate`` is the
    rate in bit/s that a queue of the class has to guarantee, 0 for none. ``apart``: flows that wait for an
    exclusive queue share queues of their own, with those that are like them; else they share the others'.
    """

    rate: int = 0
    class_index: int = 0
    group: int = 0
    exclusive: bool = False
    path: PathPreference = PathPreference.PREFER_HARDWARE
    priority: int = 0
    vm_number: int = 0
    share: int = -1
    min_queues: int = 0
    max_queues: int | None = None
    keep_vm_together: bool = False
    min_rate: int = 0
    apart: bool = False


class Placement(NamedTuple):
    """The queue of a flow, and why; NO_QUEUE and ``QueueKind.NONE`` when its port has no queues."""

    queue_id: int
    kind: QueueKind
    reason: Reason


class Move(NamedTuple):
    """A flow that goes from queue ``old`` to queue ``new``; ``kind`` is the kind of the new queue.

    Where ``old`` and ``new`` are the same the flow stays, and only the reason is a new one.
    """

    row: int
    old: int
    new: int
    kind: QueueKind
    reason: Reason


class Alternative(NamedTuple):
    """A queue that was considered for a flow, and ``why`` it was not chosen; empty for the queue of the flow."""

    queue_id: int
    kind: QueueKind
    load: int
    flows: int
    why: str


MEASURED = 1
"""Flag: the rate was measured; without it the rate is an estimate."""

QUIET = 2
"""Flag: the flow sent nothing between its last two readings. It may have ended, and its entry not yet."""

HELD = 4
"""Flag: the flow is pinned to its queue by hand; only its queue's end, or the end of the pin, moves it."""

NO_ROW = -1
"""In the place of a row or of the index of a cell: none."""

NEVER = -1e18
"""A time before every other, for what has not happened yet."""


class MovedAt(dict[int, float]):
    """Row -> the time of its last move; :data:`NEVER` where it has not moved."""

    def __missing__(self, row: int) -> float:
        """Return the time of a flow that has not moved."""
        return NEVER


def spare(rows: int) -> int:
    """Return by how many rows to extend columns beyond so many: each extension copies them, and spare rows cost."""
    return 16 + (rows >> 4)


class Columns:
    """What the allocator stores of each flow of a device: one array per fact, indexed by row.

    All ports of a device share them. Arrays take 27 bytes a flow where objects would take some 400, and the
    garbage collector has nothing to walk.

    ``cell`` is the index of the flow's cell, NO_ROW while it is not placed. ``prev`` and ``next`` link the
    flows of one cell and rate band to a list, ``band`` says which (see :mod:`flowlane.core.allocate.cells`).
    ``profile`` is the number of its demand, ``rate`` bit/s, ``flags`` has MEASURED, QUIET and HELD.
    ``moved_at`` is the time of a flow's last move, for the few that have moved.
    """

    __slots__ = ("band", "cell", "flags", "moved_at", "next", "prev", "profile", "rate")

    def __init__(self) -> None:
        self.cell: array[int] = array("i")
        self.prev: array[int] = array("i")
        self.next: array[int] = array("i")
        self.band: array[int] = array("H")
        self.profile: array[int] = array("I")
        self.rate: array[int] = array("q")
        self.moved_at = MovedAt()
        self.flags: array[int] = array("B")

    def is_placed(self, row: int) -> bool:
        """Return whether the allocator of some port has placed the row."""
        return row < len(self.cell) and self.cell[row] != NO_ROW

    def grow(self, row: int) -> None:
        """Make room for a row and some more (:func:`spare`), so that a million arrivals copy the columns rarely."""
        missing = row + 1 - len(self.cell)
        if missing <= 0:
            return
        extra = missing + spare(row)
        for links in (self.cell, self.prev, self.next):
            links.extend(array("i", [NO_ROW]) * extra)
        self.band.extend(array("H", [0]) * extra)
        self.profile.extend(array("I", [0]) * extra)
        self.rate.extend(array("q", [0]) * extra)
        self.flags.extend(array("B", [0]) * extra)


SOFTWARE = -2
"""Key of the region of software queues; the key of a hardware region is its share's index (-1: no share)."""

UNQUEUED = -3
"""Key of the region that holds the flows while the port has no queues."""

CLOSED = -4
"""Key of the region of cordoned queues: no flow is placed there, and those that are there stay."""

HELD_GROUP = -2
"""Key of the group of the flows that no rebalance moves: pinned by hand, or on a cordoned queue. It uses no pool."""

EXCLUSIVE_GROUP = -1
"""Key of the group of the exclusive flows of a region: such a flow has a queue to itself and uses no pool."""


@dataclass(slots=True, eq=False)
class Cell:
    """The flows of one group on one slot; ``vm`` is 0 unless they are those of a VM, or a bucket, that keep together.

    ``load`` is bit/s, ``count`` flows. ``heads``: rate band -> first row of its list; ``mask`` has a bit for
    each such band.
    """

    index: int
    slot: Slot
    group: Group
    vm: int
    load: int = 0
    count: int = 0
    mask: int = 0
    heads: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Slot:
    """A queue of the port, with the flows on it. ``index`` is its position in the port, ``position`` in its pool.

    ``queue`` is the description of the queue, ``load`` bit/s, ``count`` flows. ``exclusive_row`` is the flow
    that has the queue to itself, NO_ROW where the queue is shared. ``weight`` is what the queue can carry,
    relative to the other queues of its port: loads are compared per weight. To that end they are multiplied
    by ``scale`` (see :mod:`flowlane.core.allocate.speeds`).
    """

    queue: Queue
    index: int
    region: Region
    weight: int = 1
    scale: int = 1
    load: int = 0
    count: int = 0
    exclusive_row: int = NO_ROW
    pool: Pool | None = None
    position: int = 0
    cells: dict[tuple[int, int], Cell] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Group:
    """Flows that are alike, in one region.

    ``demand`` stands for all of them: that of its first flow, or of one whose class was changed by a new
    policy; only ``min_rate`` is the highest of its flows' classes. ``provisional``: it came after the queues
    were divided and shares the most similar pool until they are divided again. ``vm_cells``: VM number -> the
    cell of its flows, where a VM's flows keep together.
    """

    key: int
    demand: Demand
    region: Region
    pool: Pool | None = None
    provisional: bool = False
    load: int = 0
    count: int = 0
    vm_cells: dict[int, Cell] = field(default_factory=dict)

    @property
    def is_guest(self) -> bool:
        """Whether its flows wait for exclusive queues and meanwhile share the queues of the other flows."""
        return self.demand.exclusive and not self.demand.apart

    @property
    def max_queues(self) -> int | None:
        """How many queues its class may use; None: any number. For guests the limit counts exclusive queues only."""
        return None if self.is_guest else self.demand.max_queues


@dataclass(slots=True, eq=False)
class Pool:
    """Slots and the groups that use them. ``loads`` repeats the slots' loads, since min() of a list is quick.

    The loads are multiplied by the slots' ``scale``. ``speed`` is the sum of 1 / ``scale`` of the slots.
    ``floor`` is the rate in bit/s that each of its slots has to guarantee, as far as the port's queues can;
    0: none.
    """

    slots: list[Slot] = field(default_factory=list)
    loads: list[int] = field(default_factory=list)
    groups: dict[int, Group] = field(default_factory=dict)
    floor: int = 0
    speed: float = 0.0


@dataclass(slots=True, eq=False)
class Region:
    """Queues that are divided among groups together: one share's hardware queues, or all software queues.

    ``exclusive_queues``: class index -> its exclusive queues. ``waiting`` counts the flows that wait for an
    exclusive queue; ``revoked_at``: row -> when it lost its own. ``capacity`` is bit/s and ``max_flows`` a
    number of flows, None for no limit. ``speed`` is the sum of 1 / ``scale`` of its slots. ``peak`` is the
    highest load (bit/s) that a rebalance found within the last window, at ``peak_at``. ``divided_at`` is when
    the queues were last divided, ``checked_at`` when that was last compared with a better division,
    ``outdated_since`` since when it has been worse, NEVER while it is not. ``grown``: queues were added since
    that comparison. ``overflows``: the port has software queues for flows that find no room.
    """

    key: int
    slots: list[Slot] = field(default_factory=list)
    pools: list[Pool] = field(default_factory=list)
    groups: dict[int, Group] = field(default_factory=dict)
    exclusive_queues: dict[int, int] = field(default_factory=dict)
    load: int = 0
    count: int = 0
    waiting: int = 0
    revoked_at: dict[int, float] = field(default_factory=dict)
    capacity: int | None = None
    max_flows: int | None = None
    speed: float = 0.0
    peak: int = 0
    peak_at: float = NEVER
    checked_at: float = NEVER
    outdated_since: float = NEVER
    divided_at: float = NEVER
    grown: bool = False
    overflows: bool = False
    exclusive_group: Group = field(init=False)

    def __post_init__(self) -> None:
        self.exclusive_group = Group(EXCLUSIVE_GROUP, Demand(), self)

    def shared_slots(self) -> list[Slot]:
        """Return the slots that are not exclusive."""
        return [slot for slot in self.slots if slot.exclusive_row < 0]

    def exclusive_slots(self) -> list[Slot]:
        """Return the exclusive queues."""
        return [slot for slot in self.slots if slot.exclusive_row >= 0]


def _unqueued_slot() -> Slot:
    region = Region(UNQUEUED)
    slot = Slot(Queue(NO_QUEUE, QueueKind.NONE), 0, region)
    region.slots.append(slot)
    return slot


@dataclass(slots=True, eq=False)
class PortState:
    """The allocator's state for one egress port.

    ``shares`` are the weights of the policy's shares, ``speed`` is what the port carries (bit/s, None:
    unknown). ``slots`` are its queues in their order, but for the cordoned ones, which ``closed`` has; ``unqueued``
    holds the flows while there are none. ``held`` is the group of flows that no rebalance moves.
    ``region_of``: share index -> its hardware region (-1: VMs without a share); ``regions_changed``: that
    changed, and flows may still be on hardware that is not theirs; ``misplaced``: rows that the device put on
    such hardware, or whose class does not let them stay. ``restless``: classes of flows have changed since the last
    rebalance. ``cells`` are found by index, ``free_cells`` are indexes to use again.

    ``demands`` are the demands of the flows, each stored once and found by its profile number; ``profiles``
    is the way back, ``references`` counts the flows of each, ``free_profiles`` are numbers to use again.
    ``measured_rates``: class index -> [sum of the measured rates, number of measured flows].

    ``arrived`` counts all flows that were ever taken in, ``quiet`` those that are QUIET now; ``resumed`` and ``ended``
    count what became of quiet flows lately (see :mod:`flowlane.core.allocate.budget`).

    ``tokens`` are the moves that may be made now, ``leave_tokens`` those that are only for flows on exclusive queues of
    others, ``refilled_at`` the time of the last refill. ``others_at`` is
    when VMs without a share last had flows, ``apportioned_at`` when the division among shares was last compared
    with a better one, and ``reapportioned_at`` when it was last changed.

    ``indirection``, ``turns``, ``vm_slots`` and ``buckets`` belong to the strategies ``hash``, ``round-robin``,
    ``one-vm-one-queue`` and ``buckets``, for each kind of queue: the indirection table, the queues given out so far,
    the queue of each VM number, and that of each bucket.
    """

    columns: Columns
    balance: Balance
    shares: tuple[float, ...] = ()
    speed: int | None = None
    slots: list[Slot] = field(default_factory=list)
    hardware: list[Region] = field(default_factory=list)
    software: Region = field(default_factory=lambda: Region(SOFTWARE))
    unqueued: Slot = field(default_factory=_unqueued_slot)
    closed: Region = field(default_factory=lambda: Region(CLOSED))
    held: Group = field(default_factory=lambda: Group(HELD_GROUP, Demand(), Region(CLOSED)))
    cells: list[Cell | None] = field(default_factory=list)
    free_cells: list[int] = field(default_factory=list)
    profiles: dict[tuple[object, ...], int] = field(default_factory=dict)
    demands: list[Demand] = field(default_factory=list)
    references: list[int] = field(default_factory=list)
    free_profiles: list[int] = field(default_factory=list)
    region_of: dict[int, Region] = field(default_factory=dict)
    measured_rates: dict[int, list[int]] = field(default_factory=dict)
    indirection: dict[QueueKind, IndirectionTable] = field(default_factory=dict)
    turns: dict[QueueKind, int] = field(default_factory=dict)
    vm_slots: dict[tuple[QueueKind, int], Slot] = field(default_factory=dict)
    buckets: dict[QueueKind, list[Slot]] = field(default_factory=dict)
    load: int = 0
    count: int = 0
    arrived: int = 0
    quiet: int = 0
    resumed: float = 0.0
    ended: float = 0.0
    regions_changed: bool = False
    restless: bool = False
    misplaced: set[int] = field(default_factory=set)
    tokens: float = 1.0
    leave_tokens: float = 0.0
    refilled_at: float = NEVER
    others_at: float = NEVER
    apportioned_at: float = NEVER
    reapportioned_at: float = NEVER

    @property
    def all_slots(self) -> list[Slot]:
        """All queues of the port, those that are cordoned last."""
        return self.slots + self.closed.slots

    def slot_of_queue(self, queue_id: int) -> Slot | None:
        """Find the slot of a queue, cordoned or not."""
        return next((slot for slot in self.all_slots if slot.queue.queue_id == queue_id), None)


def hold_profile(state: PortState, demand: Demand) -> int:
    """Return the profile number of a demand, and count one reference more."""
    key = demand[1:]
    number = state.profiles.get(key)
    if number is None:
        number = _new_profile(state, demand)
        state.profiles[key] = number
    state.references[number] += 1
    return number


def release_profile(state: PortState, number: int) -> None:
    """Count one reference less; the number of a profile without references is used again."""
    state.references[number] -= 1
    if state.references[number] == 0:
        del state.profiles[state.demands[number][1:]]
        state.free_profiles.append(number)


def demand_of(state: PortState, row: int) -> Demand:
    """Return the demand of a placed row; its ``rate`` is that of the first flow with the profile, not the row's."""
    return state.demands[state.columns.profile[row]]


def _new_profile(state: PortState, demand: Demand) -> int:
    if state.free_profiles:
        number = state.free_profiles.pop()
        state.demands[number] = demand
        return number
    state.demands.append(demand)
    state.references.append(0)
    return len(state.demands) - 1
