"""A workload over time, and the samples of it."""

import pytest
from support.engine.example_policies import Tried, policy, spec

from flowlane.simulation.host import Host
from flowlane.simulation.run import sample, simulate


def test_a_sample_adds_up() -> None:
    host = Tried("m08", ["a"], queues=2, software=1, rate=1_000_000_000)
    host.begin(*(spec("a", n, 443, 10e6) for n in range(4)), *(spec("a", n, 873, 5e6) for n in range(8)))
    host.wait(20)
    measured = sample(host.world, 20)
    assert (measured.second, measured.flows) == (20, 12)
    assert sum(measured.loads.values()) == pytest.approx(80e6)
    assert measured.loads[2] == pytest.approx(40e6)
    assert measured.in_hardware == pytest.approx(0.5)
    assert measured.over_bound == pytest.approx(1.0)
    assert measured.fairness == pytest.approx(1.0)


def test_flows_come_and_go_when_they_should() -> None:
    flows = [
        spec("a", 0, 80, 1e6, start=0.0, end=4.5),
        spec("a", 1, 80, 1e6, start=2.0),
        spec("a", 2, 80, 1e6, start=99.0),
    ]
    seen = []
    world, samples = simulate(
        policy("m06"), Host(("a",)), flows, 8, lambda second, _world: seen.append(second)
    )
    assert [measured.flows for measured in samples] == [1, 1, 2, 2, 1, 1, 1, 1]
    assert seen == list(range(1, 9))
    assert len(world.live) == 1
    assert len(world.device.flows) == 2, "the entry of the flow that ended is not yet idle for long enough"


def test_the_same_run_twice_is_the_same() -> None:
    flows = [spec("a", n, 80, 1e6 * (1 + n % 5), start=n / 10, end=n / 10 + 5) for n in range(80)]
    runs = [simulate(policy("m08"), Host(("a",), 2, 2), flows, 15)[1] for _ in range(2)]
    assert runs[0] == runs[1]


@pytest.mark.parametrize(
    ("lowest", "highest"), [((), (2e9, 8e9)), ((4e9, None, None, None), ()), ((), (1e9, 1e9, 4e9, 4e9))]
)
def test_queues_of_unequal_rates_are_equally_full_for_their_speed(
    lowest: tuple[float | None, ...], highest: tuple[float | None, ...]
) -> None:
    rates = (tuple(None if rate is None else int(rate) for rate in given) for given in (lowest, highest))
    host = Host(("a",), len(lowest or highest), 0, 10_000_000_000, *reversed(tuple(rates)))
    flows = [spec("a", n, 80, 1e8 + 1e6 * n) for n in range(60)]
    world, _ = simulate(policy("m06"), host, flows, 60)
    assert sample(world, 60).over_bound <= 1.05
