"""The workloads: rates, times, and what churn replaces."""

from math import isinf

import numpy as np
import pytest
from bench.placement.ways import Loads, octets_by_second
from bench.placement.workloads import WORKLOADS, Flow, flows_of

SECONDS = 40


def _load(flows: list[Flow], is_limited: bool) -> Loads:
    """Return the bytes of each second of the flows with, or without, a limit."""
    chosen = [flow for flow in flows if isinf(flow.limit) != is_limited]
    return octets_by_second(chosen, SECONDS).sum(axis=0) if chosen else np.zeros(SECONDS)


@pytest.mark.parametrize("name", WORKLOADS)
def test_churn_replaces_a_tenth_of_the_flows_a_second_and_leaves_the_load(name: str) -> None:
    workload = WORKLOADS[name]
    settled, churn = (flows_of(workload, SECONDS, churn, 1) for churn in (False, True))
    for is_limited in (False, True):
        loads = [_load(flows, is_limited) for flows in (settled, churn)]
        # Of two flows under a limit that follow each other within a second, each may send what the limit lets pass.
        assert (loads[1] >= loads[0] * (1 - 1e-6)).all()
        assert loads[0] == pytest.approx(loads[1], rel=1.0 if is_limited else 1e-6)
    assert len({flow.spec for flow in churn}) == len(churn)
    assert all(flow.start < flow.end and flow.steps[0][0] == flow.start for flow in churn)
    present = np.mean([sum(flow.start <= time < flow.end for flow in churn) for time in range(5, SECONDS)])
    ended = sum(flow.end < SECONDS for flow in churn)
    if not any(flow.end < SECONDS for flow in settled):
        assert ended / SECONDS / present == pytest.approx(0.1, rel=0.35)


def test_a_seed_is_repeatable_and_another_one_differs() -> None:
    workload = WORKLOADS["on-off"]
    assert (
        flows_of(workload, 20, True, 3) == flows_of(workload, 20, True, 3) != flows_of(workload, 20, True, 4)
    )


def test_the_diurnal_load_grows_over_the_capacity_and_falls_back() -> None:
    workload = WORKLOADS["diurnal"]
    load = octets_by_second(flows_of(workload, 100, False, 1), 100).sum(axis=0) * 8 / workload.rate
    assert load[5] < 0.5
    assert max(load) == pytest.approx(1.2, abs=0.02)
    assert load[95] == pytest.approx(load[5], rel=0.05)
