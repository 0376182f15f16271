"""Delays of small flows: where the packets go, and what is counted."""

import pytest
from bench.placement import delay, tables
from bench.placement.delay import Row


@pytest.mark.parametrize(("life", "at_any_time"), [(float("inf"), 4), (0.3, 4)])
def test_heavy_flows_are_four_at_any_time_and_short_ones_follow_each_other(
    life: float, at_any_time: int
) -> None:
    flows = delay._flows(life, 1)
    heavy = [flow for flow in flows if flow.steps[0][1] == 0.8 * delay.SPEED]
    for time in (2.0, 9.9, 17.5):
        assert sum(flow.start <= time < flow.end for flow in heavy) == at_any_time
    assert max(flow.end - flow.start for flow in heavy) == pytest.approx(min(life, 20), abs=1.1)
    assert sum(flow.steps[0][1] for flow in flows if flow not in heavy) == pytest.approx(0.4 * delay.LINK)


def test_the_packets_of_a_window_are_those_of_the_load() -> None:
    flows = delay._flows(float("inf"), 1)
    packets = delay._packets(flows, 1)[1]
    (begin, end) = delay.WINDOWS[1]
    assert sum(bits for _, _, bits in packets) / (end - begin) == pytest.approx(0.6 * delay.LINK, rel=0.1)
    assert packets == sorted(packets, key=lambda packet: packet[0])
    assert begin <= packets[0][0] < packets[-1][0] < end


def test_a_flow_that_has_its_own_queue_delays_no_other_from_then_on() -> None:
    flows = delay._flows(float("inf"), 1)
    packets = delay._packets(flows, 1)
    hashed = delay._hashed(flows)
    heavy = [number for number, flow in enumerate(flows) if delay._is_heavy(flow)]
    apart = {
        number: (*places, (10.0, number % 4 if number in heavy else 4 + number % 12))
        for number, places in hashed.items()
    }
    shared, alone = (delay._delays(flows, packets, history, "FIFO") for history in (hashed, apart))
    assert alone[1] > 1_000, "packets before 10 s count"
    assert alone[2] < 200 < 10_000 < shared[2]


def test_the_table_marks_what_is_not_ten_times_better() -> None:
    rows = [
        Row("long", "hash", "FIFO", 20, 1000, 1000, 0.0),
        Row("long", "built-in", "FIFO", 20, 500, 50, 0.0),
    ]
    lines = list(tables.delays(rows))
    assert "| 1,000 | 1.0 | 1,000 | 1.0 |" in lines[2]
    assert "| 500 | **2.0** | 50 | 20 |" in lines[3]
