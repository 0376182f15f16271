"""The allocator's state for one egress port, as plain objects that point at each other.

::

    PortState ── Region (the hardware queues of one share, or all software queues)
                   ├── Slot   one queue: load, flows; either in a pool, or owned by one flow, or spare
                   ├── Group  flows that are alike; belongs to one pool
                   └── Pool   some slots and the groups that use them
    Cell = the flows of one group (and, where a VM's flows keep together, one VM) on one slot

A flow whose group does not use the pool of its slot, or which sits on a queue that another flow owns, is a
*stray*: :func:`~flowlane.core.allocate.rebalance.rebalance` brings it home, in few moves a second.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from flowlane.core.allocate.columns import NEVER, NOBODY, Columns
from flowlane.core.allocate.model import Demand
from flowlane.core.model import NO_QUEUE, Queue, QueueKind
from flowlane.core.policy import Balance

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
    """A queue of the port. ``owner`` is the row that has it alone; ``place`` its position in its pool."""

    queue: Queue
    index: int
    region: Region
    load: int = 0
    count: int = 0
    owner: int = NOBODY
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
    """Everything the allocator knows of one egress port. ``cursor`` is the round-robin's next queue.

    ``known``: class index -> [sum of the measured rates, how many]. ``tokens``: moves that may be made now.
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
    known: dict[int, list[int]] = field(default_factory=dict)
    homes: dict[int, int] = field(default_factory=dict)
    load: int = 0
    count: int = 0
    cursor: int = 0
    unsorted: bool = False
    tokens: float = 1.0
    refilled_at: float = NEVER
