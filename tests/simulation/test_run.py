"""A workload over time."""

from fakes.tried import policy, spec

from flowlane.simulation.run import simulate
from flowlane.simulation.world import Host


def test_flows_come_and_go_when_they_should():
    flows = [
        spec("a", 0, 80, 1e6, start=0.0, end=4.5),
        spec("a", 1, 80, 1e6, start=2.0),
        spec("a", 2, 80, 1e6, start=99.0),
    ]
    seen = []
    world, samples = simulate(
        policy("m06"), Host(("a",)), flows, 8, lambda second, _world: seen.append(second)
    )
    assert [one.flows for one in samples] == [1, 1, 2, 2, 1, 1, 1, 1]
    assert seen == list(range(1, 9))
    assert len(world.device.flows) == 1


def test_the_same_run_twice_is_the_same():
    flows = [spec("a", n, 80, 1e6 * (1 + n % 5), start=n / 10, end=n / 10 + 5) for n in range(80)]
    runs = [simulate(policy("m08"), Host(("a",), 2, 2), flows, 15)[1] for _ in range(2)]
    assert runs[0] == runs[1]
