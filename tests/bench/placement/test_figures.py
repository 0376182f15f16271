"""Figures and tables of the bench."""

from bench.placement.figures import figures, mean
from bench.placement.tables import Row, bars, whole
from bench.placement.ways import Second


def second(ratio: float, moved: int = 0, unreported: int = 0, software: float = 0.0) -> Second:
    return Second(ratio, 100, moved, unreported, software)


def test_quantiles_are_over_the_seconds_with_and_without_the_first_ten() -> None:
    run = [second(5.0, 10, software=1.0)] * 10 + [second(1.0, 2, 1)] * 90
    got = figures(run, (10, 20))
    assert (got.median, got.p95, got.late_median, got.late_p95) == (1.0, 5.0, 1.0, 1.0)
    assert got.moves == 2.8
    assert (round(got.share, 4), got.most, round(got.unreported, 2)) == (0.028, 0.02, 0.9)
    assert got.software == 0.0
    assert figures(run, None).software == -1.0
    assert mean([figures(run, None), figures([second(3.0)] * 100, None)]).median == 2.0


def test_what_misses_its_bar_is_bold() -> None:
    good, bad = figures([second(1.0)] * 30, None), figures([second(2.0, 5, 1)] * 30, None)
    rows = [
        Row("w", state, way, bad if way == "built-in" else good)
        for state in ("settled", "churn")
        for way in ("built-in", "hash", "LPT, measured")
    ]
    lines = list(bars(rows, "built-in"))
    assert lines[2].count("**") == 2 * 8
    assert lines[-1] == "built-in: 8 figures miss their bar."
    assert list(bars(rows, "hash"))[-1] == "hash: 0 figures miss their bar."
    assert "| w | churn | hash | 1.00 |" in whole(rows, "built-in")
