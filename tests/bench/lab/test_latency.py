"""How the bench judges what it has measured."""

import pytest
from bench.lab import latency as bench
from bench.lab import latency_guest as guest


def rounds_of(**times_ms: list[float]) -> list[dict[str, object]]:
    """One round of each placement; heavy flows got 4 and 6 Mbit/s."""
    return [
        {
            "placement": name.replace("_", " "),
            "sent_s": [float(index) for index in range(len(values))],
            "latency_s": [value / 1000 for value in values],
            "heavy_bit_s": [] if name == "nothing_heavy" else [4e6, 6e6],
            "cpu_share": 0.5,
        }
        for name, values in times_ms.items()
    ]


def test_jain_is_one_for_equals_and_one_nth_for_one_that_has_all() -> None:
    assert bench.jain([3.0, 3.0, 3.0]) == pytest.approx(1)
    assert bench.jain([9.0, 0.0, 0.0]) == pytest.approx(1 / 3)


def test_quantiles_are_over_all_rounds_together() -> None:
    hundred = [float(value) for value in range(1, 101)]
    summary = bench.summarise(rounds_of(hash=hundred) + rounds_of(hash=[1000.0] * 100))
    assert (summary["hash"]["p50_ms"], summary["hash"]["p99_ms"]) == pytest.approx((1000, 1000))
    assert summary["hash"]["requests"] == 200
    assert summary["hash"]["heavy_mbit_s"] == pytest.approx(10)


def test_unanswered_requests_are_counted_as_lost_and_as_long() -> None:
    summary = bench.summarise(rounds_of(hash=[1.0] * 98 + [2000.0] * 2))
    assert summary["hash"]["lost"] == 2
    assert summary["hash"]["p99_ms"] == pytest.approx(2000)


def test_the_curve_keeps_the_longest_and_the_shortest_time() -> None:
    times = [float(value) for value in range(1, 5001)]
    some, shares = bench.curve(times)
    assert (some[0], some[-1]) == (1.0, 5000.0)
    assert (shares[0], shares[-1]) == (1.0, 1 / 5000)
    assert len(some) <= 300
    assert all(
        share == pytest.approx((5001 - value) / 5000) for value, share in zip(some, shares, strict=True)
    )
    assert bench.curve([7.0]) == ([7.0], [1.0])


def test_the_first_seconds_count_and_are_shown_by_themselves() -> None:
    summary = bench.summarise(rounds_of(hash=[500.0, 400.0, 300.0, 1.0, 2.0, 3.0]))
    assert summary["hash"]["p99_ms"] == pytest.approx(500)
    assert summary["hash"]["first_p99_ms"] == pytest.approx(500)
    assert summary["hash"]["later_p99_ms"] == pytest.approx(3)


def test_each_bar_is_reached_or_missed_by_itself() -> None:
    def reached(**times: list[float]) -> list[bool]:
        names = {"one_queue_leaf": "one queue, fq_codel", "flowlane_leaf": "flowlane, fq_codel"}
        rows = [
            row | {"placement": names.get(name, row["placement"])}
            for name, values in times.items()
            for row in rounds_of(**{name: values})
        ]
        return [bar.reached for bar in bench.bars(bench.summarise(rows))]

    good = {
        "nothing_heavy": [2.0], "one_queue_leaf": [4.0], "static_rules": [3.5],
        "flowlane": [60.0], "flowlane_leaf": [3.0],
    }  # fmt: skip
    assert reached(**good) == [True, True, True, True]
    assert reached(**{**good, "nothing_heavy": [1.9]}) == [False, True, True, True]
    assert reached(**{**good, "static_rules": [2.9]}) == [True, False, True, True]
    assert reached(**{**good, "one_queue_leaf": [2.9]}) == [True, True, False, True]


def test_heavy_flows_of_one_vm_more_than_of_another_have_a_port_for_each_vm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guest, "VMS", ["vm1", "vm2", "vm3", "vm4"])
    assert guest.elephants(4) == [("vm1", 2, 5201), ("vm2", 1, 5202), ("vm3", 1, 5203)]
    assert guest.elephants(1) == [("vm1", 1, 5201)]
