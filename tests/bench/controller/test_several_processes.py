"""The bench of several processes runs: two controllers lead their shares, and each flow is answered and known."""

from __future__ import annotations

import pytest
from bench.controller.several_processes import BUNCH, SWITCHES, line, measure


@pytest.mark.ovs
def test_two_processes_answer_what_is_sent() -> None:
    """No time is judged."""
    row = measure("reactive", 2, 1, 0.0)
    assert row.flows == row.known == SWITCHES * BUNCH
    assert row.answers >= row.flows
    assert line(row).startswith("| reactive | 2 | 1,000 |")
