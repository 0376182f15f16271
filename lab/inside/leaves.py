"""The leaves of the uplink's queues, as ``flowlane qos apply`` makes them but without its seconds to start."""

from __future__ import annotations

from flowlane.hosttools.nic.leaves import FQ_CODEL, NO_LEAF, plan_leaves
from flowlane.hosttools.nic.tc import read_qdiscs, run_batch
from lab.inside.counters import UPLINK, classes

__all__ = ["FQ_CODEL", "NO_LEAF", "set_leaves"]


def set_leaves(leaf: str, rate: int) -> None:
    """Put a leaf under each queue of the uplink (``fq_codel``), or take it away (``none``); ``rate`` in bit/s."""
    queues = sorted(classes())
    plan = plan_leaves(UPLINK, queues, leaf, read_qdiscs(UPLINK), queues, rate)
    assert not plan.left_alone, plan.left_alone
    run_batch(plan.lines)
