"""Senders as their last packets have shown them, and where their flows went (see :mod:`flowlane.core.fast_path`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowlane.core.allocate.state import Cell, Demand, PortState, Region
    from flowlane.core.classify.classifier import Classifier
    from flowlane.core.model import Capabilities, PortFacts, Queue, Vm
    from flowlane.core.state.claims import Claim, Claims
    from flowlane.core.state.device import Port


@dataclass(slots=True, eq=False)
class Way:
    """Where the flows of a class are that a device has put on one queue of a port.

    ``profile`` is the number of their ``demand`` in the allocation of the port; ``cell`` is that of their group on the
    queue, and ``region`` the one of the queue. ``is_pinned``: each of the flows gets a pin.
    """

    port: Port
    allocation: PortState
    region: Region
    queue: Queue
    cell: Cell
    profile: int
    demand: Demand
    class_name: str
    is_pinned: bool


@dataclass(slots=True, eq=False)
class Arrival:
    """What flows of a class ask of a port whose queue the controller chooses; ``demand`` has no rate."""

    port: Port
    allocation: PortState
    demand: Demand
    class_name: str


Classified = tuple[int, int, int, int]
"""Index of the class, index of the rule, index of the hint's class + 1 (0: no hint), source of the hint."""


@dataclass(slots=True, eq=False)
class KnownSender:
    """A VM at its own port, and what it was found by.

    ``place`` is its address in ``Device.hosts``; ``heads``: IP protocol -> the first bytes of its flows' keys.
    ``classes`` is by what the classifier looks at, ``ways`` by egress port, queue and class, ``arrivals``
    by egress port and class.
    """

    in_port: int
    port: Port
    facts: PortFacts | None
    capabilities: Capabilities
    classifier: Classifier
    vm: Vm
    claim: Claim
    claims: Claims
    place: tuple[int, int | None]
    heads: dict[int, bytes]
    classes: dict[object, Classified] = field(default_factory=dict)
    ways: dict[tuple[int, int, int], Way] = field(default_factory=dict)
    arrivals: dict[tuple[int, int], Arrival] = field(default_factory=dict)
