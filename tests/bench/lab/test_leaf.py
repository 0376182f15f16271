"""What the bench makes of its measurements: the cost of a leaf is the difference within a round."""

from bench.lab import leaf as bench


def halves(load: str, none_us: float, leaf_us: float) -> list[dict[str, object]]:
    """A round: 10,000 frames without and with the leaf."""
    costs = {"none": none_us, "fq_codel": leaf_us}
    return [{"load": load, "leaf": kind, "busy_s": us / 100, "frames": 10_000} for kind, us in costs.items()]


def test_a_drift_of_the_machine_is_not_a_cost_of_the_leaf() -> None:
    rounds = [row for base in (10, 20, 30) for row in halves("nothing waits", base, base + 2.5)]
    header, _, row = bench.cost_table([*rounds, *halves("full queue", 1, 2)]).splitlines()[:3]
    assert len(row.split("|")) == len(header.split("|"))
    assert row == "| nothing waits | 20.0 | 22.5 | 2.5 |"


def test_pings_of_all_rounds_count_together_and_throughput_is_their_mean() -> None:
    rows = [
        {"rate": 2e7, "leaf": "none", "pings_ms": [ms] * 99, "cpu_share": share, "heavy_bit_s": bits}
        for ms, share, bits in ((100.0, 0.1, 18e6), (300.0, 0.3, 19e6))
    ]
    header, _, row = bench.latency_table(rows).splitlines()
    assert len(row.split("|")) == len(header.split("|"))
    assert row == "| 20 Mbit/s | FIFO | 198 | 300.0 | 300.0 | 18.5 | 20 % |"
