"""The allocator's state for one egress port, as plain objects that point at each other.

::

    PortState ── Region (the hardware queues of one share, or all software queues)
                   ├── Slot   one queue: load, flows; either in a pool, or owned by one flow, or spare
                   ├── Group  flows that are alike; belongs to one pool
                   └── Pool   some slots and the groups that use them
    Cell = the flows of one group (and, where a VM's flows keep together, one VM) on one slot

A flow whose group does not use the pool of its slot, or which sits on a queue that another flow owns, is a
*stray*: :func:`~flowlane.core.allocate.rebalance.rebalance` brings it home, in few moves a second.

What the allocator is asked and what it answers. Plain data; rates are bit/s, times seconds.

A *row* is the number of a flow in the device's :class:`~flowlane.core.state.flows.FlowTable`.

What the allocator knows of each flow of a device: one array per fact, indexed by row.

Arrays cost 35 bytes a flow where objects would cost some 400, and the garbage collector has nothing to
walk. ``prev`` and ``next`` chain the flows of one cell and rate band, so that a flow of about a given rate
is found, added and taken out in a time that does not depend on how many flows there are.

Demands without their rates, stored once however many flows make them.

The flows of one class and VM ask for the same; a row keeps the number of its profile (4 bytes).
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
    """What a flow asks of the queues of its egress port: its class as policy says, and its rate.

    ``rate`` is bit/s, 0 when nobody has measured it yet: the allocator then takes the mean of the measured
    flows of the class. ``group`` numbers the flow's likeness [claims 5 and 6]: flows with the same number
    belong together; whoever interns the number decides whether classes are part of the likeness.
    ``share`` is the index of the VM's part of the hardware, -1 for none. ``max_queues`` None: no limit.
    ``min_rate`` is what a queue of the class has to guarantee, bit/s, 0 for nothing.
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


class Placement(NamedTuple):
    """Where a flow is: its queue, or NO_QUEUE and ``QueueKind.NONE`` when its port has none."""

    queue_id: int
    kind: QueueKind
    reason: Reason


class Move(NamedTuple):
    """A flow that has to change its queue; ``kind`` is that of the new queue.

    With ``old`` and ``new`` the same, the flow stays, for another reason than until now.
    """

    row: int
    old: int
    new: int
    kind: QueueKind
    reason: Reason


class Alternative(NamedTuple):
    """A queue that was considered for a flow, and why it was not taken; ``why`` empty: it was taken."""

    queue_id: int
    kind: QueueKind
    load: int
    flows: int
    why: str


MEASURED = 1
"""Flag: the rate was measured; without it the rate is an estimate."""

NOBODY = -1
"""No row, no cell."""


class Columns:
    """The allocator's columns, shared by all ports of a device; ``cell`` NOBODY: the row is not placed."""

    __slots__ = ("band", "cell", "flags", "moved_at", "next", "prev", "profile", "rate")

    def __init__(self) -> None:
        self.cell: array[int] = array("i")
        self.prev: array[int] = array("i")
        self.next: array[int] = array("i")
        self.band: array[int] = array("H")
        self.profile: array[int] = array("I")
        self.rate: array[int] = array("q")
        self.moved_at: array[float] = array("d")
        self.flags: array[int] = array("B")

    def grow(self, row: int) -> None:
        """Make room for a row. Grows by an eighth, so that a million arrivals copy the columns rarely."""
        missing = row + 1 - len(self.cell)
        if missing <= 0:
            return
        extra = missing + (len(self.cell) >> 3)
        for links in (self.cell, self.prev, self.next):
            links.extend(array("i", [NOBODY]) * extra)
        self.band.extend(array("H", [0]) * extra)
        self.profile.extend(array("I", [0]) * extra)
        self.rate.extend(array("q", [0]) * extra)
        self.moved_at.extend(array("d", [NEVER]) * extra)
        self.flags.extend(array("B", [0]) * extra)


NEVER = -1e18
"""A time before every other."""

SOFTWARE = -2
"""Key of the region of software queues; hardware regions have the number of their share (-1: no share)."""

LIMBO = -3
"""Key of the region of flows whose port has no queue."""

ALONE = -1
"""Key of the group of flows that own their queue: such a flow belongs to no pool."""


@dataclass(slots=True, eq=False)
class Cell:
    """Flows of one group on one slot. ``heads``: band -> first row; ``mask`` has a bit for each such band."""

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
    """A queue of the port. ``exclusive_row`` is the flow that has it to itself; ``place`` its position in its pool."""

    queue: Queue
    index: int
    region: Region
    load: int = 0
    count: int = 0
    exclusive_row: int = NOBODY
    pool: Pool | None = None
    place: int = 0
    cells: dict[tuple[int, int], Cell] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Group:
    """Flows that are alike, in one region. Its class, priority and bounds are those of its first flow.

    Only its minimum is the highest of its flows' classes.

    ``guest``: it came after the queues were divided and shares the nearest pool until they are again.
    """

    key: int
    demand: Demand
    region: Region
    pool: Pool | None = None
    guest: bool = False
    load: int = 0
    count: int = 0
    homes: dict[int, Cell] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Pool:
    """Slots and the groups that use them. ``loads`` repeats the slots' loads: min() of a list is quick.

    ``floor`` is what each of its slots has to guarantee (bit/s), as far as the port's queues can; 0: nothing.
    """

    slots: list[Slot] = field(default_factory=list)
    loads: list[int] = field(default_factory=list)
    groups: dict[int, Group] = field(default_factory=dict)
    floor: int = 0


@dataclass(slots=True, eq=False)
class Region:
    """Queues that are given out together. ``restless_since``: when a division came to be out of date.

    ``owned`` counts owned slots per class; ``waiting`` the flows that want a slot and have none, ``claims`` the
    same per class and its most queues; ``short_at`` is when there were last too few slots for them. ``capacity``
    is bit/s and ``room`` flows, None for no limit. ``peak`` is the highest load at a rebalance within a window.
    """

    key: int
    slots: list[Slot] = field(default_factory=list)
    pools: list[Pool] = field(default_factory=list)
    groups: dict[int, Group] = field(default_factory=dict)
    owned: dict[int, int] = field(default_factory=dict)
    load: int = 0
    count: int = 0
    waiting: int = 0
    claims: dict[tuple[int, int | None], int] = field(default_factory=dict)
    short_at: float = NEVER
    capacity: int | None = None
    room: int | None = None
    peak: int = 0
    peak_at: float = NEVER
    checked_at: float = NEVER
    restless_since: float = NEVER
    planned_at: float = NEVER
    alone: Group = field(init=False)

    def __post_init__(self) -> None:
        self.alone = Group(ALONE, Demand(), self)


def _limbo() -> Slot:
    region = Region(LIMBO)
    slot = Slot(Queue(NO_QUEUE, QueueKind.NONE), 0, region)
    region.slots.append(slot)
    return slot


@dataclass(slots=True, eq=False)
class PortState:
    """Everything the allocator knows of one egress port.

    ``indirection``, ``turns`` and ``vm_slots`` are what the strategies ``hash``, ``round-robin`` and
    ``one-vm-one-queue`` remember, for each kind of queue: the indirection table, the queues given out so far, and
    the queue of each VM number.

    ``measured_rates``: class index -> [sum of the measured rates, how many]. ``tokens``: moves that may be made now.
    ``region_of``: share index -> its hardware region (-1: VMs without a share). ``limbo`` holds the flows
    while the port has no queue. ``unsorted``: regions have changed, so that flows may be on hardware not for them.
    """

    columns: Columns
    balance: Balance
    shares: tuple[float, ...] = ()
    speed: int | None = None
    slots: list[Slot] = field(default_factory=list)
    hardware: list[Region] = field(default_factory=list)
    software: Region = field(default_factory=lambda: Region(SOFTWARE))
    limbo: Slot = field(default_factory=_limbo)
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
    load: int = 0
    count: int = 0
    unsorted: bool = False
    tokens: float = 1.0
    refilled_at: float = NEVER


def hold_profile(state: PortState, demand: Demand) -> int:
    """The profile number of a demand; one reference more."""
    key = demand[1:]
    number = state.profiles.get(key)
    if number is None:
        number = _new(state, demand)
        state.profiles[key] = number
    state.references[number] += 1
    return number


def release_profile(state: PortState, number: int) -> None:
    """One reference less; the number of a profile that nobody uses is used again."""
    state.references[number] -= 1
    if state.references[number] == 0:
        del state.profiles[state.demands[number][1:]]
        state.free_profiles.append(number)


def demand_of(state: PortState, row: int) -> Demand:
    """What a placed row asked for; the rate in it is that of the first flow that asked so."""
    return state.demands[state.columns.profile[row]]


def _new(state: PortState, demand: Demand) -> int:
    if state.free_profiles:
        number = state.free_profiles.pop()
        state.demands[number] = demand
        return number
    state.demands.append(demand)
    state.references.append(0)
    return len(state.demands) - 1
