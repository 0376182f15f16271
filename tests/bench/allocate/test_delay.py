"""The delay model, compared with formulas for single queues."""

from math import log

import pytest
from bench.allocate import delay as model


def test_one_queue_of_small_flows_is_m_d_1() -> None:
    link, load = 1e9, 0.5
    service = model.SMALL_BURST / link
    wait = load * service / (2 * (1 - load))
    expected = wait / load * log(load / 0.01) + service
    assert model.small_p99([model.Mix(load * link, 0.0)], link) == pytest.approx(expected, rel=1e-6)


def test_a_heavy_flow_in_the_queue_makes_small_ones_wait() -> None:
    alone = model.small_p99([model.Mix(2e8, 0.0), model.Mix(0.0, 4e8)], 1e9)
    behind = model.small_p99([model.Mix(1e8, 4e8), model.Mix(1e8, 0.0)], 1e9)
    assert behind > 10 * alone


def test_an_overloaded_queue_is_a_full_buffer() -> None:
    full = model.small_p99([model.Mix(1e9, 1e9)], 1e9)
    assert full == pytest.approx(model.BUFFER / 1e9 + model.SMALL_BURST / 1e9, rel=1e-3)
