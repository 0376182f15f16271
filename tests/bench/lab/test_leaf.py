"""What the bench makes of its measurements: the cost of a leaf is the difference within a round."""

from bench.lab import latency
from bench.lab import leaf as bench


def halves(load: str, none_us: float, leaf_us: float) -> list[dict[str, object]]:
    """A round: 10,000 frames in 2 s without and with the leaf."""
    costs = {"none": none_us, "fq_codel": leaf_us}
    return [
        {"load": load, "leaf": kind, "seconds": 2.0, "busy_s": us / 100, "frames": 10_000}
        for kind, us in costs.items()
    ]


def test_a_drift_of_the_machine_is_not_a_cost_of_the_leaf() -> None:
    rounds = [row for base in (10, 20, 30, 40) for row in halves("nothing waits", base, base + 2.5)]
    header, _, row = bench.table(rounds).splitlines()
    assert len(row.split("|")) == len(header.split("|"))
    assert row == "| nothing waits | 5000 | 25.0 | 27.5 | 2.5 (2.5 to 2.5) |"


def test_each_load_has_a_line() -> None:
    rounds = [row for load in bench.LIMITS for _ in range(2) for row in halves(load, 10, 11)]
    assert [line.split(" | ")[0] for line in bench.table(rounds).splitlines()[2:]] == [
        f"| {load}" for load in bench.LIMITS
    ]


def test_placements_with_leaves_are_those_that_have_heavy_flows() -> None:
    assert latency.WITH_LEAF == ("one queue, fq_codel", "hash, fq_codel", "flowlane, fq_codel")
