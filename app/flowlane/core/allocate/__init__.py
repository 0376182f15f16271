"""Which queue each flow gets, on one egress port of one device: plain state, and functions that change it.

A port is made by :func:`new_port` and fitted to its queues by :func:`update_queues`; flows :func:`arrive`, are
:func:`measure`\\ d, :func:`change` their class and :func:`depart`; :func:`rebalance` moves a few of them about
once a second. Time is an argument, and the same calls give the same state.
"""

from flowlane.core.allocate.flow import arrive, change, depart, measure, place_on
from flowlane.core.allocate.inspect import alternatives, queues_for_new_flows
from flowlane.core.allocate.port import new_port, redivide, set_speed, update_queues
from flowlane.core.allocate.rebalance import rebalance
from flowlane.core.allocate.state import Alternative, Demand, Move, Placement
from flowlane.core.allocate.strategies import STRATEGIES

__all__ = [
    "STRATEGIES",
    "Alternative",
    "Demand",
    "Move",
    "Placement",
    "alternatives",
    "arrive",
    "change",
    "depart",
    "measure",
    "new_port",
    "place_on",
    "queues_for_new_flows",
    "rebalance",
    "redivide",
    "set_speed",
    "update_queues",
]
