"""The generators against the tables that they draw from."""

import json
from importlib.resources import files
from random import Random

import pytest

from flowlane.simulation.workload import KINDS, Shape, generate, sized_weights, zipf_weights

TABLE = json.loads(files("flowlane.simulation").joinpath("flow-sizes.json").read_text("utf-8"))


@pytest.mark.parametrize("name", ["web-search", "hadoop"])
def test_the_quantiles_of_drawn_sizes_are_those_of_the_table(name: str) -> None:
    """The share of draws at or below a tabled size is binomial: 0.2 percentage points for 20,000 at worst, times 4."""
    drawn = sized_weights(name, 20_000, Random(3))
    for size, percent in TABLE[name]["points"]:
        share = 100 * sum(value <= size for value in drawn) / len(drawn)
        assert abs(share - percent) < 1.5, (size, percent, share)


def test_zipf_weights_are_one_over_the_rank() -> None:
    assert zipf_weights(4, 1.0, Random(1)) == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])
    assert zipf_weights(3, 1.3, Random(1)) == pytest.approx([1, 2**-1.3, 3**-1.3])


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_workload_carries_its_load_and_repeats(kind: str) -> None:
    shape = Shape(flows=100, seconds=30, churn=0.1, load=1e9, seed=7)
    flows = list(generate(kind, shape, ("a", "b")))
    assert flows == list(generate(kind, shape, ("a", "b")))
    assert flows != list(generate(kind, shape._replace(seed=8), ("a", "b")))
    assert [flow.start for flow in flows] == sorted(flow.start for flow in flows)
    assert len({(flow.src, flow.src_port) for flow in flows}) == len(flows)
    assert {flow.vm for flow in flows} == {"a", "b"}
    for second in (0.5, 10.5, 29.5):
        present = [flow for flow in flows if flow.start <= second < flow.end]
        assert len(present) == pytest.approx(100, abs=1)
        assert sum(flow.rate for flow in present) == pytest.approx(1e9, rel=0.01)


def test_churn_replaces_that_part_of_the_flows_each_second() -> None:
    shape = Shape(flows=500, seconds=40, churn=0.1, load=1e9)
    flows = list(generate("hadoop", shape, ("a",)))
    assert len(flows) - 500 == pytest.approx(500 * 0.1 * 40, rel=0.1)
    assert len(list(generate("hadoop", shape._replace(churn=0.0), ("a",)))) == 500
