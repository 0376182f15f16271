"""The loads that the benchmark computes directly are those of the strategies."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from bench.allocate import flows, ports
from support.engine.allocation import Port, hardware

from flowlane.core.policy import Balance


@pytest.fixture
def bench() -> tuple[ModuleType, ModuleType, np.random.Generator]:
    return flows, ports, np.random.default_rng(5)


@pytest.mark.parametrize("queues", [3, 16])
def test_loads_are_those_of_the_strategies(
    bench: tuple[ModuleType, ModuleType, np.random.Generator], queues: int
) -> None:
    flows, ports, rng = bench
    rates, keys = flows.draw("hadoop", 300, rng), flows.keys(300, rng)
    shortcuts = {
        "hash": ports.hashed(rates, ports.hashes(keys), queues),
        "round-robin": ports.round_robin(rates, queues),
        "least-loaded": ports.least_loaded(rates, queues),
    }
    for strategy, loads in shortcuts.items():
        port = Port(hardware(*range(queues)), Balance(strategy=strategy))
        for row, rate in enumerate(rates):
            port.arrive(row, keys[row])
            port.measure(row, rate)
        assert list(port.loads().values()) == loads, strategy


def test_draws_follow_the_published_points(bench: tuple[ModuleType, ModuleType, np.random.Generator]) -> None:
    flows, _, rng = bench
    rates = sorted(flows.draw("web-search", 20_000, rng))
    assert rates[int(0.6 * len(rates))] == pytest.approx(8 * 200_000, rel=0.1)
    assert max(rates) <= 8 * 30_000_000
    assert sum(flows.draw("zipf-1.0", 10, rng)) == pytest.approx(
        1e10 * sum(1 / n for n in range(1, 11)), rel=1e-6
    )
