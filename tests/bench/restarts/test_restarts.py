"""``kill -9`` under load in short: nothing that stands and no flow's place or reason changes, and no packet is lost."""

from __future__ import annotations

import pytest
from bench.restarts import __main__ as bench

pytestmark = pytest.mark.ovs


def test_kills_leave_no_trace(capsys: pytest.CaptureFixture[str]) -> None:
    """The queues are to be balanced before the first kill: else the load itself moves flows meanwhile.

    Behind the moves with which adoption ends come others 9 s later, when rates are known.
    """
    code = bench.main(["--kills", "2", "--settle", "12", "--after", "6", "--require"])
    assert code == 0, capsys.readouterr().out
